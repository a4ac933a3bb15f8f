//! What a worker does: records lives, cuts them, judges what is left.

use crate::campaign::number;
use crate::crash::{Player, whole};
use crate::disk::{Fault, Recording};
use crate::image::Image;
use crate::lives::{Life, Scene, Stage, Then};
use crate::load::{Fate, Known};
use crate::rig::{Fs, Rig};
use crate::world::{Tally, Worker};
use millrace::base::prng::Prng;
use std::time::{Duration, Instant};

const SEED: u64 = 0x6d69_6c6c;
/// How long one recorded life lasts, and how many states are made of it.
const LIFE: Duration = Duration::from_millis(700);
const STATES_OF_A_LIFE: u64 = 50;
/// Told, as it may be a broker that hangs for a while.
const SLOW: Duration = Duration::from_secs(10);
/// Every so many states the broker is also stopped and started again.
const STOP_EVERY: u64 = 8;
/// How damage is told: by `millrace verify`, by a broker that does not start, and to who reads.
const TOLD: [&str; 3] = ["verify: ", "it does not start: ", " damaged"];
/// How many cuts are made in each recovery, by depth: so few starts of the broker make many states.
const CUTS_BY_DEPTH: [u64; 3] = [2, 2, 3];
/// How many first cuts of a life have their recoveries cut.
const TREES_OF_A_LIFE: u64 = 4;

/// What is to be done, by all workers together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Job {
    /// So many states after a cut.
    Cuts { states: u64 },
    /// The same on a disk that begins to lie about flushes.
    Lie { states: u64 },
    /// So many states after a cut in the recovery from a cut in the recovery from a cut in the recovery from a cut.
    Recoveries { states: u64 },
    /// A disk that begins to fail, and heals; so many states after that.
    Fault { fault: Fault, states: u64 },
}

impl Job {
    pub(crate) fn states(self) -> u64 {
        match self {
            Self::Cuts { states }
            | Self::Lie { states }
            | Self::Recoveries { states }
            | Self::Fault { states, .. } => states,
        }
    }
}

/// This worker's share of `job`.
pub(crate) fn run(worker: &Worker, fs: Fs, job: Job) -> Tally {
    let rig = Rig::new(worker, fs);
    let seed: u64 = number("MILLRACE_SEED", SEED);
    println!("MILLRACE_SEED={seed}");
    let mut shift = Shift {
        stage: Stage {
            worker,
            rig: &rig,
            prng: Prng::new(seed ^ (worker.number + 1) << 32 ^ job.states()),
        },
        forgets: matches!(job, Job::Fault { fault, .. } if fault == Fault::FlushFails),
        tally: Tally::default(),
        left: worker.share(job.states()),
    };
    while shift.left > 0 {
        match job {
            Job::Cuts { .. } => shift.cuts(None),
            Job::Lie { .. } => shift.cuts(Some(Fault::Lies)),
            Job::Recoveries { .. } => shift.recoveries(),
            Job::Fault { fault, .. } => shift.fault(fault),
        }
    }
    shift.tally
}

/// A worker at work.
struct Shift<'a> {
    stage: Stage<'a>,
    /// Whether the disk forgets what it had taken, which are blocks of the file system too: a rename that ext4 had made
    /// durable in its journal is undone when the write-back of the directory is forgotten, and a directory may be gone
    /// (EBADMSG). Then damage may be told; lost in silence nothing may be.
    forgets: bool,
    tally: Tally,
    /// States that it still has to judge.
    left: u64,
}

impl Shift<'_> {
    /// A life under load. In its middle the disk becomes faulty; at its end it is sound again.
    fn record(&mut self, fault: Option<Fault>) -> (Recording, Known) {
        let rig = self.stage.rig;
        let recorded = self.stage.record(LIFE, || {
            if let Some(fault) = fault {
                rig.disk.fault(fault);
            }
        });
        self.tally.add("struck", rig.disk.heal());
        let Life {
            recording,
            known,
            sealed,
        } = recorded.expect("all but the topics may fail");
        self.tally.add("lives", 1);
        self.tally.add("sealed", sealed);
        self.tally.add("events", recording.log.len() as u64);
        (recording, known)
    }

    /// One life and its states; of a faulty disk's, those at the end.
    fn cuts(&mut self, fault: Option<Fault>) {
        let (recording, known) = self.record(fault);
        let mut player = Player::new(&recording);
        let count = self.left.min(STATES_OF_A_LIFE);
        // Before it becomes faulty, it is a disk like any other.
        let from = fault.map_or(0, |_| recording.log.len() * 3 / 4);
        for cut in moments(&recording, &known, from, count, &mut self.stage.prng) {
            let then = match self.left % STOP_EVERY {
                0 => Then::StoppedAndStarted,
                _ => Then::Killed,
            };
            let image = self.cut(&mut player, cut);
            self.judge(&image, &mut Scene::new(&known, cut), then);
            self.tally.add("states", 1);
            self.left -= 1;
        }
    }

    /// One life, and trees of cuts in recoveries.
    fn recoveries(&mut self) {
        let (recording, known) = self.record(None);
        let mut player = Player::new(&recording);
        for cut in moments(&recording, &known, 0, TREES_OF_A_LIFE, &mut self.stage.prng) {
            if self.left == 0 {
                break;
            }
            let image = self.cut(&mut player, cut);
            self.descend(&image, Scene::new(&known, cut));
        }
    }

    /// A life on this state, and cuts of its recovery.
    fn descend(&mut self, image: &Image, mut scene: Scene) {
        let depth = scene.cuts.len() - 1;
        self.tally.add(&format!("states of depth {depth}"), 1);
        let recording = self.judge(image, &mut scene, Then::Killed);
        if depth == CUTS_BY_DEPTH.len() {
            self.tally.add("states", 1);
            self.left = self.left.saturating_sub(1);
            return;
        }
        let (Some(recording), Some((served, _))) = (recording, scene.seen.last()) else {
            return;
        };
        let served = served.at as u64;
        let prng = &mut self.stage.prng;
        let mut cuts: Vec<usize> = (0..CUTS_BY_DEPTH[depth])
            .map(|_| prng.below(served + 1) as usize)
            .collect();
        cuts.sort_unstable();
        let mut player = Player::new(&recording);
        for cut in cuts {
            let image = self.cut(&mut player, cut);
            let mut scene = scene.clone();
            scene.cuts.push(cut);
            self.descend(&image, scene);
        }
    }

    /// A life with a failure, and states after it: all that reached the disk, and cuts at the very end.
    fn fault(&mut self, fault: Fault) {
        let (recording, known) = self.record(Some(fault));
        let refused = acked_after_failure(&known);
        self.tally.add("refused", refused.0);
        if let Some(why) = refused.1 {
            self.tally.fail(&why);
        }
        let end = recording.log.len();
        let mut scene = Scene::new(&known, end);
        self.judge(&whole(&recording), &mut scene, Then::StoppedAndStarted);
        let mut player = Player::new(&recording);
        let image = self.cut(&mut player, end);
        self.judge(&image, &mut Scene::new(&known, end), Then::Killed);
        self.tally.add("states", 2);
        self.left = self.left.saturating_sub(2);
    }

    fn cut(&mut self, player: &mut Player<'_>, cut: usize) -> Image {
        let left = player.cut(cut, &mut self.stage.prng);
        self.tally.add("torn", u64::from(left.gone > 0));
        self.tally.add("sectors gone", left.gone);
        left.image
    }

    fn judge(&mut self, image: &Image, scene: &mut Scene, then: Then) -> Option<Recording> {
        let began = Instant::now();
        let lived = self.stage.live_on(image, scene, then);
        if began.elapsed() > SLOW {
            println!("cuts {:?} took {:?}", scene.cuts, began.elapsed());
        }
        match lived {
            Ok((judged, recording)) => {
                self.tally.add("acked records", judged.acked);
                self.tally.add("other records", judged.others);
                Some(recording)
            }
            Err(why) if self.forgets && TOLD.iter().any(|told| why.contains(told)) => {
                println!("told: {why}");
                self.tally.add("told", 1);
                None
            }
            Err(why) => {
                self.tally.fail(&format!("cuts {:?}: {why}", scene.cuts));
                None
            }
        }
    }
}

/// When the power is cut, in order and not before `from`: at any moment, when something had just been acked, or while a
/// flush was awaited.
fn moments(
    recording: &Recording,
    known: &Known,
    from: usize,
    count: u64,
    prng: &mut Prng,
) -> Vec<usize> {
    let end = recording.log.len();
    let fates = known.lanes.iter().flat_map(|lane| &lane.fates);
    let acks: Vec<usize> = fates
        .filter_map(|fate| match fate {
            Fate::Acked(_, moment) => Some(moment.at),
            _ => None,
        })
        .collect();
    assert!(acks.len() > 100, "hardly any load: {}", acks.len());
    let flushes = recording.flushes();
    let mut moment = |kind| {
        let any = from + prng.below((end - from) as u64 + 1) as usize;
        let near: &[usize] = match kind {
            0 => return any,
            1 => &acks,
            _ => &flushes,
        };
        let index = prng.below(near.len().max(1) as u64) as usize;
        // A little later: an ack that came too early is followed by the write that it should have waited for.
        let after = near.get(index).map(|at| at + prng.below(2) as usize);
        after.filter(|at| (from..=end).contains(at)).unwrap_or(any)
    };
    let mut moments: Vec<usize> = (0..count).map(|number| moment(number % 3)).collect();
    moments.sort_unstable();
    moments
}

/// How many records were not acked, and the first that was acked behind one of them.
fn acked_after_failure(known: &Known) -> (u64, Option<String>) {
    let (mut refused, mut wrong) = (0, None);
    for lane in &known.lanes {
        let is_acked = |fate: &Fate| matches!(fate, Fate::Acked(..));
        let first = lane.fates.iter().position(|fate| !is_acked(fate));
        let rest = &lane.fates[first.unwrap_or(lane.fates.len())..];
        refused += rest.len() as u64;
        if let Some(later) = rest.iter().position(is_acked) {
            let of = (lane.topic, lane.partition, lane.producer);
            wrong = Some(format!("{of:?}: acked {later} records after a failure"));
        }
    }
    (refused, wrong)
}
