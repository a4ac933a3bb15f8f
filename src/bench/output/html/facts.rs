//! What the figures were taken on, and what that can do at most.

use super::text::{escape, quantity};
use crate::bench::outcome::Report;

pub(super) fn section(report: &Report) -> String {
    let mut facts: Vec<(String, String)> = vec![
        ("broker".to_owned(), report.broker.version.clone()),
        (
            "built and started".to_owned(),
            report.broker.features.join(", "),
        ),
    ];
    let machine = report.machine.facts();
    facts.extend(
        machine
            .into_iter()
            .map(|fact| (fact.label.to_owned(), fact.text)),
    );
    facts.retain(|(_, text)| !text.is_empty());
    let facts: String = facts
        .iter()
        .map(|(label, text)| line(label, &escape(text)))
        .collect();
    format!(
        "<section class=\"wide\">\n<div><h2 id=\"machine\">The machine</h2>\n<dl>\n{facts}</dl></div>\n{}</section>\n",
        probe(report)
    )
}

fn probe(report: &Report) -> String {
    let Some(probe) = &report.probe else {
        return "<div><h2 id=\"probe\">Its limits</h2>\n<p>Not probed in this run.</p></div>\n"
            .to_owned();
    };
    let lines: String = probe
        .figures()
        .iter()
        .map(|(what, value, unit)| line(what, &quantity(*value, unit)))
        .collect();
    format!("<div><h2 id=\"probe\">Its limits</h2>\n<dl>\n{lines}</dl></div>\n")
}

/// `text` is HTML already.
fn line(label: &str, text: &str) -> String {
    format!("<div><dt>{}</dt><dd>{text}</dd></div>\n", escape(label))
}
