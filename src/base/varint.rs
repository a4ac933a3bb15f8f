//! Zigzag varints as Kafka records carry them (at most 5 bytes for an int, 10 for a long).

/// Reads a zigzag varint from the front of `bytes`: the value and how many bytes it took. `None` where the bytes end
/// inside it or it runs past ten bytes.
#[inline]
pub fn read(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut raw = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((((raw >> 1) as i64) ^ -((raw & 1) as i64), index + 1));
        }
    }
    None
}

/// Appends `value` to `out`.
#[inline]
pub fn write(value: i64, out: &mut Vec<u8>) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Writes `value` to the front of `out`, which must have room for it; how many bytes it took.
#[inline]
pub fn put(value: i64, out: &mut [u8]) -> usize {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    let mut at = 0;
    while raw >= 0x80 {
        out[at] = raw as u8 | 0x80;
        raw >>= 7;
        at += 1;
    }
    out[at] = raw as u8;
    at + 1
}

/// How many bytes `value` takes.
#[inline]
pub fn len(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    if raw < 0x80 {
        return 1;
    }
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_truncation_at_every_index() {
        for value in [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            300,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::MAX,
            i64::MIN,
        ] {
            let mut bytes = Vec::new();
            write(value, &mut bytes);
            assert_eq!(bytes.len(), len(value));
            let mut put_into = [0; 10];
            assert_eq!(put(value, &mut put_into), bytes.len());
            assert_eq!(put_into[..bytes.len()], bytes);
            assert_eq!(read(&bytes), Some((value, bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), None);
            }
        }
        assert_eq!(read(&[0x80; 11]), None);
    }
}
