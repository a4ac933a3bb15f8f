//! Goal: whatever frames a connection sends, in whatever order, the protocol's state machine and net answer or close, in
//! order and in whole replies that the client's decoder takes; nothing hangs, nothing is kept. Verify and handle together:
//! a buffer that was verified has crashed a later stage elsewhere (google/flatbuffers 9144).
//! Input: a script (src/script.rs). Behind net stands an engine that remembers little.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_fuzz::{script, serve};

fuzz_target!(|bytes: &[u8]| {
    let acts = script::read(bytes);
    serve::on_sim(move |io, engine| serve::serve(io, engine, acts));
});
