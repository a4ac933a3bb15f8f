//! The states that a power cut can leave behind, from a recording of the disk.
//!
//! ```text
//!   log:  W W F W W F W W W | W F ...          W write, F flush completed, | the moment of the cut
//!         └─ all there ──┘ └───┘ each 512-byte sector may be there or not, in any order; nothing after the cut
//! ```

use crate::disk::{Event, Recording};
use crate::image::Image;
use millrace::base::prng::Prng;
use std::sync::Arc;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;
/// What lies below is written whole or not at all here: the superblock of ext4 is two sectors, what it says in the first
/// and its checksum in the second, and a kernel that finds it torn does not mount (seen here: "Bad message").
const SUPERBLOCK_END: u64 = 4096;

/// A recording, played up to a moment. Moments are asked for in order.
pub(crate) struct Player<'a> {
    recording: &'a Recording,
    image: Image,
    played: usize,
}

/// What a cut left behind.
pub(crate) struct Left {
    pub(crate) image: Image,
    /// Sectors that were written and not flushed, and how many of them are gone.
    pub(crate) pending: u64,
    pub(crate) gone: u64,
}

/// How a cut treats what was not flushed.
#[derive(Clone, Copy)]
enum Mercy {
    /// Of each write, all or nothing.
    Whole(u64),
    /// Of each sector.
    Sectors(u64),
}

impl<'a> Player<'a> {
    pub(crate) fn new(recording: &'a Recording) -> Self {
        Self {
            recording,
            image: recording.base.clone(),
            played: 0,
        }
    }

    /// A state that is possible after a cut at position `cut` of the log.
    pub(crate) fn cut(&mut self, cut: usize, prng: &mut Prng) -> Left {
        let log = &self.recording.log[..cut];
        let is_flush = |event: &Event| matches!(event, Event::Flush);
        let flushed = log.iter().rposition(is_flush).unwrap_or(0);
        assert!(self.played <= cut, "moments are asked for in order");
        if self.played < flushed {
            for event in &log[self.played..flushed] {
                apply(&mut self.image, event);
            }
            self.played = flushed;
        }
        let mut pending: Vec<&Event> = log[self.played..].iter().collect();
        shuffle(&mut pending, prng);
        let mut left = Left {
            image: self.image.clone(),
            pending: 0,
            gone: 0,
        };
        let mercy = draw(prng);
        for event in pending {
            left.treat(event, mercy, prng);
        }
        left
    }
}

/// All that a recording holds, as after an orderly end.
pub(crate) fn whole(recording: &Recording) -> Image {
    let mut image = recording.base.clone();
    for event in &recording.log {
        apply(&mut image, event);
    }
    image
}

fn draw(prng: &mut Prng) -> Mercy {
    let sixteenths = [0, 1, 4, 8, 8, 12, 15, 16][prng.below(8) as usize];
    match prng.below(3) {
        0 => Mercy::Whole(sixteenths),
        _ => Mercy::Sectors(sixteenths),
    }
}

fn shuffle(events: &mut [&Event], prng: &mut Prng) {
    for last in (1..events.len()).rev() {
        events.swap(last, prng.below(last as u64 + 1) as usize);
    }
}

fn apply(image: &mut Image, event: &Event) {
    if let Event::Write { at, bytes } = event {
        image.write(*at, bytes);
    }
}

impl Left {
    fn treat(&mut self, event: &Event, mercy: Mercy, prng: &mut Prng) {
        let Event::Write { at, bytes } = event else {
            return;
        };
        let bytes: &Arc<[u8]> = bytes;
        let sectors = bytes.len().div_ceil(SECTOR) as u64;
        self.pending += sectors;
        let mercy = match mercy {
            Mercy::Sectors(sixteenths) if *at < SUPERBLOCK_END => Mercy::Whole(sixteenths),
            drawn => drawn,
        };
        match mercy {
            Mercy::Whole(sixteenths) if prng.chance(sixteenths, 16) => self.image.write(*at, bytes),
            Mercy::Whole(_) => self.gone += sectors,
            Mercy::Sectors(sixteenths) => {
                for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                    if prng.chance(sixteenths, 16) {
                        self.image.write(*at + (index * SECTOR) as u64, sector);
                    } else {
                        self.gone += 1;
                    }
                }
            }
        }
    }
}
