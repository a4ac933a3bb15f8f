//! A client that writes: connects, pipelines batches of drawn sizes and levels to drawn places, is answered or not, and
//! connects again. A connection is a producer of its own in the history: two of them have no order.

use crate::history::{Event, Place, Promise, Value};
use crate::records;
use crate::world::{World, pause};
use futures_lite::future::zip;
use millrace::base::prng::Prng;
use millrace::base::record::BatchBuilder;
use millrace::base::{AckLevel, PartitionKey};
use millrace::client::driver::{Receiver, Sender};
use millrace::client::{ProducedReply, Refusal, Reply};
use millrace::io::sim::SimIo;
use millrace::io::{Io, Signal};
use millrace::protocol::native::ErrorCode;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// How a producer behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Requests in flight.
    pub(crate) in_flight_max: usize,
    /// Between two requests, at most.
    pub(crate) think: Duration,
    /// One batch in so many is large enough to go straight to its segment; 0: none.
    pub(crate) large_one_in: u64,
    /// Requests until it connects anew.
    pub(crate) requests: u64,
}

impl Habits {
    pub(crate) fn draw(dice: &mut Prng) -> Self {
        let think_us = [0, 50, 400, 3_000][dice.below(4) as usize];
        Self {
            in_flight_max: [1, 2, 8, 24][dice.below(4) as usize],
            think: Duration::from_micros(think_us),
            large_one_in: [0, 0, 40, 12][dice.below(4) as usize],
            requests: 2 + dice.below(40),
        }
    }
}

/// A request that waits for its answer: the level, and each place with the values that went there.
struct Asked {
    level: AckLevel,
    entries: Vec<(Place, Range<Value>)>,
}

/// What the two halves of a session share.
#[derive(Default)]
struct Session {
    asked: RefCell<VecDeque<Asked>>,
    changed: Signal,
    done: Cell<bool>,
}

/// Writes until the clients' time is over.
pub(crate) async fn run(io: SimIo, world: Rc<World>, mut dice: Prng, budget: Rc<Cell<u64>>) {
    let habits = Habits::draw(&mut dice);
    while !world.over.get() && budget.get() > 0 {
        let core = dice.below(u64::from(world.cores.get())) as u16;
        match world.connect(&io, core, habits.in_flight_max).await {
            Some((sender, receiver)) => {
                let session = Session::default();
                let send = send(&io, &world, &session, sender, habits, &mut dice, &budget);
                zip(send, receive(&io, &world, &session, receiver)).await;
            }
            None => io.sleep(Duration::from_millis(1)).await,
        }
        pause(&io, &mut dice, Duration::from_millis(2)).await;
    }
}

async fn send(
    io: &SimIo,
    world: &World,
    session: &Session,
    mut sender: Sender<SimIo>,
    habits: Habits,
    dice: &mut Prng,
    budget: &Cell<u64>,
) {
    let producer = world.new_client();
    let (mut builder, mut scratch, mut body) = (BatchBuilder::new(), Vec::new(), Vec::new());
    for _ in 0..habits.requests {
        let places = world.open_places();
        if world.over.get() || places.is_empty() || budget.get() == 0 {
            break;
        }
        let level = [AckLevel::Synced, AckLevel::Written, AckLevel::None][match dice.below(20) {
            0 => 2,
            1..=9 => 0,
            _ => 1,
        }];
        let mut entries: Vec<(PartitionKey, u32)> = Vec::new();
        let mut asked = Asked {
            level,
            entries: Vec::new(),
        };
        body.clear();
        for _ in 0..1 + dice.below(8) / 6 {
            let place = places[dice.below(places.len() as u64) as usize];
            builder.clear();
            let large = habits.large_one_in > 0 && dice.chance(1, habits.large_one_in);
            let values = fill(&mut builder, &mut scratch, dice, large, || {
                world.history.borrow_mut().sent(producer, place)
            });
            budget.set(budget.get().saturating_sub(values.end - values.start));
            world.count("records sent", values.end - values.start);
            asked.entries.push((place, values));
            let batch = builder.finish();
            entries.push((world.key(place), batch.len() as u32));
            body.extend_from_slice(batch);
        }
        // Before it goes out: an answer must find it.
        if sender.room().await.is_err() {
            break;
        }
        session.asked.borrow_mut().push_back(asked);
        session.changed.notify();
        let sent = sender.ask(&body, |outbox, ledger| {
            outbox.produce(ledger, level, entries.iter().copied())
        });
        if sent.await.is_err() {
            break;
        }
        if !habits.think.is_zero() {
            pause(io, dice, habits.think).await;
        }
    }
    session.done.set(true);
    session.changed.notify();
    // The receiver closes the connection: answers may still come.
    while !session.asked.borrow().is_empty() {
        session.changed.wait().await;
    }
}

/// Fills a batch; returns the values in it.
fn fill(
    builder: &mut BatchBuilder,
    scratch: &mut Vec<u8>,
    dice: &mut Prng,
    large: bool,
    mut next: impl FnMut() -> Value,
) -> Range<Value> {
    let (count, filling) = if large {
        (1 + dice.below(2), 66_000 + dice.below(30_000))
    } else {
        (1 + dice.below(6), dice.below(300))
    };
    let first = next();
    records::push(builder, first, filling as usize, scratch);
    for _ in 1..count {
        let value = next();
        records::push(builder, value, filling as usize / count as usize, scratch);
    }
    first..first + count
}

async fn receive(io: &SimIo, world: &World, session: &Session, mut receiver: Receiver<SimIo>) {
    loop {
        let changed = session.changed.wait();
        if session.asked.borrow().is_empty() {
            if session.done.get() {
                return;
            }
            changed.await;
            continue;
        }
        let answered = match receiver.next().await {
            Ok((_, Reply::Produced(reply))) => {
                let asked = session.asked.borrow_mut().pop_front();
                settle(io, world, &asked.expect("looked at above"), &reply);
                true
            }
            Ok((_, other)) => {
                world.problem(format!("a produce was answered with {other:?}"));
                false
            }
            Err(error) => {
                world.judge(&error);
                false
            }
        };
        if !answered {
            // Whatever is unanswered stays unknown.
            session.asked.borrow_mut().clear();
            drop(receiver);
            session.changed.notify();
            return;
        }
        session.changed.notify();
    }
}

/// Notes what a produce was answered.
fn settle(io: &SimIo, world: &World, asked: &Asked, reply: &ProducedReply<'_>) {
    let at = io.now().0;
    for ((place, values), answer) in asked.entries.iter().zip(reply.entries()) {
        match answer {
            Ok(produced) => {
                world.count("records acked", values.end - values.start);
                let (promise, stream) = (promise(asked.level), world.owner(*place));
                for (delta, value) in values.clone().enumerate() {
                    world.note(Event::Acked {
                        value,
                        offset: produced.base_offset.0 + delta as u64,
                        promise,
                        stream,
                        at,
                    });
                }
            }
            Err(refusal) => refused(world, *place, values.clone(), &refusal),
        }
    }
}

fn refused(world: &World, place: Place, values: Range<Value>, refusal: &Refusal) {
    let may_be_damaged = world.may_lie() && refusal.code == ErrorCode::Damaged;
    match refusal.code {
        ErrorCode::DiskFull | ErrorCode::Stopping | ErrorCode::Overloaded => {
            world.count("records refused", values.end - values.start);
            for value in values {
                world.note(Event::Refused { value });
            }
        }
        ErrorCode::StorageFailed => world.count("records unknown", values.end - values.start),
        // It may have been taken before its topic went.
        ErrorCode::UnknownTopic if world.is_deleting(place) => {}
        _ if may_be_damaged => {}
        _ => world.problem(format!("a produce to place {place} was refused: {refusal}")),
    }
}

pub(crate) fn promise(level: AckLevel) -> Promise {
    match level {
        AckLevel::None => Promise::None,
        AckLevel::Written => Promise::Written,
        AckLevel::Synced => Promise::Synced,
    }
}

/// Writes one record and waits until it is synced; whether it was.
pub(crate) async fn one(
    io: &SimIo,
    world: &World,
    (mut sender, mut receiver): (Sender<SimIo>, Receiver<SimIo>),
    place: Place,
) -> bool {
    let producer = world.new_client();
    let (mut builder, mut scratch) = (BatchBuilder::new(), Vec::new());
    let value = world.history.borrow_mut().sent(producer, place);
    records::push(&mut builder, value, 20, &mut scratch);
    let (level, key) = (AckLevel::Synced, world.key(place));
    if sender.produce(level, key, builder.finish()).await.is_err() {
        return false;
    }
    let Ok((_, Reply::Produced(reply))) = receiver.next().await else {
        return false;
    };
    let asked = Asked {
        level,
        entries: vec![(place, value..value + 1)],
    };
    settle(io, world, &asked, &reply);
    reply.entries().all(|entry| entry.is_ok())
}
