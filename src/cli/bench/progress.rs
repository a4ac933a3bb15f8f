//! What a run shows while it goes on, on a terminal only.

use crate::bench::run::{Phase, Progress};
use crate::cli::bench::table::short;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;

/// Steps of the bar.
const STEPS: u64 = 100;

/// A bar for one workload.
pub struct Bar {
    bar: ProgressBar,
    last: Option<(Instant, u64)>,
    rate: f64,
}

impl Bar {
    /// A bar that begins; it draws nothing where standard error is no terminal.
    pub fn new(name: &str) -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:24} {msg}")
            .expect("the template above is valid");
        let bar = ProgressBar::new(STEPS).with_style(style);
        bar.set_prefix(name.to_owned());
        Self {
            bar,
            last: None,
            rate: 0.0,
        }
    }

    /// Takes in what a run tells.
    pub fn show(&mut self, progress: Progress) {
        self.learn_rate(progress.messages);
        let phase = match progress.phase {
            Phase::Preparing => "preparing",
            Phase::Filling => "filling",
            Phase::WarmingUp => "warming up",
            Phase::Counting => "counting",
            Phase::Draining => "last replies",
        };
        self.bar.set_position((progress.part * STEPS as f64) as u64);
        self.bar
            .set_message(format!("{phase}, {}msg/s", short(self.rate)));
    }

    fn learn_rate(&mut self, messages: u64) {
        let now = Instant::now();
        if let Some((at, before)) = self.last
            && messages >= before
        {
            let seconds = now.duration_since(at).as_secs_f64().max(1e-3);
            self.rate = (messages - before) as f64 / seconds;
        }
        self.last = Some((now, messages));
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
