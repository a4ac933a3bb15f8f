//! Goal: a client of an old version is never sent what it cannot read, and what it can read is not kept from it: zstd before
//! Fetch 10 and Produce 7. Method: batches of several codecs, some of them in files alone, fetched from each offset by each
//! version.

use super::*;
use millrace::base::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use millrace::base::checksum::crc32c;

/// A batch of one record of 300 KB, by codec: 0 or, compressed, 4. Its bytes do not compress.
fn coded(seed: u64, codec: u8) -> Vec<u8> {
    let mut prng = millrace::base::prng::Prng::new(seed);
    let value: Vec<u8> = (0..300_000).map(|_| prng.next_u64() as u8).collect();
    let mut builder = BatchBuilder::new();
    builder.push(TimestampMs(1), None, Some(&value), &[]);
    let mut bytes = builder.finish().to_vec();
    if codec == 4 {
        let packed = zstd::encode_all(&bytes[HEADER_BYTES..], 1).unwrap();
        bytes.truncate(HEADER_BYTES);
        bytes.extend(packed);
        let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[22] = codec;
        let crc = crc32c(&bytes[CRC_START..]);
        bytes[17..CRC_START].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// What a fetch from `from` gives: the code, and the batches by their base offsets.
fn fetch_from(peer: &mut Peer, version: i16, from: i64) -> (i16, Vec<u64>) {
    peer.send(key::FETCH, version, 1, &fetch(version, "t", from, 0));
    let (code, _, records) = fetched(version, &peer.receive().unwrap().1);
    let (mut rest, mut bases) = (&records[..], Vec::new());
    while let Ok(batch) = millrace::base::RecordBatch::parse(rest) {
        bases.push(batch.base_offset().0);
        rest = &rest[batch.bytes().len()..];
    }
    assert!(rest.is_empty(), "whole batches");
    (code, bases)
}

#[test]
fn zstd_is_hidden_from_those_who_do_not_know_it() {
    let (folder, broker) = serve("kafka-zstd", 1);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    let codecs = [0, 4, 0, 4, 4, 0];
    for (number, codec) in (0..).zip(codecs) {
        let records = coded(number, codec);
        for version in [6, 7] {
            if version == 6 && codec != 4 {
                continue;
            }
            // As of version 7 on the wire: the two are the same.
            peer.send(
                key::PRODUCE,
                version,
                1,
                &produce("t", -1, &[(0, &records)]),
            );
            let (_, code, base) = produced(&peer.receive().unwrap().1)[0];
            let expected = match version {
                6 => (error::UNSUPPORTED_COMPRESSION_TYPE, -1),
                _ => (0, number as i64),
            };
            assert_eq!((code, base), expected);
        }
    }
    let check = |peer: &mut Peer| {
        for version in [4, 5, 7, 9, 10, 12] {
            for (from, codec) in (0i64..).zip(codecs) {
                let (code, bases) = fetch_from(peer, version, from);
                if codec == 4 && version < 10 {
                    let hidden = (error::UNSUPPORTED_COMPRESSION_TYPE, vec![]);
                    assert_eq!((code, bases), hidden, "{from} by {version}");
                } else {
                    assert_eq!(code, 0);
                    assert!(
                        bases.contains(&(from as u64)),
                        "{from} by {version}: {bases:?}"
                    );
                    let is_seen = |base: &u64| version >= 10 || codecs[*base as usize] != 4;
                    assert!(bases.iter().all(is_seen), "{from} by {version}: {bases:?}");
                }
            }
        }
    };
    check(&mut peer);
    // From the file: nothing but the last block is in memory now.
    let (status, said) = broker.stop();
    assert!(status.success(), "{said:?}");
    let flags = ["--kafka", "127.0.0.1:0"];
    let broker = Broker::spawn_with(&folder.path().join("data"), &cpus(1), &flags);
    let broker = broker.serving().unwrap_or_else(|said| panic!("{said:?}"));
    check(&mut Peer::connect(&broker.kafka()[0]));
}
