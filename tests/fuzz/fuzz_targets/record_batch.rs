//! Goal: no bytes make the batch's view or its records panic. The checksum is not demanded: it would keep the fuzzer
//! out of the records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::{RecordBatch, record::records};

fuzz_target!(|bytes: &[u8]| {
    let Ok(batch) = RecordBatch::parse(bytes) else {
        return;
    };
    let _ = batch.check();
    let mut count = 0u64;
    for record in records(&batch).map_while(Result::ok) {
        count += 1;
        assert!(record.headers().count() <= bytes.len());
    }
    assert!(count <= u64::from(batch.count()));
});
