//! A ground that is looked at and not changed: reads go to the one beneath, and whatever would change a file or a name
//! is answered as if it had been done. So the code of a start can be run to learn what it would find and do.
//!
//! A file that it "made" takes any write and is empty for reads. What was "removed" or "renamed" is still there.

use crate::base::CoreId;
use crate::io::{DirEntry, File, Io, Monotonic, OpenMode};
use std::future::Future;
use std::io::Result;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// See the module's words.
#[derive(Clone, Debug)]
pub struct Still<I> {
    beneath: I,
}

impl<I: Io> Still<I> {
    /// Looks at what is on `beneath`.
    pub fn new(beneath: I) -> Self {
        Self { beneath }
    }
}

/// A file of a [`Still`].
#[derive(Debug)]
pub enum StillFile<I: Io> {
    /// One that is there.
    There(I::File),
    /// One that was only said to be made.
    Nowhere(I),
}

impl<I: Io> File for StillFile<I> {
    type Buffer = I::Buffer;

    async fn write_at(&self, buffer: Rc<I::Buffer>, _position: u64) -> Result<usize> {
        Ok((*buffer).as_ref().len())
    }

    async fn write_durable_at(&self, buffer: Rc<I::Buffer>, _position: u64) -> Result<usize> {
        Ok((*buffer).as_ref().len())
    }

    async fn read_at(&self, position: u64, bytes: usize) -> Result<I::Buffer> {
        match self {
            Self::There(file) => file.read_at(position, bytes).await,
            Self::Nowhere(io) => {
                let mut nothing = io.buffer(bytes);
                crate::io::AlignedBuffer::truncate(&mut nothing, 0);
                Ok(nothing)
            }
        }
    }

    async fn sync(&self) -> Result<()> {
        Ok(())
    }

    async fn allocate(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    async fn set_len(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }

    async fn size(&self) -> Result<u64> {
        match self {
            Self::There(file) => file.size().await,
            Self::Nowhere(_) => Ok(0),
        }
    }

    async fn close(self) {
        if let Self::There(file) = self {
            file.close().await;
        }
    }
}

impl<I: Io> Io for Still<I> {
    type Buffer = I::Buffer;
    type File = StillFile<I>;
    type Source = I::Source;
    type Listener = I::Listener;
    type Reader = I::Reader;
    type Writer = I::Writer;
    type Mailbox<M: Send + 'static> = I::Mailbox<M>;

    fn core(&self) -> CoreId {
        self.beneath.core()
    }

    fn now(&self) -> Monotonic {
        self.beneath.now()
    }

    fn wall_ms(&self) -> i64 {
        self.beneath.wall_ms()
    }

    fn random(&self) -> u64 {
        self.beneath.random()
    }

    fn boot_id(&self) -> u128 {
        self.beneath.boot_id()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        self.beneath.sleep(duration)
    }

    fn yield_now(&self) -> impl Future<Output = ()> {
        self.beneath.yield_now()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.beneath.spawn(task);
    }

    fn buffer(&self, bytes: usize) -> I::Buffer {
        self.beneath.buffer(bytes)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> Result<StillFile<I>> {
        match mode {
            OpenMode::Existing => self.beneath.open(path, mode).await.map(StillFile::There),
            OpenMode::CreateNew => Ok(StillFile::Nowhere(self.beneath.clone())),
        }
    }

    fn open_source(&self, path: &Path) -> impl Future<Output = Result<I::Source>> {
        self.beneath.open_source(path)
    }

    fn read_source(
        &self,
        source: &I::Source,
        position: u64,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> {
        self.beneath.read_source(source, position, bytes)
    }

    fn is_warm(&self, source: &I::Source, position: u64, bytes: u64) -> bool {
        self.beneath.is_warm(source, position, bytes)
    }

    fn scan_source<T: Send + 'static>(
        &self,
        source: &I::Source,
        position: u64,
        bytes: u64,
        state: T,
        look: fn(&mut T, &[u8]) -> bool,
    ) -> impl Future<Output = Result<T>> {
        self.beneath
            .scan_source(source, position, bytes, state, look)
    }

    fn aside<T: Send + 'static, R: Send + 'static>(
        &self,
        state: T,
        work: fn(T) -> R,
    ) -> impl Future<Output = Result<R>> {
        self.beneath.aside(state, work)
    }

    async fn rename(&self, _from: &Path, _to: &Path) -> Result<()> {
        Ok(())
    }

    async fn remove_file(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    async fn remove_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    async fn create_dir_all(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn list_dir(&self, path: &Path) -> impl Future<Output = Result<Vec<DirEntry>>> {
        self.beneath.list_dir(path)
    }

    async fn sync_dir(&self, _path: &Path) -> Result<()> {
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> impl Future<Output = Result<u64>> {
        self.beneath.free_bytes(path)
    }

    fn listen(&self, address: SocketAddr) -> impl Future<Output = Result<I::Listener>> {
        self.beneath.listen(address)
    }

    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = Result<(Self::Reader, Self::Writer)>> {
        self.beneath.connect(address)
    }
}
