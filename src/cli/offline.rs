//! What the commands share that work on a data directory while no broker serves it.

use crate::base::PartitionKey;
use crate::catalog::Catalog;
use crate::cli::exit::{Exit, Failure};
use crate::io::uring::{self, Uring};
use crate::ops::DataLock;
use crate::ops::preflight::{PreflightError, claim_offline};
use std::path::Path;

/// Memory for direct I/O of what runs alone.
const BOOT_MEMORY_BYTES: usize = 8 << 20;

/// Keeps brokers away from `data`, and refuses one that is served.
pub fn claim(data: &Path) -> Result<Option<DataLock>, Failure> {
    claim_offline(data).map_err(|error| {
        let exit = match error {
            PreflightError::NoData { .. } => Exit::Usage,
            _ => Exit::Config,
        };
        Failure::new(exit, error.to_string())
    })
}

/// Runs something on one core, alone.
pub fn boot<T, F>(main: impl Fn(Uring) -> F + Send + Clone + 'static) -> Result<T, Failure>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let options = uring::Options {
        memory_bytes: BOOT_MEMORY_BYTES,
        ..uring::Options::default()
    };
    let ended = uring::run_cores::<(), _, _, _>(options, move |io, _| main(io));
    let ended = ended.map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    Ok(ended.into_iter().next().expect("one core ran"))
}

/// `TOPIC/P`: how a partition is called on the command line. By the topic's id where no name is known.
pub fn name_of(catalog: Option<&Catalog>, key: PartitionKey) -> String {
    let topic = catalog.and_then(|catalog| catalog.by_id(key.topic));
    match topic {
        Some(topic) => format!("{}/{}", topic.name, key.partition),
        None => key.to_string(),
    }
}

/// How the command is called that repairs a partition.
pub fn repair_command(data: &Path, partition: &str) -> String {
    format!("millrace repair {} --partition {partition}", data.display())
}
