//! SIGINT and SIGTERM: the first asks a command to end well, the second ends it at once.

use crate::cli::exit::{Exit, Failure};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What shells report for a command that SIGINT ended.
const CODE_AT_ONCE: i32 = 130;

/// Whether someone asked the command to end.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes both signals over from the default, which is to die.
    pub fn watch() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the shutdown looks at the flag before this signal raises it.
            let at_once = Arc::clone(&asked);
            signal_hook::flag::register_conditional_shutdown(signal, CODE_AT_ONCE, at_once)
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&asked)))
                .map_err(|error| {
                    Failure::new(Exit::Internal, format!("signals cannot be taken: {error}"))
                })?;
        }
        Ok(Self { asked })
    }

    /// Whether it is time to end.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
    /// How a command ends that leaves nothing behind when it is interrupted.
    pub fn failure(&self) -> Failure {
        Failure::new(Exit::Failed, "interrupted; nothing is left behind")
    }
}
