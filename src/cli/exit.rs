//! How a command ends: the exit codes, written once, and the one line that says why.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// How the process ends. Numbers from 64 on are those of sysexits.h, which supervisors and scripts know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done.
    Done,
    /// Some of the work was refused, its outcome is unknown, or something was found that should not be.
    Failed,
    /// The command line was not understood.
    Usage,
    /// The broker cannot be reached.
    Unavailable,
    /// A fault inside millrace.
    Internal,
    /// A file or the output could not be read or written.
    Io,
    /// Try again later: overloaded, stopping, disk full.
    Temporary,
    /// The machine or its configuration does not fit.
    Config,
}

/// Every exit with its code and what it means: `--help` prints this table, the README repeats it, a test compares.
pub const EXITS: &[(Exit, u8, &str)] = &[
    (Exit::Done, 0, "done"),
    (
        Exit::Failed,
        1,
        "failed: some of the work was refused, its outcome is unknown, or verify found something",
    ),
    (Exit::Usage, 2, "the command line was not understood"),
    (Exit::Unavailable, 69, "the broker cannot be reached"),
    (Exit::Internal, 70, "a fault inside millrace"),
    (
        Exit::Io,
        74,
        "a file or the output could not be read or written",
    ),
    (
        Exit::Temporary,
        75,
        "temporary: the broker is overloaded, stopping, or its disk is full",
    ),
    (
        Exit::Config,
        78,
        "this machine or its configuration does not fit: the message says what to change",
    ),
];

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        let row = EXITS.iter().find(|(exit, ..)| *exit == self);
        row.expect("a test walks every exit through the table").1
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table as `--help` shows it.
pub fn exit_help() -> String {
    let rows = EXITS
        .iter()
        .map(|(_, code, meaning)| format!("  {code:>3}  {meaning}\n"));
    format!("Exit codes:\n{}", rows.collect::<String>())
}

/// Why a command ends before its time: `cause; remedy` in one line, and the exit that goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// One line for a person.
    pub line: String,
}

impl Failure {
    /// A failure with its line.
    pub fn new(exit: Exit, line: impl Into<String>) -> Self {
        Self {
            exit,
            line: line.into(),
        }
    }

    /// The output could not be written. Someone who closed the pipe has seen enough: no failure at all.
    pub fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::new(Exit::Done, "")
        } else {
            Self::new(
                Exit::Io,
                format!("the output cannot be written: {error}; check where it goes"),
            )
        }
    }
}

impl fmt::Display for Failure {
    /// Control characters would break the one line, or the terminal: they are shown escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.line.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Exit; 8] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Unavailable,
        Exit::Internal,
        Exit::Io,
        Exit::Temporary,
        Exit::Config,
    ];

    #[test]
    fn every_exit_has_one_row_and_the_readme_repeats_it() {
        let readme = include_str!("../../README.md");
        for exit in ALL {
            assert_eq!(EXITS.iter().filter(|row| row.0 == exit).count(), 1);
        }
        for (exit, code, meaning) in EXITS {
            assert_eq!(exit.code(), *code);
            assert!(
                readme.contains(&format!("| {code} | {meaning} |")),
                "{code}"
            );
        }
        assert_eq!(EXITS.len(), ALL.len());
    }

    #[test]
    fn a_failure_is_one_line_whatever_the_cause_says() {
        let failure = Failure::new(Exit::Io, "a\nb\u{1b}[31m");
        assert_eq!(failure.to_string(), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output(&closed).exit, Exit::Done);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::output(&full).exit, Exit::Io);
    }
}
