//! Which connection of the load talks to which core of the broker, about which partitions.

use crate::base::CoreId;

/// What one connection is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seat {
    /// The core of the broker that it dials.
    pub core: CoreId,
    /// The partitions it uses, in turn; at least one.
    pub partitions: Vec<u32>,
}

/// Seats `connections` over the cores that own partitions (`owners`, by partition), and each core's partitions over its
/// connections. With fewer partitions than connections, several share one; with fewer connections than cores, some
/// connections ask for partitions of a core that they do not dial.
/// `wrong_core`: every connection dials the core behind the one that owns its partitions; `cores` must be at least 2.
pub fn seats(owners: &[CoreId], cores: u16, connections: usize, wrong_core: bool) -> Vec<Seat> {
    assert!(!owners.is_empty() && connections > 0);
    let mut busy: Vec<CoreId> = owners.to_vec();
    busy.sort_unstable();
    busy.dedup();
    busy.truncate(connections);
    (0..connections)
        .map(|connection| {
            let core = busy[connection % busy.len()];
            let (nth, siblings) = nth_of(connection, connections, busy.len());
            let partitions = deal(&owned(owners, &busy, core), nth, siblings);
            let dialled = if wrong_core {
                assert!(cores > 1, "there is no wrong core");
                CoreId((core.0 + 1) % cores)
            } else {
                core
            };
            Seat {
                core: dialled,
                partitions,
            }
        })
        .collect()
}

/// Which of its core's connections this one is, and of how many.
fn nth_of(connection: usize, connections: usize, cores: usize) -> (usize, usize) {
    let slot = connection % cores;
    let siblings = (connections - slot).div_ceil(cores);
    (connection / cores, siblings)
}

/// The partitions of `core`, and those of cores that nobody dials.
fn owned(owners: &[CoreId], busy: &[CoreId], core: CoreId) -> Vec<u32> {
    let index = busy.iter().position(|other| *other == core);
    let of_core = |partition: usize, owner: &CoreId| match busy.contains(owner) {
        true => *owner == core,
        false => index == Some(partition % busy.len()),
    };
    let numbered = owners.iter().enumerate();
    numbered
        .filter(|(partition, owner)| of_core(*partition, owner))
        .map(|(partition, _)| partition as u32)
        .collect()
}

fn deal(partitions: &[u32], nth: usize, siblings: usize) -> Vec<u32> {
    if partitions.len() < siblings {
        return vec![partitions[nth % partitions.len()]];
    }
    partitions
        .iter()
        .copied()
        .skip(nth)
        .step_by(siblings)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn owners(partitions: usize, cores: u16) -> Vec<CoreId> {
        (0..partitions)
            .map(|p| CoreId((p % usize::from(cores)) as u16))
            .collect()
    }

    #[test]
    fn every_partition_has_a_connection_and_every_connection_a_partition() {
        for partitions in 1..20 {
            for connections in 1..20 {
                for cores in 1..5 {
                    let owners = owners(partitions, cores);
                    let seats = seats(&owners, cores, connections, false);
                    assert_eq!(seats.len(), connections);
                    assert!(seats.iter().all(|seat| !seat.partitions.is_empty()));
                    let used: BTreeSet<u32> =
                        seats.iter().flat_map(|s| s.partitions.clone()).collect();
                    assert_eq!(used.len(), partitions, "{partitions} {connections} {cores}");
                }
            }
        }
    }

    #[test]
    fn connections_dial_the_owner_or_never_the_owner() {
        let owners = owners(8, 2);
        for seat in seats(&owners, 2, 4, false) {
            let own = |p: &u32| owners[*p as usize] == seat.core;
            assert!(seat.partitions.iter().all(own), "{seat:?}");
        }
        for seat in seats(&owners, 2, 4, true) {
            let own = |p: &u32| owners[*p as usize] == seat.core;
            assert!(!seat.partitions.iter().any(own), "{seat:?}");
        }
    }
}
