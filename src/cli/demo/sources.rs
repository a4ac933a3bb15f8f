//! Which log files the demo ingests: those named, else what is readable below /var/log. They are opened once and kept,
//! so that a rotation in between changes nothing.

use crate::cli::exit::{Exit, Failure};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// The most files that are taken from a folder.
const FILES_MAX: usize = 64;
/// How deep a folder is searched.
const DEPTH_MAX: usize = 4;
/// How much of a file is looked at to tell text from other bytes.
const SNIFF_BYTES: usize = 4096;
const COMPRESSED: [&str; 5] = ["gz", "xz", "zst", "bz2", "lz4"];

/// An open file with lines in it.
#[derive(Debug)]
pub struct LogFile {
    /// Where it was found.
    pub path: PathBuf,
    /// Open for reading, at its start.
    pub file: File,
    /// Its length when it was opened.
    pub bytes: u64,
}

/// Opens the files that were named; every one must be readable and not empty.
pub fn open_named(paths: &[PathBuf]) -> Result<Vec<LogFile>, Failure> {
    let open = |path: &PathBuf| {
        let refused = |why: String| {
            let line = format!("{} {why}; name a file with lines in it", path.display());
            Failure::new(Exit::Io, line)
        };
        let opened = open_log(path).map_err(|error| refused(format!("cannot be read: {error}")))?;
        opened.ok_or_else(|| refused("is empty or no file".to_string()))
    };
    paths.iter().map(open).collect()
}

/// Opens the text files below a folder, in the order of their paths. What cannot be read is passed over: most of
/// /var/log belongs to others.
pub fn open_below(folder: &Path) -> Vec<LogFile> {
    let mut paths = Vec::new();
    collect(folder, DEPTH_MAX, &mut paths);
    paths.sort();
    let open = paths.iter().filter_map(|path| {
        let mut log = open_log(path).ok()??;
        is_text(&mut log.file).then_some(log)
    });
    open.take(FILES_MAX).collect()
}

/// Symbolic links are not followed, so there is no cycle to walk.
fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let compressed = path
            .extension()
            .is_some_and(|extension| COMPRESSED.iter().any(|known| extension == *known));
        if kind.is_dir() && depth > 1 {
            collect(&path, depth - 1, found);
        } else if kind.is_file() && !compressed {
            found.push(path);
        }
    }
}

/// `None` for what is empty or no plain file: opening a pipe for its lines would wait for them.
fn open_log(path: &Path) -> std::io::Result<Option<LogFile>> {
    let plain = fs::metadata(path)?.is_file();
    if !plain {
        return Ok(None);
    }
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((bytes > 0).then(|| LogFile {
        path: path.to_path_buf(),
        file,
        bytes,
    }))
}

/// Whether the start of a file looks like lines of text: no NUL, and a line end. Leaves the file at its start.
fn is_text(file: &mut File) -> bool {
    let mut start = Vec::with_capacity(SNIFF_BYTES);
    let read = file.take(SNIFF_BYTES as u64).read_to_end(&mut start);
    let rewound = file.rewind();
    read.is_ok() && rewound.is_ok() && !start.contains(&0) && start.contains(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::TempDir;

    #[test]
    fn text_is_found_in_order_and_the_rest_passed_over() {
        let folder = TempDir::make(&std::env::temp_dir()).expect("a temporary folder");
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("below the folder")).expect("writable");
            fs::write(path, bytes).expect("writable");
        };
        write("b.log", b"line\n");
        write("a/deep.log", b"x\ny\n");
        write("a/1/2/3/4/too-deep.log", b"x\n");
        write("empty.log", b"");
        write("binary", b"\0\n");
        write("one-long-word", b"xxxx");
        write("old.log.gz", b"line\n");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).expect("writable");
        let found = open_below(folder.path());
        let names: Vec<_> = found
            .iter()
            .map(|log| log.path.strip_prefix(folder.path()).expect("below"))
            .collect();
        assert_eq!(names, [Path::new("a/deep.log"), Path::new("b.log")]);
        assert!(open_below(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn named_files_must_be_there_and_have_bytes() {
        for path in ["/nowhere", "/dev/null", "/"] {
            let failure = open_named(&[PathBuf::from(path)]).expect_err(path);
            assert_eq!(failure.exit, Exit::Io);
        }
        let here = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert_eq!(open_named(&[here]).expect("readable").len(), 1);
    }
}
