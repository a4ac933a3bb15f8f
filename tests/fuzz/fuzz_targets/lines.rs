//! Goal: what `produce` reads from its input is cut into messages byte for byte, whatever the bytes and however they come.
//! Input: the delimiter, the longest message (a byte), how many bytes come at a time (a byte), the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::cli::lines::{LineError, Lines, Step};
use std::io::{ErrorKind, Read};

/// Gives so many bytes at a time, and says before each that there are none yet.
struct Slow<'a> {
    bytes: &'a [u8],
    step: usize,
    is_due: bool,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.is_due = !self.is_due;
        if self.is_due {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.bytes.len().min(self.step).min(buffer.len());
        buffer[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Ok(count)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[delimiter, longest, step], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let longest = usize::from(longest);
    let mut wanted: Vec<&[u8]> = bytes.split(|byte| *byte == delimiter).collect();
    if wanted.last().is_some_and(|last| last.is_empty()) {
        wanted.pop();
    }
    let input = Slow {
        bytes,
        step: 1 + usize::from(step),
        is_due: false,
    };
    let mut lines = Lines::with_buffer(input, delimiter, longest, 64);
    for wanted in wanted {
        let step = loop {
            match lines.advance() {
                Ok(Step::Pending) => {}
                other => break other,
            }
        };
        match step {
            Ok(Step::Line) => assert_eq!(lines.line(), wanted),
            Err(LineError::TooLong { .. }) => {
                assert!(wanted.len() > longest);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
    while let Ok(step) = lines.advance() {
        match step {
            Step::Pending => {}
            Step::End => return,
            Step::Line => panic!("a message too many: {:?}", lines.line()),
        }
    }
    panic!("an error at the end");
});
