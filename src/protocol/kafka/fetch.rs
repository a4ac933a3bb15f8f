//! Fetch, by hand: the request fills the engine's, and the answer is heads from memory between bodies that may be spans of
//! files.
//!
//! ```text
//!   out   | length, topic, partition head | partition head | topic, partition head | end |
//!         └──────────── cut 0 ────────────┴──── cut 1 ─────┴─────── cut 2 ─────────┘
//!   wire  head, body 0, head, body 1, head, body 2, end
//! ```

use crate::base::Offset;
use crate::engine::FetchedPartition;
use crate::protocol::kafka::api::{self, key};
use crate::protocol::kafka::echo::{Echo, EchoedPartition, Topic, walk};
use crate::protocol::kafka::wire::{
    Malformed, Reader, Shape, write_count, write_tagged, write_varint,
};
use crate::protocol::kafka::{PARTITIONS_MAX, TOPIC_IDS_FROM, error, frame};
use std::time::Duration;

/// A fetch whose structure was checked.
#[derive(Clone, Copy, Debug)]
pub struct Fetch<'a> {
    shape: Shape,
    /// The longest that it may wait.
    pub wait_max: Duration,
    /// Answer as soon as there are so many bytes.
    pub bytes_min: u32,
    /// Answer with about so many bytes at most.
    pub bytes_max: u32,
    session_id: i32,
    topics: &'a [u8],
}

/// What a walk over a fetch comes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A topic: the partitions that follow are its.
    Topic(Topic<'a>),
    /// A partition.
    Partition {
        /// Its number.
        index: i32,
        /// The first offset wanted. A negative one becomes one that no partition reaches.
        from: Offset,
        /// About so many bytes at most.
        bytes_max: u32,
    },
}

impl<'a> Fetch<'a> {
    /// Checks the structure of a request.
    pub fn parse(body: &'a [u8], shape: Shape) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        if shape.has(0, 14) {
            let _replica_id = reader.i32()?;
        }
        let (wait_max, bytes_min, bytes_max) = (reader.i32()?, reader.i32()?, reader.i32()?);
        let _isolation_level = reader.i8()?;
        let mut session_id = 0;
        if shape.has(7, i16::MAX) {
            session_id = reader.i32()?;
            let _session_epoch = reader.i32()?;
        }
        let fetch = Self {
            shape,
            wait_max: Duration::from_millis(wait_max.max(0) as u64),
            bytes_min: bytes_min.max(0) as u32,
            bytes_max: bytes_max.max(0) as u32,
            session_id,
            topics: reader.rest(),
        };
        let mut partitions = 0;
        fetch.visit(|step| partitions += usize::from(matches!(step, Step::Partition { .. })))?;
        if partitions > PARTITIONS_MAX {
            return Err(Malformed::TooLarge);
        }
        Ok(fetch)
    }

    /// What is wrong with the request as a whole, as a code. No session is ever opened, so none can be gone on with.
    pub fn error_code(&self) -> i16 {
        match self.session_id {
            0 => 0,
            _ => error::FETCH_SESSION_ID_NOT_FOUND,
        }
    }

    /// Walks over topics and partitions.
    pub fn walk(&self, step: impl FnMut(Step<'a>)) {
        self.visit(step).expect("checked when it was parsed");
    }

    fn visit(&self, mut step: impl FnMut(Step<'a>)) -> Result<(), Malformed> {
        let mut reader = Reader::new(self.topics);
        let shape = self.shape;
        let form = (shape, TOPIC_IDS_FROM);
        walk(&mut reader, form, Step::Topic, entry, &mut step)?;
        if shape.has(7, i16::MAX) {
            forgotten(&mut reader, shape)?;
        }
        if shape.has(11, i16::MAX) {
            let _rack = reader.string(shape)?;
        }
        reader.tagged(shape)
    }
}

fn entry<'a>(reader: &mut Reader<'a>, shape: Shape) -> Result<Step<'a>, Malformed> {
    let index = reader.i32()?;
    if shape.has(9, i16::MAX) {
        let _current_leader_epoch = reader.i32()?;
    }
    let from = Offset(reader.i64()? as u64);
    if shape.has(12, i16::MAX) {
        let _last_fetched_epoch = reader.i32()?;
    }
    if shape.has(5, i16::MAX) {
        let _log_start = reader.i64()?;
    }
    let bytes_max = reader.i32()?.max(0) as u32;
    reader.tagged(shape)?;
    Ok(Step::Partition {
        index,
        from,
        bytes_max,
    })
}

/// Steps over what a session is to forget.
fn forgotten(reader: &mut Reader<'_>, shape: Shape) -> Result<(), Malformed> {
    for _ in 0..reader.count(shape)?.unwrap_or(0) {
        Topic::read(reader, shape, TOPIC_IDS_FROM)?;
        for _ in 0..reader.count(shape)?.unwrap_or(0) {
            reader.i32()?;
        }
        reader.tagged(shape)?;
    }
    Ok(())
}

/// Appends the answer without the bodies, and notes in `cuts` where each goes: the body of `fetched[i]` behind
/// `out[..cuts[i]]`. `fetched` holds one for each partition that the engine was asked about. Returns the bytes of the
/// bodies.
pub fn answer<C, S>(
    version: i16,
    (correlation, error_code): (i32, i16),
    echo: &Echo,
    fetched: &[FetchedPartition<C, S>],
    out: &mut Vec<u8>,
    cuts: &mut Vec<usize>,
) -> usize {
    let api = api::find(key::FETCH).expect("it is in the table");
    let shape = api.shape(version);
    cuts.clear();
    let at = frame::begin(api, shape, correlation, out);
    out.extend(0i32.to_be_bytes());
    if shape.has(7, i16::MAX) {
        out.extend(error_code.to_be_bytes());
        // No session.
        out.extend(0i32.to_be_bytes());
    }
    let mut rest = fetched.iter();
    echo.write(
        out,
        shape,
        |one, out| {
            let found = match one.error_code {
                0 => rest.next(),
                _ => None,
            };
            head(one, found, out, shape);
            if found.is_some() {
                cuts.push(out.len());
            }
            write_tagged(out, shape);
        },
        |out| write_tagged(out, shape),
    );
    write_tagged(out, shape);
    let bodies: u64 = fetched.iter().map(|one| one.body.bytes).sum();
    frame::end(at, bodies as usize, out);
    bodies as usize
}

/// Writes everything of a partition that stands before its records, their length included.
fn head<C, S>(
    one: EchoedPartition,
    found: Option<&FetchedPartition<C, S>>,
    out: &mut Vec<u8>,
    shape: Shape,
) {
    let refusal = found.and_then(|found| found.error.as_ref());
    let has_ids = shape.version >= TOPIC_IDS_FROM;
    let error_code = refusal.map_or(one.error_code, |error| error::code_for(error, has_ids));
    let (high_watermark, log_start, bytes) = match found {
        Some(found) => (
            found.high_watermark.0 as i64,
            found.log_start.0 as i64,
            found.body.bytes,
        ),
        None => (-1, -1, 0),
    };
    out.extend(one.index.to_be_bytes());
    out.extend(error_code.to_be_bytes());
    out.extend(high_watermark.to_be_bytes());
    // The last stable offset: there are no transactions, so all that can be read is stable.
    out.extend(high_watermark.to_be_bytes());
    if shape.has(5, i16::MAX) {
        out.extend(log_start.to_be_bytes());
    }
    // Aborted transactions: an empty list, for some clients take none for a fault.
    write_count(0, out, shape);
    if shape.has(11, i16::MAX) {
        // The replica to read from: this one.
        out.extend((-1i32).to_be_bytes());
    }
    if shape.is_flexible {
        write_varint(bytes as u32 + 1, out);
    } else {
        out.extend((bytes as i32).to_be_bytes());
    }
}
