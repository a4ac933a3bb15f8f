//! The figures that are drawn from an outcome, and how far each is from the machine's limit.

use crate::base::{AckLevel, Counter};
use crate::bench::outcome::{Figure, Outcome};
use crate::bench::probe::Probe;
use crate::bench::settings::{Kind, Settings};
use hdrhistogram::Histogram;

/// The highest rate that kept the response time asked for.
pub const HELD_RATE: &str = "highest rate that held";
/// Messages a second.
pub const THROUGHPUT: &str = "throughput";
/// Megabytes of payload a second.
pub const PAYLOAD: &str = "payload";
/// Payload as a share of the probe's sequential writes into new blocks, which is what appending to a segment is.
pub const DISK_SHARE: &str = "share of disk probe";
/// The broker's CPU.
pub const SERVER_CPU: &str = "server CPU";
/// The broker's CPU as a share of one core.
pub const SERVER_BUSY: &str = "server busy";
/// Peak of the broker's memory.
pub const RSS_PEAK: &str = "peak RSS";
/// Bytes written to the disk per byte of payload.
pub const WRITE_AMPLIFICATION: &str = "write amplification";
/// Memory per idle connection.
pub const RSS_PER_CONNECTION: &str = "RSS per connection";
/// What a cold reader beside the load read.
pub const COLD_READER: &str = "cold reader";
/// Requests that were never sent.
pub const UNSENT: &str = "requests never sent";

/// Flushes (fdatasync) per commit cycle, and partitions that a cycle took.
pub const FLUSHES_PER_CYCLE: &str = "flushes per commit cycle";
/// See [`FLUSHES_PER_CYCLE`].
pub const PARTITIONS_PER_CYCLE: &str = "partitions per commit cycle";
/// Flushes (fdatasync) per partition that a commit cycle took: 1 where each partition is flushed for itself.
pub const FLUSHES_PER_PARTITION: &str = "flushes per partition of a cycle";
/// Flushes (fdatasync) a second.
pub const FLUSHES: &str = "flushes";

/// The percentiles that are reported, with their names.
pub const PERCENTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// All figures of a run.
pub fn figures(settings: &Settings, outcome: &Outcome, probe: Option<&Probe>) -> Vec<Figure> {
    if settings.kind == Kind::Idle {
        return idle(settings, outcome);
    }
    let mut figures = flow(settings, outcome, probe);
    figures.extend(times("response", &outcome.response));
    share_of_durable_write(settings, &mut figures, probe);
    if settings.is_open_loop() {
        figures.extend(times("service", &outcome.service));
    }
    if let Some(end_to_end) = &outcome.end_to_end {
        figures.extend(times("end to end", end_to_end));
    }
    figures.extend(cost(settings, outcome));
    if settings.ack == AckLevel::Synced && settings.kind != Kind::CatchUp {
        figures.extend(flushes(outcome));
    }
    if settings.cold_reader {
        let mb_per_s = outcome.beside_bytes as f64 / 1e6 / outcome.seconds;
        figures.push(Figure::new(COLD_READER, mb_per_s, "MB/s"));
    }
    if outcome.unsent > 0 {
        figures.push(Figure::new(UNSENT, outcome.unsent as f64, "requests"));
    }
    figures
}

/// The figure of that name.
pub fn find<'a>(figures: &'a [Figure], name: &str) -> Option<&'a Figure> {
    figures.iter().find(|figure| figure.name == name)
}

fn flow(settings: &Settings, outcome: &Outcome, probe: Option<&Probe>) -> Vec<Figure> {
    let limit = probe.map(|probe| match settings.kind {
        // A segment's blocks are new ones.
        Kind::Produce => probe.direct_write_new_bytes_per_s,
        Kind::CatchUp => probe.loopback_sendfile_bytes_per_s,
        _ => probe.loopback_bytes_per_s,
    });
    let share = limit.map(|limit| outcome.bytes_per_s() / limit);
    let mut figures = vec![
        Figure::new(THROUGHPUT, outcome.messages_per_s(), "msg/s"),
        Figure {
            probe_ratio: share,
            ..Figure::new(PAYLOAD, outcome.bytes_per_s() / 1e6, "MB/s")
        },
    ];
    if settings.kind == Kind::Produce
        && let Some(share) = share
    {
        figures.push(Figure {
            probe_ratio: Some(share),
            ..Figure::new(DISK_SHARE, share * 100.0, "%")
        });
    }
    figures
}

/// `response p99` in milliseconds, and so on. Nothing of a histogram without a value.
fn times(of: &str, histogram: &Histogram<u64>) -> Vec<Figure> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    PERCENTILES
        .iter()
        .map(|(name, quantile)| Figure::new(format!("{of} {name}"), ms(*quantile), "ms"))
        .collect()
}

/// One durable request at a time has a limit that the probe knows: one durable write at a time.
fn share_of_durable_write(settings: &Settings, figures: &mut [Figure], probe: Option<&Probe>) {
    let alone = settings.connections == 1 && settings.in_flight == 1;
    if settings.kind != Kind::Produce || settings.ack != AckLevel::Synced || !alone {
        return;
    }
    let p50 = figures.iter_mut().find(|f| f.name == "response p50");
    if let (Some(p50), Some(probe)) = (p50, probe) {
        p50.probe_ratio = Some(probe.durable_4k_p50_us / 1e3 / p50.value);
    }
}

fn cost(settings: &Settings, outcome: &Outcome) -> Vec<Figure> {
    let Some(server) = &outcome.server else {
        return Vec::new();
    };
    let mut figures = Vec::new();
    if let Some(us) = outcome.server_us_per_1000() {
        figures.push(Figure::new(SERVER_CPU, us, "us/1000 msg"));
    }
    figures.push(busy(outcome));
    figures.push(Figure::new(RSS_PEAK, mib(server.rss_peak_bytes), "MiB"));
    let writes = settings.kind != Kind::CatchUp;
    if let Some(times) = outcome.write_amplification().filter(|_| writes) {
        figures.push(Figure::new(WRITE_AMPLIFICATION, times, "x"));
    }
    figures
}

/// What a durable ack costs in flushes, from the broker's own counts. Nothing of a broker that does not tell.
fn flushes(outcome: &Outcome) -> Vec<Figure> {
    let sum = |name: &str| -> f64 {
        let counters = outcome.stages.iter().flat_map(|core| &core.counters);
        let named = counters.filter(|(counter, _)| counter == name);
        named.map(|(_, count)| *count as f64).sum()
    };
    let cycles = sum(Counter::Cycles.name());
    if cycles == 0.0 {
        return Vec::new();
    }
    let flushes = sum(Counter::JournalFlushes.name()) + sum(Counter::SegmentFlushes.name());
    let partitions = sum(Counter::CyclePartitions.name());
    vec![
        Figure::new(FLUSHES, flushes / outcome.seconds, "1/s"),
        Figure::new(FLUSHES_PER_CYCLE, flushes / cycles, "x"),
        Figure::new(PARTITIONS_PER_CYCLE, partitions / cycles, "x"),
        Figure::new(FLUSHES_PER_PARTITION, flushes / partitions, "x"),
    ]
}

fn busy(outcome: &Outcome) -> Figure {
    let cpu = outcome.server.map_or(f64::NAN, |server| {
        server.cpu_user_seconds + server.cpu_system_seconds
    });
    Figure::new(SERVER_BUSY, cpu / outcome.seconds * 100.0, "% of a core")
}

fn idle(settings: &Settings, outcome: &Outcome) -> Vec<Figure> {
    let Some(server) = &outcome.server else {
        return Vec::new();
    };
    let connections = settings.connections as f64;
    let kib = server.rss_bytes as f64 / 1024.0 / connections;
    vec![
        Figure::new("connections", connections, ""),
        busy(outcome),
        Figure::new(RSS_PER_CONNECTION, kib, "KiB"),
        Figure::new(RSS_PEAK, mib(server.rss_peak_bytes), "MiB"),
    ]
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::outcome::{CoreStages, ServerCost};
    use crate::bench::settings::Rate;

    fn outcome() -> Outcome {
        let mut response = Histogram::new(3).expect("3 digits");
        response += 2_000_000u64;
        Outcome {
            messages: 2_000_000,
            bytes: 200_000_000,
            seconds: 2.0,
            requests: 1,
            service: response.clone(),
            response,
            end_to_end: None,
            intervals: Vec::new(),
            server: Some(ServerCost {
                cpu_user_seconds: 0.06,
                cpu_system_seconds: 0.04,
                written_bytes: 220_000_000,
                ..ServerCost::default()
            }),
            load_cpu_seconds: 0.1,
            stages: Vec::new(),
            unsent: 0,
            beside_bytes: 0,
        }
    }

    const PROBE: Probe = Probe {
        direct_write_bytes_per_s: 2e9,
        direct_write_new_bytes_per_s: 1e9,
        durable_4k_per_s: 1e4,
        durable_4k_p50_us: 100.0,
        durable_4k_p99_us: 200.0,
        loopback_bytes_per_s: 5e9,
        loopback_sendfile_bytes_per_s: 6e9,
    };

    fn value(figures: &[Figure], name: &str) -> f64 {
        find(figures, name).map_or(f64::NAN, |figure| figure.value)
    }

    #[test]
    fn figures_have_the_units_that_they_say() {
        let settings = Settings::default();
        let figures = figures(&settings, &outcome(), Some(&PROBE));
        for (name, expected) in [
            (THROUGHPUT, 1e6),
            (PAYLOAD, 100.0),
            (DISK_SHARE, 10.0),
            (SERVER_CPU, 50.0),
            (SERVER_BUSY, 5.0),
            (WRITE_AMPLIFICATION, 1.1),
            ("response p99", 2.0),
        ] {
            let found = value(&figures, name);
            assert!((found / expected - 1.0).abs() < 1e-2, "{name} {found}");
        }
        assert!(find(&figures, "service p50").is_none(), "closed loop");
        let open = Settings {
            rate: Rate::PerSecond(1.0),
            ..settings
        };
        let open = super::figures(&open, &outcome(), None);
        assert!(find(&open, "service p50").is_some());
        assert!(find(&open, PAYLOAD).is_some_and(|f| f.probe_ratio.is_none()));
    }

    #[test]
    fn flushes_are_counted_over_all_cores() {
        let counters = [
            (Counter::Cycles, 10),
            (Counter::JournalFlushes, 6),
            (Counter::SegmentFlushes, 4),
            (Counter::CyclePartitions, 100),
        ];
        let counters = counters.map(|(counter, count)| (counter.name().to_owned(), count));
        let core = |core| CoreStages {
            core,
            stages: Vec::new(),
            counters: counters.to_vec(),
        };
        let outcome = Outcome {
            stages: vec![core(0), core(1)],
            ..outcome()
        };
        let settings = Settings {
            ack: AckLevel::Synced,
            ..Settings::default()
        };
        let figures = figures(&settings, &outcome, None);
        assert!((value(&figures, FLUSHES_PER_CYCLE) - 1.0).abs() < 1e-9);
        assert!((value(&figures, FLUSHES_PER_PARTITION) - 0.1).abs() < 1e-9);
        assert!((value(&figures, FLUSHES) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn a_lonely_durable_request_is_held_against_a_durable_write() {
        let settings = Settings {
            ack: AckLevel::Synced,
            ..Settings::default()
        };
        let figures = figures(&settings, &outcome(), Some(&PROBE));
        let p50 = find(&figures, "response p50").and_then(|f| f.probe_ratio);
        assert!(p50.is_some_and(|ratio| (ratio - 0.05).abs() < 1e-3));
    }
}
