//! What must be known and made before a load: versions, brokers, topics. Blocking, one request at a time.
//!
//! A cluster's brokers are told apart by their place among all, in the order of their ids: that number stands where the
//! native client has a core.

use crate::base::limits::FRAME_BYTES_MAX;
use crate::base::{CoreId, TopicId};
use crate::bench::kafka::{GREETING, Versions, api, greeting, wire};
use crate::client::{CoreAddress, NewTopic, TopicInfo};
use crate::protocol::kafka::api::key;
use crate::protocol::kafka::api_versions::{ApiVersion, ApiVersionsResponse};
use crate::protocol::kafka::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::protocol::kafka::delete_topics::{
    DeletableTopic, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::protocol::kafka::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataTopic,
};
use crate::protocol::kafka::wire::{Field, Malformed, Shape};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long a broker may take to answer, and a cluster to choose leaders.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a new topic is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Kafka's code for an unknown version, which an answer in version 0 carries.
const UNSUPPORTED_VERSION: i16 = 35;
/// From this version on, topics to be deleted are named one struct each.
const DELETE_STRUCTS_FROM: i16 = 6;

/// Why a Kafka broker cannot be asked.
#[derive(Error, Debug)]
pub enum AdminError {
    /// The socket.
    #[error("{server}: {cause}; give the address of a broker that speaks Kafka")]
    Io {
        /// Whom.
        server: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The answer.
    #[error("{server} does not answer as Kafka does: {cause}")]
    Malformed {
        /// Who.
        server: String,
        /// Why not.
        cause: Malformed,
    },
    /// No common version.
    #[error("{server} serves no version of {api} that is spoken here ({first} to {last})")]
    Versions {
        /// Who.
        server: String,
        /// Which API.
        api: &'static str,
        /// The first spoken here …
        first: i16,
        /// … and the last.
        last: i16,
    },
    /// It said no.
    #[error("{server} refused {what}: Kafka's error {code}{}", said(.words.as_deref()))]
    Refused {
        /// Who.
        server: String,
        /// What was asked.
        what: String,
        /// Kafka's code.
        code: i16,
        /// Its words.
        words: Option<String>,
    },
    /// A topic that was made has no leaders.
    #[error("{server}: topic {topic} has no leader for every partition {} s after it was made", PATIENCE.as_secs())]
    Leaderless {
        /// Who.
        server: String,
        /// Which.
        topic: String,
    },
}

/// A broker's words behind a code.
pub fn said(words: Option<&str>) -> String {
    words.map_or_else(String::new, |words| format!(" ({words})"))
}

/// A connection to a broker.
pub struct Admin {
    server: String,
    stream: TcpStream,
    told: Vec<ApiVersion>,
    next: i32,
}

impl Admin {
    /// Connects to `server`, a `host:port`, and asks what it speaks.
    pub fn connect(server: &str) -> Result<Self, AdminError> {
        let io = |cause| AdminError::Io {
            server: server.to_owned(),
            cause,
        };
        let stream = TcpStream::connect(server).map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(io)?;
        let mut admin = Self {
            server: server.to_owned(),
            stream,
            told: Vec::new(),
            next: 0,
        };
        admin.told = admin.greet()?;
        Ok(admin)
    }

    /// The versions that a load shall speak.
    pub fn versions(&self) -> Result<Versions, AdminError> {
        Ok(Versions {
            produce: self.version(key::PRODUCE)?,
            fetch: self.version(key::FETCH)?,
        })
    }

    /// The brokers of the cluster.
    pub fn brokers(&mut self) -> Result<Vec<CoreAddress>, AdminError> {
        let metadata = self.metadata(None)?;
        let ids = broker_ids(&metadata);
        let mut brokers = metadata.brokers;
        brokers.sort_by_key(|broker| broker.node_id);
        Ok(brokers
            .into_iter()
            .map(|broker| CoreAddress {
                core: place(&ids, broker.node_id),
                host: broker.host,
                port: broker.port as u16,
            })
            .collect())
    }

    /// Makes a topic of one replica, and waits until every partition has a leader. Its settings are the cluster's own.
    pub fn create(&mut self, topic: &NewTopic) -> Result<TopicInfo, AdminError> {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.clone(),
                num_partitions: topic.partitions as i32,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            timeout_ms: PATIENCE.as_millis() as i32,
            validate_only: false,
        };
        let answer: CreateTopicsResponse = self.ask(key::CREATE_TOPICS, |_| request)?;
        for made in answer.topics {
            self.check(&topic.name, made.error_code, made.error_message)?;
        }
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if let Some(info) = self.find(topic)? {
                return Ok(info);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        Err(AdminError::Leaderless {
            server: self.server.clone(),
            topic: topic.name.clone(),
        })
    }

    fn find(&mut self, topic: &NewTopic) -> Result<Option<TopicInfo>, AdminError> {
        let mut metadata = self.metadata(Some(&topic.name))?;
        let found = metadata.topics.pop();
        let ids = broker_ids(&metadata);
        Ok(found.and_then(|found| led(&ids, topic, &found)))
    }

    /// Deletes a topic.
    pub fn delete(&mut self, topic: &TopicInfo) -> Result<(), AdminError> {
        let name = topic.name.clone();
        let answer: DeleteTopicsResponse = self.ask(key::DELETE_TOPICS, |version| {
            let mut request = DeleteTopicsRequest {
                timeout_ms: PATIENCE.as_millis() as i32,
                ..DeleteTopicsRequest::default()
            };
            if version < DELETE_STRUCTS_FROM {
                request.topic_names = vec![name];
            } else {
                request.topics = vec![DeletableTopic {
                    name: Some(name),
                    topic_id: 0,
                }];
            }
            request
        })?;
        for deleted in answer.responses {
            self.check(&topic.name, deleted.error_code, deleted.error_message)?;
        }
        Ok(())
    }

    fn metadata(&mut self, topic: Option<&str>) -> Result<MetadataResponse, AdminError> {
        let named = topic.map(|name| MetadataRequestTopic {
            topic_id: 0,
            name: Some(name.to_owned()),
        });
        self.ask(key::METADATA, |_| MetadataRequest {
            // Without a topic: of none, since a list of all may be long.
            topics: Some(named.into_iter().collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        })
    }

    fn check(&self, what: &str, code: i16, words: Option<String>) -> Result<(), AdminError> {
        match code {
            0 => Ok(()),
            code => Err(AdminError::Refused {
                server: self.server.clone(),
                what: what.to_owned(),
                code,
                words,
            }),
        }
    }

    /// The highest version that both ends have.
    fn version(&self, key: i16) -> Result<i16, AdminError> {
        let api = api(key);
        let told = self.told.iter().find(|told| told.api_key == key);
        let common = told
            .map(|told| {
                (
                    told.min_version.max(api.first),
                    told.max_version.min(api.last),
                )
            })
            .filter(|(first, last)| first <= last);
        common
            .map(|(_, last)| last)
            .ok_or_else(|| AdminError::Versions {
                server: self.server.clone(),
                api: api.name,
                first: api.first,
                last: api.last,
            })
    }

    fn greet(&mut self) -> Result<Vec<ApiVersion>, AdminError> {
        let mut request = Vec::new();
        greeting(0, &mut request);
        let content = self.exchange(&request)?;
        // A broker that does not know the version says so in version 0.
        let code = content.get(4..6).map(|code| [code[0], code[1]]);
        let is_old = code.map(i16::from_be_bytes) == Some(UNSUPPORTED_VERSION);
        let version = if is_old { 0 } else { GREETING };
        let answer: ApiVersionsResponse = self.read(key::API_VERSIONS, version, &content)?;
        if !is_old {
            self.check("ApiVersions", answer.error_code, None)?;
        }
        Ok(answer.api_keys)
    }

    fn ask<Q: Field, A: Field>(
        &mut self,
        key: i16,
        request: impl FnOnce(i16) -> Q,
    ) -> Result<A, AdminError> {
        let version = self.version(key)?;
        self.next += 1;
        let mut bytes = Vec::new();
        wire::request(api(key), version, self.next, &request(version), &mut bytes);
        let content = self.exchange(&bytes)?;
        self.read(key, version, &content)
    }

    /// Sends a request; the content of the frame that comes back.
    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, AdminError> {
        let exchanged = self.try_exchange(request);
        exchanged.map_err(|cause| AdminError::Io {
            server: self.server.clone(),
            cause,
        })
    }

    fn try_exchange(&mut self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        self.stream.write_all(request)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            let cause = format!("an answer of {length} bytes");
            return Err(std::io::Error::new(ErrorKind::InvalidData, cause));
        }
        let mut content = vec![0; length];
        self.stream.read_exact(&mut content)?;
        Ok(content)
    }

    fn read<A: Field>(&self, key: i16, version: i16, content: &[u8]) -> Result<A, AdminError> {
        let api = api(key);
        let shape: Shape = api.shape(version);
        let read = wire::answer(api, version, content)
            .and_then(|(_, mut reader)| A::read(&mut reader, shape));
        read.map_err(|cause| AdminError::Malformed {
            server: self.server.clone(),
            cause,
        })
    }
}

fn broker_ids(metadata: &MetadataResponse) -> Vec<i32> {
    let mut ids: Vec<i32> = metadata.brokers.iter().map(|one| one.node_id).collect();
    ids.sort_unstable();
    ids
}

/// The place of a broker among all.
fn place(ids: &[i32], id: i32) -> CoreId {
    CoreId(ids.binary_search(&id).unwrap_or(0) as u16)
}

/// What the cluster tells of a topic, once every partition has a leader.
fn led(ids: &[i32], asked: &NewTopic, found: &MetadataTopic) -> Option<TopicInfo> {
    let partitions = asked.partitions as usize;
    let is_whole = found.error_code == 0 && found.partitions.len() == partitions;
    let mut owners = vec![None; partitions];
    for partition in found.partitions.iter().filter(|_| is_whole) {
        let leader = ids.contains(&partition.leader_id);
        let owner = owners.get_mut(partition.partition_index as usize)?;
        *owner = leader.then(|| place(ids, partition.leader_id));
    }
    let owners: Option<Vec<CoreId>> = owners.into_iter().collect();
    Some(TopicInfo {
        id: TopicId(found.topic_id),
        name: asked.name.clone(),
        partitions: asked.partitions,
        settings: asked.settings,
        owners: owners?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::AckLevel;
    use crate::client::TopicSettings;
    use crate::protocol::kafka::metadata::MetadataPartition;

    fn asked() -> NewTopic {
        NewTopic {
            name: "t".to_owned(),
            partitions: 2,
            settings: TopicSettings {
                ack: AckLevel::Written,
                segment_bytes: 1 << 20,
                segment_ms: 1,
                ..TopicSettings::default()
            },
        }
    }

    fn found(leaders: &[i32]) -> MetadataTopic {
        let partition = |(index, leader): (usize, &i32)| MetadataPartition {
            partition_index: index as i32,
            leader_id: *leader,
            ..MetadataPartition::default()
        };
        MetadataTopic {
            partitions: leaders.iter().enumerate().map(partition).collect(),
            ..MetadataTopic::default()
        }
    }

    #[test]
    fn a_topic_is_there_when_every_partition_has_a_leader() {
        let ids = [3, 8];
        let owners = |leaders: &[i32]| led(&ids, &asked(), &found(leaders)).map(|info| info.owners);
        assert_eq!(owners(&[8, 3]), Some(vec![CoreId(1), CoreId(0)]));
        assert_eq!(owners(&[8, -1]), None, "no leader yet");
        assert_eq!(owners(&[8, 5]), None, "a leader that nobody knows");
        assert_eq!(owners(&[8]), None, "a partition is missing");
        let refused = MetadataTopic {
            error_code: 3,
            ..found(&[8, 3])
        };
        assert_eq!(led(&ids, &asked(), &refused), None);
    }

    #[test]
    fn nobody_at_an_address_is_told() {
        let error = Admin::connect("127.0.0.1:1").err().expect("nobody listens");
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }
}
