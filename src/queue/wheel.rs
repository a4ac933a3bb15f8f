//! A hierarchical timing wheel: many timers, each set and taken back at once.
//!
//! ```text
//!  level 0: 64 slots of 1 ms   ──full turn──>  level 1: 64 slots of 64 ms  ──>  ...  level 5: 64 slots of 12 days
//!           fires from here    <──when its slot comes up, a timer moves to a lower level──
//! ```
//! A timer stands at the level of the highest group of six bits in which its time differs from the wheel's: so each moves
//! at most five times, whatever its time. One that is farther away than the wheel reaches (2 years) waits in the last
//! slot and is put there anew when that comes up. (Varghese and Lauck, 1987; the choice of the level is that of tokio.)

const LEVELS: usize = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: u64 = 1 << SLOT_BITS;
/// No timer: the end of a list.
const NONE: u32 = u32::MAX;
/// From here on, the last slot of the top level.
const REACH_MS: u64 = (SLOTS - 1) << (SLOT_BITS * (LEVELS as u32 - 1));

/// A timer that is set. Valid until it has fired or was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TimerId(u32);

/// One place of one slot's list, doubly linked.
struct Timer {
    due_ms: u64,
    token: u32,
    /// Level and slot; [`NONE`] for one that is free.
    place: u32,
    before: u32,
    after: u32,
}

/// The wheel. Times are milliseconds of a clock that never goes back.
pub(super) struct Wheel {
    now_ms: u64,
    /// A bit for each slot that has timers, by level.
    occupied: [u64; LEVELS],
    heads: [[u32; SLOTS as usize]; LEVELS],
    timers: Vec<Timer>,
    free: Vec<u32>,
}

impl Wheel {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            now_ms,
            occupied: [0; LEVELS],
            heads: [[NONE; SLOTS as usize]; LEVELS],
            timers: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Sets a timer. It fires in the first [`Wheel::advance`] to its time or past it, or to a later one than the last if
    /// its time has passed already.
    pub(super) fn set(&mut self, due_ms: u64, token: u32) -> TimerId {
        let timer = Timer {
            due_ms: due_ms.max(self.now_ms + 1),
            token,
            place: NONE,
            before: NONE,
            after: NONE,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.timers[id as usize] = timer;
                id
            }
            None => {
                self.timers.push(timer);
                self.timers.len() as u32 - 1
            }
        };
        self.link(id);
        TimerId(id)
    }

    /// Takes a timer back.
    pub(super) fn cancel(&mut self, id: TimerId) {
        self.unlink(id.0);
        self.free.push(id.0);
    }

    /// Moves on to `to_ms`; appends the tokens of what has fired to `fired`, by time within a millisecond.
    pub(super) fn advance(&mut self, to_ms: u64, fired: &mut Vec<u32>) {
        while let Some((level, slot, at_ms)) = self.next_slot() {
            if at_ms > to_ms {
                break;
            }
            self.now_ms = self.now_ms.max(at_ms);
            let mut id = self.heads[level][slot];
            while id != NONE {
                let after = self.timers[id as usize].after;
                self.unlink(id);
                let timer = &self.timers[id as usize];
                if timer.due_ms <= self.now_ms {
                    fired.push(timer.token);
                    self.free.push(id);
                } else {
                    self.link(id);
                }
                id = after;
            }
        }
        self.now_ms = self.now_ms.max(to_ms);
    }

    /// When [`Wheel::advance`] has something to do, at the latest: not after the first timer is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.next_slot().map(|(_, _, at_ms)| at_ms)
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.timers.len() - self.free.len()
    }

    /// The first slot that has timers, and when it begins. A lower level always comes before a higher one.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|occupied| *occupied != 0)?;
        let shift = SLOT_BITS * level as u32;
        let here = (self.now_ms >> shift) & (SLOTS - 1);
        let ahead = self.occupied[level]
            .rotate_right(here as u32)
            .trailing_zeros();
        let slot = (here + u64::from(ahead)) & (SLOTS - 1);
        let turn_ms = SLOTS << shift;
        let mut at_ms = (self.now_ms & !(turn_ms - 1)) + (slot << shift);
        if at_ms < self.now_ms && slot != here {
            // Only the top level reaches into its next turn.
            at_ms += turn_ms;
        }
        Some((level, slot as usize, at_ms))
    }

    fn link(&mut self, id: u32) {
        let due_ms = self.timers[id as usize].due_ms;
        let (level, slot) = place(self.now_ms, due_ms);
        let head = std::mem::replace(&mut self.heads[level][slot], id);
        if head != NONE {
            self.timers[head as usize].before = id;
        }
        let timer = &mut self.timers[id as usize];
        timer.place = level as u32 * SLOTS as u32 + slot as u32;
        timer.before = NONE;
        timer.after = head;
        self.occupied[level] |= 1 << slot;
    }

    fn unlink(&mut self, id: u32) {
        let timer = &mut self.timers[id as usize];
        let place = std::mem::replace(&mut timer.place, NONE);
        assert!(place != NONE, "a timer is taken out once");
        let (before, after) = (timer.before, timer.after);
        let (level, slot) = (
            (place >> SLOT_BITS) as usize,
            (place % SLOTS as u32) as usize,
        );
        match before {
            NONE => self.heads[level][slot] = after,
            before => self.timers[before as usize].after = after,
        }
        if after != NONE {
            self.timers[after as usize].before = before;
        }
        if self.heads[level][slot] == NONE {
            self.occupied[level] &= !(1 << slot);
        }
    }
}

fn place(now_ms: u64, due_ms: u64) -> (usize, usize) {
    let top = LEVELS - 1;
    let differs = (now_ms ^ due_ms) | (SLOTS - 1);
    let level = ((u64::BITS - 1 - differs.leading_zeros()) / SLOT_BITS) as usize;
    let shift = SLOT_BITS * level.min(top) as u32;
    let slot = match level > top && due_ms - now_ms >= REACH_MS {
        // The slot before the one that the wheel stands in comes up last.
        true => (now_ms >> shift) + SLOTS - 1,
        false => due_ms >> shift,
    };
    (level.min(top), (slot & (SLOTS - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeMap;

    /// Goal: no timer fires early, or later than the first advance past its time, or twice, or after it was cancelled,
    /// and the wheel never sleeps past one. Method: seeded sets, cancels and advances, by any power of two, against a map.
    #[test]
    fn agrees_with_a_map_of_times() {
        for seed in 0..300 {
            let mut prng = Prng::new(seed);
            // Some begin just below where all levels turn over.
            let mut now = [0, 1 << 20, (1 << 36) - 5, (1 << 42) - 70][(seed % 4) as usize];
            let mut wheel = Wheel::new(now);
            let mut model: BTreeMap<u32, (u64, TimerId)> = BTreeMap::new();
            let mut token = 0;
            for _ in 0..400 {
                let far = |prng: &mut Prng| {
                    let bits = prng.below(40);
                    prng.below(1 << bits)
                };
                match prng.below(5) {
                    0..=2 => {
                        let due = now + far(&mut prng);
                        model.insert(token, (due.max(now + 1), wheel.set(due, token)));
                        token += 1;
                    }
                    3 if !model.is_empty() => {
                        let nth = prng.below(model.len() as u64) as usize;
                        let (&token, &(_, id)) = model.iter().nth(nth).expect("within");
                        wheel.cancel(id);
                        model.remove(&token);
                    }
                    _ => {
                        now += far(&mut prng);
                        let mut fired = Vec::new();
                        wheel.advance(now, &mut fired);
                        let before = model.len();
                        for token in &fired {
                            let (due, _) = model.remove(token).expect("fired once");
                            assert!(due <= now, "seed {seed}: early");
                        }
                        assert_eq!(before - model.len(), fired.len());
                    }
                }
                let first = model.values().map(|(due, _)| *due).min();
                assert!(first.is_none_or(|due| due > now), "seed {seed}: late");
                let next = wheel.next_ms();
                assert_eq!(next.is_some(), first.is_some());
                assert!(next <= first, "seed {seed}: it would oversleep");
                assert_eq!(wheel.len(), model.len());
            }
        }
    }

    #[test]
    fn an_hour_of_sleeping_wakes_few_times() {
        let mut wheel = Wheel::new(12_345);
        wheel.set(12_345 + 3_600_000, 7);
        let (mut fired, mut wakes) = (Vec::new(), 0);
        while fired.is_empty() {
            let next = wheel.next_ms().expect("it is set");
            wheel.advance(next, &mut fired);
            wakes += 1;
        }
        assert!(wakes <= LEVELS, "{wakes}");
        assert_eq!(wheel.next_ms(), None);
    }
}
