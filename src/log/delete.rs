//! Deleting a partition: recorded in the journal first, so that no crash brings half of it back or takes it for lost.

use crate::base::PartitionKey;
use crate::base::planted::{Bug, planted};
use crate::io::Io;
use crate::log::core::Core;
use crate::log::{LogError, paths, sync};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::rc::Rc;

const ATTEMPTS: u32 = 4;

/// Refuses further appends, records the deletion durably, then removes the files. Readers keep what they hold.
pub(crate) async fn delete<I: Io>(core: &Rc<Core<I>>, key: PartitionKey) -> Result<(), LogError> {
    let found = core.partitions.borrow().get(&key).map(Rc::clone);
    let Some(partition) = found else {
        return Ok(());
    };
    if partition.deleting.replace(true) {
        return Ok(());
    }
    core.mark_dirty(&partition);
    if !planted(Bug::DeleteBeforeRecord) {
        // No write to the partition's files is in flight then either.
        sync::wait_durable(core, || partition.delete_taken.get()).await?;
    }
    core.partitions.borrow_mut().remove(&key);
    partition.progress.notify();
    let dir = paths::partition(&core.options.data, key);
    remove_files(&core.io, &dir, &paths::topic(&core.options.data, key.topic)).await
}

/// Removes a partition's directory and, if it was the last, its topic's.
pub(crate) async fn remove_files<I: Io>(
    io: &I,
    dir: &Path,
    topic_dir: &Path,
) -> Result<(), LogError> {
    for attempt in 1.. {
        for entry in io.list_dir(dir).await.map_err(LogError::io("list", dir))? {
            let path = dir.join(&entry.name);
            io.remove_file(&path)
                .await
                .map_err(LogError::io("remove", &path))?;
        }
        match io.remove_dir(dir).await {
            Ok(()) => break,
            // An index block that was on its way may have come back between the two.
            Err(_) if attempt < ATTEMPTS => {}
            Err(error) => return Err(LogError::io("remove", dir)(error)),
        }
    }
    match close_topic(io, topic_dir).await {
        // Another core, which owned the topic's last partition, was here first.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        closed => closed.map_err(LogError::io("sync and list", topic_dir)),
    }
}

/// Makes the removal of a partition durable, and removes the topic's directory if it is empty.
async fn close_topic<I: Io>(io: &I, topic_dir: &Path) -> Result<(), Error> {
    io.sync_dir(topic_dir).await?;
    if io.list_dir(topic_dir).await?.is_empty() {
        // Another core may have removed it first, or is about to put a partition there: both are fine.
        let _ = io.remove_dir(topic_dir).await;
    }
    Ok(())
}
