//! A workload set up on a broker: the topic, the batches, who connects where; and the orders that follow from it.

use crate::base::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_MS_DEFAULT};
use crate::base::{AckLevel, CoreId, PartitionKey, PartitionNo};
use crate::bench::batches::{self, Batch};
use crate::bench::broker::Broker;
use crate::bench::load::{Goal, Job, Orders, Task, Wire};
use crate::bench::placement::seats;
use crate::bench::run::BenchError;
use crate::bench::settings::{Kind, Protocol, Rate, Settings};
use crate::client::{NewTopic, TopicInfo, TopicSettings};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a run's orders are made of.
pub(super) struct Scene<'a> {
    pub(super) settings: &'a Settings,
    pub(super) topic: TopicInfo,
    pub(super) batches: Vec<Batch>,
    cores: Vec<SocketAddr>,
    wire: Wire,
}

impl<'a> Scene<'a> {
    /// Makes the topic, builds the batches.
    pub(super) fn set(broker: &Broker, settings: &'a Settings) -> Result<Self, BenchError> {
        let (cores, wire) = (broker.cores()?, broker.wire()?);
        check(settings, cores.len())?;
        let batches = batches::build(settings, wall_ms())?;
        let topic = broker.create(&new_topic(settings, settings.partitions))?;
        if settings.kind == Kind::Queue {
            broker.create_queue(&topic)?;
        }
        Ok(Self {
            settings,
            topic,
            batches,
            cores,
            wire,
        })
    }

    /// What the load shall do, but for what a catch-up reads.
    pub(super) fn orders(&self) -> Orders {
        let settings = self.settings;
        let has_tail = matches!(settings.kind, Kind::Tail | Kind::EndToEnd);
        let has_consumers = settings.kind == Kind::Queue;
        let mut jobs = match settings.kind {
            Kind::Idle => self.jobs(settings.connections, Task::Idle),
            Kind::CatchUp => Vec::new(),
            _ => self.jobs(settings.connections, Task::Produce),
        };
        if has_tail {
            let readers = settings.readers.min(settings.partitions as usize);
            jobs.extend(self.jobs(readers, Task::Tail));
        }
        if has_consumers {
            let prefetch = settings.prefetch;
            jobs.extend(self.jobs(settings.readers, Task::Take { prefetch }));
        }
        let is_cold_pass = settings.kind == Kind::CatchUp && settings.cold;
        let requests_per_s = match settings.rate {
            Rate::PerSecond(messages_per_s) => {
                Some(messages_per_s / f64::from(settings.batch_messages))
            }
            Rate::Max | Rate::FindMax { .. } => None,
        };
        Orders {
            cpus: match &settings.load_cpus {
                Some(cpus) => cpus.iter().map(|cpu| Some(*cpu)).collect(),
                None => vec![None],
            },
            stay_awake: has_cpus_alone(settings),
            wire: self.wire,
            jobs,
            batches: self.batches.clone(),
            batch_messages: settings.batch_messages,
            ack: settings.ack,
            in_flight: settings.in_flight,
            requests_per_s,
            goal: Goal::Time {
                warm_up: match is_cold_pass {
                    true => Duration::ZERO,
                    false => settings.warm_up,
                },
                duration: settings.duration,
            },
            stamped: has_tail || has_consumers,
            once: is_cold_pass,
        }
    }

    /// Connections over the partitions of the topic.
    pub(super) fn jobs(&self, connections: usize, task: Task) -> Vec<Job> {
        self.jobs_of(&self.topic, connections, task)
    }

    /// Connections over the partitions of another one.
    pub(super) fn jobs_of(&self, topic: &TopicInfo, connections: usize, task: Task) -> Vec<Job> {
        let cores = self.cores.len() as u16;
        let wrong = self.settings.wrong_core && task == Task::Produce;
        seats(&topic.owners, cores, connections, wrong)
            .into_iter()
            .map(|seat| Job {
                address: self.address(seat.core),
                topic: (topic.name.clone(), topic.id),
                keys: seat
                    .partitions
                    .iter()
                    .map(|partition| PartitionKey::new(topic.id, PartitionNo(*partition)))
                    .collect(),
                task,
            })
            .collect()
    }

    fn address(&self, core: CoreId) -> SocketAddr {
        self.cores[usize::from(core.0)]
    }
}

/// Whether the load has CPUs that the broker does not run on.
fn has_cpus_alone(settings: &Settings) -> bool {
    match (&settings.server_cpus, &settings.load_cpus) {
        (Some(server), Some(load)) => load.iter().all(|cpu| !server.contains(cpu)),
        _ => false,
    }
}

fn check(settings: &Settings, cores: usize) -> Result<(), BenchError> {
    if settings.wrong_core && cores < 2 {
        return Err(BenchError::Settings(
            "a broker with one core has no wrong one; give --server-cpus two".to_owned(),
        ));
    }
    let is_silent = settings.protocol == Protocol::Kafka && settings.ack == AckLevel::None;
    if is_silent && settings.kind != Kind::CatchUp {
        return Err(BenchError::Settings(
            "Kafka's brokers do not answer acks 0, so nothing could be measured; give --ack written or synced"
                .to_owned(),
        ));
    }
    if settings.kind == Kind::Queue && settings.protocol == Protocol::Kafka {
        return Err(BenchError::Settings(
            "queues speak the native protocol alone; leave out --protocol".to_owned(),
        ));
    }
    if matches!(settings.kind, Kind::Tail | Kind::EndToEnd | Kind::Queue) {
        batches::check_stamp(settings)?;
    }
    Ok(())
}

/// A topic of a name that nobody has.
pub(super) fn new_topic(settings: &Settings, partitions: u32) -> NewTopic {
    let unique = SystemTime::now().duration_since(UNIX_EPOCH);
    let unique = unique.map_or(0, |since| since.as_nanos());
    NewTopic {
        name: format!("bench-{unique:x}"),
        partitions,
        settings: TopicSettings {
            ack: settings.ack.max(AckLevel::Written),
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            segment_ms: SEGMENT_MS_DEFAULT,
            ..TopicSettings::default()
        },
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_stays_awake_only_where_the_broker_does_not_run() {
        let settings = |server: Option<Vec<usize>>, load: Option<Vec<usize>>| Settings {
            server_cpus: server,
            load_cpus: load,
            ..Settings::default()
        };
        assert!(has_cpus_alone(&settings(Some(vec![0]), Some(vec![1]))));
        assert!(!has_cpus_alone(&settings(Some(vec![0, 1]), Some(vec![1]))));
        assert!(!has_cpus_alone(&settings(None, Some(vec![1]))));
        assert!(!has_cpus_alone(&settings(Some(vec![0]), None)));
    }

    #[test]
    fn a_wrong_core_needs_a_second_one() {
        let settings = Settings {
            wrong_core: true,
            ..Settings::default()
        };
        assert!(check(&settings, 1).is_err());
        assert!(check(&settings, 2).is_ok());
    }

    #[test]
    fn what_is_never_answered_cannot_be_measured() {
        let settings = |protocol, ack, kind| Settings {
            protocol,
            ack,
            kind,
            ..Settings::default()
        };
        let none = AckLevel::None;
        assert!(check(&settings(Protocol::Kafka, none, Kind::Produce), 1).is_err());
        assert!(check(&settings(Protocol::Kafka, none, Kind::CatchUp), 1).is_ok());
        assert!(check(&settings(Protocol::Kafka, AckLevel::Synced, Kind::Tail), 1).is_ok());
        assert!(check(&settings(Protocol::Native, none, Kind::Produce), 1).is_ok());
    }
}
