//! Goal: what the bench writes is read by those it is written for: a browser opens the page without an error, its curves
//! and cells are those of the JSON, it asks the network for nothing; HdrHistogram's Python port reads the interval log
//! and prints the same percentiles as our `.hgrm`. Method: a made-up report, written to files, then a script each
//! (`report/page.mjs`, `report/logs.py`), with tools that are installed into the build directory on first use. Where a
//! tool cannot be had, the test says which, and passes: the formats are also held by the tests beside their writers.

use millrace::{base, bench};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "../src/bench/output/synthetic.rs"]
mod synthetic;

/// Versions that the scripts were written against.
const PLAYWRIGHT: &str = "playwright-core@1.65.1";
const HDRHISTOGRAM: &str = "hdrhistogram==0.10.8";
/// An install that takes longer is given up.
const INSTALL_SECONDS: &str = "90";
const BROWSERS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// Past the capture of the test runner, which shows nothing of a test that passes.
fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("the build directory is writable");
    dir
}

fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("the build directory is writable");
    path
}

/// Runs a tool; what kept it from starting or made it fail, in one line.
fn run(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|cause| format!("{name}: {cause}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}: {}", output.status, said.trim()))
}

/// Installs once: a mark tells that it was done, so that an install that broke is done again.
fn install(dir: &Path, version: &str, installer: &mut Command) -> Result<(), String> {
    let mark = dir.join("installed");
    if std::fs::read_to_string(&mark).is_ok_and(|text| text == version) {
        return Ok(());
    }
    run(installer)?;
    std::fs::write(mark, version).map_err(|cause| cause.to_string())
}

fn timed(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([INSTALL_SECONDS, program]);
    command
}

fn browser() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Ok(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|dir| BROWSERS.map(|name| dir.join(name)))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "no Chromium in PATH; install it or set CHROMIUM".to_owned())
}

fn browser_tools() -> Result<(PathBuf, PathBuf), String> {
    let browser = browser()?;
    let dir = scratch("report-browser");
    let mut npm = timed("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
    npm.arg(&dir).arg(PLAYWRIGHT);
    install(&dir, PLAYWRIGHT, &mut npm)?;
    Ok((browser, dir))
}

fn python_tools() -> Result<PathBuf, String> {
    let dir = scratch("report-python");
    let mut pip = timed("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"]);
    pip.arg(&dir).arg(HDRHISTOGRAM);
    install(&dir, HDRHISTOGRAM, &mut pip)?;
    Ok(dir)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/report")
        .join(name)
}

#[test]
fn a_browser_shows_the_page_and_its_curves() {
    let (browser, tools) = match browser_tools() {
        Ok(found) => found,
        Err(reason) => return skip(&reason),
    };
    let report = synthetic::report();
    let dir = scratch("report");
    let page = write(&dir, "report.html", bench::output::html::page(&report));
    let json = write(&dir, "report.json", bench::output::json::text(&report));
    let mut node = Command::new("node");
    node.arg(script("page.mjs"));
    node.args([&page, &json, &browser, &tools]).arg(&dir);
    let output = run(&mut node).unwrap_or_else(|error| panic!("{error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("checks passed"), "{said}");
    println!("{said}screenshots in {}", dir.display());
}

#[test]
fn another_reader_of_histograms_agrees() {
    let tools = match python_tools() {
        Ok(found) => found,
        Err(reason) => return skip(&reason),
    };
    let report = synthetic::report();
    let dir = scratch("report-logs");
    let mut log = Vec::new();
    bench::output::interval_log::write(&report, &mut log).expect("memory takes it");
    let log = write(&dir, "report.hlog", log);
    let files = bench::output::hgrm::files(&report);
    for file in &files {
        write(&dir, &file.name, &file.text);
    }
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", tools);
    python.arg(script("logs.py")).arg(&log);
    python.args(files.iter().map(|file| dir.join(&file.name)));
    let output = run(&mut python).unwrap_or_else(|error| panic!("{error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = format!("{} files agree", files.len());
    assert!(said.contains(&expected), "{said}");
}
