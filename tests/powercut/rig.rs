//! A file system on the programmable disk: a loop device between them, made once, and mounted for each state.

use crate::disk::Disk;
use crate::image::Image;
use crate::world::Worker;
use rustix::fs::Advice;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A start wants 512 MiB free. Sparse, so it costs nothing.
const DISK_BYTES: u64 = 1 << 30;
/// How long the kernel may hold on to a file system whose last user was killed.
const BUSY_MAX: Duration = Duration::from_secs(20);

/// The file systems that are promised something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fs {
    Ext4,
    Xfs,
}

impl Fs {
    pub(crate) fn mkfs(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }

    /// Nothing is written that nobody asked for, and nothing is left for the kernel to write later.
    fn mkfs_flags(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &[
                "-q",
                "-F",
                "-b",
                "4096",
                "-m",
                "0",
                "-N",
                "4096",
                "-J",
                "size=4",
                "-E",
                "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
            ],
            Self::Xfs => &["-q", "-f", "-K"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// `nouuid`: the states of one worker are copies of one file system.
    fn options(self) -> &'static CStr {
        match self {
            Self::Ext4 => c"noinit_itable",
            Self::Xfs => c"nouuid",
        }
    }
}

/// The disk, the loop device on it, and where it is mounted.
pub(crate) struct Rig {
    fs: Fs,
    loop_path: PathBuf,
    /// Keeps the loop device, which goes with its last user: before the disk goes, that answers it.
    loop_device: File,
    pub(crate) disk: Disk,
    mount_point: PathBuf,
    /// The file system as it was made.
    pub(crate) fresh: Image,
}

impl Rig {
    pub(crate) fn new(worker: &Worker, fs: Fs) -> Self {
        let (fuse, mount_point) = (worker.directory.join("fuse"), worker.directory.join("mnt"));
        for directory in [&fuse, &mount_point] {
            std::fs::create_dir_all(directory).expect("writable");
        }
        let disk = Disk::new(&fuse, DISK_BYTES);
        let loop_path = attach(disk.path());
        let loop_device = File::open(&loop_path).expect("it was made a moment ago");
        // While we have it open this only says: gone with its last user.
        tell("losetup", &["--detach", text(&loop_path)]);
        let flags = [fs.mkfs_flags(), &[text(&loop_path)]].concat();
        tell(fs.mkfs(), &flags);
        let fresh = disk.image();
        Self {
            fs,
            disk,
            loop_path,
            loop_device,
            mount_point,
            fresh,
        }
    }

    /// Puts a state on the disk and mounts it: the kernel replays the journal of its file system. While it is mounted,
    /// what happens is recorded.
    pub(crate) fn mount(&self, image: &Image) -> Result<Mounted<'_>, String> {
        self.disk.load(image);
        // Whoever used the device before may have left clean pages of another state.
        rustix::fs::fadvise(&self.loop_device, 0, None, Advice::DontNeed).expect("it is a device");
        let (name, options) = (self.fs.name(), self.fs.options());
        let flags = MountFlags::NOATIME;
        rustix::mount::mount(&self.loop_path, &self.mount_point, name, flags, options)
            .map_err(|errno| format!("the state cannot be mounted: {errno}"))?;
        Ok(Mounted { rig: self })
    }
}

/// A mounted state. Dropped, it is no longer mounted.
pub(crate) struct Mounted<'a> {
    rig: &'a Rig,
}

impl Mounted<'_> {
    /// The data directory of the broker.
    pub(crate) fn data(&self) -> PathBuf {
        self.rig.mount_point.join("data")
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let until = Instant::now() + BUSY_MAX;
        // A killed broker's rings may still hold files for a moment.
        while let Err(errno) = rustix::mount::unmount(&self.rig.mount_point, UnmountFlags::empty())
        {
            let is_busy = errno == Errno::BUSY && Instant::now() < until;
            assert!(is_busy, "the state cannot be unmounted: {errno}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn attach(disk: &Path) -> PathBuf {
    let flags = ["--find", "--show", "--direct-io=on", text(disk)];
    PathBuf::from(tell("losetup", &flags).trim())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("we chose the name")
}

/// Runs a program that must succeed.
fn tell(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).output();
    let out = out.unwrap_or_else(|error| panic!("{program}: {error}"));
    let (said, error) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{program} {arguments:?}: {error}");
    said
}
