//! `millrace verify`: reads all of a data directory, holds it against itself, and says what to do about what is wrong.
//!
//! With `-o json` one document:
//!
//! | field | what |
//! |---|---|
//! | `data` | the directory |
//! | `clean` | no damage and nothing harmless; notes may be there |
//! | `damage`, `harmless`, `notes` | how many findings of each severity |
//! | `partitions`, `segments`, `batches`, `records`, `bytes`, `journal_entries` | what was read and is sound |
//! | `findings` | a list, see below |
//!
//! A finding has `severity` (`damage`: records that were acknowledged are lost, unreadable or refused; `harmless`: wrong,
//! and no record depends on it; `note`: what a start tidies up by itself), `kind` (one of `log::verify::KINDS`), `path`
//! (from the directory on), `position` (byte in the file, or null), `topic`, `partition` and `offset` (or null), `what` and
//! `remedy` (each one line).

use crate::base::record::records;
use crate::base::{Offset, PartitionKey, RecordBatch};
use crate::catalog::{CATALOG_KEY, Catalog, Record};
use crate::cli::exit::{Exit, Failure};
use crate::cli::offline::{boot, claim, name_of, repair_command};
use crate::cli::print::{Output, bytes_text, emit, json, table};
use crate::log::verify::{Finding, Kind, Remedy, Report, Severity, Watch, verify};
use crate::ops::node;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What lies at the top of a data directory.
const TOP_LEVEL: &[&str] = &["node", "lock", "topics", "journal", "repaired"];

/// The flags of `verify`.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug)]
#[command(
    after_help = "Ends in 0 if nothing is wrong, in 1 if something is. What a crash leaves and the next start tidies up by \
                  itself, such as a torn tail, is noted and is nothing wrong."
)]
pub struct VerifyArgs {
    /// The data directory; no broker may serve it meanwhile
    #[arg(value_name = "DIR")]
    pub data: PathBuf,
}

/// What was read, and the catalog as far as it could be.
pub struct Verified {
    /// All findings.
    pub report: Report,
    /// The topics, if their records are whole.
    pub catalog: Option<Catalog>,
}

/// Verifies and prints.
pub fn run(args: &VerifyArgs, output: Output) -> Result<(), Failure> {
    let _lock = claim(&args.data)?;
    let found = look(&args.data, None)?;
    emit(&print(&args.data, &found, output))?;
    let (damage, harmless) = (
        found.report.count(Severity::Damage),
        found.report.count(Severity::Harmless),
    );
    if damage + harmless == 0 {
        return Ok(());
    }
    let line = format!(
        "{}: {damage} findings of damage, {harmless} harmless ones; see what each says is to be done",
        args.data.display()
    );
    Err(Failure::new(Exit::Failed, line))
}

/// Reads the directory, whose lock the caller has; of partitions, with `only`, that one alone.
pub fn look(data: &Path, only: Option<PartitionKey>) -> Result<Verified, Failure> {
    let (node, refused) = match node::read(data) {
        Ok(node) => (node, None),
        Err(error) => (None, Some(error)),
    };
    let bar = progress(segment_bytes(&data.join("topics")));
    let (dir, shown) = (data.to_path_buf(), bar.clone());
    let read = boot(move |io| {
        let (dir, mut reader) = (dir.clone(), Reader::new(shown.clone()));
        async move {
            let report = verify(&io, &dir, node, only, &mut reader).await;
            report.map(|report| (report, reader))
        }
    })?;
    bar.finish_and_clear();
    let (mut report, reader) = read.map_err(|error| Failure::new(Exit::Io, error.to_string()))?;
    if let Some(error) = refused {
        let finding = finding(Kind::NodeFile, "node", error.to_string(), Remedy::Restore);
        report.findings.insert(0, finding);
    }
    unknown_at_the_top(data, &mut report);
    let catalog = hold_against_the_catalog(reader, &mut report);
    Ok(Verified { report, catalog })
}

fn finding(kind: Kind, path: impl Into<PathBuf>, what: String, remedy: Remedy) -> Finding {
    Finding {
        kind,
        path: path.into(),
        position: None,
        partition: None,
        offset: None,
        what,
        remedy,
    }
}

fn unknown_at_the_top(data: &Path, report: &mut Report) {
    let names = std::fs::read_dir(data).into_iter().flatten().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        if !TOP_LEVEL.iter().any(|known| *known == name) {
            let what = "nothing that millrace writes".to_owned();
            let found = finding(Kind::UnknownFile, name, what, Remedy::Look);
            report.findings.push(found);
        }
    }
}

/// Compares the partitions on disk with those that the catalog knows. `None`: it cannot be trusted.
fn hold_against_the_catalog(reader: Reader, report: &mut Report) -> Option<Catalog> {
    let is_stored = report.partitions.contains(&CATALOG_KEY);
    let problem = match (reader.error, is_stored) {
        (Some(error), _) => Some(error),
        (None, false) if !report.partitions.is_empty() => {
            Some("there are partitions and no catalog: an empty one would hide them".to_owned())
        }
        _ => None,
    };
    let path = |key: PartitionKey| PathBuf::from(format!("topics/{}/{}", key.topic, key.partition));
    if let Some(what) = problem {
        let mut found = finding(Kind::Catalog, path(CATALOG_KEY), what, Remedy::Repair(None));
        (found.partition, found.offset) = (Some(CATALOG_KEY), Some(reader.next));
        report.findings.push(found);
        return None;
    }
    let catalog = reader.catalog;
    let others = report.partitions.iter();
    for key in others.filter(|key| !key.topic.is_own()) {
        let (kind, what, remedy) = match (catalog.is_deleted(key.topic), is_known(&catalog, *key)) {
            (true, _) => (
                Kind::Deleted,
                "its topic or queue was deleted; the next start removes it",
                Remedy::None,
            ),
            (_, false) => (
                Kind::UnknownPartition,
                "no topic or queue of the catalog has it: kept, not served",
                Remedy::Look,
            ),
            _ => continue,
        };
        let mut found = finding(kind, path(*key), what.to_owned(), remedy);
        found.partition = Some(*key);
        report.findings.push(found);
    }
    for topic in catalog.topics() {
        for number in 0..topic.partitions {
            let key = PartitionKey::new(topic.id, crate::base::PartitionNo(number));
            if !report.partitions.contains(&key) {
                let what = "its topic was being made; the next start makes it".to_owned();
                let mut found = finding(Kind::MissingPartition, path(key), what, Remedy::None);
                found.partition = Some(key);
                report.findings.push(found);
            }
        }
    }
    Some(catalog)
}

/// Whether it belongs to a topic, or is where a queue keeps its ledger.
fn is_known(catalog: &Catalog, key: PartitionKey) -> bool {
    catalog.has_partition(key) || catalog.has_ledger(key)
}

/// Makes the catalog from its batches, and shows how far the reading is.
struct Reader {
    catalog: Catalog,
    next: Offset,
    error: Option<String>,
    bar: ProgressBar,
}

impl Reader {
    fn new(bar: ProgressBar) -> Self {
        Self {
            catalog: Catalog::new(),
            next: Offset(0),
            error: None,
            bar,
        }
    }

    fn apply(&mut self, batch: &RecordBatch<'_>) -> Result<(), String> {
        let at = batch.base_offset();
        if at != self.next {
            return Err(format!("records {} to {at} are missing", self.next));
        }
        let fail = |error: &dyn std::fmt::Display| format!("at offset {at}: {error}");
        batch.check().map_err(|error| fail(&error))?;
        for record in records(batch) {
            let record = record.map_err(|error| fail(&error))?;
            let value = record
                .value
                .ok_or_else(|| fail(&"a record without value"))?;
            let record = Record::decode(value).map_err(|error| fail(&error))?;
            self.catalog.apply(&record).map_err(|error| fail(&error))?;
        }
        self.next = batch.next_offset();
        Ok(())
    }
}

impl Watch for Reader {
    fn batch(&mut self, key: PartitionKey, batch: &RecordBatch<'_>) {
        if key == CATALOG_KEY && self.error.is_none() {
            self.error = self.apply(batch).err();
        }
    }

    fn read(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:24} {bytes} of {total_bytes}, {eta}")
        .expect("the template above is valid");
    ProgressBar::new(bytes).with_style(style)
}

/// The bytes of all files below `dir`.
fn segment_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => segment_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[derive(Serialize)]
struct Row {
    severity: &'static str,
    kind: &'static str,
    path: String,
    position: Option<u64>,
    topic: Option<String>,
    partition: Option<u32>,
    offset: Option<u64>,
    what: String,
    remedy: String,
}

#[derive(Serialize)]
struct Document {
    data: String,
    clean: bool,
    damage: usize,
    harmless: usize,
    notes: usize,
    partitions: usize,
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    journal_entries: u64,
    findings: Vec<Row>,
}

/// What was found, for people or for programs.
pub fn print(data: &Path, found: &Verified, output: Output) -> String {
    let rows = found.report.findings.iter();
    let rows: Vec<Row> = rows.map(|finding| row(data, found, finding)).collect();
    match output {
        Output::Json => json(&document(data, &found.report, rows)),
        Output::Table => text(data, &found.report, &rows),
    }
}

fn document(data: &Path, report: &Report, findings: Vec<Row>) -> Document {
    let (damage, harmless) = (
        report.count(Severity::Damage),
        report.count(Severity::Harmless),
    );
    Document {
        data: data.display().to_string(),
        clean: damage + harmless == 0,
        damage,
        harmless,
        notes: report.count(Severity::Note),
        partitions: report.partitions.len(),
        segments: report.segments,
        batches: report.batches,
        records: report.records,
        bytes: report.bytes,
        journal_entries: report.journal_entries,
        findings,
    }
}

fn row(data: &Path, found: &Verified, finding: &Finding) -> Row {
    let name = finding
        .partition
        .map(|key| name_of(found.catalog.as_ref(), key));
    let topic = name.as_deref().and_then(|name| name.rsplit_once('/'));
    Row {
        severity: match finding.kind.severity() {
            Severity::Damage => "damage",
            Severity::Harmless => "harmless",
            Severity::Note => "note",
        },
        kind: finding.kind.name(),
        path: finding.path.display().to_string(),
        position: finding.position,
        topic: topic.map(|(topic, _)| topic.to_owned()),
        partition: finding.partition.map(|key| key.partition.0),
        offset: finding.offset.map(|offset| offset.0),
        what: finding.what.clone(),
        remedy: remedy(data, name.as_deref(), &finding.remedy),
    }
}

fn remedy(data: &Path, partition: Option<&str>, remedy: &Remedy) -> String {
    match remedy {
        Remedy::None => "nothing".to_owned(),
        Remedy::Repair(cut_at) => {
            let command = repair_command(data, partition.unwrap_or("TOPIC/P"));
            match cut_at {
                Some(offset) => format!("{command} --accept-loss (or --cut-at {offset})"),
                None => format!("{command} --accept-loss"),
            }
        }
        Remedy::Restore => "put it back from a copy".to_owned(),
        Remedy::Remove => "remove the file while no broker runs: it is not needed".to_owned(),
        Remedy::Look => "look at it: only a person can tell".to_owned(),
    }
}

fn text(data: &Path, report: &Report, rows: &[Row]) -> String {
    let mut out = format!(
        "{}: {} partitions, {} segments, {} batches, {} records, {}, {} journal entries are sound\n",
        data.display(),
        report.partitions.len(),
        report.segments,
        report.batches,
        report.records,
        bytes_text(report.bytes),
        report.journal_entries
    );
    if rows.is_empty() {
        return out + "nothing is wrong\n";
    }
    let number = |number: Option<u64>| number.map_or(String::new(), |n| n.to_string());
    let cells = |row: &Row| {
        let partition = row.topic.as_ref().zip(row.partition);
        vec![
            row.severity.to_owned(),
            row.kind.to_owned(),
            partition.map_or(String::new(), |(topic, number)| format!("{topic}/{number}")),
            number(row.offset),
            row.path.clone(),
            number(row.position),
            row.what.clone(),
        ]
    };
    let header = [
        "SEVERITY",
        "KIND",
        "PARTITION",
        "OFFSET",
        "FILE",
        "AT",
        "WHAT",
    ];
    let cells: Vec<_> = rows.iter().map(cells).collect();
    out += &table(&header, &[3, 5], &cells);
    let mut told: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.severity != "note") {
        if !told.contains(&row.remedy.as_str()) {
            told.push(&row.remedy);
            out += &format!("to do, {}: {}\n", row.kind, row.remedy);
        }
    }
    out
}
