//! Processes of the binary: started with their output in files, waited for with a bound, ended by their id.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Far above what anything here takes, even on a busy machine: only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory on the disk of the build, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("broker-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("the build's directory is writable");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("writable");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a process ended and what it said.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Done {
    /// The output of a process that did what it was asked for.
    pub(crate) fn good(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    pub(crate) fn text(self) -> String {
        String::from_utf8(self.good()).expect("UTF-8")
    }

    pub(crate) fn json(self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// A process that refused, in one line.
    pub(crate) fn refused(&self, code: i32, part: &str) {
        assert_eq!(self.code, Some(code), "{}", self.err);
        assert!(self.err.contains(part), "{part:?} in {}", self.err);
        assert_eq!(self.err.lines().count(), 1, "{}", self.err);
        assert!(self.out.is_empty());
    }
}

/// A process that runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    output: Folder,
}

impl Running {
    /// Without input.
    pub(crate) fn start(arguments: &[impl AsRef<OsStr>], variable: (&str, &str)) -> Self {
        Self::start_with(arguments, variable, Stdio::null())
    }

    fn start_with(
        arguments: &[impl AsRef<OsStr>],
        variable: (&str, &str),
        input: impl Into<Stdio>,
    ) -> Self {
        let output = Folder::new();
        let file = |name: &str| File::create(output.path().join(name)).expect("writable");
        let child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(arguments)
            .env_remove("MILLRACE_SERVER")
            .env(variable.0, variable.1)
            .stdin(input)
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .expect("the binary runs");
        Self { child, output }
    }

    pub(crate) fn out(&self) -> Vec<u8> {
        fs::read(self.output.path().join("out")).expect("readable")
    }

    pub(crate) fn err(&self) -> String {
        let bytes = fs::read(self.output.path().join("err")).expect("readable");
        String::from_utf8(bytes).expect("UTF-8")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).expect("our own child, not yet waited for");
    }

    /// Looks again and again until `found` says so.
    pub(crate) fn until(&mut self, what: &str, found: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !found(self) {
            let ended = self.child.try_wait().expect("our own child");
            let late = began.elapsed() > PATIENCE;
            // What it wrote last may have come between the two looks.
            if (ended.is_some() && !found(self)) || late {
                panic!("no {what}, ended: {ended:?}, {}", self.err());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Done {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                let (code, out, err) = (status.code(), self.out(), self.err());
                return Done { code, out, err };
            }
            assert!(began.elapsed() < PATIENCE, "hangs: {}", self.err());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker that serves.
pub(crate) struct Broker {
    running: Running,
    /// `host:port` of each core.
    pub(crate) servers: Vec<String>,
    /// What it said when it began to serve.
    pub(crate) told: String,
}

impl Broker {
    /// On so many cores, or as many as there are CPUs.
    pub(crate) fn start(data: &Path, cores: usize) -> Self {
        let cpus: Vec<String> = cpus().iter().take(cores).map(usize::to_string).collect();
        Self::start_with(data, &["--cores", &cpus.join(",")])
    }

    fn start_with(data: &Path, flags: &[&str]) -> Self {
        let data = data.to_str().expect("UTF-8");
        let serve = ["serve", "--data", data, "--listen", "127.0.0.1:0"];
        let serve = [&serve[..], &["--kafka", "off"]].concat();
        let mut running = Running::start(&[&serve, flags].concat(), ("NO_COLOR", "1"));
        let told = |running: &Running| String::from_utf8(running.out()).expect("UTF-8");
        running.until("broker that serves", |running| {
            told(running).contains("clean stop)\n")
        });
        let told = told(&running);
        let address = |line: &str| {
            let (address, _) = line.trim_start().split_once(" (core ")?;
            Some(address.to_owned())
        };
        Self {
            servers: told.lines().filter_map(address).collect(),
            running,
            told,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Starts a command that talks to core 0.
    pub(crate) fn spawn(&self, arguments: &[&str], input: impl Into<Stdio>) -> Running {
        let variable = ("MILLRACE_SERVER", self.servers[0].as_str());
        Running::start_with(arguments, variable, input)
    }

    /// Runs a command that talks to core 0.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.spawn(arguments, Stdio::null()).finish()
    }

    /// The same, with this on its standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Done {
        let folder = Folder::new();
        let file = File::open(folder.file("in", input)).expect("just written");
        self.spawn(arguments, file).finish()
    }

    pub(crate) fn produce(&self, topic: &str, input: &[u8], flags: &[&str]) {
        let arguments = [&["produce", topic], flags].concat();
        self.run_with(&arguments, input).good();
    }

    pub(crate) fn consume(&self, topic: &str, flags: &[&str]) -> Vec<u8> {
        let arguments = [&["consume", topic, "--exit-at-end"], flags].concat();
        self.run(&arguments).good()
    }

    /// Asks it to stop, and holds it to that.
    pub(crate) fn stop(self) {
        self.running.signal(Signal::TERM);
        let done = self.running.finish();
        assert_eq!(done.code, Some(0), "{}", done.err);
        assert!(done.err.ends_with("stopped cleanly\n"), "{}", done.err);
    }

    /// Gives it no chance.
    pub(crate) fn kill(self) {
        self.running.signal(Signal::KILL);
        assert_eq!(self.running.finish().code, None);
    }
}

/// Runs a command that needs no broker.
pub(crate) fn run(arguments: &[&str]) -> Done {
    Running::start(arguments, ("NO_COLOR", "1")).finish()
}

/// The CPUs that this process, and so a broker, may run on.
pub(crate) fn cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).expect("our own");
    (0..1024).filter(|cpu| set.is_set(*cpu)).collect()
}
