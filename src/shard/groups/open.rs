//! Reading committed offsets back at a start.
//!
//! | found of a slot | then |
//! |---|---|
//! | one generation | read it; if it is not whole, a repair has cut it, and there is nothing better |
//! | two, the newer one whole | read the newer, delete the older |
//! | two, the newer one not whole | delete the newer, read the older: a crash came between |
//! | one that cannot be read | keep it; groups of this slot are refused until it is repaired, which keeps what it can |

use crate::base::planted::{Bug, planted};
use crate::base::{PartitionKey, PartitionNo};
use crate::catalog::CATALOG_KEY;
use crate::group::{Coordinator, Moment, OffsetRecord, offsets_key};
use crate::io::Io;
use crate::shard::core::Core;
use crate::shard::groups::moment;
use crate::shard::groups::store::{Place, Slot, segment_settings};
use crate::shard::hosted::Hosted;
use crate::shard::replay::{Found, read_all};
use crate::shard::start::{StartReport, remedy};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// What one generation of a slot holds.
struct Read<I: Io> {
    hosted: Rc<Hosted<I>>,
    records: Vec<OffsetRecord>,
    is_whole: bool,
}

/// Reads what this core's groups have committed. `found` is what recovery found for this core, with its damage.
pub(in crate::shard) async fn open<I: Io>(
    core: &Core<I>,
    found: &BTreeMap<PartitionKey, Option<String>>,
    data: &Path,
    report: &mut StartReport,
) {
    let now = moment(&core.io);
    let own = |key: &&PartitionKey| key.topic.is_own() && **key != CATALOG_KEY;
    let mut generations: BTreeMap<PartitionNo, Vec<u32>> = BTreeMap::new();
    for key in found.keys().filter(own) {
        let generation = u32::try_from(key.topic.0).expect("ours are small");
        generations
            .entry(key.partition)
            .or_default()
            .push(generation);
    }
    for (no, generations) in generations {
        let damage = |generation: u32| found[&offsets_key(generation, no)].as_ref();
        let place = match choose(core, no, &generations, damage, report).await {
            Ok((generation, read)) => {
                restore(core, &now, read.records);
                Place::Open(generation, read.hosted)
            }
            Err((key, damage)) => {
                let remedy = remedy(data, &key.to_string());
                let damage = format!("{damage}; {remedy}");
                report.damaged.push((key, damage.clone()));
                Place::Damaged(damage)
            }
        };
        let slot = Slot::new(no, place);
        core.groups.slots.borrow_mut().insert(no, slot);
    }
}

/// The generation that counts. Deletes those that do not.
async fn choose<'a, I: Io>(
    core: &Core<I>,
    no: PartitionNo,
    generations: &[u32],
    damage: impl Fn(u32) -> Option<&'a String>,
    report: &mut StartReport,
) -> Result<(u32, Read<I>), (PartitionKey, String)> {
    let mut chosen = None;
    for (at, generation) in generations.iter().copied().enumerate().rev() {
        let key = offsets_key(generation, no);
        if chosen.is_none() {
            if let Some(damage) = damage(generation) {
                return Err((key, damage.clone()));
            }
            let read = read(core, key).await.map_err(|what| (key, what))?;
            // One that is not whole counts only where there is nothing before it.
            if read.is_whole || at == 0 || planted(Bug::TrustHalfSnapshot) {
                chosen = Some((generation, read));
                continue;
            }
        }
        match core.log.delete(key).await {
            Ok(()) => report.removed.push(key),
            Err(error) => report.closed.push(format!("partition {key}: {error}")),
        }
    }
    Ok(chosen.expect("the first generation is chosen if no other is"))
}

async fn read<I: Io>(core: &Core<I>, key: PartitionKey) -> Result<Read<I>, String> {
    let log = core.log.open(key, segment_settings()).await;
    let log = log.map_err(|error| error.to_string())?;
    let (mut records, mut is_whole, mut has_lost) = (Vec::new(), false, false);
    read_all(&core.io, &log, |found| {
        // Each record stands for itself: an older offset may count again, which the repair has told.
        let Found::Record(key, value) = found else {
            has_lost = true;
            return Ok(());
        };
        let key = key.ok_or("a record without key")?;
        let record = OffsetRecord::decode(key, value).map_err(|error| error.to_string())?;
        match record {
            OffsetRecord::Complete { records: said }
                if has_lost || said == records.len() as u64 =>
            {
                is_whole = true;
                Ok(())
            }
            OffsetRecord::Complete { records: said } => Err(format!(
                "a snapshot of {said} records has {}",
                records.len()
            )),
            record => {
                records.push(record);
                Ok(())
            }
        }
    })
    .await?;
    Ok(Read {
        hosted: Hosted::new_own(log),
        records,
        is_whole,
    })
}

/// Takes the records, but for those of topics that were deleted while nobody could say so.
fn restore<I: Io>(core: &Core<I>, now: &Moment, records: Vec<OffsetRecord>) {
    let catalog = core.catalog.borrow();
    let mut coordinator = core.groups.coordinator.borrow_mut();
    for record in records {
        let is_gone = match &record {
            OffsetRecord::Offset { key, .. } => catalog.is_deleted(key.topic),
            OffsetRecord::Complete { .. } => true,
        };
        if !is_gone {
            Coordinator::restore(&mut coordinator, now, record);
        }
    }
}
