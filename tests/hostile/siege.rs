//! The attacks of the campaign: each goes on until it is told to stop, on threads of the lowest priority (two cores have to
//! do for the broker, its good clients and its enemies), and then closes its connections.

use crate::attacks;
use crate::wire::{self, Conversation, PREFIX, batch, connect, fetch, key, produce, reseal_batch};
use millrace::base::limits::{FRAME_BODY_BYTES_MAX, REQUEST_PARTITIONS_MAX};
use millrace::base::prng::Prng;
use millrace::protocol::native::{MetadataQuery, RequestWriter, TopicInfo};
use rustix::net::sockopt::set_socket_linger;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Connections of the attacks that hold many, unless more are asked for.
pub(crate) const CONNECTIONS: usize = 1_000;

/// What an attack is aimed at, and when it ends.
pub(crate) struct Ground {
    pub(crate) address: SocketAddr,
    pub(crate) mud: TopicInfo,
    pub(crate) connections: usize,
    pub(crate) stop: AtomicBool,
    /// What the attackers did: connections, requests, pieces.
    pub(crate) blows: AtomicU64,
}

impl Ground {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn strike(&self) {
        self.blows.fetch_add(1, Ordering::SeqCst);
    }

    fn talk(&self) -> Conversation {
        Conversation::new(&self.mud)
    }

    /// Pauses, for no longer than the attack goes on.
    fn pause(&self, time: Duration) {
        let step = Duration::from_millis(5).min(time);
        let mut left = time;
        while self.goes_on() && !left.is_zero() {
            std::thread::sleep(step);
            left = left.saturating_sub(step);
        }
    }
}

/// An attack and how many threads it has.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) threads: usize,
    pub(crate) run: fn(&Ground),
}

const fn attack(name: &'static str, threads: usize, run: fn(&Ground)) -> Attack {
    Attack { name, threads, run }
}

pub(crate) const ATTACKS: &[Attack] = &[
    attack("connections come and go", 2, come_and_go),
    attack("connections are reset", 2, reset_at_once),
    attack("connections idle, ungreeted", 1, idle),
    attack("half a hello", 1, half_hello),
    attack("half a header", 1, half_header),
    attack("half a frame of 16 MiB, a little of it sent", 1, half_body),
    attack("half a frame of 16 MiB, most of it sent", 1, most_of_a_body),
    attack("a byte at a time", 1, trickle),
    attack("lengths that lie", 1, lying_lengths),
    attack("batches that lie", 2, lying_batches),
    attack("greetings of others", 1, strangers),
    attack("noise", 1, noise),
    attack("reset at every byte", 1, reset_at_every_byte),
    attack("cut at every byte", 1, cut_at_every_byte),
    attack("half-closed", 1, half_closed),
    attack("metadata without end", 4, metadata_flood),
    attack("wide fetches without end", 2, fetch_flood),
    attack("metadata, answers never read", 2, metadata_unread),
    attack("fetches, answers never read", 2, fetches_unread),
    attack("hello again and again", 2, hello_flood),
];

/// Sends for as long as the broker takes it and the attack goes on; what comes back is thrown away, or left.
fn flood(ground: &Ground, request: &[u8], reads: bool) {
    let talk = ground.talk();
    while ground.goes_on() {
        let mut stream = connect(ground.address);
        stream.set_nonblocking(true).unwrap();
        let (mut sent, mut buffer) = (0, vec![0; 256 << 10]);
        let all = [
            &talk.hello[..],
            &request.repeat(64.max(4_096 / request.len())),
        ]
        .concat();
        // A refusal ends a connection: the next one.
        while ground.goes_on() {
            match stream.write(&all[sent..]) {
                Ok(count) => {
                    sent += count;
                    if sent == all.len() {
                        sent = talk.hello.len();
                        ground.strike();
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(_) => break,
            }
            if reads && matches!(stream.read(&mut buffer), Ok(0)) {
                break;
            }
        }
    }
}

/// Opens connections, up to the number asked for, each with these bytes, and holds them.
fn hold(ground: &Ground, count: usize, bytes: impl Fn(usize) -> Vec<u8>) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(count);
    for number in 0..count {
        if !ground.goes_on() {
            break;
        }
        let mut stream = connect(ground.address);
        let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
        let _ = stream.write_all(&bytes(number));
        held.push(stream);
        ground.strike();
    }
    held
}

fn hold_to_the_end(ground: &Ground, count: usize, bytes: impl Fn(usize) -> Vec<u8>) {
    let held = hold(ground, count, bytes);
    ground.pause(Duration::MAX);
    drop(held);
}

/// Closed by a reset: no TIME_WAIT is left, so that ports do not run out.
fn reset(stream: TcpStream) {
    let _ = set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

fn come_and_go(ground: &Ground) {
    while ground.goes_on() {
        let stream = connect(ground.address);
        let _ = (&stream).write_all(&ground.talk().hello);
        reset(stream);
        ground.strike();
    }
}

fn reset_at_once(ground: &Ground) {
    while ground.goes_on() {
        reset(connect(ground.address));
        ground.strike();
    }
}

fn idle(ground: &Ground) {
    hold_to_the_end(ground, ground.connections, |_| Vec::new());
}

fn half_hello(ground: &Ground) {
    let hello = ground.talk().hello;
    hold_to_the_end(ground, ground.connections, |number| {
        hello[..number % hello.len()].to_vec()
    });
}

fn half_header(ground: &Ground) {
    let talk = ground.talk();
    hold_to_the_end(ground, ground.connections, |number| {
        let part = &talk.produce[..1 + number % (PREFIX + 40)];
        [&talk.hello[..], part].concat()
    });
}

/// The beginning of a produce that announces all that a frame may have.
fn announced(talk: &Conversation, bytes: usize) -> Vec<u8> {
    let mut out = talk.hello.clone();
    let entry = [(talk.key, FRAME_BODY_BYTES_MAX as u32)].into_iter();
    let level = millrace::base::AckLevel::Written;
    let written = RequestWriter::new().produce(1, level, entry, &mut out);
    written.unwrap();
    out.resize(out.len() + bytes, 0);
    out
}

fn half_body(ground: &Ground) {
    let bytes = announced(&ground.talk(), 40_000);
    hold_to_the_end(ground, ground.connections.min(500), |_| bytes.clone());
}

fn most_of_a_body(ground: &Ground) {
    let bytes = announced(&ground.talk(), 12 << 20);
    while ground.goes_on() {
        let held = hold(ground, 64, |_| bytes.clone());
        ground.pause(Duration::from_millis(500));
        drop(held);
    }
}

fn trickle(ground: &Ground) {
    let talk = ground.talk();
    let all = talk.all();
    let mut held = hold(ground, ground.connections.min(300), |_| Vec::new());
    for at in 0.. {
        if !ground.goes_on() {
            return;
        }
        for stream in &mut held {
            let _ = stream.write_all(&all[at % all.len()..][..1]);
        }
        ground.strike();
        ground.pause(Duration::from_millis(20));
    }
}

fn lying_lengths(ground: &Ground) {
    let talk = ground.talk();
    let mut prng = Prng::new(3);
    while ground.goes_on() {
        let mut bad = talk.produce.clone();
        let at = 4 * prng.below(2) as usize;
        let length = (prng.next_u64() >> prng.below(64)) as u32;
        bad[at..at + 4].copy_from_slice(&length.to_le_bytes());
        send(ground, &[&talk.hello[..], &bad].concat());
    }
}

/// Sends, resets.
fn send(ground: &Ground, bytes: &[u8]) {
    let mut stream = connect(ground.address);
    let _ = stream.write_all(bytes);
    reset(stream);
    ground.strike();
}

fn lying_batches(ground: &Ground) {
    let mut bad = batch(&[7; 500], 20);
    // It says that it has fewer records than it has.
    bad[57..61].copy_from_slice(&1i32.to_be_bytes());
    reseal_batch(&mut bad);
    flood(ground, &produce(key(&ground.mud), &bad), true);
}

fn strangers(ground: &Ground) {
    while ground.goes_on() {
        for greeting in attacks::GREETINGS {
            send(ground, greeting);
        }
    }
}

fn noise(ground: &Ground) {
    let mut prng = Prng::new(5);
    while ground.goes_on() {
        let words = 1 + prng.below(512);
        let noise: Vec<u8> = (0..words)
            .flat_map(|_| prng.next_u64().to_le_bytes())
            .collect();
        send(ground, &noise);
        send(ground, &[&ground.talk().hello[..], &noise].concat());
    }
}

fn reset_at_every_byte(ground: &Ground) {
    let all = ground.talk().all();
    while ground.goes_on() {
        for cut in 0..all.len() {
            if ground.goes_on() {
                send(ground, &all[..cut]);
            }
        }
    }
}

fn cut_at_every_byte(ground: &Ground) {
    let all = ground.talk().all();
    while ground.goes_on() {
        for cut in 0..all.len() {
            if ground.goes_on() {
                let _ = wire::send(ground.address, &all[..cut]);
                ground.strike();
            }
        }
    }
}

fn half_closed(ground: &Ground) {
    let all = ground.talk().all();
    let held = hold(ground, ground.connections.min(500), |_| all.clone());
    for stream in &held {
        let _ = stream.shutdown(Shutdown::Write);
    }
    ground.pause(Duration::MAX);
}

fn metadata() -> Vec<u8> {
    let mut out = Vec::new();
    let all = MetadataQuery::All { after: None };
    RequestWriter::new().metadata(4, &all, &mut out).unwrap();
    out
}

fn metadata_flood(ground: &Ground) {
    flood(ground, &metadata(), true);
}

fn metadata_unread(ground: &Ground) {
    flood(ground, &metadata(), false);
}

fn fetch_flood(ground: &Ground) {
    let keys = vec![key(&ground.mud); REQUEST_PARTITIONS_MAX];
    flood(ground, &fetch(&keys, 1), true);
}

fn fetches_unread(ground: &Ground) {
    flood(ground, &fetch(&[key(&ground.mud)], 16 << 20), false);
}

fn hello_flood(ground: &Ground) {
    flood(ground, &ground.talk().hello, true);
}
