//! Files of a core: checks what direct I/O checks, gives each effect its time, and lets it land when the time is over.
//!
//! An effect begins at the first poll and lands by an event of the world, not by its future: a dropped future stops
//! nothing, as with a ring. Reads see what has landed when their own time is over.

use crate::base::checksum::crc32;
use crate::base::limits::BLOCK_BYTES;
use crate::io::File;
use crate::io::sim::buffer::SimBuffer;
use crate::io::sim::disk::{Fault, NodeId, Op};
use crate::io::sim::trace::Note;
use crate::io::sim::world::{World, nanos};
use rustix::io::Errno;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::Result;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Least and most nanoseconds that each kind of operation takes, bytes aside: an NVMe disk with a mixed temper.
const WRITE_NS: (u64, u64) = (20_000, 200_000);
const SYNC_NS: (u64, u64) = (50_000, 500_000);
const NAME_NS: (u64, u64) = (5_000, 50_000);
const READ_NS: (u64, u64) = (20_000, 150_000);
const CACHED_READ_NS: (u64, u64) = (1_000, 20_000);
/// Bytes that pass in a nanosecond (4 GB/s).
const BYTES_PER_NS: u64 = 4;

/// A file for direct I/O.
#[derive(Clone)]
pub struct SimFile {
    world: Rc<World>,
    node: NodeId,
    _open: Arc<()>,
}

/// A file for reading through the page cache: which file, and a token that keeps it alive.
#[derive(Clone, Debug)]
pub struct SimSource {
    node: NodeId,
    _open: Arc<()>,
}

impl SimFile {
    pub(super) fn new(world: &Rc<World>, node: NodeId) -> Self {
        Self {
            world: Rc::clone(world),
            node,
            _open: world.disk.handle(node),
        }
    }
}

impl SimSource {
    pub(super) fn new(world: &World, node: NodeId) -> Self {
        Self {
            node,
            _open: world.disk.handle(node),
        }
    }
}

impl File for SimFile {
    type Buffer = SimBuffer;

    async fn write_at(&self, buffer: Rc<SimBuffer>, position: u64) -> Result<usize> {
        check_aligned(position, buffer.as_ref().as_ref().len())?;
        let op = Op::Write {
            node: self.node,
            position,
            data: buffer,
        };
        effect(&self.world, op).await.map(|bytes| bytes as usize)
    }

    /// Two effects, so that power may be cut between them, as it may inside the device.
    async fn write_durable_at(&self, buffer: Rc<SimBuffer>, position: u64) -> Result<usize> {
        let written = self.write_at(buffer, position).await?;
        let first = position / BLOCK_BYTES as u64;
        let op = Op::Sync {
            node: self.node,
            upto: self.world.disk.newest(),
            blocks: first..first + written.div_ceil(BLOCK_BYTES) as u64,
        };
        effect(&self.world, op).await.map(|_| written)
    }

    async fn read_at(&self, position: u64, bytes: usize) -> Result<SimBuffer> {
        check_aligned(position, bytes)?;
        let mut buffer = SimBuffer::new(bytes);
        let there = read(&self.world, self.node, position, buffer.as_mut(), READ_NS).await?;
        crate::io::AlignedBuffer::truncate(&mut buffer, there);
        Ok(buffer)
    }

    async fn sync(&self) -> Result<()> {
        let op = Op::Sync {
            node: self.node,
            upto: self.world.disk.newest(),
            blocks: 0..u64::MAX,
        };
        effect(&self.world, op).await.map(drop)
    }

    async fn allocate(&self, bytes: u64) -> Result<()> {
        let node = self.node;
        effect(&self.world, Op::Allocate { node, bytes })
            .await
            .map(drop)
    }

    async fn set_len(&self, bytes: u64) -> Result<()> {
        let op = Op::SetLen {
            node: self.node,
            len: bytes,
        };
        effect(&self.world, op).await.map(drop)
    }

    async fn size(&self) -> Result<u64> {
        pause(&self.world, CACHED_READ_NS, 0).await;
        Ok(self.world.disk.len(self.node)?)
    }

    async fn close(self) {}
}

/// What O_DIRECT refuses: anything that is not whole blocks.
fn check_aligned(position: u64, bytes: usize) -> Result<()> {
    let aligned = position.is_multiple_of(BLOCK_BYTES as u64) && bytes.is_multiple_of(BLOCK_BYTES);
    if aligned && bytes > 0 {
        Ok(())
    } else {
        Err(Errno::INVAL.into())
    }
}

/// Reads through the page cache up to `out.len()` bytes.
pub(super) async fn read_source(
    world: &Rc<World>,
    source: &SimSource,
    position: u64,
    out: &mut [u8],
) -> Result<usize> {
    read(world, source.node, position, out, CACHED_READ_NS).await
}

async fn read(
    world: &Rc<World>,
    node: NodeId,
    position: u64,
    out: &mut [u8],
    time: (u64, u64),
) -> Result<usize> {
    let (number, planned) = world.disk.begin_read();
    pause(world, time, out.len() as u64).await;
    let result = planned.and_then(|()| world.disk.read(node, position, out));
    let bytes = result.map_or(0, |there| there);
    world.note(Note::Read {
        number,
        ok: result.is_ok(),
        checksum: crc32(&out[..bytes]),
    });
    Ok(result?)
}

/// Lets the time of a small operation on names pass.
pub(super) async fn pause_for_names(world: &Rc<World>) {
    pause(world, NAME_NS, 0).await;
}

async fn pause(world: &Rc<World>, time: (u64, u64), bytes: u64) {
    let nanos = world.between(time.0, time.1) + bytes / BYTES_PER_NS;
    world.sleep_until(world.now() + nanos).await;
}

/// The result of an effect on its way to the one who waits for it.
#[derive(Default)]
struct Slot {
    result: RefCell<Option<Result<u64>>>,
    waker: RefCell<Option<Waker>>,
}

/// Begins an effect and waits until it has landed.
pub(super) async fn effect(world: &Rc<World>, op: Op) -> Result<u64> {
    let (kind, time, bytes) = cost(&op);
    let checksum = fingerprint(kind, &op);
    let begun = world.disk.begin(op.clone());
    let number = begun.number;
    world.note(Note::Effect { number, checksum });
    world.say(|| format!("effect {number}: {op:?} {:?}", begun.fault));
    drop(op);
    let mut nanos_taken = world.between(time.0, time.1) + bytes / BYTES_PER_NS;
    if let Some(Fault::SlowBy(more)) = begun.fault {
        nanos_taken = nanos_taken.saturating_add(nanos(more));
    }
    if begun.crash {
        crash_in_flight(world, number, nanos_taken);
    }
    let slot = Rc::new(Slot::default());
    let landed = Rc::clone(&slot);
    world.after(nanos_taken, move |world| {
        let result = world.disk.land(begun, &mut world.rng());
        world.note(Note::Landed {
            number,
            ok: result.is_ok(),
            value: result.unwrap_or(0),
        });
        landed.result.replace(Some(result.map_err(Into::into)));
        if let Some(waker) = landed.waker.take() {
            waker.wake();
        }
    });
    poll_fn(|context| match slot.result.take() {
        Some(result) => Poll::Ready(result),
        None => {
            slot.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        }
    })
    .await
}

/// The world ends at once, or later but before the effect lands: others may still do something meanwhile.
fn crash_in_flight(world: &World, number: u64, nanos_taken: u64) {
    if world.between(0, 1) == 0 {
        world.crash(number);
    } else {
        let delay = world.between(0, nanos_taken - 1);
        world.after(delay, move |world| world.crash(number));
    }
}

/// The kind of an effect, what it costs, and the bytes it moves.
fn cost(op: &Op) -> (u8, (u64, u64), u64) {
    match op {
        Op::Write { data, .. } => (0, WRITE_NS, data.as_ref().as_ref().len() as u64),
        Op::Sync { .. } => (1, SYNC_NS, 0),
        Op::SetLen { .. } => (2, NAME_NS, 0),
        Op::Allocate { .. } => (3, NAME_NS, 0),
        Op::Create { .. } => (4, NAME_NS, 0),
        Op::MakeDir { .. } => (5, NAME_NS, 0),
        Op::Rename { .. } => (6, NAME_NS, 0),
        Op::RemoveFile { .. } => (7, NAME_NS, 0),
        Op::RemoveDir { .. } => (8, NAME_NS, 0),
        Op::SyncDir { .. } => (9, SYNC_NS, 0),
    }
}

/// A checksum of all that an effect is about, so that runs which differ in content differ in their trace.
fn fingerprint(kind: u8, op: &Op) -> u32 {
    let path = |path: &PathBuf| u64::from(crc32(path.as_os_str().as_encoded_bytes()));
    let (one, two, content) = match op {
        Op::Write {
            node,
            position,
            data,
        } => (*node, *position, crc32(data.as_ref().as_ref())),
        Op::Sync { node, upto, blocks } => (
            *node,
            *upto,
            (blocks.start as u32).wrapping_mul(31) ^ blocks.end as u32,
        ),
        Op::SyncDir { node, upto } => (*node, *upto, 0),
        Op::SetLen { node, len: bytes } | Op::Allocate { node, bytes } => (*node, *bytes, 0),
        Op::Rename { from, to } => (path(from), path(to), 0),
        Op::Create { path: at }
        | Op::MakeDir { path: at }
        | Op::RemoveFile { path: at }
        | Op::RemoveDir { path: at } => (path(at), 0, 0),
    };
    let mut bytes = [0; 21];
    bytes[0] = kind;
    bytes[1..9].copy_from_slice(&one.to_le_bytes());
    bytes[9..17].copy_from_slice(&two.to_le_bytes());
    bytes[17..].copy_from_slice(&content.to_le_bytes());
    crc32(&bytes)
}
