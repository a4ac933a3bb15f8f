//! The journal's records sorted by partition, in the order in which they were made.

use crate::base::PartitionKey;
use crate::log::journal::entry::Record;
use crate::log::recovery::scan::Stream;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A record with what is known about its entry.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) record: Record,
    /// It was acknowledged: what it promises must be there.
    pub(crate) acknowledged: bool,
    /// What it promises of the segment was synced, not only written.
    pub(crate) durable: bool,
    /// An acknowledged entry before this record (and behind the partition's previous one) cannot be read.
    pub(crate) behind_damage: bool,
    pub(crate) file: PathBuf,
    pub(crate) inline_at: u64,
}

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) by_partition: BTreeMap<PartitionKey, Vec<Placed>>,
    /// Partitions whose last word may be in an entry that cannot be read.
    pub(crate) any_damaged: bool,
}

impl Placed {
    fn new(found: &crate::log::recovery::scan::FoundRecord, stream: &Stream) -> Self {
        Self {
            record: found.record,
            acknowledged: found.sequence < stream.acknowledged_bound,
            durable: found.sequence < stream.durable_bound,
            behind_damage: stream
                .damaged_at
                .is_some_and(|missing| found.sequence > missing),
            file: found.file.clone(),
            inline_at: found.inline_at,
        }
    }
}

/// Sorts the records of `streams`, which are in the order of their epochs, by partition.
pub(crate) fn collect(streams: &[Stream]) -> Records {
    let mut records = Records::default();
    for stream in streams {
        records.any_damaged |= stream.damaged_at.is_some();
        for found in &stream.records {
            let of_partition = records.by_partition.entry(found.record.key).or_default();
            of_partition.push(Placed::new(found, stream));
        }
        if stream.damaged_at.is_some() {
            mark_unknown(stream, &mut records);
        }
    }
    records
}

/// A partition of a damaged stream that has no record behind the damage may have had its last one in it: that is
/// marked by a record that nothing can satisfy.
fn mark_unknown(stream: &Stream, records: &mut Records) {
    let keys: std::collections::BTreeSet<_> = stream.records.iter().map(|r| r.record.key).collect();
    for key in keys {
        let of_partition = records
            .by_partition
            .get_mut(&key)
            .expect("its records were sorted in");
        let last = of_partition.last_mut().expect("it has at least one");
        if !last.behind_damage && !last.record.deleted {
            let mut unknown = last.clone();
            unknown.behind_damage = true;
            unknown.acknowledged = true;
            unknown.record.inline_pos = u64::MAX;
            unknown.record.inline_bytes = 0;
            unknown.record.direct_bytes = 0;
            of_partition.push(unknown);
        }
    }
}
