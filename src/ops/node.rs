//! The identity of a data directory: which node writes here, in which format.
//!
//! `data/node` is two lines of text, made once, before anything else is stored:
//!
//! ```text
//! format 1
//! node 00112233445566778899aabbccddeeff
//! ```

use crate::base::NodeId;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The format of the data directory that this version reads and writes.
pub const FORMAT: u32 = 1;
const NAME: &str = "node";

/// Why the directory's identity cannot be used. One line each: cause and remedy.
#[derive(Error, Debug)]
pub enum NodeError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}; check the directory's owner and its disk")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Written by a later version.
    #[error("{path} says format {found}, this millrace reads {FORMAT}; start the newer millrace")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Not what is written here.
    #[error(
        "{path} is not a node's identity: {reason}; restore it from a copy, its id is in every journal entry"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// There is data, and no identity.
    #[error("{path} is missing, but {data} holds data; restore it from a copy")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The directory.
        data: PathBuf,
    },
}

/// Reads the identity of `data`; makes one from `random` bits where nothing is stored yet. The directory must be
/// locked by the caller.
pub fn identify(data: &Path, random: u128) -> Result<NodeId, NodeError> {
    match read(data)? {
        Some(node) => Ok(node),
        None => create(data, &data.join(NAME), NodeId(random)),
    }
}

/// Reads the identity of `data`; `None` where nothing is stored yet.
pub fn read(data: &Path) -> Result<Option<NodeId>, NodeError> {
    let path = data.join(NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text).map(Some),
        Err(source) if source.kind() == ErrorKind::InvalidData => Err(NodeError::Damaged {
            path,
            reason: "it is not text",
        }),
        Err(source) if source.kind() == ErrorKind::NotFound => {
            if data.join("topics").exists() || data.join("journal").exists() {
                let data = data.to_path_buf();
                return Err(NodeError::Missing { path, data });
            }
            Ok(None)
        }
        Err(source) => Err(NodeError::Io {
            action: "read",
            path,
            source,
        }),
    }
}

fn create(data: &Path, path: &Path, node: NodeId) -> Result<NodeId, NodeError> {
    let temporary = path.with_extension("tmp");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(text(node).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(data)?.sync_all()
    };
    let written = write();
    written.map_err(|source| NodeError::Io {
        action: "write",
        path: path.to_path_buf(),
        source,
    })?;
    Ok(node)
}

fn text(node: NodeId) -> String {
    format!("format {FORMAT}\nnode {node}\n")
}

/// Reads the identity out of the file's text; `path` is for its errors.
pub fn parse(path: &Path, text: &str) -> Result<NodeId, NodeError> {
    let damaged = |reason| NodeError::Damaged {
        path: path.to_path_buf(),
        reason,
    };
    let mut lines = text.lines();
    let format = lines.next().and_then(|line| line.strip_prefix("format "));
    let format = format.and_then(|number| number.parse::<u32>().ok());
    let found = format.ok_or_else(|| damaged("its first line is not a format"))?;
    if found > FORMAT {
        return Err(NodeError::Newer {
            path: path.to_path_buf(),
            found,
        });
    }
    let node = lines.next().and_then(|line| line.strip_prefix("node "));
    let node = node.filter(|id| id.len() == 32);
    let node = node.and_then(|id| u128::from_str_radix(id, 16).ok());
    node.map(NodeId)
        .ok_or_else(|| damaged("its second line is not a node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_is_refused() {
        let whole = text(NodeId(7));
        let path = Path::new("node");
        assert_eq!(parse(path, &whole).expect("whole"), NodeId(7));
        for cut in 0..whole.len() - 1 {
            assert!(parse(path, &whole[..cut]).is_err(), "cut at {cut}");
        }
        let newer = whole.replace("format 1", "format 2");
        assert!(matches!(
            parse(path, &newer),
            Err(NodeError::Newer { found: 2, .. })
        ));
    }

    #[test]
    fn made_once_and_missed_where_there_is_data() {
        let data = std::env::temp_dir().join(format!("millrace-node-{}", std::process::id()));
        std::fs::create_dir_all(&data).expect("writable");
        assert_eq!(identify(&data, 5).expect("made"), NodeId(5));
        assert_eq!(identify(&data, 6).expect("read"), NodeId(5));
        std::fs::remove_file(data.join(NAME)).expect("there");
        std::fs::create_dir(data.join("topics")).expect("writable");
        assert!(matches!(identify(&data, 6), Err(NodeError::Missing { .. })));
        std::fs::remove_dir_all(&data).expect("there");
    }
}
