//! The files of a partition being rebuilt: reading, removing, syncing, and the note of damage beside them.

use crate::base::Offset;
use crate::base::limits::BLOCK_BYTES;
use crate::io::{AlignedBuffer, File, Io, OpenMode};
use crate::log::journal::files::write_whole;
use crate::log::recovery::partition::{Rebuild, Stop};
use crate::log::segment::zeroed;
use crate::log::{LogError, paths};
use std::io::ErrorKind;
use std::path::Path;

/// The note of damage, inside the partition's directory.
pub(crate) const DAMAGE_NOTE: &str = "damaged";

impl<I: Io> Rebuild<'_, I> {
    /// Reads from a segment file; fewer bytes at its end.
    pub(crate) async fn read(&self, base: Offset, pos: u64, bytes: u64) -> Result<Vec<u8>, Stop> {
        const STEP: usize = 1 << 20;
        let path = paths::segment(&self.dir, base);
        let file = self
            .io
            .open(&path, OpenMode::Existing)
            .await
            .map_err(LogError::io("open", &path))?;
        let mut all = Vec::new();
        while (all.len() as u64) < bytes {
            let step = STEP.min((bytes as usize - all.len()).next_multiple_of(BLOCK_BYTES));
            let read = file.read_at(pos + all.len() as u64, step).await;
            let read = read.map_err(LogError::io("read", &path))?;
            let got = read.as_ref().len();
            all.extend_from_slice(read.as_ref());
            if got < step {
                break;
            }
        }
        all.truncate(bytes as usize);
        file.close().await;
        Ok(all)
    }

    pub(crate) async fn segment_files(&self) -> Result<Vec<Offset>, Stop> {
        let mut bases = Vec::new();
        let listed = self
            .io
            .list_dir(&self.dir)
            .await
            .map_err(LogError::io("list", &self.dir))?;
        for entry in listed {
            let path = self.dir.join(&entry.name);
            if entry.name.ends_with(".tmp") {
                self.io
                    .remove_file(&path)
                    .await
                    .map_err(LogError::io("remove", &path))?;
            } else if let Some(base) = entry.name.strip_suffix(".log") {
                let base = base.parse().map_err(|_| {
                    Stop::Damage(format!("{} is not the name of a segment", entry.name))
                })?;
                bases.push(Offset(base));
            }
        }
        bases.sort_unstable();
        Ok(bases)
    }

    /// Removes a segment that holds nothing accepted, its index first.
    pub(crate) async fn remove_segment(&self, base: Offset) -> Result<(), Stop> {
        for path in [
            paths::index(&self.dir, base),
            paths::segment(&self.dir, base),
        ] {
            match self.io.remove_file(&path).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.map_err(LogError::io("remove", &path))?,
            }
        }
        Ok(self
            .io
            .sync_dir(&self.dir)
            .await
            .map_err(LogError::sync(&self.dir))?)
    }

    /// Removes what is left of segments below `first`: they were trimmed.
    pub(crate) async fn remove_below(&self, first: Offset) -> Result<(), Stop> {
        let listed = self.io.list_dir(&self.dir).await;
        let listed = listed.map_err(LogError::io("list", &self.dir))?;
        let is_below = |name: &str| {
            let base = name.strip_suffix(".log").or(name.strip_suffix(".idx"));
            base.and_then(|base| base.parse().ok())
                .is_some_and(|base| Offset(base) < first)
        };
        for entry in listed.iter().filter(|entry| is_below(&entry.name)) {
            let path = self.dir.join(&entry.name);
            let removed = self.io.remove_file(&path).await;
            removed.map_err(LogError::io("remove", &path))?;
        }
        Ok(())
    }

    pub(crate) async fn sync_segment(&self, base: Offset) -> Result<(), Stop> {
        let path = paths::segment(&self.dir, base);
        let file = self
            .io
            .open(&path, OpenMode::Existing)
            .await
            .map_err(LogError::io("open", &path))?;
        file.sync().await.map_err(LogError::sync(&path))?;
        file.close().await;
        Ok(())
    }

    /// Makes the names of the partition's directory and of its topic's durable.
    pub(crate) async fn sync_names(&self) -> Result<(), LogError> {
        for dir in self.dir.ancestors().skip(1).take(2) {
            self.io.sync_dir(dir).await.map_err(LogError::sync(dir))?;
        }
        Ok(())
    }

    /// Damage that an earlier start has noted.
    pub(crate) async fn noted_damage(&self) -> Result<Option<String>, LogError> {
        let path = self.dir.join(DAMAGE_NOTE);
        let source = match self.io.open_source(&path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(LogError::io("open", &path))?,
        };
        let bytes = self
            .io
            .read_source(&source, 0, BLOCK_BYTES)
            .await
            .map_err(LogError::io("read", &path))?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_string()))
    }

    /// Notes damage beside the partition, so that later starts refuse it too, whatever the journals then say.
    pub(crate) async fn note_damage(&self, reason: &str) -> Result<(), LogError> {
        write_text(self.io, &self.dir, DAMAGE_NOTE, reason).await
    }
}

/// Puts a file of one block of text into `dir`, durably: temporary name, fill, sync, rename, sync the directory.
pub(crate) async fn write_text<I: Io>(
    io: &I,
    dir: &Path,
    name: &str,
    text: &str,
) -> Result<(), LogError> {
    let path = dir.join(name);
    let temporary = path.with_extension("tmp");
    let mut block = zeroed(io, BLOCK_BYTES);
    let bytes = &text.as_bytes()[..text.len().min(BLOCK_BYTES - 1)];
    block.as_mut().fill(b'\n');
    block.as_mut()[..bytes.len()].copy_from_slice(bytes);
    block.truncate(BLOCK_BYTES);
    let file = io
        .open(&temporary, OpenMode::CreateNew)
        .await
        .map_err(LogError::io("create", &temporary))?;
    write_whole::<I>(&file, block, 0)
        .await
        .map_err(LogError::io("write", &temporary))?;
    file.sync().await.map_err(LogError::sync(&temporary))?;
    file.close().await;
    io.rename(&temporary, &path)
        .await
        .map_err(LogError::io("rename", &temporary))?;
    io.sync_dir(dir).await.map_err(LogError::sync(dir))
}
