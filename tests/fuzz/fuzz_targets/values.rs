//! Goal: no text makes a parser of names or of the command line's values panic; what they take, they mean.
//! Input: the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::{AckLevel, TopicId};
use millrace::catalog::check_name;
use millrace::cli::bench::values::{parse_find_max, parse_keys, parse_rate, parse_time};
use millrace::cli::format::{Fields, Format};
use millrace::cli::values::{Cores, Endpoint, Start, parse_byte, parse_bytes};

fn names(text: &str) {
    if check_name(text).is_ok() {
        assert!(!text.contains(['/', '\0', '\\', ' ']) && text != ".." && text.len() < 250);
    }
    if let Ok(level) = text.parse::<AckLevel>() {
        assert_eq!(level.to_string(), text);
    }
    if let Ok(id) = text.parse::<TopicId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

fn places(text: &str) {
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }
    if let Ok(Cores::Cpus(cpus)) = text.parse() {
        let mut once = cpus.clone();
        once.sort_unstable();
        once.dedup();
        assert!(!cpus.is_empty() && once.len() == cpus.len());
    }
    let _ = text.parse::<Start>();
}

fn sizes(text: &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if let (Ok(bytes), Ok(number)) = (parse_bytes(text), text[..digits].parse::<u64>()) {
        assert!(bytes >= number);
    }
    let _ = (parse_byte(text), parse_time(text), parse_rate(text));
    let _ = (parse_find_max(text), parse_keys(text));
}

fn formats(text: &str) {
    let Ok(format) = text.parse::<Format>() else {
        return;
    };
    let fields = Fields {
        topic: "t",
        partition: u32::MAX,
        offset: u64::MAX,
        timestamp_ms: i64::MIN,
        deliveries: u32::MAX,
        key: None,
        value: Some(b"value"),
    };
    let mut out = Vec::new();
    format.print(&fields, &mut out);
    assert!(out.len() <= 20 * text.len());
}

fuzz_target!(|text: &str| {
    names(text);
    places(text);
    sizes(text);
    formats(text);
});
