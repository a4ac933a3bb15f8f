//! Keeping from clients what they cannot read: zstd from those who fetch by an old version. The headers of what was fetched
//! are looked at, in memory and, off the core, in files; nobody else pays for that.

use crate::base::{Body, Part};
use crate::engine::Engine;
use crate::io::Io;
use crate::net::answer::Answering;
use crate::net::kafka::Hot;
use crate::protocol::kafka::error;
use crate::protocol::kafka::zstd::{ZSTD_FETCH_FROM, ZstdWatch};
use std::io::Result;

impl<I: Io, E: Engine<Source = I::Source>> Answering<'_, I, E> {
    /// Cuts from what was fetched what the client cannot read; a partition of which nothing else is left is refused.
    pub(super) async fn hide_zstd(&mut self, hot: &mut Hot) -> Result<()> {
        if hot.version >= ZSTD_FETCH_FROM {
            return Ok(());
        }
        let (mut number, lists) = (0, &mut *hot.lists);
        while let Some(one) = self.fetched.get_mut(number) {
            let watch = ZstdWatch::new(lists.fetch.partitions[number].from);
            let watch = look(self.sender.io, watch, &one.body).await?;
            match watch.part(one.body.bytes) {
                Some((begin, end)) => {
                    one.body.keep(begin, end);
                    number += 1;
                }
                None => {
                    let code = error::UNSUPPORTED_COMPRESSION_TYPE;
                    lists.echo.refuse(number, code);
                    lists.fetch.partitions.remove(number);
                    self.fetched.remove(number);
                }
            }
        }
        Ok(())
    }
}

/// Shows a body to the watch.
async fn look<I: Io, C: AsRef<[u8]>>(
    io: &I,
    mut watch: ZstdWatch,
    body: &Body<C, I::Source>,
) -> Result<ZstdWatch> {
    for part in &body.parts {
        match part {
            Part::Memory { chunk, from, until } => {
                watch.feed(&chunk.as_ref()[*from..*until]);
            }
            Part::Copied { from, until } => {
                watch.feed(&body.copied[*from..*until]);
            }
            Part::File {
                source,
                position,
                bytes,
            } => {
                let seen = io.scan_source(source, *position, *bytes, watch, ZstdWatch::feed);
                watch = seen.await?;
            }
        }
    }
    Ok(watch)
}
