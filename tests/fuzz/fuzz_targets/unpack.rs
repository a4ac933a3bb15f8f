//! Goal: no compressed records make a client panic, or take more memory than the largest batch; what unpacks is a batch.
//! The checksum is not demanded: it would keep the fuzzer out of the codecs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::limits::BATCH_BYTES_MAX;
use millrace::base::{RecordBatch, record::records};
use millrace::base::unpack::unpack;

fuzz_target!(|bytes: &[u8]| {
    let Ok(batch) = RecordBatch::parse(bytes) else {
        return;
    };
    let mut out = Vec::new();
    if unpack(&batch, &mut out).is_err() {
        assert!(out.is_empty());
        return;
    }
    assert!(out.len() <= BATCH_BYTES_MAX);
    let unpacked = RecordBatch::parse(&out).expect("a batch");
    assert_eq!(unpacked.bytes().len(), out.len());
    assert!(!unpacked.is_compressed());
    assert!(records(&unpacked).map_while(Result::ok).count() <= unpacked.count() as usize);
});
