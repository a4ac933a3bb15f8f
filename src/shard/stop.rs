//! Stopping all cores together.
//!
//! The order on each core: refuse new work and answer what waits; let what runs end, within a bound; drain and sync
//! the log, which then marks itself clean; tell core 0, whose answer counts for all.

use crate::io::Io;

use crate::shard::Shard;
use crate::shard::core::Core;
use crate::shard::message::{FIRST_CORE, Letter, Life};
use futures_lite::future::or;
use std::time::Duration;
use thiserror::Error;

/// How long running requests may take to end.
const DRAIN_WAIT: Duration = Duration::from_secs(5);
/// How long core 0 waits for the logs of the others.
const OTHERS_WAIT: Duration = Duration::from_secs(30);

/// Why a stop was not clean. Nothing is lost by it: the next start scans the journals.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum StopError {
    /// A log could not be drained and synced.
    #[error("the log was not stopped cleanly: {0}")]
    Log(String),
    /// Another core did not say in time that its log is stopped.
    #[error("another core did not stop within {} s", OTHERS_WAIT.as_secs())]
    OtherCore,
}

impl<I: Io> Shard<I> {
    /// Stops this core; to be called on every core, once, after its connections were closed. Until it returns, the
    /// other cores are still answered.
    pub async fn stop(&self) -> Result<(), StopError> {
        let core = &self.core;
        core.stopping.set(true);
        core.stops.notify();
        core.gate.close();
        or(core.gate.emptied(), core.io.sleep(DRAIN_WAIT)).await;
        let stopped = core.log.stop().await.map_err(|error| error.to_string());
        if core.here() != FIRST_CORE {
            let life = Life::Stopped(stopped.clone());
            core.post.send(FIRST_CORE, Letter::Life(life));
            let gone = core.io.sleep(OTHERS_WAIT);
            or(core.post.flush(), gone).await;
            return stopped.map_err(StopError::Log);
        }
        let others = async { Some(others_stopped(core).await) };
        let too_late = async {
            core.io.sleep(OTHERS_WAIT).await;
            None
        };
        let others = or(others, too_late).await.ok_or(StopError::OtherCore)?;
        stopped.and(others).map_err(StopError::Log)
    }
}

async fn others_stopped<I: Io>(core: &Core<I>) -> Result<(), String> {
    let mut result = Ok(());
    for _ in core.post.others() {
        if let (_, Life::Stopped(Err(reason))) = core.next_life().await {
            result = Err(reason);
        }
    }
    result
}
