//! The attacks. Each checks what its own connections see; what others see, the caller checks.

use crate::wire::{
    Conversation, End, PREFIX, batch, connect, fetch, key, produce, reseal_batch, reseal_frame,
    send, send_and_wait,
};
use millrace::base::limits::{
    BATCH_BYTES_MAX, FRAME_BODY_BYTES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES_MAX,
    REQUEST_PARTITIONS_MAX,
};
use millrace::base::prng::Prng;
use millrace::protocol::native::{
    MetadataQuery, OffsetEntry, OffsetQuery, RequestWriter, TopicInfo,
};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const CONNECTIONS: usize = 200;
/// What one connection sends at most without reading an answer.
const UNREAD_BYTES_MAX: usize = 96 << 20;

/// HTTP, HTTP/2, SSH, AMQP, TLS, Kafka (ApiVersions), the PROXY protocol in both versions, SMTP, Redis.
pub(crate) const GREETINGS: [&[u8]; 10] = [
    b"GET / HTTP/1.1\r\nHost: millrace\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"AMQP\x00\x00\x09\x01",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00\x00\x00\x1a\x00\x12\x00\x04\x00\x00\x00\x01\x00\x04test",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\0\x01\0\x02",
    b"EHLO millrace\r\n",
    b"*1\r\n$4\r\nPING\r\n",
];

/// The conversation ends at every byte.
pub(crate) fn cut(address: SocketAddr, talk: &Conversation) {
    let all = talk.all();
    for cut in 0..all.len() {
        let whole = usize::from(cut >= talk.hello.len())
            + usize::from(cut >= talk.hello.len() + talk.produce.len());
        let end = send(address, &all[..cut]);
        assert_eq!(end, End::Closed(whole), "cut at {cut}");
    }
    assert_eq!(send(address, &all), End::Closed(3));
}

/// Every byte is changed, in one bit and in all. Nothing waits for what will not come.
pub(crate) fn flipped(address: SocketAddr, talk: &Conversation) {
    let all = talk.all();
    for at in 0..all.len() {
        for mask in [1 << (at % 8), 0xff] {
            let mut bad = all.clone();
            bad[at] ^= mask;
            let end = send(address, &bad);
            assert_ne!(end, End::Held, "byte {at} ^ {mask:02x}");
        }
    }
}

/// Every byte of every header is changed, and its checksum made right: now the verifier and the meaning are asked. A
/// fetch may have been made to wait, for a minute at most: that is no fault.
pub(crate) fn resealed(address: SocketAddr, talk: &Conversation) {
    let mut held = 0;
    for (number, frame) in [&talk.hello, &talk.produce, &talk.fetch].iter().enumerate() {
        let header = u32::from_le_bytes(frame[4..8].try_into().unwrap()) as usize;
        for at in PREFIX..PREFIX + header {
            for mask in [1 << (at % 8), 0x80, 0xff] {
                let mut bad = frame.to_vec();
                bad[at] ^= mask;
                reseal_frame(&mut bad);
                let before = if number == 0 { &[][..] } else { &talk.hello };
                let patience = Duration::from_millis(if number == 2 { 300 } else { 10_000 });
                let end = send_and_wait(address, &[before, &bad].concat(), patience);
                held += usize::from(end == End::Held);
                assert!(end != End::Held || number == 2, "frame {number} byte {at}");
            }
        }
    }
    assert!(held <= 16, "{held} fetches wait");
}

/// Every byte of a batch is changed, and its checksum made right; its lengths and counts take every value that matters.
pub(crate) fn batches(address: SocketAddr, talk: &Conversation) {
    let good = batch(&talk.value, 3);
    let ask = |batch: &[u8]| {
        let end = send(
            address,
            &[&talk.hello[..], &produce(talk.key, batch)].concat(),
        );
        assert_eq!(
            end,
            End::Closed(2),
            "a batch is refused, its connection goes on"
        );
    };
    for at in 0..good.len() {
        for mask in [1 << (at % 8), 0xff] {
            let mut bad = good.clone();
            bad[at] ^= mask;
            ask(&bad);
            reseal_batch(&mut bad);
            ask(&bad);
        }
    }
    let lengths = [0, 1, -1, 48, 49, BATCH_BYTES_MAX as i32, i32::MAX, i32::MIN];
    // Length, count minus one, count.
    for at in [8, 23, 57] {
        for value in lengths {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_be_bytes());
            ask(&bad);
            reseal_batch(&mut bad);
            ask(&bad);
        }
    }
    for count in [1, 2, 60, 61] {
        ask(&good[..count]);
    }
    ask(&[&good[..], &good[..30]].concat());
}

/// Every length of every frame takes every value that matters.
pub(crate) fn lengths(address: SocketAddr, talk: &Conversation) {
    let caps = [
        1_024,
        FRAME_HEADER_BYTES_MAX,
        FRAME_BODY_BYTES_MAX,
        FRAME_BYTES_MAX,
    ];
    let near = caps.iter().flat_map(|cap| [cap - 1, *cap, cap + 1]);
    let lengths: Vec<u32> = near
        .map(|length| length as u32)
        .chain([0, 1, 11, 12, 13, i32::MAX as u32, 1 << 31, u32::MAX])
        .collect();
    let frames = [&talk.hello, &talk.produce, &talk.fetch];
    for (number, frame) in frames.into_iter().enumerate() {
        for at in [0, 4] {
            for length in &lengths {
                let mut bad = frame.clone();
                bad[at..at + 4].copy_from_slice(&length.to_le_bytes());
                let before = if number == 0 { &[][..] } else { &talk.hello };
                let end = send(address, &[before, &bad, &talk.fetch].concat());
                let most = usize::from(number > 0);
                let is_clean = end == End::Reset || matches!(end, End::Closed(n) if n <= most + 2);
                assert!(
                    is_clean,
                    "frame {number} byte {at} length {length}: {end:?}"
                );
            }
        }
    }
}

/// Other protocols, and noise. They are closed as soon as they can be told, without waiting for more.
pub(crate) fn strangers(address: SocketAddr) {
    for greeting in GREETINGS {
        let end = send(address, greeting);
        assert!(
            matches!(end, End::Closed(0) | End::Reset),
            "{greeting:?}: {end:?}"
        );
    }
    let mut prng = Prng::new(7);
    for _ in 0..100 {
        let words = 1 + prng.below(8_192);
        let noise: Vec<u8> = (0..words)
            .flat_map(|_| prng.next_u64().to_le_bytes())
            .collect();
        assert_ne!(send(address, &noise), End::Held, "noise of {words} words");
    }
}

/// Produces `bytes` in large batches and never reads an answer.
pub(crate) fn flood(address: SocketAddr, talk: &Conversation, bytes: usize) {
    let batch = batch(&[7; 1_000], 1_000);
    let request = produce(talk.key, &batch);
    let mut stream = connect(address);
    stream.write_all(&talk.hello).unwrap();
    for _ in 0..bytes / request.len() {
        // The answers are small, so the broker must take all of it.
        stream.write_all(&request).unwrap();
    }
}

/// Asks for as much as it may, again and again, and never reads an answer: with one partition in each request, and
/// with as many as a request may name.
pub(crate) fn unread_fetches(address: SocketAddr, topic: &TopicInfo) {
    let small = fetch(&[key(topic)], 16 << 20);
    let large = fetch(&vec![key(topic); REQUEST_PARTITIONS_MAX], 16 << 20);
    unread(address, &[small, large]);
}

/// The same with every other request that keeps something until its answer is due.
pub(crate) fn unread_rest(address: SocketAddr, talk: &Conversation) {
    let (mut writer, mut offsets, mut topics, mut all) =
        (RequestWriter::new(), Vec::new(), Vec::new(), Vec::new());
    let entry = OffsetEntry {
        key: talk.key,
        query: OffsetQuery::Earliest,
    };
    let entries = std::iter::repeat_n(entry, REQUEST_PARTITIONS_MAX);
    writer.list_offsets(3, entries, &mut offsets).unwrap();
    let name = millrace::protocol::native::TopicRef::Name("n".repeat(200));
    let names = MetadataQuery::Topics(vec![name; 200]);
    writer.metadata(4, &names, &mut topics).unwrap();
    let query = MetadataQuery::All { after: None };
    writer.metadata(5, &query, &mut all).unwrap();
    unread(address, &[offsets, topics, all, talk.produce.clone()]);
}

/// For each request, connections side by side that send it until the broker takes no more.
fn unread(address: SocketAddr, requests: &[Vec<u8>]) {
    std::thread::scope(|scope| {
        for request in requests.iter().cycle().take(4 * requests.len()) {
            scope.spawn(move || send_unread(address, request));
        }
    });
}

fn send_unread(address: SocketAddr, request: &[u8]) {
    let mut hello = Vec::new();
    let mut writer = RequestWriter::new();
    writer.hello(0, "hostile", "1", &mut hello).unwrap();
    let requests = request.repeat((64_usize << 10).div_ceil(request.len()));
    let mut stream = connect(address);
    let patience = Some(Duration::from_secs(1));
    stream.set_write_timeout(patience).unwrap();
    stream.write_all(&hello).unwrap();
    let mut sent = 0;
    while sent < UNREAD_BYTES_MAX && stream.write_all(&requests).is_ok() {
        sent += requests.len();
    }
    assert!(
        sent < UNREAD_BYTES_MAX,
        "the broker takes requests without end"
    );
}

/// Connections that say nothing, half a hello, half a header, or half of a body that they announced at full size.
pub(crate) fn hold_half_frames(address: SocketAddr, talk: &Conversation) -> Vec<TcpStream> {
    let mut announced = Vec::new();
    let entry = [(talk.key, FRAME_BODY_BYTES_MAX as u32)].into_iter();
    let level = millrace::base::AckLevel::Written;
    let written = RequestWriter::new().produce(1, level, entry, &mut announced);
    written.unwrap();
    announced.extend([0; 20_000]);
    let halves = [
        Vec::new(),
        talk.hello[..talk.hello.len() / 2].to_vec(),
        [&talk.hello[..], &talk.produce[..40]].concat(),
        [&talk.hello[..], &announced].concat(),
    ];
    let mut held = Vec::with_capacity(CONNECTIONS);
    for half in halves.iter().cycle().take(CONNECTIONS) {
        let mut stream = connect(address);
        stream.write_all(half).unwrap();
        held.push(stream);
    }
    held
}
