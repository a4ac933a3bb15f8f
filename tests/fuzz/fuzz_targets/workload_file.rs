//! Goal: no text makes the reader of workload files panic, hang or take much memory; what it takes can be run, what it
//! refuses has a line.
//! Input: the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::bench::settings::Settings;
use millrace::bench::workload_file::parse;
use std::path::Path;

fuzz_target!(
    |text: &str| match parse(Path::new("w.yaml"), text, &Settings::default()) {
        Ok(workload) => {
            let settings = workload.settings;
            assert!(settings.message_bytes > 0 && settings.connections > 0);
            assert!(settings.partitions > 0 && settings.readers > 0 && settings.batch_messages > 0);
            assert!(!settings.duration.is_zero());
        }
        Err(error) => assert!(error.to_string().starts_with("w.yaml:")),
    }
);
