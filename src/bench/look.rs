//! A look at the broker and at ourselves: taken when a run begins to count and when it ends, the difference is its cost.

use crate::base::stages::decode;
use crate::bench::broker::Broker;
use crate::bench::outcome::{CoreStages, ServerCost};
use crate::bench::process;
use hdrhistogram::Histogram;
use std::io::Result;
use std::time::Instant;

/// What was there at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// When it was taken.
    pub at: Instant,
    /// What the broker's process had used; `None`: nobody knows which it is, or it has ended.
    pub server: Option<ServerCost>,
    /// CPU seconds of this process.
    pub load_cpu_seconds: f64,
    /// What the broker's cores had recorded; nothing of a broker that does not tell.
    pub cores: Vec<CoreStages>,
}

impl Look {
    /// Looks at /proc alone.
    pub fn take(broker: &Broker) -> Result<Self> {
        // A broker that has ended is told of by the connections that it leaves.
        let server = broker.pid().and_then(|pid| process::look(pid).ok());
        let (user, system) = process::cpu_seconds(std::process::id())?;
        Ok(Self {
            at: Instant::now(),
            server,
            load_cpu_seconds: user + system,
            cores: Vec::new(),
        })
    }

    /// And asks the broker's cores for their histograms.
    pub fn take_with_stages(broker: &Broker) -> Result<Self> {
        Ok(Self {
            cores: stages(broker),
            ..Self::take(broker)?
        })
    }

    /// What the broker's process used since `before`.
    pub fn server_since(&self, before: &Self) -> Option<ServerCost> {
        Some(self.server?.since(&before.server?))
    }

    /// What each core recorded since `before`.
    pub fn stages_since(&self, before: &Self) -> Vec<CoreStages> {
        let cores = self.cores.iter();
        cores
            .filter_map(|core| {
                let earlier = before.cores.iter().find(|other| other.core == core.core)?;
                Some(difference(core, earlier))
            })
            .collect()
    }
}

fn stages(broker: &Broker) -> Vec<CoreStages> {
    let asked = broker.client().ok();
    let told = asked.and_then(|mut client| client.stages().ok());
    let cores = told.unwrap_or_default();
    cores
        .into_iter()
        .map(|told| CoreStages {
            core: told.core.0,
            stages: told
                .stages
                .iter()
                .filter_map(|(stage, bytes)| Some((stage.name().to_owned(), decode(bytes)?)))
                .collect(),
            counters: told
                .counters
                .iter()
                .map(|(counter, count)| (counter.name().to_owned(), *count))
                .collect(),
        })
        .collect()
}

fn difference(later: &CoreStages, earlier: &CoreStages) -> CoreStages {
    let stages = later.stages.iter();
    let counters = later.counters.iter();
    CoreStages {
        core: later.core,
        stages: stages
            .map(|(name, times)| {
                (
                    name.clone(),
                    times_since(times, named(&earlier.stages, name)),
                )
            })
            .collect(),
        counters: counters
            .map(|(name, count)| {
                let before = named(&earlier.counters, name).copied().unwrap_or(0);
                (name.clone(), count.saturating_sub(before))
            })
            .collect(),
    }
}

fn named<'a, T>(all: &'a [(String, T)], name: &str) -> Option<&'a T> {
    let found = all.iter().find(|(other, _)| other == name)?;
    Some(&found.1)
}

fn times_since(later: &Histogram<u64>, earlier: Option<&Histogram<u64>>) -> Histogram<u64> {
    let mut since = later.clone();
    if let Some(earlier) = earlier {
        // Counts only grow: it fails only for one of another broker, of which the later one is then the whole truth.
        let _ = since.subtract(earlier);
    }
    since
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(times: &[u64], cycles: u64) -> CoreStages {
        let mut histogram = Histogram::new(2).expect("2 digits");
        times.iter().for_each(|time| histogram += *time);
        CoreStages {
            core: 0,
            stages: vec![("write".to_owned(), histogram)],
            counters: vec![("cycles".to_owned(), cycles)],
        }
    }

    #[test]
    fn only_what_came_between_counts() {
        let between = difference(&core(&[5, 5, 90], 7), &core(&[5], 4));
        assert_eq!(between.counters, [("cycles".to_owned(), 3)]);
        let times = &between.stages[0].1;
        assert_eq!(
            (times.len(), times.count_at(5), times.count_at(90)),
            (2, 1, 1)
        );
    }
}
