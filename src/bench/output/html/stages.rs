//! Where a message's time went inside the broker: each core's stages, by their share of all time and one by one.

use super::chart::COLOURS;
use super::scale::Scale;
use super::text::{escape, number, time_ms};
use crate::bench::outcome::CoreStages;
use crate::bench::output::json::total_ms;
use hdrhistogram::Histogram;
use std::fmt::Write;

const NS_PER_MS: f64 = 1e6;
/// Of its cell, what the longest bar takes: a little air before the numbers.
const FULL_PERCENT: f64 = 96.0;

/// The stages of all cores that saw any; nothing if none did.
pub(super) fn figure(cores: &[CoreStages]) -> String {
    let busy: Vec<&CoreStages> = cores
        .iter()
        .filter(|core| core.stages.iter().any(|(_, times)| !times.is_empty()))
        .collect();
    if busy.is_empty() {
        return String::new();
    }
    let scale = scale(&busy);
    let cores: String = busy.iter().map(|core| one_core(core, scale)).collect();
    format!(
        "<figure class=\"stages\">\n<figcaption><b>Where the time went, by core</b><span>The bar is each stage's \
         share of the time of all stages; requests overlap, so it is not the time of one request. Below: the stage's \
         median (full) and 99th percentile (light), on one logarithmic scale.</span></figcaption>\n{cores}</figure>\n"
    )
}

fn scale(cores: &[&CoreStages]) -> Scale {
    let times = || {
        let stages = cores.iter().flat_map(|core| &core.stages);
        stages
            .map(|(_, times)| times)
            .filter(|times| !times.is_empty())
    };
    let least = times()
        .map(|times| ms(times, 0.5))
        .fold(f64::INFINITY, f64::min);
    let greatest = times().map(|times| ms(times, 0.99)).fold(0.0, f64::max);
    // The shortest still has a bar to see.
    Scale::log(least / 3.0, greatest)
}

fn ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / NS_PER_MS
}

fn one_core(core: &CoreStages, scale: Scale) -> String {
    let whole_ms: f64 = core.stages.iter().map(|(_, times)| total_ms(times)).sum();
    let mut bar = String::new();
    let mut rows = String::new();
    let stages = core.stages.iter().enumerate();
    for (index, (name, times)) in stages.filter(|(_, (_, times))| !times.is_empty()) {
        let colour = index % COLOURS;
        let name = escape(&name.replace('_', " "));
        let share = total_ms(times) / whole_ms * 100.0;
        let share_text = number(share);
        let _ = write!(
            bar,
            "<i class=\"c{colour}\" style=\"flex-grow:{share:.3}\" title=\"{name}: {share_text} %\"></i>"
        );
        let (p50, p99) = (ms(times, 0.5), ms(times, 0.99));
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\"><i class=\"dot c{colour}\"></i>{name}</th><td class=\"bars\">\
             <i class=\"light c{colour}\" style=\"width:{:.1}%\"></i><i class=\"c{colour}\" style=\"width:{:.1}%\"></i>\
             </td><td>{}</td><td>{}</td><td>{share_text} %</td><td class=\"extra\">{}</td></tr>",
            scale.place(p99) * FULL_PERCENT,
            scale.place(p50) * FULL_PERCENT,
            time_ms(p50),
            time_ms(p99),
            number(times.len() as f64),
        );
    }
    format!(
        "<div class=\"core\"><h4>Core {}</h4><div class=\"share\" aria-hidden=\"true\">{bar}</div>\n\
         <div class=\"scroll\"><table class=\"stage\"><thead><tr><th scope=\"col\">stage</th>\
         <th scope=\"col\" class=\"bars\"></th><th scope=\"col\">p50</th><th scope=\"col\">p99</th>\
         <th scope=\"col\">share</th><th scope=\"col\" class=\"extra\">times</th></tr></thead>\n<tbody>\n{rows}\
         </tbody></table></div></div>\n",
        core.core
    )
}
