//! What a disk holds, sparse and cheap to copy: a copy shares every page until one of the two writes it. So a crash
//! state costs what it changes, not the size of the disk.

use std::sync::Arc;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Pages of a leaf, which is copied when one of its pages changes.
const LEAF: usize = 512;

type Page = Arc<[u8; PAGE]>;
type Leaf = Arc<Vec<Option<Page>>>;

/// The bytes of a disk. What was never written is zero.
#[derive(Clone)]
pub(crate) struct Image {
    leaves: Vec<Option<Leaf>>,
}

impl Image {
    /// All zeros.
    pub(crate) fn new(bytes: u64) -> Self {
        let leaves = (bytes as usize).div_ceil(PAGE * LEAF);
        Self {
            leaves: vec![None; leaves],
        }
    }

    pub(crate) fn read(&self, at: u64, out: &mut [u8]) {
        for (page, within, part) in pieces(at, out.len()) {
            let found = self.leaves[page / LEAF]
                .as_ref()
                .and_then(|leaf| leaf[page % LEAF].as_ref());
            let to = &mut out[part];
            match found {
                Some(found) => to.copy_from_slice(&found[within..within + to.len()]),
                None => to.fill(0),
            }
        }
    }

    pub(crate) fn write(&mut self, at: u64, bytes: &[u8]) {
        for (page, within, part) in pieces(at, bytes.len()) {
            let leaf = &mut self.leaves[page / LEAF];
            let leaf = leaf.get_or_insert_with(|| Arc::new(vec![None; LEAF]));
            let slot = &mut Arc::make_mut(leaf)[page % LEAF];
            let slot = slot.get_or_insert_with(|| Arc::new([0; PAGE]));
            let from = &bytes[part];
            Arc::make_mut(slot)[within..within + from.len()].copy_from_slice(from);
        }
    }
}

/// A span of the disk by page: the page's number, where in it, and which part of the span.
fn pieces(at: u64, bytes: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = bytes.checked_sub(done).filter(|left| *left > 0)?;
        let position = at as usize + done;
        let within = position % PAGE;
        let count = left.min(PAGE - within);
        let part = done..done + count;
        done += count;
        Some((position / PAGE, within, part))
    })
}
