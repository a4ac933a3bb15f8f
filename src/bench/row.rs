//! A workload as often as it shall run: the search for its rate, its runs, the median of them.

use crate::bench::figures::{self, HELD_RATE, figures};
use crate::bench::outcome::{BrokerFacts, Figure, Outcome, Row, SearchStep};
use crate::bench::probe::Probe;
use crate::bench::run::{BenchError, Runner};
use crate::bench::search::Search;
use crate::bench::settings::{Rate, Settings};
use std::time::Duration;

/// One try of a search runs so long, and warms up so long.
const TRY: Duration = Duration::from_secs(2);
const TRY_WARM_UP: Duration = Duration::from_millis(500);
/// How often a rate may fail to hold before it counts as too high.
const TRIES_PER_RATE: usize = 3;
/// A search begins with so many requests a second.
const SEARCH_REQUESTS_PER_S: f64 = 100.0;
/// A broker that acks so little of what was due does not keep up, however fast its acks are.
const KEEPS_UP: f64 = 0.98;

/// A row and the broker that it was measured on.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The row.
    pub row: Row,
    /// The broker of its last run.
    pub broker: BrokerFacts,
}

/// Runs a workload as often as its settings say.
pub fn measure(
    runner: &mut Runner<'_>,
    name: &str,
    settings: &Settings,
    probe: Option<&Probe>,
) -> Result<Measured, BenchError> {
    let mut search = Vec::new();
    let mut settled = settings.clone();
    if let Rate::FindMax { quantile, limit } = settings.rate {
        let found = find_rate(runner, settings, quantile, limit, &mut search)?;
        settled.rate = Rate::PerSecond(found);
    }
    let mut runs = Vec::with_capacity(settings.runs);
    let mut facts = None;
    for _ in 0..settings.runs.max(1) {
        let mut broker = runner.broker(&settled)?;
        runs.push(runner.run(&mut broker, &settled)?);
        facts = Some(broker.facts().clone());
    }
    let median = median(&settled, &runs);
    let mut drawn = figures(&settled, &runs[median], probe);
    if let Rate::PerSecond(found) = settled.rate
        && !search.is_empty()
    {
        drawn.insert(0, Figure::new(HELD_RATE, found, "msg/s"));
    }
    Ok(Measured {
        row: Row {
            name: name.to_owned(),
            settings: settings.clone(),
            search,
            median,
            figures: drawn,
            runs,
        },
        broker: facts.expect("at least one run"),
    })
}

/// The run in the middle: by throughput, or where the rate was given, by the p99 of the response time.
fn median(settings: &Settings, runs: &[Outcome]) -> usize {
    let key = |run: &Outcome| {
        if settings.is_open_loop() {
            run.response.value_at_quantile(0.99) as f64
        } else {
            run.messages_per_s()
        }
    };
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by(|a, b| key(&runs[*a]).total_cmp(&key(&runs[*b])));
    order[(runs.len() - 1) / 2]
}

fn find_rate(
    runner: &mut Runner<'_>,
    settings: &Settings,
    quantile: f64,
    limit: Duration,
    steps: &mut Vec<SearchStep>,
) -> Result<f64, BenchError> {
    let mut broker = runner.broker(settings)?;
    let mut search = Search::new(SEARCH_REQUESTS_PER_S * f64::from(settings.batch_messages));
    while let Some(asked_per_s) = search.next() {
        let tried = Settings {
            rate: Rate::PerSecond(asked_per_s),
            warm_up: TRY_WARM_UP.min(settings.warm_up),
            duration: TRY.min(settings.duration),
            ..settings.clone()
        };
        let mut held = false;
        // One hiccup of the machine would halve what is found: a rate is too high only if it fails every time.
        for _ in 0..TRIES_PER_RATE {
            let outcome = runner.run(&mut broker, &tried)?;
            let step = judge(&outcome, asked_per_s, quantile, limit);
            steps.push(step);
            held = step.held;
            if held {
                break;
            }
        }
        search.learn(held);
    }
    let lowest = steps.iter().map(|step| step.asked_per_s);
    search.found().ok_or_else(|| BenchError::NoRate {
        lowest_per_s: lowest.fold(f64::INFINITY, f64::min),
    })
}

fn judge(outcome: &Outcome, asked_per_s: f64, quantile: f64, limit: Duration) -> SearchStep {
    let response_ns = outcome.response.value_at_quantile(quantile);
    let reached_per_s = outcome.messages_per_s();
    let keeps_up = reached_per_s >= asked_per_s * KEEPS_UP;
    SearchStep {
        asked_per_s,
        reached_per_s,
        response_ns,
        held: keeps_up && u128::from(response_ns) <= limit.as_nanos(),
    }
}

/// What `part` is of `whole`, by the figure of that name of both.
pub fn ratio(part: &Row, whole: &Row, name: &str) -> f64 {
    let value = |row: &Row| figures::find(&row.figures, name).map_or(f64::NAN, |f| f.value);
    value(part) / value(whole)
}
