//! The way to one core: a thread that receives, and what it shares with whoever answers.

use super::chunk::Chunk;
use super::{QueueOptions, Settled};
use crate::base::CoreId;
use crate::client::ClientError;
use crate::client::answers::{Answers, records};
use crate::client::blocking::Dialer;
use crate::client::blocking::connection::Connection;
use crate::client::session::{Ledger, Outbox, Session};
use crate::protocol::native::{AnswerKind, PolledReply, Polling, QueueAnswer, QueueAsk, Reply};
use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How soon a stop is noticed while waiting to try again.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// What a lane hands over: a chunk, or why it ended.
pub(super) type Arrived = Result<Chunk, ClientError>;

/// See the module.
pub(super) struct Lane {
    state: Mutex<State>,
    /// Notified when less is unanswered, or the lane has ended.
    eased: Condvar,
}

struct State {
    link: Option<Link>,
    /// Counts the connections.
    epoch: u64,
    answers: Answers,
    /// The answers of each poll that waits for its reply.
    polls: VecDeque<Vec<QueueAnswer>>,
    spares: Vec<Vec<QueueAnswer>>,
    polling: Polling,
    /// How many offsets may be unanswered.
    prefetch: u64,
    /// Offsets of this connection that nobody has to answer for any more.
    done: u64,
    settled: Settled,
    is_stopping: bool,
    is_over: bool,
}

/// The sending half of a connection.
struct Link {
    stream: TcpStream,
    outbox: Outbox,
    ledger: Ledger,
}

impl Lane {
    pub(super) fn new(prefetch: u32, options: QueueOptions) -> Self {
        let mut polling = Polling::default();
        polling.poll.wait_max = options.wait_max;
        polling.poll.bytes_max = options.bytes_max;
        let state = State {
            link: None,
            epoch: 0,
            answers: Answers::default(),
            polls: VecDeque::new(),
            spares: Vec::new(),
            polling,
            prefetch: u64::from(prefetch),
            done: 0,
            settled: Settled::default(),
            is_stopping: false,
            is_over: false,
        };
        Self {
            state: Mutex::new(state),
            eased: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under it panics")
    }

    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    pub(super) fn settled(&self) -> Settled {
        self.state().settled
    }

    /// Takes an answer for something that came over connection `epoch`.
    pub(super) fn answer(&self, epoch: u64, answer: QueueAnswer) {
        let mut state = self.state();
        let is_final = !matches!(answer.kind, AnswerKind::Extend { .. });
        if state.epoch != epoch || state.link.is_none() {
            state.settled.lost += if is_final { records(&answer) } else { 0 };
            return;
        }
        if is_final {
            state.done += records(&answer);
        }
        state.answers.push(answer);
    }

    /// Offsets that came over connection `epoch` are done with.
    pub(super) fn done(&self, epoch: u64, offsets: u64) {
        let mut state = self.state();
        if state.epoch == epoch {
            state.done += offsets;
        }
    }

    /// Sends what was answered; without answers, how much more may come if that is much.
    pub(super) fn send(&self) {
        let mut state = self.state();
        let more = state
            .delivered_max()
            .saturating_sub(state.polling.delivered_max);
        if !state.answers.is_empty() || more > state.prefetch / 2 {
            state.send();
        }
    }

    /// Waits until it is known what became of all answers.
    pub(super) fn wait(&self, timeout: Duration) -> Result<(), ClientError> {
        let until = Instant::now() + timeout;
        let mut state = self.state();
        // A poll with answers is answered when it brings something, or is hurried.
        if state.polls.back().is_some_and(|last| !last.is_empty()) {
            state.send();
        }
        while state.is_owed() && !state.is_over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let address = "the queue".to_owned();
                return Err(ClientError::Timeout {
                    address,
                    after: timeout,
                });
            }
            let waited = self.eased.wait_timeout(state, left);
            state = waited.expect("nothing under it panics").0;
        }
        Ok(())
    }

    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_stopping = true;
        state.hang_up();
    }

    fn is_stopping(&self) -> bool {
        self.state().is_stopping
    }

    /// The connection is gone.
    fn lose(&self) {
        self.state().lose();
        self.eased.notify_all();
    }

    fn end(&self) {
        self.state().is_over = true;
        self.eased.notify_all();
    }
}

impl State {
    fn delivered_max(&self) -> u64 {
        self.done + self.prefetch
    }

    /// Whether something was answered and nobody knows yet what became of it.
    fn is_owed(&self) -> bool {
        let is_waited_for = self.polls.iter().any(|answers| !answers.is_empty());
        is_waited_for || !self.answers.is_empty()
    }

    /// Sends all answers, in as many polls as they need, at least one.
    fn send(&mut self) {
        let Some(link) = &mut self.link else {
            return;
        };
        loop {
            self.polling.delivered_max = self.done + self.prefetch;
            self.polling.poll.answers = self.spares.pop().unwrap_or_default();
            self.answers.take(&mut self.polling.poll.answers);
            let asked = link.outbox.poll_queue(&mut link.ledger, &self.polling);
            asked.expect("as many answers as a poll may carry");
            self.polls
                .push_back(std::mem::take(&mut self.polling.poll.answers));
            if self.answers.is_empty() {
                break;
            }
        }
        let sent = link.stream.write_all(link.outbox.bytes());
        link.outbox.clear();
        if sent.is_err() {
            // The thread that receives finds out, and knows what to do.
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        if let Some(link) = &self.link {
            let _ = link.stream.shutdown(Shutdown::Both);
        }
    }

    fn lose(&mut self) {
        self.link = None;
        self.epoch += 1;
        let is_final = |one: &&QueueAnswer| !matches!(one.kind, AnswerKind::Extend { .. });
        let sent = self.polls.drain(..).flatten().collect::<Vec<_>>();
        let sent: u64 = sent.iter().filter(is_final).map(records).sum();
        self.settled.lost += sent + self.answers.clear();
        self.done = 0;
        self.polling.delivered_max = 0;
    }

    /// Takes what became of the oldest poll's answers.
    fn take(&mut self, polled: &PolledReply<'_>) {
        let mut answers = self.polls.pop_front().unwrap_or_default();
        for (answer, told) in answers.iter().zip(polled.answered()) {
            // An extension that came too late is told by the answer that follows it.
            if !matches!(answer.kind, AnswerKind::Extend { .. }) {
                self.settled.taken += told.taken;
                self.settled.stale += told.stale;
            }
        }
        answers.clear();
        self.spares.push(answers);
    }
}

/// Everything that the thread of a lane needs.
pub(super) struct Runner {
    pub(super) number: u16,
    pub(super) lanes: Arc<[Lane]>,
    pub(super) dialer: Dialer,
    pub(super) core: CoreId,
    pub(super) queue: String,
    pub(super) options: QueueOptions,
    pub(super) out: Sender<Arrived>,
}

impl Runner {
    /// Receives until it is stopped, or something is wrong that waiting does not mend.
    pub(super) fn run(self) {
        let lane = &self.lanes[usize::from(self.number)];
        let mut backoff = self.dialer.backoff();
        loop {
            let mut has_joined = false;
            let error = match self.serve(lane, &mut has_joined) {
                Ok(()) => break,
                Err(error) => error,
            };
            lane.lose();
            if lane.is_stopping() {
                break;
            }
            if has_joined {
                backoff.reset();
            }
            let Some(wait) = backoff.wait().filter(|_| error.is_transient()) else {
                let _ = self.out.send(Err(error));
                break;
            };
            let until = Instant::now() + wait;
            while Instant::now() < until && !lane.is_stopping() {
                std::thread::sleep(STOP_CHECK.min(wait));
            }
        }
        lane.end();
    }

    /// One connection. Without an error: nobody takes what it brings.
    fn serve(&self, lane: &Lane, has_joined: &mut bool) -> Result<(), ClientError> {
        let mut connection = self.join()?;
        *has_joined = true;
        let lost = |error: std::io::Error, connection: &Connection| ClientError::Lost {
            address: connection.address().to_owned(),
            cause: error.to_string(),
        };
        let stream = connection.socket();
        let stream = stream.map_err(|error| lost(error, &connection))?;
        let Session { ledger, outbox, .. } = connection.session();
        let epoch = {
            let mut state = lane.state();
            if state.is_stopping {
                return Ok(());
            }
            state.link = Some(Link {
                stream,
                outbox: std::mem::take(outbox),
                ledger: std::mem::take(ledger),
            });
            state.send();
            state.epoch
        };
        loop {
            let mut chunk = Chunk::new(self.number, epoch);
            self.receive(lane, &mut connection, &mut chunk)?;
            lane.eased.notify_all();
            if !chunk.is_used_up() && self.out.send(Ok(chunk)).is_err() {
                return Ok(());
            }
        }
    }

    /// One reply; sends another poll if that was the last that waited.
    fn receive(
        &self,
        lane: &Lane,
        connection: &mut Connection,
        chunk: &mut Chunk,
    ) -> Result<(), ClientError> {
        let address = connection.address().to_owned();
        let (correlation, reply) = connection.receive_unchecked()?;
        let mut state = lane.state();
        if let Some(link) = &mut state.link {
            let settled = link.ledger.settle(correlation, &reply);
            settled.map_err(|cause| ClientError::Session { address, cause })?;
        }
        match reply {
            Reply::QueuePolled(polled) => {
                for (delivered, batches) in polled.deliveries() {
                    chunk.push(delivered, batches);
                }
                state.take(&polled);
                if state.polls.is_empty() {
                    state.send();
                }
                Ok(())
            }
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => unreachable!("the ledger holds replies against requests"),
        }
    }

    fn join(&self) -> Result<Connection, ClientError> {
        let address = self.dialer.cluster.address(self.core);
        let (mut connection, welcome) = Connection::open(&address, self.dialer.timeout)?;
        if welcome.core != self.core {
            return Err(ClientError::WrongCore {
                address,
                wanted: self.core,
                found: welcome.core,
            });
        }
        let ask = QueueAsk::Join {
            name: self.queue.clone(),
            at_most_once: self.options.at_most_once,
        };
        let Session { outbox, ledger, .. } = connection.session();
        outbox.queue(ledger, &ask)?;
        connection.send(&[])?;
        if let Reply::Refused(refusal) = connection.receive()?.1 {
            return Err(refusal.into());
        }
        connection.set_timeout(self.dialer.timeout + self.options.wait_max)?;
        Ok(connection)
    }
}
