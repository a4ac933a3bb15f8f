//! Rows against their targets, and all figures of a row.

use super::text::{escape, number, quantity};
use crate::bench::outcome::{Figure, Report, Row};
use crate::bench::output::json::leading;
use crate::bench::output::words::plural;

/// The table that says what was reached.
pub(super) fn targets(report: &Report) -> String {
    let rows: String = report
        .rows
        .iter()
        .enumerate()
        .map(|(index, row)| row_lines(index, row))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<section><h2 id=\"targets\">Against the targets</h2>\n<p class=\"lead\">“Of the limit” holds a figure against \
         what this machine's disk or loopback did in the probe of the same run.</p>\n<div class=\"scroll\">\
         <table class=\"targets\">\n<thead><tr><th scope=\"col\">workload</th>\
         <th scope=\"col\">figure</th><th scope=\"col\" class=\"n\">value</th><th scope=\"col\" class=\"n\">target</th>\
         <th scope=\"col\"></th><th scope=\"col\">of the limit</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\
         </section>\n"
    )
}

/// A line for each figure with a target; without any, one for what the row is about.
fn row_lines(index: usize, row: &Row) -> String {
    let mut shown: Vec<&Figure> = row
        .figures
        .iter()
        .filter(|figure| figure.target.is_some())
        .collect();
    if shown.is_empty() {
        shown.extend(leading(row));
    }
    let mut lines = String::new();
    for (number, figure) in shown.iter().enumerate() {
        let name = match number {
            0 => format!(
                "<th scope=\"rowgroup\" rowspan=\"{}\"><a href=\"#row-{}\">{}</a></th>",
                shown.len(),
                index + 1,
                escape(&row.name)
            ),
            _ => String::new(),
        };
        let first = if number == 0 { " class=\"first\"" } else { "" };
        lines.push_str(&format!("<tr{first}>{name}{}</tr>\n", cells(figure)));
    }
    lines
}

fn cells(figure: &Figure) -> String {
    format!(
        "<td>{}</td>{}<td class=\"n\">{}</td><td>{}</td><td>{}</td>",
        escape(&figure.name),
        value_cell(figure),
        target(figure),
        verdict(figure),
        limit(figure),
    )
}

/// The shown number is rounded, the attribute is not.
fn value_cell(figure: &Figure) -> String {
    let exact = match figure.value.is_finite() {
        true => figure.value.to_string(),
        false => String::new(),
    };
    format!(
        "<td class=\"n\" data-value=\"{exact}\">{}</td>",
        quantity(figure.value, figure.unit)
    )
}

fn target(figure: &Figure) -> String {
    figure.target.map_or_else(String::new, |target| {
        let sign = if target.at_least { "≥" } else { "≤" };
        format!("{sign} {}", quantity(target.bound, figure.unit))
    })
}

/// In words and by a sign: colour alone is not for everybody.
fn verdict(figure: &Figure) -> &'static str {
    match figure.met() {
        Some(true) => "<span class=\"verdict met\">✓ met</span>",
        Some(false) => "<span class=\"verdict missed\">✗ missed</span>",
        None => "",
    }
}

fn limit(figure: &Figure) -> String {
    let Some(ratio) = figure.probe_ratio.filter(|ratio| ratio.is_finite()) else {
        return String::new();
    };
    let percent = ratio * 100.0;
    format!(
        "<span class=\"limit\"><i style=\"width:{:.1}%\"></i></span> {} %",
        percent.clamp(0.0, 100.0),
        number(percent)
    )
}

/// Every figure of a row, folded away.
pub(super) fn all_figures(row: &Row) -> String {
    let lines: String = row
        .figures
        .iter()
        .map(|figure| format!("<tr>{}</tr>\n", cells(figure)))
        .collect();
    format!(
        "<details><summary>{} of the median run</summary>\n<div class=\"scroll\"><table class=\"figures\">\n\
         <tbody>\n{lines}</tbody></table></div></details>\n",
        plural(row.figures.len(), "figure")
    )
}
