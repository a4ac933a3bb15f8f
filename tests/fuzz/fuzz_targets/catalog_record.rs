//! Goal: no bytes make the catalog's decoder panic; what it takes, it writes back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::catalog::Record;

fuzz_target!(|bytes: &[u8]| match Record::decode(bytes) {
    Ok(record) => {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(Record::decode(&again).ok(), Some(record));
    }
    Err(error) => assert!(!error.to_string().is_empty()),
});
