//! A world for each worker of a campaign: this test again, as process 1 of namespaces of its own, so that it may mount
//! what it likes and tell its brokers another boot id.
//!
//! Whatever ends a worker, the kernel kills its processes, takes down its mounts, and with them the loop device. Only
//! empty directories can stay behind; the next run removes them, by their name.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Set in a worker: `number:of:directory`.
const VARIABLE: &str = "MILLRACE_POWERCUT_WORKER";
/// What directories of ours begin with; a number of the process that made them follows.
const PREFIX: &str = "powercut-";
/// Lines of a worker that are read by the one who started it.
const COUNT: &str = "count: ";
const FAILURE: &str = "failure: ";

/// Which worker this is.
pub(crate) struct Worker {
    pub(crate) number: u64,
    pub(crate) of: u64,
    pub(crate) directory: PathBuf,
}

impl Worker {
    /// This worker's share of `whole`.
    pub(crate) fn share(&self, whole: u64) -> u64 {
        whole / self.of + u64::from(self.number < whole % self.of)
    }
}

/// What was counted, by name, and what went wrong.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) failures: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, name: &str, count: u64) {
        *self.counts.entry(name.to_owned()).or_default() += count;
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Notes what went wrong with one state; the text is one line.
    pub(crate) fn fail(&mut self, text: &str) {
        self.failures.push(text.replace('\n', " | "));
    }

    fn print(&self) {
        for (name, count) in &self.counts {
            println!("{COUNT}{name} {count}");
        }
        for failure in &self.failures {
            println!("{FAILURE}{failure}");
        }
    }

    fn read(&mut self, line: &str) {
        if let Some(failure) = line.strip_prefix(FAILURE) {
            self.failures.push(failure.to_owned());
        } else if let Some(count) = line.strip_prefix(COUNT) {
            let (name, count) = count.rsplit_once(' ').expect("a name and a count");
            self.add(name, count.parse().expect("a count"));
        }
    }
}

/// Why no worker can be had here, if so.
pub(crate) fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root, for mounts".to_owned());
    }
    for path in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(path).exists() {
            return Some(format!("there is no {path}"));
        }
    }
    for program in ["unshare", "losetup"].iter().chain(programs) {
        let found = Command::new(program).arg("--version").output();
        let found = found.or_else(|_| Command::new(program).arg("-V").output());
        if found.is_err() {
            return Some(format!("there is no {program}"));
        }
    }
    None
}

/// Runs `job` in `workers` worlds and adds up what they counted. `test` is the name of the test that calls.
pub(crate) fn run(test: &str, workers: u64, job: impl Fn(&Worker) -> Tally) -> Option<Tally> {
    if let Ok(place) = std::env::var(VARIABLE) {
        let worker = arrive(&place);
        job(&worker).print();
        return None;
    }
    remove_leftovers();
    let root = root().join(format!("{PREFIX}{}", std::process::id()));
    let root = Removed(root.join(test));
    let children: Vec<Child> = (0..workers)
        .map(|number| spawn(test, number, workers, &root.0))
        .collect();
    let mut tally = Tally::default();
    // Read at the same time: a worker whose pipe is full waits.
    let readers: Vec<_> = children
        .into_iter()
        .map(|child| std::thread::spawn(move || read(child)))
        .collect();
    for reader in readers {
        for line in reader.join().expect("it panics only with its worker") {
            tally.read(&line);
        }
    }
    Some(tally)
}

fn spawn(test: &str, number: u64, of: u64, root: &Path) -> Child {
    let directory = root.join(number.to_string());
    std::fs::create_dir_all(&directory).expect("target/tmp is writable");
    let program = std::env::current_exe().expect("it runs");
    let place = format!("{number}:{of}:{}", directory.display());
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "--"])
        .arg(program)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(VARIABLE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare was there a moment ago")
}

/// All that a worker says; panics if it failed.
fn read(mut child: Child) -> Vec<String> {
    let out = child.stdout.take().expect("it is a pipe");
    let mut lines = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line.expect("text");
        if !line.starts_with(COUNT) && !line.starts_with(FAILURE) && !line.is_empty() {
            println!("  worker: {line}");
        }
        lines.push(line);
    }
    let status = child.wait().expect("it is ours");
    assert!(status.success(), "a worker failed: {status}");
    lines
}

/// In a worker: ends it when the one who started it is gone, and lets it write its boot id.
fn arrive(place: &str) -> Worker {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(3);
    });
    let parts: Vec<&str> = place.splitn(3, ':').collect();
    let worker = Worker {
        number: parts[0].parse().expect("a number"),
        of: parts[1].parse().expect("a number"),
        directory: PathBuf::from(parts[2]),
    };
    let boot_id = worker.directory.join("boot-id");
    std::fs::write(&boot_id, "").expect("writable");
    rustix::mount::mount_bind(&boot_id, "/proc/sys/kernel/random/boot_id").expect("we are root");
    worker
}

/// A power cut gives the machine another boot id. `random` makes it one that nobody had.
pub(crate) fn boot(worker: &Worker, random: u128) {
    let hex = format!("{random:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]);
    let text = format!("{}\n", parts.join("-"));
    std::fs::write(worker.directory.join("boot-id"), &text).expect("writable");
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("it is mounted");
    assert_eq!(read, text, "brokers must see the boot id");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Directories of runs whose process is gone.
fn remove_leftovers() {
    for entry in std::fs::read_dir(root()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A directory that goes at the end, after a panic too.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        if let Some(above) = self.0.parent() {
            let _ = std::fs::remove_dir(above);
        }
    }
}
