//! The words for settings, one place for all outputs.

use crate::base::AckLevel;
use crate::bench::settings::{Keys, Kind, Payload, Protocol, Rate, Settings};

/// The name of a kind of load.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Produce => "produce",
        Kind::CatchUp => "consume (catch-up)",
        Kind::Tail => "consume (tail)",
        Kind::EndToEnd => "end-to-end",
        Kind::Queue => "queue",
        Kind::Idle => "idle",
    }
}

/// The name of a protocol.
pub fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Native => "native",
        Protocol::Kafka => "kafka",
    }
}

/// The name of an ack level.
pub fn ack(ack: AckLevel) -> &'static str {
    match ack {
        AckLevel::None => "none",
        AckLevel::Written => "written",
        AckLevel::Synced => "synced",
    }
}

/// What the percentiles of a run are free of, and what not.
pub fn omission(settings: &Settings) -> &'static str {
    if settings.is_open_loop() {
        "open loop: requests are due on a schedule that waits for nobody, and response time counts from when a request \
         was due, so a stall shows in every request that it delayed (no coordinated omission)"
    } else {
        "closed loop: a request is sent when a place in flight is free, so response and service time are the same, and \
         a stall shows once per place in flight: read the throughput here, and latencies from an open loop"
    }
}

/// One workload in a line: what a reader needs to run it again.
pub fn settings_text(settings: &Settings) -> String {
    let mut parts = vec![kind(settings.kind).to_owned()];
    if settings.protocol == Protocol::Kafka {
        parts.push("by Kafka's protocol".to_owned());
    }
    if settings.kind == Kind::Idle {
        parts.push(format!("{} connections", settings.connections));
        return parts.join(", ");
    }
    parts.push(format!(
        "{} B x {} a batch",
        settings.message_bytes, settings.batch_messages
    ));
    parts.push(format!(
        "{} x {} in flight",
        plural(settings.connections, "connection"),
        settings.in_flight
    ));
    parts.push(plural(settings.partitions as usize, "partition"));
    parts.push(format!("ack {}", ack(settings.ack)));
    parts.push(rate(settings.rate));
    parts.extend(extras(settings));
    parts.join(", ")
}

fn extras(settings: &Settings) -> Vec<String> {
    let mut extras = Vec::new();
    if settings.kind != Kind::Produce {
        extras.push(plural(settings.readers, "reader"));
    }
    match settings.keys {
        Keys::None => {}
        Keys::Random(count) => extras.push(format!("{count} random keys")),
        Keys::RoundRobin => extras.push("keys in turn".to_owned()),
    }
    if let Payload::Lines(path) = &settings.payload {
        extras.push(format!("lines of {}", path.display()));
    }
    for (is_set, words) in [
        (settings.wrong_core, "every request to the wrong core"),
        (settings.cold, "page cache dropped"),
        (settings.cold_reader, "a cold reader beside"),
    ] {
        extras.extend(is_set.then(|| words.to_owned()));
    }
    for (cpus, of) in [
        (&settings.server_cpus, "broker"),
        (&settings.load_cpus, "load"),
    ] {
        if let Some(cpus) = cpus {
            extras.push(format!("{of} on CPU {}", list(cpus)));
        }
    }
    extras
}

/// When requests are due, in words.
fn rate(rate: Rate) -> String {
    match rate {
        Rate::Max => "as fast as it goes (closed loop)".to_owned(),
        Rate::PerSecond(messages) => format!("{messages} msg/s (open loop)"),
        Rate::FindMax { quantile, limit } => format!(
            "highest rate with p{} <= {} ms (open loop)",
            quantile * 100.0,
            limit.as_secs_f64() * 1e3
        ),
    }
}

pub(crate) fn plural(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

fn list(cpus: &[usize]) -> String {
    let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
    cpus.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_workload_is_told_in_one_line() {
        let settings = Settings {
            connections: 8,
            in_flight: 4,
            keys: Keys::Random(7),
            rate: Rate::FindMax {
                quantile: 0.999,
                limit: Duration::from_micros(500),
            },
            load_cpus: Some(vec![1, 2]),
            ..Settings::default()
        };
        let by_kafka = Settings {
            protocol: Protocol::Kafka,
            ..settings.clone()
        };
        let prefix = "produce, by Kafka's protocol, 100 B x 1000 a batch, ";
        assert!(settings_text(&by_kafka).starts_with(prefix));
        assert_eq!(
            settings_text(&settings),
            "produce, 100 B x 1000 a batch, 8 connections x 4 in flight, 1 partition, ack written, highest rate with \
             p99.9 <= 0.5 ms (open loop), 7 random keys, load on CPU 1,2"
        );
    }
}
