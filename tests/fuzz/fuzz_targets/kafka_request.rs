//! Goal: no content of a frame makes the decoders of Kafka's requests panic or take much memory, also not when all that they
//! yield is used; what was read is written again as long.
//! Input: what is behind the length of a frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::protocol::kafka::api::key;
use millrace::protocol::kafka::{Asked, Cold, Fetch, Produce, Split, frame, produce, split};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Split::Frame { content, total }) = split(bytes) {
        assert_eq!(content.len() + 4, total);
    }
    let Ok(Asked::Served(header, body)) = frame::header(bytes) else {
        return;
    };
    let shape = header.shape();
    match header.api.key {
        key::PRODUCE => {
            let Ok(request) = Produce::parse(body, shape) else {
                return;
            };
            let mut records_bytes = 0;
            request.walk(|step| {
                if let produce::Step::Partition { records, .. } = step {
                    produce::check(records, header.version);
                    records_bytes += records.map_or(0, <[u8]>::len);
                }
            });
            assert!(records_bytes <= body.len());
        }
        key::FETCH => {
            if let Ok(request) = Fetch::parse(body, shape) {
                request.walk(|_| ());
            }
        }
        _ => {
            if let Ok((request, held_bytes)) = Cold::decode(header.api, shape, body) {
                assert!(held_bytes <= 4 << 20);
                assert!(!format!("{request:?}").is_empty());
            }
        }
    }
});
