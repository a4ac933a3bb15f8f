//! Goal: what one core says of the cluster that clients take the cores for is true, and each says its own part. Method: as for
//! the others.

use super::*;
use millrace::protocol::kafka::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
    CreatePartitionsTopic,
};
use millrace::protocol::kafka::create_topics::CreatableAssignment;
use millrace::protocol::kafka::list_groups::{ListGroupsRequest, ListGroupsResponse};
use millrace::protocol::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse,
};
use millrace::protocol::kafka::reassignments::{
    ElectRequest, ElectResponse, ElectTopic, ReassignPartition, ReassignRequest, ReassignResponse,
    ReassignTopic,
};

fn peers(broker: &Broker) -> Vec<Peer> {
    let addresses = broker.kafka();
    addresses.iter().map(|one| Peer::connect(one)).collect()
}

fn listed(peer: &mut Peer, version: i16) -> BTreeSet<String> {
    let asked = ListGroupsRequest::default();
    let told: ListGroupsResponse = peer.ask(key::LIST_GROUPS, version, &asked);
    let groups = told.groups.into_iter();
    groups.map(|group| group.group_id).collect()
}

/// librdkafka asks every broker for its groups and keeps what each says: its test 0019 found every group twice.
#[test]
fn each_core_lists_the_groups_that_it_coordinates() {
    let (_folder, broker) = serve("kafka-groups-listed", 2);
    let mut peers = peers(&broker);
    make(&mut peers[0], "t");
    let all: BTreeSet<String> = (0..40).map(|number| format!("g{number}")).collect();
    for group in &all {
        let asked = OffsetCommitRequest {
            group_id: group.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: "t".to_owned(),
                partitions: vec![OffsetCommitRequestPartition::default()],
            }],
            ..OffsetCommitRequest::default()
        };
        let told: OffsetCommitResponse = peers[0].ask(key::OFFSET_COMMIT, 7, &asked);
        assert_eq!(told.topics[0].partitions[0].error_code, 0);
    }
    for version in 0..=5 {
        let [first, second] = [0, 1].map(|core| listed(&mut peers[core], version));
        assert!(first.is_disjoint(&second), "{first:?} {second:?}");
        assert!(!first.is_empty() && !second.is_empty());
        assert_eq!(&first | &second, all);
    }
}

#[test]
fn a_broker_tells_where_it_is_dialled() {
    let (_folder, broker) = serve("kafka-listeners", 2);
    for (number, address) in broker.kafka().iter().enumerate() {
        let asked = DescribeConfigsRequest {
            resources: vec![ConfigResource {
                resource_type: describe_configs::BROKER,
                resource_name: number.to_string(),
                configuration_keys: Some(vec!["advertised.listeners".to_owned()]),
            }],
            ..DescribeConfigsRequest::default()
        };
        let told: DescribeConfigsResponse =
            Peer::connect(address).ask(key::DESCRIBE_CONFIGS, 4, &asked);
        let config = &told.results[0].configs[0];
        assert_eq!(config.value, Some(format!("PLAINTEXT://{address}")));
    }
}

/// Makes a topic whose partitions are to lie on these brokers, or gives it one more; the codes of both.
fn assign(peer: &mut Peer, name: &str, brokers: &[i32]) -> (i16, i16) {
    let assignment = |partition_index| CreatableAssignment {
        partition_index,
        broker_ids: brokers.to_vec(),
    };
    let asked = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![assignment(1), assignment(0)],
            ..CreatableTopic::default()
        }],
        ..CreateTopicsRequest::default()
    };
    let made: CreateTopicsResponse = peer.ask(key::CREATE_TOPICS, 5, &asked);
    let asked = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "t".to_owned(),
            count: 2,
            assignments: Some(vec![CreatePartitionsAssignment {
                broker_ids: brokers.to_vec(),
            }]),
        }],
        validate_only: true,
        ..CreatePartitionsRequest::default()
    };
    let more: CreatePartitionsResponse = peer.ask(key::CREATE_PARTITIONS, 3, &asked);
    (made.topics[0].error_code, more.results[0].error_code)
}

#[test]
fn partitions_are_put_where_they_would_lie_anyway_and_nowhere_else() {
    let refused = error::INVALID_REPLICA_ASSIGNMENT;
    let (_folder, broker) = serve("kafka-assigned", 2);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    assert_eq!(
        assign(&mut peer, "two", &[0]),
        (refused, refused),
        "nobody knows yet"
    );

    let (_folder, broker) = serve("kafka-assigned-alone", 1);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    for elsewhere in [&[][..], &[1], &[0, 0], &[0, 1]] {
        assert_eq!(assign(&mut peer, "made", elsewhere), (refused, refused));
    }
    assert_eq!(assign(&mut peer, "made", &[0]), (0, 0));
}

#[test]
fn nothing_moves_and_every_leader_stays() {
    let (_folder, broker) = serve("kafka-reassigned", 1);
    let mut peer = Peer::connect(&broker.kafka()[0]);
    make(&mut peer, "t");
    for version in 0..=1 {
        let to = |partition_index, replicas: Option<&[i32]>| ReassignPartition {
            partition_index,
            replicas: replicas.map(<[i32]>::to_vec),
        };
        let asked = ReassignRequest {
            topics: vec![ReassignTopic {
                name: "t".to_owned(),
                partitions: vec![
                    to(0, Some(&[0])),
                    to(0, None),
                    to(0, Some(&[1])),
                    to(1, Some(&[0])),
                ],
            }],
            ..ReassignRequest::default()
        };
        let told: ReassignResponse = peer.ask(key::ALTER_PARTITION_REASSIGNMENTS, version, &asked);
        let partitions = &told.responses[0].partitions;
        let codes: Vec<i16> = partitions.iter().map(|one| one.error_code).collect();
        let (unknown, refused) = (
            error::UNKNOWN_TOPIC_OR_PARTITION,
            error::INVALID_REPLICA_ASSIGNMENT,
        );
        assert_eq!(
            codes,
            [0, error::NO_REASSIGNMENT_IN_PROGRESS, refused, unknown]
        );
    }
    for version in 0..=2 {
        let asked = ElectRequest {
            topic_partitions: Some(vec![ElectTopic {
                topic: "t".to_owned(),
                partitions: vec![0, 1],
            }]),
            ..ElectRequest::default()
        };
        let told: ElectResponse = peer.ask(key::ELECT_LEADERS, version, &asked);
        let partitions = &told.replica_election_results[0].partition_result;
        let codes: Vec<i16> = partitions.iter().map(|one| one.error_code).collect();
        assert_eq!(
            codes,
            [
                error::ELECTION_NOT_NEEDED,
                error::UNKNOWN_TOPIC_OR_PARTITION
            ]
        );
    }
}
