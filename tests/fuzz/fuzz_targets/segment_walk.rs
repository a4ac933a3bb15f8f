//! Goal: recovery's walk over a segment panics at no bytes whose checksums fit, takes whole batches only, and finds the
//! same whatever the pieces that it reads.
//! Input: the base offset (8 bytes), how much to read at a time (2), the segment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::log::untrusted::segment;

fuzz_target!(|bytes: &[u8]| {
    let Some((base, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((window, rest)) = rest.split_first_chunk() else {
        return;
    };
    let (base, window) = (u64::from_le_bytes(*base), u16::from_le_bytes(*window));
    let mut bytes = rest.to_vec();
    let in_pieces = segment(base, &mut bytes, usize::from(window));
    assert_eq!(segment(base, &mut bytes, usize::MAX), in_pieces);
    assert!(in_pieces.is_ok_and(|done| done <= bytes.len()) || !bytes.is_empty());
});
