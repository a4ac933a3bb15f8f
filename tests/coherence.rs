//! Goal: what was written directly is what is read through the page cache and sent by sendfile, from the moment the
//! write has completed, also when a racing reader has just brought the old contents of the same blocks into the cache.
//! The broker stands on this: it writes with O_DIRECT and serves with sendfile.
//!
//! Method: core 0 appends blocks with known contents to a preallocated file and announces each frontier to core 1.
//! There, one task reads ahead of the frontier without pause (caching blocks that are about to be written), one reads
//! each announced span and sends it over loopback, one takes it off the socket; both compare every byte. Bounded by the
//! count of appends; the seed is fixed.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

use millrace::base::CoreId;
use millrace::base::limits::BLOCK_BYTES;
use millrace::base::prng::Prng;
use millrace::io::uring::{Options, Uring, UringMailbox, run_cores};
use millrace::io::{File, Io, Listener, Mailbox, OpenMode, Reader, Writer};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;

const APPENDS: u64 = 1_500;
const APPEND_BLOCKS_MAX: u64 = 16;
const FILE_BYTES: u64 = APPENDS * APPEND_BLOCKS_MAX * BLOCK_BYTES as u64;
const AHEAD_BYTES: usize = 32 * BLOCK_BYTES;
/// Announced after the last append.
const DONE: u64 = u64::MAX;

/// What block `number` holds. No block is all zeros, which is what a stale one would be.
fn fill_block(number: u64, block: &mut [u8]) {
    let mut prng = Prng::new(number);
    for word in block.chunks_exact_mut(8) {
        word.copy_from_slice(&(prng.next_u64() | 1).to_le_bytes());
    }
}

fn check_span(position: u64, span: &[u8], how: &str) {
    let mut expected = vec![0; BLOCK_BYTES];
    let first = position / BLOCK_BYTES as u64;
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

async fn append_all(io: &Uring, mailbox: &UringMailbox<u64>, path: &Path) -> u64 {
    let file = io.open(path, OpenMode::CreateNew).await.unwrap();
    file.allocate(FILE_BYTES).await.unwrap();
    file.sync().await.unwrap();
    assert!(mailbox.send(CoreId(1), 0).await);
    let mut prng = Prng::new(1);
    let mut frontier = 0;
    for _ in 0..APPENDS {
        let blocks = 1 + prng.below(APPEND_BLOCKS_MAX) as usize;
        let mut buffer = io.buffer(blocks * BLOCK_BYTES);
        let first = frontier / BLOCK_BYTES as u64;
        for (index, block) in buffer.as_mut().chunks_exact_mut(BLOCK_BYTES).enumerate() {
            fill_block(first + index as u64, block);
        }
        let bytes = blocks * BLOCK_BYTES;
        assert_eq!(
            file.write_at(Rc::new(buffer), frontier).await.unwrap(),
            bytes
        );
        frontier += bytes as u64;
        assert!(mailbox.send(CoreId(1), frontier).await);
    }
    assert!(mailbox.send(CoreId(1), DONE).await);
    file.close().await;
    frontier
}

/// Reads ahead of the frontier until it is [`DONE`]; how often.
fn cache_ahead(io: &Uring, path: PathBuf, frontier: Rc<Cell<u64>>) -> Rc<Cell<u64>> {
    let reads = Rc::new(Cell::new(0));
    let (io, count) = (io.clone(), Rc::clone(&reads));
    io.clone().spawn(async move {
        let source = io.open_source(&path).await.unwrap();
        while frontier.get() != DONE {
            let behind = frontier.get().saturating_sub(BLOCK_BYTES as u64);
            io.read_source(&source, behind, AHEAD_BYTES).await.unwrap();
            count.set(count.get() + 1);
            io.yield_now().await;
        }
    });
    reads
}

/// Takes the whole stream off a connection and compares it.
async fn compare_stream(io: Uring, address: SocketAddr) -> u64 {
    let (mut reader, _writer) = io.connect(address).await.unwrap();
    let mut buffer = vec![0; 16 * BLOCK_BYTES];
    let (mut position, mut have) = (0, 0);
    loop {
        let count = reader.read(&mut buffer[have..]).await.unwrap();
        have += count;
        let whole = have - have % BLOCK_BYTES;
        check_span(position, &buffer[..whole], "sendfile");
        position += whole as u64;
        buffer.copy_within(whole..have, 0);
        have -= whole;
        if count == 0 {
            assert_eq!(have, 0, "whole blocks were sent");
            return position;
        }
    }
}

async fn read_all(io: &Uring, mailbox: &UringMailbox<u64>, path: &Path) -> u64 {
    assert_eq!(
        mailbox.receive().await,
        Some((CoreId(0), 0)),
        "the file is there"
    );
    let source = io.open_source(path).await.unwrap();
    let frontier = Rc::new(Cell::new(0));
    let ahead = cache_ahead(io, path.to_owned(), Rc::clone(&frontier));
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = io.listen(any_port).await.unwrap();
    let (address, compared) = (listener.local_addr(), Rc::new(Cell::new(None)));
    let (peer, result) = (io.clone(), Rc::clone(&compared));
    io.spawn(async move { result.set(Some(compare_stream(peer, address).await)) });
    let (_reader, mut writer, _) = listener.accept().await.unwrap();
    let mut done = 0;
    while let Some((_, announced)) = mailbox.receive().await {
        frontier.set(announced);
        if announced == DONE {
            break;
        }
        let bytes = announced - done;
        let span = io.read_source(&source, done, bytes as usize).await.unwrap();
        check_span(done, &span, "read");
        writer.send_file(&source, done, bytes).await.unwrap();
        done = announced;
    }
    writer.shutdown();
    while compared.get().is_none() {
        io.sleep(std::time::Duration::from_millis(1)).await;
    }
    assert_eq!(compared.get(), Some(done));
    assert!(ahead.get() > 0, "nothing raced");
    done
}

#[test]
fn direct_appends_are_seen_at_once_by_cached_readers() {
    let directory = std::env::temp_dir().join(format!("millrace-coherence-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("file");
    let options = Options {
        cpus: vec![None; 2],
        memory_bytes: 4 << 20,
        ..Options::default()
    };
    let ended = run_cores(options, move |io, mailbox: UringMailbox<u64>| {
        let path = path.clone();
        async move {
            match io.core() {
                CoreId(0) => append_all(&io, &mailbox, &path).await,
                _ => read_all(&io, &mailbox, &path).await,
            }
        }
    });
    std::fs::remove_dir_all(&directory).unwrap();
    let ended = ended.unwrap();
    assert_eq!(ended[0], ended[1], "all that was appended was compared");
}
