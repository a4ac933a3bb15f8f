//! Checks before serving: what would stop the broker later, or make it lose data in silence, is said now, in one line
//! of cause and remedy. Runs before any core, so it may block.

use crate::base::limits::BLOCK_BYTES;
use crate::io::uring::probe_ring;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::process::Resource;
use std::fs::File;
use std::io::{Error, Read, Seek, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Below this many bytes of locked memory the rings are not made.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// `f_type` of file systems that forget everything with the power: tmpfs, ramfs.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// The lock, inside the data directory.
const LOCK_NAME: &str = "lock";

/// Why the broker must not start. Each prints as one line: the cause, then what to do.
#[derive(Error, Debug)]
pub enum PreflightError {
    /// The kernel or a sandbox refuses io_uring.
    #[error("io_uring cannot be used here ({cause}); {remedy}")]
    Ring {
        /// What the kernel said.
        cause: Error,
        /// Which setting forbids it, as far as that can be told.
        remedy: String,
    },
    /// Too little memory may be locked for the rings.
    #[error(
        "the memlock limit is {bytes} bytes and io_uring needs at least {MEMLOCK_BYTES_MIN}; raise it with \
         LimitMEMLOCK=infinity (systemd), --ulimit memlock=-1 (containers) or ulimit -l"
    )]
    Memlock {
        /// The hard limit.
        bytes: u64,
    },
    /// The data directory, or its lock file, can be neither opened nor made.
    #[error(
        "the data directory {} cannot be written ({cause}); make it, owned by the user that the broker runs as, on a \
         file system mounted for writing", path.display()
    )]
    NotWritable {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        cause: Error,
    },
    /// Another process serves the directory.
    #[error(
        "another millrace serves the data directory {}{}; stop it or give this one a directory of its own",
        path.display(), pid.map_or(String::new(), |pid| format!(", pid {pid}"))
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// Who holds the lock, if it says so.
        pid: Option<u32>,
    },
    /// There is no such directory.
    #[error("{} is no directory; name the data directory of a broker", path.display())]
    NoData {
        /// What was named.
        path: PathBuf,
    },
    /// The data would live in memory.
    #[error(
        "the data directory {} is in memory and is lost with the power; put it on a disk, or allow it for a test",
        path.display()
    )]
    MemoryFs {
        /// The data directory.
        path: PathBuf,
    },
    /// The file system has no direct I/O in blocks of ours.
    #[error(
        "the file system of {} has no direct I/O in blocks of {BLOCK_BYTES} bytes ({found}); use ext4 or xfs on a \
         local disk", path.display()
    )]
    NoDirectIo {
        /// The data directory.
        path: PathBuf,
        /// What it has instead.
        found: String,
    },
    /// Too little space to start with.
    #[error(
        "{} has {free_bytes} bytes free, fewer than the {needed_bytes} that starting needs; remove what is not ours \
         there, or move the data to a larger disk", path.display()
    )]
    DiskFull {
        /// The data directory.
        path: PathBuf,
        /// What is free for this user.
        free_bytes: u64,
        /// What was asked for.
        needed_bytes: u64,
    },
    /// The system would not tell.
    #[error("the file system of {} cannot be examined ({cause}); check the disk and the kernel log", path.display())]
    Unknown {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        cause: Error,
    },
}

/// The claim on a data directory: while it lives no other broker serves it. The kernel drops it with the process.
#[derive(Debug)]
#[must_use = "dropping it lets another broker in"]
pub struct DataLock {
    _file: File,
}

/// Checks the machine and the data directory, which is made if only it is missing, and claims it. At least
/// `free_bytes_min` must be free. A directory in memory passes only with `allow_memory_fs`.
pub fn check(
    data: &Path,
    free_bytes_min: u64,
    allow_memory_fs: bool,
) -> Result<DataLock, PreflightError> {
    check_ring()?;
    check_memlock(rustix::process::getrlimit(Resource::Memlock).maximum)?;
    let lock = claim(data)?;
    let is_in_memory = is_memory_fs(data)?;
    if is_in_memory && !allow_memory_fs {
        return Err(PreflightError::MemoryFs {
            path: data.to_owned(),
        });
    }
    if !is_in_memory {
        check_direct_io(data)?;
    }
    check_space(data, free_bytes_min)?;
    Ok(lock)
}

/// Claims a data directory for a command that works on it while no broker does. Nothing is made or written: a directory
/// without a lock file has never been served, and `None` stands for its lock.
pub fn claim_offline(data: &Path) -> Result<Option<DataLock>, PreflightError> {
    check_ring()?;
    check_memlock(rustix::process::getrlimit(Resource::Memlock).maximum)?;
    if !data.is_dir() {
        return Err(PreflightError::NoData {
            path: data.to_owned(),
        });
    }
    let mut file = match File::open(data.join(LOCK_NAME)) {
        Ok(file) => file,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => {
            let path = data.to_owned();
            return Err(PreflightError::NotWritable { path, cause });
        }
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(DataLock { _file: file })),
        Err(Errno::WOULDBLOCK) => Err(PreflightError::Locked {
            path: data.to_owned(),
            pid: holder(&mut file),
        }),
        Err(cause) => Err(unknown(data)(cause)),
    }
}

fn check_ring() -> Result<(), PreflightError> {
    probe_ring().map_err(|cause| {
        let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        let remedy = ring_remedy(cause.raw_os_error(), disabled.as_deref().map(str::trim));
        PreflightError::Ring { cause, remedy }
    })
}

/// `disabled` is the value of kernel.io_uring_disabled, where the kernel has it (6.6).
fn ring_remedy(code: Option<i32>, disabled: Option<&str>) -> String {
    let is = |errno: Errno| code == Some(errno.raw_os_error());
    let remedy = match disabled {
        Some("2") => "set sysctl kernel.io_uring_disabled=0 on the host",
        Some("1") if is(Errno::PERM) => {
            "set sysctl kernel.io_uring_disabled=0 on the host, or put this user into the group of \
             kernel.io_uring_group"
        }
        _ if is(Errno::PERM) || is(Errno::ACCESS) => {
            "a seccomp profile or a security module forbids it, as container runtimes do by default: run with one \
             that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        _ if is(Errno::NOSYS) => {
            "the kernel was built without it or a seccomp profile hides it: use Linux 5.15 or later, and a profile \
             that allows io_uring_setup, io_uring_enter and io_uring_register"
        }
        _ if is(Errno::NOMEM) => {
            "no memory may be locked: raise the memlock limit (LimitMEMLOCK=infinity, ulimit -l)"
        }
        _ if is(Errno::MFILE) || is(Errno::NFILE) => {
            "no file descriptors are left: raise LimitNOFILE (ulimit -n)"
        }
        _ => "use Linux 5.15 or later, and see the kernel log",
    };
    remedy.to_owned()
}

/// `limit` is the hard one, up to which the cores raise the soft one; `None` is unlimited.
fn check_memlock(limit: Option<u64>) -> Result<(), PreflightError> {
    match limit {
        Some(bytes) if bytes < MEMLOCK_BYTES_MIN => Err(PreflightError::Memlock { bytes }),
        _ => Ok(()),
    }
}

/// Takes the lock of the directory and writes our process into it.
fn claim(data: &Path) -> Result<DataLock, PreflightError> {
    let refused = |cause| PreflightError::NotWritable {
        path: data.to_owned(),
        cause,
    };
    match std::fs::create_dir(data) {
        Err(cause) if cause.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(refused(cause));
        }
        _ => {}
    }
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(data.join(LOCK_NAME)).map_err(refused)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(PreflightError::Locked {
                path: data.to_owned(),
                pid: holder(&mut file),
            });
        }
        Err(cause) => return Err(refused(cause.into())),
    }
    // The number is for people; the lock is the kernel's. A disk without room for it is told by `check_space`.
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    match written {
        Err(cause) if cause.kind() != std::io::ErrorKind::StorageFull => Err(refused(cause)),
        _ => Ok(DataLock { _file: file }),
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn unknown(data: &Path) -> impl Fn(Errno) -> PreflightError {
    |cause| PreflightError::Unknown {
        path: data.to_owned(),
        cause: cause.into(),
    }
}

fn is_memory_fs(data: &Path) -> Result<bool, PreflightError> {
    let stat = rustix::fs::statfs(data).map_err(unknown(data))?;
    // The type of the field differs between architectures; the magic numbers are 32 bits.
    Ok(MEMORY_FILE_SYSTEMS.contains(&(stat.f_type as u64 & 0xffff_ffff)))
}

/// Opens the lock file for direct I/O and asks in which blocks it goes. Some file systems accept the flag and copy
/// through the page cache all the same: those tell (since Linux 6.1) an alignment of 0.
fn check_direct_io(data: &Path) -> Result<(), PreflightError> {
    let refused = |found: String| PreflightError::NoDirectIo {
        path: data.to_owned(),
        found,
    };
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = match rustix::fs::open(data.join(LOCK_NAME), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::INVAL) => return Err(refused("it refuses O_DIRECT".to_owned())),
        Err(cause) => return Err(unknown(data)(cause)),
    };
    let asked = rustix::fs::statx(&file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let stat = asked.map_err(unknown(data))?;
    if StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::DIOALIGN) {
        direct_alignment(stat.stx_dio_mem_align, stat.stx_dio_offset_align).map_err(refused)?;
    }
    Ok(())
}

/// Whether blocks and buffers of ours suit a file that asks for these alignments.
fn direct_alignment(memory: u32, offset: u32) -> Result<(), String> {
    let block = BLOCK_BYTES as u32;
    let suits = |align: u32| align != 0 && block.is_multiple_of(align);
    if suits(memory) && suits(offset) {
        return Ok(());
    }
    Err(match offset {
        0 => "it goes through the page cache".to_owned(),
        _ => format!("it asks for {offset}, in memory for {memory}"),
    })
}

fn check_space(data: &Path, needed_bytes: u64) -> Result<(), PreflightError> {
    let stat = rustix::fs::statvfs(data).map_err(unknown(data))?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(PreflightError::DiskFull {
        path: data.to_owned(),
        free_bytes,
        needed_bytes,
    })
}

#[cfg(test)]
mod tests {
    //! Goal: each cause that can be provoked here is told apart and told in one line; the others through the pure
    //! functions that judge what the system said.

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(parent: &Path, name: &str) -> Self {
            let path = parent.join(format!("millrace-preflight-{}-{name}", std::process::id()));
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn refusal(data: &Path, free_bytes_min: u64) -> PreflightError {
        let error = check(data, free_bytes_min, false).expect_err("there is a reason to refuse");
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line}");
        assert!(line.contains("; "), "cause and remedy: {line}");
        error
    }

    #[test]
    fn a_good_directory_is_made_and_claimed_once() {
        let scratch = Scratch::new(&std::env::temp_dir(), "good");
        let first = check(&scratch.0, 1, true).expect("this machine can serve");
        let second = refusal(&scratch.0, 1);
        let is_ours = matches!(second, PreflightError::Locked { pid: Some(pid), .. } if pid == std::process::id());
        assert!(is_ours, "{second}");
        assert!(second.to_string().contains("another millrace serves"));
        drop(first);
        let _again = check(&scratch.0, 1, true).expect("free again");
    }

    #[test]
    fn memory_passes_only_when_allowed() {
        let memory = Path::new("/dev/shm");
        if !memory.is_dir() || !is_memory_fs(memory).expect("it can be asked") {
            return;
        }
        let scratch = Scratch::new(memory, "memory");
        assert!(matches!(
            refusal(&scratch.0, 1),
            PreflightError::MemoryFs { .. }
        ));
        let _lock = check(&scratch.0, 1, true).expect("allowed");
    }

    #[test]
    fn a_missing_parent_and_a_file_in_the_way_are_not_writable() {
        let scratch = Scratch::new(&std::env::temp_dir(), "parent");
        let missing = refusal(&scratch.0.join("data"), 1);
        assert!(matches!(missing, PreflightError::NotWritable { .. }));
        std::fs::create_dir(&scratch.0).expect("the temporary directory is writable");
        let file = scratch.0.join("file");
        std::fs::write(&file, "in the way").expect("the temporary directory is writable");
        assert!(matches!(
            refusal(&file, 1),
            PreflightError::NotWritable { .. }
        ));
        let read_only = refusal(Path::new("/proc/self"), 1);
        assert!(matches!(read_only, PreflightError::NotWritable { .. }));
    }

    #[test]
    fn a_disk_without_room_is_full() {
        let scratch = Scratch::new(&std::env::temp_dir(), "full");
        let full = check(&scratch.0, u64::MAX, true).expect_err("no disk has that");
        assert!(matches!(full, PreflightError::DiskFull { free_bytes, .. } if free_bytes > 0));
    }

    #[test]
    fn memlock_counts_from_half_a_mebibyte() {
        assert!(check_memlock(None).is_ok());
        assert!(check_memlock(Some(MEMLOCK_BYTES_MIN)).is_ok());
        let low = check_memlock(Some(64 << 10)).expect_err("too low");
        assert!(low.to_string().contains("65536") && low.to_string().contains("LimitMEMLOCK"));
    }

    #[test]
    fn each_refusal_of_the_ring_names_its_setting() {
        let code = |errno: Errno| Some(errno.raw_os_error());
        for (code, disabled, word) in [
            (code(Errno::PERM), Some("2"), "kernel.io_uring_disabled=0"),
            (code(Errno::PERM), Some("1"), "kernel.io_uring_group"),
            (code(Errno::PERM), Some("0"), "seccomp"),
            (code(Errno::PERM), None, "seccomp"),
            (code(Errno::NOSYS), None, "5.15"),
            (code(Errno::NOMEM), Some("0"), "memlock"),
            (code(Errno::MFILE), Some("0"), "LimitNOFILE"),
            (None, None, "kernel log"),
        ] {
            let remedy = ring_remedy(code, disabled);
            assert!(remedy.contains(word), "{code:?} {disabled:?}: {remedy}");
        }
    }

    #[test]
    fn alignments_up_to_a_block_suit() {
        for (memory, offset) in [(512, 512), (4, 512), (4096, 4096), (1, 1)] {
            assert_eq!(direct_alignment(memory, offset), Ok(()));
        }
        for (memory, offset) in [(0, 0), (512, 8192), (8192, 512), (512, 3000)] {
            assert!(direct_alignment(memory, offset).is_err());
        }
    }
}
