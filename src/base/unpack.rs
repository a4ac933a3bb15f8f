//! Unpacks record batches that a Kafka producer compressed: the broker stores and serves them as they came. Clients do it,
//! and the broker where it looks for a record by its time, aside.
//!
//! ```text
//!   header | gzip, snappy, lz4 or zstd of the records   ──>   header, without the codec | records
//! ```
//! What a batch says of its size is believed only as far as [`UNPACKED_BYTES_MAX`]: 8 KiB that unpack to gigabytes cost
//! what the largest batch costs, and are refused.
//!
//! Decided: the codecs are libraries (flate2, snap, lz4_flex, zstd), and only here. zstd gets no
//! window above the largest batch, so that a frame's header cannot ask for more memory than its content may have.

use crate::base::RecordBatch;
use crate::base::batch::{HEADER_BYTES, LENGTH_PREFIX_BYTES};
use crate::base::limits::BATCH_BYTES_MAX;
use std::io::Read;
use thiserror::Error;

/// What the records of one batch may unpack to, in bytes: what they might have been sent as.
pub const UNPACKED_BYTES_MAX: usize = BATCH_BYTES_MAX - HEADER_BYTES;
/// The largest zstd window, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = BATCH_BYTES_MAX.ilog2();

const CODEC_MASK: i16 = 7;
/// How snappy's Java library, and so Kafka's client, begins: magic, version, oldest version that can read it.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_BYTES: usize = 16;

/// Why a batch cannot be unpacked.
#[derive(Error, Debug)]
pub enum UnpackError {
    /// No codec has that number.
    #[error("codec {0} is not known")]
    Codec(i16),
    /// The bytes are not what the codec makes.
    #[error("its {codec} is damaged: {cause}")]
    Damaged {
        /// Which codec.
        codec: &'static str,
        /// What is wrong.
        cause: std::io::Error,
    },
    /// More than a batch may hold.
    #[error("it unpacks to more than {UNPACKED_BYTES_MAX} bytes")]
    TooLarge,
}

/// Appends `batch` to `out` as it would be uncompressed; its checksum, which counts for the compressed bytes, must have
/// been checked before, and is left as it is. On an error `out` is as it was.
pub fn unpack(batch: &RecordBatch<'_>, out: &mut Vec<u8>) -> Result<(), UnpackError> {
    let at = out.len();
    out.extend_from_slice(&batch.bytes()[..HEADER_BYTES]);
    let attributes = batch.header().attributes.get();
    let unpacked = records(attributes & CODEC_MASK, batch.records(), out);
    if let Err(error) = unpacked {
        out.truncate(at);
        return Err(error);
    }
    let length = (out.len() - at - LENGTH_PREFIX_BYTES) as i32;
    out[at + 8..at + 12].copy_from_slice(&length.to_be_bytes());
    out[at + 21..at + 23].copy_from_slice(&(attributes & !CODEC_MASK).to_be_bytes());
    Ok(())
}

fn records(codec: i16, packed: &[u8], out: &mut Vec<u8>) -> Result<(), UnpackError> {
    match codec {
        0 => out.extend_from_slice(packed),
        1 => bounded("gzip", flate2::read::MultiGzDecoder::new(packed), out)?,
        2 => snappy(packed, out)?,
        3 => bounded("lz4", lz4_flex::frame::FrameDecoder::new(packed), out)?,
        4 => zstd(packed, out)?,
        codec => return Err(UnpackError::Codec(codec)),
    }
    Ok(())
}

/// Reads to the end, or to a byte too many.
fn bounded(codec: &'static str, from: impl Read, out: &mut Vec<u8>) -> Result<(), UnpackError> {
    let at = out.len();
    let read = from.take(UNPACKED_BYTES_MAX as u64 + 1).read_to_end(out);
    read.map_err(|cause| UnpackError::Damaged { codec, cause })?;
    match out.len() - at > UNPACKED_BYTES_MAX {
        true => Err(UnpackError::TooLarge),
        false => Ok(()),
    }
}

fn zstd(packed: &[u8], out: &mut Vec<u8>) -> Result<(), UnpackError> {
    let codec = "zstd";
    let damaged = |cause| UnpackError::Damaged { codec, cause };
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(damaged)?;
    let limited = decoder.window_log_max(ZSTD_WINDOW_LOG_MAX);
    limited.map_err(damaged)?;
    bounded(codec, decoder, out)
}

/// A plain block, as librdkafka sends it; or blocks with their lengths behind the head of the Java library.
fn snappy(packed: &[u8], out: &mut Vec<u8>) -> Result<(), UnpackError> {
    let mut left = UNPACKED_BYTES_MAX;
    if !packed.starts_with(XERIAL_MAGIC) {
        return snappy_block(packed, &mut left, out);
    }
    let short = || damaged_snappy(std::io::ErrorKind::UnexpectedEof.into());
    let mut rest = packed.get(XERIAL_BYTES..).ok_or_else(short)?;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, behind) = behind.split_at_checked(length).ok_or_else(short)?;
        snappy_block(block, &mut left, out)?;
        rest = behind;
    }
    match rest.is_empty() {
        true => Ok(()),
        false => Err(short()),
    }
}

fn snappy_block(block: &[u8], left: &mut usize, out: &mut Vec<u8>) -> Result<(), UnpackError> {
    let stated = snap::raw::decompress_len(block);
    let bytes = stated.map_err(|cause| damaged_snappy(cause.into()))?;
    *left = left.checked_sub(bytes).ok_or(UnpackError::TooLarge)?;
    let at = out.len();
    out.resize(at + bytes, 0);
    let unpacked = snap::raw::Decoder::new().decompress(block, &mut out[at..]);
    unpacked
        .map(drop)
        .map_err(|cause| damaged_snappy(cause.into()))
}

fn damaged_snappy(cause: std::io::Error) -> UnpackError {
    UnpackError::Damaged {
        codec: "snappy",
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TimestampMs;
    use crate::base::record::{self, BatchBuilder};
    use std::io::Write;

    const CODECS: [i16; 5] = [1, 2, 3, 4, -2];

    /// `records` as a codec makes them; -2 is snappy as the Java library has it, in two blocks.
    fn packed(codec: i16, records: &[u8]) -> Vec<u8> {
        let block = |bytes: &[u8]| {
            let packed = snap::raw::Encoder::new().compress_vec(bytes);
            packed.expect("it fits")
        };
        match codec {
            1 => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(records).expect("memory");
                encoder.finish().expect("memory")
            }
            2 => block(records),
            3 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(records).expect("memory");
                encoder.finish().expect("memory")
            }
            4 => zstd::encode_all(records, 3).expect("memory"),
            _ => {
                let mut bytes = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
                for half in records.chunks(records.len().div_ceil(2)) {
                    let block = block(half);
                    bytes.extend((block.len() as u32).to_be_bytes());
                    bytes.extend(block);
                }
                bytes
            }
        }
    }

    fn plain() -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for number in 0..100u32 {
            let value = format!("a line of a log, number {number}");
            builder.push(TimestampMs(7), Some(b"key"), Some(value.as_bytes()), &[]);
        }
        builder.finish().to_vec()
    }

    /// The batch of `plain` with other bytes for records.
    fn with(plain: &[u8], codec: i16, records: &[u8]) -> Vec<u8> {
        let mut bytes = [&plain[..HEADER_BYTES], records].concat();
        let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = codec.unsigned_abs() as u8;
        bytes
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, UnpackError> {
        let batch = RecordBatch::parse(bytes).expect("its header is good");
        let mut out = b"before".to_vec();
        let result = unpack(&batch, &mut out);
        assert_eq!(&out[..6], b"before");
        assert!(result.is_ok() || out.len() == 6, "nothing is left of it");
        result.map(|()| out.split_off(6))
    }

    #[test]
    fn every_codec_gives_back_the_batch_as_it_was() {
        let plain = plain();
        for codec in CODECS {
            let bytes = with(&plain, codec, &packed(codec, &plain[HEADER_BYTES..]));
            let whole = unpacked(&bytes).expect("good");
            assert_eq!(whole, plain, "{codec}");
            let batch = RecordBatch::parse(&whole).expect("good");
            assert_eq!(record::records(&batch).flatten().count(), 100);
        }
    }

    #[test]
    fn what_is_cut_or_changed_anywhere_is_an_error_or_as_long_as_allowed() {
        let plain = plain();
        for codec in CODECS {
            let packed = packed(codec, &plain[HEADER_BYTES..]);
            for cut in 0..packed.len() {
                // Between blocks, or before a mark of the end, a cut is not seen here: the checksum and the count see it.
                let Ok(all) = unpacked(&with(&plain, codec, &packed[..cut])) else {
                    continue;
                };
                assert!(plain[HEADER_BYTES..].starts_with(&all[HEADER_BYTES..]));
            }
            for at in 0..packed.len() {
                let mut changed = packed.clone();
                changed[at] ^= 0x55;
                let whole = unpacked(&with(&plain, codec, &changed));
                assert!(whole.is_err() || whole.is_ok_and(|all| all.len() <= BATCH_BYTES_MAX));
            }
        }
    }

    #[test]
    fn what_unpacks_to_more_than_a_batch_is_refused() {
        let plain = plain();
        let most = vec![0; UNPACKED_BYTES_MAX];
        let more = vec![0; UNPACKED_BYTES_MAX + 1];
        for codec in CODECS {
            let fits = unpacked(&with(&plain, codec, &packed(codec, &most)));
            assert_eq!(fits.expect("it fits").len(), BATCH_BYTES_MAX, "{codec}");
            let bomb = unpacked(&with(&plain, codec, &packed(codec, &more)));
            assert!(
                matches!(bomb, Err(UnpackError::TooLarge)),
                "{codec}: {bomb:?}"
            );
        }
        let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        let claimed = unpacked(&with(&plain, 2, &claim));
        assert!(matches!(claimed, Err(UnpackError::TooLarge)), "{claimed:?}");
    }
}
