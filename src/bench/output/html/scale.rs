//! From values to places on an axis, and the marks along it.

use super::text::{number, time_ms};

/// How values lie on an axis.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Scale {
    /// Evenly, from 0 to `to`.
    Linear { to: f64 },
    /// By their logarithm.
    Log { from: f64, to: f64 },
    /// Percentiles by the logarithm of what is left to 100 %: `nines` is 3 for an axis up to 99.9 %. The value is the
    /// number of nines itself, which is also log10(1 / (1 - quantile)).
    Nines { nines: f64 },
}

/// A mark on an axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Tick {
    /// The value it stands at.
    pub(super) at: f64,
    /// What is written there; empty: a line alone.
    pub(super) text: String,
    /// Left out where there is little room.
    pub(super) is_minor: bool,
}

impl Scale {
    /// A linear axis that ends at a round number over `greatest`.
    pub(super) fn linear(greatest: f64) -> Self {
        let step = step_of(greatest);
        let to = (greatest / step).ceil().max(1.0) * step;
        Self::Linear { to }
    }

    /// A linear axis that ends where the values do.
    pub(super) fn linear_to(end: f64) -> Self {
        let is_fit = end.is_finite() && end > 0.0;
        Self::Linear {
            to: if is_fit { end } else { 1.0 },
        }
    }

    /// A logarithmic axis in whole thirds of a decade (1, 2, 5), at least one decade.
    pub(super) fn log(least: f64, greatest: f64) -> Self {
        let from = below(least);
        let to = above(greatest).max(from * 10.0);
        Self::Log { from, to }
    }

    /// Where a value lies, 0 to 1; values outside lie on the edge.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { to } => value / to,
            Self::Log { from, to } => (value.max(from) / from).log10() / (to / from).log10(),
            Self::Nines { nines } => value / nines,
        };
        if place.is_finite() {
            place.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// For the page's script, which reads values back: kind, from, to.
    pub(super) fn attribute(self) -> String {
        match self {
            Self::Linear { to } => format!("linear 0 {to}"),
            Self::Log { from, to } => format!("log {from} {to}"),
            Self::Nines { nines } => format!("nines 0 {nines}"),
        }
    }

    /// Marks with plain numbers.
    pub(super) fn ticks(self) -> Vec<Tick> {
        match self {
            Self::Linear { to } => linear_ticks(to),
            Self::Log { from, to } => log_ticks(from, to),
            Self::Nines { nines } => nines_ticks(nines),
        }
    }
}

/// Round steps: about four to the axis.
fn step_of(greatest: f64) -> f64 {
    if !(greatest.is_finite() && greatest > 0.0) {
        return 1.0;
    }
    let rough = greatest / 4.0;
    let decade = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    let fitting = factors.iter().find(|&&factor| decade * factor >= rough);
    decade * fitting.copied().unwrap_or(10.0)
}

fn linear_ticks(to: f64) -> Vec<Tick> {
    let step = step_of(to);
    let count = (to / step + 1e-9).floor() as usize;
    (0..=count)
        .map(|index| Tick {
            at: index as f64 * step,
            text: number(index as f64 * step),
            is_minor: index % 2 == 1,
        })
        .collect()
}

const THIRDS: [f64; 3] = [1.0, 2.0, 5.0];

/// The nearest of 1, 2, 5 times a power of ten that is not above `value`.
fn below(value: f64) -> f64 {
    if !(value.is_finite() && value > 0.0) {
        return 1e-6;
    }
    let decade = 10f64.powf(value.log10().floor());
    let fitting = THIRDS.iter().rev().find(|&&third| decade * third <= value);
    decade * fitting.copied().unwrap_or(1.0)
}

fn above(value: f64) -> f64 {
    let below = below(value);
    if below >= value {
        return below;
    }
    let decade = 10f64.powf((below * 1.000_001).log10().floor());
    let next = THIRDS.iter().find(|&&third| decade * third >= value);
    next.map_or(decade * 10.0, |third| decade * third)
}

/// Times in milliseconds; between whole decades 2 and 5 without words where the axis is long.
fn log_ticks(from: f64, to: f64) -> Vec<Tick> {
    let first = from.log10().floor() as i32;
    let last = to.log10().ceil() as i32;
    let decades = last - first;
    let mut ticks = Vec::new();
    for decade in first..=last {
        for third in THIRDS {
            let at = 10f64.powi(decade) * third;
            if at < from * 0.999 || at > to * 1.001 {
                continue;
            }
            let has_words = third == 1.0 || decades <= 2;
            ticks.push(Tick {
                at,
                text: if has_words {
                    time_ms(at)
                } else {
                    String::new()
                },
                is_minor: third != 1.0,
            });
        }
    }
    ticks
}

fn nines_ticks(nines: f64) -> Vec<Tick> {
    const NAMES: [&str; 8] = [
        "0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999",
    ];
    let mut ticks = vec![Tick {
        at: 2f64.log10(),
        text: "50".to_owned(),
        is_minor: true,
    }];
    let whole = NAMES.iter().enumerate();
    ticks.extend(
        whole
            .take_while(|(count, _)| *count as f64 <= nines + 1e-9)
            .map(|(count, name)| Tick {
                at: count as f64,
                text: (*name).to_owned(),
                is_minor: false,
            }),
    );
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_their_values_and_end_at_round_ones() {
        for greatest in [0.0, 1e-9, 0.4, 1.0, 17.3e6, 9.9e9, f64::NAN] {
            let Scale::Linear { to } = Scale::linear(greatest) else {
                panic!("linear");
            };
            assert!(
                to.is_finite() && (to >= greatest || greatest.is_nan()),
                "{greatest}: {to}"
            );
            let ticks = Scale::linear(greatest).ticks();
            assert!(
                (2..=12).contains(&ticks.len()),
                "{greatest}: {}",
                ticks.len()
            );
        }
        for (least, greatest) in [
            (0.08, 4.2),
            (1.0, 1.0),
            (0.0, 5.0),
            (3.0, 999.0),
            (0.2, 0.2),
        ] {
            let Scale::Log { from, to } = Scale::log(least, greatest) else {
                panic!("logarithmic");
            };
            let holds = from <= least.max(1e-6) * 1.000_001 && to * 1.000_001 >= greatest;
            assert!(
                holds && to >= from * 9.99,
                "{least} {greatest}: {from} {to}"
            );
        }
    }

    #[test]
    fn places_run_from_one_end_to_the_other() {
        let log = Scale::Log {
            from: 0.1,
            to: 100.0,
        };
        assert_eq!(log.place(0.1), 0.0);
        assert!((log.place(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!((log.place(1e9), log.place(0.0)), (1.0, 0.0));
        let nines = Scale::Nines { nines: 4.0 };
        assert_eq!(nines.place(2.0), 0.5);
        assert_eq!(Scale::Linear { to: 0.0 }.place(0.0), 0.0);
    }

    #[test]
    fn the_percentile_axis_is_marked_by_nines() {
        let texts = |nines| -> Vec<String> {
            let ticks = Scale::Nines { nines }.ticks();
            ticks.into_iter().map(|tick| tick.text).collect()
        };
        assert_eq!(texts(3.4), ["50", "0", "90", "99", "99.9"]);
        assert_eq!(texts(5.0).last().map(String::as_str), Some("99.999"));
    }
}
