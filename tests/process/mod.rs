//! A broker as a process of its own: the binary under test, what it says, and an end that leaves nothing behind.

use millrace::client::backoff::BackoffOptions;
use millrace::client::blocking::{Client, ClientOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a start or a clean stop may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// A data directory, removed at the end of the test. Below `target`, because `/tmp` may be in memory.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The value of `--cores` for the first `count` CPUs that this process may use; for more than there are, all of them.
pub(crate) fn cpus(count: usize) -> String {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    let cpus = (0..1_024).filter(|cpu| allowed.is_set(*cpu)).take(count);
    cpus.map(|cpu| cpu.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// A running broker. Killed when dropped.
pub(crate) struct Broker {
    child: Child,
    out: Ear,
    err: Ear,
}

/// What a broker said until its end.
#[derive(Debug)]
#[allow(dead_code, reason = "each test asks for what it is about")]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Broker {
    /// Starts the binary and does not wait for it.
    #[allow(dead_code, reason = "some tests start it with flags of their own")]
    pub(crate) fn spawn(data: &Path, cores: &str) -> Self {
        Self::spawn_with(data, cores, &[])
    }

    /// Starts the binary with further flags and does not wait for it.
    pub(crate) fn spawn_with(data: &Path, cores: &str, flags: &[&str]) -> Self {
        // Brokers of tests that run at a time would all want port 9092.
        let no_kafka: &[&str] = match flags.contains(&"--kafka") {
            true => &[],
            false => &["--kafka", "off"],
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["serve", "--listen", "127.0.0.1:0", "--cores", cores])
            .args(no_kafka)
            .args(flags)
            .arg("--data")
            .arg(data)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = Ear::listen(child.stdout.take().unwrap());
        let err = Ear::listen(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Starts the binary and waits until it serves.
    #[allow(dead_code, reason = "some tests start it with flags of their own")]
    pub(crate) fn start(data: &Path, cores: &str) -> Self {
        Self::spawn(data, cores)
            .serving()
            .unwrap_or_else(|said| panic!("no start: {said:?}"))
    }

    /// Waits until it serves, or else tells what it said.
    pub(crate) fn serving(mut self) -> Result<Self, Said> {
        let until = Instant::now() + PATIENCE;
        while !self.out.said().contains("\nrecovered ") {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                return Err(self.kill());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self)
    }

    /// Where its cores listen, core 0 first.
    #[allow(dead_code, reason = "some tests speak Kafka only")]
    pub(crate) fn addresses(&self) -> Vec<String> {
        let text = self.out.said();
        let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
        lines
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect()
    }

    /// Where its cores listen for Kafka clients, as they are told it.
    #[allow(dead_code, reason = "only some tests speak Kafka")]
    pub(crate) fn kafka(&self) -> Vec<String> {
        let text = self.out.said();
        let mut lines = text.lines();
        let told = lines.find_map(|line| line.strip_prefix("Kafka clients: "));
        told.map(|told| told.split(", ").map(str::to_owned).collect())
            .unwrap_or_default()
    }

    #[allow(dead_code, reason = "not every test looks at the process")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client that tries again for ever.
    #[allow(dead_code, reason = "some tests have clients of their own")]
    pub(crate) fn client(&self) -> Client {
        let options = ClientOptions {
            backoff: BackoffOptions {
                tries: 0,
                ..BackoffOptions::default()
            },
            ..ClientOptions::default()
        };
        Client::connect(self.addresses(), options).unwrap()
    }

    /// Whether the process still runs.
    #[allow(dead_code, reason = "not every test looks at the process")]
    pub(crate) fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> Said {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.said()
    }

    /// SIGTERM, and waits for the end.
    #[allow(dead_code, reason = "some tests only kill it")]
    pub(crate) fn stop(mut self) -> (ExitStatus, Said) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.said());
            }
            assert!(Instant::now() < until, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn said(&mut self) -> Said {
        Said {
            out: self.out.end(),
            err: self.err.end(),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes in what comes out of a pipe, so that the other side never waits.
struct Ear {
    text: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    fn listen(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                let piece = String::from_utf8_lossy(&bytes[..count]);
                heard.lock().unwrap().push_str(&piece);
            }
        });
        Self {
            text,
            thread: Some(thread),
        }
    }

    fn said(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn end(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.said()
    }
}
