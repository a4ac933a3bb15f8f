//! What a core cannot compute: clocks, random bits, the identity of the machine's run.

use crate::io::Monotonic;
use std::fs::File;
use std::io::{Error, Read, Result};
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the first call in this process: one origin for all cores, so that a point taken on one core can be
/// compared on another.
pub(super) fn now() -> Monotonic {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    Monotonic(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}

pub(super) fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_millis() as i64,
        Err(before) => -(before.duration().as_millis() as i64),
    }
}

/// The kernel's random bits, fetched 64 numbers at a time. Opened before the core runs; reading it does not wait.
#[derive(Debug)]
pub(super) struct Chance {
    file: File,
    bytes: [u8; 512],
    used: usize,
}

impl Chance {
    pub(super) fn open() -> Result<Self> {
        Ok(Self {
            file: File::open("/dev/urandom")?,
            bytes: [0; 512],
            used: 512,
        })
    }

    pub(super) fn next_u64(&mut self) -> u64 {
        if self.used == self.bytes.len() {
            self.file
                .read_exact(&mut self.bytes)
                .expect("an open /dev/urandom always answers");
            self.used = 0;
        }
        let (word, _) = self.bytes[self.used..]
            .split_first_chunk::<8>()
            .expect("used is a multiple of 8 below the length");
        self.used += 8;
        u64::from_le_bytes(*word)
    }
}

/// Linux draws it at each boot.
pub(super) fn boot_id() -> Result<u128> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_err(Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_do_not_repeat_over_a_refill() {
        let mut chance = Chance::open().expect("every Linux has /dev/urandom");
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| chance.next_u64()).collect();
        assert_eq!(drawn.len(), 200);
    }

    #[test]
    fn the_boot_id_is_stable_and_the_clock_goes_forward() {
        let first = boot_id().expect("proc is mounted");
        assert_eq!(first, boot_id().expect("proc is mounted"));
        assert_ne!(first, 0);
        let earlier = now();
        assert!(now() >= earlier);
        assert!(wall_ms() > 1_600_000_000_000);
    }
}
