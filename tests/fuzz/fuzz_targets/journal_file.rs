//! Goal: no journal file makes a start panic, hang or serve what does not check; what it refuses, it says.
//! Input: the file, checksums aside: those are made right, each entry's of the one before too. It replaces the journal of
//! a directory whose segments are there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::log::untrusted;
use millrace_fuzz::damage::{self, Image};

thread_local! {
    static IMAGES: [Image; 2] = damage::images();
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    untrusted::seal_journal(&mut bytes);
    IMAGES.with(|images| damage::look_at_journal(images, &bytes));
});
