//! Sending: frames from memory, and bodies as pieces of memory and spans of files.

use crate::base::{Body, Part};
use crate::engine::FetchedPartition;
use crate::io::{Io, Monotonic, Writer};
use crate::net::life::Life;
use std::io::Result;
use std::time::Duration;

/// Pieces that go out in one vectored send.
const PIECES_MAX: usize = 64;
/// How long the peer may take to make room for anything at all …
const SEND_WAIT: Duration = Duration::from_secs(30);
/// … and this much longer for each of so many bytes: slower than 64 KiB a second is not a peer but an attack.
const SEND_BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// The sending half with its deadline.
pub(super) struct Sender<'a, I: Io> {
    pub(super) io: &'a I,
    pub(super) life: &'a Life,
    pub(super) writer: &'a mut I::Writer,
}

impl<I: Io> Sender<'_, I> {
    /// Sends `bytes`. It is `now`, or was a little while ago.
    pub(super) async fn send(&mut self, bytes: &[u8], now: Monotonic) -> Result<()> {
        self.begin(now, bytes.len() as u64);
        self.writer.write_all(bytes).await?;
        self.life.write_by(None);
        Ok(())
    }

    /// Sends `head`, and `body` behind it.
    pub(super) async fn send_both(
        &mut self,
        head: &[u8],
        body: &[u8],
        now: Monotonic,
    ) -> Result<()> {
        self.begin(now, (head.len() + body.len()) as u64);
        self.writer.write_vectored(&[head, body]).await?;
        self.life.write_by(None);
        Ok(())
    }

    /// Sends `head` and the bodies: body `i` behind `head[..cuts[i]]`, or behind all of it where there are no cuts. What
    /// is in memory goes out together with what stands before it. Returns how many spans of files there were.
    pub(super) async fn send_bodies<C: AsRef<[u8]>>(
        &mut self,
        head: &[u8],
        cuts: &[usize],
        bodies: &[FetchedPartition<C, I::Source>],
        now: Monotonic,
    ) -> Result<usize> {
        let bytes: u64 = bodies.iter().map(|one| one.body.bytes).sum();
        self.begin(now, head.len() as u64 + bytes);
        let mut spans = 0;
        let mut pieces: [&[u8]; PIECES_MAX] = [&[]; PIECES_MAX];
        let (mut count, mut sent) = (0, 0);
        for (number, one) in bodies.iter().enumerate() {
            let Body { parts, copied, .. } = &one.body;
            if parts.is_empty() {
                continue;
            }
            let cut = cuts.get(number).copied().unwrap_or(head.len());
            if count == PIECES_MAX {
                self.writer.write_vectored(&pieces).await?;
                count = 0;
            }
            if cut > sent {
                pieces[count] = &head[sent..cut];
                (count, sent) = (count + 1, cut);
            }
            for part in parts {
                if count == PIECES_MAX || (count > 0 && matches!(part, Part::File { .. })) {
                    self.writer.write_vectored(&pieces[..count]).await?;
                    count = 0;
                }
                let piece = match part {
                    Part::Memory { chunk, from, until } => &chunk.as_ref()[*from..*until],
                    Part::Copied { from, until } => &copied[*from..*until],
                    Part::File {
                        source,
                        position,
                        bytes,
                    } => {
                        self.writer.send_file(source, *position, *bytes).await?;
                        spans += 1;
                        continue;
                    }
                };
                pieces[count] = piece;
                count += 1;
            }
        }
        if count == PIECES_MAX {
            self.writer.write_vectored(&pieces).await?;
            count = 0;
        }
        if sent < head.len() {
            pieces[count] = &head[sent..];
            count += 1;
        }
        if count > 0 {
            self.writer.write_vectored(&pieces[..count]).await?;
        }
        self.life.write_by(None);
        Ok(spans)
    }

    fn begin(&self, now: Monotonic, bytes: u64) {
        let more = Duration::from_secs(bytes / SEND_BYTES_PER_SECOND_MIN);
        let deadline = now.plus(SEND_WAIT + more);
        self.life.write_by(Some(deadline));
    }
}
