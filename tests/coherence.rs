//! Goal: what was written directly is what is read through the page cache and sent by sendfile, from the moment the
//! write has completed, also when a racing reader has just brought the old contents of the same blocks into the cache.
//! The broker stands on this: it writes with O_DIRECT and serves with sendfile.
//!
//! Method: core 0 appends blocks with known contents to a preallocated file and announces each frontier to core 1.
//! There, one task reads ahead of the frontier without pause (caching blocks that are about to be written), one reads
//! each announced span and sends it over loopback, and in the campaign sends some single blocks near the frontier
//! besides; one takes what was sent off the socket. In the campaign a thread outside the cores reads single blocks
//! near the frontier without pause. All compare every byte below the frontier. Bounded by the count of appends; the
//! seeds are fixed.
//!
//! The campaign runs on the file system of the build directory, and where it may (root, mkfs.xfs, a loop device) on xfs.
//! A read is one pread or one sendfile whose bytes were compared; a fault is a block that was read ahead while it was
//! still old, and so had to be thrown out of the page cache by the write.
//!
//! Short, 3 M reads (.ci/run):  cargo test --profile campaign --test coherence -- --ignored --nocapture
//! Long, 100 M reads:           MILLRACE_READS=100_000_000 cargo test --profile campaign --test coherence -- --ignored --nocapture
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod campaign;

use campaign::Campaign;
use millrace::base::CoreId;
use millrace::base::limits::BLOCK_BYTES;
use millrace::base::prng::Prng;
use millrace::io::uring::{Options, Uring, UringMailbox, UringSource, run_cores};
use millrace::io::{File, Io, Listener, Mailbox, OpenMode, Reader, Writer};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BLOCK: u64 = BLOCK_BYTES as u64;
const AHEAD_BYTES: usize = 32 * BLOCK_BYTES;
/// Single blocks are read again no further behind the frontier than this.
const NEAR_BLOCKS: u64 = 64;
/// Announced after the last append.
const DONE: u64 = u64::MAX;

/// One file's life.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    appends: u64,
    append_blocks_max: u64,
    /// How many single blocks are sent again after each append.
    again: u64,
    /// A thread reads single blocks near the frontier meanwhile.
    hammer: bool,
}

impl Plan {
    fn file_bytes(&self) -> u64 {
        self.appends * self.append_blocks_max * BLOCK
    }
}

/// What one file's life came to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Tally {
    bytes: u64,
    reads: u64,
    /// Blocks that were read ahead while they were old.
    old_blocks: u64,
}

/// What block `number` holds. No block is all zeros, which is what a stale one would be.
fn fill_block(number: u64, block: &mut [u8]) {
    let mut prng = Prng::new(number);
    for word in block.chunks_exact_mut(8) {
        word.copy_from_slice(&(prng.next_u64() | 1).to_le_bytes());
    }
}

fn check_span(position: u64, span: &[u8], how: &str) {
    let mut expected = [0; BLOCK_BYTES];
    let first = position / BLOCK;
    for (index, block) in span.chunks(BLOCK_BYTES).enumerate() {
        let number = first + index as u64;
        fill_block(number, &mut expected);
        let is_stale = block.iter().all(|byte| *byte == 0);
        assert!(
            block == &expected[..block.len()],
            "block {number} by {how}, stale: {is_stale}"
        );
    }
}

async fn append_all(
    io: &Uring,
    mailbox: &UringMailbox<u64>,
    path: &Path,
    plan: Plan,
    shared: &AtomicU64,
) -> Tally {
    let file = io.open(path, OpenMode::CreateNew).await.unwrap();
    file.allocate(plan.file_bytes()).await.unwrap();
    file.sync().await.unwrap();
    assert!(mailbox.send(CoreId(1), 0).await);
    let mut prng = Prng::new(plan.seed);
    let mut frontier = 0;
    for _ in 0..plan.appends {
        let blocks = 1 + prng.below(plan.append_blocks_max) as usize;
        let mut buffer = io.buffer(blocks * BLOCK_BYTES);
        let first = frontier / BLOCK;
        for (index, block) in buffer.as_mut().chunks_exact_mut(BLOCK_BYTES).enumerate() {
            fill_block(first + index as u64, block);
        }
        let bytes = blocks * BLOCK_BYTES;
        let written = file.write_at(Rc::new(buffer), frontier).await.unwrap();
        assert_eq!(written, bytes);
        frontier += bytes as u64;
        shared.store(frontier, Ordering::Release);
        assert!(mailbox.send(CoreId(1), frontier).await);
    }
    assert!(mailbox.send(CoreId(1), DONE).await);
    file.close().await;
    Tally {
        bytes: frontier,
        ..Tally::default()
    }
}

/// Reads around the frontier until it is [`DONE`]; what lies below it is compared. Counts the blocks ahead of it that
/// were old.
fn cache_ahead(io: &Uring, path: PathBuf, frontier: Rc<Cell<u64>>) -> Rc<Cell<u64>> {
    let old_blocks = Rc::new(Cell::new(0));
    let (io, count) = (io.clone(), Rc::clone(&old_blocks));
    io.clone().spawn(async move {
        let source = io.open_source(&path).await.unwrap();
        while frontier.get() != DONE {
            let known = frontier.get();
            let behind = known.saturating_sub(BLOCK);
            let read = io.read_source(&source, behind, AHEAD_BYTES).await.unwrap();
            let (below, ahead) = read.split_at(read.len().min((known - behind) as usize));
            check_span(behind, below, "read ahead");
            let old = ahead.chunks(BLOCK_BYTES).filter(|block| block[0] == 0);
            count.set(count.get() + old.count() as u64);
            io.yield_now().await;
        }
    });
    old_blocks
}

/// Positions of the blocks that were sent, in order.
type Sent = Rc<RefCell<VecDeque<u64>>>;

/// Takes blocks off a connection and compares them with those that were sent. How many.
async fn compare_stream(io: Uring, address: SocketAddr, sent: Sent) -> u64 {
    let (mut reader, _writer) = io.connect(address).await.unwrap();
    let mut buffer = vec![0; 16 * BLOCK_BYTES];
    let (mut blocks, mut have) = (0, 0);
    loop {
        let count = reader.read(&mut buffer[have..]).await.unwrap();
        have += count;
        let whole = have - have % BLOCK_BYTES;
        for block in buffer[..whole].chunks_exact(BLOCK_BYTES) {
            let position = sent.borrow_mut().pop_front().unwrap();
            check_span(position, block, "sendfile");
            blocks += 1;
        }
        buffer.copy_within(whole..have, 0);
        have -= whole;
        if count == 0 {
            assert_eq!(have, 0, "whole blocks were sent");
            return blocks;
        }
    }
}

/// The task that reads and sends what was announced.
struct Readings<'a, W> {
    io: &'a Uring,
    source: UringSource,
    writer: W,
    sent: Sent,
    sent_blocks: u64,
    reads: u64,
    prng: Prng,
}

impl<W: Writer<Source = UringSource>> Readings<'_, W> {
    async fn read(&mut self, position: u64, bytes: u64) {
        let read = self.io.read_source(&self.source, position, bytes as usize);
        let span = read.await.unwrap();
        assert_eq!(span.len() as u64, bytes);
        check_span(position, &span, "read");
        self.reads += 1;
    }

    async fn send(&mut self, position: u64, bytes: u64) {
        let blocks = (0..bytes / BLOCK).map(|index| position + index * BLOCK);
        self.sent.borrow_mut().extend(blocks);
        self.sent_blocks += bytes / BLOCK;
        let sending = self.writer.send_file(&self.source, position, bytes);
        sending.await.unwrap();
        self.reads += 1;
    }

    /// Sends single blocks below the frontier.
    async fn again(&mut self, frontier: u64, count: u64) {
        for _ in 0..count {
            let position = near(frontier, &mut self.prng);
            self.send(position, BLOCK).await;
        }
    }
}

/// The position of a block shortly below the frontier.
fn near(frontier: u64, prng: &mut Prng) -> u64 {
    let blocks = frontier / BLOCK;
    (blocks - 1 - prng.below(blocks.min(NEAR_BLOCKS))) * BLOCK
}

/// Reads single blocks near the frontier, as fast as a thread can, until it is [`DONE`]. How many. The frontier is
/// looked at before each read, so all that lies below it was written when the read began.
fn hammer(path: &Path, frontier: &AtomicU64, seed: u64) -> u64 {
    let (mut prng, mut block, mut reads) = (Prng::new(seed ^ 0xabba), [0; BLOCK_BYTES], 0);
    while frontier.load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    let file = std::fs::File::open(path).unwrap();
    loop {
        let known = frontier.load(Ordering::Acquire);
        if known == DONE {
            return reads;
        }
        let position = near(known, &mut prng);
        file.read_exact_at(&mut block, position).unwrap();
        check_span(position, &block, "a thread's read");
        reads += 1;
    }
}

async fn read_all(io: &Uring, mailbox: &UringMailbox<u64>, path: &Path, plan: Plan) -> Tally {
    let ready = mailbox.receive().await;
    assert_eq!(ready, Some((CoreId(0), 0)), "the file is there");
    let source = io.open_source(path).await.unwrap();
    let frontier = Rc::new(Cell::new(0));
    let old_blocks = cache_ahead(io, path.to_owned(), Rc::clone(&frontier));
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = io.listen(any_port).await.unwrap();
    let (address, compared) = (listener.local_addr(), Rc::new(Cell::new(None)));
    let (peer, result, sent) = (io.clone(), Rc::clone(&compared), Sent::default());
    let taken = Rc::clone(&sent);
    io.spawn(async move { result.set(Some(compare_stream(peer, address, taken).await)) });
    let (_reader, writer, _) = listener.accept().await.unwrap();
    let mut readings = Readings {
        io,
        source,
        writer,
        sent,
        sent_blocks: 0,
        reads: 0,
        prng: Prng::new(plan.seed),
    };
    let mut done = 0;
    while let Some((_, announced)) = mailbox.receive().await {
        frontier.set(announced);
        if announced == DONE {
            break;
        }
        readings.read(done, announced - done).await;
        readings.send(done, announced - done).await;
        readings.again(announced, plan.again).await;
        done = announced;
    }
    readings.writer.shutdown();
    while compared.get().is_none() {
        io.sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(compared.get(), Some(readings.sent_blocks));
    Tally {
        bytes: done,
        reads: readings.reads,
        old_blocks: old_blocks.get(),
    }
}

/// One file's life in `directory`, which is made and removed.
fn run(directory: &Path, plan: Plan) -> Tally {
    std::fs::create_dir_all(directory).unwrap();
    let path = directory.join("file");
    let options = Options {
        cpus: vec![None; 2],
        memory_bytes: 4 << 20,
        ..Options::default()
    };
    let frontier = Arc::new(AtomicU64::new(0));
    let hammering = plan.hammer.then(|| {
        let (path, frontier) = (path.clone(), Arc::clone(&frontier));
        std::thread::spawn(move || hammer(&path, &frontier, plan.seed))
    });
    let shared = Arc::clone(&frontier);
    let ended = run_cores(options, move |io, mailbox: UringMailbox<u64>| {
        let (path, shared) = (path.clone(), Arc::clone(&shared));
        async move {
            match io.core() {
                CoreId(0) => append_all(&io, &mailbox, &path, plan, &shared).await,
                _ => read_all(&io, &mailbox, &path, plan).await,
            }
        }
    });
    // Nothing more is appended.
    frontier.store(DONE, Ordering::Release);
    let hammered = hammering.map_or(0, |thread| thread.join().unwrap());
    std::fs::remove_dir_all(directory).unwrap();
    let ended = ended.unwrap();
    assert_eq!(
        ended[0].bytes, ended[1].bytes,
        "all that was appended was compared"
    );
    Tally {
        reads: ended[1].reads + hammered,
        ..ended[1]
    }
}

fn directory(below: &Path) -> PathBuf {
    below.join(format!("millrace-coherence-{}", std::process::id()))
}

#[test]
fn direct_appends_are_seen_at_once_by_cached_readers() {
    let plan = Plan {
        seed: 1,
        appends: 1_500,
        append_blocks_max: 16,
        again: 0,
        hammer: false,
    };
    let tally = run(&directory(&std::env::temp_dir()), plan);
    assert_eq!(tally.reads, 2 * plan.appends);
    assert!(tally.old_blocks > 0, "nothing raced");
}

/// Files one after the other, until there were so many reads.
fn campaign_in(below: &Path, name: &'static str, reads_min: u64) {
    let campaign = Campaign::begin(name, "reads");
    let mut all = Tally::default();
    for seed in 1.. {
        let plan = Plan {
            seed,
            appends: 20_000,
            append_blocks_max: 4,
            again: 2,
            hammer: true,
        };
        let tally = run(&directory(below), plan);
        all.bytes += tally.bytes;
        all.reads += tally.reads;
        all.old_blocks += tally.old_blocks;
        if all.reads >= reads_min {
            break;
        }
    }
    println!("{name}: {} MiB appended", all.bytes >> 20);
    assert!(
        all.old_blocks > all.reads / 1_000,
        "hardly anything raced: {all:?}"
    );
    campaign.end(all.reads, all.old_blocks, 0);
}

#[test]
#[ignore = "a campaign; see the head of this file"]
fn reads_beside_direct_writes_are_never_stale() {
    let reads = campaign::number("MILLRACE_READS", 3_000_000);
    campaign_in(
        Path::new(env!("CARGO_TARGET_TMPDIR")),
        "coherence",
        reads / 2,
    );
    match Xfs::mount() {
        Ok(xfs) => campaign_in(&xfs.mountpoint, "coherence xfs", reads / 2),
        Err(reason) => {
            println!("SKIPPED: no xfs: {reason}");
            campaign_in(
                Path::new(env!("CARGO_TARGET_TMPDIR")),
                "coherence",
                reads / 2,
            );
        }
    }
}

/// An xfs in a file, mounted until it is dropped.
struct Xfs {
    image: PathBuf,
    mountpoint: PathBuf,
}

impl Xfs {
    fn mount() -> Result<Self, String> {
        let below = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let xfs = Self {
            image: directory(below).with_extension("xfs"),
            mountpoint: directory(below).with_extension("mnt"),
        };
        let file = std::fs::File::create(&xfs.image).unwrap();
        file.set_len(1 << 30).unwrap();
        std::fs::create_dir_all(&xfs.mountpoint).unwrap();
        said("mkfs.xfs", &[Path::new("-q"), &xfs.image])?;
        said(
            "mount",
            &[
                Path::new("-o"),
                Path::new("loop"),
                &xfs.image,
                &xfs.mountpoint,
            ],
        )?;
        Ok(xfs)
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        // Takes the loop device with it. Not mounted: nothing to take.
        let _ = said("umount", &[&self.mountpoint]);
        let _ = std::fs::remove_dir(&self.mountpoint);
        let _ = std::fs::remove_file(&self.image);
    }
}

fn said(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let out = Command::new(program).args(arguments).output();
    let out = out.map_err(|error| format!("{program}: {error}"))?;
    if out.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{program}: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ))
    }
}
