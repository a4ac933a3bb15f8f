//! What an answer repeats of its request: topics and partitions, in their order. Kept and filled again, so that a produce
//! or a fetch allocates nothing for it.

use crate::base::TopicId;
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::{Malformed, Reader, Shape, write_count, write_string};

/// How a request names a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic<'a> {
    /// By its name.
    Name(&'a str),
    /// By its id.
    Id(TopicId),
}

impl<'a> Topic<'a> {
    /// Reads it: an id from `id_from` on.
    pub(super) fn read(
        reader: &mut Reader<'a>,
        shape: Shape,
        id_from: i16,
    ) -> Result<Self, Malformed> {
        if shape.version >= id_from {
            let id = u128::from_be_bytes(reader.array()?);
            return Ok(Self::Id(TopicId(id)));
        }
        let name = reader.string(shape)?;
        name.map(Self::Name).ok_or(Malformed::Field("null"))
    }

    /// The code for a topic that does not exist.
    pub fn unknown(self) -> i16 {
        match self {
            Self::Name(_) => error::UNKNOWN_TOPIC_OR_PARTITION,
            Self::Id(_) => error::UNKNOWN_TOPIC_ID,
        }
    }
}

/// Walks over the topics of a request and the partitions of each, as steps. A topic is its id from version `id_from` on.
#[inline]
pub(super) fn walk<'a, S>(
    reader: &mut Reader<'a>,
    (shape, id_from): (Shape, i16),
    topic: impl Fn(Topic<'a>) -> S,
    partition: impl Fn(&mut Reader<'a>, Shape) -> Result<S, Malformed>,
    step: &mut impl FnMut(S),
) -> Result<(), Malformed> {
    for _ in 0..reader.count(shape)?.unwrap_or(0) {
        step(topic(Topic::read(reader, shape, id_from)?));
        for _ in 0..reader.count(shape)?.unwrap_or(0) {
            step(partition(reader, shape)?);
        }
        reader.tagged(shape)?;
    }
    Ok(())
}

/// A partition of the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EchoedPartition {
    /// Its number.
    pub index: i32,
    /// Why the engine was not asked about it; 0: it was.
    pub error_code: i16,
}

/// The topics and partitions of one request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Echo {
    /// The topics' names or ids as the answer has them, back to back.
    names: Vec<u8>,
    /// By topic: where its name ends, and how many partitions it has had when the next one begins.
    topics: Vec<(usize, usize)>,
    partitions: Vec<EchoedPartition>,
}

impl Echo {
    /// Forgets what it holds and keeps the memory.
    pub fn clear(&mut self) {
        self.names.clear();
        self.topics.clear();
        self.partitions.clear();
    }

    /// Bytes of memory that it holds.
    pub fn held_bytes(&self) -> usize {
        self.names.capacity()
            + self.topics.capacity() * size_of::<(usize, usize)>()
            + self.partitions.capacity() * size_of::<EchoedPartition>()
    }

    /// Begins a topic.
    pub fn topic(&mut self, topic: Topic<'_>, shape: Shape) {
        match topic {
            Topic::Name(name) => write_string(name.as_bytes(), &mut self.names, shape),
            Topic::Id(id) => self.names.extend(id.0.to_be_bytes()),
        }
        self.topics.push((self.names.len(), self.partitions.len()));
    }

    /// Adds a partition to the last topic.
    pub fn partition(&mut self, index: i32, error_code: i16) {
        self.partitions.push(EchoedPartition { index, error_code });
        if let Some((_, end)) = self.topics.last_mut() {
            *end = self.partitions.len();
        }
    }

    /// How many partitions the engine was asked about.
    pub fn asked(&self) -> usize {
        self.partitions
            .iter()
            .filter(|one| one.error_code == 0)
            .count()
    }

    /// Whether the engine was not asked about one of them.
    pub fn has_error(&self) -> bool {
        self.partitions.iter().any(|one| one.error_code != 0)
    }

    /// Refuses the partition that is the `nth` of those that the engine was asked about: it counts no more among them.
    pub fn refuse(&mut self, nth: usize, error_code: i16) {
        let mut asked = self.partitions.iter_mut().filter(|one| one.error_code == 0);
        let one = asked.nth(nth).expect("the engine was asked about it");
        one.error_code = error_code;
    }

    /// Why the engine was not asked about partitions: a code for each of those.
    pub fn errors(&self) -> impl Iterator<Item = i16> {
        let codes = self.partitions.iter().map(|one| one.error_code);
        codes.filter(|code| *code != 0)
    }

    /// Writes the topics' array: `partition` writes one of its partitions, `end` what ends a topic.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        shape: Shape,
        mut partition: impl FnMut(EchoedPartition, &mut Vec<u8>),
        mut end: impl FnMut(&mut Vec<u8>),
    ) {
        write_count(self.topics.len(), out, shape);
        let (mut name, mut first) = (0, 0);
        for &(name_end, last) in &self.topics {
            out.extend_from_slice(&self.names[name..name_end]);
            write_count(last - first, out, shape);
            for one in &self.partitions[first..last] {
                partition(*one, out);
            }
            end(out);
            (name, first) = (name_end, last);
        }
    }
}
