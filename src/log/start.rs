//! Starting and stopping one core's log, and opening its partitions.

use crate::base::limits::BLOCK_BYTES;
use crate::base::planted::{Bug, planted};
use crate::base::{Offset, PartitionKey, Stages};
use crate::io::{File, Io, OpenMode};
use crate::log::core::Core;
use crate::log::index::Index;
use crate::log::journal::entry::{EntryHead, FileId, encode_clean_mark};
use crate::log::journal::files::{self, write_whole};
use crate::log::partition::{Partition, PartitionLog};
use crate::log::recovery::RecoveredPartition;
use crate::log::segment::{Segment, zeroed};
use crate::log::tail::Tail;
use crate::log::{
    AppendError, Draw, LogError, Options, SegmentSettings, Stats, commit, delete, paths, roll,
    rotate, scrub, space, sync,
};
use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

/// The settings of a recovered partition until the shard says otherwise.
const SETTINGS_UNTIL_TOLD: SegmentSettings = SegmentSettings {
    segment_bytes: u64::MAX,
    segment_ms: u64::MAX,
};

/// The log of one core. Clones are the same log.
pub struct Log<I: Io> {
    core: Rc<Core<I>>,
    damaged: Rc<RefCell<BTreeMap<PartitionKey, String>>>,
}

impl<I: Io> Clone for Log<I> {
    fn clone(&self) -> Self {
        Self {
            core: Rc::clone(&self.core),
            damaged: Rc::clone(&self.damaged),
        }
    }
}

impl<I: Io> Log<I> {
    /// Starts this core's log with the recovered partitions that it owns now. When it returns, all of them have been
    /// carried into this core's new journal, durably: once that is true of every core, the old journals may be
    /// retired, and only then may anything be appended.
    pub async fn start(
        io: I,
        options: Options,
        recovered: Vec<RecoveredPartition>,
    ) -> Result<Self, LogError> {
        let dir = paths::journal(&options.data, io.core());
        io.create_dir_all(&dir)
            .await
            .map_err(LogError::io("create", &dir))?;
        let parent = paths::journals(&options.data);
        io.sync_dir(&parent)
            .await
            .map_err(LogError::sync(&parent))?;
        let number = next_number(&io, &dir).await?;
        let id = FileId {
            node: options.node,
            core: io.core(),
            epoch: options.epoch,
            number,
            generation: io.random(),
        };
        let bytes = rotate::file_bytes(&options, recovered.len());
        let active = files::create(&io, &dir, id, bytes).await?;
        let core = Core::new(io, options, active, number + 1);
        let damaged = restore(&core, recovered).await?;
        core.io.spawn(commit::commit_loop(Rc::clone(&core)));
        core.io.spawn(sync::sync_loop(Rc::clone(&core)));
        space::look(&core).await;
        core.io.spawn(space::watch(Rc::clone(&core)));
        core.io.spawn(scrub::scrub(Rc::clone(&core)));
        let log = Self {
            core,
            damaged: Rc::new(RefCell::new(damaged)),
        };
        if !planted(Bug::RetireEarly) {
            log.sync_all().await?;
        }
        log.core.io.spawn(sync::upkeep_loop(Rc::clone(&log.core)));
        let core = Rc::clone(&log.core);
        rotate::spawn_spare(&core, None);
        log.core
            .io
            .spawn(async move { roll::write_indexes(&core).await });
        Ok(log)
    }

    /// Opens a partition of this core: a recovered one, or a new one, whose first segment is durable when this
    /// returns.
    pub async fn open(
        &self,
        key: PartitionKey,
        settings: SegmentSettings,
    ) -> Result<PartitionLog<I>, LogError> {
        if let Some(reason) = self.damaged.borrow().get(&key) {
            return Err(LogError::Damaged {
                key,
                reason: reason.clone(),
            });
        }
        let known = self.core.partitions.borrow().get(&key).map(Rc::clone);
        let partition = match known {
            Some(partition) => partition,
            None => self.create(key, settings).await?,
        };
        partition.settings.set(settings);
        Ok(PartitionLog {
            core: Rc::clone(&self.core),
            partition,
        })
    }

    async fn create(
        &self,
        key: PartitionKey,
        settings: SegmentSettings,
    ) -> Result<Rc<Partition<I>>, LogError> {
        let (io, data) = (&self.core.io, &self.core.options.data);
        let dir = paths::partition(data, key);
        io.create_dir_all(&dir)
            .await
            .map_err(LogError::io("create", &dir))?;
        let segment = Segment::new(key, Offset(0), &dir);
        segment.create_file(io).await?;
        for parent in [paths::topic(data, key.topic), paths::topics(data)] {
            io.sync_dir(&parent)
                .await
                .map_err(LogError::sync(&parent))?;
        }
        let partition = Partition::new(key, dir, settings, vec![segment], Offset(0));
        self.core
            .partitions
            .borrow_mut()
            .insert(key, Rc::clone(&partition));
        partition.announce.set(true);
        self.core.mark_dirty(&partition);
        if !planted(Bug::UnannouncedPartition) {
            // From then on, data in its segment without a record of it is damage, not a write that nobody was told of.
            sync::wait_durable(&self.core, || !partition.announce.get()).await?;
        }
        Ok(partition)
    }

    /// Deletes a partition; durable when it returns. Readers keep what they hold. Damaged ones are deleted too.
    pub async fn delete(&self, key: PartitionKey) -> Result<(), LogError> {
        let damaged = self.damaged.borrow_mut().remove(&key);
        if damaged.is_some() {
            let data = &self.core.options.data;
            let (dir, topic) = (paths::partition(data, key), paths::topic(data, key.topic));
            return delete::remove_files(&self.core.io, &dir, &topic).await;
        }
        delete::delete(&self.core, key).await
    }

    /// The partitions of this core that were recovered or opened, and are sound.
    pub fn partitions(&self) -> Vec<PartitionKey> {
        self.core.partitions.borrow().keys().copied().collect()
    }

    /// What was found since this was called last and somebody should hear of: damage at rest.
    pub fn take_notices(&self) -> Vec<(PartitionKey, String)> {
        self.core.notices.take().into()
    }

    /// What this core's log has counted.
    pub fn stats(&self) -> Stats {
        self.core.meter.stats()
    }

    /// What its stages took: wait for commit, write, sync.
    pub fn stages(&self) -> Ref<'_, Stages> {
        self.core.meter.stages()
    }

    /// Waits until this core may hold more unwritten bytes.
    pub async fn room(&self) {
        while !self.core.has_room() && !self.core.is_over() {
            self.core.moved.wait().await;
        }
    }

    /// Why nothing that may be refused would be taken now, if so.
    pub fn refusal(&self) -> Option<AppendError> {
        self.core.refusal(Draw::Free)
    }

    /// Whether [`Log::room`] would return at once.
    pub fn has_room(&self) -> bool {
        self.core.has_room()
    }

    /// Refuses further appends, writes and syncs what was taken, and leaves the clean-stop mark.
    pub async fn stop(&self) -> Result<(), LogError> {
        self.core.stopping.set(true);
        self.sync_all().await?;
        roll::write_indexes(&self.core).await;
        self.core.stopped.set(true);
        self.core.work.notify();
        self.core.sync_work.notify();
        self.core.moved.notify();
        self.write_clean_mark().await
    }

    /// Waits until everything appended is durable.
    async fn sync_all(&self) -> Result<(), LogError> {
        let core = &self.core;
        loop {
            if let Some(reason) = &*core.failed.borrow() {
                return Err(LogError::Failed(reason.clone()));
            }
            let moved = core.moved.wait();
            let idle = core.dirty.borrow().is_empty() && core.cycles.borrow().is_empty();
            if idle && core.durable_bound.get() == core.journal.sequence.get() {
                return Ok(());
            }
            if idle {
                core.want_sync(core.journal.sequence.get());
            }
            moved.await;
        }
    }

    async fn write_clean_mark(&self) -> Result<(), LogError> {
        let core = &self.core;
        let dir = paths::journal(&core.options.data, core.io.core());
        let path = paths::clean_mark(&dir);
        let temporary = dir.join("clean.tmp");
        let sequence = core.journal.sequence.get();
        let head = EntryHead {
            file: core.journal.active.borrow().id,
            sequence,
            durable_bound: sequence,
            written_bound: sequence,
            boot_id: core.io.boot_id(),
            previous_crc: core.journal.previous_crc.get(),
        };
        let mut block = zeroed(&core.io, BLOCK_BYTES);
        encode_clean_mark(&head, block.as_mut());
        let file = core.io.open(&temporary, OpenMode::CreateNew).await;
        let file = file.map_err(LogError::io("create", &temporary))?;
        write_whole::<I>(&file, block, 0)
            .await
            .map_err(LogError::io("write", &temporary))?;
        file.sync().await.map_err(LogError::sync(&temporary))?;
        file.close().await;
        core.io
            .rename(&temporary, &path)
            .await
            .map_err(LogError::io("rename", &temporary))?;
        core.io.sync_dir(&dir).await.map_err(LogError::sync(&dir))
    }
}

/// The number after that of every journal file in `dir`.
async fn next_number<I: Io>(io: &I, dir: &Path) -> Result<u64, LogError> {
    let names = io.list_dir(dir).await.map_err(LogError::io("list", dir))?;
    let numbers = names
        .iter()
        .filter_map(|entry| u64::from_str_radix(entry.name.strip_suffix(".wal")?, 16).ok());
    Ok(numbers.max().map_or(0, |highest| highest + 1))
}

/// Takes over recovered partitions; returns the damaged ones.
async fn restore<I: Io>(
    core: &Rc<Core<I>>,
    recovered: Vec<RecoveredPartition>,
) -> Result<BTreeMap<PartitionKey, String>, LogError> {
    let mut damaged = BTreeMap::new();
    for partition in recovered {
        let key = partition.key;
        let found = match partition.found {
            Ok(found) => found,
            Err(reason) => {
                damaged.insert(key, reason);
                continue;
            }
        };
        let dir = paths::partition(&core.options.data, key);
        let mut segments = Vec::with_capacity(found.segments.len() + 1);
        let count = found.segments.len();
        let mut next_base = found.log_start;
        for (number, segment) in found.segments.into_iter().enumerate() {
            let open_ended = number + 1 == count && !found.last_is_sealed;
            let index = Index::from_entries(segment.entries);
            let tail = if open_ended {
                restored_tail(&core.io, found.tail_pos, &found.tail)
            } else {
                Tail::new(segment.end.pos.next_multiple_of(BLOCK_BYTES as u64))
            };
            let state = Segment::with_state(key, segment.base, &dir, tail, index, segment.end);
            state.sealed.set(!open_ended);
            state.is_at_rest.set(!open_ended);
            if open_ended {
                state.open_file(&core.io).await?;
                state.first_append.set(Some(core.now()));
            }
            next_base = segment.end.next_offset;
            segments.push(state);
        }
        if found.last_is_sealed {
            let segment = Segment::new(key, next_base, &dir);
            segment.create_file(&core.io).await?;
            segments.push(segment);
        }
        let partition = Partition::new(key, dir, SETTINGS_UNTIL_TOLD, segments, found.log_start);
        partition.carry.set(true);
        core.partitions
            .borrow_mut()
            .insert(key, Rc::clone(&partition));
        core.mark_dirty(&partition);
    }
    Ok(damaged)
}

/// A tail that holds what was in no segment yet.
fn restored_tail<I: Io>(io: &I, pos: u64, bytes: &[u8]) -> Tail<I> {
    let mut tail = Tail::new(pos);
    tail.append(io, bytes, &[]);
    tail
}
