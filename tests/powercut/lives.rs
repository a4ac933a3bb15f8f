//! Lives of the broker on the programmable disk: one that is recorded, and those after a cut, which are judged.

use crate::check::{Content, Cuts, Ids, Judged, judge, made_empty, possible, read, still_there};
use crate::disk::Recording;
use crate::image::Image;
use crate::load::{self, Known, Moment, Place, Sender};
use crate::process::{Broker, Said, cpus};
use crate::rig::{Mounted, Rig};
use crate::world::{self, Worker};
use millrace::base::AckLevel;
use millrace::base::prng::Prng;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// So small that a life fills several.
const FLAGS: [&str; 2] = ["--journal-file-bytes", "1048576"];
/// A power cut is no damage, and recovery must not take it for any.
const BAD: [&str; 5] = ["REFUSED", "refused", "in no topic", "panicked", "rror"];

/// What all lives of one worker need.
pub(crate) struct Stage<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) rig: &'a Rig,
    pub(crate) prng: Prng,
}

/// A life that was recorded.
pub(crate) struct Life {
    pub(crate) recording: Recording,
    pub(crate) known: Known,
    /// How many segments were sealed in it.
    pub(crate) sealed: u64,
}

/// A state of the disk, and what must be found on it.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) known: Known,
    pub(crate) cuts: Cuts,
    /// What lives after a cut have shown, each from when on.
    pub(crate) seen: Vec<(Moment, Content)>,
}

/// How far a life after a cut goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// It is read, appended to, and killed.
    Killed,
    /// It is verified before and after, and also stopped and started again.
    StoppedAndStarted,
}

impl Stage<'_> {
    /// One core of this worker's own, or all.
    fn cores(&mut self) -> String {
        let all = cpus(usize::MAX);
        let own: Vec<&str> = all.split(',').collect();
        if self.prng.chance(1, 4) {
            return own[..own.len().min(2)].join(",");
        }
        own[self.worker.number as usize % own.len()].to_owned()
    }

    fn boot(&mut self) {
        let random = u128::from(self.prng.next_u64()) << 64 | u128::from(self.prng.next_u64());
        world::boot(self.worker, random);
    }

    fn start(&mut self, mounted: &Mounted<'_>) -> Result<Broker, String> {
        let cores = self.cores();
        let broker = Broker::spawn_with(&mounted.data(), &cores, &FLAGS);
        broker
            .serving()
            .map_err(|said| format!("it does not start: {said:?}"))
    }

    fn place(&self, broker: &Broker, life: usize) -> Place {
        Place {
            addresses: broker.addresses(),
            clock: self.rig.disk.clock(),
            life,
        }
    }

    /// A first life, on a fresh file system, under load; `hook` is called in the middle of it.
    pub(crate) fn record(&mut self, time: Duration, hook: impl FnOnce()) -> Result<Life, String> {
        let fresh = self.rig.fresh.clone();
        let mounted = self.rig.mount(&fresh)?;
        self.boot();
        let broker = self.start(&mounted)?;
        let place = self.place(&broker, 0);
        let late = [0, 0, 200, 1_000][self.prng.below(4) as usize];
        self.rig.disk.late(Duration::from_micros(late));
        let known = load::run(&place, time, &mut self.prng, hook);
        self.rig.disk.late(Duration::ZERO);
        let said = broker.kill();
        let life = Life {
            recording: self.rig.disk.recording(),
            known: known.map_err(|why| format!("{why}; {said:?}"))?,
            sealed: sealed(&mounted.data()),
        };
        Ok(life)
    }

    /// A life on the state that the last cut left behind: it is judged, and goes on. Adds what it did to the scene.
    pub(crate) fn live_on(
        &mut self,
        image: &Image,
        scene: &mut Scene,
        then: Then,
    ) -> Result<(Judged, Recording), String> {
        let life = scene.cuts.len();
        let mounted = self.rig.mount(image)?;
        self.boot();
        if then == Then::StoppedAndStarted {
            verify(&mounted)?;
        }
        let broker = self.start(&mounted)?;
        let place = self.place(&broker, life);
        let (judged, content, ids) = scene.judge(&place)?;
        scene.seen.push((place.now(), content.clone()));
        go_on(&place, scene, &content)?;
        let (is_clean, said) = match then {
            Then::Killed => (true, broker.kill()),
            Then::StoppedAndStarted => {
                let (status, said) = broker.stop();
                (status.success(), said)
            }
        };
        check_said(&said)?;
        made_empty(&said.err, &ids, &scene.known, &scene.cuts)?;
        if !is_clean {
            return Err(format!("it does not stop cleanly: {said:?}"));
        }
        if then == Then::StoppedAndStarted {
            verify(&mounted)?;
            self.start_again(&mounted, scene)?;
        }
        Ok((judged, self.rig.disk.recording()))
    }

    /// After a clean stop: everything is as it was, and it knows that it was stopped.
    fn start_again(&mut self, mounted: &Mounted<'_>, scene: &Scene) -> Result<(), String> {
        let broker = self.start(mounted)?;
        scene.judge(&self.place(&broker, scene.cuts.len()))?;
        let said = broker.kill();
        check_said(&said)?;
        if !said.out.contains("(clean stop)") {
            return Err(format!("it did not see its clean stop: {said:?}"));
        }
        Ok(())
    }
}

impl Scene {
    /// The state after a cut of the first life.
    pub(crate) fn new(known: &Known, cut: usize) -> Self {
        Self {
            known: known.clone(),
            cuts: vec![cut],
            seen: Vec::new(),
        }
    }

    fn judge(&self, place: &Place) -> Result<(Judged, Content, Ids), String> {
        let (content, ids) = read(place)?;
        let judged = judge(&self.known, &self.cuts, &content)?;
        for (moment, seen) in &self.seen {
            if self
                .cuts
                .get(moment.life)
                .is_none_or(|cut| moment.at <= *cut)
            {
                still_there(seen, &content)?;
            }
        }
        Ok((judged, content, ids))
    }
}

/// Appends to every partition: each record is acked behind what was read.
fn go_on(place: &Place, scene: &mut Scene, content: &Content) -> Result<(), String> {
    for (name, partitions) in content {
        let makings = possible(&scene.known, &scene.cuts, name);
        let sender = Sender {
            topic: *makings.last().expect("judged before"),
            name: name.clone(),
            producer: 1_000_000 + place.life as u32,
            partitions: (0..partitions.len() as u32).collect(),
            level: AckLevel::Synced,
            batch_bytes: 4 << 10,
            in_flight_max: 2,
            large: false,
        };
        let mut sending = sender.begin(place)?;
        for choice in (0..partitions.len()).chain(0..partitions.len()) {
            sending.send(choice)?;
        }
        for lane in sending.end() {
            let end = partitions[lane.partition as usize].len() as u64;
            for (index, fate) in lane.fates.iter().enumerate() {
                match fate {
                    load::Fate::Acked(offset, _) if offset.0 == end + index as u64 => {}
                    other => {
                        let partition = lane.partition;
                        return Err(format!(
                            "{name}/{partition} ends at {end}, and appending gives {other:?}"
                        ));
                    }
                }
            }
            scene.known.lanes.push(lane);
        }
    }
    Ok(())
}

/// Segments but for the active one of each partition.
fn sealed(data: &Path) -> u64 {
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let partitions = entries(&data.join("topics")).flat_map(|topic| entries(&topic.path()));
    let segments = partitions.map(|partition| {
        let names = entries(&partition.path()).map(|entry| entry.file_name());
        let logs = names.filter(|name| name.to_string_lossy().ends_with(".log"));
        (logs.count() as u64).saturating_sub(1)
    });
    segments.sum()
}

/// `millrace verify` finds nothing wrong: what a cut leaves is no damage.
fn verify(mounted: &Mounted<'_>) -> Result<(), String> {
    let data = mounted.data();
    // Cut so early that nothing has been stored.
    if !data.join("node").exists() {
        return Ok(());
    }
    let out = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .arg("verify")
        .arg(&data)
        .output()
        .map_err(|error| format!("verify: {error}"))?;
    if out.status.success() {
        return Ok(());
    }
    let said = [out.stdout, out.stderr].concat();
    Err(format!("verify: {}", String::from_utf8_lossy(&said)))
}

fn check_said(said: &Said) -> Result<(), String> {
    let bad = BAD
        .iter()
        .find(|bad| said.out.contains(**bad) || said.err.contains(**bad));
    match bad {
        Some(bad) => Err(format!("{bad:?} in {said:?}")),
        None => Ok(()),
    }
}
