//! Goal: what was acked at `synced` survives a power cut on a real file system: nothing of it is lost, changed or out of
//! order, nothing is there twice, nobody deleted comes back, and the broker goes on from there. Also when the power is
//! cut again in the middle of the recovery, three deep.
//!
//! Method: a programmable disk (FUSE, in memory) records every write and every flush; on it stand a loop device, ext4
//! or xfs, and the real binary with io_uring, which real clients load at `synced` and at `written`, with topics that
//! come and go and files so small that all of them are soon full. Each answer is noted with the moment of the disk.
//! For random moments a state is made that a cut could have left behind (`powercut/crash.rs`), the kernel mounts it,
//! the real binary starts on it under another boot id, real clients read all and append. A disk that lies about
//! flushes must be found out: that shows that the rest has teeth.
//!
//! Needs root, /dev/fuse, loop devices, mkfs.ext4, mkfs.xfs (xfsprogs); without them it says so and skips.
//! MILLRACE_STATES sets the number of states of the long ones, MILLRACE_SEED repeats a seed, though not the kernel's
//! timing. All of it takes an hour and a half, one of them half an hour:
//! ```text
//! cargo test --profile campaign --test powercut -- --ignored --nocapture --test-threads=1
//! cargo test --profile campaign --test powercut power_cuts_on_ext4 -- --ignored --nocapture
//! ```
#![allow(clippy::unwrap_used, reason = "a test may panic; the line says where")]

mod campaign;
#[path = "powercut/check.rs"]
mod check;
#[path = "powercut/crash.rs"]
mod crash;
#[path = "powercut/disk.rs"]
mod disk;
#[path = "powercut/image.rs"]
mod image;
#[path = "powercut/jobs.rs"]
mod jobs;
#[path = "powercut/lives.rs"]
mod lives;
#[path = "powercut/load.rs"]
mod load;
#[allow(dead_code, reason = "each test asks for what it is about")]
mod process;
#[path = "powercut/rig.rs"]
mod rig;
#[path = "powercut/world.rs"]
mod world;

use campaign::{Campaign, number};
use disk::Fault;
use jobs::Job;
use rig::Fs;
use world::Tally;

/// More than there are cores: a start of the broker, a mount and an unmount are mostly waits for the kernel.
const WORKERS: u64 = 4;

/// Runs `job` in worlds of their own. `None`: in a worker, or where it cannot be done.
fn in_worlds(test: &str, fs: Fs, job: Job) -> Option<Tally> {
    if let Some(why) = world::missing(&[fs.mkfs()]) {
        println!("{test}: skipped: {why}");
        return None;
    }
    let workers = number("MILLRACE_WORKERS", WORKERS).min(job.states());
    let tally = world::run(test, workers, |worker| jobs::run(worker, fs, job))?;
    println!("{test}: {:?}", tally.counts);
    for failure in tally.failures.iter().take(10) {
        println!("{failure}");
    }
    Some(tally)
}

/// A campaign of `count` states, of which none may have lost anything, and most of which had something at stake.
fn nothing_is_lost(test: &'static str, name: &'static str, fs: Fs, job: Job) {
    let campaign = Campaign::begin(name, "states");
    let Some(tally) = in_worlds(test, fs, job) else {
        return;
    };
    let failures = tally.failures.len() as u64;
    campaign.end(tally.of("states"), tally.of("torn"), failures);
    assert_eq!(failures, 0, "{name}: the first failures are above");
    assert!(tally.of("states") >= job.states());
    // Some 30 to 40 of 100 do, by how busy the machine is; of 50 states now and then only 10.
    assert!(
        tally.of("torn") * 20 > job.states(),
        "hardly a cut tore anything"
    );
    assert!(tally.of("acked records") > 20 * job.states());
    if job.states() >= 50 {
        assert!(tally.of("sealed") > 0, "no segment was full");
    }
}

#[test]
fn acked_survives_a_few_power_cuts_on_ext4() {
    let test = "acked_survives_a_few_power_cuts_on_ext4";
    let job = Job::Cuts {
        states: number("MILLRACE_STATES", 12),
    };
    nothing_is_lost(test, "power cut ext4", Fs::Ext4, job);
}

#[test]
#[ignore = "half an hour; the door comment has the command"]
fn acked_survives_power_cuts_on_ext4() {
    let test = "acked_survives_power_cuts_on_ext4";
    let job = Job::Cuts {
        states: number("MILLRACE_STATES", 10_000),
    };
    nothing_is_lost(test, "power cut ext4", Fs::Ext4, job);
}

#[test]
#[ignore = "half an hour; the door comment has the command"]
fn acked_survives_power_cuts_on_xfs() {
    let test = "acked_survives_power_cuts_on_xfs";
    let job = Job::Cuts {
        states: number("MILLRACE_STATES", 1_000),
    };
    nothing_is_lost(test, "power cut xfs", Fs::Xfs, job);
}

#[test]
#[ignore = "half an hour; the door comment has the command"]
fn acked_survives_power_cuts_in_recovery_of_recovery_of_recovery() {
    let test = "acked_survives_power_cuts_in_recovery_of_recovery_of_recovery";
    let job = Job::Recoveries {
        states: number("MILLRACE_STATES", 5_000),
    };
    nothing_is_lost(test, "power cut in recovery", Fs::Ext4, job);
}

/// After a failure nothing is acked any more, and on the healed disk nothing that was acked is lost.
fn a_failure_is_final(test: &str, fault: Fault) {
    let Some(tally) = in_worlds(test, Fs::Ext4, Job::Fault { fault, states: 4 }) else {
        return;
    };
    assert_eq!(tally.failures, [""; 0]);
    assert!(
        tally.of("struck") >= tally.of("lives"),
        "the disk did not fail"
    );
    assert!(tally.of("refused") > 0, "no client heard of a failure");
    assert!(
        tally.of("told") * 2 <= tally.of("states"),
        "hardly a state was sound"
    );
}

#[test]
#[ignore = "seconds; .ci/run has it"]
fn a_failed_write_is_final() {
    a_failure_is_final("a_failed_write_is_final", Fault::WriteFails);
}

#[test]
#[ignore = "seconds; .ci/run has it"]
fn a_torn_write_is_final() {
    a_failure_is_final("a_torn_write_is_final", Fault::WriteTorn);
}

#[test]
#[ignore = "seconds; .ci/run has it"]
fn a_disk_without_space_is_final() {
    a_failure_is_final("a_disk_without_space_is_final", Fault::NoSpace);
}

#[test]
#[ignore = "seconds; .ci/run has it"]
fn a_failed_flush_is_final() {
    a_failure_is_final("a_failed_flush_is_final", Fault::FlushFails);
}

#[test]
fn a_disk_that_lies_about_flushes_is_found_out() {
    let test = "a_disk_that_lies_about_flushes_is_found_out";
    let Some(tally) = in_worlds(test, Fs::Ext4, Job::Lie { states: 8 }) else {
        return;
    };
    let lost = tally.failures.iter().filter(|why| why.contains("lost: "));
    assert!(lost.count() > 0, "nobody noticed");
}
