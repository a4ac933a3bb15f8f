//! One pass over a history.

use super::{Anomaly, Death, Event, History, Place, Promise, Rules, Value};
use std::collections::{HashMap, HashSet};

/// What is known about one offset.
#[derive(Clone, Copy, Debug)]
struct Slot {
    value: Option<Value>,
    promise: Promise,
    /// It was read at its place's level.
    read: bool,
    /// When the promise was made: the event, and the time of the clock.
    since: usize,
    at: u64,
    /// The core that made it.
    stream: u16,
    /// That core failed before it had to have flushed this.
    unflushed: bool,
    /// The last full read that came by.
    whole: u32,
}

const UNKNOWN: Slot = Slot {
    value: None,
    promise: Promise::None,
    read: false,
    since: 0,
    at: u64::MAX,
    unflushed: false,
    stream: 0,
    whole: 0,
};

/// What is known about one partition.
#[derive(Debug, Default)]
struct Log {
    slots: Vec<Slot>,
    /// Where it begins, by the highest trim that was answered, and by the highest that was asked for.
    start: u64,
    start_asked: u64,
    /// Readers know that it reaches so far, in this life.
    floor: u64,
    /// The strongest death since the last look at it, when it was, and whether the disk had lied before.
    died: Option<(Death, u64)>,
    lied: bool,
    deleting: bool,
}

/// What became of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    Refused,
    /// A death took it.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Fate {
    producer: u32,
    place: Place,
    sent: usize,
    state: State,
    offset: Option<u64>,
}

/// How the loss of a slot is called.
fn lost(place: Place, offset: u64, slot: &Slot, promise: Promise) -> Anomaly {
    match slot.value {
        None => Anomaly::Shrunk { place, offset },
        Some(value) if slot.at == u64::MAX && slot.read => Anomaly::TakenBack {
            place,
            offset,
            value,
        },
        Some(value) => Anomaly::Lost {
            place,
            offset,
            value,
            promise,
        },
    }
}

/// The newest send among the acked ones of a core in this life, by what they were promised: whatever it had promised
/// before that send has left its mark on the disk.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    written: usize,
    synced: usize,
}

struct Checker<'a> {
    history: &'a History,
    rules: Rules,
    logs: Vec<Log>,
    fates: Vec<Fate>,
    /// Of each: where, what was known when it began, and in which life.
    polls: Vec<(Place, u64, u32)>,
    life: u32,
    cursors: HashMap<(u32, Place), u64>,
    /// Of each producer, in which life, when sent, at which offset.
    last_acked: HashMap<(u32, Place), (u32, usize, u64)>,
    evidence: HashMap<u16, Evidence>,
    lied: bool,
    /// The cores that have failed in this life; none of them by its number: all.
    failed: HashSet<Option<u16>>,
    wholes: u32,
    whole_of: HashMap<(u32, Place), u32>,
    found: Vec<Anomaly>,
}

/// The anomalies of `history`, in the order in which they came to light.
pub(crate) fn check(history: &History, rules: Rules) -> Vec<Anomaly> {
    let mut checker = Checker {
        history,
        rules,
        logs: (0..history.places()).map(|_| Log::default()).collect(),
        fates: Vec::with_capacity(history.values() as usize),
        polls: Vec::new(),
        life: 0,
        cursors: HashMap::new(),
        last_acked: HashMap::new(),
        evidence: HashMap::new(),
        lied: false,
        failed: HashSet::new(),
        wholes: 0,
        whole_of: HashMap::new(),
        found: Vec::new(),
    };
    for (index, event) in history.events().iter().enumerate() {
        checker.take(index, *event);
    }
    for place in 0..history.places() {
        checker.check_order(place);
    }
    checker.found
}

impl Checker<'_> {
    fn take(&mut self, index: usize, event: Event) {
        match event {
            Event::Sent { producer, place } => self.fates.push(Fate {
                producer,
                place,
                sent: index,
                state: State::Open,
                offset: None,
            }),
            Event::Acked { .. } => self.acked(index, event),
            Event::Refused { value } => self.refused(value),
            Event::Asked { place } => {
                let floor = self.logs[place as usize].floor;
                self.polls.push((place, floor, self.life));
            }
            Event::Read {
                reader,
                place,
                offset,
                value,
            } => self.read(index, (reader, place), offset, value),
            Event::Answered {
                poll,
                high_watermark,
            } => self.answered(poll, high_watermark),
            Event::Sought {
                reader,
                place,
                offset,
            } => {
                self.cursors.insert((reader, place), offset);
                self.wholes += 1;
                self.whole_of.insert((reader, place), self.wholes);
            }
            Event::Died { how, at } => self.died(how, at),
            Event::Found { place, end, stream } => self.found_at(index, place, end, stream),
            Event::Deleting { place } => self.logs[place as usize].deleting = true,
            Event::Trimming { place, before } => {
                let log = &mut self.logs[place as usize];
                log.start_asked = log.start_asked.max(before);
            }
            Event::Trimmed { place, start } => self.begins(place, start, false),
            Event::Starts { place, start } => self.begins(place, start, true),
            Event::Whole { reader, place, end } => self.whole(reader, place, end),
            Event::Lied => self.lied = true,
            Event::Failed { stream, at } => self.failed(stream, at),
        }
    }

    /// The slot of an offset, made if need be.
    fn slot(&mut self, place: Place, offset: u64) -> &mut Slot {
        let slots = &mut self.logs[place as usize].slots;
        if slots.len() as u64 <= offset {
            slots.resize(offset as usize + 1, UNKNOWN);
        }
        &mut slots[offset as usize]
    }

    /// `value` was observed at `offset`: holds it against all that is known.
    fn observe(&mut self, place: Place, offset: u64, value: Value) {
        let Some(fate) = self.fates.get_mut(value as usize) else {
            return self.found.push(Anomaly::Phantom {
                place,
                offset,
                value,
            });
        };
        let (sent_to, before) = (fate.place, fate.offset.replace(offset));
        let anomaly = match fate.state {
            _ if sent_to != place => Some(Anomaly::Misplaced {
                value,
                sent_to,
                seen_in: place,
            }),
            State::Refused => Some(Anomaly::Phantom {
                place,
                offset,
                value,
            }),
            State::Gone => Some(Anomaly::Resurrected {
                place,
                offset,
                value,
            }),
            State::Open => {
                before
                    .filter(|before| *before != offset)
                    .map(|before| Anomaly::Duplicate {
                        value,
                        first: (place, before),
                        second: (place, offset),
                    })
            }
        };
        self.found.extend(anomaly);
        let known = self.slot(place, offset).value.replace(value);
        if let Some(other) = known.filter(|known| *known != value) {
            self.found.push(Anomaly::Inconsistent {
                place,
                offset,
                one: other,
                other: value,
            });
        }
    }

    fn acked(&mut self, index: usize, event: Event) {
        let Event::Acked {
            value,
            offset,
            promise,
            stream,
            at,
        } = event
        else {
            return;
        };
        let Some(fate) = self.fates.get(value as usize).copied() else {
            return self.found.push(Anomaly::Phantom {
                place: 0,
                offset,
                value,
            });
        };
        let place = fate.place;
        self.observe(place, offset, value);
        let evidence = self.evidence.entry(stream).or_default();
        if promise >= Promise::Written {
            evidence.written = evidence.written.max(fate.sent);
        }
        if promise >= Promise::Synced {
            evidence.synced = evidence.synced.max(fate.sent);
        }
        let unflushed = self.failed.contains(&None) || self.failed.contains(&Some(stream));
        let slot = self.slot(place, offset);
        slot.at = slot.at.min(at);
        slot.stream = stream;
        slot.unflushed |= unflushed;
        if promise > slot.promise {
            (slot.promise, slot.since) = (promise, index);
        }
        if promise == Promise::Synced {
            // Everything before it is synced as well, so nothing keeps it from readers.
            let log = &mut self.logs[place as usize];
            log.floor = log.floor.max(offset + 1);
        }
        let acked = (self.life, fate.sent, offset);
        let last = self.last_acked.insert((fate.producer, place), acked);
        if let Some((life, sent, earlier)) = last
            && life == self.life
            && (sent < fate.sent) != (earlier < offset)
        {
            self.found.push(Anomaly::SendOrder {
                producer: fate.producer,
                place,
                earlier,
                later: offset,
            });
        }
    }

    fn refused(&mut self, value: Value) {
        let Some(fate) = self.fates.get_mut(value as usize) else {
            return;
        };
        fate.state = State::Refused;
        if let Some(offset) = fate.offset {
            let place = fate.place;
            self.found.push(Anomaly::Phantom {
                place,
                offset,
                value,
            });
        }
    }

    fn read(&mut self, index: usize, at: (u32, Place), offset: u64, value: Value) {
        let (reader, place) = at;
        let expected = self.cursors.insert(at, offset + 1);
        if let Some(expected) = expected.filter(|expected| *expected != offset) {
            self.found.push(Anomaly::Skipped {
                reader,
                place,
                expected,
                got: offset,
            });
        }
        self.observe(place, offset, value);
        let (level, whole) = (self.history.level(place), self.whole_of.get(&at).copied());
        let slot = self.slot(place, offset);
        slot.read = true;
        slot.whole = whole.unwrap_or(slot.whole);
        if level > slot.promise {
            (slot.promise, slot.since) = (level, index);
        }
    }

    fn answered(&mut self, poll: u32, high_watermark: u64) {
        let (place, known, life) = self.polls[poll as usize];
        let log = &mut self.logs[place as usize];
        if life != self.life {
            return;
        }
        if high_watermark < known && !log.deleting {
            self.found.push(Anomaly::Stale {
                place,
                told: high_watermark,
                known,
            });
        }
        log.floor = log.floor.max(high_watermark);
    }

    /// A place begins at `start`: as a trim was answered, or as a restart found it, when all that was asked for is decided.
    fn begins(&mut self, place: Place, start: u64, is_found: bool) {
        let log = &mut self.logs[place as usize];
        let (asked, answered) = (log.start_asked, log.start);
        let may_be_back = log.deleting || (log.lied && log.died.is_some());
        log.start = start.max(answered);
        if is_found {
            (log.start, log.start_asked) = (start, start);
        }
        if start > asked && !log.deleting {
            self.found.push(Anomaly::Overtrimmed {
                place,
                start,
                asked,
            });
        }
        // Another trim, which went further, may have been answered first.
        if is_found && start < answered && !may_be_back {
            self.found.push(Anomaly::Untrimmed {
                place,
                start,
                answered,
            });
        }
    }

    /// From now on nothing of this core is flushed.
    fn failed(&mut self, stream: Option<u16>, at: u64) {
        self.failed.insert(stream);
        let slots = self.logs.iter_mut().flat_map(|log| &mut log.slots);
        for slot in slots.filter(|slot| stream.is_none_or(|stream| slot.stream == stream)) {
            let is_young = at.saturating_sub(slot.at) < self.rules.flushed_after;
            slot.unflushed |= slot.promise == Promise::Written && is_young;
        }
    }

    fn died(&mut self, how: Death, at: u64) {
        for log in &mut self.logs {
            let (before, since) = log.died.unwrap_or((how, at));
            log.died = Some((before.max(how), since.min(at)));
            log.lied |= self.lied;
            log.floor = 0;
        }
        // What it lied about is found out at the next start, or is in no journal any more.
        self.lied = false;
        self.failed.clear();
        self.life += 1;
    }

    /// The log is now what lies below `end`: what is missing must have been owed to nobody.
    fn found_at(&mut self, index: usize, place: Place, end: u64, stream: u16) {
        let log = &mut self.logs[place as usize];
        let (death, died_at) = log.died.take().unwrap_or((Death::Stop, 0));
        let lied = std::mem::take(&mut log.lied);
        let cut = log.slots.split_off(log.slots.len().min(end as usize));
        let deleting = log.deleting;
        log.slots.resize(end as usize, UNKNOWN);
        log.floor = end;
        for slot in &mut log.slots {
            (slot.promise, slot.since, slot.stream) = (Promise::Synced, index, stream);
        }
        for (number, slot) in cut.into_iter().enumerate() {
            if let Some(value) = slot.value {
                self.take_away(value);
            }
            let flushed = died_at.saturating_sub(slot.at) >= self.rules.flushed_after;
            let promise = match slot.promise {
                Promise::Written if flushed && !slot.unflushed => Promise::Synced,
                promise => promise,
            };
            if deleting || promise < death.spares() || (lied && self.may_be_cut(&slot, death)) {
                continue;
            }
            self.found
                .push(lost(place, end + number as u64, &slot, promise));
        }
    }

    /// Whether no later promise of the same core is evidence of this one. See the module.
    fn may_be_cut(&self, slot: &Slot, death: Death) -> bool {
        let evidence = self.evidence.get(&slot.stream).copied().unwrap_or_default();
        let newest = match death {
            Death::Stop => usize::MAX,
            Death::Kill => evidence.written,
            Death::Power => evidence.synced,
        };
        newest <= slot.since
    }

    fn take_away(&mut self, value: Value) {
        if let Some(fate) = self.fates.get_mut(value as usize) {
            (fate.state, fate.offset) = (State::Gone, None);
        }
    }

    fn whole(&mut self, reader: u32, place: Place, end: u64) {
        let whole = self.whole_of.get(&(reader, place)).copied().unwrap_or(0);
        let log = &mut self.logs[place as usize];
        if log.deleting {
            return;
        }
        let given_up = log.start_asked as usize;
        for (offset, slot) in log
            .slots
            .iter()
            .enumerate()
            .take(end as usize)
            .skip(given_up)
        {
            if slot.whole != whole {
                self.found.push(Anomaly::Gap {
                    place,
                    offset: offset as u64,
                });
            }
        }
        for (offset, slot) in log.slots.iter().enumerate().skip(end as usize) {
            let (Some(value), true) = (slot.value, slot.promise > Promise::None) else {
                continue;
            };
            self.found.push(Anomaly::Lost {
                place,
                offset: offset as u64,
                value,
                promise: slot.promise,
            });
        }
    }

    /// The records of one producer lie in the log in the order in which they were sent.
    fn check_order(&mut self, place: Place) {
        let mut newest: HashMap<u32, Value> = HashMap::new();
        for (offset, slot) in self.logs[place as usize].slots.iter().enumerate() {
            let Some(value) = slot.value else { continue };
            let Some(fate) = self.fates.get(value as usize) else {
                continue;
            };
            let before = newest.insert(fate.producer, value);
            if before.is_some_and(|before| before > value) {
                self.found.push(Anomaly::Reordered {
                    producer: fate.producer,
                    place,
                    offset: offset as u64,
                });
            }
        }
    }
}
