//! How much longer a peer may take for its hello, or for the frame that it is in the middle of.
//!
//! Time that it takes is spent, bytes that it sends earn some again: a slow line is no fault, a trickle is. While the
//! core's memory for receives is short, whoever holds more of it than the smallest buffer has less: 16 MiB at 1 MiB a
//! second are fine, 16 MiB of which nothing comes are not held for half a minute.

use std::time::Duration;

/// How long a peer may take to say hello.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long it may take to finish a frame that it began …
const FRAME_WAIT: Duration = Duration::from_secs(30);
/// … and so many bytes earn it another second, up to that again.
const FRAME_BYTES_PER_SECOND_MIN: u32 = 64 << 10;
/// The same while memory is short.
const PRESSED_WAIT: Duration = Duration::from_secs(2);
const PRESSED_BYTES_PER_SECOND_MIN: u32 = 1 << 20;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    usual: Duration,
    pressed: Duration,
}

impl Patience {
    /// With one who has not said hello.
    pub(super) fn for_hello() -> Self {
        Self {
            usual: HELLO_WAIT,
            pressed: PRESSED_WAIT,
        }
    }

    /// With one who begins a frame.
    pub(super) fn for_frame() -> Self {
        Self {
            usual: FRAME_WAIT,
            ..Self::for_hello()
        }
    }

    /// What is left of it.
    pub(super) fn usual(&self) -> Duration {
        self.usual
    }

    /// What is left of it while memory is short.
    pub(super) fn pressed(&self) -> Duration {
        self.pressed
    }

    /// The peer was waited for.
    pub(super) fn spend(&mut self, time: Duration) {
        self.usual = self.usual.saturating_sub(time);
        self.pressed = self.pressed.saturating_sub(time);
    }

    /// It has sent `bytes` of a frame.
    pub(super) fn earn(&mut self, bytes: usize) {
        let for_bytes = |per_second: u32| Duration::from_secs(1) * bytes as u32 / per_second;
        self.usual = (self.usual + for_bytes(FRAME_BYTES_PER_SECOND_MIN)).min(FRAME_WAIT);
        self.pressed = (self.pressed + for_bytes(PRESSED_BYTES_PER_SECOND_MIN)).min(PRESSED_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many seconds a peer lasts that sends so many bytes each second.
    fn lasts(bytes: usize, pressed: bool) -> u32 {
        let mut patience = Patience::for_frame();
        let second_long = Duration::from_secs(1);
        for second in 0..100 {
            let left = if pressed {
                patience.pressed()
            } else {
                patience.usual()
            };
            if left < second_long {
                return second;
            }
            patience.spend(second_long);
            patience.earn(bytes);
        }
        100
    }

    #[test]
    fn a_slow_line_lasts_and_a_trickle_does_not() {
        assert_eq!(lasts(64 << 10, false), 100);
        assert!((29..40).contains(&lasts(1, false)));
        assert_eq!(lasts(1 << 20, true), 100);
        assert!(lasts(64 << 10, true) <= 2);
    }
}
