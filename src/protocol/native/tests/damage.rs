//! Damage: bytes cut, flipped and made up are refused or harmless, never a panic.

use super::*;

/// Every use of whatever a decode yields: an accessor that could panic would.
fn use_up(header: &[u8], body: &[u8]) -> u32 {
    let mut decoded = 0;
    if let Ok(request) = Request::decode(header, body) {
        decoded += 1;
        match request {
            Request::Produce(produce) => {
                let sum: usize = produce.entries().map(|e| e.batches.len()).sum();
                assert_eq!(sum, body.len());
            }
            Request::Fetch(fetch) => {
                let mut filled = FetchRequest::default();
                fetch.fill(&mut filled);
                assert!(filled.bytes_max as usize <= FETCH_BYTES_MAX);
            }
            Request::ListOffsets(list) => assert_eq!(list.entries().count(), list.count()),
            Request::PollQueue(poll) => {
                let mut filled = Polling::default();
                poll.fill(&mut filled);
                assert_eq!(filled.poll.answers.len(), poll.count());
                assert!(filled.poll.bytes_max as usize <= FETCH_BYTES_MAX);
            }
            other => assert!(!format!("{other:?}").is_empty()),
        }
    }
    if let Ok(reply) = Reply::decode(header, body) {
        decoded += 1;
        match reply {
            Reply::Produced(produced) => assert_eq!(produced.entries().count(), produced.count()),
            Reply::Fetched(fetched) => {
                let sum: usize = fetched.entries().map(|e| e.batches.len()).sum();
                assert_eq!(sum, body.len());
            }
            Reply::OffsetsListed(list) => assert_eq!(list.entries().count(), list.count()),
            Reply::QueuePolled(polled) => {
                let sum: usize = polled.deliveries().map(|(_, batches)| batches.len()).sum();
                assert_eq!(sum, body.len());
                assert_eq!(polled.answered().count(), polled.count());
            }
            other => assert!(!format!("{other:?}").is_empty()),
        }
    }
    decoded
}

#[test]
fn a_truncated_frame_asks_for_more_and_a_truncated_header_is_refused_or_harmless() {
    for (_, bytes) in requests().iter().chain(&replies()) {
        for cut in 0..bytes.len() {
            assert!(matches!(split(&bytes[..cut], Caps::REPLY), Ok(Split::NeedMore(n)) if n > cut));
        }
        let frame = take(bytes);
        for cut in 0..frame.header.len() {
            use_up(&frame.header[..cut], frame.body);
        }
        assert!(use_up(frame.header, frame.body) >= 1);
    }
}

#[test]
fn a_flipped_byte_of_a_header_is_caught_by_its_checksum() {
    for (_, bytes) in requests().iter().chain(&replies()) {
        let header = take(bytes).header.len();
        for index in 16..16 + header {
            let mut bad = bytes.clone();
            bad[index] ^= 0xff;
            assert!(matches!(
                split(&bad, Caps::REPLY),
                Err(FrameError::Crc { .. })
            ));
        }
    }
}

#[test]
fn a_damaged_header_with_a_good_checksum_never_panics() {
    let mut prng = Prng::new(20_261_121);
    for (_, bytes) in requests().iter().chain(&replies()) {
        let frame = take(bytes);
        for index in 0..frame.header.len() {
            for flip in [0x01, 0x02, 0x80, 0xff, prng.below(256) as u8] {
                let mut bad = frame.header.to_vec();
                bad[index] ^= flip;
                use_up(&bad, frame.body);
                let other = prng.below(bad.len() as u64) as usize;
                bad[other] = prng.next_u64() as u8;
                use_up(&bad, frame.body);
            }
        }
    }
}

#[test]
fn a_body_that_does_not_add_up_is_refused() {
    let (requests, replies) = (requests(), replies());
    let bytes = |all: &[(&str, Vec<u8>)], name: &str| {
        all.iter()
            .find(|(n, _)| *n == name)
            .expect("listed")
            .1
            .clone()
    };
    for name in ["produce", "hello", "fetch"] {
        let frame = bytes(&requests, name);
        let (header, body) = (take(&frame).header, take(&frame).body);
        let longer = [body, b"x"].concat();
        assert!(matches!(
            Request::decode(header, &longer),
            Err(RequestError::Malformed(_))
        ));
    }
    let stages = bytes(&replies, "stages");
    assert!(Reply::decode(take(&stages).header, b"firstthir").is_err());
    let produce = bytes(&requests, "produce");
    assert!(Request::decode(take(&produce).header, b"aaaabb").is_err());
    for name in ["fetched", "produced", "stages", "queue_polled"] {
        let frame = bytes(&replies, name);
        let longer = [take(&frame).body, b"x"].concat();
        assert!(matches!(
            Reply::decode(take(&frame).header, &longer),
            Err(ReplyError::Malformed(_))
        ));
    }
}
