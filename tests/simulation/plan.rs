//! What a seed draws: the class of its disk, the lives of its machine, and what goes wrong in each.

use crate::history::Death;
use millrace::base::prng::Prng;
use millrace::io::sim::{EffectKind, Fault};
use std::time::Duration;

/// Cores of a life, at most.
pub(crate) const CORES_MAX: u16 = 4;

/// How the disk of a seed behaves, which decides what is expected of the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// It does what it says; machines die.
    Calm,
    /// It fails, and says so.
    Failing,
    /// At most once in a life it says that it did what it did not.
    Lying,
}

/// Something that befalls the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DiskEvent {
    /// One of the next effects of a kind goes wrong, after so many that do not.
    Fault(EffectKind, u64, Fault),
    /// One of the next reads fails.
    Read(u64),
    /// Only so many bytes are left, for so long.
    Full(u64, Duration),
}

/// One life of the machine.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) cores: u16,
    /// How it ends.
    pub(crate) death: Death,
    /// For how long the clients have their way.
    pub(crate) time: Duration,
    /// A death waits for this many more effects, and comes in the middle of one.
    pub(crate) death_at_effect: Option<u64>,
    /// It dies at this effect of the recovery already, or of the start of the cores.
    pub(crate) dies_in_recovery: Option<u64>,
    pub(crate) dies_in_start: Option<u64>,
    /// What befalls the disk, and when.
    pub(crate) disk: Vec<(Duration, DiskEvent)>,
    /// The same in the recovery and in the start of the cores.
    pub(crate) disk_in_recovery: Option<DiskEvent>,
    pub(crate) disk_in_start: Option<DiskEvent>,
    /// Between two disturbances of the network, on average; none: it is quiet.
    pub(crate) net_pause: Option<Duration>,
    pub(crate) producers: u64,
    pub(crate) consumers: u64,
    /// Changes of topics, trims among them.
    pub(crate) changes: u64,
    /// Records that all producers may send.
    pub(crate) records: u64,
}

/// All lives of a seed, but for the last, in which everything is healed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) class: Class,
    pub(crate) lives: Vec<Life>,
    pub(crate) last_cores: u16,
}

impl Plan {
    /// The plan of a seed, and the dice for everything else that it decides.
    pub(crate) fn of(seed: u64) -> (Self, Prng) {
        let mut dice = Prng::new(!seed);
        (Self::draw(&mut dice), dice)
    }

    fn draw(dice: &mut Prng) -> Self {
        let class = match dice.below(10) {
            0..=3 => Class::Calm,
            4..=7 => Class::Failing,
            _ => Class::Lying,
        };
        let lives = 1 + dice.below(3);
        Self {
            class,
            lives: (0..lives).map(|_| Life::draw(dice, class)).collect(),
            last_cores: cores(dice),
        }
    }
}

impl Life {
    fn draw(dice: &mut Prng, class: Class) -> Self {
        let death = [Death::Stop, Death::Kill, Death::Power][dice.below(3) as usize];
        // Most lives are short. Some see the background flush, and segments that are sealed for their age.
        let time = match dice.below(12) {
            0 => Duration::from_millis(1_000 + dice.below(2_500)),
            1..=3 => Duration::from_micros(500 + dice.below(5_000)),
            _ => Duration::from_micros(3_000 + dice.below(40_000)),
        };
        let dies = |dice: &mut Prng, one_in, most| {
            (death != Death::Stop && dice.chance(1, one_in)).then(|| dice.below(most))
        };
        Self {
            cores: cores(dice),
            death,
            time,
            death_at_effect: dice.chance(1, 2).then(|| dice.below(12)),
            dies_in_recovery: dies(dice, 6, 25),
            dies_in_start: dies(dice, 6, 60),
            disk: disk(dice, class, time),
            disk_in_recovery: rarely(dice, class, 8, 20),
            disk_in_start: rarely(dice, class, 8, 30),
            net_pause: dice
                .chance(2, 3)
                .then(|| Duration::from_micros([300, 2_000, 10_000][dice.below(3) as usize])),
            producers: 1 + dice.below(3),
            consumers: dice.below(3),
            changes: dice.below(6) / 2,
            records: 20 + dice.below(200),
        }
    }
}

fn cores(dice: &mut Prng) -> u16 {
    1 + dice.below(u64::from(CORES_MAX)) as u16
}

/// What befalls the disk while clients are served.
fn disk(dice: &mut Prng, class: Class, time: Duration) -> Vec<(Duration, DiskEvent)> {
    let count = match class {
        Class::Calm => 0,
        Class::Failing => 1 + dice.below(3),
        Class::Lying => 1,
    };
    let mut events: Vec<(Duration, DiskEvent)> = (0..count)
        .map(|_| {
            let at = Duration::from_nanos(dice.below(time.as_nanos() as u64));
            (at, disk_event(dice, class, 6))
        })
        .collect();
    events.sort_by_key(|(at, _)| *at);
    events
}

fn rarely(dice: &mut Prng, class: Class, one_in: u64, before: u64) -> Option<DiskEvent> {
    // A lie is told once in a life: one of those that are served.
    (class == Class::Failing && dice.chance(1, one_in)).then(|| disk_event(dice, class, before))
}

fn disk_event(dice: &mut Prng, class: Class, before: u64) -> DiskEvent {
    let before = dice.below(before);
    if class == Class::Lying {
        return match dice.below(3) {
            0 => DiskEvent::Fault(EffectKind::Write, before, Fault::Lost),
            1 => DiskEvent::Fault(EffectKind::Write, before, Fault::Misdirected),
            _ => DiskEvent::Fault(EffectKind::Sync, before, Fault::Lost),
        };
    }
    let slow = Fault::SlowBy(Duration::from_micros(100 + dice.below(30_000)));
    let (kind, fault) = match dice.below(14) {
        0 => (EffectKind::Write, Fault::Eio),
        1 => (
            EffectKind::Write,
            Fault::ShortWrite(512 * dice.below(9) as usize),
        ),
        2 => (EffectKind::Write, Fault::Enospc),
        3 | 4 => (EffectKind::Write, slow),
        5 => (EffectKind::Sync, Fault::SyncFails),
        6 => (EffectKind::Sync, slow),
        7 => (EffectKind::SyncDir, Fault::Eio),
        8 => (EffectKind::Space, Fault::Enospc),
        9 => (EffectKind::Space, Fault::Eio),
        10 => (EffectKind::Name, Fault::Eio),
        11 => return DiskEvent::Read(before),
        _ => {
            let time = Duration::from_micros(500 + dice.below(20_000));
            return DiskEvent::Full(dice.below(600 << 10), time);
        }
    };
    DiskEvent::Fault(kind, before, fault)
}
