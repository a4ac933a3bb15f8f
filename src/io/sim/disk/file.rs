//! One file's bytes at two levels: what reads see, and what power cannot take.
//!
//! ```text
//!   completed write ──> blocks (volatile)  ──sync──> durable
//!                  └──> unsynced: every version of a block since its last sync, oldest first
//! ```
//! Versions are kept for as long as they are not synced, however many: a power cut may bring back any of them, sector
//! by sector. Blocks are shared between the levels and between snapshots, never changed in place.

use crate::base::limits::BLOCK_BYTES;
use crate::base::prng::Prng;
use crate::io::sim::disk::luck::Luck;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// The unit that tears: a device writes a sector whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;
const SECTORS: usize = BLOCK_BYTES / SECTOR_BYTES;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// The order in which changes came to be.
pub(in crate::io::sim) type Seq = u64;

type Block = [u8; BLOCK_BYTES];
/// A block, or zeros.
type Content = Option<Rc<Block>>;

/// See the module.
#[derive(Clone, Default, Debug)]
pub(super) struct FileImage {
    len: u64,
    /// Bytes from the front whose space was reserved.
    reserved: u64,
    /// Blocks behind the reserved ones that have space, counted as they come: space is asked for at every append.
    blocks_unreserved: u64,
    blocks: BTreeMap<u64, Content>,
    unsynced: BTreeMap<u64, Vec<(Seq, Content)>>,
    unsynced_lens: Vec<(Seq, u64)>,
    durable: BTreeMap<u64, Content>,
    durable_len: u64,
}

impl FileImage {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Space that the file takes on the device.
    pub(super) fn allocated(&self) -> u64 {
        self.reserved.next_multiple_of(BLOCK) + self.blocks_unreserved * BLOCK
    }

    fn count_unreserved(&mut self) {
        let unreserved = self.blocks.range(self.reserved.div_ceil(BLOCK)..);
        self.blocks_unreserved = unreserved.count() as u64;
    }

    /// Whether block `index` has no space yet.
    pub(super) fn is_hole(&self, index: u64) -> bool {
        index >= self.reserved.div_ceil(BLOCK) && !self.blocks.contains_key(&index)
    }

    /// What a reservation of `bytes` adds to the space taken.
    pub(super) fn reserve_costs(&self, bytes: u64) -> u64 {
        let (from, to) = (self.reserved.div_ceil(BLOCK), bytes.div_ceil(BLOCK));
        if to <= from {
            return 0;
        }
        (to - from - self.blocks.range(from..to).count() as u64) * BLOCK
    }

    /// Fills `out` from `position`; says how many bytes there were.
    pub(super) fn read(&self, position: u64, out: &mut [u8]) -> usize {
        let there = self.len.saturating_sub(position).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < there {
            let at = position + done as u64;
            let (index, within) = (at / BLOCK, (at % BLOCK) as usize);
            let step = (BLOCK_BYTES - within).min(there - done);
            let part = &mut out[done..done + step];
            match self.blocks.get(&index) {
                Some(Some(block)) => part.copy_from_slice(&block[within..within + step]),
                _ => part.fill(0),
            }
            done += step;
        }
        there
    }

    /// Puts the sectors of `bytes` for which `landed` says so at `position`, a whole block. The file grows to the end
    /// of the last block that took anything.
    pub(super) fn write(
        &mut self,
        seq: Seq,
        position: u64,
        bytes: &[u8],
        mut landed: impl FnMut() -> bool,
    ) {
        assert!(position.is_multiple_of(BLOCK), "checked at the door");
        let mut end = self.len;
        for (number, piece) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let index = position / BLOCK + number as u64;
            let mut block = self.block(index);
            let mut touched = false;
            for (sector, part) in piece.chunks(SECTOR_BYTES).enumerate() {
                if landed() {
                    block[sector * SECTOR_BYTES..][..part.len()].copy_from_slice(part);
                    touched = true;
                }
            }
            if touched {
                self.put(seq, index, content_of(block));
                end = end.max(index * BLOCK + piece.len() as u64);
            }
        }
        self.change_len(seq, end);
    }

    /// Changes bytes at both levels, as decay of the medium does. Bytes past the end are ignored.
    pub(super) fn corrupt(&mut self, position: u64, bytes: &[u8]) {
        for (number, byte) in bytes.iter().enumerate() {
            let at = position + number as u64;
            if at >= self.len {
                break;
            }
            for level in [&mut self.blocks, &mut self.durable] {
                let content = level.entry(at / BLOCK).or_default();
                let mut block = content.as_deref().copied().unwrap_or([0; BLOCK_BYTES]);
                block[(at % BLOCK) as usize] = *byte;
                *content = content_of(block);
            }
        }
    }

    /// Reserves space and makes the file at least `bytes` long.
    pub(super) fn allocate(&mut self, seq: Seq, bytes: u64) {
        self.reserved = self.reserved.max(bytes);
        self.count_unreserved();
        self.change_len(seq, self.len.max(bytes));
    }

    /// Cuts or extends the file. What was cut reads as zeros if the file grows again.
    pub(super) fn set_len(&mut self, seq: Seq, len: u64) {
        if len < self.len {
            let gone = self.blocks.split_off(&len.div_ceil(BLOCK));
            for index in gone.keys() {
                let versions = self.unsynced.entry(*index).or_default();
                versions.push((seq, None));
            }
            self.zero_behind(seq, len);
            self.reserved = self.reserved.min(len.next_multiple_of(BLOCK));
            self.count_unreserved();
        }
        self.change_len(seq, len);
    }

    /// Makes durable what was complete at `upto` of `blocks`, and the length.
    pub(super) fn sync(&mut self, upto: Seq, blocks: Range<u64>) {
        for (index, versions) in self.unsynced.range_mut(blocks) {
            let due = versions.partition_point(|(seq, _)| *seq <= upto);
            if let Some((_, content)) = versions.drain(..due).next_back() {
                self.durable.insert(*index, content);
            }
        }
        self.unsynced.retain(|_, versions| !versions.is_empty());
        let due = self.unsynced_lens.partition_point(|(seq, _)| *seq <= upto);
        if let Some((_, len)) = self.unsynced_lens.drain(..due).next_back() {
            self.durable_len = len;
        }
    }

    /// A sync that failed: what it covered will never be written back, though reads go on seeing it.
    pub(super) fn forget(&mut self, upto: Seq, blocks: Range<u64>) {
        for (_, versions) in self.unsynced.range_mut(blocks) {
            versions.retain(|(seq, _)| *seq > upto);
        }
        self.unsynced.retain(|_, versions| !versions.is_empty());
        self.unsynced_lens.retain(|(seq, _)| *seq > upto);
    }

    /// Leaves what a power cut leaves.
    pub(super) fn power_cut(&mut self, rng: &mut Prng) {
        let mut luck = Luck::draw(rng);
        for (index, versions) in std::mem::take(&mut self.unsynced) {
            let old = self.durable.get(&index).cloned().flatten();
            let content = survivor(&mut luck, rng, old, &versions);
            self.durable.insert(index, content);
        }
        let lens = std::mem::take(&mut self.unsynced_lens);
        if let Some(len) = luck.newest_kept(rng, &lens) {
            self.durable_len = *len;
        }
        self.len = self.durable_len;
        self.durable.split_off(&self.len.div_ceil(BLOCK));
        self.blocks = self.durable.clone();
        self.zero_behind(0, self.len);
        self.unsynced.clear();
        self.durable = self.blocks.clone();
        self.reserved = self.reserved.min(self.len.next_multiple_of(BLOCK));
        self.count_unreserved();
    }

    fn block(&self, index: u64) -> Block {
        match self.blocks.get(&index) {
            Some(Some(block)) => **block,
            _ => [0; BLOCK_BYTES],
        }
    }

    fn put(&mut self, seq: Seq, index: u64, content: Content) {
        self.blocks_unreserved += u64::from(self.is_hole(index));
        self.blocks.insert(index, content.clone());
        let versions = self.unsynced.entry(index).or_default();
        versions.push((seq, content));
    }

    fn change_len(&mut self, seq: Seq, len: u64) {
        if len != self.len {
            self.len = len;
            self.unsynced_lens.push((seq, len));
        }
    }

    /// Zeroes the rest of the block that `len` ends in.
    fn zero_behind(&mut self, seq: Seq, len: u64) {
        let (index, within) = (len / BLOCK, (len % BLOCK) as usize);
        if within > 0 && self.blocks.contains_key(&index) {
            let mut block = self.block(index);
            block[within..].fill(0);
            self.put(seq, index, content_of(block));
        }
    }
}

/// The block that is left of `old` and its unsynced `versions`.
fn survivor(luck: &mut Luck, rng: &mut Prng, old: Content, versions: &[(Seq, Content)]) -> Content {
    if *luck != Luck::BySector {
        return luck.newest_kept(rng, versions).cloned().unwrap_or(old);
    }
    let mut block = [0; BLOCK_BYTES];
    for sector in 0..SECTORS {
        let drawn = rng.below(versions.len() as u64 + 1) as usize;
        let source = if drawn == 0 {
            &old
        } else {
            &versions[drawn - 1].1
        };
        if let Some(source) = source {
            let span = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            block[span.clone()].copy_from_slice(&source[span]);
        }
    }
    content_of(block)
}

fn content_of(block: Block) -> Content {
    if block[..] == [0; BLOCK_BYTES] {
        None
    } else {
        Some(Rc::new(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(file: &FileImage) -> Vec<u8> {
        let mut out = vec![0xff; file.len() as usize + 10];
        let there = file.read(0, &mut out);
        out.truncate(there);
        out
    }

    #[test]
    fn a_sync_covers_what_was_complete_when_it_began() {
        let mut file = FileImage::default();
        file.write(1, 0, &[1; BLOCK_BYTES], || true);
        file.write(2, 0, &[2; BLOCK_BYTES], || true);
        file.write(3, BLOCK, &[3; BLOCK_BYTES], || true);
        file.sync(1, 0..u64::MAX);
        for seed in 0..50 {
            let mut cut = file.clone();
            cut.power_cut(&mut Prng::new(seed));
            let bytes = filled(&cut);
            assert!(bytes.len() >= BLOCK_BYTES, "length 1 block was synced");
            assert!(bytes[..BLOCK_BYTES].iter().all(|b| [1, 2].contains(b)));
            assert!(bytes[BLOCK_BYTES..].iter().all(|b| [0, 3].contains(b)));
        }
        file.sync(3, 0..u64::MAX);
        file.power_cut(&mut Prng::new(0));
        assert_eq!(filled(&file), [[2; BLOCK_BYTES], [3; BLOCK_BYTES]].concat());
    }

    #[test]
    fn a_sync_of_some_blocks_leaves_the_others_to_chance() {
        let mut file = FileImage::default();
        file.write(1, 0, &[0; 2 * BLOCK_BYTES], || true);
        file.sync(1, 0..u64::MAX);
        file.write(2, 0, &[1; BLOCK_BYTES], || true);
        file.write(3, BLOCK, &[2; BLOCK_BYTES], || true);
        file.sync(3, 1..2);
        let mut lost = false;
        for seed in 0..50 {
            let mut cut = file.clone();
            cut.power_cut(&mut Prng::new(seed));
            let bytes = filled(&cut);
            assert!(bytes[BLOCK_BYTES..].iter().all(|b| *b == 2));
            lost |= bytes[..BLOCK_BYTES].contains(&0);
        }
        assert!(lost, "block 0 was never synced");
    }

    #[test]
    fn what_was_cut_off_reads_as_zeros_when_the_file_grows_again() {
        let mut file = FileImage::default();
        file.write(1, 0, &[7; 3 * BLOCK_BYTES], || true);
        file.set_len(2, 5_000);
        file.set_len(3, 3 * BLOCK);
        let bytes = filled(&file);
        assert!(bytes[..5_000].iter().all(|b| *b == 7) && bytes[5_000..].iter().all(|b| *b == 0));
        assert_eq!(file.allocated(), 2 * BLOCK);
    }

    #[test]
    fn space_is_counted_once() {
        let mut file = FileImage::default();
        file.write(1, BLOCK, &[0; BLOCK_BYTES], || true);
        assert_eq!(
            (file.allocated(), file.reserve_costs(4 * BLOCK)),
            (BLOCK, 3 * BLOCK)
        );
        assert!(file.is_hole(0) && !file.is_hole(1));
        file.allocate(2, 4 * BLOCK);
        assert_eq!((file.allocated(), file.len()), (4 * BLOCK, 4 * BLOCK));
        file.set_len(3, BLOCK);
        assert_eq!(file.allocated(), BLOCK);
    }

    /// Goal: whatever happens to a file, reads see what a plain vector would. Method: random changes to both, with
    /// syncs, and now and then a power cut after a sync, which must change nothing.
    #[test]
    fn reads_agree_with_a_plain_vector() {
        for seed in 0..40 {
            let (mut rng, mut file, mut plain) = (Prng::new(seed), FileImage::default(), vec![]);
            for seq in 1..200 {
                let (at, bytes) = (rng.below(12) as usize, 1 + rng.below(3) as usize);
                let end = (at + bytes) * BLOCK_BYTES;
                match rng.below(8) {
                    0 => {
                        let len = rng.below(15 * BLOCK);
                        file.set_len(seq, len);
                        plain.resize(len as usize, 0);
                    }
                    1 => {
                        file.allocate(seq, end as u64);
                        plain.resize(plain.len().max(end), 0);
                    }
                    2 => {
                        file.sync(seq, 0..u64::MAX);
                        file.power_cut(&mut rng);
                    }
                    _ => {
                        let data = vec![seq as u8; bytes * BLOCK_BYTES];
                        file.write(seq, at as u64 * BLOCK, &data, || true);
                        plain.resize(plain.len().max(end), 0);
                        plain[at * BLOCK_BYTES..end].copy_from_slice(&data);
                    }
                }
                assert!(filled(&file) == plain, "seed {seed}, change {seq}");
                let counted = file.allocated();
                file.count_unreserved();
                assert_eq!(counted, file.allocated(), "seed {seed}, change {seq}");
            }
        }
    }
}
