//! Where the demo's data lies: the first directory for temporary files that a broker could serve from for real, which
//! one in memory is not. If there is none but that, it says so.

use crate::cli::demo::TempDir;
use crate::cli::exit::{Exit, Failure};
use crate::ops::preflight::{self, PreflightError};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a broker keeps beside the records: journals, indexes, the tail of the last segment.
const SPARE_BYTES: u64 = 1 << 30;
/// A record of the shortest lines takes several times its line: so much room is asked for, in bytes per byte of lines.
const GROWTH: u64 = 2;

/// A temporary directory, and what is known about it.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    /// No disk would do: the data lies in memory.
    pub is_in_memory: bool,
}

impl Place {
    /// Tries $TMPDIR or /tmp, /var/tmp, ./target and the working directory, for `bytes` of lines.
    pub fn find(bytes: u64) -> Result<Self, Failure> {
        Self::find_in(&candidates(), bytes)
    }

    fn find_in(parents: &[PathBuf], bytes: u64) -> Result<Self, Failure> {
        let needed = bytes.saturating_mul(GROWTH).saturating_add(SPARE_BYTES);
        let mut refusals: Vec<(&PathBuf, PreflightError)> = Vec::new();
        for parent in parents {
            match attempt(parent, needed, false) {
                Ok(place) => return Ok(place),
                Err(error) => refusals.push((parent, error)),
            }
        }
        let in_memory = |error: &PreflightError| matches!(error, PreflightError::MemoryFs { .. });
        if let Some((parent, _)) = refusals.iter().find(|(_, error)| in_memory(error))
            && let Ok(place) = attempt(parent, needed, true)
        {
            return Ok(place);
        }
        let (_, first) = refusals.first().ok_or_else(|| {
            Failure::new(
                Exit::Config,
                "there is no directory for temporary files; set TMPDIR",
            )
        })?;
        let line = format!("{first} (for the demo: set TMPDIR to a directory there)");
        Err(Failure::new(Exit::Config, line))
    }

    /// The temporary directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The broker's data directory in it.
    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, removed at the end", self.path().display())?;
        if self.is_in_memory {
            f.write_str(" (IN MEMORY: no disk was found, so the figures say nothing about one)")?;
        }
        Ok(())
    }
}

/// All that starting a broker there asks for, but for starting it: the lock is given back.
fn attempt(parent: &Path, needed: u64, allow_memory_fs: bool) -> Result<Place, PreflightError> {
    let directory = TempDir::make(parent).map_err(|cause| PreflightError::NotWritable {
        path: parent.to_owned(),
        cause,
    })?;
    let data = directory.path().join("data");
    drop(preflight::check(&data, needed, allow_memory_fs)?);
    Ok(Place {
        directory,
        is_in_memory: allow_memory_fs,
    })
}

/// The build's own directory suits a clone on a machine whose /tmp is in memory.
fn candidates() -> Vec<PathBuf> {
    let mut parents = vec![std::env::temp_dir(), PathBuf::from("/var/tmp")];
    if let Ok(here) = std::env::current_dir() {
        parents.extend([here.join("target"), here]);
    }
    parents.retain(|parent| parent.is_dir());
    parents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_serves_is_taken_and_goes_with_the_place() {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target");
        let parents = [PathBuf::from("/nowhere"), here.clone()];
        let Ok(place) = Place::find_in(&parents, 1) else {
            return eprintln!("skipped: {} serves no broker", here.display());
        };
        assert!(place.path().starts_with(&here) && place.data().is_dir());
        let path = place.path().to_path_buf();
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn nowhere_is_told_in_one_line() {
        for parents in [&[][..], &[PathBuf::from("/nowhere")]] {
            let failure = Place::find_in(parents, 1).expect_err("nowhere");
            assert_eq!(failure.exit, Exit::Config);
            assert!(failure.line.contains("TMPDIR"), "{}", failure.line);
        }
    }

    #[test]
    fn no_machine_has_room_for_everything() {
        let parents = [std::env::temp_dir()];
        let failure = Place::find_in(&parents, u64::MAX).expect_err("too much");
        assert_eq!(failure.exit, Exit::Config);
    }
}
