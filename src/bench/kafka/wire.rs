//! The client's end of Kafka's frames: requests of every API that has a schema here, Produce and Fetch by hand, and their
//! answers without a copy of the records.
//!
//! ```text
//!   produce   | head: header, acks, topic, partition, length | records, from where they lie | tail: tagged fields |
//! ```

use crate::base::AckLevel;
use crate::base::{PartitionKey, TopicId};
use crate::bench::kafka::{SOFTWARE, api};
use crate::client::FetchRequest;
use crate::protocol::kafka::api::{Api, key};
use crate::protocol::kafka::frame::end;
use crate::protocol::kafka::wire::{
    Field, Malformed, Reader, Shape, write_count, write_string, write_tagged,
};

/// From these versions on, topics are named by their ids.
const PRODUCE_IDS_FROM: i16 = 13;
const FETCH_IDS_FROM: i16 = 13;
/// How long a broker may take to replicate a produce.
const TIMEOUT_MS: i32 = 30_000;

/// A topic by both of its names: which one counts, the version says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id; none of a broker that knows no ids.
    pub id: TopicId,
}

impl Topic {
    fn write(&self, out: &mut Vec<u8>, shape: Shape, ids_from: i16) {
        if shape.version >= ids_from {
            out.extend(self.id.0.to_be_bytes());
        } else {
            write_string(self.name.as_bytes(), out, shape);
        }
    }
}

/// Appends a whole request.
pub fn request(api: &Api, version: i16, correlation: i32, body: &impl Field, out: &mut Vec<u8>) {
    let at = begin(api, version, correlation, out);
    body.write(out, api.shape(version));
    end(at, 0, out);
}

/// Begins a request; returns where.
fn begin(api: &Api, version: i16, correlation: i32, out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend([0; 4]);
    out.extend(api.key.to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend(correlation.to_be_bytes());
    // The client's name is never compact.
    let classic = Shape {
        version,
        is_flexible: false,
    };
    write_string(SOFTWARE.as_bytes(), out, classic);
    write_tagged(out, api.shape(version));
    at
}

/// Appends a produce of one batch of `bytes` bytes, without it: it goes behind, and [`produce_tail`] behind it.
pub fn produce_head(
    version: i16,
    correlation: i32,
    (acks, topic, index): (AckLevel, &Topic, i32),
    bytes: usize,
    out: &mut Vec<u8>,
) {
    let api = api(key::PRODUCE);
    let shape = api.shape(version);
    let at = begin(api, version, correlation, out);
    // No transaction.
    None::<String>.write(out, shape);
    out.extend(acks_of(acks).to_be_bytes());
    out.extend(TIMEOUT_MS.to_be_bytes());
    write_count(1, out, shape);
    topic.write(out, shape, PRODUCE_IDS_FROM);
    write_count(1, out, shape);
    out.extend(index.to_be_bytes());
    write_count(bytes, out, shape);
    end(at, bytes + produce_tail(shape).len(), out);
}

/// What follows the records of a produce: the ends of partition, topic and request.
pub fn produce_tail(shape: Shape) -> &'static [u8] {
    match shape.is_flexible {
        true => &[0; 3],
        false => &[],
    }
}

fn acks_of(level: AckLevel) -> i16 {
    match level {
        AckLevel::None => 0,
        AckLevel::Written => 1,
        AckLevel::Synced => -1,
    }
}

/// Appends a fetch of partitions of one topic.
pub fn fetch(
    version: i16,
    correlation: i32,
    topic: &Topic,
    asked: &FetchRequest,
    out: &mut Vec<u8>,
) {
    let api = api(key::FETCH);
    let shape = api.shape(version);
    let at = begin(api, version, correlation, out);
    if shape.has(0, 14) {
        // No replica of it.
        out.extend((-1i32).to_be_bytes());
    }
    let wait_ms = asked.wait_max.as_millis() as i32;
    for number in [wait_ms, asked.bytes_min as i32, asked.bytes_max as i32] {
        out.extend(number.to_be_bytes());
    }
    // Uncommitted records, too.
    out.push(0);
    if shape.has(7, i16::MAX) {
        // No session: id 0, epoch -1.
        out.extend(0i32.to_be_bytes());
        out.extend((-1i32).to_be_bytes());
    }
    write_count(1, out, shape);
    topic.write(out, shape, FETCH_IDS_FROM);
    write_count(asked.partitions.len(), out, shape);
    for one in &asked.partitions {
        out.extend((one.key.partition.0 as i32).to_be_bytes());
        if shape.has(9, i16::MAX) {
            out.extend((-1i32).to_be_bytes());
        }
        out.extend((one.from.0 as i64).to_be_bytes());
        if shape.has(12, i16::MAX) {
            out.extend((-1i32).to_be_bytes());
        }
        if shape.has(5, i16::MAX) {
            out.extend((-1i64).to_be_bytes());
        }
        out.extend((one.bytes_max as i32).to_be_bytes());
        write_tagged(out, shape);
    }
    write_tagged(out, shape);
    if shape.has(7, i16::MAX) {
        // Nothing that a session were to forget.
        write_count(0, out, shape);
    }
    if shape.has(11, i16::MAX) {
        write_string(b"", out, shape);
    }
    write_tagged(out, shape);
    end(at, 0, out);
}

/// Takes the header off an answer's front: the correlation id, and what is behind it.
pub fn answer<'a>(
    api: &Api,
    version: i16,
    content: &'a [u8],
) -> Result<(i32, Reader<'a>), Malformed> {
    let mut reader = Reader::new(content);
    let correlation = reader.i32()?;
    // ApiVersions is read before versions are known: its answers never have them.
    if api.key != key::API_VERSIONS {
        reader.tagged(api.shape(version))?;
    }
    Ok((correlation, reader))
}

/// What a produce of one batch came to: Kafka's code, 0 being success, and the broker's words.
pub fn produced<'a>(
    mut reader: Reader<'a>,
    shape: Shape,
) -> Result<(i16, Option<&'a str>), Malformed> {
    one(&mut reader, shape)?;
    topic(&mut reader, shape, PRODUCE_IDS_FROM)?;
    one(&mut reader, shape)?;
    let _index = reader.i32()?;
    let code = reader.i16()?;
    let (_base_offset, _append_time) = (reader.i64()?, reader.i64()?);
    if shape.has(5, i16::MAX) {
        let _log_start = reader.i64()?;
    }
    let mut words = None;
    if shape.has(8, i16::MAX) {
        for _ in 0..reader.count(shape)?.unwrap_or(0) {
            let (_batch_index, _message) = (reader.i32()?, reader.string(shape)?);
            reader.tagged(shape)?;
        }
        words = reader.string(shape)?;
    }
    Ok((code, words))
}

fn one(reader: &mut Reader<'_>, shape: Shape) -> Result<(), Malformed> {
    match reader.count(shape)? {
        Some(1) => Ok(()),
        _ => Err(Malformed::Field("count of what was asked")),
    }
}

fn topic(reader: &mut Reader<'_>, shape: Shape, ids_from: i16) -> Result<(), Malformed> {
    if shape.version >= ids_from {
        reader.array::<16>().map(drop)
    } else {
        reader.string(shape).map(drop)
    }
}

/// A partition of an answer to a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FetchedEntry<'a> {
    /// Which.
    pub index: i32,
    /// Kafka's code; 0: none.
    pub code: i16,
    /// The record batches; the last may be cut short.
    pub batches: &'a [u8],
}

/// Walks over the partitions of an answer to a fetch. Returns the code of the whole.
pub fn fetched<'a, E: From<Malformed>>(
    mut reader: Reader<'a>,
    shape: Shape,
    mut take: impl FnMut(FetchedEntry<'a>) -> Result<(), E>,
) -> Result<i16, E> {
    let _throttle_ms = reader.i32()?;
    let mut code = 0;
    if shape.has(7, i16::MAX) {
        code = reader.i16()?;
        let _session_id = reader.i32()?;
    }
    for _ in 0..reader.count(shape)?.unwrap_or(0) {
        topic(&mut reader, shape, FETCH_IDS_FROM)?;
        for _ in 0..reader.count(shape)?.unwrap_or(0) {
            take(entry(&mut reader, shape)?)?;
        }
        reader.tagged(shape)?;
    }
    Ok(code)
}

fn entry<'a>(reader: &mut Reader<'a>, shape: Shape) -> Result<FetchedEntry<'a>, Malformed> {
    let (index, code) = (reader.i32()?, reader.i16()?);
    let (_high_watermark, _last_stable) = (reader.i64()?, reader.i64()?);
    if shape.has(5, i16::MAX) {
        let _log_start = reader.i64()?;
    }
    for _ in 0..reader.count(shape)?.unwrap_or(0) {
        let (_producer_id, _first_offset) = (reader.i64()?, reader.i64()?);
        reader.tagged(shape)?;
    }
    if shape.has(11, i16::MAX) {
        let _preferred_replica = reader.i32()?;
    }
    let batches = reader.bytes(shape)?.unwrap_or_default();
    reader.tagged(shape)?;
    Ok(FetchedEntry {
        index,
        code,
        batches,
    })
}

/// The index of a partition on the wire.
pub fn index_of(key: PartitionKey) -> i32 {
    key.partition.0 as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Offset, PartitionNo};
    use crate::client::FetchPartition;
    use crate::protocol::kafka::{Asked, Fetch, Produce, Split, fetch, frame, produce, split};
    use std::time::Duration;

    fn topic() -> Topic {
        Topic {
            name: "t".to_owned(),
            id: TopicId(7),
        }
    }

    /// The body of the one request in `bytes`, as a broker takes it apart.
    fn body(bytes: &[u8], key: i16, version: i16) -> &[u8] {
        let Ok(Split::Frame { content, total }) = split(bytes) else {
            panic!("one whole frame");
        };
        assert_eq!(total, bytes.len());
        let Ok(Asked::Served(header, body)) = frame::header(content) else {
            panic!("served");
        };
        assert_eq!((header.api.key, header.version), (key, version));
        assert_eq!((header.correlation, header.client_id), (9, Some(SOFTWARE)));
        body
    }

    #[test]
    fn a_broker_reads_what_a_produce_of_every_version_says() {
        let api = api(key::PRODUCE);
        for version in api.first..=api.last {
            let shape = api.shape(version);
            let mut bytes = Vec::new();
            let about = (AckLevel::Synced, &topic(), 3);
            produce_head(version, 9, about, b"batch".len(), &mut bytes);
            bytes.extend(b"batch");
            bytes.extend(produce_tail(shape));
            let parsed = Produce::parse(body(&bytes, key::PRODUCE, version), shape);
            let parsed = parsed.expect("ours");
            assert_eq!(parsed.level(), Some(AckLevel::Synced));
            let mut steps = Vec::new();
            parsed.walk(|step| steps.push(step));
            let partition = produce::Step::Partition {
                index: 3,
                records: Some(b"batch"),
            };
            assert_eq!(steps.len(), 2, "{version}");
            assert_eq!(steps[1], partition, "{version}");
        }
    }

    #[test]
    fn a_broker_reads_what_a_fetch_of_every_version_says() {
        let api = api(key::FETCH);
        let partition = |number, from| FetchPartition {
            key: PartitionKey::new(TopicId(7), PartitionNo(number)),
            from: Offset(from),
            bytes_max: 1 << 20,
        };
        let asked = FetchRequest {
            partitions: vec![partition(0, 5), partition(3, 1 << 40)],
            bytes_min: 1,
            wait_max: Duration::from_millis(100),
            bytes_max: 2 << 20,
        };
        for version in api.first..=api.last {
            let shape = api.shape(version);
            let mut bytes = Vec::new();
            super::fetch(version, 9, &topic(), &asked, &mut bytes);
            let parsed = Fetch::parse(body(&bytes, key::FETCH, version), shape).expect("ours");
            assert_eq!((parsed.wait_max, parsed.bytes_min), (asked.wait_max, 1));
            assert_eq!(parsed.bytes_max, asked.bytes_max);
            let mut found = Vec::new();
            parsed.walk(|step| {
                if let fetch::Step::Partition { index, from, .. } = step {
                    found.push((index, from));
                }
            });
            assert_eq!(found, [(0, Offset(5)), (3, Offset(1 << 40))], "{version}");
        }
    }

    /// The head of an answer of one topic, as brokers write it.
    fn named(out: &mut Vec<u8>, shape: Shape, ids_from: i16) {
        write_count(1, out, shape);
        topic().write(out, shape, ids_from);
        write_count(1, out, shape);
    }

    #[test]
    fn answers_to_a_produce_are_read_and_a_part_of_one_is_not() {
        for version in [3, 5, 8, 9, 13] {
            let shape = api(key::PRODUCE).shape(version);
            let mut bytes = Vec::new();
            named(&mut bytes, shape, PRODUCE_IDS_FROM);
            bytes.extend(3i32.to_be_bytes());
            bytes.extend(87i16.to_be_bytes());
            bytes.extend([0; 16]);
            bytes.resize(bytes.len() + if version >= 5 { 8 } else { 0 }, 0);
            if version >= 8 {
                write_count(1, &mut bytes, shape);
                bytes.extend(0i32.to_be_bytes());
                write_string(b"this record", &mut bytes, shape);
                write_tagged(&mut bytes, shape);
                write_string(b"no", &mut bytes, shape);
            }
            let words = (version >= 8).then_some("no");
            assert_eq!(produced(Reader::new(&bytes), shape), Ok((87, words)));
            for cut in 0..bytes.len() {
                assert!(
                    produced(Reader::new(&bytes[..cut]), shape).is_err(),
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn answers_to_a_fetch_are_read_and_a_part_of_one_is_not() {
        for version in [4, 7, 11, 12, 18] {
            let shape = api(key::FETCH).shape(version);
            let mut bytes = vec![0; 4];
            if version >= 7 {
                bytes.extend(70i16.to_be_bytes());
                bytes.extend([0; 4]);
            }
            named(&mut bytes, shape, FETCH_IDS_FROM);
            bytes.extend(3i32.to_be_bytes());
            bytes.extend(1i16.to_be_bytes());
            bytes.resize(bytes.len() + if version >= 5 { 24 } else { 16 }, 0);
            write_count(1, &mut bytes, shape);
            bytes.extend([0; 16]);
            write_tagged(&mut bytes, shape);
            bytes.resize(bytes.len() + if version >= 11 { 4 } else { 0 }, 0);
            write_count(b"batch".len(), &mut bytes, shape);
            bytes.extend(b"batch");
            let whole = bytes.len();
            write_tagged(&mut bytes, shape);
            write_tagged(&mut bytes, shape);
            let walk = |bytes: &[u8]| {
                let mut found = Vec::new();
                let code = fetched(Reader::new(bytes), shape, |entry| {
                    found.push((entry.index, entry.code, entry.batches.to_vec()));
                    Ok::<(), Malformed>(())
                });
                code.map(|code| (code, found))
            };
            let code = if version >= 7 { 70 } else { 0 };
            let entry = (3, 1, b"batch".to_vec());
            assert_eq!(walk(&bytes), Ok((code, vec![entry])), "{version}");
            for cut in 0..whole {
                assert!(walk(&bytes[..cut]).is_err(), "{version} {cut}");
            }
        }
    }

    #[test]
    fn an_answer_that_ends_inside_its_header_is_none() {
        let api = api(key::FETCH);
        assert!(answer(api, 12, &[0, 0, 0, 1]).is_err(), "no tagged fields");
        assert!(answer(api, 11, &[0, 0, 0]).is_err());
        assert!(matches!(answer(api, 11, &[0, 0, 0, 1]), Ok((1, _))));
    }
}
