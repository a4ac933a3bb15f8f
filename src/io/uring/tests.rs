//! Goal: io/uring keeps the promises of the trait `Io` on this machine. Method: real files, loopback sockets and
//! executors; contents are compared byte by byte; bounded by counts, never by time.
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

use super::{Options, Uring, UringBuffer, UringMailbox, run_cores};
use crate::base::CoreId;
use crate::base::prng::Prng;
use crate::io::{AlignedBuffer, File, Io, Listener, Mailbox, OpenMode, Reader, Signal, Writer};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A directory that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("millrace-uring-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options(cores: usize) -> Options {
    Options {
        cpus: vec![None; cores],
        memory_bytes: 4 << 20,
        mailbox_messages: 4,
        name: "test".to_owned(),
        spin: None,
    }
}

/// Runs `main` on one core.
fn on_core<T, F, Fut>(main: F) -> T
where
    T: Send + 'static,
    F: Fn(Uring) -> Fut + Send + Clone + 'static,
    Fut: Future<Output = T>,
{
    let mut results = run_cores(options(1), move |io, _: UringMailbox<()>| main(io))
        .expect("nothing panics on the core");
    results.remove(0)
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut prng = Prng::new(seed);
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&prng.next_u64().to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

fn filled(io: &Uring, bytes: &[u8]) -> Rc<UringBuffer> {
    let mut buffer = io.buffer(bytes.len());
    buffer.as_mut().copy_from_slice(bytes);
    Rc::new(buffer)
}

async fn write_file(io: &Uring, path: &Path, bytes: &[u8]) {
    let file = io.open(path, OpenMode::CreateNew).await.unwrap();
    for (index, part) in bytes.chunks(1 << 20).enumerate() {
        let at = (index as u64) << 20;
        assert_eq!(
            file.write_at(filled(io, part), at).await.unwrap(),
            part.len()
        );
    }
    file.sync().await.unwrap();
    file.close().await;
}

async fn read_exactly(reader: &mut impl Reader, buffer: &mut [u8]) {
    let mut have = 0;
    while have < buffer.len() {
        let count = reader.read(&mut buffer[have..]).await.unwrap();
        assert_ne!(count, 0, "the stream ended after {have} bytes");
        have += count;
    }
}

#[test]
fn what_was_written_is_read_and_short_at_the_end() {
    on_core(|io| async move {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        let bytes = noise(1, 3 * 4096);
        let file = io.open(&path, OpenMode::CreateNew).await.unwrap();
        assert_eq!(
            file.write_at(filled(&io, &bytes), 4096).await.unwrap(),
            bytes.len()
        );
        file.sync().await.unwrap();
        assert_eq!(file.size().await.unwrap(), 4 * 4096);
        assert_eq!(
            file.read_at(4096, bytes.len()).await.unwrap().as_ref(),
            &bytes[..]
        );
        let first = file.read_at(0, 4096).await.unwrap();
        assert!(
            first.as_ref().iter().all(|byte| *byte == 0),
            "a hole reads as zeros"
        );
        assert_eq!(
            file.read_at(2 * 4096, 1 << 20).await.unwrap().as_ref(),
            &bytes[4096..]
        );
        assert_eq!(file.read_at(1 << 20, 4096).await.unwrap().as_ref().len(), 0);
        file.set_len(5000).await.unwrap();
        assert_eq!(
            file.read_at(4096, 8192).await.unwrap().as_ref(),
            &bytes[..5000 - 4096]
        );
        file.allocate(1 << 20).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 1 << 20);
        let grown = file.read_at(8192, 4096).await.unwrap();
        assert!(grown.as_ref().iter().all(|byte| *byte == 0));
        file.close().await;
    });
}

#[test]
fn buffers_are_aligned_beyond_the_registered_memory_too() {
    on_core(|io| async move {
        let mut kept = Vec::new();
        for blocks in [1, 3, 16, 256, 256, 256, 256, 256, 256, 2] {
            let mut buffer = io.buffer(blocks * 4096);
            assert!(buffer.as_ref().as_ptr().addr().is_multiple_of(4096));
            assert_eq!(buffer.as_ref().len(), blocks * 4096);
            AlignedBuffer::truncate(&mut buffer, 100);
            assert_eq!(buffer.as_mut().len(), 100);
            kept.push(buffer);
        }
    });
}

#[test]
fn a_dropped_write_still_happens() {
    let scratch = Scratch::new();
    let path = scratch.path("file");
    let bytes = noise(2, 1 << 20);
    let (path_of_core, bytes_of_core) = (path.clone(), bytes.clone());
    on_core(move |io| {
        let (path, bytes) = (path_of_core.clone(), bytes_of_core.clone());
        async move {
            let file = io.open(&path, OpenMode::CreateNew).await.unwrap();
            let write = file.write_at(filled(&io, &bytes), 0);
            assert!(futures_lite::future::poll_once(write).await.is_none());
        }
    });
    assert!(
        std::fs::read(&path).unwrap() == bytes,
        "the core waited for it"
    );
}

#[test]
fn names_are_made_moved_listed_and_removed() {
    on_core(|io| async move {
        let scratch = Scratch::new();
        let deep = scratch.path("a/b");
        io.create_dir_all(&deep).await.unwrap();
        io.create_dir_all(&deep).await.unwrap();
        write_file(&io, &deep.join("two"), &noise(3, 8192)).await;
        io.rename(&deep.join("two"), &deep.join("one"))
            .await
            .unwrap();
        io.create_dir_all(&deep.join("zero")).await.unwrap();
        io.sync_dir(&deep).await.unwrap();
        let listed = io.list_dir(&deep).await.unwrap();
        let listed: Vec<_> = listed
            .iter()
            .map(|e| (&e.name[..], e.is_dir, e.bytes))
            .collect();
        assert_eq!(listed, [("one", false, 8192), ("zero", true, 0)]);
        let again = io.open(&deep.join("one"), OpenMode::CreateNew).await;
        assert_eq!(again.err().unwrap().kind(), ErrorKind::AlreadyExists);
        let missing = io.open(&deep.join("two"), OpenMode::Existing).await;
        assert_eq!(missing.err().unwrap().kind(), ErrorKind::NotFound);
        let missing = io.open_source(&deep.join("two")).await;
        assert_eq!(missing.err().unwrap().kind(), ErrorKind::NotFound);
        io.remove_file(&deep.join("one")).await.unwrap();
        io.remove_dir(&deep.join("zero")).await.unwrap();
        assert!(io.list_dir(&deep).await.unwrap().is_empty());
        assert!(io.free_bytes(&deep).await.unwrap() > 0);
    });
}

#[test]
fn a_renamed_file_still_knows_its_size() {
    on_core(|io| async move {
        let scratch = Scratch::new();
        let file = io
            .open(&scratch.path("new"), OpenMode::CreateNew)
            .await
            .unwrap();
        file.write_at(filled(&io, &noise(4, 4096)), 0)
            .await
            .unwrap();
        io.rename(&scratch.path("new"), &scratch.path("final"))
            .await
            .unwrap();
        assert_eq!(file.size().await.unwrap(), 4096);
        io.remove_file(&scratch.path("final")).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 4096);
    });
}

#[test]
fn a_source_reads_any_span_and_outlives_its_name() {
    on_core(|io| async move {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        let bytes = noise(5, 256 << 10);
        write_file(&io, &path, &bytes).await;
        let source = io.open_source(&path).await.unwrap();
        io.remove_file(&path).await.unwrap();
        for (from, count) in [
            (0, 1),
            (1, 4095),
            (4095, 2),
            (100_000, 100_000),
            (0, 256 << 10),
        ] {
            let read = io.read_source(&source, from as u64, count).await.unwrap();
            assert!(read == bytes[from..from + count], "{count} bytes at {from}");
        }
        let tail = io
            .read_source(&source, (256 << 10) - 10, 4096)
            .await
            .unwrap();
        assert_eq!(tail, &bytes[(256 << 10) - 10..]);
        assert!(
            io.read_source(&source, 1 << 30, 10)
                .await
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn an_address_in_use_is_refused_and_free_again_when_dropped() {
    on_core(|io| async move {
        let listener = io.listen(LOOPBACK).await.unwrap();
        let address = listener.local_addr();
        assert_ne!(address.port(), 0);
        let second = io.listen(address).await;
        assert_eq!(second.err().unwrap().kind(), ErrorKind::AddrInUse);
        drop(listener);
        io.listen(address).await.unwrap();
    });
}

#[test]
fn a_refused_connection_is_an_error() {
    on_core(|io| async move {
        let listener = io.listen(LOOPBACK).await.unwrap();
        let address = listener.local_addr();
        drop(listener);
        let refused = io.connect(address).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_echo_comes_back_and_shutdown_ends_a_read() {
    on_core(|io| async move {
        let listener = io.listen(LOOPBACK).await.unwrap();
        let address = listener.local_addr();
        let served = Rc::new(Cell::new(0));
        let (count, done) = (Rc::clone(&served), Signal::new());
        let ended = done.clone();
        io.spawn(async move {
            let (mut reader, mut writer, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 10_000];
            loop {
                let have = reader.read(&mut buffer).await.unwrap();
                if have == 0 {
                    break;
                }
                count.set(count.get() + have);
                writer.write_all(&buffer[..have]).await.unwrap();
            }
            ended.notify();
        });
        let (mut reader, mut writer) = io.connect(address).await.unwrap();
        for (seed, bytes) in [(1, 1), (2, 4096), (3, 9_999), (4, 10_000)] {
            let sent = noise(seed, bytes);
            writer.write_all(&sent).await.unwrap();
            let mut back = vec![0; bytes];
            read_exactly(&mut reader, &mut back).await;
            assert_eq!(back, sent);
        }
        let wait = done.wait();
        writer.shutdown();
        assert_eq!(reader.read(&mut [0; 10]).await.unwrap(), 0);
        wait.await;
        assert_eq!(served.get(), 1 + 4096 + 9_999 + 10_000);
    });
}

/// Takes `bytes` from one connection, waiting a little before each of the first reads, and returns them at the end.
fn slow_peer(io: &Uring, address: SocketAddr, bytes: usize) -> (Rc<RefCell<Vec<u8>>>, Signal) {
    let (taken, done) = (Rc::new(RefCell::new(Vec::new())), Signal::new());
    let (io, peer_io, to, signal) = (io, io.clone(), Rc::clone(&taken), done.clone());
    io.spawn(async move {
        let (mut reader, _writer) = peer_io.connect(address).await.unwrap();
        let mut buffer = vec![0; 100_000];
        let mut reads = 0;
        while to.borrow().len() < bytes {
            if reads < 20 {
                peer_io.sleep(Duration::from_millis(5)).await;
            }
            reads += 1;
            let have = reader.read(&mut buffer).await.unwrap();
            assert_ne!(have, 0);
            to.borrow_mut().extend_from_slice(&buffer[..have]);
        }
        signal.notify();
    });
    (taken, done)
}

#[test]
fn many_parts_beyond_the_socket_buffer_arrive_in_order() {
    on_core(|io| async move {
        let listener = io.listen(LOOPBACK).await.unwrap();
        let bytes = noise(6, 20 << 20);
        let (taken, done) = slow_peer(&io, listener.local_addr(), bytes.len());
        let (_reader, mut writer, _) = listener.accept().await.unwrap();
        // Parts of all sizes, empty ones among them, and more than one sendmsg takes.
        let mut parts: Vec<&[u8]> = vec![&[]];
        let mut rest = &bytes[..];
        let mut size = 0;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at((size % 70_001).min(rest.len()));
            parts.push(part);
            rest = behind;
            size += 997;
        }
        parts.push(&[]);
        assert!(parts.len() > 500);
        let wait = done.wait();
        writer.write_vectored(&parts).await.unwrap();
        writer.write_vectored(&[]).await.unwrap();
        wait.await;
        assert!(*taken.borrow() == bytes);
    });
}

fn evict(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

#[test]
fn spans_of_a_file_arrive_hot_and_cold_at_a_slow_reader() {
    on_core(|io| async move {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        let bytes = noise(7, 12 << 20);
        write_file(&io, &path, &bytes).await;
        let source = io.open_source(&path).await.unwrap();
        let listener = io.listen(LOOPBACK).await.unwrap();
        for is_cold in [true, false, true] {
            if is_cold {
                evict(&path);
                assert!(!source.is_warm(0, 1 << 20), "it was evicted");
            }
            let spans = [(0, 9 << 20), ((9 << 20) + 5, 1 << 20), (4095, 2), (1, 0)];
            let expected: Vec<u8> = spans
                .iter()
                .flat_map(|(from, count)| &bytes[*from..from + count])
                .copied()
                .collect();
            let (taken, done) = slow_peer(&io, listener.local_addr(), expected.len());
            let (_reader, mut writer, _) = listener.accept().await.unwrap();
            let wait = done.wait();
            for (from, count) in spans {
                writer
                    .send_file(&source, from as u64, count as u64)
                    .await
                    .unwrap();
            }
            wait.await;
            assert!(*taken.borrow() == expected, "cold: {is_cold}");
            assert!(source.is_warm(0, 9 << 20));
        }
    });
}

#[test]
fn a_file_that_ends_early_is_an_error() {
    on_core(|io| async move {
        let scratch = Scratch::new();
        let path = scratch.path("file");
        write_file(&io, &path, &noise(8, 8192)).await;
        let source = io.open_source(&path).await.unwrap();
        let listener = io.listen(LOOPBACK).await.unwrap();
        let (taken, done) = slow_peer(&io, listener.local_addr(), 8192);
        let (_reader, mut writer, _) = listener.accept().await.unwrap();
        let wait = done.wait();
        let early = writer.send_file(&source, 0, 8193).await.err().unwrap();
        assert_eq!(early.kind(), ErrorKind::UnexpectedEof);
        wait.await;
        assert_eq!(taken.borrow().len(), 8192);
        let beyond = writer.send_file(&source, u64::MAX, 2).await.err().unwrap();
        assert_eq!(beyond.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_sender_that_waits_learns_that_its_peer_is_gone() {
    on_core(|io| async move {
        let listener = io.listen(LOOPBACK).await.unwrap();
        let (_peer_reader, mut peer) = io.connect(listener.local_addr()).await.unwrap();
        let (_reader, mut writer, _) = listener.accept().await.unwrap();
        let clock = io.clone();
        io.spawn(async move {
            clock.sleep(Duration::from_millis(20)).await;
            peer.shutdown();
        });
        drop(_peer_reader);
        let bytes = vec![0; 64 << 20];
        assert!(writer.write_all(&bytes).await.is_err());
    });
}

#[test]
fn sleeping_takes_its_time_and_lets_others_run() {
    on_core(|io| async move {
        let ran = Rc::new(Cell::new(0));
        let (count, clock) = (Rc::clone(&ran), io.clone());
        io.spawn(async move {
            for _ in 0..10 {
                count.set(count.get() + 1);
                clock.yield_now().await;
            }
        });
        assert_eq!(ran.get(), 0, "a new task waits for its turn");
        let before = io.now();
        io.sleep(Duration::from_millis(5)).await;
        assert!(io.now().since(before) >= Duration::from_millis(5));
        assert_eq!(ran.get(), 10);
        assert_ne!(io.random(), io.random());
        assert_ne!(io.boot_id(), 0);
    });
}

#[test]
fn messages_cross_both_ways_in_order_through_small_mailboxes() {
    const COUNT: u64 = 5_000;
    let sums = run_cores(options(2), |io, mailbox: UringMailbox<u64>| async move {
        let peer = CoreId(1 - io.core().0);
        // Several senders: each task's messages keep their order.
        let (sent, done) = (Rc::new(Cell::new(0)), Signal::new());
        for task in 0..3 {
            let (mailbox, sent, done) = (mailbox.clone(), Rc::clone(&sent), done.clone());
            io.spawn(async move {
                for number in 0..COUNT {
                    assert!(mailbox.send(peer, task * COUNT + number).await);
                }
                sent.set(sent.get() + 1);
                done.notify();
            });
        }
        let mut expected = [0, COUNT, 2 * COUNT];
        for _ in 0..3 * COUNT {
            let (from, message) = mailbox.receive().await.unwrap();
            assert_eq!(from, peer);
            let next = &mut expected[(message / COUNT) as usize];
            assert_eq!(*next, message);
            *next += 1;
        }
        while sent.get() < 3 {
            done.wait().await;
        }
        expected
    });
    let all = [COUNT, 2 * COUNT, 3 * COUNT];
    assert_eq!(sums.unwrap(), [all, all]);
}

#[test]
fn the_other_core_is_told_when_one_stops() {
    let received = run_cores(options(2), |io, mailbox: UringMailbox<u32>| async move {
        let mut received = 0;
        if io.core() == CoreId(0) {
            for number in 0..10 {
                assert!(mailbox.send(CoreId(1), number).await);
            }
            // It waits in a full channel when the other stops.
            while mailbox.send(CoreId(1), 99).await {}
        } else {
            for number in 0..10 {
                assert_eq!(mailbox.receive().await, Some((CoreId(0), number)));
                received += 1;
            }
            io.sleep(Duration::from_millis(20)).await;
        }
        received
    });
    assert_eq!(received.unwrap(), [0, 10]);
    let ended = run_cores(options(2), |io, mailbox: UringMailbox<u32>| async move {
        if io.core() == CoreId(0) {
            mailbox.send(CoreId(1), 7).await
        } else {
            assert_eq!(mailbox.receive().await, Some((CoreId(0), 7)));
            mailbox.receive().await.is_none()
        }
    });
    assert_eq!(ended.unwrap(), [true, true]);
}

#[test]
fn a_core_may_send_to_itself() {
    on_core_with_mailbox(|io, mailbox| async move {
        let sender = mailbox.clone();
        io.spawn(async move {
            for number in 0..100 {
                assert!(sender.send(CoreId(0), number).await);
            }
        });
        for number in 0..100 {
            assert_eq!(mailbox.receive().await, Some((CoreId(0), number)));
        }
    });
}

fn on_core_with_mailbox<Fut: Future<Output = ()>>(
    main: impl Fn(Uring, UringMailbox<u32>) -> Fut + Send + Clone + 'static,
) {
    run_cores(options(1), main).expect("nothing panics on the core");
}

#[test]
fn a_panic_on_one_core_ends_all_as_an_error() {
    let failed = run_cores(options(2), |io, mailbox: UringMailbox<()>| async move {
        if io.core() == CoreId(1) {
            panic!("deliberate {}", 42);
        }
        mailbox.receive().await;
        // The mailbox tells that the other stopped; the alarm ends us all the same.
        std::future::pending::<()>().await;
    });
    let text = failed.err().unwrap().to_string();
    assert!(
        text.contains("core 1") && text.contains("deliberate 42"),
        "{text}"
    );
}

#[test]
fn a_panic_in_a_task_and_in_a_blocking_call_is_an_error() {
    let failed = run_cores(options(1), |io, _: UringMailbox<()>| async move {
        io.spawn(async { panic!("in a task") });
        std::future::pending::<()>().await;
    });
    assert!(failed.err().unwrap().to_string().contains("in a task"));
    on_core(|io| async move {
        let work = || -> std::io::Result<()> { panic!("off the core") };
        let error = io.core.blocking(work).await.err().unwrap();
        assert!(error.to_string().contains("off the core"));
    });
}

#[test]
fn tasks_and_what_they_hold_end_with_main() {
    let scratch = Scratch::new();
    let directory = scratch.0.clone();
    let address = on_core(move |io| {
        let directory = directory.clone();
        async move {
            let listener = io.listen(LOOPBACK).await.unwrap();
            let address = listener.local_addr();
            let file = io
                .open(&directory.join("held"), OpenMode::CreateNew)
                .await
                .unwrap();
            io.spawn(async move {
                let _held = (file, listener);
                std::future::pending::<()>().await;
            });
            io.sleep(Duration::from_millis(1)).await;
            address
        }
    });
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
        let target = std::fs::read_link(entry.as_ref().unwrap().path());
        target.is_ok_and(|target| target.starts_with(&scratch.0))
    });
    assert_eq!(open.count(), 0, "descriptors were left open");
    std::net::TcpListener::bind(address).expect("the port is free again");
}

#[test]
fn a_core_whose_wake_up_was_lost_is_roused() {
    let polls = on_core(|_| {
        let mut polls = 0;
        // Nobody keeps the waker: as if its wake-up had been lost.
        std::future::poll_fn(move |_| {
            polls += 1;
            if polls < 3 {
                Poll::Pending
            } else {
                Poll::Ready(polls)
            }
        })
    });
    assert_eq!(polls, 3);
}

#[test]
fn a_core_that_cannot_start_names_the_cause() {
    let mut impossible = options(2);
    impossible.cpus[1] = Some(100_000);
    let main = |_: Uring, _: UringMailbox<()>| async { unreachable!("no core may run") };
    let text = run_cores::<_, (), _, _>(impossible, main)
        .err()
        .unwrap()
        .to_string();
    assert!(text.contains("core 1") && text.contains("100000"), "{text}");
    let mut none = options(1);
    none.cpus.clear();
    assert!(run_cores(none, |_, _: UringMailbox<()>| async {}).is_err());
}
