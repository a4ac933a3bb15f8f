//! The parsers of what lies on disk, for fuzzing: bytes that were damaged and whose checksum fits all the same. No part of
//! the log's interface.

use crate::base::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use crate::base::checksum::{crc32, crc32c};
use crate::base::limits::BLOCK_BYTES;
use crate::base::{Offset, PartitionKey, PartitionNo, TopicId};
use crate::log::index::{self, End, Index};
use crate::log::journal::entry::{self, Entry};
use crate::log::recovery::walk::Walk;

/// Where headers of entries and of index blocks have their checksum (CRC-32 of the whole, this field zero), and where an
/// entry has its length and the checksum of the entry before it.
const CRC_AT: usize = 12;
const ENTRY_BYTES_AT: usize = 100;
const PREVIOUS_CRC_AT: usize = 108;

/// Reads a journal entry with all its records; makes its checksum fit before. How many records there are, if it is one.
pub fn journal_entry(bytes: &mut [u8]) -> Option<usize> {
    let claimed: [u8; 4] = *bytes.get(ENTRY_BYTES_AT..)?.first_chunk()?;
    let claimed = u32::from_le_bytes(claimed) as usize;
    seal(bytes.get_mut(..claimed)?);
    let entry = Entry::parse(bytes).ok()?;
    let mut records = 0;
    for (record, at) in entry.records() {
        assert!(at + record.inline_bytes as usize <= claimed);
        records += 1;
    }
    Some(records)
}

/// Reads an index file of one partition; makes the checksums of its blocks fit before. How many entries can be trusted.
pub fn index_file(topic: u128, partition: u32, base: u64, bytes: &mut [u8]) -> usize {
    seal_index(bytes);
    let key = PartitionKey::new(TopicId(topic), PartitionNo(partition));
    let (entries, _end) = index::decode(key, Offset(base), bytes);
    for pair in entries.windows(2) {
        assert!(pair[0].offset < pair[1].offset && pair[0].pos < pair[1].pos);
    }
    entries.len()
}

/// Walks over a segment's bytes from `base` on as recovery does, `window` bytes more at a time; makes the checksums of
/// its batches fit before. How many bytes it takes for whole batches, or what is wrong.
pub fn segment(base: u64, bytes: &mut [u8], window: usize) -> Result<usize, String> {
    seal_segment(bytes);
    let start = End {
        pos: 0,
        next_offset: Offset(base),
        max_timestamp: i64::MIN,
    };
    let mut walk = Walk::new(Index::default(), start);
    let (mut done, mut seen) = (0, 0);
    while seen < bytes.len() {
        seen = bytes.len().min(seen + window.max(1));
        done += walk.over(&bytes[done..seen], u64::MAX, None)?;
        assert!(done <= seen && walk.end.pos == done as u64);
    }
    let entries = walk.index.entries();
    for pair in entries.windows(2) {
        assert!(pair[0].offset < pair[1].offset && pair[0].pos < pair[1].pos);
    }
    assert!(entries.iter().all(|entry| entry.pos < walk.end.pos));
    Ok(done)
}

/// Makes the checksums of a journal file fit, and those of a clean-stop mark: of its header, of its entries, and in each
/// entry that of the one before.
pub fn seal_journal(bytes: &mut [u8]) {
    let (mut at, mut previous) = (0, None::<[u8; 4]>);
    while at + BLOCK_BYTES <= bytes.len() {
        let claimed = entry::claimed_by_anybody(&bytes[at..]).unwrap_or(0);
        let whole = claimed >= BLOCK_BYTES && claimed <= bytes.len() - at;
        if !whole {
            at += BLOCK_BYTES;
            continue;
        }
        let entry = &mut bytes[at..at + claimed];
        if let Some(crc) = previous {
            entry[PREVIOUS_CRC_AT..PREVIOUS_CRC_AT + 4].copy_from_slice(&crc);
        }
        seal(entry);
        // The block at the front is the file's header: no entry follows it in the chain.
        if at > 0 {
            previous = entry[CRC_AT..CRC_AT + 4].first_chunk::<4>().copied();
        }
        at += claimed.next_multiple_of(BLOCK_BYTES);
    }
}

/// Makes the checksums of an index file's blocks fit.
pub fn seal_index(bytes: &mut [u8]) {
    bytes.chunks_exact_mut(BLOCK_BYTES).for_each(seal);
}

/// Makes the checksums of a segment's batches fit, as far as their lengths lead.
pub fn seal_segment(mut bytes: &mut [u8]) {
    while let Some(length) = bytes.get(8..).and_then(<[u8]>::first_chunk::<4>) {
        let total = i64::from(i32::from_be_bytes(*length)) + LENGTH_PREFIX_BYTES as i64;
        let total = usize::try_from(total).unwrap_or(0);
        if total < HEADER_BYTES || total > bytes.len() {
            return;
        }
        let (batch, rest) = bytes.split_at_mut(total);
        let crc = crc32c(&batch[CRC_START..]);
        batch[CRC_START - 4..CRC_START].copy_from_slice(&crc.to_be_bytes());
        bytes = rest;
    }
}

fn seal(bytes: &mut [u8]) {
    let Some(field) = bytes.get_mut(CRC_AT..CRC_AT + 4) else {
        return;
    };
    field.fill(0);
    let crc = crc32(bytes);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use crate::base::{CoreId, NodeId};
    use crate::log::index::{End, encode_block};
    use crate::log::journal::entry::{EntryHead, EntryWriter, FileId, Record};

    /// An entry with two records.
    fn entry() -> Vec<u8> {
        let mut bytes = vec![0; 2 * BLOCK_BYTES];
        let mut writer = EntryWriter::new(&mut bytes);
        for partition in 0..2 {
            let record = Record {
                key: PartitionKey::new(TopicId(7), PartitionNo(partition)),
                deleted: false,
                segment: Offset(0),
                end_pos: 100,
                next_offset: Offset(9),
                direct_pos: 0,
                direct_bytes: 0,
                direct_crc: 0,
                inline_pos: 0,
                inline_bytes: 100,
                max_timestamp: 5,
                log_start: Offset(0),
            };
            writer.push(&record, &[partition as u8; 100]);
        }
        let file = FileId {
            node: NodeId(1),
            core: CoreId(0),
            epoch: 1,
            number: 0,
            generation: 3,
        };
        let head = EntryHead {
            file,
            sequence: 4,
            durable_bound: 2,
            written_bound: 3,
            boot_id: 6,
            previous_crc: 8,
        };
        let (used, _) = writer.finish(&head);
        bytes.truncate(used);
        bytes
    }

    fn index() -> Vec<u8> {
        let entries: Vec<_> = (0..5)
            .map(|number| index::Entry {
                offset: Offset(10 * number),
                pos: 1_000 * number,
                max_before: 1,
            })
            .collect();
        let end = End {
            pos: 9_000,
            next_offset: Offset(99),
            max_timestamp: 1,
        };
        let key = PartitionKey::new(TopicId(7), PartitionNo(1));
        let mut block = vec![0; BLOCK_BYTES];
        encode_block(key, Offset(0), 0, &entries, end, true, &mut block);
        block
    }

    #[test]
    fn damage_with_a_good_checksum_never_panics() {
        assert_eq!(journal_entry(&mut entry()), Some(2));
        assert_eq!(index_file(7, 1, 0, &mut index()), 5);
        let mut prng = Prng::new(20_261_121);
        for round in 0..20_000 {
            let (mut entry, mut index) = (entry(), index());
            for bytes in [&mut entry, &mut index] {
                for _ in 0..1 + round % 4 {
                    // Headers and the first records, where the lengths are.
                    let at = prng.below(400) as usize;
                    bytes[at] = prng.next_u64() as u8;
                }
            }
            assert!(journal_entry(&mut entry).is_none_or(|records| records <= 40));
            assert!(index_file(7, 1, 0, &mut index) <= BLOCK_BYTES);
        }
        for cut in 0..300 {
            journal_entry(&mut entry()[..cut]);
            index_file(7, 1, 0, &mut index()[..cut]);
        }
    }
}
