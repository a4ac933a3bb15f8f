//! Files for direct I/O, on glommio's `DmaFile`.
//!
//! Decided: when glommio first opens a file on a device, it reads a block through its polling ring and concludes from
//! the outcome whether the device can be polled. A new, empty file ends that read before the device is asked, so the
//! answer is "yes" where it may be "no", and every later operation of this core fails with EOPNOTSUPP (seen on virtio
//! without poll queues). So before the first open on a device we let it ask with an unnamed file of one written block.

use super::core::{Core, Unbroken};
use super::{UringBuffer, edge};
use crate::base::limits::BLOCK_BYTES;
use crate::io::{AlignedBuffer, File, OpenMode};
use glommio::io::{DmaFile, OpenOptions};
use rustix::fs::{Mode, OFlags};
use std::cell::RefCell;
use std::future::Future;
use std::io::{Result, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A file open for direct I/O.
#[derive(Debug)]
pub struct UringFile {
    file: Rc<DmaFile>,
    /// The same file opened with O_DSYNC, once somebody asked for it.
    durable: RefCell<Option<Rc<DmaFile>>>,
    core: Rc<Core>,
}

pub(super) fn buffer(bytes: usize) -> UringBuffer {
    let buffer = glommio::allocate_dma_buffer(bytes);
    debug_assert!(buffer.as_ptr().addr().is_multiple_of(BLOCK_BYTES));
    buffer
}

pub(super) fn open(
    core: &Rc<Core>,
    path: &Path,
    mode: OpenMode,
) -> impl Future<Output = Result<UringFile>> {
    let (owner, path) = (Rc::clone(core), path.to_owned());
    Unbroken::new(core, async move {
        let probed = probe_device(&owner, &path).await;
        if mode == OpenMode::CreateNew {
            // An existing file answers for itself; a new one cannot, and on a full disk it would not be made anyway.
            probed?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o640);
        options.create_new(mode == OpenMode::CreateNew);
        let file = options.dma_open(&path).await.map_err(edge)?;
        Ok(UringFile {
            file: Rc::new(file),
            durable: RefCell::default(),
            core: owner,
        })
    })
}

/// See the top.
async fn probe_device(core: &Rc<Core>, path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let asked = core.devices_probed.borrow().clone();
    let made = core.blocking(move || probe_file(&directory, &asked));
    let Some((device, unnamed)) = made.await? else {
        return Ok(());
    };
    let link = format!("/proc/self/fd/{}", unnamed.as_raw_fd());
    let mut options = OpenOptions::new();
    let file = options.read(true).dma_open(&link).await.map_err(edge)?;
    core.devices_probed.borrow_mut().push(device);
    file.close().await.map_err(edge)
}

/// An unnamed file of one block in `directory`, unless its device is among those `asked` already.
fn probe_file(directory: &Path, asked: &[u64]) -> Result<Option<(u64, OwnedFd)>> {
    let device = rustix::fs::stat(directory)?.st_dev;
    if asked.contains(&device) {
        return Ok(None);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let unnamed = rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?;
    let mut file = std::fs::File::from(unnamed);
    file.write_all(&[0; BLOCK_BYTES])?;
    file.sync_data()?;
    Ok(Some((device, file.into())))
}

impl UringFile {
    fn begin<T, W>(&self, work: impl FnOnce(Rc<DmaFile>) -> W) -> Unbroken<Result<T>>
    where
        W: Future<Output = glommio::Result<T, ()>> + 'static,
    {
        let work = work(Rc::clone(&self.file));
        Unbroken::new(&self.core, async move { work.await.map_err(edge) })
    }

    /// Opened through /proc, because the file may have been renamed since.
    async fn durable(&self) -> Result<Rc<DmaFile>> {
        if let Some(file) = &*self.durable.borrow() {
            return Ok(Rc::clone(file));
        }
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlags::DSYNC.bits() as i32;
        let opened = Unbroken::new(&self.core, async move {
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(flags);
            options.dma_open(&link).await.map_err(edge)
        });
        let file = Rc::new(opened.await?);
        *self.durable.borrow_mut() = Some(Rc::clone(&file));
        Ok(file)
    }
}

impl File for UringFile {
    type Buffer = UringBuffer;

    fn write_at(
        &self,
        buffer: Rc<UringBuffer>,
        position: u64,
    ) -> impl Future<Output = Result<usize>> {
        assert!(buffer.len().is_multiple_of(BLOCK_BYTES), "whole blocks");
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "whole blocks");
        self.begin(move |file| async move { file.write_rc_at(buffer, position).await })
    }

    async fn write_durable_at(&self, buffer: Rc<UringBuffer>, position: u64) -> Result<usize> {
        assert!(buffer.len().is_multiple_of(BLOCK_BYTES), "whole blocks");
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "whole blocks");
        let file = self.durable().await?;
        let write = async move { file.write_rc_at(buffer, position).await.map_err(edge) };
        Unbroken::new(&self.core, write).await
    }

    /// A direct read may stop short of the end of the file (a signal, a split request): only a read of nothing, or of
    /// part of a block, is taken for the end.
    async fn read_at(&self, position: u64, bytes: usize) -> Result<UringBuffer> {
        assert!(bytes.is_multiple_of(BLOCK_BYTES), "whole blocks");
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "whole blocks");
        let mut buffer = buffer(bytes.max(BLOCK_BYTES));
        let mut filled = 0;
        while filled < bytes {
            let from = position + filled as u64;
            let part = self
                .begin(move |file| async move { file.read_at_aligned(from, bytes - filled).await })
                .await?;
            buffer.as_mut()[filled..filled + part.len()].copy_from_slice(&part);
            filled += part.len();
            if part.is_empty() || !part.len().is_multiple_of(BLOCK_BYTES) {
                break;
            }
        }
        AlignedBuffer::truncate(&mut buffer, filled);
        Ok(buffer)
    }

    fn sync(&self) -> impl Future<Output = Result<()>> {
        self.begin(|file| async move { file.fdatasync().await })
    }

    fn allocate(&self, bytes: u64) -> impl Future<Output = Result<()>> {
        self.begin(move |file| async move { file.pre_allocate(bytes, false).await })
    }

    fn set_len(&self, bytes: u64) -> impl Future<Output = Result<()>> {
        self.begin(move |file| async move { file.truncate(bytes).await })
    }

    /// glommio's own asks by the path that the file was opened by, which a rename makes a lie.
    async fn size(&self) -> Result<u64> {
        // SAFETY: the descriptor is open for as long as `self.file`, which outlives this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(self.file.as_raw_fd()) };
        Ok(rustix::fs::fstat(fd)?.st_size as u64)
    }

    async fn close(self) {
        let Self {
            file,
            durable,
            core,
        } = self;
        // An operation that was dropped half-way still holds the file; it is closed after that.
        for file in durable.into_inner().into_iter().chain([file]) {
            let _ = Unbroken::new(&core, file.close_rc()).await;
        }
    }
}
