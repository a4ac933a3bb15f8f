//! One core's view of the world: the trait [`Io`].

use crate::base::CoreId;
use crate::base::limits::BLOCK_BYTES;
use crate::io::sim::buffer::SimBuffer;
use crate::io::sim::device::{self, SimFile, SimSource, effect, pause_for_names};
use crate::io::sim::disk::Op;
use crate::io::sim::mailbox::SimMailbox;
use crate::io::sim::net::{self, SimListener, SimReader, SimWriter};
use crate::io::sim::trace::Note;
use crate::io::sim::world::{World, nanos};
use crate::io::{DirEntry, Io, Monotonic, OpenMode};
use rustix::io::Errno;
use std::future::Future;
use std::io::Result;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// How long a yield takes. Not zero: the clock stands while anything is ready, and a loop of yields that waits for a
/// time to come must get there.
const YIELD_NS: u64 = 1_000;

/// What a scan reads at a time: at different times, as the kernel does.
const SCAN_PIECE_BYTES: usize = 16 << 10;

/// The ground of one simulated core.
#[derive(Clone)]
pub struct SimIo {
    world: Rc<World>,
    core: CoreId,
}

impl SimIo {
    pub(super) fn new(world: &Rc<World>, core: u16) -> Self {
        Self {
            world: Rc::clone(world),
            core: CoreId(core),
        }
    }
}

impl Io for SimIo {
    type Buffer = SimBuffer;
    type File = SimFile;
    type Source = SimSource;
    type Listener = SimListener;
    type Reader = SimReader;
    type Writer = SimWriter;
    type Mailbox<M: Send + 'static> = SimMailbox<M>;

    fn core(&self) -> CoreId {
        self.core
    }

    fn now(&self) -> Monotonic {
        Monotonic(self.world.now())
    }

    fn wall_ms(&self) -> i64 {
        self.world.wall_ms()
    }

    fn random(&self) -> u64 {
        let value = self.world.rng().next_u64();
        self.world.note(Note::Random { value });
        value
    }

    fn boot_id(&self) -> u128 {
        self.world.disk.boot_id()
    }

    async fn sleep(&self, duration: Duration) {
        let deadline = self.world.now().saturating_add(nanos(duration));
        self.world.sleep_until(deadline).await;
    }

    async fn yield_now(&self) {
        self.world.sleep_until(self.world.now() + YIELD_NS).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.spawn(self.core.0, task);
    }

    fn buffer(&self, bytes: usize) -> SimBuffer {
        assert!(bytes.is_multiple_of(BLOCK_BYTES), "{bytes} bytes of buffer");
        SimBuffer::new(bytes)
    }

    async fn open(&self, path: &Path, mode: OpenMode) -> Result<SimFile> {
        let node = match mode {
            OpenMode::Existing => {
                pause_for_names(&self.world).await;
                self.world.disk.find_file(path)?
            }
            OpenMode::CreateNew => {
                let path = path.to_owned();
                effect(&self.world, Op::Create { path }).await?
            }
        };
        Ok(SimFile::new(&self.world, node))
    }

    async fn open_source(&self, path: &Path) -> Result<SimSource> {
        pause_for_names(&self.world).await;
        let node = self.world.disk.find_file(path)?;
        Ok(SimSource::new(&self.world, node))
    }

    async fn read_source(
        &self,
        source: &SimSource,
        position: u64,
        bytes: usize,
    ) -> Result<Vec<u8>> {
        let mut out = vec![0; bytes];
        let there = device::read_source(&self.world, source, position, &mut out).await?;
        out.truncate(there);
        Ok(out)
    }

    /// Drawn: nothing may rely on it.
    fn is_warm(&self, _source: &SimSource, _position: u64, _bytes: u64) -> bool {
        let value = self.world.rng().below(4);
        self.world.note(Note::Random { value });
        value > 0
    }

    async fn scan_source<T: Send + 'static>(
        &self,
        source: &SimSource,
        position: u64,
        bytes: u64,
        mut state: T,
        look: fn(&mut T, &[u8]) -> bool,
    ) -> Result<T> {
        let mut piece = vec![0; SCAN_PIECE_BYTES.min(bytes as usize)];
        let mut seen = 0;
        while seen < bytes {
            let wanted = piece.len().min((bytes - seen) as usize);
            let at = position + seen;
            let there = device::read_source(&self.world, source, at, &mut piece[..wanted]).await?;
            if there == 0 || !look(&mut state, &piece[..there]) {
                break;
            }
            seen += there as u64;
        }
        Ok(state)
    }

    /// At once: what takes long on a CPU takes no time here.
    async fn aside<T: Send + 'static, R: Send + 'static>(
        &self,
        state: T,
        work: fn(T) -> R,
    ) -> Result<R> {
        Ok(work(state))
    }

    async fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let op = Op::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        effect(&self.world, op).await.map(drop)
    }

    async fn remove_file(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        effect(&self.world, Op::RemoveFile { path }).await.map(drop)
    }

    async fn remove_dir(&self, path: &Path) -> Result<()> {
        let path = path.to_owned();
        effect(&self.world, Op::RemoveDir { path }).await.map(drop)
    }

    async fn create_dir_all(&self, path: &Path) -> Result<()> {
        let above: Vec<PathBuf> = path.ancestors().map(PathBuf::from).collect();
        for path in above.into_iter().rev() {
            match self.world.disk.find_dir(&path) {
                Ok(_) => continue,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            match effect(&self.world, Op::MakeDir { path: path.clone() }).await {
                Ok(_) => {}
                Err(_) if self.world.disk.find_dir(&path).is_ok() => {} // another task was faster
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn list_dir(&self, path: &Path) -> Result<Vec<DirEntry>> {
        pause_for_names(&self.world).await;
        Ok(self.world.disk.list(path)?)
    }

    async fn sync_dir(&self, path: &Path) -> Result<()> {
        let op = Op::SyncDir {
            node: self.world.disk.find_dir(path)?,
            upto: self.world.disk.newest(),
        };
        effect(&self.world, op).await.map(drop)
    }

    async fn free_bytes(&self, _path: &Path) -> Result<u64> {
        pause_for_names(&self.world).await;
        Ok(self.world.disk.free())
    }

    async fn listen(&self, address: SocketAddr) -> Result<SimListener> {
        net::listen(&self.world, address)
    }

    async fn connect(&self, address: SocketAddr) -> Result<(SimReader, SimWriter)> {
        net::connect(&self.world, address).await
    }
}
