//! Goal: no bytes make the splitter panic, wait for more than its caps allow, or leave its input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::protocol::native::{Caps, Split, split};

fuzz_target!(|bytes: &[u8]| {
    for caps in [Caps::HELLO, Caps::REQUEST, Caps::REPLY] {
        match split(bytes, caps) {
            Ok(Split::NeedMore(wanted)) => {
                assert!(wanted > bytes.len());
                assert!(wanted <= 16 + caps.header_bytes_max + caps.body_bytes_max);
            }
            Ok(Split::Frame(frame)) => {
                assert_eq!(frame.total, 16 + frame.header.len() + frame.body.len());
                assert!(frame.total <= bytes.len());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
