//! A report that nobody measured, for the tests of the writers: shapes as real ones have them, from a fixed seed.

use crate::base::AckLevel;
use crate::base::prng::Prng;
use crate::bench::machine::Disk;
use crate::bench::machine::Machine;
use crate::bench::outcome::{
    BrokerFacts, CoreStages, Figure, Interval, Outcome, Report, Row, ServerCost, Target,
};
use crate::bench::probe::Probe;
use crate::bench::settings::{Kind, Rate, Settings};
use hdrhistogram::Histogram;

const INTERVALS: u64 = 20;
const REQUESTS_PER_INTERVAL: u64 = 2_000;

/// Three rows: a closed loop that meets its targets, an open loop with a stall, one without a run's details.
pub(crate) fn report() -> Report {
    Report {
        machine: machine(),
        broker: BrokerFacts {
            software: "millrace",
            version: "0.1.0 <test>".to_owned(),
            features: vec!["release build".to_owned()],
        },
        probe: Some(probe()),
        started_wall_ms: 1_795_000_000_000,
        rows: vec![closed(), open(), bare()],
    }
}

fn machine() -> Machine {
    Machine {
        kernel: "6.18.44".to_owned(),
        cpu_model: "Example \"Nine\" & Co <9000>".to_owned(),
        cpus: 2,
        virtual_machine: "yes".to_owned(),
        memory_bytes: 24 << 30,
        disk: Disk {
            filesystem: "ext4".to_owned(),
            mount_options: "rw,relatime".to_owned(),
            device: "vda".to_owned(),
            device_model: "unknown".to_owned(),
            device_bytes: 256 << 30,
            rotational: "no".to_owned(),
            scheduler: "none".to_owned(),
            write_cache: "write back".to_owned(),
            queue_requests: "256".to_owned(),
        },
        clocksource: "tsc".to_owned(),
        governor: "unknown".to_owned(),
        huge_pages: "madvise".to_owned(),
        io_uring: "works, allowed for all".to_owned(),
    }
}

fn probe() -> Probe {
    Probe {
        direct_write_bytes_per_s: 3.0e9,
        direct_write_new_bytes_per_s: 2.1e9,
        durable_4k_per_s: 26_000.0,
        durable_4k_p50_us: 37.0,
        durable_4k_p99_us: 80.0,
        loopback_bytes_per_s: 6.5e9,
        loopback_sendfile_bytes_per_s: 9.2e9,
    }
}

fn closed() -> Row {
    let settings = Settings {
        connections: 8,
        in_flight: 4,
        ..Settings::default()
    };
    let outcome = outcome(&settings, 1_400_000, 0);
    let mut throughput = Figure::new("throughput", outcome.messages_per_s(), "msg/s");
    throughput.target = Some(Target {
        bound: 1.0e6,
        at_least: true,
    });
    throughput.probe_ratio = Some(0.62);
    let mut p99 = Figure::new("response p99", 3.5, "ms");
    p99.target = Some(Target {
        bound: 5.0,
        at_least: false,
    });
    row(
        "1 100 B x 1000, 8 x 4, written",
        settings,
        outcome,
        vec![throughput, p99],
    )
}

fn open() -> Row {
    let settings = Settings {
        kind: Kind::EndToEnd,
        ack: AckLevel::Synced,
        rate: Rate::PerSecond(1.0e6),
        load_cpus: Some(vec![1]),
        ..Settings::default()
    };
    let outcome = outcome(&settings, 180_000, 200);
    let mut p999 = Figure::new("end to end p99.9", 190.0, "ms");
    p999.target = Some(Target {
        bound: 10.0,
        at_least: false,
    });
    row(
        "11 <script>alert(1)</script> & \"end to end\"",
        settings,
        outcome,
        vec![p999],
    )
}

fn bare() -> Row {
    let settings = Settings {
        kind: Kind::Idle,
        connections: 10_000,
        ..Settings::default()
    };
    let mut outcome = outcome(&settings, 1_000, 0);
    outcome.response.reset();
    outcome.service.reset();
    outcome.intervals.clear();
    outcome.stages.clear();
    outcome.server = None;
    let figures = vec![Figure::new("server busy", 0.4, "% of a core")];
    row("12 idle connections", settings, outcome, figures)
}

fn row(name: &str, settings: Settings, outcome: Outcome, figures: Vec<Figure>) -> Row {
    Row {
        name: name.to_owned(),
        settings,
        search: Vec::new(),
        runs: vec![outcome],
        median: 0,
        figures,
    }
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds that it takes")
}

/// Times around `typical_ns` with a tail; `stall_ms`: in the middle interval the broker answers nobody for so long.
fn outcome(settings: &Settings, typical_ns: u64, stall_ms: u64) -> Outcome {
    let mut prng = Prng::new(typical_ns);
    let (mut response, mut service) = (histogram(), histogram());
    let mut end_to_end = histogram();
    let mut intervals = Vec::new();
    for index in 0..INTERVALS {
        let stall = if index == INTERVALS / 2 { stall_ms } else { 0 };
        let interval = interval(index, settings, &mut prng, typical_ns, stall);
        for (all, part) in [
            (&mut response, &interval.response),
            (&mut service, &interval.service),
            (&mut end_to_end, &interval.end_to_end),
        ] {
            all.add(part).expect("equal bounds");
        }
        intervals.push(interval);
    }
    let messages = intervals.iter().map(|interval| interval.messages).sum();
    Outcome {
        messages,
        bytes: messages * settings.message_bytes as u64,
        seconds: 5.0,
        requests: response.len(),
        response,
        service,
        end_to_end: (settings.kind == Kind::EndToEnd).then_some(end_to_end),
        intervals,
        server: Some(server()),
        load_cpu_seconds: 3.9,
        stages: (0..2).map(|core| stages(core, &mut prng)).collect(),
        unsent: 0,
        beside_bytes: 0,
    }
}

fn server() -> ServerCost {
    ServerCost {
        cpu_user_seconds: 2.5,
        cpu_system_seconds: 2.0,
        rss_peak_bytes: 180 << 20,
        rss_bytes: 20 << 20,
        written_bytes: 8 << 30,
        voluntary_switches: 1_200,
        involuntary_switches: 40,
    }
}

fn interval(
    index: u64,
    settings: &Settings,
    prng: &mut Prng,
    typical_ns: u64,
    stall_ms: u64,
) -> Interval {
    let mut interval = Interval {
        at_s: index as f64 * 0.25,
        seconds: 0.25,
        messages: (REQUESTS_PER_INTERVAL - prng.below(300)) * u64::from(settings.batch_messages),
        bytes: 0,
        response: histogram(),
        service: histogram(),
        delay: histogram(),
        end_to_end: histogram(),
    };
    interval.bytes = interval.messages * settings.message_bytes as u64;
    for request in 0..REQUESTS_PER_INTERVAL {
        let service_ns = long_tailed(prng, typical_ns);
        let delay_ns = (stall_ms * 1_000_000).saturating_sub(request * 1_000_000);
        let response_ns = service_ns + delay_ns;
        interval.service.saturating_record(service_ns);
        interval.delay.saturating_record(delay_ns.max(1));
        interval.response.saturating_record(response_ns);
        interval
            .end_to_end
            .saturating_record(response_ns + typical_ns);
    }
    interval
}

/// One in two near `typical_ns`, one in 2^k about k/2 times as long.
fn long_tailed(prng: &mut Prng, typical_ns: u64) -> u64 {
    let tail = u64::from(prng.next_u64().trailing_ones().min(20));
    let spread = prng.below(typical_ns / 2);
    typical_ns * (2 + tail) / 2 + spread
}

fn stages(core: u16, prng: &mut Prng) -> CoreStages {
    let stage = |name: &str, typical_ns, prng: &mut Prng| {
        let mut times = histogram();
        for _ in 0..500 {
            times.saturating_record(long_tailed(prng, typical_ns));
        }
        (name.to_owned(), times)
    };
    CoreStages {
        core,
        stages: vec![
            stage("receive", 9_000, prng),
            stage("decode", 4_000, prng),
            stage("wait for commit", 60_000, prng),
            stage("write", 120_000, prng),
            stage("sync", 90_000, prng),
            stage("reply", 7_000, prng),
        ],
        counters: vec![("cycles".to_owned(), 500)],
    }
}
