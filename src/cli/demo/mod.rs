//! `millrace demo`: what the broker does, on this machine, with real lines, without leaving anything behind.

pub mod feed;
pub mod generate;
pub mod latency;
pub mod sources;

use std::io;
use std::path::{Path, PathBuf};

/// A directory that is removed with all that is in it when it goes out of scope.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes a new directory below `parent`.
    pub fn make(parent: &Path) -> io::Result<Self> {
        for attempt in 0..1000u32 {
            let name = format!("millrace-{}-{attempt}", std::process::id());
            let path = parent.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed lies in a directory for temporary files: others will clear it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_differ_and_go_with_their_content() {
        let parent = std::env::temp_dir();
        let (a, b) = (TempDir::make(&parent), TempDir::make(&parent));
        let (a, b) = (a.expect("writable"), b.expect("writable"));
        assert_ne!(a.path(), b.path());
        let path = a.path().to_path_buf();
        std::fs::write(path.join("x"), "x").expect("writable");
        drop(a);
        assert!(!path.exists() && b.path().exists());
    }
}
