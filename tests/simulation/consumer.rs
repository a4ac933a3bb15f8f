//! A client that reads: from where it stands, or all over again, from one place or several, waiting at the tail or not.
//! It trusts nothing: every batch is checked, and must begin where the one before has ended.

use crate::history::{Event, Place, Value};
use crate::records;
use crate::world::{World, pause};
use millrace::base::prng::Prng;
use millrace::base::{Offset, RecordBatch};
use millrace::client::driver::{Receiver, Sender};
use millrace::client::{FetchPartition, FetchRequest, Reply};
use millrace::io::Io;
use millrace::io::sim::SimIo;
use millrace::protocol::native::{ErrorCode, FetchedEntry};
use std::rc::Rc;
use std::time::Duration;

/// Bytes of one fetch, at most: small, so that a partition takes several.
const FETCH_BYTES: u32 = 16 << 10;

/// A place that a reader cannot go on in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Halt {
    /// The connection is gone.
    Gone,
    /// The place answers with an error that this seed allows, or its bytes are damaged and said to be.
    Place,
}

/// Reads until the clients' time is over.
pub(crate) async fn run(io: SimIo, world: Rc<World>, mut dice: Prng, reader: u32) {
    let wait = Duration::from_micros([0, 2_000, 20_000][dice.below(3) as usize]);
    while !world.over.get() {
        let core = dice.below(u64::from(world.cores.get())) as u16;
        if let Some((mut sender, mut receiver)) = world.connect(&io, core, 1).await {
            for _ in 0..1 + dice.below(30) {
                let mut places = world.open_places();
                let wanted = 1 + dice.below(3) as usize;
                while places.len() > wanted {
                    places.swap_remove(dice.below(places.len() as u64) as usize);
                }
                if places.is_empty() || world.over.get() {
                    break;
                }
                if dice.chance(1, 40) {
                    seek(&world, reader, places[0], 0);
                }
                let asked = (&mut sender, &mut receiver);
                if fetch(&world, asked, reader, &places, wait).await == Err(Halt::Gone) {
                    break;
                }
                pause(&io, &mut dice, Duration::from_millis(1)).await;
            }
        }
        pause(&io, &mut dice, Duration::from_millis(3)).await;
    }
}

/// Sends a reader elsewhere.
pub(crate) fn seek(world: &World, reader: u32, place: Place, offset: u64) {
    world.cursors.borrow_mut().insert((reader, place), offset);
    world.note(Event::Sought {
        reader,
        place,
        offset,
    });
}

/// One fetch of `places` from where `reader` stands. Returns the high watermarks told.
pub(crate) async fn fetch(
    world: &World,
    (sender, receiver): (&mut Sender<SimIo>, &mut Receiver<SimIo>),
    reader: u32,
    places: &[Place],
    wait_max: Duration,
) -> Result<Vec<u64>, Halt> {
    let request = request(world, reader, places, wait_max);
    let polls: Vec<(u32, u64)> = {
        let mut history = world.history.borrow_mut();
        let start = |place: &Place| world.seats.borrow()[*place as usize].start;
        let asked = places.iter();
        asked
            .map(|place| (history.asked(*place), start(place)))
            .collect()
    };
    world.count("fetches", 1);
    let sent = sender.ask(&[], |outbox, ledger| outbox.fetch(ledger, &request));
    sent.await.map_err(|_| Halt::Gone)?;
    let (mut told, mut halted) = (Vec::new(), Ok(()));
    match receiver.next().await {
        Ok((_, Reply::Fetched(fetched))) => {
            for ((place, (poll, start)), entry) in places.iter().zip(polls).zip(fetched.entries()) {
                let took = take(world, reader, *place, start, &entry);
                told.push(entry.high_watermark.0);
                if took.is_ok() {
                    let high_watermark = entry.high_watermark.0;
                    world.note(Event::Answered {
                        poll,
                        high_watermark,
                    });
                }
                halted = halted.and(took);
            }
        }
        Ok((_, other)) => world.problem(format!("a fetch was answered with {other:?}")),
        Err(error) => {
            world.judge(&error);
            return Err(Halt::Gone);
        }
    }
    halted.map(|()| told)
}

fn request(world: &World, reader: u32, places: &[Place], wait_max: Duration) -> FetchRequest {
    let mut cursors = world.cursors.borrow_mut();
    let partitions = places.iter().map(|place| {
        let cursor = *cursors.entry((reader, *place)).or_insert_with(|| {
            world.note(Event::Sought {
                reader,
                place: *place,
                offset: 0,
            });
            0
        });
        FetchPartition {
            key: world.key(*place),
            from: Offset(cursor),
            bytes_max: FETCH_BYTES,
        }
    });
    FetchRequest {
        partitions: partitions.collect(),
        bytes_min: 1,
        wait_max,
        bytes_max: 2 * FETCH_BYTES,
    }
}

/// Takes what a fetch brought of one place, which began at `start` when it was asked.
fn take(
    world: &World,
    reader: u32,
    place: Place,
    start: u64,
    entry: &FetchedEntry<'_>,
) -> Result<(), Halt> {
    let asked_from = world.cursors.borrow()[&(reader, place)];
    if let Some(refusal) = &entry.error {
        let start_asked = world.seats.borrow()[place as usize].start_asked;
        if refusal.code == ErrorCode::OffsetOutOfRange && asked_from < start_asked {
            world.count("reads below a start", 1);
            seek(world, reader, place, entry.log_start.0);
            return Err(Halt::Place);
        }
        let allowed = match refusal.code {
            ErrorCode::Stopping => true,
            ErrorCode::UnknownTopic => world.is_deleting(place),
            ErrorCode::StorageFailed => world.reads_may_fail.get() || world.may_lie(),
            ErrorCode::Damaged => world.may_lie(),
            _ => false,
        };
        if !allowed {
            world.problem(format!("a fetch of place {place} was refused: {refusal}"));
        }
        world.count("reads refused", 1);
        return Err(Halt::Place);
    }
    if asked_from < start {
        world.problem(format!(
            "place {place} begins at {start}, and was read from {asked_from} on"
        ));
    }
    let mut cursor = asked_from;
    let taken = read(world, (reader, place), &mut cursor, entry.batches);
    world.cursors.borrow_mut().insert((reader, place), cursor);
    taken.map_err(|error| {
        if world.may_lie() {
            world.count("damage seen by readers", 1);
        } else {
            world.problem(format!("place {place} at offset {cursor}: {error}"));
        }
        Halt::Place
    })
}

fn read(
    world: &World,
    (reader, place): (u32, Place),
    cursor: &mut u64,
    mut bytes: &[u8],
) -> Result<(), String> {
    let mut values: Vec<Value> = Vec::new();
    let mut next: Option<u64> = None;
    while !bytes.is_empty() {
        let batch = RecordBatch::parse(bytes).map_err(|error| error.to_string())?;
        records::values(&batch, &mut values)?;
        let base = batch.base_offset().0;
        if next.is_some_and(|next| next != base) || (next.is_none() && base > *cursor) {
            return Err(format!(
                "a batch with base offset {base} is out of its place"
            ));
        }
        for (offset, value) in (base..).zip(&values) {
            if offset < *cursor {
                continue;
            }
            world.note(Event::Read {
                reader,
                place,
                offset,
                value: *value,
            });
            world.count("records read", 1);
            *cursor = offset + 1;
        }
        next = Some(base + values.len() as u64);
        bytes = &bytes[batch.bytes().len()..];
    }
    Ok(())
}

/// Reads a place from its first offset to where it ends now, which must stay there meanwhile.
pub(crate) async fn read_all(
    world: &World,
    (sender, receiver): (&mut Sender<SimIo>, &mut Receiver<SimIo>),
    reader: u32,
    place: Place,
) -> Result<u64, Halt> {
    let start = world.seats.borrow()[place as usize].start;
    seek(world, reader, place, start);
    loop {
        let halves = (&mut *sender, &mut *receiver);
        let told = fetch(world, halves, reader, &[place], Duration::ZERO).await?;
        let (cursor, end) = (world.cursors.borrow()[&(reader, place)], told[0]);
        if cursor >= end {
            world.note(Event::Whole { reader, place, end });
            return Ok(end);
        }
    }
}

/// Waits for something to come to `place`, at most `wait`; whether it came.
pub(crate) async fn await_more(
    world: &World,
    io: &SimIo,
    (sender, receiver): (&mut Sender<SimIo>, &mut Receiver<SimIo>),
    reader: u32,
    place: Place,
    wait: Duration,
) -> bool {
    let began = io.now();
    let before = world.cursors.borrow()[&(reader, place)];
    let fetched = fetch(world, (sender, receiver), reader, &[place], wait).await;
    let after = world.cursors.borrow()[&(reader, place)];
    fetched.is_ok() && after > before && io.now().since(began) < wait
}
