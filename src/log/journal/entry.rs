//! The bytes of a journal file: a header block, then entries, each padded to whole blocks.
//!
//! ```text
//!  entry header, 128 bytes, little-endian
//!  0      8        10    12     16       32           40            48        56             64
//!  | magic | version| core| crc32| node id | generation | file number | sequence| durable bound| written bound |
//!  72       88     96              100          104       108     112
//!  | boot id| epoch | payload bytes | entry bytes| records | prev crc| zero ... 128
//!
//!  record, 96 bytes, followed by its inline bytes
//!  0         16         20     24            32       40           48          56            60          64
//!  | topic id | partition| flags| segment base| end pos| next offset| direct pos| direct bytes| direct crc| inline pos |
//!  72            76          80              88
//!  | inline bytes| reserved  | max timestamp | log start |
//! ```
//! `crc32` covers the whole padded entry with its own field zero; `prev crc` is the crc of the entry before (0 for the
//! first of an epoch), so that entries form a chain. The bounds count entries: all with a lower sequence are durable
//! (or written). `log start` is the first offset that the partition still holds; records of version 1 end before it, and
//! nothing was ever trimmed then. A file's header block is an entry without records whose magic differs.

use crate::base::checksum::crc32;
use crate::base::limits::BLOCK_BYTES;
use crate::base::planted::{Bug, planted};
use crate::base::{CoreId, NodeId, Offset, PartitionKey, PartitionNo, TopicId};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC_ENTRY: u64 = u64::from_le_bytes(*b"MRENTRY\x01");
const MAGIC_FILE: u64 = u64::from_le_bytes(*b"MRJOURN\x01");
/// The format version that is written, and the first, which is read too.
pub(crate) const VERSION: u16 = 2;
const VERSION_FIRST: u16 = 1;
/// Bytes of an entry's header.
pub(crate) const HEADER_BYTES: usize = 128;
/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = 96;
const FIRST_RECORD_BYTES: usize = 88;
const MAGIC_CLEAN: u64 = u64::from_le_bytes(*b"MRCLEAN\x01");
const CRC_AT: usize = 12;
const FLAG_DELETED: u32 = 1;

/// Which use of which file an entry belongs to. Equal for all entries of one use of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId {
    pub(crate) node: NodeId,
    pub(crate) core: CoreId,
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    pub(crate) generation: u64,
}

/// What an entry's header says, apart from lengths and checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryHead {
    pub(crate) file: FileId,
    pub(crate) sequence: u64,
    pub(crate) durable_bound: u64,
    pub(crate) written_bound: u64,
    pub(crate) boot_id: u128,
    pub(crate) previous_crc: u32,
}

/// What one cycle promises of one segment: the bytes from where its direct (or inline) part begins to `end_pos`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    pub(crate) key: PartitionKey,
    /// The partition is deleted from here on.
    pub(crate) deleted: bool,
    pub(crate) segment: Offset,
    pub(crate) end_pos: u64,
    pub(crate) next_offset: Offset,
    pub(crate) direct_pos: u64,
    pub(crate) direct_bytes: u32,
    pub(crate) direct_crc: u32,
    pub(crate) inline_pos: u64,
    pub(crate) inline_bytes: u32,
    pub(crate) max_timestamp: i64,
    /// The partition holds nothing below.
    pub(crate) log_start: Offset,
}

impl Record {
    /// The first position that the record covers.
    pub(crate) fn start(&self) -> u64 {
        if self.direct_bytes > 0 {
            self.direct_pos
        } else {
            self.inline_pos
        }
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct DiskHeader {
    magic: U64,
    version: U16,
    core: U16,
    crc: U32,
    node: U128,
    generation: U64,
    number: U64,
    sequence: U64,
    durable_bound: U64,
    written_bound: U64,
    boot_id: U128,
    epoch: U64,
    payload_bytes: U32,
    entry_bytes: U32,
    records: U32,
    previous_crc: U32,
    zero: [u8; 16],
}
const _: () = assert!(size_of::<DiskHeader>() == HEADER_BYTES);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct DiskRecord {
    topic: U128,
    partition: U32,
    flags: U32,
    segment: U64,
    end_pos: U64,
    next_offset: U64,
    direct_pos: U64,
    direct_bytes: U32,
    direct_crc: U32,
    inline_pos: U64,
    inline_bytes: U32,
    reserved: U32,
    max_timestamp: I64,
}
const _: () = assert!(size_of::<DiskRecord>() == FIRST_RECORD_BYTES);
const _: () = assert!(FIRST_RECORD_BYTES + size_of::<U64>() == RECORD_BYTES);

/// Fills one entry into a block-aligned buffer, record by record.
#[derive(Debug)]
pub(crate) struct EntryWriter<'a> {
    out: &'a mut [u8],
    used: usize,
    records: u32,
}

impl<'a> EntryWriter<'a> {
    /// Starts an entry at the front of `out`.
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        assert!(out.len() >= BLOCK_BYTES && out.len().is_multiple_of(BLOCK_BYTES));
        Self {
            out,
            used: HEADER_BYTES,
            records: 0,
        }
    }

    /// How many inline bytes one more record may carry; `None` if not even a record fits.
    pub(crate) fn room(&self) -> Option<usize> {
        self.out.len().checked_sub(self.used + RECORD_BYTES)
    }

    /// Adds a record and its inline bytes. The room must have been asked.
    pub(crate) fn push(&mut self, record: &Record, inline: &[u8]) {
        assert!(inline.len() == record.inline_bytes as usize);
        let disk = DiskRecord {
            topic: U128::new(record.key.topic.0),
            partition: U32::new(record.key.partition.0),
            flags: U32::new(if record.deleted { FLAG_DELETED } else { 0 }),
            segment: U64::new(record.segment.0),
            end_pos: U64::new(record.end_pos),
            next_offset: U64::new(record.next_offset.0),
            direct_pos: U64::new(record.direct_pos),
            direct_bytes: U32::new(record.direct_bytes),
            direct_crc: U32::new(record.direct_crc),
            inline_pos: U64::new(record.inline_pos),
            inline_bytes: U32::new(record.inline_bytes),
            reserved: U32::new(0),
            max_timestamp: I64::new(record.max_timestamp),
        };
        self.append(disk.as_bytes());
        self.append(U64::new(record.log_start.0).as_bytes());
        self.append(inline);
        self.records += 1;
    }

    fn append(&mut self, bytes: &[u8]) {
        self.out[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
    }

    /// How many records it has.
    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    /// Pads, seals with the checksum. Returns the entry's length in bytes and its crc.
    pub(crate) fn finish(self, head: &EntryHead) -> (usize, u32) {
        self.seal(MAGIC_ENTRY, head)
    }

    fn seal(self, magic: u64, head: &EntryHead) -> (usize, u32) {
        let total = self.used.next_multiple_of(BLOCK_BYTES);
        self.out[self.used..total].fill(0);
        let mut header = DiskHeader {
            magic: U64::new(magic),
            version: U16::new(VERSION),
            core: U16::new(head.file.core.0),
            crc: U32::new(0),
            node: U128::new(head.file.node.0),
            generation: U64::new(head.file.generation),
            number: U64::new(head.file.number),
            sequence: U64::new(head.sequence),
            durable_bound: U64::new(head.durable_bound),
            written_bound: U64::new(head.written_bound),
            boot_id: U128::new(head.boot_id),
            epoch: U64::new(head.file.epoch),
            payload_bytes: U32::new((self.used - HEADER_BYTES) as u32),
            entry_bytes: U32::new(total as u32),
            records: U32::new(self.records),
            previous_crc: U32::new(head.previous_crc),
            zero: [0; 16],
        };
        self.out[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        let crc = crc32(&self.out[..total]);
        header.crc = U32::new(crc);
        self.out[..HEADER_BYTES].copy_from_slice(header.as_bytes());
        (total, crc)
    }
}

/// Writes a file's header block into `out`, which is one block.
pub(crate) fn encode_file_header(file: FileId, boot_id: u128, out: &mut [u8]) {
    let head = EntryHead {
        file,
        sequence: 0,
        durable_bound: 0,
        written_bound: 0,
        boot_id,
        previous_crc: 0,
    };
    EntryWriter::new(out).seal(MAGIC_FILE, &head);
}

/// Writes the block of a clean-stop mark: all entries of `head`'s epoch below its sequence are durable, none follow.
pub(crate) fn encode_clean_mark(head: &EntryHead, out: &mut [u8]) {
    EntryWriter::new(out).seal(MAGIC_CLEAN, head);
}

/// Reads the block of a clean-stop mark.
pub(crate) fn parse_clean_mark(bytes: &[u8]) -> Result<EntryHead, NotAnEntry> {
    Entry::parse_as(MAGIC_CLEAN, bytes).map(|entry| entry.head)
}

/// How long an entry of this file claims to be, checksum unseen: tells a torn entry from bytes of an older use.
pub(crate) fn claimed_bytes(file: &FileId, bytes: &[u8]) -> Option<usize> {
    let (header, _) = DiskHeader::ref_from_prefix(bytes).ok()?;
    let ours = header.magic.get() == MAGIC_ENTRY && head(header).file == *file;
    ours.then_some(header.entry_bytes.get() as usize)
}

/// How long an entry, a file's header or a clean-stop mark claims to be, whoever wrote it; nothing else of it is seen.
pub(crate) fn claimed_by_anybody(bytes: &[u8]) -> Option<usize> {
    let (header, _) = DiskHeader::ref_from_prefix(bytes).ok()?;
    let known = [MAGIC_ENTRY, MAGIC_FILE, MAGIC_CLEAN].contains(&header.magic.get());
    known.then_some(header.entry_bytes.get() as usize)
}

/// A valid entry at the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) head: EntryHead,
    pub(crate) crc: u32,
    /// Length with padding.
    pub(crate) bytes: usize,
    records: u32,
    version: u16,
    payload: &'a [u8],
}

/// Why bytes are not a valid entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotAnEntry {
    /// Nothing that looks like one, or a checksum that does not hold.
    Invalid,
    /// A valid one of a format version that is not known.
    Version(u16),
}

impl<'a> Entry<'a> {
    /// Checks the entry at the front of `bytes`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, NotAnEntry> {
        Self::parse_as(MAGIC_ENTRY, bytes)
    }

    fn parse_as(magic: u64, bytes: &'a [u8]) -> Result<Self, NotAnEntry> {
        let (header, _) = DiskHeader::ref_from_prefix(bytes).map_err(|_| NotAnEntry::Invalid)?;
        let total = header.entry_bytes.get() as usize;
        let shape = header.magic.get() == magic
            && total >= BLOCK_BYTES
            && total.is_multiple_of(BLOCK_BYTES)
            && total <= bytes.len()
            && header.payload_bytes.get() as usize <= total - HEADER_BYTES;
        if !shape {
            return Err(NotAnEntry::Invalid);
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..CRC_AT]);
        hasher.update(&[0; 4]);
        hasher.update(&bytes[CRC_AT + 4..total]);
        if hasher.finalize() != header.crc.get() && !planted(Bug::AcceptBadCrc) {
            return Err(NotAnEntry::Invalid);
        }
        let version = header.version.get();
        if !(VERSION_FIRST..=VERSION).contains(&version) {
            return Err(NotAnEntry::Version(version));
        }
        let payload = &bytes[HEADER_BYTES..HEADER_BYTES + header.payload_bytes.get() as usize];
        let entry = Self {
            head: head(header),
            crc: header.crc.get(),
            bytes: total,
            records: header.records.get(),
            version,
            payload,
        };
        if entry.records_are_consistent() {
            Ok(entry)
        } else {
            Err(NotAnEntry::Invalid)
        }
    }

    /// The records, each with where its inline bytes lie, counted from the entry's first byte.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Record, usize)> + use<'a> {
        let (payload, version) = (self.payload, self.version);
        let mut at = 0;
        (0..self.records).map_while(move |_| {
            let (record, inline) = read_record(payload, at, version)?;
            at = inline + record.inline_bytes as usize;
            Some((record, HEADER_BYTES + inline))
        })
    }

    fn records_are_consistent(&self) -> bool {
        let (mut count, mut end) = (0, HEADER_BYTES);
        for (record, inline) in self.records() {
            count += 1;
            end = inline + record.inline_bytes as usize;
        }
        count == self.records && end == HEADER_BYTES + self.payload.len()
    }
}

/// Reads a file's header block.
pub(crate) fn parse_file_header(bytes: &[u8]) -> Result<FileId, NotAnEntry> {
    Entry::parse_as(MAGIC_FILE, bytes).map(|entry| entry.head.file)
}

fn head(header: &DiskHeader) -> EntryHead {
    EntryHead {
        file: FileId {
            node: NodeId(header.node.get()),
            core: CoreId(header.core.get()),
            epoch: header.epoch.get(),
            number: header.number.get(),
            generation: header.generation.get(),
        },
        sequence: header.sequence.get(),
        durable_bound: header.durable_bound.get(),
        written_bound: header.written_bound.get(),
        boot_id: header.boot_id.get(),
        previous_crc: header.previous_crc.get(),
    }
}

fn read_record(payload: &[u8], at: usize, version: u16) -> Option<(Record, usize)> {
    let (disk, rest) = DiskRecord::ref_from_prefix(payload.get(at..)?).ok()?;
    let (log_start, inline) = match version {
        VERSION_FIRST => (0, at + FIRST_RECORD_BYTES),
        _ => (U64::ref_from_prefix(rest).ok()?.0.get(), at + RECORD_BYTES),
    };
    payload.get(inline..inline.checked_add(disk.inline_bytes.get() as usize)?)?;
    let record = Record {
        key: PartitionKey::new(TopicId(disk.topic.get()), PartitionNo(disk.partition.get())),
        deleted: disk.flags.get() & FLAG_DELETED != 0,
        segment: Offset(disk.segment.get()),
        end_pos: disk.end_pos.get(),
        next_offset: Offset(disk.next_offset.get()),
        direct_pos: disk.direct_pos.get(),
        direct_bytes: disk.direct_bytes.get(),
        direct_crc: disk.direct_crc.get(),
        inline_pos: disk.inline_pos.get(),
        inline_bytes: disk.inline_bytes.get(),
        max_timestamp: disk.max_timestamp.get(),
        log_start: Offset(log_start),
    };
    Some((record, inline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::checksum::bytes_for_zero;

    fn head() -> EntryHead {
        let file = FileId {
            node: NodeId(1),
            core: CoreId(2),
            epoch: 3,
            number: 4,
            generation: 5,
        };
        EntryHead {
            file,
            sequence: 6,
            durable_bound: 4,
            written_bound: 5,
            boot_id: 7,
            previous_crc: 8,
        }
    }

    fn record(inline: u32) -> Record {
        Record {
            key: PartitionKey::new(TopicId(u128::MAX - 3), PartitionNo(12)),
            deleted: false,
            segment: Offset(100),
            end_pos: 4096 + u64::from(inline),
            next_offset: Offset(130),
            direct_pos: 0,
            direct_bytes: 4096,
            direct_crc: 99,
            inline_pos: 4096,
            inline_bytes: inline,
            max_timestamp: -5,
            log_start: Offset(77),
        }
    }

    fn sample() -> Vec<u8> {
        let mut out = vec![0xa5; 3 * BLOCK_BYTES];
        let mut writer = EntryWriter::new(&mut out);
        writer.push(&record(5000), &[7; 5000]);
        writer.push(&record(0), &[]);
        let (total, _) = writer.finish(&head());
        out.truncate(total);
        out
    }

    #[test]
    fn an_entry_comes_back() {
        let bytes = sample();
        assert_eq!(bytes.len(), 2 * BLOCK_BYTES);
        let entry = Entry::parse(&bytes).expect("just written");
        assert_eq!(entry.head, head());
        let records: Vec<_> = entry.records().collect();
        assert_eq!(
            records.iter().map(|(r, _)| *r).collect::<Vec<_>>(),
            [record(5000), record(0)]
        );
        let inline = records[0].1;
        assert!(bytes[inline..inline + 5000].iter().all(|b| *b == 7));
    }

    #[test]
    fn a_checksum_of_zero_is_one_like_any_other() {
        let write = |four: [u8; 4]| {
            let mut out = vec![0; BLOCK_BYTES];
            let mut writer = EntryWriter::new(&mut out);
            writer.push(&record(4), &four);
            let crc = writer.finish(&head()).1;
            (out, crc)
        };
        let four = bytes_for_zero(|four| write(four).1);
        let (bytes, crc) = write(four);
        assert_eq!(crc, 0);
        assert_eq!(Entry::parse(&bytes).expect("sound").crc, 0);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_refused() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert!(Entry::parse(&bytes[..cut]).is_err());
        }
        for index in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[index] ^= 1;
            assert!(Entry::parse(&bad).is_err(), "byte {index}");
        }
    }

    /// Goal: what a broker before this one wrote is read. Method: the sample without what its version lacks.
    #[test]
    fn an_entry_of_the_first_version_is_read() {
        let mut bytes = sample();
        let (first, behind) = (
            HEADER_BYTES + FIRST_RECORD_BYTES,
            HEADER_BYTES + RECORD_BYTES,
        );
        let second = behind + 5000;
        let old = [&bytes[..first], &bytes[behind..second + FIRST_RECORD_BYTES]];
        let mut old = old.concat();
        let payload = (old.len() - HEADER_BYTES) as u32;
        old.resize(bytes.len(), 0);
        bytes = old;
        bytes[8..10].copy_from_slice(&1u16.to_le_bytes());
        bytes[96..100].copy_from_slice(&payload.to_le_bytes());
        bytes[12..16].fill(0);
        let crc = crc32(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        let entry = Entry::parse(&bytes).expect("sound");
        let records: Vec<_> = entry.records().map(|(record, _)| record).collect();
        let without = |inline| Record {
            log_start: Offset(0),
            ..record(inline)
        };
        assert_eq!(records, [without(5000), without(0)]);
    }

    #[test]
    fn a_newer_version_is_named_and_a_file_header_is_no_entry() {
        let mut block = vec![0; BLOCK_BYTES];
        encode_file_header(head().file, 1, &mut block);
        assert_eq!(parse_file_header(&block), Ok(head().file));
        assert!(matches!(Entry::parse(&block), Err(NotAnEntry::Invalid)));
        block[8] = 9;
        block[12..16].fill(0);
        let crc = crc32(&block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(parse_file_header(&block), Err(NotAnEntry::Version(9)));
    }
}
