//! Goal: no header and body make the broker's decoder panic, also not when everything it yields is used.
//! Input: a byte that says how many of the last bytes are the body, the header, the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::protocol::native::{FetchRequest, Greeting, Polling, Request};

fuzz_target!(|bytes: &[u8]| {
    let Some((&body, rest)) = bytes.split_first() else {
        return;
    };
    let (header, body) = rest.split_at(rest.len().saturating_sub(usize::from(body)));
    let Ok(request) = Request::decode(header, body) else {
        return;
    };
    let _ = Greeting::new().admit(&request);
    match request {
        Request::Produce(produce) => {
            let sum: usize = produce.entries().map(|entry| entry.batches.len()).sum();
            assert_eq!(sum, body.len());
        }
        Request::Fetch(fetch) => {
            let mut filled = FetchRequest::default();
            fetch.fill(&mut filled);
            assert_eq!(filled.partitions.len(), fetch.count());
        }
        Request::ListOffsets(list) => assert_eq!(list.entries().count(), list.count()),
        Request::PollQueue(poll) => {
            let mut filled = Polling::default();
            poll.fill(&mut filled);
            assert_eq!(filled.poll.answers.len(), poll.count());
        }
        other => assert!(!format!("{other:?}").is_empty()),
    }
});
