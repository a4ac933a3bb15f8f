//! Goal: the command line answers people and scripts as its help says. Method: run the binary without any broker; look
//! at both outputs and the exit code.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn millrace(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command
        .args(arguments)
        .env_remove("MILLRACE_SERVER")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = millrace(arguments).output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let code = status.code().expect("no signal ended it");
    (code, text(stdout), text(stderr))
}

#[test]
fn help_names_commands_flags_and_exit_codes_on_stdout() {
    let (code, out, err) = run(&["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for part in [
        "demo",
        "topic",
        "produce",
        "consume",
        "version",
        "--server <HOST:PORT>",
        "MILLRACE_SERVER",
        "127.0.0.1:7420",
        "--output",
        "Exit codes:\n    0  done\n    1  failed",
        "\n   78  this machine",
    ] {
        assert!(out.contains(part), "{part:?} in\n{out}");
    }
}

#[test]
fn version_prints_for_people_and_programs() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        run(&["version"]),
        (0, format!("millrace {version}\n"), String::new())
    );
    let json = format!("{{\"name\":\"millrace\",\"version\":\"{version}\"}}\n");
    assert_eq!(run(&["version", "-o", "json"]), (0, json, String::new()));
}

#[test]
fn what_is_not_understood_ends_in_2_with_the_cause_on_stderr() {
    for (arguments, cause) in [
        (&[][..], "Usage: millrace"),
        (&["fly"], "unrecognized subcommand 'fly'"),
        (&["version", "--server", "nowhere"], "is no HOST:PORT"),
        (&["version", "-o", "xml"], "invalid value 'xml'"),
        (&["topic"], "Usage: millrace topic"),
        (&["topic", "create"], "<NAME>"),
        (
            &["topic", "create", "x", "--ack", "none"],
            "a topic is written or synced",
        ),
        (
            &["topic", "create", "x", "--segment-bytes", "1T"],
            "no size",
        ),
        (
            &["produce", "x", "--batch-bytes", "0"],
            "a batch has 1 to 8388608 bytes",
        ),
        (
            &["produce", "x", "--key-delimiter", "ab"],
            "is not one byte",
        ),
        (&["produce", "x", "--ack", "all"], "unknown ack level"),
        (
            &["consume", "x", "--from", "yesterday"],
            "no place to start",
        ),
        (&["consume", "x", "--format", "%q"], "unknown token %q"),
        (&["consume", "x", "-o", "json"], "leave --output away"),
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(cause), "{arguments:?}: {err}");
    }
}

#[test]
fn flags_are_explained_where_they_belong() {
    for (command, flags) in [
        (
            &["produce", "--help"][..],
            &[
                "--partition",
                "--key-delimiter",
                "--ack",
                "--batch-bytes",
                "--linger-ms",
                "-z",
            ][..],
        ),
        (
            &["consume", "--help"],
            &[
                "--from",
                "--count",
                "--exit-at-end",
                "--format",
                "@MILLISECONDS",
            ],
        ),
        (
            &["topic", "create", "--help"],
            &["--partitions", "--ack", "--segment-bytes"],
        ),
    ] {
        let (code, out, err) = run(command);
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
        for flag in flags {
            assert!(out.contains(flag), "{flag} in\n{out}");
        }
    }
}

#[test]
fn a_broker_that_is_not_there_ends_in_69_in_one_line() {
    // A port that was free a moment ago, and that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("bound").to_string();
    drop(listener);
    for command in [
        &["topic", "list"][..],
        &["produce", "logs"],
        &["consume", "logs", "--from", "-5"],
    ] {
        for (flags, variable) in [(&["--server", &server][..], "0:0"), (&[], &server)] {
            let mut command = millrace(command);
            let command = command.args(flags).env("MILLRACE_SERVER", variable);
            let output = command.output().expect("the binary runs");
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(69), "{command:?}: {err}");
            assert!(
                err.starts_with(&format!("error: cannot connect to {server}: ")),
                "{err}"
            );
            assert!(
                err.ends_with("`millrace serve`, or name it with --server\n"),
                "{err}"
            );
            assert_eq!((err.lines().count(), output.stdout.len()), (1, 0), "{err}");
        }
    }
}

#[test]
fn an_output_that_is_full_is_said_in_one_line() {
    let full = OpenOptions::new().write(true).open("/dev/full");
    let full = full.expect("every Linux has /dev/full");
    let output = millrace(&["version"]).stdout(full).output();
    let output = output.expect("the binary runs");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(74), "{err}");
    assert!(
        err.starts_with("error: ") && err.lines().count() == 1,
        "{err}"
    );
}
