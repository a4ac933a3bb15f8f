//! Produce, by hand: the record batches are slices of the receive buffer, and the answer needs no list of its own.

use crate::base::AckLevel;
use crate::base::batch::{HEADER_BYTES, Header, LENGTH_PREFIX_BYTES, MAGIC};
use crate::base::planted::{Bug, planted};
use crate::engine::{EngineError, Produced};
use crate::protocol::kafka::api::{self, Api, key};
use crate::protocol::kafka::echo::{Echo, Topic, walk};
use crate::protocol::kafka::wire::{
    Malformed, Reader, Shape, write_count, write_string, write_tagged,
};
use crate::protocol::kafka::zstd::{ZSTD_PRODUCE_FROM, is_zstd};
use crate::protocol::kafka::{PARTITIONS_MAX, TOPIC_IDS_FROM, error, frame};
use zerocopy::FromBytes;

/// A produce whose structure was checked.
#[derive(Clone, Copy, Debug)]
pub struct Produce<'a> {
    shape: Shape,
    acks: i16,
    topics: &'a [u8],
}

/// What a walk over a produce comes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A topic: the partitions that follow are its.
    Topic(Topic<'a>),
    /// Record batches for a partition.
    Partition {
        /// Its number.
        index: i32,
        /// The batches.
        records: Option<&'a [u8]>,
    },
}

impl<'a> Produce<'a> {
    /// Checks the structure of a request, not the batches in it.
    pub fn parse(body: &'a [u8], shape: Shape) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let _transactional_id = reader.string(shape)?;
        let acks = reader.i16()?;
        let _timeout_ms = reader.i32()?;
        let topics = reader.rest();
        let produce = Self {
            shape,
            acks,
            topics,
        };
        let mut partitions = 0;
        produce.visit(|step| partitions += usize::from(matches!(step, Step::Partition { .. })))?;
        if partitions > PARTITIONS_MAX {
            return Err(Malformed::TooLarge);
        }
        Ok(produce)
    }

    /// The level that its acks stand for; none where there is no such number of acks.
    pub fn level(&self) -> Option<AckLevel> {
        match self.acks {
            0 => Some(AckLevel::None),
            1 => Some(AckLevel::Written),
            -1 if planted(Bug::AcksAllWritten) => Some(AckLevel::Written),
            -1 => Some(AckLevel::Synced),
            _ => None,
        }
    }

    /// Whether it is not to be answered at all.
    pub fn is_silent(&self) -> bool {
        self.acks == 0
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
        reader.tagged(shape)
    }
}

fn entry<'a>(reader: &mut Reader<'a>, shape: Shape) -> Result<Step<'a>, Malformed> {
    let index = reader.i32()?;
    let records = reader.bytes(shape)?;
    reader.tagged(shape)?;
    Ok(Step::Partition { index, records })
}

/// Looks at what Kafka asks of the records of one partition beyond what any batch must be: exactly one batch, of a
/// compression that every client of this version reads. 0, or the code of the refusal.
pub fn check(records: Option<&[u8]>, version: i16) -> i16 {
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        return error::INVALID_RECORD;
    };
    let Ok((header, _)) = Header::ref_from_prefix(records) else {
        return error::CORRUPT_MESSAGE;
    };
    let stated = i64::from(header.batch_length.get()) + LENGTH_PREFIX_BYTES as i64;
    if header.magic != MAGIC {
        error::INVALID_RECORD
    } else if stated < HEADER_BYTES as i64 || stated > records.len() as i64 {
        error::CORRUPT_MESSAGE
    } else if stated != records.len() as i64 {
        error::INVALID_RECORD
    } else if version < ZSTD_PRODUCE_FROM && is_zstd(header.attributes.get()) {
        error::UNSUPPORTED_COMPRESSION_TYPE
    } else {
        0
    }
}

/// Appends the answer: `results` holds one for each partition that the engine was asked about.
pub fn answer(
    version: i16,
    correlation: i32,
    echo: &Echo,
    results: &[Result<Produced, EngineError>],
    out: &mut Vec<u8>,
) {
    let api = api();
    let shape = api.shape(version);
    let at = frame::begin(api, shape, correlation, out);
    let mut results = results.iter();
    echo.write(
        out,
        shape,
        |one, out| {
            let result = match one.error_code {
                0 => results.next().expect("one for each that was asked about"),
                code => return fields(one.index, Err(Refused::by(code)), out, shape),
            };
            match result {
                Ok(produced) => fields(one.index, Ok(produced), out, shape),
                Err(refusal) => {
                    let told = Refused {
                        code: error::code_for(refusal, version >= TOPIC_IDS_FROM),
                        message: Some(&refusal.to_string()),
                        record: bad_record(refusal),
                    };
                    fields(one.index, Err(told), out, shape);
                }
            }
        },
        |out| write_tagged(out, shape),
    );
    out.extend(0i32.to_be_bytes());
    write_tagged(out, shape);
    frame::end(at, 0, out);
}

fn api() -> &'static Api {
    api::find(key::PRODUCE).expect("it is in the table")
}

/// Why a partition took nothing.
struct Refused<'a> {
    code: i16,
    message: Option<&'a str>,
    /// The record of the batch that is to blame.
    record: Option<u32>,
}

impl Refused<'_> {
    fn by(code: i16) -> Self {
        Self {
            code,
            message: None,
            record: None,
        }
    }
}

fn bad_record(refusal: &EngineError) -> Option<u32> {
    match refusal {
        EngineError::InvalidTimestamp { record, .. } => *record,
        _ => None,
    }
}

fn fields(index: i32, told: Result<&Produced, Refused<'_>>, out: &mut Vec<u8>, shape: Shape) {
    let (base_offset, log_start, time) = match &told {
        Ok(produced) => (
            produced.base_offset.0 as i64,
            produced.log_start.0 as i64,
            // None where batches keep the time of their producer.
            produced.append_time.map_or(-1, |time| time.0),
        ),
        Err(_) => (-1, -1, -1),
    };
    out.extend(index.to_be_bytes());
    out.extend(
        told.as_ref()
            .err()
            .map_or(0, |refused| refused.code)
            .to_be_bytes(),
    );
    out.extend(base_offset.to_be_bytes());
    out.extend(time.to_be_bytes());
    if shape.has(5, i16::MAX) {
        out.extend(log_start.to_be_bytes());
    }
    if shape.has(8, i16::MAX) {
        let message = told.as_ref().err().and_then(|refused| refused.message);
        let record = told.as_ref().err().and_then(|refused| refused.record);
        write_count(usize::from(record.is_some()), out, shape);
        if let Some(record) = record {
            out.extend((record as i32).to_be_bytes());
            text(message, out, shape);
            write_tagged(out, shape);
        }
        text(message, out, shape);
    }
    write_tagged(out, shape);
}

fn text(message: Option<&str>, out: &mut Vec<u8>, shape: Shape) {
    match message {
        Some(message) => write_string(message.as_bytes(), out, shape),
        None if shape.is_flexible => out.push(0),
        None => out.extend((-1i16).to_be_bytes()),
    }
}
