//! Goal: no bytes make the index's parser panic, also when their checksums fit; what it yields is in order.
//! Input: the topic (16 bytes), the partition (4), the segment's base (8), the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::log::untrusted::index_file;

fuzz_target!(|bytes: &[u8]| {
    let Some((topic, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((partition, rest)) = rest.split_first_chunk() else {
        return;
    };
    let Some((base, file)) = rest.split_first_chunk() else {
        return;
    };
    let (topic, partition) = (u128::from_le_bytes(*topic), u32::from_le_bytes(*partition));
    let found = index_file(
        topic,
        partition,
        u64::from_le_bytes(*base),
        &mut file.to_vec(),
    );
    assert!(found <= file.len());
});
