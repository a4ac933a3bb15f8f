//! Reads an input that may pause (a pipe, a terminal) on a thread of its own, so that whoever wants its bytes can do
//! something else while there are none: a batch that lingers must go out although no line follows.
//!
//! ```text
//!   input ──thread──> filled chunks ──> Pump: Read, WouldBlock after a pause
//!                  <── empty chunks ──
//! ```
//! The thread is not joined: it may sit in a read that never returns, and ends with the process or at its next byte.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

const CHUNK_BYTES: usize = 256 << 10;
/// Chunks between the thread and its reader, in both directions: enough that neither waits for the other at each.
const CHUNKS_MAX: usize = 8;

type Filled = io::Result<Vec<u8>>;

/// The reading end.
#[derive(Debug)]
pub struct Pump {
    filled: Receiver<Filled>,
    empty: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    taken: usize,
    pause: Duration,
}

impl Pump {
    /// Starts reading `input`. A read of the pump answers `WouldBlock` after `pause` without a byte.
    pub fn start(input: impl Read + Send + 'static, pause: Duration) -> io::Result<Self> {
        let (fill, filled) = sync_channel(CHUNKS_MAX);
        let (empty, emptied) = sync_channel(CHUNKS_MAX + 2);
        std::thread::Builder::new()
            .name("input".to_owned())
            .spawn(move || run(input, &fill, &emptied))?;
        Ok(Self {
            filled,
            empty,
            chunk: Vec::new(),
            taken: 0,
            pause,
        })
    }
}

/// Ends at the end of the input, at an error, or when nobody reads the pump any more.
fn run(mut input: impl Read, fill: &SyncSender<Filled>, emptied: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = emptied.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let filled = match input.read(&mut chunk) {
            Ok(0) => return,
            Ok(bytes) => {
                chunk.truncate(bytes);
                Ok(chunk)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_last = filled.is_err();
        if fill.send(filled).is_err() || is_last {
            return;
        }
    }
}

impl Read for Pump {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.chunk.len() {
            let next = match self.filled.recv_timeout(self.pause) {
                Ok(filled) => filled?,
                Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::WouldBlock.into()),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            };
            let spent = std::mem::replace(&mut self.chunk, next);
            self.taken = 0;
            // If there is no room for it, the thread has chunks enough.
            let _ = self.empty.try_send(spent);
        }
        let rest = &self.chunk[self.taken..];
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        self.taken += bytes;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn all_bytes_come_in_order_and_then_the_end() {
        let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
        let (reader, mut writer) = io::pipe().expect("pipes exist");
        let sent = bytes.clone();
        let thread = std::thread::spawn(move || writer.write_all(&sent));
        let mut pump = Pump::start(reader, Duration::from_secs(60)).expect("a thread");
        let mut found = Vec::new();
        pump.read_to_end(&mut found).expect("no error");
        thread.join().expect("no panic").expect("all written");
        assert!(found == bytes);
    }

    #[test]
    fn a_pause_is_told_and_ends_with_the_next_byte() {
        let (reader, mut writer) = io::pipe().expect("pipes exist");
        let mut pump = Pump::start(reader, Duration::from_millis(1)).expect("a thread");
        let mut buffer = [0u8; 8];
        let pause = pump.read(&mut buffer).expect_err("nothing yet");
        assert_eq!(pause.kind(), ErrorKind::WouldBlock);
        writer.write_all(b"x").expect("open");
        let bytes = loop {
            match pump.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => break other.expect("no error"),
            }
        };
        assert_eq!(&buffer[..bytes], b"x");
        drop(writer);
        let end = loop {
            match pump.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => break other.expect("no error"),
            }
        };
        assert_eq!(end, 0);
    }

    #[test]
    fn an_error_of_the_input_comes_through() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(ErrorKind::StorageFull.into())
            }
        }
        let mut pump = Pump::start(Broken, Duration::from_secs(60)).expect("a thread");
        let error = pump.read(&mut [0; 8]).expect_err("broken");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
