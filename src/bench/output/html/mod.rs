//! The report as one page: text, tables and SVG charts in a single file, readable without network and without scripts.
//!
//! ```text
//!  page ─┬─ head     version, date, what was met
//!        ├─ table    rows against targets, share of the machine's limit, all figures
//!        ├─ curves   percentile curves of all rows on the logarithmic axis, grouped by open and closed loop
//!        ├─ row      each workload: its curves, throughput and response time over time, the broker's stages by core
//!        └─ facts    machine and probe
//!      chart ── scale    a chart is lines over two axes; the page's script reads values back through the same axes
//! ```
//! Invariants:
//! - Nothing is loaded from anywhere: the page forbids it to itself (Content-Security-Policy).
//! - Every text that is not ours goes through [`text::escape`].
//! - The script adds tooltips and toggles; what is measured is all there without it.

mod chart;
mod curves;
mod facts;
mod row;
mod scale;
mod stages;
mod table;
mod text;
mod timeline;

use crate::bench::outcome::{Figure, Report};
use crate::bench::output::words;
use crate::bench::settings::Kind;
use text::{escape, quantity, utc};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub fn page(report: &Report) -> String {
    let mut page = head(report);
    page.push_str("<main>\n");
    page.push_str(&table::targets(report));
    page.push_str(&curves::section(report));
    page.push_str("<h2 id=\"workloads\">Workload by workload</h2>\n");
    for (index, row) in report.rows.iter().enumerate() {
        page.push_str(&row::card(index, row));
    }
    page.push_str(&facts::section(report));
    page.push_str("</main>\n");
    page.push_str(&foot());
    page
}

fn head(report: &Report) -> String {
    let version = escape(&report.broker.version);
    let features = report.broker.features.join(", ");
    let cpu = format!("{}, {} CPUs", report.machine.cpu_model, report.machine.cpus);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; img-src data:\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>Millrace benchmark, {date}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n<p class=\"over\">Millrace {version} · benchmark</p>\n\
         <h1>{headline}</h1>\n<p class=\"lead\">{date} · Linux {kernel} · {cpu} · {disk}{features}</p>\n{tiles}\
         </header>\n",
        date = utc(report.started_wall_ms),
        headline = headline(report),
        kernel = escape(&report.machine.kernel),
        cpu = escape(&cpu),
        disk = escape(&format!(
            "{} on {}",
            report.machine.disk.filesystem, report.machine.disk.device
        )),
        features = escape(&if features.is_empty() {
            features
        } else {
            format!(" · {features}")
        }),
        tiles = tiles(report),
    )
}

fn headline(report: &Report) -> String {
    let verdicts: Vec<bool> = all_figures(report).filter_map(Figure::met).collect();
    let met = verdicts.iter().filter(|&&met| met).count();
    match verdicts.len() {
        0 => format!("{} measured", words::plural(report.rows.len(), "workload")),
        targets => format!("{met} of {} met", words::plural(targets, "target")),
    }
}

fn all_figures(report: &Report) -> impl Iterator<Item = &Figure> {
    report.rows.iter().flat_map(|row| &row.figures)
}

/// The numbers that people look for first.
fn tiles(report: &Report) -> String {
    let mut tiles = Vec::new();
    let fastest = report
        .rows
        .iter()
        .filter(|row| row.settings.kind != Kind::Idle)
        .map(|row| (row.outcome().messages_per_s(), row))
        .filter(|(rate, _)| rate.is_finite() && *rate > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((rate, row)) = fastest {
        tiles.push((quantity(rate, "msg/s"), format!("fastest: {}", row.name)));
    }
    if let Some(probe) = &report.probe {
        let disk = probe.direct_write_bytes_per_s / 1e6;
        let wire = probe.loopback_bytes_per_s / 1e6;
        tiles.extend(
            [
                (quantity(disk, "MB/s"), "limit: disk, direct writes"),
                (
                    quantity(probe.durable_4k_p50_us, "us"),
                    "limit: one durable write, p50",
                ),
                (quantity(wire, "MB/s"), "limit: loopback, copied"),
            ]
            .map(|(value, what)| (value, what.to_owned())),
        );
    }
    let tiles: String = tiles
        .iter()
        .map(|(value, what)| {
            let what = escape(what);
            format!("<div class=\"tile\"><b>{value}</b><span>{what}</span></div>\n")
        })
        .collect();
    format!("<div class=\"tiles\">\n{tiles}</div>\n")
}

fn foot() -> String {
    format!(
        "<footer><p>Response time counts from when a request was due, service time from when it was sent. Histograms \
         hold nanoseconds at 3 significant digits (HdrHistogram). Of each workload the median run is shown.</p>\
         </footer>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    //! Goal: the page is whole, loads nothing, and no text of a report becomes markup. Method: made-up reports whose
    //! texts are markup; tests/report opens the page in a browser.

    use super::*;
    use crate::bench::output::synthetic;

    #[test]
    fn no_text_of_the_report_becomes_markup() {
        let page = page(&synthetic::report());
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("Example &quot;Nine&quot; &amp; Co &lt;9000&gt;"));
        assert!(!page.contains("0.1.0 <test>"));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page(&synthetic::report());
        for word in [
            "http://", "https://", "@import", "url(", "src=", "<iframe", "<img",
        ] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn every_row_has_its_verdict_and_its_card() {
        let report = synthetic::report();
        let page = page(&report);
        assert!(page.contains("2 of 3 targets met"));
        let (table, _) = page.split_once("id=\"workloads\"").expect("a heading");
        assert_eq!(table.matches("class=\"verdict met\"").count(), 2);
        assert_eq!(table.matches("class=\"verdict missed\"").count(), 1);
        assert_eq!(page.matches("<article").count(), report.rows.len());
    }

    #[test]
    fn a_report_of_nothing_is_a_page() {
        let mut report = synthetic::report();
        report.rows.clear();
        report.probe = None;
        let page = page(&report);
        assert!(page.contains("0 workloads measured") && page.ends_with("</html>\n"));
    }

    #[test]
    fn no_number_is_drawn_as_nan() {
        let mut report = synthetic::report();
        for row in &mut report.rows {
            row.runs[0].seconds = 0.0;
            for interval in &mut row.runs[0].intervals {
                interval.seconds = 0.0;
                interval.messages = 0;
            }
            for figure in &mut row.figures {
                figure.value = f64::NAN;
            }
        }
        let page = page(&report);
        let style = page.find("</style>").expect("a style");
        let script = page.find("<script>").expect("a script");
        for word in ["NaN", "inf"] {
            let found = page[style..script].match_indices(word).next();
            assert!(found.is_none(), "{word} in the page: {found:?}");
        }
    }
}
