//! Connections in front of an engine, on the simulated network, and what must be true of every one of them: replies are
//! whole, decode, answer the frames that were sent, in their order; and net stops.

use crate::engine::{Forgetful, SPAN_BYTES};
use crate::script::Act;
use millrace::base::{AckLevel, CoreId, NodeId};
use millrace::engine::{Engine, TopicSettings};
use millrace::io::sim::{Sim, SimDisk, SimIo, SimReader, SimSource, SimWriter};
use millrace::io::{File, Io, Listener, OpenMode, Reader, Signal, Writer};
use millrace::net::{Kafka, Net, Options};
use millrace::protocol::kafka::Cluster;
use millrace::protocol::native::{Caps, Reply, Split, split};
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// How long a peer waits for answers after its last act: far longer than an engine of ours takes, but for a fetch that
/// was told to wait, which the stop then cuts short.
const LINGER: Duration = Duration::from_millis(200);

/// A broker on a simulated machine of its own: an engine that remembers little, and a file for it to send from.
pub fn on_sim<F: Future<Output = ()>>(serve: impl FnOnce(SimIo, Forgetful) -> F + 'static) {
    let sim = Sim::with_disk(1, SimDisk::new(1));
    sim.run(|io| async move {
        let path = Path::new("/span");
        let file = io.open(path, OpenMode::CreateNew).await.expect("new");
        file.allocate(SPAN_BYTES).await.expect("there is room");
        let source = io.open_source(path).await.expect("there");
        serve(io.clone(), Forgetful::new(io, source)).await;
    })
    .done();
}

/// Serves `engine` to a peer that follows `acts`; what it was answered is checked.
pub async fn serve<E: Engine<Source = SimSource>>(io: SimIo, engine: E, acts: Vec<Act>) {
    let frames = acts.iter().filter(|act| matches!(act, Act::Frame(_)));
    let frames = frames.count();
    let is_clean = !acts.iter().any(|act| matches!(act, Act::Raw(_)));
    let heard = hear(io, engine, acts, None).await;
    check(&heard, frames, is_clean);
}

/// The same for a Kafka client: its answers are whole.
pub async fn serve_kafka<E: Engine<Source = SimSource>>(io: SimIo, engine: E, acts: Vec<Act>) {
    let kafka = Kafka {
        cluster: Cluster {
            id: "fuzz".to_owned(),
            brokers: vec![(CoreId(0), "test".to_owned(), 1)],
        },
        auto_create: true,
        partitions: 2,
        settings: TopicSettings {
            ack: AckLevel::Written,
            segment_bytes: 1 << 20,
            segment_ms: 1_000,
            ..TopicSettings::default()
        },
        producer_expiration_ms: 1,
    };
    let heard = hear(io, engine, acts, Some(kafka)).await;
    let mut rest = &heard[..];
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        assert!(length >= 4, "an answer repeats a correlation id");
        // The stop may have cut off an answer that was not taken.
        rest = behind.get(length as usize..).unwrap_or_default();
    }
}

/// What a peer hears that follows `acts`.
async fn hear<E: Engine<Source = SimSource>>(
    io: SimIo,
    engine: E,
    acts: Vec<Act>,
    kafka: Option<Kafka>,
) -> Vec<u8> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = io.listen(any_port).await.expect("a port is free");
    let address = listener.local_addr();
    let net = Net::new(io.clone(), engine, Options::new(NodeId(7)));
    match kafka {
        Some(kafka) => net.serve_kafka(listener, kafka),
        None => net.serve(listener),
    }
    let (reader, writer) = io.connect(address).await.expect("somebody listens");
    let heard = Rc::new(Ear::default());
    io.spawn(listen(reader, Rc::clone(&heard)));
    // A broker that has closed reads nothing more, and one whose answers nobody takes neither: so this has its own task.
    io.spawn(act(io.clone(), writer, acts.clone()));
    let silence = acts.iter().map(|act| match act {
        Act::Silence(ms) => *ms,
        _ => 1,
    });
    io.sleep(LINGER + Duration::from_millis(silence.sum()))
        .await;
    net.stop().await;
    heard.end().await;
    assert_eq!(net.stats().connections, 0, "net has stopped");
    assert_eq!(
        net.stats().receive_bytes,
        0,
        "its buffers have been given back"
    );
    heard.bytes.take()
}

/// What a peer has heard.
#[derive(Default)]
struct Ear {
    bytes: RefCell<Vec<u8>>,
    is_over: Cell<bool>,
    ended: Signal,
}

impl Ear {
    /// Waits until nothing more will be heard.
    async fn end(&self) {
        loop {
            let ended = self.ended.wait();
            if self.is_over.get() {
                return;
            }
            ended.await;
        }
    }
}

async fn listen(mut reader: SimReader, ear: Rc<Ear>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = reader.read(&mut buffer).await {
        ear.bytes.borrow_mut().extend_from_slice(&buffer[..bytes]);
    }
    ear.is_over.set(true);
    ear.ended.notify();
}

async fn act(io: SimIo, mut writer: SimWriter, acts: Vec<Act>) {
    for act in acts {
        let sent = match act {
            Act::Frame(bytes) | Act::Raw(bytes) => writer.write_all(&bytes).await,
            Act::Silence(ms) => {
                io.sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
        };
        if sent.is_err() {
            return;
        }
    }
    // Held open: the broker is the one that closes.
    io.sleep(Duration::from_secs(3_600)).await;
}

/// `frames` were sent; if `is_clean`, nothing else was.
fn check(mut heard: &[u8], frames: usize, is_clean: bool) {
    let mut count = 0;
    while !heard.is_empty() {
        let frame = match split(heard, Caps::REPLY) {
            Ok(Split::Frame(frame)) => frame,
            // The stop may have cut off an answer that was not taken.
            Ok(Split::NeedMore(_)) => break,
            Err(error) => panic!("no reply: {error}"),
        };
        Reply::decode(frame.header, frame.body).expect("a reply of ours decodes");
        if is_clean {
            assert_eq!(frame.correlation as usize, count, "in order");
        }
        heard = &heard[frame.total..];
        count += 1;
    }
    assert!(!is_clean || count <= frames, "{count} answers to {frames}");
}
