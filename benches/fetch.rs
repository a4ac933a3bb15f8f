//! fetch: reading 1 MiB at a time out of the log and sending it over the loopback: from memory, and from files.
//!
//! Sketch, per MiB (some 9,800 records of 100 B): a look into the list of boundaries or the sparse index (1 us), then from
//! memory one or two sendmsg that copy 1 MiB into the socket (6.5 GB/s: 160 us), from a file one sendfile of spans that
//! are in the page cache (9.2 GB/s: 110 us), which is preceded by one cachestat (2 us). The log copies nothing. So about
//! 16 us per 1000 records from memory and 11 from a file; the other core, which receives and drops, must keep up.
//!
//! Seen otherwise: 270 to 340 us per MiB: the core that receives copies, too, and both wait for each other's socket.
//!
//! `cargo bench --bench fetch -- [--smoke] [--dir DIR] [--only NAME]`. The CPU is that of both cores.

#[path = "rig/cores.rs"]
mod cores;
mod rig;
#[path = "rig/store.rs"]
mod store;

use cores::cores;
use millrace::base::{AckLevel, Body, CoreId, Offset, Part, RecordBatch};
use millrace::io::uring::{self, Uring, UringMailbox, UringSource, UringWriter};
use millrace::io::{Io, Listener, Mailbox, Reader, Writer};
use millrace::log::{Chunk, PartitionLog};
use rig::{Args, Took, Watch};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;
use store::{Dir, acked, batch, open, start};

const RECORDS: u64 = 1_000;
const FETCH_BYTES: u64 = 1 << 20;
/// What may wait to be written while the log is filled.
const UNWRITTEN_BATCHES: u64 = 64;

/// From where the log answers.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Memory,
    File,
}

fn main() {
    let args = Args::read();
    for (place, name) in [
        (Place::Memory, "fetch 1 MiB from memory"),
        (Place::File, "fetch 1 MiB from the file, page cache hot"),
    ] {
        // The hot tail holds 32 MiB: the last 16 are in memory, the first 128 of 192 in files alone.
        let batches = args.scale(1_800, 700);
        let fetches = args.scale(3_000, 8);
        args.row(name, "fetches", || {
            let dir = Dir::make(args.value("--dir"), "fetch");
            let data = dir.path();
            let ran = uring::run_cores(cores(2), move |io: Uring, mailbox| {
                let data = data.clone();
                async move {
                    match io.core() {
                        CoreId(0) => Some(serve(io, mailbox, data, place, batches, fetches).await),
                        _ => {
                            drain(io, mailbox).await;
                            None
                        }
                    }
                }
            });
            let mut ran = ran.expect("both cores run");
            ran.remove(0).expect("core 0 measures")
        });
    }
}

/// Receives and drops until the end.
async fn drain(io: Uring, mailbox: UringMailbox<SocketAddr>) {
    let (_, address) = mailbox.receive().await.expect("core 0 lives");
    let (mut reader, _writer) = io.connect(address).await.expect("connects");
    let mut buffer = vec![0; 256 << 10];
    while reader.read(&mut buffer).await.expect("receives") > 0 {}
}

async fn serve(
    io: Uring,
    mailbox: UringMailbox<SocketAddr>,
    data: PathBuf,
    place: Place,
    batches: u64,
    fetches: u64,
) -> Took {
    let log = start(&io, data).await;
    let partition = open(&io, &log, 1).await.remove(0);
    fill(&partition, batches).await;
    let listener = io.listen("127.0.0.1:0".parse().expect("good")).await;
    let listener = listener.expect("listens");
    assert!(mailbox.send(CoreId(1), listener.local_addr()).await);
    let (_reader, mut writer, _) = listener.accept().await.expect("accepts");
    let end = partition.frontiers().written;
    let sixteenth = batches / 16 * RECORDS;
    let (from, until) = match place {
        Place::Memory => (Offset(end.0 - sixteenth), end),
        Place::File => (Offset(0), Offset(4 * sixteenth)),
    };
    // Once through, so that what comes from files is in the page cache.
    run(&partition, &mut writer, place, (from, until), 64).await;
    let took = run(&partition, &mut writer, place, (from, until), fetches).await;
    writer.shutdown();
    log.stop().await.expect("stops");
    took
}

async fn fill(partition: &PartitionLog<Uring>, batches: u64) {
    let bytes = batch(RECORDS);
    for number in 0..batches {
        let batch = RecordBatch::parse(&bytes).expect("built here");
        let next = partition.append(&batch, AckLevel::Written);
        let next = next.expect("accepted");
        if number % UNWRITTEN_BATCHES == 0 {
            acked(partition, next, AckLevel::Written).await;
        }
    }
    let end = partition.frontiers().appended;
    acked(partition, end, AckLevel::Written).await;
}

async fn run(
    partition: &PartitionLog<Uring>,
    writer: &mut UringWriter,
    place: Place,
    (begin, until): (Offset, Offset),
    fetches: u64,
) -> Took {
    let (mut body, mut from, mut bytes) = (Body::default(), begin, 0);
    let mut watch = Watch::start();
    for _ in 0..fetches {
        let began = Instant::now();
        body.clear();
        let read = partition.read(from, until, FETCH_BYTES, &mut body).await;
        read.expect("readable");
        assert!(body.bytes > 0);
        send(writer, &body, place).await;
        bytes += body.bytes;
        // About so many records; a fetch may begin inside a batch.
        from = Offset(from.0 + body.bytes / 107);
        if from.0 + 2 * RECORDS >= until.0 {
            from = begin;
        }
        watch.note(began);
    }
    let mut took = watch.stop(fetches, String::new());
    took.note = format!(
        "; {:.2} GB/s, {:.1} us CPU per 1000 records of 100 B",
        bytes as f64 / took.seconds / 1e9,
        took.cpu_seconds * 1e6 / (bytes as f64 / 107_000.0)
    );
    took
}

async fn send(writer: &mut UringWriter, body: &Body<Chunk<Uring>, UringSource>, place: Place) {
    for part in &body.parts {
        let sent = match part {
            Part::Memory { chunk, from, until } => {
                assert!(place == Place::Memory, "read from memory");
                writer.write_all(&chunk.as_ref()[*from..*until]).await
            }
            Part::Copied { from, until } => writer.write_all(&body.copied[*from..*until]).await,
            Part::File {
                source,
                position,
                bytes,
            } => {
                assert!(place == Place::File, "read from the file");
                writer.send_file(source, *position, *bytes).await
            }
        };
        sent.expect("sends");
    }
}
