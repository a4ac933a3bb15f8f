//! Goal: whatever members do, a group comes to rest with every partition assigned to exactly one of those who live, and
//! nobody who lives and asks in time is ever told that it is unknown.
//!
//! Method: clients that follow the protocol as Kafka's do, with their answers on the way for a while, are started,
//! stopped and killed at random; then they are left alone for as long as the timeouts allow.

use super::*;
use crate::base::prng::Prng;

const PARTITIONS: usize = 12;
/// No answer takes longer to be acted upon. Far below the rebalance timeout, as on any network that works.
const REACTION_MS_MAX: u64 = 3_000;
const HEARTBEAT_MS: u64 = 3_000;

#[derive(Clone, Debug)]
enum Doing {
    Join,
    Joining(Ticket),
    Sync(Joined),
    Syncing(Ticket, Joined),
    /// With what it was assigned.
    Working(Joined, Vec<u8>),
}

struct Client {
    no: usize,
    identity: Identity,
    doing: Doing,
    acts_at_ms: u64,
    beats_at_ms: u64,
}

struct World {
    rig: Rig,
    prng: Prng,
    clients: Vec<Client>,
    started: usize,
    last_generation: i32,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            rig: Rig::new(),
            prng: Prng::new(seed),
            clients: Vec::new(),
            started: 0,
            last_generation: 0,
        }
    }

    fn start(&mut self) {
        self.started += 1;
        let is_static = self.prng.chance(1, 4);
        self.clients.push(Client {
            no: self.started,
            identity: Identity {
                member: String::new(),
                instance: is_static.then(|| format!("instance-{}", self.started)),
            },
            doing: Doing::Join,
            acts_at_ms: self.rig.now.monotonic_ms,
            beats_at_ms: 0,
        });
    }

    /// Something happens to somebody.
    fn disturb(&mut self) {
        let some = self.clients.len() as u64;
        match self.prng.below(6) {
            0 | 1 if some < 8 => self.start(),
            2 if some > 0 => {
                let one = self.prng.below(some) as usize;
                let client = self.clients.remove(one);
                self.rig.leave(&[client.identity]);
            }
            3 if some > 0 => {
                let one = self.prng.below(some) as usize;
                self.clients.remove(one);
            }
            4 if some > 0 => {
                // Topics have changed: it joins again.
                let one = self.prng.below(some) as usize;
                if matches!(self.clients[one].doing, Doing::Working(..)) {
                    self.clients[one].doing = Doing::Join;
                }
            }
            _ => {}
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 100 {
            self.rig.pass(100);
            for at in 0..self.clients.len() {
                self.act(at);
                self.beat(at);
            }
        }
    }

    fn act(&mut self, at: usize) {
        let now_ms = self.rig.now.monotonic_ms;
        if self.clients[at].acts_at_ms > now_ms {
            return;
        }
        let client = &self.clients[at];
        let next = match client.doing.clone() {
            Doing::Join => {
                let join = JoinGroup {
                    identity: client.identity.clone(),
                    ..dynamic(client.no)
                };
                Doing::Joining(self.rig.ask(GroupRequest::Join(join)))
            }
            Doing::Joining(ticket) => match self.rig.joined(ticket) {
                None => return,
                Some(answer) => self.on_joined(at, answer),
            },
            Doing::Sync(joined) => Doing::Syncing(self.sync(at, &joined), joined),
            Doing::Syncing(ticket, joined) => match self.rig.synced(ticket) {
                None => return,
                Some(Ok(synced)) => Doing::Working(joined, synced.assignment.to_vec()),
                Some(Err(GroupError::Rebalancing | GroupError::IllegalGeneration)) => Doing::Join,
                Some(Err(error)) => panic!("a live member was told: {error}"),
            },
            Doing::Working(..) => return,
        };
        let reaction_ms = self.prng.below(REACTION_MS_MAX);
        let client = &mut self.clients[at];
        client.doing = next;
        client.acts_at_ms = now_ms + reaction_ms;
    }

    fn on_joined(&mut self, at: usize, answer: Result<Joined, GroupError>) -> Doing {
        let client = &mut self.clients[at];
        match answer {
            Ok(joined) => {
                client.identity.member.clone_from(&joined.member);
                client.beats_at_ms = self.rig.now.monotonic_ms;
                self.last_generation = self.last_generation.max(joined.generation.0);
                Doing::Sync(joined)
            }
            Err(GroupError::MemberIdRequired(id)) => {
                client.identity.member = id;
                Doing::Join
            }
            Err(GroupError::Rebalancing) => Doing::Join,
            Err(error) => panic!("a live member was told: {error}"),
        }
    }

    /// The leader deals out the partitions; the others bring nothing.
    fn sync(&mut self, at: usize, joined: &Joined) -> Ticket {
        let members = joined.members.iter().map(|one| one.identity.member.clone());
        let members: Vec<String> = members.collect();
        let dealt = members.iter().enumerate().map(|(no, member)| {
            let part = (no..PARTITIONS).step_by(members.len().max(1));
            (member.clone(), part.map(|one| one as u8).collect())
        });
        self.rig.ask(GroupRequest::Sync(SyncGroup {
            group: GROUP.to_owned(),
            identity: self.clients[at].identity.clone(),
            generation: joined.generation,
            protocol_type: None,
            protocol: None,
            assignments: dealt.collect(),
        }))
    }

    fn beat(&mut self, at: usize) {
        let now_ms = self.rig.now.monotonic_ms;
        let client = &mut self.clients[at];
        let generation = match &client.doing {
            Doing::Sync(joined) | Doing::Syncing(_, joined) | Doing::Working(joined, _) => {
                joined.generation
            }
            Doing::Join | Doing::Joining(_) => return,
        };
        if client.beats_at_ms > now_ms {
            return;
        }
        client.beats_at_ms = now_ms + HEARTBEAT_MS;
        let ticket = self.rig.ask(GroupRequest::Heartbeat {
            group: GROUP.to_owned(),
            identity: client.identity.clone(),
            generation,
        });
        let Some(GroupReply::Alive(alive)) = self.rig.replies.remove(&ticket) else {
            panic!("a heartbeat is answered at once");
        };
        let is_working = matches!(client.doing, Doing::Working(..));
        match alive {
            Ok(()) => {}
            Err(GroupError::Rebalancing | GroupError::IllegalGeneration) if is_working => {
                client.doing = Doing::Join;
            }
            // Its sync will hear the same.
            Err(GroupError::Rebalancing | GroupError::IllegalGeneration) => {}
            Err(error) => panic!("a live member was told: {error}"),
        }
    }

    /// Everybody works, and everything is worked on once.
    fn check(&self, seed: u64) {
        let mut covered = Vec::new();
        for client in &self.clients {
            let Doing::Working(joined, part) = &client.doing else {
                panic!("seed {seed}: {:?}", client.doing);
            };
            assert_eq!(joined.generation.0, self.last_generation, "seed {seed}");
            covered.extend_from_slice(part);
        }
        covered.sort_unstable();
        if !self.clients.is_empty() {
            let all: Vec<u8> = (0..PARTITIONS as u8).collect();
            assert_eq!(covered, all, "seed {seed}");
            assert_eq!(self.rig.state(), Some(GroupState::Stable), "seed {seed}");
        } else {
            let state = self.rig.state();
            assert!(
                matches!(state, None | Some(GroupState::Empty)),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_group_comes_to_rest_whatever_its_members_do() {
    let mut most_generations = 0;
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.start();
        for _ in 0..30 {
            world.disturb();
            let ms = world.prng.below(8_000);
            world.pass(ms);
        }
        let rest_ms = u64::from(2 * (SESSION_MS + REBALANCE_MS)) + 20_000;
        world.pass(rest_ms);
        world.check(seed);
        most_generations = most_generations.max(world.last_generation);
    }
    assert!(most_generations > 5, "the seeds have made groups rebalance");
}
