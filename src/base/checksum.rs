//! The two checksums: CRC-32C where Kafka demands it, CRC-32 (IEEE) for what is ours on disk and on the wire.

/// CRC-32C (Castagnoli) of `bytes`, as record batches carry it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32 (IEEE) of `bytes`, as journal entries, indexes and native frames carry it.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_answers() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
