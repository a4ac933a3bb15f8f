//! Metadata: the brokers (each core is one) and the topics with the leader of each partition.

use crate::base::CoreId;
use crate::base::TopicId;
use crate::engine::{EngineError, TopicInfo, TopicRef};
use crate::protocol::kafka::error;
use crate::protocol::kafka::wire::message;

message! {
    /// Which topics; all, where there is no list, and before version 1 where it is empty.
    pub struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [0],
        allow_auto_topic_creation: bool [4] = true,
        include_cluster_authorized_operations: bool [8, 10],
        include_topic_authorized_operations: bool [8],
    }
}

message! {
    /// One topic, by its id or its name.
    pub struct MetadataRequestTopic {
        topic_id: u128 [10],
        name: Option<String> [0],
    }
}

message! {
    /// A broker.
    pub struct MetadataBroker {
        node_id: i32 [0],
        host: String [0],
        port: i32 [0],
        rack: Option<String> [1],
    }
}

message! {
    /// A partition.
    pub struct MetadataPartition {
        error_code: i16 [0],
        partition_index: i32 [0],
        leader_id: i32 [0],
        leader_epoch: i32 [7],
        replica_nodes: Vec<i32> [0],
        isr_nodes: Vec<i32> [0],
        offline_replicas: Vec<i32> [5],
    }
}

message! {
    /// A topic, or why there is none.
    pub struct MetadataTopic {
        error_code: i16 [0],
        name: Option<String> [0],
        topic_id: u128 [10],
        is_internal: bool [1],
        partitions: Vec<MetadataPartition> [0],
        topic_authorized_operations: i32 [8] = i32::MIN,
    }
}

message! {
    /// The answer.
    pub struct MetadataResponse {
        throttle_time_ms: i32 [3],
        brokers: Vec<MetadataBroker> [0],
        cluster_id: Option<String> [2],
        controller_id: i32 [1],
        topics: Vec<MetadataTopic> [0],
        cluster_authorized_operations: i32 [8, 10] = i32::MIN,
        error_code: i16 [13],
    }
}

impl MetadataRequest {
    /// The topics asked for; `None`: all.
    pub fn asked(&self, version: i16) -> Option<Vec<TopicRef>> {
        let topics = self.topics.as_ref()?;
        if version == 0 && topics.is_empty() {
            return None;
        }
        let asked = |topic: &MetadataRequestTopic| match &topic.name {
            Some(name) => TopicRef::Name(name.clone()),
            None => TopicRef::Id(TopicId(topic.topic_id)),
        };
        Some(topics.iter().map(asked).collect())
    }
}

/// How a broker's cores are shown to clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    /// What the cluster is called.
    pub id: String,
    /// The cores that are shown as brokers, with where they are dialled.
    pub brokers: Vec<(CoreId, String, u16)>,
}

impl Cluster {
    /// The broker that stands for a core: itself, or the first where one stands for all.
    pub fn leader(&self, core: CoreId) -> i32 {
        let is_shown = self.brokers.iter().any(|(shown, ..)| *shown == core);
        if is_shown {
            i32::from(core.0)
        } else {
            self.controller()
        }
    }

    /// The broker that stands for where topics are made.
    pub fn controller(&self) -> i32 {
        self.brokers
            .first()
            .map_or(-1, |(core, ..)| i32::from(core.0))
    }

    /// Whether a partition that is to lie on these brokers will: which core gets one is decided as it is made, so that is
    /// known where one broker is all that clients see.
    pub fn will_hold(&self, broker_ids: &[i32]) -> bool {
        self.brokers.len() == 1 && broker_ids == [self.controller()]
    }

    /// Where a broker is dialled, as host and port.
    pub fn listener(&self, broker: i32) -> String {
        let mut brokers = self.brokers.iter();
        let found = brokers.find(|(core, ..)| i32::from(core.0) == broker);
        found.map_or(String::new(), |(_, host, port)| format!("{host}:{port}"))
    }

    /// The brokers as Metadata shows them.
    pub fn shown(&self) -> Vec<MetadataBroker> {
        let shown = |(core, host, port): &(CoreId, String, u16)| MetadataBroker {
            node_id: i32::from(core.0),
            host: host.clone(),
            port: i32::from(*port),
            rack: None,
        };
        self.brokers.iter().map(shown).collect()
    }
}

/// The answer: `asked` as [`MetadataRequest::asked`] gave it, `found` what there is of each, or all.
pub fn answer(
    cluster: &Cluster,
    asked: Option<&[TopicRef]>,
    found: &[Result<TopicInfo, EngineError>],
) -> MetadataResponse {
    let topic = |(number, found): (usize, &Result<TopicInfo, EngineError>)| match found {
        Ok(info) => topic(cluster, info),
        Err(error) => missing(asked.and_then(|asked| asked.get(number)), error),
    };
    MetadataResponse {
        brokers: cluster.shown(),
        cluster_id: Some(cluster.id.clone()),
        controller_id: cluster.controller(),
        topics: found.iter().enumerate().map(topic).collect(),
        ..MetadataResponse::default()
    }
}

fn topic(cluster: &Cluster, info: &TopicInfo) -> MetadataTopic {
    let partition = |(number, owner): (usize, &CoreId)| {
        let leader = cluster.leader(*owner);
        MetadataPartition {
            partition_index: number as i32,
            leader_id: leader,
            replica_nodes: vec![leader],
            isr_nodes: vec![leader],
            ..MetadataPartition::default()
        }
    };
    MetadataTopic {
        name: Some(info.name.clone()),
        topic_id: info.id.0,
        is_internal: info.name.starts_with("__"),
        partitions: info.owners.iter().enumerate().map(partition).collect(),
        ..MetadataTopic::default()
    }
}

fn missing(asked: Option<&TopicRef>, refusal: &EngineError) -> MetadataTopic {
    let (name, topic_id) = match asked {
        Some(TopicRef::Name(name)) => (Some(name.clone()), 0),
        Some(TopicRef::Id(id)) => (None, id.0),
        None => (None, 0),
    };
    let error_code = match (refusal, asked) {
        (EngineError::UnknownTopic(_), Some(TopicRef::Id(_))) => error::UNKNOWN_TOPIC_ID,
        (EngineError::InvalidRequest(_), _) => error::INVALID_TOPIC,
        (refusal, _) => error::code(refusal),
    };
    MetadataTopic {
        error_code,
        name,
        topic_id,
        ..MetadataTopic::default()
    }
}
