//! Cuts what `produce` reads into messages, byte for byte: only the delimiter itself is taken away. An empty line is an
//! empty message; CR before LF stays; what follows the last delimiter is a message if it has any byte.

use std::io::{self, BufRead, BufReader, Read};
use thiserror::Error;

const READ_BYTES: usize = 1 << 20;

/// Reads messages one by one into a buffer that is kept.
#[derive(Debug)]
pub struct Lines<R> {
    input: BufReader<R>,
    delimiter: u8,
    bytes_max: usize,
    line: Vec<u8>,
    number: u64,
    /// Whether `line` is a part of a message that is not whole yet.
    is_partial: bool,
}

/// What [`Lines::advance`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A message: [`Lines::line`].
    Line,
    /// Nothing yet, from an input that says so (`WouldBlock`). Call again; what was read so far is kept.
    Pending,
    /// There is no more.
    End,
}

/// Why there is no next message.
#[derive(Error, Debug)]
pub enum LineError {
    /// A line is longer than a record may be. Nothing of it was taken as a message.
    #[error("line {number} is longer than {bytes_max} bytes, the most that a record holds")]
    TooLong {
        /// Counted from 1.
        number: u64,
        /// The limit.
        bytes_max: usize,
    },
    /// The input cannot be read.
    #[error("line {number} cannot be read: {cause}")]
    Unreadable {
        /// Counted from 1.
        number: u64,
        /// Why.
        cause: io::Error,
    },
}

impl<R: Read> Lines<R> {
    /// Messages of at most `bytes_max` bytes, each ended by `delimiter`.
    pub fn new(input: R, delimiter: u8, bytes_max: usize) -> Self {
        Self::with_buffer(input, delimiter, bytes_max, READ_BYTES)
    }

    /// The same, reading `buffer_bytes` at a time: less for an input that is known to be small.
    pub fn with_buffer(input: R, delimiter: u8, bytes_max: usize, buffer_bytes: usize) -> Self {
        Self {
            input: BufReader::with_capacity(buffer_bytes, input),
            delimiter,
            bytes_max,
            line: Vec::new(),
            number: 0,
            is_partial: false,
        }
    }

    /// The next message; `None` at the end of an input that blocks. After an error, stop.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineError> {
        match self.advance()? {
            Step::Line => Ok(Some(&self.line)),
            Step::End => Ok(None),
            Step::Pending => Err(self.unreadable(io::ErrorKind::WouldBlock.into())),
        }
    }

    /// The message that was read last.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Reads the next message for [`Lines::line`]. After an error, stop.
    pub fn advance(&mut self) -> Result<Step, LineError> {
        if !self.is_partial {
            self.number += 1;
            self.line.clear();
        }
        self.is_partial = false;
        // The longest message and its delimiter: one byte more would be one too many, and is not waited for.
        let bound = self.bytes_max + 1 - self.line.len();
        let mut bounded = self.input.by_ref().take(bound as u64);
        match bounded.read_until(self.delimiter, &mut self.line) {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                self.is_partial = true;
                return Ok(Step::Pending);
            }
            Err(cause) => return Err(self.unreadable(cause)),
            Ok(_) if self.line.is_empty() => return Ok(Step::End),
            Ok(_) => {}
        }
        if self.line.last() == Some(&self.delimiter) {
            self.line.pop();
        }
        if self.line.len() > self.bytes_max {
            return Err(LineError::TooLong {
                number: self.number,
                bytes_max: self.bytes_max,
            });
        }
        Ok(Step::Line)
    }

    fn unreadable(&self, cause: io::Error) -> LineError {
        LineError::Unreadable {
            number: self.number,
            cause,
        }
    }

    /// The number of the line that was read last, counted from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// Splits a line at the first `delimiter` into key and value; a line without one has no key.
pub fn split_key(line: &[u8], delimiter: Option<u8>) -> (Option<&[u8]>, &[u8]) {
    let at = delimiter.and_then(|delimiter| line.iter().position(|byte| *byte == delimiter));
    match at {
        Some(at) => (Some(&line[..at]), &line[at + 1..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time and is interrupted before each, as pipes and terminals may.
    struct Drip<'a>(&'a [u8], bool);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let count = self.0.len().min(buffer.len()).min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// Gives one byte at a time, and nothing in between.
    struct Stutter<'a>(&'a [u8], bool);

    impl Read for Stutter<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let (first, rest) = self.0.split_at(self.0.len().min(1));
            buffer[..first.len()].copy_from_slice(first);
            self.0 = rest;
            Ok(first.len())
        }
    }

    fn all_stuttered(
        input: &[u8],
        delimiter: u8,
        bytes_max: usize,
    ) -> Result<Vec<Vec<u8>>, LineError> {
        let mut lines = Lines::new(Stutter(input, false), delimiter, bytes_max);
        let mut found = Vec::new();
        loop {
            match lines.advance()? {
                Step::Line => found.push(lines.line().to_vec()),
                Step::Pending => {}
                Step::End => return Ok(found),
            }
        }
    }

    fn all(input: impl Read, delimiter: u8, bytes_max: usize) -> Result<Vec<Vec<u8>>, LineError> {
        let mut lines = Lines::new(input, delimiter, bytes_max);
        let mut found = Vec::new();
        while let Some(line) = lines.next_line()? {
            found.push(line.to_vec());
        }
        Ok(found)
    }

    /// Input, delimiter, messages.
    type Case<'a> = (&'a [u8], u8, &'a [&'a [u8]]);

    #[test]
    fn bytes_survive_as_they_are() {
        let cases: [Case<'_>; 9] = [
            (b"", b'\n', &[]),
            (b"\n", b'\n', &[b""]),
            (b"\n\n", b'\n', &[b"", b""]),
            (b"a\n\nb\n", b'\n', &[b"a", b"", b"b"]),
            (b"a\r\nb\r\n", b'\n', &[b"a\r", b"b\r"]),
            (b"a\nlast", b'\n', &[b"a", b"last"]),
            (b"\xff\0\xfe\n", b'\n', &[b"\xff\0\xfe"]),
            (b"a\nb\0c\0\0", 0, &[b"a\nb", b"c", b""]),
            (b"\r", b'\n', &[b"\r"]),
        ];
        for (input, delimiter, wanted) in cases {
            assert_eq!(
                all(input, delimiter, 10).expect("short"),
                wanted,
                "{input:?}"
            );
            let drip = all(Drip(input, false), delimiter, 10).expect("short");
            assert_eq!(drip, wanted, "{input:?}");
            let stutter = all_stuttered(input, delimiter, 10).expect("short");
            assert_eq!(stutter, wanted, "{input:?}");
        }
    }

    #[test]
    fn the_limit_counts_the_message_alone_and_names_the_line() {
        assert_eq!(
            all(&b"1234\n123\n1234"[..], b'\n', 4).expect("fits").len(),
            3
        );
        for input in [&b"1\n12345\n"[..], b"1\n12345", b"1\n123456789\n"] {
            let error = all(input, b'\n', 4).expect_err("too long");
            let stutter = all_stuttered(input, b'\n', 4).expect_err("too long");
            assert_eq!(error.to_string(), stutter.to_string());
            assert!(
                matches!(
                    error,
                    LineError::TooLong {
                        number: 2,
                        bytes_max: 4
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn an_endless_line_is_refused_without_being_held() {
        let mut lines = Lines::new(io::repeat(b'x'), b'\n', 1000);
        assert!(lines.next_line().is_err());
        assert!(lines.line.capacity() < 10_000);
    }

    #[test]
    fn keys_split_at_the_first_delimiter() {
        assert_eq!(
            split_key(b"k:v:w", Some(b':')),
            (Some(&b"k"[..]), &b"v:w"[..])
        );
        assert_eq!(split_key(b":v", Some(b':')), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split_key(b"kv", Some(b':')), (None, &b"kv"[..]));
        assert_eq!(split_key(b"k:v", None), (None, &b"k:v"[..]));
    }
}
