//! A partition that lives on this core: its log, and what `partition` decides about it.

use crate::base::{AckLevel, Offset, PartitionKey, TimestampMs, TimestampType, TopicSettings};
use crate::engine::{
    EngineError, FetchPartition, FetchedPartition, OffsetQuery, PartitionInfo, Produced,
};
use crate::io::Io;
use crate::log::{AppendError, Chunk, Draw, PartitionLog, Portion, ReadError, SegmentSettings};
use crate::partition::{
    CheckedBatches, FetchVerdict, Frontiers, ProduceRefusal, Visibility, fetch_verdict,
};
use crate::shard::numbered::NumberedProducers;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What this core holds under the key of a partition that it owns.
pub(super) enum Seat<I: Io> {
    /// It serves.
    Serving(Rc<Hosted<I>>),
    /// Its bytes are damaged and kept; nothing of it is served.
    Damaged(String),
    /// It could not be opened.
    Closed(String),
}

/// A partition that serves.
pub(super) struct Hosted<I: Io> {
    log: PartitionLog<I>,
    /// What its topic is set to.
    settings: Cell<TopicSettings>,
    visibility: RefCell<Visibility>,
    producers: NumberedProducers,
    deleted: Cell<bool>,
}

/// What one partition of a fetch is answered with.
pub(super) type Fetched<I> = FetchedPartition<Chunk<I>, <I as Io>::Source>;

impl<I: Io> Hosted<I> {
    pub(super) fn new(log: PartitionLog<I>, settings: TopicSettings) -> Rc<Self> {
        let visibility = Visibility::new(settings.ack, frontiers_of(&log));
        Rc::new(Self {
            log,
            settings: Cell::new(settings),
            visibility: RefCell::new(visibility),
            producers: NumberedProducers::default(),
            deleted: Cell::new(false),
        })
    }

    /// A partition of our own: what it holds is synced before anybody reads it.
    pub(super) fn new_own(log: PartitionLog<I>) -> Rc<Self> {
        let settings = TopicSettings {
            ack: AckLevel::Synced,
            ..TopicSettings::default()
        };
        Self::new(log, settings)
    }

    /// The topic is set to something else from here on.
    pub(super) fn set_settings(&self, settings: TopicSettings) {
        self.settings.set(settings);
        self.log.set_settings(segment_settings(&settings));
        let mut visibility = self.visibility.borrow_mut();
        visibility.set_topic(settings.ack, self.frontiers());
    }

    /// Holds batches against what the topic is set to; returns the time that their records get, if the broker gives
    /// them one. `wall` is asked for the time only if it matters.
    pub(super) fn admit(
        &self,
        batches: &CheckedBatches<'_>,
        wall: impl FnOnce() -> TimestampMs,
    ) -> Result<Option<TimestampMs>, EngineError> {
        let settings = self.settings.get();
        let now = settings.needs_time().then(wall);
        let admitted = batches.admit(&settings, now.unwrap_or(TimestampMs(0)));
        admitted.map_err(produce_refusal)?;
        Ok(now.filter(|_| settings.timestamp_type == TimestampType::Append))
    }

    pub(super) fn settings(&self) -> TopicSettings {
        self.settings.get()
    }

    pub(super) fn log(&self) -> &PartitionLog<I> {
        &self.log
    }

    pub(super) fn producers(&self) -> &NumberedProducers {
        &self.producers
    }

    pub(super) fn key(&self) -> PartitionKey {
        self.log.key()
    }

    pub(super) fn frontiers(&self) -> Frontiers {
        frontiers_of(&self.log)
    }

    /// The offset after the last record that may be read.
    pub(super) fn high_watermark(&self) -> Offset {
        self.visibility.borrow_mut().advance(self.frontiers())
    }

    /// Appends checked batches; returns the base offset and the offset after them. If the log refuses in the middle
    /// (the disk filled up between two batches), what went before stays: the outcome is told as unknown, never as
    /// "nothing was appended".
    pub(super) fn append(
        &self,
        batches: &CheckedBatches<'_>,
        level: AckLevel,
        draw: Draw,
        time: Option<TimestampMs>,
    ) -> Result<(Offset, Offset), EngineError> {
        if self.deleted.get() {
            return Err(self.unknown());
        }
        let base = self.frontiers().appended;
        let mut until = base;
        // What the log is asked for is what readers wait for; the producer may be told earlier.
        let asked = level.max(self.settings.get().ack);
        for batch in batches.iter() {
            match self.log.append_drawing(&batch, asked, draw, time) {
                Ok(next) => {
                    assert!(next > until);
                    self.visibility.borrow_mut().appended(until, next, level);
                    until = next;
                }
                Err(error) if until == base => return Err(refusal(error)),
                Err(error) => {
                    return Err(EngineError::StorageFailed(format!(
                        "batches up to offset {until} were taken, the rest was not: {error}"
                    )));
                }
            }
        }
        Ok((base, until))
    }

    /// The answer to a produce that ends at `until`, if it can be given.
    pub(super) fn outcome(
        &self,
        base: Offset,
        until: Offset,
        level: AckLevel,
        append_time: Option<TimestampMs>,
    ) -> Option<Result<Produced, EngineError>> {
        let frontiers = self.frontiers();
        if frontiers.has_reached(level, until) {
            return Some(Ok(Produced {
                base_offset: base,
                log_start: frontiers.start,
                append_time,
            }));
        }
        if let Some(reason) = self.log.failed() {
            return Some(Err(EngineError::StorageFailed(reason)));
        }
        self.deleted.get().then(|| Err(self.unknown()))
    }

    /// About how many bytes a fetch could read now. `None`: there is an error to tell.
    pub(super) fn readable_bytes(&self, from: Offset) -> Option<u64> {
        if self.deleted.get() {
            return None;
        }
        match fetch_verdict(from, self.high_watermark(), self.frontiers()) {
            // An estimate; but where there is a record, there is something to read.
            FetchVerdict::Serve { until } => Some(self.log.bytes_between(from, until).max(1)),
            FetchVerdict::Wait => Some(0),
            FetchVerdict::OutOfRange => None,
        }
    }

    /// Reads for a fetch what `budget` allows; nothing if that is no bytes. `reply` comes in cleared.
    pub(super) async fn read(
        &self,
        asked: &FetchPartition,
        budget: Portion,
        reply: &mut Fetched<I>,
    ) {
        let (frontiers, high_watermark) = (self.frontiers(), self.high_watermark());
        reply.high_watermark = high_watermark;
        reply.log_start = frontiers.start;
        let portion = Portion {
            bytes_max: budget.bytes_max.min(u64::from(asked.bytes_max)),
            ..budget
        };
        let until = match fetch_verdict(asked.from, high_watermark, frontiers) {
            FetchVerdict::Serve { until } if portion.bytes_max > 0 => until,
            FetchVerdict::Serve { .. } | FetchVerdict::Wait => return,
            FetchVerdict::OutOfRange => {
                reply.error = Some(self.out_of_range(asked.from));
                return;
            }
        };
        // Up to where the doubt begins, the read itself looks at what it serves.
        let read = match self.log.doubted_from(asked.from) {
            Some((from, what)) if from <= asked.from => Err(ReadError::Damaged(what)),
            _ => {
                let body = &mut reply.body;
                self.log
                    .read_portion(asked.from, until, portion, body)
                    .await
            }
        };
        if let Err(error) = read {
            reply.body.clear();
            reply.error = Some(self.read_error(asked.from, error));
        }
    }

    pub(super) async fn find(
        &self,
        query: OffsetQuery,
    ) -> Result<(Offset, Option<TimestampMs>), EngineError> {
        let high_watermark = self.high_watermark();
        let found = match query {
            OffsetQuery::Earliest => return Ok((self.frontiers().start, None)),
            OffsetQuery::Latest => return Ok((high_watermark, None)),
            OffsetQuery::AtTime(time) => self.log.find_time(time, high_watermark).await,
            OffsetQuery::Youngest => self.log.find_youngest(high_watermark).await,
        };
        match found {
            Ok(Some((offset, timestamp))) => Ok((offset, Some(timestamp))),
            Ok(None) => Ok((high_watermark, None)),
            Err(error) => Err(self.read_error(high_watermark, error)),
        }
    }

    /// Gives up what lies below `before`, or all that can be read. Returns the first offset that still can be.
    pub(super) async fn trim(&self, before: Option<Offset>) -> Result<Offset, EngineError> {
        let high_watermark = self.high_watermark();
        let before = before.unwrap_or(high_watermark);
        if before > high_watermark {
            return Err(self.out_of_range(before));
        }
        match self.log.trim(before).await {
            _ if self.deleted.get() => Err(self.unknown()),
            Ok(()) => Ok(self.frontiers().start),
            Err(error) => Err(EngineError::StorageFailed(error.to_string())),
        }
    }

    pub(super) fn info(&self, core: crate::base::CoreId) -> PartitionInfo {
        let frontiers = self.frontiers();
        PartitionInfo {
            core,
            log_start: frontiers.start,
            high_watermark: self.high_watermark(),
            next_offset: frontiers.appended,
            bytes: self.log.bytes(),
            segments: self.log.segments(),
        }
    }

    /// Tells everybody who waits that this partition is no more.
    pub(super) fn mark_deleted(&self) {
        self.deleted.set(true);
        self.log.progress().notify();
    }

    fn unknown(&self) -> EngineError {
        EngineError::UnknownTopic(self.key().topic.to_string())
    }

    fn out_of_range(&self, asked: Offset) -> EngineError {
        EngineError::OffsetOutOfRange {
            asked,
            log_start: self.frontiers().start,
            high_watermark: self.high_watermark(),
        }
    }

    fn read_error(&self, asked: Offset, error: ReadError) -> EngineError {
        match error {
            ReadError::OutOfRange => self.out_of_range(asked),
            ReadError::Damaged(reason) => EngineError::Damaged(reason),
            ReadError::Io(reason) => EngineError::StorageFailed(reason),
        }
    }
}

/// Checks the bytes of a produce.
pub(super) fn check(batches: &[u8]) -> Result<CheckedBatches<'_>, EngineError> {
    CheckedBatches::check(batches).map_err(produce_refusal)
}

fn produce_refusal(refusal: ProduceRefusal) -> EngineError {
    match refusal {
        ProduceRefusal::Batch(error) => EngineError::BadBatch(error),
        ProduceRefusal::TooLarge { bytes, bytes_max } => {
            EngineError::BatchTooLarge { bytes, bytes_max }
        }
        ProduceRefusal::Timestamp {
            record,
            timestamp,
            now,
        } => EngineError::InvalidTimestamp {
            record,
            timestamp,
            now,
        },
        ProduceRefusal::Empty | ProduceRefusal::Numbered => {
            EngineError::InvalidRequest(refusal.to_string())
        }
    }
}

/// What the log has to know of a topic's settings.
pub(super) fn segment_settings(settings: &TopicSettings) -> SegmentSettings {
    SegmentSettings {
        segment_bytes: settings.segment_bytes,
        segment_ms: settings.segment_ms,
    }
}

fn frontiers_of<I: Io>(log: &PartitionLog<I>) -> Frontiers {
    let frontiers = log.frontiers();
    Frontiers {
        start: frontiers.start,
        synced: frontiers.synced,
        written: frontiers.written,
        appended: frontiers.appended,
    }
}

pub(super) fn refusal(error: AppendError) -> EngineError {
    match error {
        AppendError::DiskFull => EngineError::DiskFull,
        AppendError::Stopping => EngineError::Stopping,
        AppendError::Failed(reason) => EngineError::StorageFailed(reason),
    }
}
