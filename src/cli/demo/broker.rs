//! The demo's own broker: one core, on a thread of this process, apart from the client where there is a CPU for each.

use crate::base::limits::JOURNAL_FILE_BYTES;
use crate::cli::demo::place::Place;
use crate::cli::exit::{Exit, Failure};
use crate::cli::interrupt::Interrupt;
use crate::cli::serve::{Plan, allowed_cpus};
use crate::cli::serving::{Ready, Serving};
use crate::cli::values::Endpoint;
use rustix::thread::CpuSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an interrupt may go unseen while the broker starts.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Which CPUs are whose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cpus {
    broker: usize,
    client: Vec<usize>,
}

impl Cpus {
    /// The first CPU of this process for the broker, the others for the client.
    pub fn share() -> Result<Self, Failure> {
        Self::split(&allowed_cpus())
            .ok_or_else(|| Failure::new(Exit::Config, "this process may run on no CPU"))
    }

    fn split(allowed: &[usize]) -> Option<Self> {
        let (broker, client) = allowed.split_first()?;
        Some(Self {
            broker: *broker,
            client: client.to_vec(),
        })
    }

    /// Keeps this thread, and those that it makes from now on, off the broker's CPU.
    pub fn keep_client_apart(&self) {
        let mut set = CpuSet::new();
        self.client.iter().for_each(|cpu| set.set(*cpu));
        if !self.client.is_empty() {
            // Without it the figures are worse, and no less true.
            let _ = rustix::thread::sched_setaffinity(None, &set);
        }
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one core on CPU {}, ", self.broker)?;
        match self.client.as_slice() {
            [] => f.write_str("which the client has to share: there is no other"),
            [cpu] => write!(f, "the client on CPU {cpu}"),
            cpus => write!(f, "the client on {} others", cpus.len()),
        }
    }
}

/// A broker that runs until it is stopped, or dropped.
#[derive(Debug)]
pub struct Broker {
    endpoint: Endpoint,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Broker {
    /// Returns when the broker serves, on a free port of the loopback.
    pub fn start(place: &Place, cpus: &Cpus, interrupt: &Interrupt) -> Result<Self, Failure> {
        let serving = Serving {
            data: place.data(),
            plan: Plan {
                cpus: vec![Some(cpus.broker)],
                listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
                host: Ipv4Addr::LOCALHOST.to_string(),
                kafka: None,
            },
            allow_memory_fs: place.is_in_memory,
            journal_file_bytes: JOURNAL_FILE_BYTES,
            disk_reserve_bytes: None,
            scrub_bytes_per_second: 0,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let asked = Arc::clone(&stop);
        let run = move || {
            serving.run(asked, move |ready| {
                // Nobody waits any more after an interrupt.
                let _ = tell.send(ready);
            })
        };
        let thread = std::thread::Builder::new()
            .name("demo-broker".to_owned())
            .spawn(run)
            .map_err(|error| {
                let line = format!("the broker cannot be started: {error}");
                Failure::new(Exit::Internal, line)
            })?;
        let mut broker = Self {
            endpoint: Endpoint {
                host: Ipv4Addr::LOCALHOST.to_string(),
                port: 0,
            },
            stop,
            thread: Some(thread),
        };
        match wait(&told, interrupt)? {
            Some(ready) => {
                broker.endpoint.port = ready.addresses[0].port;
                Ok(broker)
            }
            None => {
                broker.stop()?;
                Err(Failure::new(
                    Exit::Internal,
                    "the broker ended before it served",
                ))
            }
        }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Stops it cleanly, or tells why it has ended already.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.join()
    }

    fn join(&mut self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread
            .join()
            .unwrap_or_else(|_| Err(Failure::new(Exit::Internal, "the broker panicked")))
    }
}

impl Drop for Broker {
    /// Its files are about to be removed: nothing may write to them any more.
    fn drop(&mut self) {
        let _ = self.join();
    }
}

/// `None`: the broker has ended.
fn wait(told: &Receiver<Ready>, interrupt: &Interrupt) -> Result<Option<Ready>, Failure> {
    loop {
        match told.recv_timeout(LOOK_INTERVAL) {
            Ok(ready) => return Ok(Some(ready)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if interrupt.is_asked() => {
                return Err(interrupt.failure());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_has_a_cpu_for_itself_where_there_are_two() {
        let text = |allowed: &[usize]| Cpus::split(allowed).expect("some CPU").to_string();
        assert_eq!(text(&[2, 5]), "one core on CPU 2, the client on CPU 5");
        assert_eq!(
            text(&[0, 1, 2]),
            "one core on CPU 0, the client on 2 others"
        );
        assert!(text(&[3]).contains("share"));
        assert_eq!(Cpus::split(&[]), None);
    }
}
