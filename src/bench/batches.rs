//! The record batches that a load sends: built before the clock starts, sent over and over, since a batch says nothing of
//! the offsets that it will get.

use crate::base::batch::CRC_START;
use crate::base::checksum::crc32c;
use crate::base::limits::BATCH_BYTES_MAX;
use crate::base::prng::Prng;
use crate::base::record::{BatchBuilder, records};
use crate::base::{RecordBatch, TimestampMs};
use crate::bench::settings::{Keys, Payload, Settings};
use crate::io::Monotonic;
use std::path::PathBuf;
use thiserror::Error;

/// Different batches that a run cycles through where keys or lines differ: enough that no two neighbours are equal, few
/// enough to stay in the cache of the core that sends them.
const POOL_BATCHES: usize = 8;
/// A file of lines is read so far, and no further.
const LINES_BYTES_MAX: u64 = 64 << 20;
/// A time of a request that a message carries: its first bytes.
pub const STAMP_BYTES: usize = 8;

/// Why there is nothing to send.
#[derive(Error, Debug)]
pub enum BatchesError {
    /// The file of lines cannot be read.
    #[error("{path}: {cause}; name a readable file with --payload-file")]
    Lines {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// It has no lines.
    #[error("{0} holds no lines; name another file with --payload-file")]
    NoLines(PathBuf),
    /// More than a batch may have.
    #[error(
        "a batch would have {bytes} bytes, the limit is {BATCH_BYTES_MAX}; lower --batch-messages or --message-bytes"
    )]
    TooLarge {
        /// How many it would have.
        bytes: usize,
    },
    /// Messages cannot carry the time.
    #[error(
        "a message of {0} bytes cannot carry the time at which it was due; --message-bytes must be at least {STAMP_BYTES}"
    )]
    NoRoomForTime(usize),
}

/// One batch, ready to be sent.
#[derive(Clone, Debug)]
pub struct Batch {
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Bytes of keys and values in it.
    pub payload_bytes: u64,
    /// Where the value of the first record begins.
    stamp_at: usize,
}

impl Batch {
    /// Writes `due` into the first value, and seals the batch again: 2 us for 100 KB.
    pub fn stamp(&mut self, due: Monotonic) {
        self.bytes[self.stamp_at..][..STAMP_BYTES].copy_from_slice(&due.0.to_le_bytes());
        let crc = crc32c(&self.bytes[CRC_START..]);
        self.bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    }
}

/// What [`Batch::stamp`] wrote into a stored batch.
pub fn read_stamp(batch: &RecordBatch<'_>) -> Option<Monotonic> {
    let value = records(batch).next()?.ok()?.value?;
    let stamp = value.first_chunk::<STAMP_BYTES>()?;
    Some(Monotonic(u64::from_le_bytes(*stamp)))
}

/// The batches of a workload. `wall_ms` becomes the timestamp of all their records.
pub fn build(settings: &Settings, wall_ms: i64) -> Result<Vec<Batch>, BatchesError> {
    let mut values = Values::open(settings)?;
    let varied = settings.keys != Keys::None || matches!(settings.payload, Payload::Lines(_));
    let count = if varied { POOL_BATCHES } else { 1 };
    let mut keys = KeySource::new(settings);
    let mut batches = Vec::with_capacity(count);
    for _ in 0..count {
        batches.push(batch(
            settings.batch_messages,
            wall_ms,
            &mut keys,
            &mut values,
        )?);
    }
    Ok(batches)
}

/// Whether the messages of a workload can carry the time at which they were due.
pub fn check_stamp(settings: &Settings) -> Result<(), BatchesError> {
    let fits = settings.message_bytes >= STAMP_BYTES && settings.payload.is_random();
    if fits {
        Ok(())
    } else {
        Err(BatchesError::NoRoomForTime(settings.message_bytes))
    }
}

fn batch(
    messages: u32,
    wall_ms: i64,
    keys: &mut KeySource,
    values: &mut Values,
) -> Result<Batch, BatchesError> {
    let mut builder = BatchBuilder::new();
    let mut payload_bytes = 0;
    for _ in 0..messages {
        let (key, value) = (keys.next(), values.next());
        payload_bytes += (key.map_or(0, <[u8]>::len) + value.len()) as u64;
        builder.push(TimestampMs(wall_ms), key, Some(value), &[]);
        if builder.len() > BATCH_BYTES_MAX {
            return Err(BatchesError::TooLarge {
                bytes: builder.len(),
            });
        }
    }
    let bytes = builder.finish().to_vec();
    let stamp_at = first_value_at(&bytes);
    Ok(Batch {
        bytes,
        payload_bytes,
        stamp_at,
    })
}

fn first_value_at(bytes: &[u8]) -> usize {
    let batch = RecordBatch::parse(bytes).expect("built by us");
    let first = records(&batch).next().and_then(Result::ok);
    let value = first.and_then(|record| record.value);
    let value = value.expect("every record has a value");
    value.as_ptr() as usize - bytes.as_ptr() as usize
}

/// Hands out keys.
struct KeySource {
    keys: Keys,
    prng: Prng,
    turn: u32,
    in_turn: u32,
    text: String,
}

impl KeySource {
    fn new(settings: &Settings) -> Self {
        Self {
            keys: settings.keys,
            prng: Prng::new(1),
            turn: 0,
            in_turn: settings.batch_messages,
            text: String::new(),
        }
    }

    fn next(&mut self) -> Option<&[u8]> {
        let number = match self.keys {
            Keys::None => return None,
            Keys::Random(of) => self.prng.below(u64::from(of.max(1))) as u32,
            Keys::RoundRobin => {
                self.turn = (self.turn + 1) % self.in_turn;
                self.turn
            }
        };
        self.text = format!("key-{number:08}");
        Some(self.text.as_bytes())
    }
}

/// Hands out values.
enum Values {
    Random {
        prng: Prng,
        value: Vec<u8>,
        /// Of `value`; what is behind them stays zero.
        random_bytes: usize,
    },
    Lines {
        text: Vec<u8>,
        at: usize,
    },
}

impl Values {
    fn open(settings: &Settings) -> Result<Self, BatchesError> {
        match &settings.payload {
            Payload::Random { seed, random_share } => Ok(Self::Random {
                prng: Prng::new(*seed),
                value: vec![0; settings.message_bytes],
                random_bytes: (settings.message_bytes as f64 * random_share.clamp(0.0, 1.0))
                    as usize,
            }),
            Payload::Lines(path) => {
                let text = read_some(path).map_err(|cause| BatchesError::Lines {
                    path: path.clone(),
                    cause,
                })?;
                if text.iter().all(|byte| *byte == b'\n') {
                    return Err(BatchesError::NoLines(path.clone()));
                }
                Ok(Self::Lines { text, at: 0 })
            }
        }
    }

    fn next(&mut self) -> &[u8] {
        match self {
            Self::Random {
                prng,
                value,
                random_bytes,
            } => {
                for piece in value[..*random_bytes].chunks_mut(8) {
                    piece.copy_from_slice(&prng.next_u64().to_le_bytes()[..piece.len()]);
                }
                value
            }
            Self::Lines { text, at } => next_line(text, at),
        }
    }
}

/// The next line that is not empty, from the top again at the end. There is one.
fn next_line<'a>(text: &'a [u8], at: &mut usize) -> &'a [u8] {
    loop {
        if *at >= text.len() {
            *at = 0;
        }
        let rest = &text[*at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        *at += line.len() + 1;
        if !line.is_empty() {
            return line;
        }
    }
}

fn read_some(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(LINES_BYTES_MAX)
        .read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            message_bytes: 20,
            batch_messages: 5,
            ..Settings::default()
        }
    }

    #[test]
    fn values_are_random_as_far_as_is_asked() {
        let half = Settings {
            payload: Payload::Random {
                seed: 1,
                random_share: 0.5,
            },
            ..settings()
        };
        let mut values = Values::open(&half).expect("no file");
        let first = values.next().to_vec();
        assert_eq!(first[10..], [0; 10]);
        assert_ne!(first[..10], values.next()[..10]);
    }

    #[test]
    fn batches_pass_the_brokers_check_and_carry_the_time() {
        let mut batches = build(&settings(), 7).expect("small");
        assert_eq!((batches.len(), batches[0].payload_bytes), (1, 100));
        batches[0].stamp(Monotonic(123_456_789));
        let batch = RecordBatch::parse(&batches[0].bytes).expect("whole");
        batch.check().expect("sealed again");
        assert_eq!(batch.count(), 5);
        assert_eq!(read_stamp(&batch), Some(Monotonic(123_456_789)));
    }

    #[test]
    fn keys_count_as_payload_and_come_in_turn() {
        let keyed = Settings {
            keys: Keys::RoundRobin,
            ..settings()
        };
        let batches = build(&keyed, 7).expect("small");
        assert_eq!(batches[0].payload_bytes, 5 * (20 + 12));
        let batch = RecordBatch::parse(&batches[0].bytes).expect("whole");
        let mut seen: Vec<Vec<u8>> = records(&batch)
            .map(|record| record.expect("built").key.expect("keyed").to_vec())
            .collect();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }

    #[test]
    fn lines_come_in_order_and_from_the_top_again() {
        let mut at = 0;
        let lines: Vec<&[u8]> = (0..4).map(|_| next_line(b"a\n\nbc\nd", &mut at)).collect();
        assert_eq!(lines, [&b"a"[..], b"bc", b"d", b"a"]);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before_the_run() {
        let huge = Settings {
            message_bytes: BATCH_BYTES_MAX,
            ..settings()
        };
        let refused = build(&huge, 7).expect_err("above the limit");
        assert!(matches!(refused, BatchesError::TooLarge { .. }));
        let missing = Settings {
            payload: Payload::Lines("/nowhere/at/all".into()),
            ..settings()
        };
        let refused = build(&missing, 7).expect_err("no such file");
        assert!(refused.to_string().contains("--payload-file"));
        let tiny = Settings {
            message_bytes: 7,
            ..settings()
        };
        assert!(check_stamp(&tiny).is_err());
    }
}
