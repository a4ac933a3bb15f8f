//! Goal: whatever consumers, time, crashes and losses of power do, the ledger is where a naive one is, and the rules of
//! queues hold: each record is in one state, counted by its id; what was acked stays so; an answer that comes late is
//! refused; nobody has what another has; nothing is delivered too often, too early or out of turn; a dead record is in
//! the queue or in the dead letters, never in both or neither.
//!
//! Method: seeded commands for both. What a step has brought about is seen from outside only once its records are stored;
//! at a crash any number of those that are not yet are lost, in the middle of a step too. The naive ledger is then made
//! from what is left, in its own way, and held against everything that was promised before.

use super::reference::{Naive, Place, Row};
use super::*;
use crate::base::PartitionNo;
use crate::base::prng::Prng;
use crate::queue::window::State;
use crate::queue::{Doomed, Evidence, Settled};
use std::collections::{BTreeMap, BTreeSet};

/// What somebody outside knows about a record.
#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    is_acked: bool,
    deliveries: u32,
}

struct World {
    seed: u64,
    prng: Prng,
    ledger: Ledger,
    naive: Naive,
    now: Moment,
    out: Output,
    /// All records, and how many of them are stored for sure.
    records: Vec<LedgerRecord>,
    stored: usize,
    /// The id of the record at each offset: an offset that was lost is used again.
    ids: Vec<u64>,
    next_id: u64,
    promises: BTreeMap<u64, Promise>,
    /// The dead letters: offset and id.
    dead: Vec<(u64, u64)>,
    doomed: Vec<Doomed>,
    next_consumer: u64,
    /// What consumers hold, as far as they know.
    handed: Vec<(ConsumerId, Span)>,
    fired: BTreeMap<&'static str, u64>,
}

fn draw_settings(prng: &mut Prng) -> QueueSettings {
    let retries = [
        Retry::AtOnce,
        Retry::Schedule(vec![100, 700, 3_000]),
        Retry::Exponential {
            first_ms: 50,
            cap_ms: 1_500,
        },
    ];
    QueueSettings {
        lease_ms: 200 + prng.below(1_000) as u32,
        deliveries_max: prng.chance(1, 2).then(|| 1 + prng.below(4) as u32),
        retry: retries[prng.below(3) as usize].clone(),
        key_order: prng.chance(1, 3),
        reads_headers: prng.chance(1, 2),
        has_dead_letters: prng.chance(1, 2),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut prng = Prng::new(seed);
        let settings = draw_settings(&mut prng);
        let now = Moment {
            monotonic_ms: prng.below(1 << 40),
            wall: TimestampMs(1_700_000_000_000),
        };
        let mut world = Self {
            seed,
            ledger: Ledger::new(settings.clone(), Offset(0), &now),
            naive: Naive {
                settings,
                rows: Vec::new(),
                credit: BTreeMap::new(),
                fed: 0,
            },
            prng,
            now,
            out: Output::default(),
            records: Vec::new(),
            stored: 0,
            ids: Vec::new(),
            next_id: 0,
            promises: BTreeMap::new(),
            dead: Vec::new(),
            doomed: Vec::new(),
            next_consumer: 0,
            handed: Vec::new(),
            fired: BTreeMap::new(),
        };
        world.ledger.recovered(&world.now, &mut world.out);
        world.flush();
        world
    }

    fn count(&mut self, what: &'static str, count: u64) {
        *self.fired.entry(what).or_default() += count;
    }

    fn len(&self) -> u64 {
        self.naive.rows.len() as u64
    }

    fn step(&mut self) {
        match self.prng.below(20) {
            0..=2 => self.produce(),
            3 => self.join(),
            4 if self.prng.chance(1, 3) => self.leave(),
            5..=8 => self.hand_out(),
            9..=12 => self.answer(),
            13 => self.pass(),
            14 => self.move_dead(),
            15..=16 => self.flush(),
            17 if self.prng.chance(1, 4) => self.take_away(),
            18 if self.prng.chance(1, 6) => {
                self.ledger.checkpoint(&mut self.out.records);
            }
            19 if self.prng.chance(1, 6) => self.crash(),
            _ => {}
        }
        self.take_out();
        self.check();
    }

    /// Records go behind those that are there; what is to be seen waits for them.
    fn take_out(&mut self) {
        self.records.append(&mut self.out.records);
        self.doomed.append(&mut self.out.doomed);
    }

    fn produce(&mut self) {
        let settings = self.naive.settings.clone();
        for _ in 0..1 + self.prng.below(12) {
            let mut facts = Facts::default();
            if settings.key_order && self.prng.chance(4, 5) {
                facts.key = Some(self.prng.below(4));
            }
            if settings.reads_headers && self.prng.chance(1, 2) {
                let wall = self.now.wall.0;
                let mut soon = |one_in| {
                    let is_set = self.prng.chance(1, one_in);
                    let time = TimestampMs(wall + self.prng.below(3_000) as i64);
                    is_set.then_some(time)
                };
                facts.expires = soon(5);
                facts.not_before = soon(5);
                facts.priority = self.prng.below(10) as u8;
            }
            self.naive.rows.push(Row::new(facts));
            self.ids.push(self.next_id);
            self.next_id += 1;
        }
        self.ledger.reached(Offset(self.len()));
    }

    fn join(&mut self) {
        if self.naive.credit.len() >= 4 {
            return;
        }
        self.next_consumer += 1;
        let id = consumer(self.next_consumer);
        let credit = 1 + self.prng.below(20) as u32;
        let flow = match self.prng.below(4) {
            0 => Flow::Granted,
            1 => Flow::AtMostOnce,
            _ => Flow::Prefetch(credit),
        };
        assert!(self.ledger.join(id, flow) && !self.ledger.join(id, flow));
        if !matches!(flow, Flow::Prefetch(_)) {
            self.ledger.grant(id, credit);
        }
        self.naive.credit.insert(id, (flow, credit));
    }

    fn leave(&mut self) {
        let some = self.naive.credit.len() as u64;
        if some > 0 {
            let nth = self.prng.below(some) as usize;
            let id = *self.naive.credit.keys().nth(nth).expect("within");
            self.ledger.leave(id, &mut self.out);
            self.naive.leave(id);
        }
    }

    fn feed(&mut self) {
        while let Some(Offset(at)) = self.ledger.wants() {
            // What is done with may be passed over.
            let passed = self.naive.rows[self.naive.fed..].iter();
            let passed = passed.take((at as usize).saturating_sub(self.naive.fed));
            assert!(at as usize >= self.naive.fed && passed.into_iter().all(Row::is_settled));
            let facts = self.naive.rows[at as usize].facts;
            // Neighbours that say the same are told at once.
            let rows = self.naive.rows[at as usize..].iter();
            let alike = rows.take_while(|row| row.facts == facts).count() as u64;
            let until = match facts.key {
                Some(_) => at + 1,
                None => at + 1 + self.prng.below(alike),
            };
            let (now, out) = (self.now, &mut self.out);
            self.ledger.feed(Offset(until), facts, &now, out);
            for row in at as usize..until as usize {
                self.naive.admit(row, &now);
            }
            self.naive.fed = until as usize;
        }
    }

    fn hand_out(&mut self) {
        self.feed();
        self.ledger.hand_out(&self.now, &mut self.out);
        self.take_out();
        let deliveries: Vec<_> = self.out.deliveries.drain(..).collect();
        for delivery in deliveries {
            let span = delivery.span;
            for offset in span.from.0..span.until.0 {
                let next = self.naive.next(&self.now);
                assert_eq!(
                    next,
                    Some(offset as usize),
                    "seed {}: out of turn",
                    self.seed
                );
                self.naive
                    .deliver(offset as usize, delivery.consumer, &self.now);
                let row = &self.naive.rows[offset as usize];
                assert_eq!(row.deliveries, span.deliveries);
                assert_eq!(row.first_ms, delivery.first.0);
                let max = self.naive.settings.deliveries_max;
                assert!(max.is_none_or(|max| span.deliveries <= max));
                let since = row.facts.not_before;
                assert!(since.is_none_or(|time| time <= self.now.wall) || self.has_jumped());
            }
            self.handed.push((delivery.consumer, span));
            self.count("delivered", span.until.0 - span.from.0);
            self.count("redelivered", u64::from(span.deliveries > 1));
        }
        let is_hungry = self.naive.credit.values().any(|(_, credit)| *credit > 0);
        if is_hungry && self.ledger.room() > 0 {
            assert_eq!(
                self.naive.next(&self.now),
                None,
                "seed {}: kept back",
                self.seed
            );
        }
    }

    fn has_jumped(&self) -> bool {
        self.fired.contains_key("jumped")
    }

    fn answer(&mut self) {
        if self.handed.is_empty() {
            return;
        }
        let nth = self.prng.below(self.handed.len() as u64) as usize;
        let (by, whole) = self.handed[nth];
        // Of some, a part; sometimes by another consumer, or under another number.
        let from = whole.from.0 + self.prng.below(whole.until.0 - whole.from.0);
        let until = from + 1 + self.prng.below(whole.until.0 - from);
        let (by, number) = match self.prng.below(12) {
            0 => (consumer(self.prng.below(9)), whole.deliveries),
            1 => (by, 1 + self.prng.below(3) as u32),
            _ => (by, whole.deliveries),
        };
        let span = span(from, until, number);
        let rows = self.naive.of_span(by, span);
        let (now, out) = (self.now, &mut self.out);
        let answered = match self.prng.below(8) {
            0 => self.ledger.extend(by, span, 5_000, &now),
            1..=3 => {
                let nack = [Nack::Retry, Nack::After(400), Nack::Reject];
                let nack = nack[self.prng.below(3) as usize];
                rows.iter().for_each(|at| self.naive.nack(*at, nack, &now));
                self.ledger.nack(by, span, nack, &now, out)
            }
            _ => {
                rows.iter()
                    .for_each(|at| self.naive.settle(*at, Settled::Acked));
                self.ledger.ack(by, span, out)
            }
        };
        // The extension is the only answer that leaves the lease where it is.
        for at in &rows {
            if let Place::Leased(_, until) = &mut self.naive.rows[*at].place {
                *until = now.monotonic_ms + 5_001;
            }
        }
        assert_eq!(answered.taken, rows.len() as u64, "seed {}", self.seed);
        assert_eq!(answered.stale, until - from - answered.taken);
        self.count("stale", answered.stale);
    }

    fn pass(&mut self) {
        let ms = 1 + self.prng.below(900);
        self.now.monotonic_ms += ms;
        self.now.wall.0 += ms as i64;
        if self.prng.chance(1, 30) {
            self.now.wall.0 += [86_400_000, -86_400_000][self.prng.below(2) as usize];
            self.count("jumped", 1);
        }
        self.ledger.tick(&self.now, &mut self.out);
        self.naive.tick(&self.now);
        let due = self.ledger.next_deadline();
        assert!(due.is_none_or(|due| due > self.now.monotonic_ms));
    }

    /// The log loses its front, or somebody wants nothing of the backlog, or finds that there is nothing.
    fn take_away(&mut self) {
        let until = self.prng.below(self.len() + 1);
        let until = until.min(self.naive.fed as u64 + 30);
        let (how, from) = match self.prng.below(3) {
            0 => {
                self.ledger.trimmed(Offset(until), &mut self.out);
                (Settled::Purged, 0)
            }
            1 => {
                self.ledger.purge(Offset(until), &mut self.out);
                for at in 0..until as usize {
                    let place = self.naive.rows[at].place;
                    if !matches!(
                        place,
                        Place::Leased(..) | Place::Dying(..) | Place::Settled(_)
                    ) {
                        self.naive.settle(at, Settled::Purged);
                    }
                }
                return;
            }
            _ => {
                let from = until.saturating_sub(3).min(self.ledger.window.end);
                self.ledger
                    .absent(Offset(from), Offset(until), &mut self.out);
                (Settled::Absent, from)
            }
        };
        for at in from as usize..until as usize {
            if !self.naive.rows[at].is_settled() {
                self.naive.settle(at, how);
            }
        }
    }

    /// Everything so far is stored, and seen from outside.
    fn flush(&mut self) {
        self.take_out();
        self.stored = self.records.len();
        for (row, id) in self.naive.rows.iter().zip(&self.ids) {
            let promise = Promise {
                is_acked: row.place == Place::Settled(Settled::Acked),
                deliveries: row.deliveries,
            };
            self.promises.insert(*id, promise);
        }
    }

    /// One step of moving one dead record. The dead letters are stored at once, the ledger is not.
    fn move_dead(&mut self) {
        self.flush();
        let Some(doomed) = self.doomed.pop() else {
            return;
        };
        let offset = doomed.offset;
        if !matches!(self.naive.rows[offset.0 as usize].place, Place::Dying(..)) {
            return;
        }
        let id = self.ids[offset.0 as usize];
        let is_there = doomed.evidence.is_some_and(|evidence| {
            let behind = &self.dead[evidence.from.0 as usize..];
            behind.iter().any(|(at, _)| *at == offset.0)
        });
        if !is_there {
            let evidence = Evidence {
                partition: PartitionNo(0),
                from: Offset(self.dead.len() as u64),
            };
            assert!(self.ledger.moving(offset, evidence, &mut self.out));
            let Place::Dying(cause, _) = self.naive.rows[offset.0 as usize].place else {
                unreachable!("looked at just now");
            };
            let place = Place::Dying(cause, Some(evidence));
            self.naive.rows[offset.0 as usize].place = place;
            if self.prng.chance(1, 8) {
                return self.crash();
            }
            self.flush();
            self.dead.push((offset.0, id));
        }
        self.count("moved", 1);
        if self.prng.chance(1, 8) {
            return self.crash();
        }
        self.ledger.moved(offset, &mut self.out);
        self.naive.settle(offset.0 as usize, Settled::Dead);
    }

    /// The broker dies: any number of records that are not stored for sure are. Now and then the end of the log goes, too.
    fn crash(&mut self) {
        self.take_out();
        self.count("crashed", 1);
        let unsure = (self.records.len() - self.stored) as u64;
        self.records
            .truncate(self.stored + self.prng.below(unsure + 1) as usize);
        self.out.clear();
        self.doomed.clear();
        let is_loss = self.prng.chance(1, 4);
        let keep = self.len()
            - if is_loss {
                self.prng.below(self.len().min(9) + 1)
            } else {
                0
            };
        let settings = self.naive.settings.clone();
        self.ledger = Ledger::new(settings, Offset(0), &self.now);
        for record in &self.records {
            self.ledger.replay(*record).expect("ours");
        }
        if keep < self.len() {
            self.count("lost", 1);
        }
        self.ledger.lost_from(Offset(keep));
        self.naive.rows.truncate(keep as usize);
        self.ids.truncate(keep as usize);
        self.naive.crash(&self.records);
        self.check_promises();
        self.handed.retain(|(_, span)| span.until.0 <= keep);
        let at = self.out.records.len();
        self.ledger.recovered(&self.now, &mut self.out);
        self.ledger.reached(Offset(keep));
        // What is told of the end that was lost is over: the new checkpoint says all.
        self.restate(at);
        if !self.naive.settings.needs_facts() {
            for row in 0..self.naive.rows.len() {
                let is_new = row as u64 >= self.ledger.window.end;
                if !is_new {
                    self.naive.admit(row, &self.now);
                }
            }
        }
        self.flush();
    }

    /// The naive reading skips checkpoints, so what the log has lost is taken out of the records before it.
    fn restate(&mut self, checkpoint: usize) {
        let all = std::mem::take(&mut self.out.records);
        let (checkpoint, behind) = all.split_at(checkpoint);
        assert!(checkpoint.is_empty());
        self.records.clear();
        for (at, row) in self.naive.rows.iter().enumerate() {
            let (from, until) = (Offset(at as u64), Offset(at as u64 + 1));
            if row.deliveries > 0 {
                self.records.push(LedgerRecord::Delivered {
                    from,
                    until,
                    deliveries: row.deliveries,
                    first: TimestampMs(row.first_ms),
                });
            }
            match row.place {
                Place::Fresh(Some((not_before, wait_ms))) => {
                    self.records.push(LedgerRecord::Delayed {
                        from,
                        until,
                        not_before: TimestampMs(not_before),
                        wait_ms,
                    });
                }
                Place::Dying(cause, evidence) => self.records.push(LedgerRecord::Dying {
                    offset: from,
                    cause,
                    evidence,
                }),
                Place::Settled(how) => {
                    self.records
                        .push(LedgerRecord::Settled { how, from, until });
                }
                _ => {}
            }
        }
        self.records.extend_from_slice(behind);
    }

    fn check_promises(&self) {
        for (row, id) in self.naive.rows.iter().zip(&self.ids) {
            let promise = self.promises.get(id).copied().unwrap_or_default();
            let is_acked = row.place == Place::Settled(Settled::Acked);
            assert!(
                is_acked || !promise.is_acked,
                "seed {}: an ack was lost",
                self.seed
            );
            // What is done with needs no number any more.
            let is_counted = row.is_settled() || row.deliveries >= promise.deliveries;
            assert!(is_counted, "seed {}: a delivery was forgotten", self.seed);
        }
    }

    /// Both ledgers are in the same state, and every record is counted once.
    fn check(&self) {
        let rows = &self.naive.rows;
        let mut states = vec![None; rows.len()];
        for (last, run) in self.ledger.window.runs() {
            for offset in run.from..=last {
                states[offset as usize] = Some((run.state, run.deliveries));
            }
        }
        for (at, row) in rows.iter().enumerate() {
            let is_behind = at as u64 >= self.ledger.window.end;
            let same = match (states[at], row.place) {
                (None, Place::Fresh(None)) => is_behind && row.deliveries == 0,
                (None, Place::Ready) => is_behind && row.deliveries == 0,
                (None, Place::Settled(_)) => !is_behind,
                (Some((state, deliveries)), place) => {
                    let same = match (state, place) {
                        (State::Ready, Place::Ready) => !self.naive.is_blocked(at),
                        (State::Blocked, Place::Ready) => self.naive.is_blocked(at),
                        (State::Ready, Place::Fresh(None)) => !self.naive.settings.needs_facts(),
                        (State::Unfed, Place::Fresh(_)) => self.naive.settings.needs_facts(),
                        (State::Leased(_), Place::Leased(..)) => true,
                        (State::Delayed(_), Place::Delayed(..)) => true,
                        (State::Dying, Place::Dying(..)) => true,
                        _ => false,
                    };
                    same && deliveries == row.deliveries
                }
                _ => false,
            };
            assert!(same, "seed {}: {at}: {:?} {row:?}", self.seed, states[at]);
        }
        let counts = self.ledger.counts();
        let held = counts.ready + counts.leased + counts.delayed + counts.blocked + counts.dying;
        assert_eq!(
            held + counts.totals.settled(),
            self.len(),
            "seed {}",
            self.seed
        );
        let settled = rows.iter().filter(|row| row.is_settled()).count() as u64;
        assert_eq!(counts.totals.settled(), settled, "seed {}", self.seed);
    }

    /// Everything comes to an end: each record that was not taken away is acked or dead, and the dead are moved once.
    fn finish(&mut self) {
        let consumers: Vec<_> = self.naive.credit.keys().copied().collect();
        for consumer in consumers {
            self.ledger.leave(consumer, &mut self.out);
            self.naive.leave(consumer);
        }
        self.handed.clear();
        let last = consumer(u64::MAX);
        self.ledger.join(last, Flow::Prefetch(100));
        self.naive.credit.insert(last, (Flow::Prefetch(100), 100));
        for _ in 0..300 {
            self.hand_out();
            self.flush();
            for (by, span) in std::mem::take(&mut self.handed) {
                let rows = self.naive.of_span(by, span);
                rows.iter()
                    .for_each(|at| self.naive.settle(*at, Settled::Acked));
                self.ledger.ack(by, span, &mut self.out);
            }
            while !self.doomed.is_empty() {
                let crashes = self.fired.get("crashed").copied();
                self.move_dead();
                self.take_out();
                if self.fired.get("crashed").copied() != crashes {
                    let joins = self.ledger.join(last, Flow::Prefetch(100));
                    assert!(joins);
                    self.naive.credit.insert(last, (Flow::Prefetch(100), 100));
                }
            }
            if self.naive.rows.iter().all(Row::is_settled) {
                break;
            }
            self.now.monotonic_ms += 2_000_000;
            self.now.wall.0 += 2_000_000;
            self.ledger.tick(&self.now, &mut self.out);
            self.naive.tick(&self.now);
        }
        self.take_out();
        self.check();
        assert!(
            self.naive.rows.iter().all(Row::is_settled),
            "seed {}",
            self.seed
        );
        if self.naive.settings.has_dead_letters {
            let rows = self.naive.rows.iter().zip(&self.ids);
            let dead = rows.filter(|(row, _)| row.place == Place::Settled(Settled::Dead));
            let ids: BTreeSet<u64> = dead.map(|(_, id)| *id).collect();
            let moved: BTreeSet<u64> = self.dead.iter().map(|(_, id)| *id).collect();
            assert_eq!(moved.len(), self.dead.len(), "seed {}: twice", self.seed);
            assert!(ids.is_subset(&moved), "seed {}: in neither", self.seed);
            let lost = |id: &u64| !self.ids.contains(id);
            let others: Vec<_> = moved.difference(&ids).filter(|id| !lost(id)).collect();
            // A trim may take a record that is just being moved.
            let taken = |id: &&u64| {
                let at = self
                    .ids
                    .iter()
                    .position(|one| one == *id)
                    .expect("not lost");
                let place = self.naive.rows[at].place;
                matches!(place, Place::Settled(Settled::Purged | Settled::Absent))
            };
            assert!(others.iter().all(taken), "seed {}: in both", self.seed);
        }
    }
}

#[test]
fn agrees_with_a_naive_ledger_whatever_happens() {
    let seeds = std::env::var("MILLRACE_SEEDS").ok();
    let seeds = seeds.map_or(400, |seeds| seeds.parse().expect("a number"));
    let mut fired: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for _ in 0..250 {
            world.step();
        }
        world.finish();
        for (what, count) in world.fired {
            *fired.entry(what).or_default() += count;
        }
    }
    // No vacuous pass.
    for what in [
        "delivered",
        "redelivered",
        "stale",
        "jumped",
        "crashed",
        "lost",
        "moved",
    ] {
        assert!(
            fired.get(what).is_some_and(|count| *count > 50),
            "{what}: {fired:?}"
        );
    }
}
