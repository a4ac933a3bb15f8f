//! Requests of the native protocol.

use crate::base::clients::{ClientWire, NamedBy};
use crate::engine::Engine;
use crate::net::clients::Name;
use crate::net::connection::{Shared, Taken};
use crate::net::queue::{Owed, Rare};
use crate::protocol::native::{
    Caps, Frame, Greeting, MetadataQuery, Refusal, Request, Split, split,
};

/// Takes the frame at the front of `pending`.
pub(super) fn take<E: Engine>(
    shared: &Shared<E>,
    greeting: &mut Greeting,
    pending: &[u8],
) -> Taken {
    match split(pending, greeting.caps()) {
        Ok(Split::NeedMore(_)) => Taken::NeedMore,
        Ok(Split::Frame(frame)) => take_frame(shared, greeting, frame),
        Err(_) => {
            // Where the next frame begins is not known, and which request to answer neither.
            shared.counters.malformed();
            Taken::Close
        }
    }
}

/// Takes one request.
fn take_frame<E: Engine>(shared: &Shared<E>, greeting: &mut Greeting, frame: Frame<'_>) -> Taken {
    shared.counters.request();
    let total = frame.total;
    let correlation = frame.correlation;
    let refuse = |refusal| {
        let rare = Rare::Refused(refusal);
        shared.queue.owe(correlation, Owed::Rare(Box::new(rare)));
    };
    let request = match Request::decode(frame.header, frame.body) {
        Ok(request) => request,
        Err(error) => {
            shared.counters.malformed();
            shared.seat.refused(error.code().code());
            refuse(Refusal::new(error.code(), Some(&error.to_string())));
            let must_close = error.is_fatal() || greeting.caps() == Caps::HELLO;
            return if must_close {
                Taken::Close
            } else {
                Taken::Frame(total)
            };
        }
    };
    match greeting.admit(&request) {
        Ok(None) => {}
        Ok(Some(version)) => {
            take_seat(shared, &request);
            count(shared, greeting, &request);
            let rare = Box::new(Rare::Welcome { version });
            shared.queue.owe(correlation, Owed::Rare(rare));
            return Taken::Frame(total);
        }
        Err(refusal) => {
            shared.seat.refused(refusal.code.code());
            refuse(refusal);
            return Taken::Close;
        }
    }
    count(shared, greeting, &request);
    let owed = begin(shared, request);
    shared.queue.owe(correlation, owed);
    Taken::Frame(total)
}

/// Takes note of who says hello.
fn take_seat<E: Engine>(shared: &Shared<E>, request: &Request<'_>) {
    if let Request::Hello(hello) = request {
        shared.seat.take(Name {
            wire: ClientWire::Native,
            named_by: NamedBy::Software,
            name: hello.software,
            version: hello.software_version,
        });
    }
}

fn count<E: Engine>(shared: &Shared<E>, greeting: &Greeting, request: &Request<'_>) {
    if let Some(version) = greeting.version() {
        shared.seat.asked(request.place(version));
    }
}

/// Hands a produce to the engine; keeps anything else for its turn.
fn begin<E: Engine>(shared: &Shared<E>, request: Request<'_>) -> Owed {
    let rare = match request {
        Request::Produce(produce) => {
            for entry in produce.entries() {
                let engine = &shared.engine;
                let ticket = engine.produce(entry.key, produce.level(), entry.batches);
                shared.queue.add_ticket(ticket);
            }
            return Owed::Produce {
                entries: produce.count() as u32,
            };
        }
        Request::Fetch(fetch) => {
            let mut owed = shared.queue.spare();
            fetch.fill(&mut owed);
            return Owed::Fetch(owed);
        }
        Request::PollQueue(poll) => {
            let mut owed = shared.queue.spare_poll();
            poll.fill(&mut owed);
            return Owed::Poll(owed);
        }
        Request::Metadata(MetadataQuery::All { after }) => Rare::AllTopics { after },
        Request::Metadata(MetadataQuery::Topics(topics)) => Rare::Topics(topics),
        Request::CreateTopic(topic) => Rare::Create(topic),
        Request::AlterTopic(change) => Rare::Alter(change),
        Request::Trim { of, before } => Rare::Trim(of, before),
        Request::DeleteTopic(topic) => Rare::Delete(topic),
        Request::DescribeTopic { topic, first } => Rare::Describe {
            topic,
            first: first.0,
        },
        Request::ListOffsets(list) => {
            let entries = list.entries().map(|entry| (entry.key, entry.query));
            Rare::ListOffsets(entries.collect())
        }
        Request::Stages => Rare::Stages,
        Request::Clients { first } => Rare::Clients { first },
        Request::Group(ask) => Rare::Group(ask),
        Request::Queue(ask) => Rare::Queue(ask),
        Request::Hello(_) => unreachable!("the greeting admits or refuses every hello"),
    };
    Owed::Rare(Box::new(rare))
}
