//! Values on the command line: each parses itself, and says what it wanted when it cannot.

use crate::base::{KEEP_ALL, Offset, TimestampMs};
use crate::cli::exit::{Exit, Failure};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The port of core 0 unless told otherwise.
pub const PORT_DEFAULT: u16 = 7420;

/// The most cores that one broker runs on, and the bound of a CPU's number.
pub const CPUS_MAX: usize = 1024;

/// Which CPUs the broker runs on: one core of the broker is pinned to each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cores {
    /// All that this process may use.
    Auto,
    /// These, in this order; core 0 of the broker is the first.
    Cpus(Vec<usize>),
}

/// `HOST:PORT`, not yet resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Where a consumer starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// At the first record that can be read.
    Begin,
    /// Behind the last one.
    End,
    /// At this offset.
    At(Offset),
    /// This many records before the end, or at the first that there is.
    Last(u64),
    /// At the first record whose timestamp is at least this.
    Since(TimestampMs),
}

impl FromStr for Cores {
    type Err = String;

    /// `auto`, or numbers and ranges: `0,2,4-7`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (cpu(first)?, cpu(last)?);
            if first > last {
                return Err(format!("the range {part} runs backwards"));
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(format!("CPU {cpu} is named twice"));
                }
                cpus.push(cpu);
            }
        }
        Ok(Self::Cpus(cpus))
    }
}

fn cpu(text: &str) -> Result<usize, String> {
    match whole(text) {
        Some(number) if (number as usize) < CPUS_MAX => Ok(number as usize),
        _ => Err(format!(
            "{text:?} is no CPU: use auto, or numbers below {CPUS_MAX} such as 0,1 or 0-3"
        )),
    }
}

/// Digits alone: `str::parse` would also take a plus sign.
fn whole(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl Endpoint {
    /// The address that it stands for on this machine; `flag` is where it was given.
    pub fn first_address(&self, flag: &str) -> Result<SocketAddr, Failure> {
        let resolved = (self.host.as_str(), self.port).to_socket_addrs();
        let resolved = resolved.map_err(|error| {
            let line = format!("{flag} {self}: {error}; name an address of this machine");
            Failure::new(Exit::Config, line)
        })?;
        let mut resolved: Vec<SocketAddr> = resolved.collect();
        // A name such as localhost stands for both families: the older one is what most clients dial.
        resolved.sort_by_key(SocketAddr::is_ipv6);
        resolved.first().copied().ok_or_else(|| {
            let line = format!("{flag} {self} stands for no address");
            Failure::new(Exit::Config, line)
        })
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is no HOST:PORT, such as 127.0.0.1:{PORT_DEFAULT}");
        let (host, port) = text.rsplit_once(':').ok_or_else(wanted)?;
        let port = whole(port).and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(wanted)?;
        let bare = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(wanted)?,
            None if host.contains(':') => {
                return Err(format!("{text:?}: write an IPv6 address in brackets"));
            }
            None => host,
        };
        if bare.is_empty() || bare.contains(char::is_whitespace) {
            return Err(wanted());
        }
        Ok(Self {
            host: bare.to_string(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let start = match text {
            "begin" | "beginning" | "earliest" => Some(Self::Begin),
            "end" | "latest" => Some(Self::End),
            _ => match text.as_bytes().first() {
                Some(b'-') => whole(&text[1..]).map(Self::Last),
                Some(b'@') => whole(&text[1..])
                    .and_then(|ms| i64::try_from(ms).ok())
                    .map(|ms| Self::Since(TimestampMs(ms))),
                _ => whole(text).map(|offset| Self::At(Offset(offset))),
            },
        };
        start.ok_or_else(|| {
            format!(
                "{text:?} is no place to start: use begin, end, an offset, -N for the last N, or @MILLISECONDS since 1970"
            )
        })
    }
}

/// A number of bytes: `1048576`, `64K`, `16MiB`, `1G` (always powers of 1024).
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wanted = || format!("{text:?} is no size: use bytes, or a number with K, M or G");
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "m" | "MiB" => 20,
        "G" | "g" | "GiB" => 30,
        _ => return Err(wanted()),
    };
    whole(number)
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(wanted)
}

/// How a retention that drops nothing is written.
pub const ALL: &str = "all";

/// What of a partition is kept, in bytes.
pub fn parse_retention_bytes(text: &str) -> Result<u64, String> {
    match text {
        ALL => Ok(KEEP_ALL),
        bytes => parse_bytes(bytes),
    }
}

/// How long records are kept, in milliseconds.
pub fn parse_retention_ms(text: &str) -> Result<u64, String> {
    if text == ALL {
        return Ok(KEEP_ALL);
    }
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let ms = match &text[digits.len()..] {
        "" | "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    let span = ms
        .zip(number)
        .and_then(|(ms, number)| number.checked_mul(ms));
    span.ok_or_else(|| format!("{text} is no time: such as 3600000, 90s, 15m, 12h or 7d, or all"))
}

/// One byte: a character of ASCII, or an escape as in `--format`.
pub fn parse_byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => return Ok(*byte),
        [b'\\', rest @ ..] => {
            if let Some((byte, took)) = escape(rest)
                && took == rest.len()
            {
                return Ok(byte);
            }
        }
        _ => {}
    }
    Err(format!(
        "{text:?} is not one byte: use a character of ASCII, or \\t, \\n, \\r, \\0, \\\\, \\xNN"
    ))
}

/// What the escape behind a backslash stands for, and how many bytes it takes.
pub(super) fn escape(rest: &[u8]) -> Option<(u8, usize)> {
    let byte = match rest {
        [b'n', ..] => b'\n',
        [b't', ..] => b'\t',
        [b'r', ..] => b'\r',
        [b'0', ..] => 0,
        [b'\\', ..] => b'\\',
        [b'x', high, low, ..] => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            return Some(((digit(high)? * 16 + digit(low)?) as u8, 3));
        }
        _ => return None,
    };
    Some((byte, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_auto_or_a_list() {
        assert_eq!("auto".parse(), Ok(Cores::Auto));
        assert_eq!("0,1".parse(), Ok(Cores::Cpus(vec![0, 1])));
        assert_eq!("6,2-4".parse(), Ok(Cores::Cpus(vec![6, 2, 3, 4])));
        for bad in [
            "",
            ",",
            "0,",
            "a",
            "-1",
            "3-1",
            "0,0",
            "1-3,2",
            "+1",
            "1024",
            "0-",
            "99999999999999999999",
        ] {
            assert!(bad.parse::<Cores>().is_err(), "{bad}");
        }
    }

    #[test]
    fn endpoints_round_trip() {
        for text in ["localhost:7420", "127.0.0.1:0", "[::1]:65535"] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), text);
        }
        for bad in [
            "",
            ":1",
            "host",
            "host:",
            "host:x",
            "host:65536",
            "::1:7420",
            "[::1:1",
            "a b:1",
            "h:+1",
            "[]:1",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn starts_read_as_kcat_writes_them() {
        for (text, start) in [
            ("begin", Start::Begin),
            ("earliest", Start::Begin),
            ("end", Start::End),
            ("0", Start::At(Offset(0))),
            ("18446744073709551615", Start::At(Offset(u64::MAX))),
            ("-5", Start::Last(5)),
            (
                "@1700000000000",
                Start::Since(TimestampMs(1_700_000_000_000)),
            ),
        ] {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
        for bad in [
            "",
            "-",
            "@",
            "--5",
            "+5",
            "5x",
            "@-1",
            "@9223372036854775808",
            "18446744073709551616",
            "begin ",
            "é",
        ] {
            assert!(bad.parse::<Start>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_take_units_and_refuse_overflow() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("64K", 64 << 10),
            ("16MiB", 16 << 20),
            ("1g", 1 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "K",
            "-1",
            "1T",
            "1 K",
            "1.5M",
            "18446744073709551615K",
            "é",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_take_escapes() {
        for (text, byte) in [
            (":", b':'),
            ("\\t", b'\t'),
            ("\\x1f", 0x1f),
            ("\\", b'\\'),
            ("\\\\", b'\\'),
            ("\\0", 0),
        ] {
            assert_eq!(parse_byte(text), Ok(byte), "{text}");
        }
        for bad in ["", "ab", "é", "\\q", "\\x1", "\\x1g", "\\tt"] {
            assert!(parse_byte(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_retention_is_a_time_or_all() {
        let ms = |text: &str| parse_retention_ms(text).ok();
        for (text, expected) in [
            ("0", Some(0)),
            ("1500", Some(1_500)),
            ("90s", Some(90_000)),
            ("15m", Some(900_000)),
            ("12h", Some(43_200_000)),
            ("7d", Some(604_800_000)),
            ("all", Some(KEEP_ALL)),
            ("", None),
            ("d", None),
            ("-1", None),
            ("7w", None),
            ("1.5h", None),
            ("999999999999999999d", None),
        ] {
            assert_eq!(ms(text), expected, "{text}");
        }
        assert_eq!(parse_retention_bytes("10G"), Ok(10 << 30));
        assert_eq!(parse_retention_bytes("all"), Ok(KEEP_ALL));
        assert!(parse_retention_bytes("-1").is_err());
    }
}
