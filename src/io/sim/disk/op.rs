//! The effects: what a program can do to a disk, what each does when it lands, and what is left of it when it fails or
//! when the process dies before it was told.

use crate::base::limits::BLOCK_BYTES;
use crate::base::prng::Prng;
use crate::io::sim::buffer::SimBuffer;
use crate::io::sim::disk::file::Seq;
use crate::io::sim::disk::tree::{NodeId, Tree};
use crate::io::sim::disk::{EffectKind, Fault};
use rustix::io::Errno;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

type Result<T> = std::result::Result<T, Errno>;

/// One effect. A write holds its buffer until it has landed, whoever else dropped it.
#[derive(Clone, Debug)]
pub(in crate::io::sim) enum Op {
    Write {
        node: NodeId,
        position: u64,
        data: Rc<SimBuffer>,
    },
    /// Of the file's `blocks`: all of them, or those of one write that asked for it.
    Sync {
        node: NodeId,
        upto: Seq,
        blocks: Range<u64>,
    },
    SetLen {
        node: NodeId,
        len: u64,
    },
    Allocate {
        node: NodeId,
        bytes: u64,
    },
    Create {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    RemoveFile {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    SyncDir {
        node: NodeId,
        upto: Seq,
    },
}

/// Which part of a write lands.
enum Landing {
    Whole,
    Front(usize),
    /// Each sector by its own coin.
    Torn,
}

impl Op {
    pub(super) fn kind(&self) -> EffectKind {
        match self {
            Self::Write { .. } => EffectKind::Write,
            Self::Sync { .. } => EffectKind::Sync,
            Self::SyncDir { .. } => EffectKind::SyncDir,
            Self::SetLen { .. } | Self::Allocate { .. } => EffectKind::Space,
            Self::Create { .. }
            | Self::MakeDir { .. }
            | Self::Rename { .. }
            | Self::RemoveFile { .. }
            | Self::RemoveDir { .. } => EffectKind::Name,
        }
    }

    /// What it is done to, where that has a number.
    pub(super) fn node(&self) -> Option<NodeId> {
        match self {
            Self::Write { node, .. }
            | Self::Sync { node, .. }
            | Self::SetLen { node, .. }
            | Self::Allocate { node, .. }
            | Self::SyncDir { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// Lets the effect happen, as `fault` has it. The value is the count of bytes for a write, the node for a creation.
    pub(super) fn land(
        &self,
        tree: &mut Tree,
        free: u64,
        fault: Option<Fault>,
        rng: &mut Prng,
    ) -> Result<u64> {
        match (fault, self) {
            (None | Some(Fault::SlowBy(_)), _) => self.land_whole(tree, free, rng),
            (
                Some(Fault::ShortWrite(kept)),
                Self::Write {
                    node,
                    position,
                    data,
                },
            ) => {
                let kept = kept.min(data.as_ref().as_ref().len());
                write(tree, *node, *position, data, Landing::Front(kept), rng)?;
                Ok(kept as u64)
            }
            (
                Some(Fault::Misdirected),
                Self::Write {
                    node,
                    position,
                    data,
                },
            ) => {
                let astray = elsewhere(tree.file(*node)?.len(), *position, rng);
                write(tree, *node, astray, data, Landing::Whole, rng)
            }
            (Some(Fault::Lost), Self::Write { data, .. }) => {
                Ok(data.as_ref().as_ref().len() as u64)
            }
            (Some(Fault::Lost), Self::Sync { .. } | Self::SyncDir { .. }) => Ok(0),
            (Some(Fault::Enospc), _) => self.fail(tree, Errno::NOSPC, rng),
            (Some(_), _) => self.fail(tree, Errno::IO, rng),
        }
    }

    /// Whether the effect needs space that its file does not have yet.
    pub(super) fn takes_space(&self, tree: &Tree) -> bool {
        match self {
            Self::Write {
                node,
                position,
                data,
            } => tree.file(*node).is_ok_and(|file| {
                let first = position / BLOCK_BYTES as u64;
                let blocks = (data.as_ref().as_ref().len() / BLOCK_BYTES) as u64;
                (first..first + blocks).any(|index| file.is_hole(index))
            }),
            Self::Allocate { .. } => true,
            _ => false,
        }
    }

    /// What is left of the effect when the process dies while it is in flight.
    pub(super) fn abandon(&self, tree: &mut Tree, free: u64, rng: &mut Prng) {
        let fate = rng.below(3);
        match self {
            Self::Sync { .. } | Self::SyncDir { .. } => {}
            _ if fate == 0 => {}
            Self::Write {
                node,
                position,
                data,
            } if fate == 1 => {
                // Space may be short for it, or the file be gone: then the kernel has dropped it too.
                let _ = write(tree, *node, *position, data, Landing::Torn, rng);
            }
            _ => {
                let _ = self.land_whole(tree, free, rng);
            }
        }
    }

    fn land_whole(&self, tree: &mut Tree, free: u64, rng: &mut Prng) -> Result<u64> {
        match self {
            Self::Write {
                node,
                position,
                data,
            } => {
                let fits = fitting(tree, *node, *position, data, free)?;
                write(tree, *node, *position, data, Landing::Front(fits), rng)
            }
            Self::Sync { node, upto, blocks } => tree.file_mut(*node).map(|file| {
                file.sync(*upto, blocks.clone());
                0
            }),
            Self::SetLen { node, len } => {
                let seq = tree.seq();
                tree.file_mut(*node).map(|file| {
                    file.set_len(seq, *len);
                    0
                })
            }
            Self::Allocate { node, bytes } => allocate(tree, *node, *bytes, free),
            Self::Create { path } => tree.create(path),
            Self::MakeDir { path } => tree.make_dir(path),
            Self::Rename { from, to } => tree.rename(from, to).map(|()| 0),
            Self::RemoveFile { path } => tree.remove_file(path).map(|()| 0),
            Self::RemoveDir { path } => tree.remove_dir(path).map(|()| 0),
            Self::SyncDir { node, upto } => {
                tree.sync_dir(*node, *upto);
                Ok(0)
            }
        }
    }

    /// A failure leaves traces: some sectors of a write, and after a sync the loss of what it should have kept.
    fn fail(&self, tree: &mut Tree, errno: Errno, rng: &mut Prng) -> Result<u64> {
        match self {
            Self::Write {
                node,
                position,
                data,
            } if errno == Errno::IO && rng.chance(1, 2) => {
                write(tree, *node, *position, data, Landing::Torn, rng)?;
            }
            Self::Sync { node, upto, blocks } => {
                tree.file_mut(*node)?.forget(*upto, blocks.clone());
            }
            Self::SyncDir { node, upto } => tree.forget_dir(*node, *upto),
            _ => {}
        }
        Err(errno)
    }
}

fn write(
    tree: &mut Tree,
    node: NodeId,
    position: u64,
    data: &SimBuffer,
    landing: Landing,
    rng: &mut Prng,
) -> Result<u64> {
    let seq = tree.seq();
    let file = tree.file_mut(node)?;
    let bytes: &[u8] = data.as_ref();
    let taken = match landing {
        Landing::Front(bytes) => bytes,
        Landing::Whole | Landing::Torn => bytes.len(),
    };
    let torn = matches!(landing, Landing::Torn);
    file.write(seq, position, &bytes[..taken], || !torn || rng.chance(1, 2));
    Ok(taken as u64)
}

/// How many bytes of a write find space: all, or whole blocks from its front. None at all is an error.
fn fitting(tree: &Tree, node: NodeId, position: u64, data: &SimBuffer, free: u64) -> Result<usize> {
    let (file, bytes) = (tree.file(node)?, data.as_ref().len());
    let mut free_blocks = free / BLOCK_BYTES as u64;
    for number in 0..bytes / BLOCK_BYTES {
        if file.is_hole(position / BLOCK_BYTES as u64 + number as u64) {
            if free_blocks == 0 {
                let fits = number * BLOCK_BYTES;
                return if fits == 0 {
                    Err(Errno::NOSPC)
                } else {
                    Ok(fits)
                };
            }
            free_blocks -= 1;
        }
    }
    Ok(bytes)
}

fn allocate(tree: &mut Tree, node: NodeId, bytes: u64, free: u64) -> Result<u64> {
    if tree.file(node)?.reserve_costs(bytes) > free {
        return Err(Errno::NOSPC);
    }
    let seq = tree.seq();
    tree.file_mut(node)?.allocate(seq, bytes);
    Ok(0)
}

/// A block of the file, or one behind its end, that is not at `position`.
fn elsewhere(len: u64, position: u64, rng: &mut Prng) -> u64 {
    let (aim, blocks) = (position / BLOCK_BYTES as u64, len / BLOCK_BYTES as u64 + 4);
    let drawn = rng.below(blocks);
    let hit = if drawn == aim { drawn + 1 } else { drawn };
    hit * BLOCK_BYTES as u64
}
