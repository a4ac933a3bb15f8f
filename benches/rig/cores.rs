//! Cores to run a bench on.

use millrace::io::uring::Options;

/// Options for so many cores, each pinned to a CPU of its own if the machine has them.
pub(crate) fn cores(count: usize) -> Options {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Options {
        cpus: (0..count)
            .map(|core| (count <= cpus).then_some(core))
            .collect(),
        ..Options::default()
    }
}
