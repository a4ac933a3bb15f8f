//! Goal: whatever a Kafka client sends, in whatever order, net answers in whole frames and in order, or closes; nothing
//! hangs, nothing is kept.
//! Input: frames back to back: two bytes of length, then what is behind the length of a frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_fuzz::{script, serve};

fuzz_target!(|bytes: &[u8]| {
    let acts = script::kafka(bytes);
    serve::on_sim(move |io, engine| serve::serve_kafka(io, engine, acts));
});
