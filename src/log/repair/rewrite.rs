//! Writing files of a repair: copies, and segments anew.

use crate::base::batch::LEADER_EPOCH;
use crate::base::limits::BLOCK_BYTES;
use crate::base::{Offset, gap};
use crate::io::{AlignedBuffer, File, Io, OpenMode};
use crate::log::journal::files::write_whole;

use crate::log::repair::left::LeftSegment;
use crate::log::verify::segment::{Bytes, Gap};
use crate::log::{LogError, paths};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;

/// A new file that is filled from its front.
struct Out<'a, I: Io> {
    io: &'a I,
    path: PathBuf,
    file: I::File,
    buffer: I::Buffer,
    used: usize,
    pos: u64,
}

impl<'a, I: Io> Out<'a, I> {
    async fn create(io: &'a I, path: PathBuf) -> Result<Self, LogError> {
        let file = io.open(&path, OpenMode::CreateNew).await;
        Ok(Self {
            io,
            file: file.map_err(LogError::io("create", &path))?,
            path,
            buffer: io.buffer(BUFFER_BYTES),
            used: 0,
            pos: 0,
        })
    }

    async fn push(&mut self, mut bytes: &[u8]) -> Result<(), LogError> {
        while !bytes.is_empty() {
            let count = bytes.len().min(BUFFER_BYTES - self.used);
            self.buffer.as_mut()[self.used..self.used + count].copy_from_slice(&bytes[..count]);
            self.used += count;
            bytes = &bytes[count..];
            if self.used == BUFFER_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes what is there, padded with zeros to whole blocks.
    async fn flush(&mut self) -> Result<(), LogError> {
        let padded = self.used.next_multiple_of(BLOCK_BYTES);
        if padded == 0 {
            return Ok(());
        }
        let mut buffer = std::mem::replace(&mut self.buffer, self.io.buffer(BUFFER_BYTES));
        buffer.as_mut()[self.used..padded].fill(0);
        buffer.truncate(padded);
        write_whole::<I>(&self.file, buffer, self.pos)
            .await
            .map_err(LogError::io("write", &self.path))?;
        self.pos += padded as u64;
        self.used = 0;
        Ok(())
    }

    /// Makes it durable under its name.
    async fn finish(mut self) -> Result<(), LogError> {
        self.flush().await?;
        let synced = self.file.sync().await;
        synced.map_err(LogError::sync(&self.path))?;
        self.file.close().await;
        Ok(())
    }
}

/// Copies a file, durably except for its name. A length that is not whole blocks becomes so.
pub(super) async fn copy<I: Io>(io: &I, from: &Path, to: PathBuf) -> Result<(), LogError> {
    let mut bytes = Bytes::of_file(io, from, &[]).await?;
    let mut out = Out::create(io, to).await?;
    let end = bytes.end();
    run(&mut bytes, end, &mut out).await?;
    bytes.close().await;
    out.finish().await
}

/// Writes a segment anew: what is sound below `until_pos`, and markers in `gaps`.
pub(super) async fn segment<I: Io>(
    io: &I,
    dir: &Path,
    old: &LeftSegment,
    until_pos: u64,
    gaps: &[Gap],
) -> Result<(), LogError> {
    let path = paths::segment(dir, old.base);
    let temporary = path.with_extension("tmp");
    let mut bytes = Bytes::of_file(io, &path, &old.over).await?;
    let mut out = Out::create(io, temporary.clone()).await?;
    for gap in gaps {
        run(&mut bytes, gap.from_pos, &mut out).await?;
        let until = gap.until.unwrap_or(gap.from);
        out.push(&gap::markers(gap.from, until, LEADER_EPOCH))
            .await?;
        skip(&mut bytes, gap.until_pos).await;
    }
    run(&mut bytes, until_pos, &mut out).await?;
    bytes.close().await;
    out.finish().await?;
    put(io, dir, old.base, &temporary).await
}

/// Makes a segment of markers alone.
pub(super) async fn marker_segment<I: Io>(
    io: &I,
    dir: &Path,
    base: Offset,
    until: Offset,
) -> Result<(), LogError> {
    let temporary = paths::segment(dir, base).with_extension("tmp");
    let mut out = Out::create(io, temporary.clone()).await?;
    out.push(&gap::markers(base, until, LEADER_EPOCH)).await?;
    out.finish().await?;
    put(io, dir, base, &temporary).await
}

/// Puts a new segment into its place. Its index is another's from then on, so that goes first.
async fn put<I: Io>(io: &I, dir: &Path, base: Offset, temporary: &Path) -> Result<(), LogError> {
    remove(io, &paths::index(dir, base)).await?;
    io.sync_dir(dir).await.map_err(LogError::sync(dir))?;
    let path = paths::segment(dir, base);
    let renamed = io.rename(temporary, &path).await;
    renamed.map_err(LogError::io("rename", temporary))?;
    io.sync_dir(dir).await.map_err(LogError::sync(dir))
}

/// Removes a file that may be gone.
pub(super) async fn remove<I: Io>(io: &I, path: &Path) -> Result<(), LogError> {
    match io.remove_file(path).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(LogError::io("remove", path)),
    }
}

/// Copies up to position `until`.
async fn run<I: Io>(
    bytes: &mut Bytes<'_, I>,
    until: u64,
    out: &mut Out<'_, I>,
) -> Result<(), LogError> {
    while bytes.pos() < until {
        bytes.load(1).await;
        let count = (bytes.here().len() as u64).min(until - bytes.pos()) as usize;
        if count == 0 {
            break;
        }
        out.push(&bytes.here()[..count]).await?;
        bytes.pass(count);
    }
    Ok(())
}

async fn skip<I: Io>(bytes: &mut Bytes<'_, I>, until: u64) {
    while bytes.pos() < until {
        bytes.load(1).await;
        let count = (bytes.here().len() as u64).min(until - bytes.pos()) as usize;
        if count == 0 {
            break;
        }
        bytes.pass(count);
    }
}
