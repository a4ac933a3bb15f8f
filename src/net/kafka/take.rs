//! Taking the requests of Kafka clients.

use crate::base::clients::{ClientWire, NamedBy};
use crate::base::{AckLevel, PartitionKey, PartitionNo, TopicId};
use crate::engine::{Engine, FetchPartition};
use crate::net::clients::Name;
use crate::net::connection::{Shared, Taken};
use crate::net::kafka::{Cold, Hot, Lists};
use crate::net::queue::Owed;
use crate::protocol::kafka::api_versions::ApiVersionsRequest;
use crate::protocol::kafka::{
    self, Asked, Fetch, Header, Malformed, Produce, Split, Topic, api, error, fetch, frame,
    produce, split,
};
use std::time::Duration;

/// Takes the frame at the front of `pending`. After bytes that are no request, or one of a version that the client was
/// told is not served, there is nothing that could be answered.
pub(in crate::net) fn take<E: Engine>(shared: &Shared<E>, pending: &[u8]) -> Taken {
    let taken = match split(pending) {
        Ok(Split::NeedMore) => return Taken::NeedMore,
        Ok(Split::Frame { content, total }) => {
            shared.counters.request();
            take_frame(shared, content).map(|()| total)
        }
        Err(error) => Err(error),
    };
    match taken {
        Ok(total) => Taken::Frame(total),
        Err(_) => {
            shared.counters.malformed();
            Taken::Close
        }
    }
}

fn take_frame<E: Engine>(shared: &Shared<E>, content: &[u8]) -> Result<(), Malformed> {
    let (header, body) = match frame::header(content)? {
        Asked::Served(header, body) => (header, body),
        Asked::UnknownApiVersions { correlation } => {
            shared.seat.refused(error::UNSUPPORTED_VERSION);
            let api = api::find(api::key::API_VERSIONS).expect("it is in the table");
            owe_cold(shared, (api, 0, correlation), None, (0, String::new()));
            return Ok(());
        }
        Asked::Unserved {
            key,
            version,
            client_id,
        } => {
            take_seat(shared, client_id);
            shared.seat.asked_unserved(key, version);
            return Err(Malformed::Field("api or version"));
        }
    };
    if header.api.key != api::key::API_VERSIONS {
        take_seat(shared, header.client_id);
        shared.seat.asked(header.api.place(header.version));
    }
    match header.api.key {
        api::key::PRODUCE => take_produce(shared, &header, body),
        api::key::FETCH => take_fetch(shared, &header, body),
        _ => {
            let (request, held) = kafka::Cold::decode(header.api, header.shape(), body)?;
            if let kafka::Cold::ApiVersions(asked) = &request {
                introduce(shared, &header, asked);
            }
            let asked = (header.api, header.version, header.correlation);
            let client = match header.api.key {
                api::key::JOIN_GROUP => header.client_id.unwrap_or_default().to_owned(),
                _ => String::new(),
            };
            owe_cold(shared, asked, Some(request), (held, client));
            Ok(())
        }
    }
}

/// Takes note of who asks, by its id, where that is not known yet.
fn take_seat<E: Engine>(shared: &Shared<E>, client_id: Option<&str>) {
    if !shared.seat.is_taken() {
        shared.seat.take(Name {
            wire: ClientWire::Kafka,
            named_by: NamedBy::Id,
            name: client_id.unwrap_or_default(),
            version: "",
        });
    }
}

/// Takes note of who asks for the versions: clients that tell their software do it here.
fn introduce<E: Engine>(shared: &Shared<E>, header: &Header<'_>, asked: &ApiVersionsRequest) {
    match asked.software() {
        Some((name, version)) => shared.seat.take(Name {
            wire: ClientWire::Kafka,
            named_by: NamedBy::Software,
            name,
            version,
        }),
        None => take_seat(shared, header.client_id),
    }
    shared.seat.asked(header.api.place(header.version));
}

fn owe_cold<E: Engine>(
    shared: &Shared<E>,
    (api, version, correlation): (&'static kafka::Api, i16, i32),
    request: Option<kafka::Cold>,
    (held_bytes, client): (usize, String),
) {
    let cold = Cold {
        api,
        version,
        request,
        held_bytes: held_bytes + client.len(),
        client,
    };
    let owed = Owed::KafkaCold(Box::new(cold));
    shared.queue.owe(correlation as u32, owed);
}

/// Which topic is meant, or the code that says that there is none.
fn resolve<E: Engine>(engine: &E, topic: Topic<'_>) -> Result<TopicId, i16> {
    match topic {
        Topic::Id(id) => Ok(id),
        Topic::Name(name) => engine.topic_id(name).ok_or_else(|| topic.unknown()),
    }
}

fn key(topic: TopicId, index: i32) -> PartitionKey {
    // A negative number becomes one that no topic reaches.
    PartitionKey::new(topic, PartitionNo(index as u32))
}

fn take_produce<E: Engine>(
    shared: &Shared<E>,
    header: &Header<'_>,
    body: &[u8],
) -> Result<(), Malformed> {
    let request = Produce::parse(body, header.shape())?;
    let mut hot = shared.pool.lend_hot();
    hot.is_fetch = false;
    hot.version = header.version;
    hot.is_silent = request.is_silent();
    let level = request.level().ok_or(error::INVALID_REQUIRED_ACKS);
    let mut topic = Err(error::UNKNOWN_TOPIC_OR_PARTITION);
    request.walk(|step| match step {
        produce::Step::Topic(named) => {
            topic = resolve(&shared.engine, named);
            hot.lists.echo.topic(named, header.shape());
        }
        produce::Step::Partition { index, records } => {
            let begun = begin(shared, level, topic, index, records, header.version);
            hot.entries += usize::from(begun.is_ok());
            hot.lists.echo.partition(index, begun.err().unwrap_or(0));
        }
    });
    let correlation = header.correlation as u32;
    shared.queue.owe(correlation, Owed::Kafka(hot));
    Ok(())
}

/// Hands the records of one partition to the engine, or tells by a code why not.
fn begin<E: Engine>(
    shared: &Shared<E>,
    level: Result<AckLevel, i16>,
    topic: Result<TopicId, i16>,
    index: i32,
    records: Option<&[u8]>,
    version: i16,
) -> Result<(), i16> {
    let (level, topic) = (level?, topic?);
    let refusal = produce::check(records, version);
    let Some(records) = records.filter(|_| refusal == 0) else {
        return Err(refusal);
    };
    let ticket = shared.engine.produce(key(topic, index), level, records);
    shared.queue.add_ticket(ticket);
    Ok(())
}

fn take_fetch<E: Engine>(
    shared: &Shared<E>,
    header: &Header<'_>,
    body: &[u8],
) -> Result<(), Malformed> {
    let request = Fetch::parse(body, header.shape())?;
    let mut hot = shared.pool.lend_hot();
    hot.is_fetch = true;
    hot.version = header.version;
    hot.error_code = request.error_code();
    if hot.error_code == 0 {
        fill(&mut hot, shared, &request, header);
    }
    let correlation = header.correlation as u32;
    shared.queue.owe(correlation, Owed::Kafka(hot));
    Ok(())
}

fn fill<E: Engine>(hot: &mut Hot, shared: &Shared<E>, request: &Fetch<'_>, header: &Header<'_>) {
    let Lists { echo, fetch } = &mut *hot.lists;
    fetch.bytes_min = request.bytes_min;
    fetch.bytes_max = request.bytes_max;
    let mut topic = Err(error::UNKNOWN_TOPIC_OR_PARTITION);
    request.walk(|step| match step {
        fetch::Step::Topic(named) => {
            topic = resolve(&shared.engine, named);
            echo.topic(named, header.shape());
        }
        fetch::Step::Partition {
            index,
            from,
            bytes_max,
        } => {
            echo.partition(index, topic.err().unwrap_or(0));
            if let Ok(topic) = topic {
                fetch.partitions.push(FetchPartition {
                    key: key(topic, index),
                    from,
                    bytes_max,
                });
            }
        }
    });
    // An error is told at once.
    fetch.wait_max = match echo.has_error() {
        true => Duration::ZERO,
        false => request.wait_max,
    };
}
