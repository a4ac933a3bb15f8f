//! The programmable disk: one file of a FUSE file system, held in memory, for a loop device to stand on.
//!
//! Every write and every flush goes into one log, in the order in which they were completed. A position in that log is
//! a moment of the disk's life: who hears an acknowledgement notes the position after it ([`Clock::now`]), and whatever
//! had made it durable lies before.
//!
//! A write is late by choice: it is completed a little after it came, and a flush that comes meanwhile does not cover
//! it. A program that flushes without having waited for its writes is found out by that.

use crate::image::Image;
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The name of the disk in its file system.
const NAME: &str = "disk";
/// The largest write that the kernel sends in one piece.
const WRITE_BYTES_MAX: u32 = 1 << 20;
const ATTRIBUTES_LIVE: Duration = Duration::from_secs(3600);
const ROOT: u64 = 1;
const FILE: u64 = 2;

/// What happened to the disk.
#[derive(Clone)]
pub(crate) enum Event {
    Write { at: u64, bytes: Arc<[u8]> },
    Flush,
}

/// What the disk does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Every write fails with EIO.
    WriteFails,
    /// Every write fails with ENOSPC, as on a thin volume without space.
    NoSpace,
    /// A write reaches the disk in part and fails with EIO; all later ones fail. It is not answered with a short count:
    /// Linux 6.18's loop device takes such an answer for the whole (seen here), so that nobody above could tell. What
    /// the broker makes of a short count is tested where its calls are, in `log/tests/fail.rs`.
    WriteTorn,
    /// One flush fails with EIO, what it should have made durable is gone, and later flushes succeed: as after a
    /// write-back that Linux has reported once.
    FlushFails,
    /// Flushes are acknowledged and not honoured.
    Lies,
}

/// A recording: what the disk held, and what happened then.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) base: Image,
    pub(crate) log: Vec<Event>,
}

impl Recording {
    /// The positions of the flushes: a cut at one is a cut while it was awaited.
    pub(crate) fn flushes(&self) -> Vec<usize> {
        let flushes = self.log.iter().enumerate();
        let flushes = flushes.filter(|(_, event)| matches!(event, Event::Flush));
        flushes.map(|(position, _)| position).collect()
    }
}

struct State {
    image: Image,
    base: Image,
    /// While it is faulty: what was there when it began, and when that was.
    flushed: Option<Image>,
    armed_at: usize,
    log: Vec<Event>,
    late: Duration,
    fault: Option<Fault>,
    struck: u64,
}

/// A write that is on its way, and who waits for it.
struct Late {
    due: Instant,
    at: u64,
    bytes: Arc<[u8]>,
    reply: ReplyWrite,
}

/// A disk that is there. Dropped, it is gone, and so is what it held.
pub(crate) struct Disk {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    _session: BackgroundSession,
}

/// Tells the moments of a disk to whoever hears acknowledgements.
#[derive(Clone)]
pub(crate) struct Clock {
    state: Arc<Mutex<State>>,
}

impl Clock {
    /// The position in the log: all that is complete lies before it.
    pub(crate) fn now(&self) -> usize {
        lock(&self.state).log.len()
    }
}

impl Disk {
    /// A disk of zeros, as a file below the directory `at`.
    pub(crate) fn new(at: &Path, bytes: u64) -> Self {
        let image = Image::new(bytes);
        let state = Arc::new(Mutex::new(State {
            base: image.clone(),
            image,
            flushed: None,
            armed_at: 0,
            log: Vec::new(),
            late: Duration::ZERO,
            fault: None,
            struck: 0,
        }));
        let (late, due) = channel();
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || complete(&of_thread, &due));
        let server = Server {
            state: Arc::clone(&state),
            late,
            bytes,
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("millrace-powercut".to_owned())];
        let session = fuser::spawn_mount(server, at, &config).expect("FUSE was there a moment ago");
        Self {
            state,
            path: at.join(NAME),
            _session: session,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts another content in, and begins a new recording.
    pub(crate) fn load(&self, image: &Image) {
        let mut state = lock(&self.state);
        state.image = image.clone();
        state.base = image.clone();
        state.log.clear();
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock {
            state: Arc::clone(&self.state),
        }
    }

    pub(crate) fn image(&self) -> Image {
        lock(&self.state).image.clone()
    }

    /// What happened since [`Disk::load`].
    pub(crate) fn recording(&self) -> Recording {
        let state = lock(&self.state);
        Recording {
            base: state.base.clone(),
            log: state.log.clone(),
        }
    }

    /// How long a write takes.
    pub(crate) fn late(&self, late: Duration) {
        lock(&self.state).late = late;
    }

    /// From now on this is wrong.
    pub(crate) fn fault(&self, fault: Fault) {
        let mut state = lock(&self.state);
        state.fault = Some(fault);
        state.struck = 0;
        state.armed_at = state.log.len();
        state.flushed = Some(state.image.clone());
    }

    /// From now on it is sound. Tells how often it was not.
    pub(crate) fn heal(&self) -> u64 {
        let mut state = lock(&self.state);
        state.fault = None;
        state.flushed = None;
        std::mem::take(&mut state.struck)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nothing panics under this lock")
}

impl State {
    fn write(&mut self, at: u64, bytes: Arc<[u8]>) -> Result<usize, Errno> {
        let (errno, reached) = match self.fault {
            Some(Fault::WriteFails) => (Errno::EIO, 0),
            Some(Fault::NoSpace) => (Errno::ENOSPC, 0),
            Some(Fault::WriteTorn) if self.struck == 0 => (Errno::EIO, bytes.len() / 1024 * 512),
            Some(Fault::WriteTorn) => (Errno::EIO, 0),
            _ => {
                let count = bytes.len();
                self.keep(at, bytes);
                return Ok(count);
            }
        };
        self.struck += 1;
        if reached > 0 {
            self.keep(at, Arc::from(&bytes[..reached]));
        }
        Err(errno)
    }

    fn keep(&mut self, at: u64, bytes: Arc<[u8]>) {
        self.image.write(at, &bytes);
        self.log.push(Event::Write { at, bytes });
    }

    fn flush(&mut self) -> Result<(), Errno> {
        match self.fault {
            Some(Fault::Lies) => {
                self.struck += 1;
                return Ok(());
            }
            Some(Fault::FlushFails) if self.struck == 0 => {
                self.struck += 1;
                self.forget_pending();
                return Err(Errno::EIO);
            }
            _ => {}
        }
        self.log.push(Event::Flush);
        Ok(())
    }

    /// What was written since the fault began is gone: no flush has come since. The log keeps its length: positions in it are moments.
    fn forget_pending(&mut self) {
        for event in self.log.iter_mut().skip(self.armed_at) {
            *event = Event::Write {
                at: 0,
                bytes: Arc::from([]),
            };
        }
        self.image = self.flushed.take().expect("kept since the fault began");
    }
}

/// Completes late writes, each when it is due.
fn complete(state: &Mutex<State>, due: &Receiver<Late>) {
    for write in due {
        std::thread::sleep(write.due.saturating_duration_since(Instant::now()));
        answer(lock(state).write(write.at, write.bytes), write.reply);
    }
}

fn answer(written: Result<usize, Errno>, reply: ReplyWrite) {
    match written {
        Ok(bytes) => reply.written(bytes as u32),
        Err(errno) => reply.error(errno),
    }
}

struct Server {
    state: Arc<Mutex<State>>,
    late: Sender<Late>,
    bytes: u64,
}

impl Server {
    fn attributes(&self, inode: u64) -> FileAttr {
        let is_file = inode == FILE;
        let size = if is_file { self.bytes } else { 0 };
        FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Server {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let set = config.set_max_write(WRITE_BYTES_MAX);
        let background = config.set_max_background(64);
        match (set, background) {
            (Ok(_), Ok(_)) => Ok(()),
            other => Err(std::io::Error::other(format!("{other:?}"))),
        }
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent.0 == ROOT && name == NAME {
            reply.entry(&ATTRIBUTES_LIVE, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&ATTRIBUTES_LIVE, &self.attributes(inode.0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = u64::from(bytes).min(self.bytes.saturating_sub(at));
        let mut out = vec![0; bytes as usize];
        lock(&self.state).image.read(at, &mut out);
        reply.data(&out);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = lock(&self.state);
        if state.late.is_zero() {
            return answer(state.write(at, Arc::from(bytes)), reply);
        }
        let due = Instant::now() + state.late;
        let bytes = Arc::from(bytes);
        let late = Late {
            due,
            at,
            bytes,
            reply,
        };
        drop(state);
        self.late.send(late).expect("its thread ends with us");
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match lock(&self.state).flush() {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }
}
