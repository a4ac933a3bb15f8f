//! Goal: no history of appends, reads, deletes, deaths and starts makes the log differ from a model of it.
//! Input: the history (src/steps.rs).
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_fuzz::steps::{self, History};

fuzz_target!(|history: History| steps::run(&history));
