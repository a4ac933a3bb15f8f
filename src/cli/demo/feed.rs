//! The demo's stream of lines: the files in their order, from the start again until enough bytes went by; and the
//! digest by which what went in is compared with what came out.

use crate::cli::demo::sources::LogFile;
use crate::cli::exit::{Exit, Failure};
use crate::cli::lines::{Lines, Step};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Seek;

/// Small files are read through small buffers, since they are read often.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Lines from files that are read over and over.
#[derive(Debug)]
pub struct Feed {
    files: Vec<LogFile>,
    next_file: usize,
    open: Option<Lines<File>>,
    line_bytes_max: usize,
    bytes_left: u64,
    /// Whether any line came since the first file was begun.
    pass_had_lines: bool,
}

impl Feed {
    /// Lines of at most `line_bytes_max` bytes, until `bytes` of them (line ends not counted) have been given.
    pub fn new(files: Vec<LogFile>, bytes: u64, line_bytes_max: usize) -> Self {
        Self {
            files,
            next_file: 0,
            open: None,
            line_bytes_max,
            bytes_left: bytes,
            pass_had_lines: true,
        }
    }

    /// The next line; `None` once enough were given.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Failure> {
        if self.bytes_left == 0 {
            return Ok(None);
        }
        while !self.advance()? {
            self.open_next()?;
        }
        let line = self.open.as_ref().map_or(&[][..], Lines::line);
        // An empty line counts as one byte, or a file of empty lines would feed for ever.
        let counted = line.len().max(1) as u64;
        self.bytes_left = self.bytes_left.saturating_sub(counted);
        self.pass_had_lines = true;
        Ok(Some(line))
    }

    fn advance(&mut self) -> Result<bool, Failure> {
        let Some(lines) = &mut self.open else {
            return Ok(false);
        };
        let path = &self.files[self.next_file - 1].path;
        let step = lines.advance();
        let is_line = |step| step == Step::Line;
        step.map(is_line).map_err(|error| {
            let line = format!("{}: {error}; name other files with --file", path.display());
            Failure::new(Exit::Io, line)
        })
    }

    fn open_next(&mut self) -> Result<(), Failure> {
        if self.next_file >= self.files.len() {
            self.next_file = 0;
        }
        if self.next_file == 0 {
            if !self.pass_had_lines || self.files.is_empty() {
                return Err(Failure::new(
                    Exit::Io,
                    "the files have no lines any more; name others with --file",
                ));
            }
            self.pass_had_lines = false;
        }
        let log = &mut self.files[self.next_file];
        let again = log.file.rewind().and_then(|()| log.file.try_clone());
        let file = again.map_err(|error| {
            let line = format!("{} cannot be read again: {error}", log.path.display());
            Failure::new(Exit::Io, line)
        })?;
        let buffer = log.bytes.clamp(512, READ_BYTES_MAX) as usize;
        let lines = Lines::with_buffer(file, b'\n', self.line_bytes_max, buffer);
        self.open = Some(lines);
        self.next_file += 1;
        Ok(())
    }
}

/// Counts and a SHA-256 over lines in their order. Each line enters with its length, so that `a`, `bc` and `ab`, `c`
/// differ.
#[derive(Clone, Debug, Default)]
pub struct LineDigest {
    hash: Sha256,
    /// Lines taken.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl LineDigest {
    /// Takes the next line.
    pub fn take(&mut self, line: &[u8]) {
        self.hash.update((line.len() as u64).to_le_bytes());
        self.hash.update(line);
        self.lines += 1;
        self.bytes += line.len() as u64;
    }

    /// The digest of all lines taken, in hex.
    pub fn hex(&self) -> String {
        let digest = self.hash.clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::TempDir;
    use crate::cli::demo::sources::open_named;

    fn feed(files: &[&[u8]], bytes: u64, line_bytes_max: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let folder = TempDir::make(&std::env::temp_dir()).expect("a temporary folder");
        let mut paths = Vec::new();
        for (at, content) in files.iter().enumerate() {
            paths.push(folder.path().join(at.to_string()));
            std::fs::write(&paths[at], content).expect("writable");
        }
        let mut feed = Feed::new(open_named(&paths)?, bytes, line_bytes_max);
        let mut found = Vec::new();
        while let Some(line) = feed.next_line()? {
            found.push(line.to_vec());
        }
        Ok(found)
    }

    #[test]
    fn files_repeat_in_order_until_enough_went_by() {
        let lines = feed(&[b"aa\nbb", b"c\n"], 12, 100).expect("good files");
        assert_eq!(lines, [&b"aa"[..], b"bb", b"c", b"aa", b"bb", b"c", b"aa"]);
        assert_eq!(feed(&[b"\n\n"], 3, 100).expect("good files").len(), 3);
        assert!(feed(&[b"a"], 0, 100).expect("good files").is_empty());
    }

    #[test]
    fn no_files_and_long_lines_are_failures_not_loops() {
        assert!(feed(&[], 1, 100).is_err());
        assert!(feed(&[b"aaa"], 1, 2).is_err());
    }

    #[test]
    fn the_digest_sees_bytes_borders_and_order() {
        let digest = |lines: &[&[u8]]| {
            let mut digest = LineDigest::default();
            lines.iter().for_each(|line| digest.take(line));
            digest.hex()
        };
        let whole = digest(&[b"a", b"bc"]);
        assert_eq!(whole.len(), 64);
        assert_eq!(whole, digest(&[b"a", b"bc"]));
        for other in [
            &[&b"ab"[..], b"c"][..],
            &[b"bc", b"a"],
            &[b"a", b"bc", b""],
            &[b"a", b"bd"],
        ] {
            assert_ne!(whole, digest(other));
        }
    }
}
