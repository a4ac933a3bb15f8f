//! The sparse index of one segment: which offset begins at which position, and the largest timestamp before it.
//!
//! In memory a sorted list, one entry per about `INDEX_INTERVAL_BYTES`. On disk (`.idx`) blocks of 4 KiB, each written
//! once when it is full, the last one when the segment is sealed:
//!
//! ```text
//!  0      8       10     12     16        32         36     40            48         52
//!  | magic | version| flags| crc32 | topic id | partition| count | segment base| block no | zero |
//!  56           64            72               80
//!  | end position| next offset | max timestamp  | entries: offset u64, position u64, max timestamp before i64 | 0.. |
//! ```
//! Little-endian. `crc32` covers the block with its own field zero. Flag bit 0: the segment is sealed and the end
//! fields are its own; else they are the state when the block was filled. The index is derived: what cannot be trusted
//! is left out and found again by walking the segment.

use crate::base::checksum::crc32;
use crate::base::limits::{BLOCK_BYTES, INDEX_INTERVAL_BYTES};
use crate::base::planted::{Bug, planted};
use crate::base::{Offset, PartitionKey};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: u64 = u64::from_le_bytes(*b"MRINDEX\x01");
const VERSION: u16 = 1;
const FLAG_SEALED: u16 = 1;
const HEADER_BYTES: usize = 80;
/// Entries in one full block.
pub(crate) const BLOCK_ENTRIES: usize = (BLOCK_BYTES - HEADER_BYTES) / size_of::<DiskEntry>();

/// A batch boundary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) offset: Offset,
    pub(crate) pos: u64,
    /// The largest timestamp of the segment's records before `pos`; `i64::MIN` at its start.
    pub(crate) max_before: i64,
}

/// Where a segment ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct End {
    pub(crate) pos: u64,
    pub(crate) next_offset: Offset,
    pub(crate) max_timestamp: i64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct DiskHeader {
    magic: U64,
    version: U16,
    flags: U16,
    crc: U32,
    topic: U128,
    partition: U32,
    count: U32,
    base: U64,
    block: U32,
    zero: U32,
    end_pos: U64,
    next_offset: U64,
    max_timestamp: I64,
}
const _: () = assert!(size_of::<DiskHeader>() == HEADER_BYTES);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct DiskEntry {
    offset: U64,
    pos: U64,
    max_before: I64,
}

/// See the module's words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
}

impl Index {
    /// An index of these entries, which must be sorted.
    pub(crate) fn from_entries(entries: Vec<Entry>) -> Self {
        Self { entries }
    }

    /// Notes the batch boundary `entry` if it lies far enough behind the last noted one. True: it was noted.
    pub(crate) fn note(&mut self, entry: Entry) -> bool {
        if self
            .entries
            .last()
            .is_some_and(|last| entry.pos < last.pos + INDEX_INTERVAL_BYTES)
        {
            return false;
        }
        self.entries.push(entry);
        true
    }

    /// The last boundary at or before `offset`.
    pub(crate) fn at_or_before(&self, offset: Offset) -> Option<Entry> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map(|index| self.entries[index])
    }

    /// The first boundary behind `offset`.
    pub(crate) fn after(&self, offset: Offset) -> Option<Entry> {
        self.entries
            .get(self.entries.partition_point(|entry| entry.offset <= offset))
            .copied()
    }

    /// The last boundary at or before position `pos`.
    pub(crate) fn at_or_before_pos(&self, pos: u64) -> Option<Entry> {
        let after = self.entries.partition_point(|entry| entry.pos <= pos);
        after.checked_sub(1).map(|index| self.entries[index])
    }

    /// The last boundary before which every record is older than `timestamp`.
    pub(crate) fn at_time(&self, timestamp: i64) -> Option<Entry> {
        let after = self
            .entries
            .partition_point(|entry| entry.max_before < timestamp);
        after.checked_sub(1).map(|index| self.entries[index])
    }

    /// All entries.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

/// Writes index block `number` (entries `number * BLOCK_ENTRIES ..`) into `out`, one zeroed block.
pub(crate) fn encode_block(
    key: PartitionKey,
    base: Offset,
    number: usize,
    entries: &[Entry],
    end: End,
    sealed: bool,
    out: &mut [u8],
) {
    assert!(entries.len() <= BLOCK_ENTRIES && out.len() == BLOCK_BYTES);
    out.fill(0);
    for (index, entry) in entries.iter().enumerate() {
        let disk = DiskEntry {
            offset: U64::new(entry.offset.0),
            pos: U64::new(entry.pos),
            max_before: I64::new(entry.max_before),
        };
        let at = HEADER_BYTES + index * size_of::<DiskEntry>();
        out[at..at + size_of::<DiskEntry>()].copy_from_slice(disk.as_bytes());
    }
    let mut header = DiskHeader {
        magic: U64::new(MAGIC),
        version: U16::new(VERSION),
        flags: U16::new(if sealed { FLAG_SEALED } else { 0 }),
        crc: U32::new(0),
        topic: U128::new(key.topic.0),
        partition: U32::new(key.partition.0),
        count: U32::new(entries.len() as u32),
        base: U64::new(base.0),
        block: U32::new(number as u32),
        zero: U32::new(0),
        end_pos: U64::new(end.pos),
        next_offset: U64::new(end.next_offset.0),
        max_timestamp: I64::new(end.max_timestamp),
    };
    out[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    header.crc = U32::new(crc32(out));
    out[..HEADER_BYTES].copy_from_slice(header.as_bytes());
}

/// Reads an index file as far as it can be trusted: the entries of its valid blocks, and the end if it was sealed.
pub(crate) fn decode(key: PartitionKey, base: Offset, bytes: &[u8]) -> (Vec<Entry>, Option<End>) {
    let mut entries = Vec::new();
    for (number, block) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
        let Some((header, found)) = decode_block(block) else {
            break;
        };
        let ours = header.topic.get() == key.topic.0
            && header.partition.get() == key.partition.0
            && header.base.get() == base.0
            && header.block.get() as usize == number;
        if !ours || !extends(&entries, &found) {
            break;
        }
        entries.extend(found);
        if header.flags.get() & FLAG_SEALED != 0 {
            let end = End {
                pos: header.end_pos.get(),
                next_offset: Offset(header.next_offset.get()),
                max_timestamp: header.max_timestamp.get(),
            };
            return (entries, Some(end));
        }
        if header.count.get() as usize != BLOCK_ENTRIES {
            break;
        }
    }
    (entries, None)
}

/// The numbers of the blocks of an index file that hold something and cannot be trusted, whatever stands before them.
pub(crate) fn bad_blocks(key: PartitionKey, base: Offset, bytes: &[u8]) -> Vec<usize> {
    let blocks = bytes.chunks_exact(BLOCK_BYTES).enumerate();
    let bad = blocks.filter(|(number, block)| {
        let is_ours = |header: &DiskHeader| {
            header.topic.get() == key.topic.0
                && header.partition.get() == key.partition.0
                && header.base.get() == base.0
                && header.block.get() as usize == *number
        };
        let is_good = decode_block(block).is_some_and(|(header, _)| is_ours(&header));
        !is_good && block.iter().any(|byte| *byte != 0)
    });
    bad.map(|(number, _)| number).collect()
}

fn decode_block(block: &[u8]) -> Option<(DiskHeader, Vec<Entry>)> {
    let (header, rest) = DiskHeader::read_from_prefix(block).ok()?;
    if header.magic.get() != MAGIC || header.version.get() != VERSION {
        return None;
    }
    let mut copy: [u8; BLOCK_BYTES] = block.try_into().ok()?;
    copy[12..16].fill(0);
    if crc32(&copy) != header.crc.get() && !planted(Bug::TrustIndex) {
        return None;
    }
    let bytes = rest.get(..header.count.get() as usize * size_of::<DiskEntry>())?;
    let entries = <[DiskEntry]>::ref_from_bytes(bytes).ok()?;
    let entries = entries.iter().map(|entry| Entry {
        offset: Offset(entry.offset.get()),
        pos: entry.pos.get(),
        max_before: entry.max_before.get(),
    });
    Some((header, entries.collect()))
}

fn extends(entries: &[Entry], more: &[Entry]) -> bool {
    let pairs = entries
        .last()
        .into_iter()
        .chain(more)
        .zip(more.iter().skip(usize::from(entries.is_empty())));
    pairs
        .into_iter()
        .all(|(a, b)| a.offset < b.offset && a.pos < b.pos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{PartitionNo, TopicId};

    fn key() -> PartitionKey {
        PartitionKey::new(TopicId(9), PartitionNo(2))
    }

    fn sample(count: u64) -> Vec<Entry> {
        (0..count)
            .map(|i| Entry {
                offset: Offset(i * 10),
                pos: i * 70_000,
                max_before: i as i64 - 1,
            })
            .collect()
    }

    fn encode(entries: &[Entry], sealed: bool) -> Vec<u8> {
        let end = End {
            pos: 1 << 30,
            next_offset: Offset(1 << 20),
            max_timestamp: 77,
        };
        let blocks = entries.len().div_ceil(BLOCK_ENTRIES).max(1);
        let mut out = vec![0; blocks * BLOCK_BYTES];
        for (number, block) in out.chunks_exact_mut(BLOCK_BYTES).enumerate() {
            let from = number * BLOCK_ENTRIES;
            let until = entries.len().min(from + BLOCK_ENTRIES);
            let last = number + 1 == blocks;
            encode_block(
                key(),
                Offset(0),
                number,
                &entries[from..until],
                end,
                sealed && last,
                block,
            );
        }
        out
    }

    #[test]
    fn a_file_comes_back_and_every_flipped_byte_ends_trust() {
        let entries = sample(BLOCK_ENTRIES as u64 + 5);
        let bytes = encode(&entries, true);
        let (found, end) = decode(key(), Offset(0), &bytes);
        assert_eq!(found, entries);
        assert_eq!(end.map(|end| end.max_timestamp), Some(77));
        for index in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[index] ^= 0x40;
            let (found, end) = decode(key(), Offset(0), &bad);
            assert!(found.len() < entries.len() && end.is_none(), "byte {index}");
        }
        for cut in (0..bytes.len()).step_by(61) {
            assert!(decode(key(), Offset(0), &bytes[..cut]).1.is_none());
        }
    }

    #[test]
    fn another_partitions_file_is_not_believed() {
        let bytes = encode(&sample(5), true);
        let other = PartitionKey::new(TopicId(9), PartitionNo(3));
        assert_eq!(decode(other, Offset(0), &bytes), (vec![], None));
        assert_eq!(decode(key(), Offset(1), &bytes), (vec![], None));
    }

    #[test]
    fn lookups_find_their_neighbours() {
        let index = Index::from_entries(sample(10));
        assert_eq!(index.at_or_before(Offset(25)).map(|e| e.offset.0), Some(20));
        assert_eq!(index.after(Offset(25)).map(|e| e.offset.0), Some(30));
        assert_eq!(index.at_or_before_pos(70_000).map(|e| e.offset.0), Some(10));
        assert_eq!(index.after(Offset(90)), None);
        assert_eq!(index.at_time(5).map(|e| e.max_before), Some(4));
        assert_eq!(index.at_time(-1), None);
    }
}
