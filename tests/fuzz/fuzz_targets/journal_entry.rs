//! Goal: no bytes make the journal's parser panic or leave its input, also when their checksum fits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::log::untrusted::journal_entry;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    let _ = journal_entry(&mut bytes);
});
