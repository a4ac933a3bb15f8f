//! What Linux tells about a process: CPU time, memory, writes, switches.

use crate::bench::outcome::ServerCost;
use std::fs;
use std::io::{Error, ErrorKind, Result};

/// What process `pid` has used since it began.
pub fn look(pid: u32) -> Result<ServerCost> {
    let (user, system) = cpu_seconds(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let (voluntary, involuntary) = switches(pid)?;
    Ok(ServerCost {
        cpu_user_seconds: user,
        cpu_system_seconds: system,
        rss_peak_bytes: field(&status, "VmHWM:").unwrap_or(0) << 10,
        rss_bytes: field(&status, "VmRSS:").unwrap_or(0) << 10,
        written_bytes: written_bytes(pid),
        voluntary_switches: voluntary,
        involuntary_switches: involuntary,
    })
}

/// User and system time of all threads, also those that have ended: the workers of its rings belong to it.
pub fn cpu_seconds(pid: u32) -> Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    cpu_of_stat(&stat, rustix::param::clock_ticks_per_second() as f64)
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, "/proc/PID/stat has no CPU times"))
}

/// Fields 14 and 15, counted from 1. The second, the name, may hold spaces and parentheses: they are counted from behind it.
fn cpu_of_stat(stat: &str, ticks_per_s: f64) -> Option<(f64, f64)> {
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user / ticks_per_s, system / ticks_per_s))
}

/// Another user's process does not tell: 0.
fn written_bytes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    field(&io, "write_bytes:").unwrap_or(0)
}

/// Sums over the threads that live. One that ends while it is looked at is left out.
fn switches(pid: u32) -> Result<(u64, u64)> {
    let (mut voluntary, mut involuntary) = (0, 0);
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else {
            continue;
        };
        voluntary += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        involuntary += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    Ok((voluntary, involuntary))
}

/// The number behind `name` at the begin of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 10 0 0 0 250 125 0 0 20 0 1 0 9 1 1";
        assert_eq!(cpu_of_stat(stat, 100.0), Some((2.5, 1.25)));
        assert_eq!(cpu_of_stat("7 (a) S 1", 100.0), None);
    }

    #[test]
    fn fields_are_found_at_the_begin_of_a_line() {
        let text = "nonvoluntary_ctxt_switches:\t5\nvoluntary_ctxt_switches:\t3\nVmHWM:\t  12 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(3));
        assert_eq!(field(text, "VmHWM:"), Some(12));
        assert_eq!(field(text, "VmRSS:"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let cost = look(std::process::id()).expect("we live");
        assert!(cost.rss_bytes > 0 && cost.rss_peak_bytes >= cost.rss_bytes);
        assert!(look(u32::MAX - 1).is_err());
    }
}
