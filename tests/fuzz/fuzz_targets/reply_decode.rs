//! Goal: no header and body make the client's decoder panic, also not when everything it yields is used.
//! Input: a byte that says how many of the last bytes are the body, the header, the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::protocol::native::Reply;

fuzz_target!(|bytes: &[u8]| {
    let Some((&body, rest)) = bytes.split_first() else {
        return;
    };
    let (header, body) = rest.split_at(rest.len().saturating_sub(usize::from(body)));
    match Reply::decode(header, body) {
        Ok(Reply::Produced(produced)) => assert_eq!(produced.entries().count(), produced.count()),
        Ok(Reply::Fetched(fetched)) => {
            let sum: usize = fetched.entries().map(|entry| entry.batches.len()).sum();
            assert_eq!(sum, body.len());
        }
        Ok(Reply::OffsetsListed(listed)) => assert_eq!(listed.entries().count(), listed.count()),
        Ok(Reply::QueuePolled(polled)) => {
            let sum: usize = polled.deliveries().map(|(_, batches)| batches.len()).sum();
            assert_eq!(sum, body.len());
            assert_eq!(polled.answered().count(), polled.count());
        }
        Ok(other) => assert!(!format!("{other:?}").is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
