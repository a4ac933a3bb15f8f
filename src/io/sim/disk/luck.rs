//! What becomes of unsynced changes when the power goes. A coin for every sector alone would hardly ever lose or keep
//! a whole megabyte, so one of four tempers is drawn first.

use crate::base::prng::Prng;
use crate::io::sim::disk::file::Seq;
use std::collections::BTreeMap;

/// The temper of one power cut towards one file or the directories.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Luck {
    /// Nothing unsynced survives.
    Lost,
    /// Everything survives.
    Kept,
    /// Each change as a whole has its own coin, kept here so that all its blocks agree.
    ByChange(BTreeMap<Seq, bool>),
    /// Each sector has its own draw among the versions it had.
    BySector,
}

impl Luck {
    pub(super) fn draw(rng: &mut Prng) -> Self {
        match rng.below(6) {
            0 => Self::Lost,
            1 => Self::Kept,
            2 | 3 => Self::ByChange(BTreeMap::new()),
            _ => Self::BySector,
        }
    }

    /// Whether the change `seq` survives as a whole.
    pub(super) fn keeps(&mut self, rng: &mut Prng, seq: Seq) -> bool {
        match self {
            Self::Lost => false,
            Self::Kept => true,
            Self::ByChange(coins) => *coins.entry(seq).or_insert_with(|| rng.chance(1, 2)),
            Self::BySector => rng.chance(1, 2),
        }
    }

    /// The newest of `changes` that survives.
    pub(super) fn newest_kept<'a, T>(
        &mut self,
        rng: &mut Prng,
        changes: &'a [(Seq, T)],
    ) -> Option<&'a T> {
        let mut newest_first = changes.iter().rev();
        newest_first
            .find(|(seq, _)| self.keeps(rng, *seq))
            .map(|(_, change)| change)
    }
}
