//! The bytes of a valid conversation, ways to send bytes, and what may come back.

use millrace::base::checksum::{crc32, crc32c};
use millrace::base::record::BatchBuilder;
use millrace::base::{AckLevel, Offset, PartitionKey, PartitionNo, TimestampMs};
use millrace::client::blocking::{Client, ConsumerOptions};
use millrace::protocol::native::{
    Caps, FetchPartition, FetchRequest, NewTopic, Reply, RequestWriter, Split, TopicInfo,
    TopicSettings, split,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Bytes of a frame's prefix.
pub(crate) const PREFIX: usize = 16;
/// Where a batch's checksummed part begins.
const CRC_START: usize = 21;

pub(crate) fn topic(client: &mut Client, name: &str) -> TopicInfo {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: 1,
        settings: TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: 64 << 20,
            segment_ms: 86_400_000,
            ..TopicSettings::default()
        },
    };
    client.create_topic(&topic).unwrap()
}

pub(crate) fn key(topic: &TopicInfo) -> PartitionKey {
    PartitionKey::new(topic.id, PartitionNo(0))
}

/// A batch of `count` records with this value.
pub(crate) fn batch(value: &[u8], count: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for _ in 0..count {
        builder.push(TimestampMs(5), Some(b"key"), Some(value), &[]);
    }
    builder.finish().to_vec()
}

/// Three frames: hello, a produce of one small batch, a fetch that does not wait.
pub(crate) struct Conversation {
    pub(crate) key: PartitionKey,
    pub(crate) value: Vec<u8>,
    pub(crate) hello: Vec<u8>,
    pub(crate) produce: Vec<u8>,
    pub(crate) fetch: Vec<u8>,
}

impl Conversation {
    pub(crate) fn new(topic: &TopicInfo) -> Self {
        let (key, value) = (key(topic), b"what was sent".to_vec());
        let mut hello = Vec::new();
        let mut writer = RequestWriter::new();
        writer.hello(0, "hostile", "1", &mut hello).unwrap();
        let batch = batch(&value, 3);
        let produce = produce(key, &batch);
        let fetch = fetch(&[key], 4_096);
        Self {
            key,
            value,
            hello,
            produce,
            fetch,
        }
    }

    pub(crate) fn all(&self) -> Vec<u8> {
        [&self.hello[..], &self.produce, &self.fetch].concat()
    }
}

pub(crate) fn produce(key: PartitionKey, batch: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let entry = [(key, batch.len() as u32)].into_iter();
    let written = RequestWriter::new().produce(1, AckLevel::Written, entry, &mut out);
    written.unwrap();
    out.extend_from_slice(batch);
    out
}

pub(crate) fn fetch(keys: &[PartitionKey], bytes_max: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let wanted = |key: &PartitionKey| FetchPartition {
        key: *key,
        from: Offset(0),
        bytes_max,
    };
    let request = FetchRequest {
        partitions: keys.iter().map(wanted).collect(),
        bytes_min: 1,
        wait_max: Duration::ZERO,
        bytes_max,
    };
    RequestWriter::new().fetch(2, &request, &mut out).unwrap();
    out
}

/// Makes the checksum of a frame's header right for what it holds now.
pub(crate) fn reseal_frame(frame: &mut [u8]) {
    let header = u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
    let crc = crc32(&frame[PREFIX..PREFIX + header]);
    frame[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksum of a batch right for what it holds now.
pub(crate) fn reseal_batch(batch: &mut [u8]) {
    let crc = crc32c(&batch[CRC_START..]);
    batch[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The broker closed it, after so many whole replies.
    Closed(usize),
    /// The broker reset it: it had not read everything.
    Reset,
    /// It is still open after seconds.
    Held,
}

/// Sends `bytes` and nothing more on a connection of their own, and looks at what comes back.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> End {
    send_and_wait(address, bytes, Duration::from_secs(10))
}

/// The same, for what may rightly take long: waits so long for each piece of an answer.
pub(crate) fn send_and_wait(address: SocketAddr, bytes: &[u8], patience: Duration) -> End {
    let mut stream = connect(address);
    stream.set_read_timeout(Some(patience)).unwrap();
    // The broker may close before it has taken everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => End::Closed(check_replies(&answer)),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => End::Reset,
        Err(error) if error.kind() == ErrorKind::WouldBlock => End::Held,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whatever was asked, an answer is whole and well-formed. Returns how many there are.
fn check_replies(mut answer: &[u8]) -> usize {
    let mut count = 0;
    while !answer.is_empty() {
        let Ok(Split::Frame(frame)) = split(answer, Caps::REPLY) else {
            panic!("half an answer: {answer:?}");
        };
        Reply::decode(frame.header, frame.body).unwrap();
        answer = &answer[frame.total..];
        count += 1;
    }
    count
}

/// Every record of a topic has this value, and there is at least one.
pub(crate) fn check_copies(client: &mut Client, topic: &str, value: &[u8]) {
    let mut count = 0;
    read(client, topic, |found| {
        assert_eq!(found, value, "{topic}: record {count}");
        count += 1;
    });
    assert!(count > 0);
    println!("{topic}: {count} records");
}

/// A topic can be read from its beginning to its end, and holds something.
pub(crate) fn check_all_readable(client: &mut Client, topic: &str) {
    let mut count = 0;
    read(client, topic, |_| count += 1);
    assert!(count > 0, "{topic} is empty");
}

/// Every batch of a topic has a right checksum, and none hides what comes behind it. The broker does not look into
/// records, so a batch that was sealed over a malformed one is stored: its reader is told, and goes on. Nor does it
/// look at the offset that a record states inside its batch.
pub(crate) fn check_readable(client: &mut Client, topic: &str) {
    let (mut count, mut malformed) = (0, 0);
    let mut consumer = client
        .consumer(topic, None, ConsumerOptions::default())
        .unwrap();
    while !consumer.is_caught_up() {
        for record in consumer.poll(Duration::from_secs(10)).unwrap() {
            match record {
                Ok(_) => count += 1,
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("malformed record inside a batch"), "{text}");
                    malformed += 1;
                }
            }
        }
    }
    println!("{topic}: {count} records, {malformed} batches with a malformed one");
    assert!(count > 0);
}

/// Reads a topic of one partition from its beginning to its end.
pub(crate) fn read(client: &mut Client, topic: &str, mut each: impl FnMut(&[u8])) {
    let mut consumer = client
        .consumer(topic, None, ConsumerOptions::default())
        .unwrap();
    let mut next = 0;
    while !consumer.is_caught_up() {
        for record in consumer.poll(Duration::from_secs(10)).unwrap() {
            let record = record.unwrap();
            assert_eq!(record.offset, Offset(next), "{topic}");
            each(record.value.unwrap_or_default());
            next += 1;
        }
    }
}
