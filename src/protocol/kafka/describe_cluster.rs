//! DescribeCluster: the brokers, without topics.

use crate::protocol::kafka::Cluster;
use crate::protocol::kafka::wire::message;

message! {
    /// What to tell besides.
    pub struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0],
        endpoint_type: i8 [1] = 1,
        include_fenced_brokers: bool [2],
    }
}

message! {
    /// A broker.
    pub struct DescribedBroker {
        broker_id: i32 [0],
        host: String [0],
        port: i32 [0],
        rack: Option<String> [0],
        is_fenced: bool [2],
    }
}

message! {
    /// The answer.
    pub struct DescribeClusterResponse {
        throttle_time_ms: i32 [0],
        error_code: i16 [0],
        error_message: Option<String> [0],
        endpoint_type: i8 [1] = 1,
        cluster_id: String [0],
        controller_id: i32 [0],
        brokers: Vec<DescribedBroker> [0],
        cluster_authorized_operations: i32 [0] = i32::MIN,
    }
}

/// The answer.
pub fn answer(cluster: &Cluster) -> DescribeClusterResponse {
    let brokers = cluster.shown().into_iter().map(|broker| DescribedBroker {
        broker_id: broker.node_id,
        host: broker.host,
        port: broker.port,
        ..DescribedBroker::default()
    });
    DescribeClusterResponse {
        cluster_id: cluster.id.clone(),
        controller_id: cluster.controller(),
        brokers: brokers.collect(),
        ..DescribeClusterResponse::default()
    }
}
