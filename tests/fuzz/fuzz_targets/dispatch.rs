//! Goal: whatever frames a connection sends, in whatever order, the protocol's state machine and net answer or close, in
//! order and in whole replies that the client's decoder takes; nothing hangs, nothing is kept. Verify and handle together:
//! a buffer that was verified has crashed a later stage elsewhere (google/flatbuffers 9144).
//! Input: a script (src/script.rs). Behind net stands an engine that remembers little.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::io::sim::{Sim, SimDisk};
use millrace::io::{File, Io, OpenMode};
use millrace_fuzz::engine::{Forgetful, SPAN_BYTES};
use millrace_fuzz::{script, serve};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let acts = script::read(bytes);
    let sim = Sim::with_disk(1, SimDisk::new(1));
    sim.run(|io| async move {
        let path = Path::new("/span");
        let file = io.open(path, OpenMode::CreateNew).await.expect("new");
        file.allocate(SPAN_BYTES).await.expect("there is room");
        let source = io.open_source(path).await.expect("there");
        serve::serve(io.clone(), Forgetful::new(io, source), acts).await;
    })
    .done();
});
