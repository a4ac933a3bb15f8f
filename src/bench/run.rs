//! One workload, from nothing to its outcome: a broker, a topic, what must be there before, the load, and a look at
//! /proc when it begins to count and when it ends.
//!
//! ```text
//!  start the broker ── topic ── fill (consume) ── cold? ── load: connect, warm up │ what counts │ drain
//!                                                                       look at /proc ^         ^ and again
//! ```

use crate::base::{AckLevel, Offset};
use crate::bench::batches::BatchesError;
use crate::bench::broker::{Broker, BrokerError, Under};
use crate::bench::load::{self, Event, Goal, LoadError, Orders, Shared, Tally, Task};
use crate::bench::look::Look;
use crate::bench::outcome::{Outcome, ServerCost};
use crate::bench::scene::{Scene, new_topic};
use crate::bench::settings::{Kind, Settings};
use crate::client::TopicInfo;
use rustix::thread::CpuSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use thiserror::Error;

/// How often the watcher looks around.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Requests in flight per connection while partitions are filled.
const FILL_IN_FLIGHT: usize = 16;

/// Why a workload has no outcome.
#[derive(Error, Debug)]
pub enum BenchError {
    /// No broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Nothing to send.
    #[error(transparent)]
    Batches(#[from] BatchesError),
    /// The load failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The load failed because the broker of our own has ended.
    #[error("{load}; the broker under test has ended: {last_words}")]
    Died {
        /// What the load saw.
        load: LoadError,
        /// What the broker said last.
        last_words: String,
    },
    /// A figure of /proc that is needed.
    #[error("cannot see what the broker's process uses: {0}")]
    Process(std::io::Error),
    /// The settings contradict the broker or each other.
    #[error("{0}")]
    Settings(String),
    /// No rate held.
    #[error(
        "no rate keeps the response time asked for, not even {lowest_per_s:.0} messages a second"
    )]
    NoRate {
        /// The lowest that was tried.
        lowest_per_s: f64,
    },
}

/// What a run is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Starting a broker, connecting.
    Preparing,
    /// Writing what will be read.
    Filling,
    /// Running, not counting yet.
    WarmingUp,
    /// Counting.
    Counting,
    /// Waiting for the last replies.
    Draining,
}

/// Told while a run goes on.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// Messages so far, of this phase and those before it.
    pub messages: u64,
    /// How much of what counts is over, 0 to 1.
    pub part: f64,
}

/// Runs workloads against one kind of broker.
pub struct Runner<'a> {
    /// Which broker.
    pub under: Under,
    /// Raised by whoever wants it to end.
    pub stop: Arc<AtomicBool>,
    /// Told what happens, some 20 times a second.
    pub progress: &'a mut dyn FnMut(Progress),
}

impl Runner<'_> {
    /// A broker to run against: a new one, or the one that runs.
    pub fn broker(&mut self, settings: &Settings) -> Result<Broker, BenchError> {
        self.tell(Phase::Preparing, 0, 0.0);
        let under = match &self.under {
            Under::Own { dir, .. } => Under::Own {
                dir: dir.clone(),
                cpus: settings.server_cpus.clone(),
            },
            running @ Under::Running { .. } => running.clone(),
        };
        Ok(Broker::start(&under, settings.protocol)?)
    }

    /// One run of the workload at the rate that the settings name, which is not [`Rate::FindMax`].
    pub fn run(&mut self, broker: &mut Broker, settings: &Settings) -> Result<Outcome, BenchError> {
        let ran = self.attempt(broker, settings);
        match ran {
            Err(BenchError::Load(load)) if !matches!(load, LoadError::Stopped) => {
                Err(match broker.post_mortem() {
                    Some(last_words) => BenchError::Died { load, last_words },
                    None => BenchError::Load(load),
                })
            }
            ran => ran,
        }
    }

    fn attempt(&mut self, broker: &Broker, settings: &Settings) -> Result<Outcome, BenchError> {
        let scene = Scene::set(broker, settings)?;
        let mut orders = scene.orders();
        let mut beside = None;
        if settings.kind == Kind::CatchUp {
            let end = self.fill(broker, &scene, &scene.topic)?;
            orders.jobs = scene.jobs(settings.readers, Task::CatchUp { end });
            if !settings.cold {
                self.heat(broker, &orders)?;
            }
        }
        if settings.cold_reader {
            let old = broker.create(&new_topic(settings, 1))?;
            let end = self.fill(broker, &scene, &old)?;
            orders
                .jobs
                .extend(scene.jobs_of(&old, 1, Task::Beside { end }));
            beside = Some(old);
        }
        let must_chill = settings.cold_reader || settings.cold;
        if must_chill && !broker.chill()? {
            return Err(BenchError::Settings(
                "only a broker of the bench's own can be read cold; leave out --server".to_owned(),
            ));
        }
        let outcome = self.watch(broker, orders)?;
        if settings.kind == Kind::Queue {
            broker.delete_queue(&scene.topic)?;
        }
        for topic in beside.iter().chain([&scene.topic]) {
            broker.delete(topic)?;
        }
        Ok(outcome)
    }

    /// Writes to every partition of `topic`, equally; returns the offset after the last record of each.
    fn fill(
        &mut self,
        broker: &Broker,
        scene: &Scene<'_>,
        topic: &TopicInfo,
    ) -> Result<Offset, BenchError> {
        let payload: u64 = scene.batches.iter().map(|batch| batch.payload_bytes).sum();
        let batch_bytes = (payload / scene.batches.len() as u64).max(1);
        let partitions = u64::from(topic.partitions);
        let requests = scene
            .settings
            .fill_bytes
            .div_ceil(partitions * batch_bytes)
            .max(1);
        let mut owners = topic.owners.clone();
        owners.sort_unstable();
        owners.dedup();
        // One connection a core: every partition then has exactly one writer, and ends at the same offset.
        let orders = Orders {
            jobs: scene.jobs_of(topic, owners.len(), Task::Produce),
            in_flight: FILL_IN_FLIGHT,
            requests_per_s: None,
            stamped: false,
            ack: AckLevel::Written,
            goal: Goal::RequestsPerPartition(requests),
            ..scene.orders()
        };
        self.tell(Phase::Filling, 0, 0.0);
        self.watch(broker, orders)?;
        Ok(Offset(requests * u64::from(scene.settings.batch_messages)))
    }

    /// Reads everything once through the broker. Its writes go past the page cache: what was just written is not in it.
    fn heat(&mut self, broker: &Broker, orders: &Orders) -> Result<(), BenchError> {
        self.tell(Phase::Filling, 0, 0.0);
        let pass = Orders {
            goal: Goal::RequestsPerPartition(0),
            once: true,
            ..orders.clone()
        };
        self.watch(broker, pass).map(drop)
    }

    /// Runs a load, and looks at the broker's process when it begins and ends to count.
    fn watch(&mut self, broker: &Broker, orders: Orders) -> Result<Outcome, BenchError> {
        let (tell, told) = channel();
        let shared = Shared::new(tell);
        let at_rest = take(broker)?;
        let _apart = Apart::keep(&orders.cpus, orders.stay_awake);
        let watched = Watched::new(&orders);
        let sees = Arc::clone(&shared);
        let thread = std::thread::spawn(move || load::run(orders, &sees));
        let mut looks = Looks::default();
        while !thread.is_finished() {
            self.turn(broker, &shared, &told, &watched, &mut looks)?;
        }
        let tally = thread
            .join()
            .map_err(|_| LoadError::Cores(std::io::Error::other("it panicked")))??;
        for event in told.try_iter() {
            looks.note(event, broker)?;
        }
        let end = match looks.end {
            Some(end) => end,
            None => look(broker)?,
        };
        let begin = looks.begin.as_ref().unwrap_or(&at_rest);
        let seen = (&at_rest, begin, &end);
        Ok(outcome(&tally, &shared, &watched, seen))
    }

    fn turn(
        &mut self,
        broker: &Broker,
        shared: &Shared,
        told: &Receiver<Event>,
        watched: &Watched,
        looks: &mut Looks,
    ) -> Result<(), BenchError> {
        match told.recv_timeout(LOOK_INTERVAL) {
            Ok(event) => looks.note(event, broker)?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if self.stop.load(Ordering::Relaxed) {
            shared.stop.store(true, Ordering::Relaxed);
        }
        let passes = shared.beside_passes.load(Ordering::Relaxed);
        if passes > looks.passes {
            looks.passes = passes;
            broker.chill()?;
        }
        let (phase, part) = looks.phase(watched);
        self.tell(phase, shared.messages.load(Ordering::Relaxed), part);
        Ok(())
    }

    fn tell(&mut self, phase: Phase, messages: u64, part: f64) {
        (self.progress)(Progress {
            phase,
            messages,
            part,
        });
    }
}

/// What the watcher knows of the orders that it gave away.
struct Watched {
    duration: Option<Duration>,
    once: bool,
}

impl Watched {
    fn new(orders: &Orders) -> Self {
        let duration = match orders.goal {
            Goal::Time { duration, .. } => Some(duration),
            Goal::RequestsPerPartition(_) => None,
        };
        Self {
            duration,
            once: orders.once,
        }
    }
}

/// What was seen so far.
#[derive(Default)]
struct Looks {
    begin: Option<Look>,
    end: Option<Look>,
    is_connected: bool,
    passes: u64,
}

impl Looks {
    fn note(&mut self, event: Event, broker: &Broker) -> Result<(), BenchError> {
        match event {
            Event::Connected => self.is_connected = true,
            Event::Begin => self.begin = Some(look(broker)?),
            Event::End => self.end = Some(look(broker)?),
        }
        Ok(())
    }

    fn phase(&self, watched: &Watched) -> (Phase, f64) {
        let Some(duration) = watched.duration else {
            return (Phase::Filling, 0.0);
        };
        match (&self.begin, &self.end) {
            (_, Some(_)) => (Phase::Draining, 1.0),
            (Some(begin), None) => {
                let part = begin.at.elapsed().as_secs_f64() / duration.as_secs_f64();
                (Phase::Counting, part.min(1.0))
            }
            (None, None) if self.is_connected => (Phase::WarmingUp, 0.0),
            (None, None) => (Phase::Preparing, 0.0),
        }
    }
}

fn take(broker: &Broker) -> Result<Look, BenchError> {
    Look::take(broker).map_err(BenchError::Process)
}

fn look(broker: &Broker) -> Result<Look, BenchError> {
    Look::take_with_stages(broker).map_err(BenchError::Process)
}

fn outcome(
    tally: &Tally,
    shared: &Shared,
    watched: &Watched,
    (at_rest, begin, end): (&Look, &Look, &Look),
) -> Outcome {
    let counted = match watched.once {
        true => tally.last.min(tally.window.until).since(tally.window.from),
        false => tally.window.duration(),
    };
    let server = end.server_since(begin).map(|cost| ServerCost {
        rss_bytes: end.server_since(at_rest).map_or(0, |grown| grown.rss_bytes),
        ..cost
    });
    let end_to_end = &tally.end_to_end;
    Outcome {
        messages: tally.messages,
        bytes: tally.bytes,
        seconds: counted.as_secs_f64(),
        requests: tally.requests,
        response: tally.response.clone(),
        service: tally.service.clone(),
        end_to_end: (!end_to_end.is_empty()).then(|| end_to_end.clone()),
        intervals: tally.intervals(),
        server,
        load_cpu_seconds: end.load_cpu_seconds - begin.load_cpu_seconds,
        stages: end.stages_since(begin),
        unsent: tally.unsent,
        beside_bytes: shared.beside_bytes.load(Ordering::Relaxed),
    }
}

/// Keeps the watching thread on the CPUs of the load, off the broker's, while it lives.
struct Apart {
    before: Option<CpuSet>,
}

impl Apart {
    fn keep(cpus: &[Option<usize>], is_worth_it: bool) -> Self {
        let before = rustix::thread::sched_getaffinity(None).ok();
        let mut set = CpuSet::new();
        cpus.iter().flatten().for_each(|cpu| set.set(*cpu));
        let before = before.filter(|_| is_worth_it && set.count() > 0);
        if before.is_some() {
            // Without it the figures are a little worse, and no less true.
            let _ = rustix::thread::sched_setaffinity(None, &set);
        }
        Self { before }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::thread::sched_setaffinity(None, before);
        }
    }
}
