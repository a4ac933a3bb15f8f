//! Goal: the test suites that others wrote for Kafka's brokers pass against ours, as far as they ask for what we have. Method:
//! each is got from its registry, as its authors published it, and pointed at the real binary. `tests/clients/suites/NAME.allow`
//! has the tests that must pass, and only grows; `NAME.left-out` has every other one, with the reason. A test that fails, is
//! skipped, or is on neither list fails here. What cannot be had is said and skipped.
//!
//! All that .ci/run runs:             cargo test --test suites -- --ignored --nocapture
//! Those too that are marked slow:    MILLRACE_SUITES_SLOW=1 ...              (they take long, or want a quiet machine)
//! Those that are left out:           MILLRACE_SUITES_LEFT_OUT=1 ...          (what becomes of each is told, and judged by nobody)
//! Some tests, listed or not:         MILLRACE_SUITES_ONLY=TEST,TEST ...
//! Their logs:                        target/tmp/suites/NAME/run/
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod process;

use process::{Broker, Directory, cpus};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A suite: the name of its script and its lists, and the brokers that it wants.
struct Suite {
    name: &'static str,
    /// Flags of each broker; its address goes to the script in this order.
    brokers: &'static [&'static [&'static str]],
}

/// Its second broker is all that clients see of a cluster.
const KAFKA_PYTHON: Suite = Suite {
    name: "kafka-python",
    brokers: &[&["--kafka-partitions", "4"], &["--kafka-single-port"]],
};

/// Its scenarios: topics are made by asking, and are not.
const LIBRDKAFKA: Suite = Suite {
    name: "librdkafka",
    brokers: &[
        &["--kafka-partitions", "4"],
        &["--kafka-partitions", "4", "--kafka-no-auto-create"],
    ],
};

const FRANZ_GO: Suite = Suite {
    name: "franz-go",
    brokers: &[&["--kafka-partitions", "4"]],
};

#[test]
#[ignore = "installs a suite from package registries; see the head of this file"]
fn kafka_pythons_integration_tests() {
    pass(&KAFKA_PYTHON);
}

#[test]
#[ignore = "installs a suite from package registries; see the head of this file"]
fn librdkafkas_tests() {
    pass(&LIBRDKAFKA);
}

#[test]
#[ignore = "installs a suite from package registries; see the head of this file"]
fn franz_gos_tests() {
    pass(&FRANZ_GO);
}

/// What is said of the tests of a suite.
#[derive(Debug, Default)]
struct Lists {
    /// Must pass; true: it takes long.
    allowed: BTreeMap<String, bool>,
    /// Is left out, and why.
    left_out: BTreeMap<String, String>,
}

impl Lists {
    /// Reads both files: a test a line, behind it `slow`, or the reason; `#` begins a remark.
    fn parse(allow: &str, left_out: &str) -> Result<Self, String> {
        let mut lists = Self::default();
        for (test, rest) in rows(allow) {
            if !matches!(rest, "" | "slow") {
                return Err(format!("{test}: {rest:?} behind it, and not \"slow\""));
            }
            if lists
                .allowed
                .insert(test.to_owned(), rest == "slow")
                .is_some()
            {
                return Err(format!("{test} is listed twice"));
            }
        }
        for (test, reason) in rows(left_out) {
            if reason.is_empty() {
                return Err(format!("{test} is left out without a reason"));
            }
            let is_twice = lists.allowed.contains_key(test);
            let before = lists.left_out.insert(test.to_owned(), reason.to_owned());
            if is_twice || before.is_some() {
                return Err(format!("{test} is listed twice"));
            }
        }
        Ok(lists)
    }

    /// What is wrong with the lists, where a suite has these tests.
    fn against(&self, tests: &BTreeSet<String>) -> Vec<String> {
        let listed =
            |test: &&String| self.allowed.contains_key(*test) || self.left_out.contains_key(*test);
        let forgotten = tests.iter().filter(|test| !listed(test));
        let forgotten = forgotten.map(|test| format!("{test} is on neither list"));
        let mut all = self.allowed.keys().chain(self.left_out.keys());
        let gone = all.by_ref().filter(|test| !tests.contains(*test));
        let gone = gone.map(|test| format!("{test} is listed, and not there"));
        forgotten.chain(gone).collect()
    }
}

fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| match line.split_once(char::is_whitespace) {
        Some((test, rest)) => (test, rest.trim()),
        None => (line, ""),
    })
}

/// The tests that were to pass and did not, and what became of them: `told` is what the script said, a line a test.
fn not_passed(asked: &[String], told: &str) -> Vec<(String, String)> {
    let outcomes: BTreeMap<&str, &str> = rows(told).map(|(how, test)| (test, how)).collect();
    let missed = asked.iter().filter_map(|test| {
        let how = outcomes.get(test.as_str()).copied();
        let how = how.unwrap_or("not told of");
        (how != "passed").then(|| (test.clone(), how.to_owned()))
    });
    missed.collect()
}

fn lists(suite: &Suite) -> Lists {
    let read = |kind: &str| {
        let path = folder().join(format!("{}.{kind}", suite.name));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
    };
    let lists = Lists::parse(&read("allow"), &read("left-out"));
    lists.unwrap_or_else(|wrong| panic!("{}: {wrong}", suite.name))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/suites")
}

/// Runs a verb of a suite's script: what it says, or why it failed.
fn script(suite: &Suite, verb: &str, arguments: &[String]) -> Result<String, String> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("suites");
    let mut script = Command::new("bash");
    script.arg(folder().join(format!("{}.sh", suite.name)));
    script.arg(verb).arg(cache.join(suite.name)).args(arguments);
    let done = script.output().map_err(|error| error.to_string())?;
    let error = String::from_utf8_lossy(&done.stderr);
    match done.status.success() {
        true => Ok(String::from_utf8(done.stdout).unwrap()),
        false => Err(format!("{} {verb}: {error}", suite.name)),
    }
}

fn pass(suite: &Suite) {
    let name = suite.name;
    if let Err(reason) = script(suite, "install", &[]) {
        println!("SKIPPED: {name}, which cannot be had here: {reason}");
        return;
    }
    let tests = script(suite, "list", &[]).unwrap();
    let tests: BTreeSet<String> = tests.lines().map(str::to_owned).collect();
    assert!(!tests.is_empty(), "{name} has no tests");
    let lists = lists(suite);
    let wrong = lists.against(&tests);
    assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
    let is_set = |variable| std::env::var_os(variable).is_some();
    let asked: Vec<String> = match std::env::var("MILLRACE_SUITES_ONLY") {
        Ok(only) => only
            .split(',')
            .map(str::to_owned)
            .filter(|test| tests.contains(test))
            .collect(),
        Err(_) if is_set("MILLRACE_SUITES_LEFT_OUT") => lists.left_out.keys().cloned().collect(),
        Err(_) => {
            let with_slow = is_set("MILLRACE_SUITES_SLOW");
            let fast = lists
                .allowed
                .iter()
                .filter(|(_, slow)| with_slow || !**slow);
            fast.map(|(test, _)| test.clone()).collect()
        }
    };
    if asked.is_empty() {
        return;
    }
    let told = run(suite, &asked);
    let missed = not_passed(&asked, &told);
    let (passed, all, left_out) = (
        asked.len() - missed.len(),
        tests.len(),
        lists.left_out.len(),
    );
    let count = asked.len();
    println!(
        "{name}: {passed} of {count} that ran pass; it has {all}, {left_out} of them left out"
    );
    if is_set("MILLRACE_SUITES_LEFT_OUT") {
        println!("{told}");
        return;
    }
    again(suite, missed);
}

/// These suites were written for machines of their own, and some of their tests for luck: what did not pass may try again,
/// with less beside it.
fn again(suite: &Suite, missed: Vec<(String, String)>) {
    if missed.is_empty() {
        return;
    }
    println!("{}: once more: {missed:?}", suite.name);
    let asked: Vec<String> = missed.into_iter().map(|(test, _)| test).collect();
    let missed = not_passed(&asked, &run(suite, &asked));
    assert!(missed.is_empty(), "{}: {missed:#?}", suite.name);
}

/// Runs tests against brokers of their own: what the script tells of each.
fn run(suite: &Suite, asked: &[String]) -> String {
    let data = Directory::new(&format!("suite-{}", suite.name));
    let mut brokers = Vec::new();
    for (number, flags) in suite.brokers.iter().enumerate() {
        let path = data.path().join(number.to_string());
        let flags = [&["--kafka", "127.0.0.1:0"], *flags].concat();
        let broker = Broker::spawn_with(&path, &cpus(2), &flags);
        brokers.push(broker.serving().unwrap_or_else(|said| panic!("{said:?}")));
    }
    let addresses = brokers.iter().map(|broker| broker.kafka().join(","));
    let arguments: Vec<String> = addresses.chain(asked.iter().cloned()).collect();
    let told = script(suite, "run", &arguments).unwrap();
    for broker in brokers {
        let (status, said) = broker.stop();
        assert!(
            status.success(),
            "{}: a broker ended badly: {said:?}",
            suite.name
        );
    }
    told
}

#[test]
fn lists_are_held_against_what_a_suite_has() {
    let lists = Lists::parse("# a remark\na\nb slow\n", "c  needs TLS\n\n").unwrap();
    let named = |tests: &[&str]| tests.iter().map(|test| (*test).to_owned()).collect();
    assert_eq!(
        lists.against(&named(&["a", "b", "c"])),
        Vec::<String>::new()
    );
    let wrong = lists.against(&named(&["a", "b", "d"]));
    assert_eq!(
        wrong,
        ["d is on neither list", "c is listed, and not there"]
    );
    assert!(Lists::parse("a\n", "a because\n").is_err(), "on both");
    assert!(Lists::parse("a\na\n", "").is_err(), "twice");
    assert!(Lists::parse("", "a\n").is_err(), "no reason");
    assert!(Lists::parse("a because\n", "").is_err(), "a reason to pass");
}

#[test]
fn what_did_not_pass_is_told() {
    let asked: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
    let told = "passed a\nfailed b\nskipped c\npassed e\n";
    let missed = not_passed(&asked, told);
    let missed: Vec<(&str, &str)> = missed.iter().map(|(test, how)| (&**test, &**how)).collect();
    assert_eq!(
        missed,
        [("b", "failed"), ("c", "skipped"), ("d", "not told of")]
    );
}
