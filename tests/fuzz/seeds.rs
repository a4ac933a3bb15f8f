//! The targets, and for each the inputs that its fuzzing begins with: what real encoders wrote, in the shape that the head
//! of the target describes.

use millrace::base::TopicSettings;
use millrace::base::group::Committed;
use millrace::base::limits::BLOCK_BYTES;
use millrace::base::prng::Prng;
use millrace::base::queue::{ConsumerId, Nack, QueueSettings, Retry, Span};
use millrace::base::record::BatchBuilder;
use millrace::base::{
    AckLevel, NodeId, Offset, PartitionKey, PartitionNo, RecordBatch, Stage, Stages, TimestampMs,
    TopicId, stages,
};
use millrace::catalog::{Queue, Record, Topic};
use millrace::group::OffsetRecord;
use millrace::io::sim::{Sim, SimDisk};
use millrace::log::{Log, Options, SegmentSettings, recover};
use millrace::protocol::kafka::Api;
use millrace::protocol::kafka::api::{APIS, find, key};
use millrace::queue::{Flow, Ledger, Moment, Output, encode_all};
use std::io::Write;
use std::path::Path;

/// Something that takes bytes from outside or from disk.
pub(crate) struct Target {
    /// What the ledger calls it: `fuzz `, then its name.
    pub(crate) campaign: &'static str,
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    pub(crate) fn name(&self) -> &'static str {
        self.campaign.strip_prefix("fuzz ").unwrap()
    }
}

const fn target(campaign: &'static str, seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { campaign, seeds }
}

pub(crate) const TARGETS: &[Target] = &[
    target("fuzz frame_split", frames),
    target("fuzz request_decode", || headers("request")),
    target("fuzz reply_decode", || headers("reply")),
    target("fuzz dispatch", conversations),
    target("fuzz session", sessions),
    target("fuzz kafka_request", kafka_requests),
    target("fuzz kafka_dispatch", kafka_conversations),
    target("fuzz record_batch", batches),
    target("fuzz unpack", packed_batches),
    target("fuzz journal_entry", || stored(".wal", BLOCK_BYTES, &[])),
    target("fuzz journal_file", || stored(".wal", 0, &[])),
    target("fuzz index_file", || stored(".idx", 0, &index_key())),
    target("fuzz segment_walk", || {
        stored(".log", 0, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 16])
    }),
    target("fuzz data_directory", noise),
    target("fuzz log_steps", noise),
    target("fuzz catalog_record", catalog_records),
    target("fuzz catalog_replay", catalog_replays),
    target("fuzz group_record", group_records),
    target("fuzz queue_ledger", queue_ledgers),
    target("fuzz node_file", node_files),
    target("fuzz workload_file", || texts(WORKLOADS)),
    target("fuzz values", || texts(VALUES)),
    target("fuzz histogram", histograms),
    target("fuzz lines", lines),
];

/// One frame of each kind, in hex: what the protocol's own tests hold both ends to.
const GOLDENS: &str = include_str!("../../src/protocol/native/goldens.txt");

/// The frames of one direction, as they are on the wire.
fn golden(direction: &str) -> Vec<Vec<u8>> {
    let lines = GOLDENS.lines().filter(|line| line.starts_with(direction));
    lines
        .map(|line| {
            let hex = line.split(' ').nth(2).unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(byte).collect()
        })
        .collect()
}

/// Header and body of a frame.
fn parts(frame: &[u8]) -> (&[u8], &[u8]) {
    let header = u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
    frame[16..].split_at(header)
}

fn frames() -> Vec<Vec<u8>> {
    [golden("request"), golden("reply")].concat()
}

fn headers(direction: &str) -> Vec<Vec<u8>> {
    let golden = golden(direction);
    let seed = |frame: &Vec<u8>| {
        let (header, body) = parts(frame);
        [&[body.len() as u8], header, body].concat()
    };
    golden.iter().map(seed).collect()
}

/// One request of each API in its first and its last version, without the length: what lies behind the header is zeros,
/// which are empty lists and nulls; and a produce of a real batch.
fn kafka_requests() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for api in APIS {
        for version in [api.first, api.last] {
            seeds.push(kafka_request(api, version, &[0; 48]));
        }
    }
    let batch = batch(3, b"value");
    let mut produce = Vec::new();
    produce.extend((-1i16).to_be_bytes());
    produce.extend(1i16.to_be_bytes());
    produce.extend(1_000i32.to_be_bytes());
    produce.extend(1i32.to_be_bytes());
    produce.extend([0, 1, b't']);
    produce.extend(1i32.to_be_bytes());
    produce.extend(0i32.to_be_bytes());
    produce.extend((batch.len() as i32).to_be_bytes());
    produce.extend(batch);
    let api = find(key::PRODUCE).unwrap();
    seeds.push(kafka_request(api, 7, &produce));
    let api = find(key::METADATA).unwrap();
    seeds.push(kafka_request(api, 4, &[0, 0, 0, 1, 0, 1, b't', 1]));
    seeds
}

fn kafka_request(api: &Api, version: i16, body: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(api.key.to_be_bytes());
    request.extend(version.to_be_bytes());
    request.extend(7i32.to_be_bytes());
    request.extend([0, 2, b'm', b'e']);
    if api.shape(version).is_flexible {
        request.push(0);
    }
    request.extend(body);
    request
}

/// Each request, and all of them in a row, the topic made before the produce.
fn kafka_conversations() -> Vec<Vec<u8>> {
    let frame = |request: &Vec<u8>| [&(request.len() as u16).to_le_bytes()[..], request].concat();
    let mut frames: Vec<Vec<u8>> = kafka_requests().iter().map(frame).collect();
    frames.push(frames.iter().rev().flatten().copied().collect());
    frames
}

/// A frame as the pieces of a script.
fn script_of(frame: &[u8]) -> Vec<u8> {
    let (header, body) = parts(frame);
    let mut script = vec![u8::from(!body.is_empty())];
    for part in [header, body].into_iter().filter(|part| !part.is_empty()) {
        if script.len() > 1 {
            script.push(0);
        }
        script.extend((part.len() as u16).to_le_bytes());
        script.extend(part);
    }
    script
}

/// Each request behind a hello; all of them; a produce of a real batch; the same with silence in between.
fn conversations() -> Vec<Vec<u8>> {
    let golden = golden("request");
    let hello = script_of(&golden[0]);
    let each = golden[1..]
        .iter()
        .map(|frame| [&hello[..], &script_of(frame)].concat());
    let mut scripts: Vec<Vec<u8>> = each.collect();
    scripts.push(golden.iter().flat_map(|frame| script_of(frame)).collect());
    let silence = [3, 200, 0];
    scripts.push(
        golden
            .iter()
            .flat_map(|frame| [&script_of(frame)[..], &silence].concat())
            .collect(),
    );
    // A consumer that takes, answers and waits.
    let named = |name: &str| {
        let line = |line: &&str| line.split(' ').take(2).eq(["request", name]);
        let requests = GOLDENS.lines().filter(|line| line.starts_with("request"));
        script_of(&golden[requests.clone().position(|one| line(&one)).unwrap()])
    };
    let polls = ["poll_queue"; 4];
    let queue = ["hello", "create_topic", "create_queue", "join_queue"];
    scripts.push(
        queue
            .iter()
            .chain(&polls)
            .flat_map(|name| named(name))
            .collect(),
    );
    let raw = [&[2, golden[0].len() as u8, 0][..], &golden[0]].concat();
    scripts.push([raw, script_of(&golden[1])].concat());
    scripts
}

/// All kinds of requests, then replies: each alone, all in a row.
fn sessions() -> Vec<Vec<u8>> {
    let golden = golden("reply");
    let kinds = [0x00, 0x01, 0x02, 0x03, 0x14, 0x15, 0x36];
    let begin = [&[kinds.len() as u8][..], &kinds, &[255]].concat();
    let each = golden
        .iter()
        .map(|frame| [&begin[..], &script_of(frame)].concat());
    let mut scripts: Vec<Vec<u8>> = each.collect();
    let all: Vec<u8> = golden.iter().flat_map(|frame| script_of(frame)).collect();
    scripts.push([begin, all].concat());
    scripts
}

fn batch(count: usize, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for number in 0..count {
        let time = TimestampMs(1_700_000_000_000 + number as i64);
        builder.push(
            time,
            Some(b"key"),
            Some(value),
            &[(b"header", Some(b"its value")), (b"h", None)],
        );
        builder.push(time, None, None, &[]);
    }
    builder.finish().to_vec()
}

fn batches() -> Vec<Vec<u8>> {
    vec![batch(1, b""), batch(3, b"value"), batch(40, &[7; 60])]
}

/// A batch with its records as each codec makes them; snappy also as the Java library frames it.
fn packed_batches() -> Vec<Vec<u8>> {
    let plain = batch(40, &[7; 60]);
    let (header, records) = plain.split_at(61);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(records).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(records).unwrap();
    let snappy = snap::raw::Encoder::new().compress_vec(records).unwrap();
    let head = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
    let framed = [&head[..], &(snappy.len() as u32).to_be_bytes(), &snappy].concat();
    let zstd = zstd::encode_all(records, 3).unwrap();
    let packed = [
        (1, gzip.finish().unwrap()),
        (2, snappy),
        (2, framed),
        (3, lz4.finish().unwrap()),
        (4, zstd),
    ];
    let seed = |(codec, packed): &(u8, Vec<u8>)| {
        let mut bytes = [header, packed].concat();
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = *codec;
        bytes
    };
    packed.iter().map(seed).collect()
}

/// The key of the partition whose files [`stored`] takes, as the index target wants it, and the base offset 0.
fn index_key() -> Vec<u8> {
    let (topic, partition) = (0xabc0u128.to_le_bytes(), 0u32.to_le_bytes());
    [&topic[..], &partition, &[0; 8]].concat()
}

/// What a log leaves in its files of one kind: without the first `skip` bytes and the zeros at the end, behind `prefix`.
fn stored(kind: &str, skip: usize, prefix: &[u8]) -> Vec<Vec<u8>> {
    let disk = SimDisk::new(1);
    Sim::with_disk(1, disk.clone()).run(write_some).done();
    let paths = disk.list_files();
    let mut seeds = Vec::new();
    for path in paths
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(kind))
    {
        let bytes = disk.read_file(path).unwrap();
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        let used = used.next_multiple_of(BLOCK_BYTES).min(bytes.len());
        if used > skip {
            seeds.push([prefix, &bytes[skip..used]].concat());
        }
    }
    seeds
}

/// Some records of one partition, of every way to the disk.
async fn write_some(io: millrace::io::sim::SimIo) {
    let data = Path::new("/data");
    let recovered = recover(&io, data).await.unwrap();
    let mut options = Options::new(data.into(), NodeId(7), recovered.epoch);
    options.journal_file_bytes = 256 << 10;
    options.disk_reserve_bytes = 0;
    let log = Log::start(io.clone(), options, recovered.partitions)
        .await
        .unwrap();
    let key = PartitionKey::new(TopicId(0xabc0), PartitionNo(0));
    let settings = SegmentSettings {
        segment_bytes: 32 << 10,
        segment_ms: u64::MAX,
    };
    let partition = log.open(key, settings).await.unwrap();
    for count in [1, 1, 100, 200, 1, 1] {
        let bytes = batch(count, &[7; 40]);
        let batch = RecordBatch::parse(&bytes).unwrap();
        let next: Offset = partition.append(&batch, AckLevel::Synced).unwrap();
        while partition.frontiers().synced < next {
            io_wait(&partition).await;
        }
    }
    log.stop().await.unwrap();
}

async fn io_wait(partition: &millrace::log::PartitionLog<millrace::io::sim::SimIo>) {
    partition.progress().wait().await;
}

/// For targets whose input is taken apart by the crate `arbitrary`, which makes sense of any bytes.
fn noise() -> Vec<Vec<u8>> {
    let mut prng = Prng::new(20_261_121);
    let mut some = |words: u64| {
        let words = (0..words).map(|_| prng.next_u64().to_le_bytes());
        words.collect::<Vec<_>>().concat()
    };
    [4, 8, 16, 32, 64, 128, 256].map(&mut some).into()
}

fn records() -> Vec<Record> {
    let created = |id: u128, name: &str| {
        Record::TopicCreated(Topic {
            id: TopicId(id),
            name: name.to_owned(),
            partitions: 3,
            settings: TopicSettings {
                ack: AckLevel::Synced,
                segment_bytes: 1 << 30,
                segment_ms: 60_000,
                ..TopicSettings::default()
            },
        })
    };
    let deleted = Record::TopicDeleted { id: TopicId(5) };
    vec![
        created(5, "logs"),
        created(6, "a.b_c-9"),
        deleted,
        created(7, "logs"),
        created(8 << 32, "orders"),
        Record::QueueCreated(Queue {
            id: TopicId(8 << 32 | 1 << 99),
            name: "work".to_owned(),
            topic: TopicId(8 << 32),
            dead_letters: Some(TopicId(7)),
            from_end: true,
            settings: QueueSettings {
                deliveries_max: Some(5),
                retry: Retry::Schedule(vec![1_000, 5_000]),
                has_dead_letters: true,
                ..QueueSettings::default()
            },
        }),
        Record::QueueDeleted {
            id: TopicId(8 << 32 | 1 << 99),
        },
    ]
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

fn catalog_records() -> Vec<Vec<u8>> {
    records().iter().map(encoded).collect()
}

fn catalog_replays() -> Vec<Vec<u8>> {
    let records: Vec<_> = records().iter().map(encoded).collect();
    let all = records
        .iter()
        .flat_map(|bytes| [&[bytes.len() as u8], &bytes[..]].concat());
    vec![all.collect()]
}

fn group_records() -> Vec<Vec<u8>> {
    let key = PartitionKey::new(TopicId(u128::MAX / 7), PartitionNo(3));
    let offset = |value| OffsetRecord::Offset {
        group: "readers".to_owned(),
        key,
        value,
    };
    let committed = Committed {
        offset: Offset(1_000),
        leader_epoch: 0,
        metadata: "where I was".to_owned(),
        at: TimestampMs(1_700_000_000_000),
    };
    let complete = OffsetRecord::Complete { records: 3 };
    let records = [offset(Some(committed)), offset(None), complete];
    let one = |record: &OffsetRecord| {
        let (mut bytes, mut value) = (vec![0], Vec::new());
        record.encode_key(&mut bytes);
        bytes[0] = bytes.len() as u8 - 1;
        record.encode_value(&mut value);
        [bytes, value].concat()
    };
    records.iter().map(one).collect()
}

/// What a queue stores while a consumer gets, acks, gives back and refuses records; each seed ends with a checkpoint of it.
fn queue_ledgers() -> Vec<Vec<u8>> {
    let now = Moment {
        monotonic_ms: 0,
        wall: TimestampMs(1_700_000_000_000),
    };
    let seed = |has_dead_letters| {
        let settings = QueueSettings {
            reads_headers: false,
            has_dead_letters,
            ..QueueSettings::default()
        };
        let span = |from, until| Span {
            from: Offset(from),
            until: Offset(until),
            deliveries: 1,
        };
        let (mut ledger, mut out) = (Ledger::new(settings, Offset(0), &now), Output::default());
        ledger.recovered(&now, &mut out);
        ledger.reached(Offset(20));
        let consumer = ConsumerId(1);
        ledger.join(consumer, Flow::Prefetch(9));
        ledger.hand_out(&now, &mut out);
        ledger.ack(consumer, span(0, 3), &mut out);
        ledger.nack(consumer, span(4, 6), Nack::After(50), &now, &mut out);
        ledger.nack(consumer, span(7, 8), Nack::Reject, &now, &mut out);
        ledger.checkpoint(&mut out.records);
        let mut bytes = Vec::new();
        encode_all(&out.records, &mut bytes);
        bytes
    };
    vec![seed(false), seed(true)]
}

fn node_files() -> Vec<Vec<u8>> {
    vec![format!("format 1\nnode {}\n", NodeId(u128::MAX / 3)).into_bytes()]
}

const WORKLOADS: &[&str] = &[
    "name: one\n\ntopics: 1\npartitionsPerTopic: 16\nmessageSize: 1024\n#payloadFile: \"payload.data\"\n\
     useRandomizedPayloads: true\nrandomBytesRatio: 0.5\nrandomizedPayloadPoolSize: 1000\n\nsubscriptionsPerTopic: 1\n\
     consumerPerSubscription: 2\nproducersPerTopic: 4\nproducerRate: 50000\nconsumerBacklogSizeGB: 0\n\
     testDurationMinutes: 15\n",
    "name: &a !!str 'two'\ntopics: 1\npartitionsPerTopic: 1\nmessageSize: 100\npayloadFile: |\n  a\n  b\n\
     keyDistributor: *a\n",
];

const VALUES: &[&str] = &[
    "auto",
    "0,2,4-7",
    "127.0.0.1:7420",
    "[::1]:7420",
    "host.example:1",
    "begin",
    "-10",
    "@1700000000000",
    "16MiB",
    "1G",
    "\\x0a",
    "\\n",
    "500ms",
    "1.5M",
    "max",
    "p99.9=5ms",
    "random:100",
    "round-robin",
    "%t/%p %o %T %k=%v\\n",
    "synced",
    "0123456789abcdef0123456789abcdef",
    "topic.name_1-2",
    "..",
    "__ours",
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn histograms() -> Vec<Vec<u8>> {
    let mut all = Stages::of(&[Stage::Write, Stage::Sync]);
    for nanos in 1..300 {
        all.record(Stage::Write, nanos * nanos * nanos);
    }
    all.rows()
        .map(|(_, histogram)| stages::encode(histogram))
        .collect()
}

fn lines() -> Vec<Vec<u8>> {
    vec![
        b"\n\x10\x03one\ntwo\n\nthree".to_vec(),
        b"\0\xff\xffa\0b\0".to_vec(),
    ]
}
