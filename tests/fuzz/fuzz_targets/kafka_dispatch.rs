//! Goal: whatever a Kafka client sends, in whatever order, net answers in whole frames and in order, or closes; nothing
//! hangs, nothing is kept.
//! Input: frames back to back: two bytes of length, then what is behind the length of a frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::io::sim::{Sim, SimDisk};
use millrace::io::{File, Io, OpenMode};
use millrace_fuzz::engine::{Forgetful, SPAN_BYTES};
use millrace_fuzz::{script, serve};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let acts = script::kafka(bytes);
    let sim = Sim::with_disk(1, SimDisk::new(1));
    sim.run(|io| async move {
        let path = Path::new("/span");
        let file = io.open(path, OpenMode::CreateNew).await.expect("new");
        file.allocate(SPAN_BYTES).await.expect("there is room");
        let source = io.open_source(path).await.expect("there");
        serve::serve_kafka(io.clone(), Forgetful::new(io, source), acts).await;
    })
    .done();
});
