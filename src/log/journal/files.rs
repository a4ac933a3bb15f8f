//! Journal files: zero-filled once, then recycled, so that an entry costs one write and one flush and never changes
//! what the file system has to remember.

use crate::base::limits::BLOCK_BYTES;
use crate::base::planted::{Bug, planted};
use crate::io::{AlignedBuffer, File, Io, OpenMode};
use crate::log::journal::entry::{FileId, encode_file_header};
use crate::log::{LogError, paths};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where the first entry of a file begins.
pub(crate) const FIRST_ENTRY: u64 = BLOCK_BYTES as u64;
/// A file has a multiple of so many bytes, or fewer.
pub(crate) const FILL_BYTES: usize = 1 << 20;

/// A file that entries may be written to.
pub(crate) struct JournalFile<I: Io> {
    pub(crate) id: FileId,
    pub(crate) path: PathBuf,
    pub(crate) file: I::File,
    pub(crate) bytes: u64,
}

/// Makes a file of `bytes` under its final name, filled with zeros and durable.
///
/// Temporary name, fill, header, sync, rename, sync the directory: a crash in between leaves a `.tmp` file, which
/// recovery removes, never a journal file that cannot be read.
pub(crate) async fn create<I: Io>(
    io: &I,
    dir: &Path,
    id: FileId,
    bytes: u64,
) -> Result<JournalFile<I>, LogError> {
    let temporary = temporary_path(dir, id.number);
    let file = io
        .open(&temporary, OpenMode::CreateNew)
        .await
        .map_err(LogError::io("create", &temporary))?;
    if let Err(error) = fill(io, &file, bytes).await {
        // It may be the disk that is full: what was filled is given back.
        let _ = io.remove_file(&temporary).await;
        return Err(LogError::io("fill", &temporary)(error));
    }
    put_to_use(io, dir, id, file, bytes, &temporary).await
}

/// Gives an old file a new identity. Nothing in it may be needed any more. The name goes first, and for good, so that
/// no crash leaves a journal file with half a header, and no power cut an old name on a new header.
pub(crate) async fn recycle<I: Io>(
    io: &I,
    dir: &Path,
    id: FileId,
    old: JournalFile<I>,
) -> Result<JournalFile<I>, LogError> {
    let temporary = temporary_path(dir, id.number);
    io.rename(&old.path, &temporary)
        .await
        .map_err(LogError::io("rename", &old.path))?;
    io.sync_dir(dir).await.map_err(LogError::sync(dir))?;
    put_to_use(io, dir, id, old.file, old.bytes, &temporary).await
}

async fn put_to_use<I: Io>(
    io: &I,
    dir: &Path,
    id: FileId,
    file: I::File,
    bytes: u64,
    temporary: &Path,
) -> Result<JournalFile<I>, LogError> {
    let mut header = io.buffer(BLOCK_BYTES);
    encode_file_header(id, io.boot_id(), header.as_mut());
    write_whole::<I>(&file, header, 0)
        .await
        .map_err(LogError::io("write", temporary))?;
    file.sync().await.map_err(LogError::sync(temporary))?;
    let path = paths::journal_file(dir, id.number);
    io.rename(temporary, &path)
        .await
        .map_err(LogError::io("rename", temporary))?;
    io.sync_dir(dir).await.map_err(LogError::sync(dir))?;
    Ok(JournalFile {
        id,
        path,
        file,
        bytes,
    })
}

async fn fill<I: Io>(io: &I, file: &I::File, bytes: u64) -> std::io::Result<()> {
    let mut zeros = io.buffer(FILL_BYTES.min(bytes as usize));
    zeros.as_mut().fill(0);
    let zeros = Rc::new(zeros);
    let step = (*zeros).as_ref().len() as u64;
    assert!(bytes.is_multiple_of(step));
    for pos in (0..bytes).step_by(step as usize) {
        write_shared::<I>(file, Rc::clone(&zeros), pos).await?;
    }
    Ok(())
}

/// The names that [`create`] and [`recycle`] give to file `number`, one after the other.
pub(crate) fn names(dir: &Path, number: u64) -> [PathBuf; 2] {
    [
        temporary_path(dir, number),
        paths::journal_file(dir, number),
    ]
}

/// Removes files for good, those of them that are there.
pub(crate) async fn discard<I: Io>(io: &I, dir: &Path, files: &[PathBuf]) -> Result<(), LogError> {
    for path in files {
        match io.remove_file(path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.map_err(LogError::io("remove", path))?,
        }
    }
    io.sync_dir(dir).await.map_err(LogError::sync(dir))
}

/// Writes a buffer; a short write is an error.
pub(crate) async fn write_whole<I: Io>(
    file: &I::File,
    buffer: I::Buffer,
    pos: u64,
) -> std::io::Result<()> {
    write_shared::<I>(file, Rc::new(buffer), pos).await
}

/// Writes a shared buffer; a short write is an error.
pub(crate) async fn write_shared<I: Io>(
    file: &I::File,
    buffer: Rc<I::Buffer>,
    pos: u64,
) -> std::io::Result<()> {
    let wanted = (*buffer).as_ref().len();
    whole(wanted, file.write_at(buffer, pos).await?, pos)
}

/// Writes a shared buffer so that it is durable when this returns; a short write is an error.
pub(crate) async fn write_shared_durably<I: Io>(
    file: &I::File,
    buffer: Rc<I::Buffer>,
    pos: u64,
) -> std::io::Result<()> {
    let wanted = (*buffer).as_ref().len();
    whole(wanted, file.write_durable_at(buffer, pos).await?, pos)
}

fn whole(wanted: usize, written: usize, pos: u64) -> std::io::Result<()> {
    if written == wanted || planted(Bug::IgnoreShortWrite) {
        return Ok(());
    }
    Err(std::io::Error::other(format!(
        "short write: {written} of {wanted} bytes at {pos}"
    )))
}

fn temporary_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}.tmp"))
}

/// Cuts a buffer to `bytes`.
pub(crate) fn truncated<B: AlignedBuffer>(mut buffer: B, bytes: usize) -> B {
    buffer.truncate(bytes);
    buffer
}
