//! Values of the bench's flags: each parses itself, and says what it wanted when it cannot.

use crate::bench::settings::{Keys, Protocol, Rate};
use std::time::Duration;

/// `5s`, `500ms`, `2m`, `1h`; a number alone is seconds.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wanted = || format!("{text:?} is no time: use a number with us, ms, s, m or h, such as 5s");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wanted())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return Err(wanted()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wanted())
}

/// `max`, or messages a second: `50000`, `200K`, `1.5M`.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    let wanted =
        || format!("{text:?} is no rate: use max, or messages a second such as 50000 or 1M");
    let (number, factor) = match text.strip_suffix(['M', 'm']) {
        Some(number) => (number, 1e6),
        None => match text.strip_suffix(['K', 'k']) {
            Some(number) => (number, 1e3),
            None => (text, 1.0),
        },
    };
    let per_s = number.parse::<f64>().map_err(|_| wanted())? * factor;
    if !per_s.is_finite() || per_s <= 0.0 {
        return Err(wanted());
    }
    Ok(Rate::PerSecond(per_s))
}

/// `p99=5ms`: the percentile to keep, and its limit.
pub fn parse_find_max(text: &str) -> Result<Rate, String> {
    let wanted = || format!("{text:?} is nothing to keep: use a percentile and its limit, p99=5ms");
    let (percentile, limit) = text.split_once('=').ok_or_else(wanted)?;
    let percent = percentile.strip_prefix('p').ok_or_else(wanted)?;
    let percent: f64 = percent.parse().map_err(|_| wanted())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(wanted());
    }
    Ok(Rate::FindMax {
        quantile: percent / 100.0,
        limit: parse_time(limit)?,
    })
}

/// `native`, `kafka`.
pub fn parse_protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "native" => Ok(Protocol::Native),
        "kafka" => Ok(Protocol::Kafka),
        _ => Err(format!("{text:?} is no protocol: use native or kafka")),
    }
}

/// `none`, `round-robin`, `random:N`.
pub fn parse_keys(text: &str) -> Result<Keys, String> {
    match text {
        "none" => Ok(Keys::None),
        "round-robin" => Ok(Keys::RoundRobin),
        _ => text
            .strip_prefix("random:")
            .and_then(|count| count.parse().ok())
            .filter(|count| *count > 0)
            .map(Keys::Random)
            .ok_or_else(|| format!("{text:?} are no keys: use none, round-robin or random:N")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_take_units() {
        for (text, ms) in [
            ("5", 5_000),
            ("5s", 5_000),
            ("250ms", 250),
            ("1.5m", 90_000),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "-1s", "5x", "1 s", "1e400"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn protocols_are_two() {
        assert_eq!(parse_protocol("native"), Ok(Protocol::Native));
        assert_eq!(parse_protocol("kafka"), Ok(Protocol::Kafka));
        for bad in ["", "Kafka", "amqp"] {
            assert!(parse_protocol(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_max_or_messages_a_second() {
        assert_eq!(parse_rate("max"), Ok(Rate::Max));
        assert_eq!(parse_rate("1.5M"), Ok(Rate::PerSecond(1.5e6)));
        assert_eq!(parse_rate("200k"), Ok(Rate::PerSecond(2e5)));
        for bad in ["", "0", "-1", "fast", "M", "inf", "NaN"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_to_be_kept_names_a_percentile_and_a_time() {
        let kept = parse_find_max("p99.9=500us").expect("good");
        let Rate::FindMax { quantile, limit } = kept else {
            panic!("{kept:?}")
        };
        assert!((quantile - 0.999).abs() < 1e-9);
        assert_eq!(limit, Duration::from_micros(500));
        for bad in ["", "p99", "99=5ms", "p101=5ms", "p99=fast"] {
            assert!(parse_find_max(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_none_in_turn_or_random() {
        assert_eq!(parse_keys("none"), Ok(Keys::None));
        assert_eq!(parse_keys("round-robin"), Ok(Keys::RoundRobin));
        assert_eq!(parse_keys("random:100"), Ok(Keys::Random(100)));
        for bad in ["", "random", "random:0", "random:x", "NONE"] {
            assert!(parse_keys(bad).is_err(), "{bad}");
        }
    }
}
