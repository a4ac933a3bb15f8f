//! Goal: no bytes make the decoder of committed offsets panic; what it takes, it writes back as it was.
//! Input: a byte that says how long the key is, the key, the value; bytes that end with the key have none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::group::OffsetRecord;

fuzz_target!(|bytes: &[u8]| {
    let Some((&length, bytes)) = bytes.split_first() else {
        return;
    };
    let (key, value) = bytes.split_at(bytes.len().min(usize::from(length)));
    match OffsetRecord::decode(key, Some(value).filter(|value| !value.is_empty())) {
        Ok(record) => {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            record.encode_key(&mut key);
            let has_value = record.encode_value(&mut value);
            let again = OffsetRecord::decode(&key, has_value.then_some(&value[..]));
            assert_eq!(again.ok(), Some(record));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
