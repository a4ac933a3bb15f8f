//! The two checksums: CRC-32C where Kafka demands it, CRC-32 (IEEE) for what is ours on disk and on the wire.

/// CRC-32C (Castagnoli) of `bytes`, as record batches carry it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC-32C of bytes that come in pieces.
#[derive(Debug)]
pub struct Crc32c(crc_fast::Digest);

impl Default for Crc32c {
    fn default() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Goes on with the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u32 {
        self.0.finalize() as u32
    }
}

/// CRC-32 (IEEE) of `bytes`, as journal entries, indexes and native frames carry it.
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Four bytes with which a checksum comes out as zero. `of` is any CRC of something with those four bytes in it: it is
/// affine in each bit, so that 33 values of it make a system of linear equations.
#[cfg(test)]
pub(crate) fn bytes_for_zero(of: impl Fn([u8; 4]) -> u32) -> [u8; 4] {
    let constant = of([0; 4]);
    let mut basis: Vec<(u32, u32)> = Vec::new();
    let reduce = |basis: &[(u32, u32)], row: (u32, u32)| {
        basis
            .iter()
            .fold(row, |row, with| match row.0.min(row.0 ^ with.0) {
                least if least != row.0 => (row.0 ^ with.0, row.1 ^ with.1),
                _ => row,
            })
    };
    for bit in 0..32 {
        let bits = 1u32 << bit;
        let row = reduce(&basis, (of(bits.to_le_bytes()) ^ constant, bits));
        assert!(row.0 != 0, "a CRC of 32 bits tells four bytes apart");
        basis.push(row);
    }
    let (left, bits) = reduce(&basis, (constant, 0));
    assert_eq!(left, 0);
    bits.to_le_bytes()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_checksum_can_be_made_zero() {
        let text = |four: [u8; 4]| [b"before".as_slice(), &four, b"behind"].concat();
        for of in [super::crc32, super::crc32c] {
            let four = super::bytes_for_zero(|four| of(&text(four)));
            assert_eq!(of(&text(four)), 0);
        }
    }

    #[test]
    fn known_answers() {
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
        let mut pieces = super::Crc32c::default();
        pieces.update(b"1234");
        pieces.update(b"56789");
        assert_eq!(pieces.value(), 0xe306_9283);
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
