//! What administrators and their tools ask for: its requests, told apart.

use crate::protocol::kafka::alter_configs::{AlterConfigsRequest, IncrementalAlterConfigsRequest};
use crate::protocol::kafka::api::key;
use crate::protocol::kafka::create_partitions::CreatePartitionsRequest;
use crate::protocol::kafka::delete_records::DeleteRecordsRequest;
use crate::protocol::kafka::describe_acls::DescribeAclsRequest;
use crate::protocol::kafka::describe_cluster::DescribeClusterRequest;
use crate::protocol::kafka::describe_configs::DescribeConfigsRequest;
use crate::protocol::kafka::describe_log_dirs::DescribeLogDirsRequest;
use crate::protocol::kafka::leader_epoch::LeaderEpochRequest;
use crate::protocol::kafka::reassignments::{ElectRequest, ReassignRequest, ReassignmentsRequest};
use crate::protocol::kafka::wire::{Field, Malformed, Reader, Shape};

/// A request that looks at the broker, or changes topics, or what they hold.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "each is the API of that name")]
pub enum Admin {
    AlterConfigs(AlterConfigsRequest),
    CreatePartitions(CreatePartitionsRequest),
    DeleteRecords(DeleteRecordsRequest),
    DescribeAcls,
    DescribeCluster,
    DescribeConfigs(DescribeConfigsRequest),
    DescribeLogDirs(DescribeLogDirsRequest),
    ElectLeaders(ElectRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    LeaderEpoch(LeaderEpochRequest),
    Reassign(ReassignRequest),
    Reassignments,
}

impl Admin {
    /// Whether requests with this key are decoded here.
    pub fn has(key: i16) -> bool {
        matches!(
            key,
            key::ALTER_CONFIGS
                | key::CREATE_PARTITIONS
                | key::DELETE_RECORDS
                | key::INCREMENTAL_ALTER_CONFIGS
                | key::OFFSET_FOR_LEADER_EPOCH
                | key::DESCRIBE_ACLS
                | key::DESCRIBE_CONFIGS
                | key::DESCRIBE_LOG_DIRS
                | key::ELECT_LEADERS
                | key::ALTER_PARTITION_REASSIGNMENTS
                | key::LIST_PARTITION_REASSIGNMENTS
                | key::DESCRIBE_CLUSTER
        )
    }

    /// Decodes the body of a request of the API with this key.
    pub fn decode(key: i16, reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed> {
        Ok(match key {
            key::ALTER_CONFIGS => Self::AlterConfigs(Field::read(reader, shape)?),
            key::CREATE_PARTITIONS => Self::CreatePartitions(Field::read(reader, shape)?),
            key::DELETE_RECORDS => Self::DeleteRecords(Field::read(reader, shape)?),
            key::INCREMENTAL_ALTER_CONFIGS => {
                Self::IncrementalAlterConfigs(Field::read(reader, shape)?)
            }
            key::OFFSET_FOR_LEADER_EPOCH => Self::LeaderEpoch(Field::read(reader, shape)?),
            key::DESCRIBE_ACLS => {
                DescribeAclsRequest::read(reader, shape)?;
                Self::DescribeAcls
            }
            key::DESCRIBE_CONFIGS => Self::DescribeConfigs(Field::read(reader, shape)?),
            key::DESCRIBE_LOG_DIRS => Self::DescribeLogDirs(Field::read(reader, shape)?),
            key::ELECT_LEADERS => Self::ElectLeaders(Field::read(reader, shape)?),
            key::ALTER_PARTITION_REASSIGNMENTS => Self::Reassign(Field::read(reader, shape)?),
            key::LIST_PARTITION_REASSIGNMENTS => {
                ReassignmentsRequest::read(reader, shape)?;
                Self::Reassignments
            }
            key::DESCRIBE_CLUSTER => {
                DescribeClusterRequest::read(reader, shape)?;
                Self::DescribeCluster
            }
            _ => return Err(Malformed::Field("api")),
        })
    }
}
