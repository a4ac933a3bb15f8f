//! FindCoordinator: which broker coordinates a group.

use crate::base::CoreId;
use crate::protocol::kafka::error;
use crate::protocol::kafka::metadata::Cluster;
use crate::protocol::kafka::wire::message;

/// The key is the name of a group; others name transactions and share groups, which are not served.
const KEY_TYPE_GROUP: i8 = 0;

message! {
    /// Of what.
    pub struct FindCoordinatorRequest {
        key: String [0, 3],
        key_type: i8 [1],
        coordinator_keys: Vec<String> [4],
    }
}

message! {
    /// The answer: for one key itself, for several in a list.
    pub struct FindCoordinatorResponse {
        throttle_time_ms: i32 [1],
        error_code: i16 [0, 3],
        error_message: Option<String> [1, 3],
        node_id: i32 [0, 3] = -1,
        host: String [0, 3],
        port: i32 [0, 3] = -1,
        coordinators: Vec<Coordinator> [4],
    }
}

message! {
    /// The coordinator for one key.
    pub struct Coordinator {
        key: String [4],
        node_id: i32 [4] = -1,
        host: String [4],
        port: i32 [4] = -1,
        error_code: i16 [4],
        error_message: Option<String> [4],
    }
}

/// The answer, where `core_of` tells the core of a group.
pub fn answer(
    request: FindCoordinatorRequest,
    version: i16,
    cluster: &Cluster,
    core_of: impl Fn(&str) -> CoreId,
) -> FindCoordinatorResponse {
    let is_group = request.key_type == KEY_TYPE_GROUP;
    let find = |key: String| match is_group {
        true => found(cluster, core_of(&key), key),
        false => Coordinator {
            key,
            error_code: error::INVALID_REQUEST,
            error_message: Some("only groups have coordinators here".to_owned()),
            ..Coordinator::default()
        },
    };
    if version >= 4 {
        return FindCoordinatorResponse {
            coordinators: request.coordinator_keys.into_iter().map(find).collect(),
            ..FindCoordinatorResponse::default()
        };
    }
    let one = find(request.key);
    FindCoordinatorResponse {
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        ..FindCoordinatorResponse::default()
    }
}

fn found(cluster: &Cluster, core: CoreId, key: String) -> Coordinator {
    let node_id = cluster.leader(core);
    let mut brokers = cluster.brokers.iter();
    let broker = brokers.find(|(core, ..)| i32::from(core.0) == node_id);
    match broker {
        Some((_, host, port)) => Coordinator {
            key,
            node_id,
            host: host.clone(),
            port: i32::from(*port),
            ..Coordinator::default()
        },
        None => Coordinator {
            key,
            error_code: error::COORDINATOR_NOT_AVAILABLE,
            ..Coordinator::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_of_a_group_is_named_as_the_client_dials_it() {
        let cluster = Cluster {
            id: "c".to_owned(),
            brokers: vec![
                (CoreId(0), "a".to_owned(), 1),
                (CoreId(1), "b".to_owned(), 2),
            ],
        };
        let request = |key_type| FindCoordinatorRequest {
            key: "g".to_owned(),
            key_type,
            coordinator_keys: vec!["g".to_owned(), "h".to_owned()],
        };
        let core_of = |group: &str| CoreId(u16::from(group == "g"));
        let one = answer(request(0), 3, &cluster, core_of);
        assert_eq!((one.node_id, one.host.as_str(), one.port), (1, "b", 2));
        let two = answer(request(0), 4, &cluster, core_of).coordinators;
        let nodes: Vec<_> = two
            .iter()
            .map(|one| (one.key.as_str(), one.node_id))
            .collect();
        assert_eq!(nodes, [("g", 1), ("h", 0)]);
        let transaction = answer(request(1), 3, &cluster, core_of);
        assert_eq!(transaction.error_code, error::INVALID_REQUEST);
        // One port for all: the first broker stands for every core.
        let single = Cluster {
            brokers: cluster.brokers[..1].to_vec(),
            ..cluster
        };
        assert_eq!(answer(request(0), 3, &single, core_of).port, 1);
    }
}
