//! The parsers of what lies on disk, for fuzzing: bytes that were damaged and whose checksum fits all the same. No part of
//! the log's interface.

use crate::base::checksum::crc32;
use crate::base::limits::BLOCK_BYTES;
use crate::base::{Offset, PartitionKey, PartitionNo, TopicId};
use crate::log::index;
use crate::log::journal::entry::Entry;

/// Where headers of entries and of index blocks have their checksum (CRC-32 of the whole, this field zero), and where an
/// entry has its length.
const CRC_AT: usize = 12;
const ENTRY_BYTES_AT: usize = 100;

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
    bytes.chunks_exact_mut(BLOCK_BYTES).for_each(seal);
    let key = PartitionKey::new(TopicId(topic), PartitionNo(partition));
    let (entries, _end) = index::decode(key, Offset(base), bytes);
    for pair in entries.windows(2) {
        assert!(pair[0].offset < pair[1].offset && pair[0].pos < pair[1].pos);
    }
    entries.len()
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
