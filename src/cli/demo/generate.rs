//! Lines that look like logs, for a machine that has none to read. Seeded: equal seeds give equal bytes.

use crate::base::prng::Prng;
use std::io::{self, Write};

const PATHS: [&str; 6] = [
    "/api/v1/items",
    "/api/v1/orders",
    "/health",
    "/static/app.js",
    "/login",
    "/search",
];
const VERBS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
const STATUS: [u16; 8] = [200, 200, 200, 200, 204, 304, 404, 500];
const UNITS: [&str; 4] = ["sshd", "cron", "systemd", "postgres"];
const EVENTS: [&str; 5] = [
    "session opened for user deploy",
    "checkpoint complete: wrote 812 buffers",
    "connection closed by peer",
    "Started periodic cleanup of temporary directories",
    "retrying in 5 s: upstream timed out",
];
const DAY_MS: u64 = 86_400_000;

/// Writes whole lines until at least `bytes` are written.
pub fn write_lines(seed: u64, bytes: u64, out: &mut impl Write) -> io::Result<()> {
    let mut prng = Prng::new(seed);
    let mut clock_ms = prng.below(DAY_MS);
    let mut written = 0;
    let mut line = Vec::new();
    while written < bytes {
        line.clear();
        clock_ms = (clock_ms + prng.below(7)) % DAY_MS;
        write_line(&mut prng, clock_ms, &mut line)?;
        out.write_all(&line)?;
        written += line.len() as u64;
    }
    Ok(())
}

fn write_line(prng: &mut Prng, clock_ms: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let (seconds, ms) = (clock_ms / 1000, clock_ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let host = prng.below(24);
    write!(
        out,
        "2026-03-14T{hour:02}:{minute:02}:{second:02}.{ms:03}Z node-{host:02} "
    )?;
    if prng.chance(7, 10) {
        let (b, c, d) = (prng.below(256), prng.below(256), prng.below(256));
        let (verb, path) = (pick(prng, &VERBS), pick(prng, &PATHS));
        let (id, status) = (prng.below(100_000), pick(prng, &STATUS));
        let (bytes, micros) = (prng.below(60_000), prng.below(250_000));
        writeln!(
            out,
            "web[{host}]: 10.{b}.{c}.{d} \"{verb} {path}/{id} HTTP/1.1\" {status} {bytes} {micros}us"
        )
    } else {
        let (unit, event) = (pick(prng, &UNITS), pick(prng, &EVENTS));
        writeln!(out, "{unit}[{}]: {event}", 300 + prng.below(30_000))
    }
}

fn pick<T: Copy>(prng: &mut Prng, from: &[T]) -> T {
    from[prng.below(from.len() as u64) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_seeded_whole_and_enough() {
        let make = |seed| {
            let mut out = Vec::new();
            write_lines(seed, 100_000, &mut out).expect("memory takes all");
            out
        };
        let (a, b) = (make(1), make(2));
        assert_eq!(a, make(1));
        assert_ne!(a, b);
        assert!(a.len() >= 100_000 && a.ends_with(b"\n"));
        let text = String::from_utf8(a).expect("ASCII");
        assert!(text.lines().all(|line| (40..200).contains(&line.len())));
        assert!(text.contains("HTTP/1.1") && text.contains("sshd["));
    }
}
