//! One workload: what was run, how it went, where the time went.

use super::text::{escape, number, time_ms};
use super::{curves, stages, table, timeline};
use crate::bench::outcome::{Row, SearchStep};
use crate::bench::output::{omission, settings_text, words};
use crate::bench::settings::Kind;

/// The card of a row, which the table links to.
pub(super) fn card(index: usize, row: &Row) -> String {
    let outcome = row.outcome();
    let charts: String = [
        curves::of_row(row),
        timeline::latency(outcome),
        timeline::throughput(outcome),
    ]
    .into_iter()
    .flatten()
    .map(|chart| chart.figure())
    .collect();
    format!(
        "<article id=\"row-{}\">\n<h3>{}</h3>\n<p class=\"settings\">{}</p>\n<p class=\"runs\">{}</p>\n\
         <div class=\"charts\">\n{charts}</div>\n{}{}{}</article>\n",
        index + 1,
        escape(&row.name),
        escape(&settings_text(&row.settings)),
        escape(&runs(row)),
        stages::figure(&outcome.stages),
        search(&row.search),
        table::all_figures(row),
    )
}

/// All runs by their throughput, so that the spread is seen, and how times were taken.
fn runs(row: &Row) -> String {
    if row.settings.kind == Kind::Idle {
        return words::plural(row.runs.len(), "run") + ".";
    }
    let rates: Vec<String> = row
        .runs
        .iter()
        .map(|run| number(run.messages_per_s()))
        .collect();
    let runs = match rates.as_slice() {
        [one] => format!("One run of {one} msg/s"),
        many => format!(
            "{} runs of {} msg/s; shown is number {}",
            many.len(),
            many.join(", "),
            row.median + 1
        ),
    };
    let unsent = match row.outcome().unsent {
        0 => String::new(),
        count => format!(
            "; {} requests were due and never sent",
            number(count as f64)
        ),
    };
    format!("{runs}{unsent}. Times: {}.", omission(&row.settings))
}

fn search(steps: &[SearchStep]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let lines: String = steps
        .iter()
        .map(|step| {
            let (class, verdict) = match step.held {
                true => ("met", "✓ held"),
                false => ("missed", "✗ not held"),
            };
            format!(
                "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td><span class=\"held {class}\">{verdict}</span></td></tr>\n",
                number(step.asked_per_s),
                number(step.reached_per_s),
                time_ms(step.response_ns as f64 / 1e6),
            )
        })
        .collect();
    format!(
        "<details><summary>The search for the highest rate: {} tried</summary>\n<div class=\"scroll\">\
         <table class=\"figures\">\n<thead><tr><th scope=\"col\" class=\"n\">due, msg/s</th>\
         <th scope=\"col\" class=\"n\">acked, msg/s</th><th scope=\"col\" class=\"n\">response</th>\
         <th scope=\"col\"></th></tr></thead>\n<tbody>\n{lines}</tbody></table></div></details>\n",
        steps.len()
    )
}
