//! Requests of Kafka clients, written by hand from the schemas.

use millrace::protocol::kafka::api::{self, key};
use millrace::protocol::kafka::wire::{Field, Shape, write_count, write_string, write_tagged};

pub(crate) fn shape(key: i16, version: i16) -> Shape {
    api::find(key).unwrap().shape(version)
}

pub(crate) fn request(key: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 4];
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(correlation.to_be_bytes());
    frame.extend([0, 4, b't', b'e', b's', b't']);
    if api::find(key).is_some_and(|api| api.shape(version).is_flexible) {
        frame.push(0);
    }
    frame.extend(body);
    let length = (frame.len() - 4) as i32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// The body of a produce of version 7.
pub(crate) fn produce(topic: &str, acks: i16, partitions: &[(i32, &[u8])]) -> Vec<u8> {
    let shape = shape(key::PRODUCE, 7);
    let mut body = Vec::new();
    None::<String>.write(&mut body, shape);
    acks.write(&mut body, shape);
    1_000i32.write(&mut body, shape);
    write_count(1, &mut body, shape);
    write_string(topic.as_bytes(), &mut body, shape);
    write_count(partitions.len(), &mut body, shape);
    for (index, records) in partitions {
        index.write(&mut body, shape);
        (records.len() as i32).write(&mut body, shape);
        body.extend(*records);
    }
    body
}

/// The body of a fetch from offset `from`, of a version.
pub(crate) fn fetch(version: i16, topic: &str, from: i64, wait_ms: i32) -> Vec<u8> {
    let shape = shape(key::FETCH, version);
    let mut body = Vec::new();
    for number in [-1, wait_ms, 1, 1 << 20] {
        number.write(&mut body, shape);
    }
    0i8.write(&mut body, shape);
    if version >= 7 {
        0i32.write(&mut body, shape);
        (-1i32).write(&mut body, shape);
    }
    write_count(1, &mut body, shape);
    write_string(topic.as_bytes(), &mut body, shape);
    write_count(1, &mut body, shape);
    0i32.write(&mut body, shape);
    if version >= 9 {
        (-1i32).write(&mut body, shape);
    }
    from.write(&mut body, shape);
    if version >= 12 {
        (-1i32).write(&mut body, shape);
    }
    if version >= 5 {
        (-1i64).write(&mut body, shape);
    }
    // So little that only the first batch is returned, whole.
    1i32.write(&mut body, shape);
    write_tagged(&mut body, shape);
    write_tagged(&mut body, shape);
    if version >= 7 {
        write_count(0, &mut body, shape);
    }
    if version >= 11 {
        write_string(b"", &mut body, shape);
    }
    write_tagged(&mut body, shape);
    body
}
