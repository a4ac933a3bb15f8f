//! Where `consume` prints: a large buffer in front of the output, so that a record costs a copy and not a system call.
//!
//! Not `std::io::BufWriter`: records are printed straight into the buffer, piece by piece, without asking at each piece
//! whether it still fits.

use crate::cli::exit::Failure;
use crate::cli::format::{Fields, Format};
use std::io::Write;

/// From this many bytes on, what is printed goes out. Large enough that a write costs little per byte, small enough to
/// stay in the cache between printing and writing.
const FLUSH_BYTES: usize = 256 << 10;

/// Prints records to `W`.
#[derive(Debug)]
pub struct Sink<W> {
    out: W,
    format: Format,
    buffer: Vec<u8>,
}

impl<W: Write> Sink<W> {
    /// Prints in this format.
    pub fn new(out: W, format: Format) -> Self {
        let buffer = Vec::with_capacity(2 * FLUSH_BYTES);
        Self {
            out,
            format,
            buffer,
        }
    }

    /// Prints a record; it may stay in the buffer until [`Sink::flush`].
    pub fn print(&mut self, record: &Fields<'_>) -> Result<(), Failure> {
        self.format.print(record, &mut self.buffer);
        if self.buffer.len() >= FLUSH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands over all that was printed: when there is nothing to read for now, and at the end.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let written = self
            .out
            .write_all(&self.buffer)
            .and_then(|()| self.out.flush());
        self.buffer.clear();
        // One huge record must not keep its memory for the rest of the run.
        self.buffer.shrink_to(2 * FLUSH_BYTES);
        written.map_err(|error| Failure::output(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn record(value: &[u8]) -> Fields<'_> {
        Fields {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            deliveries: 0,
            key: None,
            value: Some(value),
        }
    }

    #[test]
    fn all_bytes_go_out_in_order_in_few_writes() {
        struct Count(Vec<u8>, usize);
        impl Write for Count {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.1 += 1;
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let format: Format = "%v\\n".parse().expect("good");
        let mut sink = Sink::new(Count(Vec::new(), 0), format);
        let huge = vec![b'x'; 3 * FLUSH_BYTES];
        let mut wanted = Vec::new();
        for value in (0..10_000).map(|n: u32| n.to_string()) {
            sink.print(&record(value.as_bytes())).expect("memory");
            wanted.extend_from_slice(format!("{value}\n").as_bytes());
        }
        sink.print(&record(&huge)).expect("memory");
        wanted.extend_from_slice(&[&huge[..], b"\n"].concat());
        sink.flush().expect("memory");
        assert!(sink.out.0 == wanted && sink.out.1 < 5, "{}", sink.out.1);
        assert!(sink.buffer.capacity() <= 2 * FLUSH_BYTES);
    }

    #[test]
    fn a_reader_that_left_ends_the_command_without_a_failure() {
        let (reader, writer) = std::io::pipe().expect("pipes exist");
        drop(reader);
        let mut sink = Sink::new(writer, "%v".parse().expect("good"));
        sink.print(&record(b"x")).expect("still in the buffer");
        assert_eq!(sink.flush().expect_err("closed").exit, Exit::Done);
    }
}
