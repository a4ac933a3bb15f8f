//! Goal: whatever happened to the files of a data directory, a start serves what checks or says what it refuses; what it
//! serves goes on being served, and takes records.
//! Input: edits of a directory (src/damage.rs).
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_fuzz::damage::{self, Damage, Image};

thread_local! {
    static IMAGES: [Image; 2] = damage::images();
}

fuzz_target!(|damage: Damage| IMAGES.with(|images| damage::look_at(images, &damage)));
