//! What administrators who speak Kafka ask for; what changes topics is in `alter`.

use crate::base::{CoreId, PartitionKey, PartitionNo};
use crate::engine::{Engine, EngineError, OffsetQuery, TopicInfo, TopicRef};
use crate::net::kafka::Kafka;
use crate::net::kafka::cold::To;
use crate::net::kafka::{alter, topics};
use crate::protocol::kafka::admin::Admin;
use crate::protocol::kafka::describe_configs::{
    self, ConfigResource, DescribeConfigsRequest, DescribeConfigsResponse, DescribedConfig,
};
use crate::protocol::kafka::describe_log_dirs::{
    self, DescribeLogDirsRequest, DescribedPartition, DescribedTopic,
};
use crate::protocol::kafka::leader_epoch::{
    self, LeaderEpochRequest, LeaderEpochResponse, LeaderEpochTopicResponse,
};
use crate::protocol::kafka::reassignments::{
    self, ElectRequest, ElectResponse, ElectedTopic, ReassignPartition, ReassignRequest,
    ReassignResponse, ReassignedTopic, ReassignmentsResponse,
};
use crate::protocol::kafka::{describe_acls, describe_cluster, error};

pub(super) async fn answer<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    broker: i32,
    request: Admin,
    to: To<'_>,
) {
    match request {
        Admin::AlterConfigs(request) => {
            let is_trial = request.validate_only;
            let changes = request.asked(&kafka.settings);
            to.write(&alter::configs(engine, changes, is_trial).await);
        }
        Admin::IncrementalAlterConfigs(request) => {
            let is_trial = request.validate_only;
            let changes = request.asked(&kafka.settings);
            to.write(&alter::configs(engine, changes, is_trial).await);
        }
        Admin::CreatePartitions(request) => {
            to.write(&alter::partitions(engine, kafka, request).await);
        }
        Admin::DeleteRecords(request) => to.write(&alter::delete_records(engine, request).await),
        Admin::DescribeAcls => to.write(&describe_acls::answer()),
        Admin::DescribeCluster => to.write(&describe_cluster::answer(&kafka.cluster)),
        Admin::DescribeConfigs(request) => to.write(&configs(engine, kafka, broker, &request)),
        Admin::DescribeLogDirs(request) => {
            let topics = log_dirs(engine, kafka, broker, &request).await;
            to.write(&describe_log_dirs::answer(topics));
        }
        Admin::LeaderEpoch(request) => to.write(&leader_epochs(engine, request).await),
        Admin::ElectLeaders(request) => to.write(&elect(engine, request)),
        Admin::Reassign(request) => to.write(&reassign(engine, kafka, request)),
        Admin::Reassignments => to.write(&ReassignmentsResponse::default()),
    }
}

fn configs<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    broker: i32,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let one = |asked| {
        let found = resource(engine, kafka, broker, asked);
        describe_configs::described(request, asked, found)
    };
    DescribeConfigsResponse {
        results: request.resources.iter().map(one).collect(),
        ..DescribeConfigsResponse::default()
    }
}

fn resource<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    broker: i32,
    asked: &ConfigResource,
) -> Result<Vec<DescribedConfig>, (i16, String)> {
    match asked.resource_type {
        describe_configs::TOPIC => {
            let topic = [TopicRef::Name(asked.resource_name.clone())];
            match engine.topics(Some(&topic)).pop() {
                Some(Ok(info)) => Ok(describe_configs::of_topic(&info.settings, &kafka.settings)),
                Some(Err(error)) => Err((error::code(&error), error.to_string())),
                None => Ok(Vec::new()),
            }
        }
        describe_configs::BROKER => Ok(describe_configs::of_broker(
            &kafka
                .cluster
                .listener(asked.resource_name.parse().unwrap_or(broker)),
            kafka.auto_create,
            kafka.partitions,
            kafka.producer_expiration_ms,
            &kafka.settings,
        )),
        _ => {
            let line = "only topics and brokers have settings";
            Err((error::INVALID_REQUEST, line.to_owned()))
        }
    }
}

/// The partitions that `broker` stands for. A topic that goes away meanwhile, or is damaged, is left out: a size of it would
/// be made up.
async fn log_dirs<E: Engine>(
    engine: &E,
    kafka: &Kafka,
    broker: i32,
    request: &DescribeLogDirsRequest,
) -> Vec<DescribedTopic> {
    let mut described = Vec::new();
    for topic in engine.topics(None).into_iter().flatten() {
        let wanted: Vec<usize> = (0..topic.owners.len())
            .filter(|number| request.wants(&topic.name, *number as i32))
            .filter(|number| kafka.cluster.leader(topic.owners[*number]) == broker)
            .collect();
        if !wanted.is_empty() {
            described.extend(log_dir(engine, topic, &wanted).await);
        }
    }
    described
}

async fn log_dir<E: Engine>(
    engine: &E,
    topic: TopicInfo,
    wanted: &[usize],
) -> Option<DescribedTopic> {
    let (_, states) = engine.describe_topic(TopicRef::Id(topic.id)).await.ok()?;
    let one = |number: &usize| {
        let state = states.get(*number)?;
        Some(DescribedPartition {
            partition_index: *number as i32,
            partition_size: state.bytes as i64,
            ..DescribedPartition::default()
        })
    };
    Some(DescribedTopic {
        name: topic.name,
        partitions: wanted.iter().filter_map(one).collect(),
    })
}

/// The cores that own the partitions of a topic, by partition number; none, where there is no such topic.
fn owners<E: Engine>(engine: &E, topic: &str) -> Vec<CoreId> {
    let info = topics::find(engine, topic);
    info.map_or(Vec::new(), |info| info.owners)
}

fn elect<E: Engine>(engine: &E, request: ElectRequest) -> ElectResponse {
    let topics = request.topic_partitions.into_iter().flatten();
    let results = topics.map(|asked| {
        let count = owners(engine, &asked.topic).len();
        let one = |number| reassignments::elected(number, (0..count as i32).contains(&number));
        ElectedTopic {
            partition_result: asked.partitions.into_iter().map(one).collect(),
            topic: asked.topic,
        }
    });
    ElectResponse {
        replica_election_results: results.collect(),
        ..ElectResponse::default()
    }
}

fn reassign<E: Engine>(engine: &E, kafka: &Kafka, request: ReassignRequest) -> ReassignResponse {
    let responses = request.topics.into_iter().map(|asked| {
        let owners = owners(engine, &asked.name);
        let one = |partition: &ReassignPartition| {
            let number = usize::try_from(partition.partition_index).ok();
            let owner = number.and_then(|number| owners.get(number));
            reassignments::reassigned(partition, owner.map(|core| kafka.cluster.leader(*core)))
        };
        ReassignedTopic {
            partitions: asked.partitions.iter().map(one).collect(),
            name: asked.name,
        }
    });
    ReassignResponse {
        responses: responses.collect(),
        allow_replication_factor_change: request.allow_replication_factor_change,
        ..ReassignResponse::default()
    }
}

async fn leader_epochs<E: Engine>(engine: &E, request: LeaderEpochRequest) -> LeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let id = engine.topic_id(&topic.topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let end = match id {
                None => Err(EngineError::UnknownTopic(topic.topic.clone())),
                Some(id) => {
                    let key = PartitionKey::new(id, PartitionNo(asked.partition as u32));
                    let latest = engine.list_offset(key, OffsetQuery::Latest).await;
                    latest.map(|(offset, _)| offset)
                }
            };
            partitions.push(leader_epoch::epoch_end(asked, end));
        }
        let topic = topic.topic;
        topics.push(LeaderEpochTopicResponse { topic, partitions });
    }
    LeaderEpochResponse {
        topics,
        ..LeaderEpochResponse::default()
    }
}
