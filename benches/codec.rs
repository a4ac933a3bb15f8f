//! codec: what a request costs before and after the log: frame, FlatBuffers header, batch check; no I/O, one thread.
//!
//! Sketch, per produce request with one entry: the prefix and CRC-32 of a header of 88 B (20 ns), the verifier over three
//! tables and a vector (about 60 ns), the batch's fields and CRC-32C (170 B: 10 ns; 107 KB at 50 GB/s: 2.2 us), and a
//! walk over the lengths of the records (3 ns each). Its reply: one FlatBuffers table with one struct (60 ns), CRC-32 and a copy (20 ns).
//! So about 0.1 us a request on the way in and as much on the way out, and memory bandwidth where batches are large.
//! Nothing is copied but headers, nothing is allocated.
//!
//! Seen otherwise: CRC-32C at 16 GB/s on an EPYC that hides AVX-512 from its VMs (6.7 us for 107 KB), and 4 ns a record.
//!
//! Percentiles are of groups of 64 operations, divided: one alone is shorter than the clock is exact.
//!
//! `cargo bench --bench codec -- [--smoke] [--only NAME]`

mod rig;

use millrace::base::record::BatchBuilder;
use millrace::base::{
    AckLevel, Offset, PartitionKey, PartitionNo, RecordBatch, TimestampMs, TopicId,
};
use millrace::engine::Produced;
use millrace::protocol::native::{
    Caps, Frame, Reply, ReplyWriter, Request, RequestWriter, Split, split,
};
use rig::{Args, Took, Watch};
use std::hint::black_box;
use std::time::Instant;

const GROUP: u64 = 64;

fn main() {
    let args = Args::read();
    for (records, count) in [(1u64, 1_000_000), (1_000, 200_000)] {
        let groups = args.scale(count, 64) / GROUP;
        let batch = batch(records);
        let request = request(&batch);
        let shape = format!("{records} x 100 B");
        args.row(&format!("write a produce of {shape}"), "requests", || {
            let (mut writer, mut out) = (RequestWriter::new(), Vec::with_capacity(1 << 10));
            grouped(groups, || {
                out.clear();
                write(&mut writer, &batch, &mut out);
                out.len() < 200
            })
        });
        args.row(&format!("split and decode it, {shape}"), "requests", || {
            grouped(groups, || decode(&request) == batch.len())
        });
        args.row(&format!("check its CRC-32C, {shape}"), "batches", || {
            grouped(groups, || {
                let parsed = RecordBatch::parse(black_box(&batch)).expect("built here");
                parsed.check_crc().is_ok()
            })
        });
        args.row(&format!("check its batch, {shape}"), "batches", || {
            grouped(groups, || {
                let parsed = RecordBatch::parse(black_box(&batch)).expect("built here");
                parsed.check().is_ok()
            })
        });
    }
    let groups = args.scale(1_000_000, 64) / GROUP;
    let mut out = Vec::with_capacity(1 << 10);
    let mut writer = ReplyWriter::new();
    args.row("write the reply", "replies", || {
        grouped(groups, || {
            out.clear();
            reply(&mut writer, &mut out);
            !out.is_empty()
        })
    });
    reply(&mut writer, &mut out);
    let frame = frame(&out);
    args.row("decode the reply", "replies", || {
        grouped(groups, || {
            let reply = Reply::decode(black_box(frame.header), frame.body);
            matches!(reply, Ok(Reply::Produced(produced)) if produced.entries().all(|e| e.is_ok()))
        })
    });
}

/// Runs `act` in groups; each must say that it went well.
fn grouped(groups: u64, mut act: impl FnMut() -> bool) -> Took {
    let mut watch = Watch::start();
    for _ in 0..groups {
        let began = Instant::now();
        for _ in 0..GROUP {
            assert!(black_box(act()));
        }
        watch.note(began);
    }
    let mut took = watch.stop(groups * GROUP, String::new());
    let groups = std::mem::replace(
        &mut took.times,
        hdrhistogram::Histogram::new(3).expect("3 digits are good"),
    );
    for group in groups.iter_recorded() {
        let each = group.value_iterated_to() / GROUP;
        let noted = took.times.record_n(each, group.count_at_value());
        noted.expect("it resizes");
    }
    took
}

fn key() -> PartitionKey {
    PartitionKey::new(TopicId(7), PartitionNo(3))
}

fn batch(records: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for record in 0..records {
        builder.push(TimestampMs(record as i64), None, Some(&[b'x'; 100]), &[]);
    }
    builder.finish().to_vec()
}

fn write(writer: &mut RequestWriter, batch: &[u8], out: &mut Vec<u8>) {
    let entry = [(key(), batch.len() as u32)].into_iter();
    let written = writer.produce(1, AckLevel::Written, entry, out);
    written.expect("within limits");
}

fn request(batch: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut RequestWriter::new(), batch, &mut out);
    out.extend_from_slice(batch);
    out
}

/// Bytes of record batches found.
fn decode(bytes: &[u8]) -> usize {
    let Ok(Split::Frame(frame)) = split(black_box(bytes), Caps::REQUEST) else {
        panic!("a whole frame");
    };
    match Request::decode(frame.header, frame.body) {
        Ok(Request::Produce(produce)) => produce.entries().map(|entry| entry.batches.len()).sum(),
        other => panic!("{other:?}"),
    }
}

fn reply(writer: &mut ReplyWriter, out: &mut Vec<u8>) {
    let produced = Produced {
        base_offset: Offset(1 << 40),
        log_start: Offset(0),
        append_time: None,
    };
    writer.produced(1, &[Ok(produced)], out);
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    match split(bytes, Caps::REPLY) {
        Ok(Split::Frame(frame)) => frame,
        other => panic!("{other:?}"),
    }
}
