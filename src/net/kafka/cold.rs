//! Answering all other requests of Kafka clients: one arm for each API.

use crate::base::{PartitionKey, PartitionNo};
use crate::engine::{Engine, EngineError};
use crate::io::Io;
use crate::net::answer::Answering;
use crate::net::clients::Seat;
use crate::net::connection::Wire;
use crate::net::kafka::{Cold, Kafka, admin, groups, topics};
use crate::protocol::kafka::frame::respond;
use crate::protocol::kafka::list_offsets::{
    self, Asked, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::protocol::kafka::wire::Field;
use crate::protocol::kafka::{self, Api, api_versions, init_producer_id};

/// Where one answer goes.
pub(super) struct To<'a> {
    api: &'static Api,
    pub(super) version: i16,
    correlation: i32,
    out: &'a mut Vec<u8>,
    seat: &'a Seat,
}

impl To<'_> {
    pub(super) fn write(self, body: &impl Field) {
        body.tell_errors("", &mut |code| self.seat.refused(code));
        respond(self.api, self.version, self.correlation, body, self.out);
    }
}

impl<I: Io, E: Engine<Source = I::Source>> Answering<'_, I, E> {
    pub(in crate::net) async fn kafka_cold(&mut self, correlation: u32, cold: Cold) {
        let (engine, out) = (&self.shared.engine, &mut self.out);
        let correlation = correlation as i32;
        let (Some(request), Wire::Kafka(kafka)) = (cold.request, &self.shared.wire) else {
            api_versions::refuse_version(correlation, out);
            return;
        };
        let to = To {
            api: cold.api,
            version: cold.version,
            correlation,
            out,
            seat: &self.shared.seat,
        };
        let broker = kafka.cluster.leader(self.shared.core);
        if let kafka::Cold::Group(request) = request {
            let from = groups::From {
                client: cold.client,
                host: format!("/{}", self.shared.peer.ip()),
            };
            return groups::answer(engine, kafka, broker, request, from, to).await;
        }
        if let kafka::Cold::Admin(request) = request {
            return admin::answer(engine, kafka, broker, request, to).await;
        }
        answer(engine, kafka, request, to).await;
    }
}

async fn answer<E: Engine>(engine: &E, kafka: &Kafka, request: kafka::Cold, to: To<'_>) {
    match request {
        kafka::Cold::ApiVersions(_) => to.write(&api_versions::answer(0)),
        kafka::Cold::Metadata(request) => {
            let told = topics::metadata(engine, kafka, &request, to.version).await;
            to.write(&told);
        }
        kafka::Cold::ListOffsets(request) => {
            let told = list_offsets(engine, request, to.version).await;
            to.write(&told);
        }
        kafka::Cold::InitProducerId(request) => {
            to.write(&init_producer_id::answer(&request, || {
                engine.new_producer_id()
            }));
        }
        kafka::Cold::CreateTopics(request) => {
            to.write(&topics::create(engine, kafka, request).await);
        }
        kafka::Cold::DeleteTopics(request) => to.write(&topics::delete(engine, &request).await),
        kafka::Cold::Group(_) | kafka::Cold::Admin(_) => unreachable!("answered before"),
    }
}

async fn list_offsets<E: Engine>(
    engine: &E,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let id = engine.topic_id(&topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let index = wanted.partition_index;
            let asked = list_offsets::asked(wanted.timestamp, version);
            let found = match (id, asked) {
                (None, _) => Some(Err(EngineError::UnknownTopic(topic.name.clone()))),
                (Some(id), Asked::Offset(query)) => {
                    let key = PartitionKey::new(id, PartitionNo(index as u32));
                    Some(engine.list_offset(key, query).await)
                }
                (Some(_), Asked::Tiered | Asked::Unsupported) => None,
            };
            partitions.push(list_offsets::partition(index, asked, found));
        }
        let name = topic.name;
        topics.push(ListOffsetsTopicResponse { name, partitions });
    }
    ListOffsetsResponse {
        topics,
        ..ListOffsetsResponse::default()
    }
}
