//! How long to wait before trying again: doubling, bounded, and with jitter, so that clients that lost the same broker do
//! not come back at the same moment.

use crate::base::prng::Prng;
use std::time::Duration;

/// When to give up and how long to wait until then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackoffOptions {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// How many times to try again; then the failure is reported.
    pub tries: u32,
}

impl Default for BackoffOptions {
    /// About twelve seconds in all: 50 ms doubling to 2 s, ten tries.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(2),
            tries: 10,
        }
    }
}

/// The waits of one trouble, until it is over.
#[derive(Clone, Debug)]
pub struct Backoff {
    options: BackoffOptions,
    tried: u32,
    prng: Prng,
}

impl Backoff {
    /// No trouble yet. `seed` should differ between clients.
    pub fn new(options: BackoffOptions, seed: u64) -> Self {
        Self {
            options,
            tried: 0,
            prng: Prng::new(seed),
        }
    }

    /// How long to wait before the next try: between half and all of the doubled time. `None`: give up.
    pub fn wait(&mut self) -> Option<Duration> {
        if self.tried >= self.options.tries {
            return None;
        }
        let doubled = self.options.first.saturating_mul(1 << self.tried.min(20));
        let whole = doubled.min(self.options.longest).as_micros() as u64;
        self.tried += 1;
        Some(Duration::from_micros(
            whole / 2 + self.prng.below(whole / 2 + 1),
        ))
    }

    /// The trouble is over.
    pub fn reset(&mut self) {
        self.tried = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_end() {
        let options = BackoffOptions {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(100),
            tries: 6,
        };
        let mut backoff = Backoff::new(options, 1);
        for _ in 0..2 {
            for whole in [10, 20, 40, 80, 100, 100] {
                let wait = backoff.wait().expect("tries are left");
                assert!(wait >= Duration::from_millis(whole / 2), "{wait:?}");
                assert!(wait <= Duration::from_millis(whole), "{wait:?}");
            }
            assert_eq!(backoff.wait(), None);
            backoff.reset();
        }
    }
}
