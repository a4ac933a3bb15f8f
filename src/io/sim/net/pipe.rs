//! One direction of a connection: a bounded queue of bytes that arrive at their own times, in order.

use std::collections::VecDeque;

/// What a receiver finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// This many bytes have arrived.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// Nothing more will come.
    End,
}

/// See the module. Bytes count against the bound from when they are sent until they are taken.
#[derive(Debug)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    /// Pieces under way: when each arrives, and how long it is.
    under_way: VecDeque<(u64, usize)>,
    arrived: usize,
    bytes_max: usize,
    latest: u64,
    end: Option<u64>,
}

impl Pipe {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            under_way: VecDeque::new(),
            arrived: 0,
            bytes_max,
            latest: 0,
            end: None,
        }
    }

    /// How many bytes may be sent now.
    pub(super) fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes.len())
    }

    /// Sends `bytes`, at most the room, to arrive at `at` or when what was sent before has. Says when.
    pub(super) fn send(&mut self, bytes: &[u8], at: u64) -> u64 {
        assert!(bytes.len() <= self.room(), "the sender waits for room");
        self.latest = self.latest.max(at);
        self.bytes.extend(bytes);
        self.under_way.push_back((self.latest, bytes.len()));
        self.latest
    }

    /// Sends the end of the stream. Says when it arrives.
    pub(super) fn finish(&mut self, at: u64) -> u64 {
        self.latest = self.latest.max(at);
        *self.end.get_or_insert(self.latest)
    }

    /// What there is at `now`.
    pub(super) fn look(&mut self, now: u64) -> Found {
        while let Some((at, bytes)) = self.under_way.front().copied() {
            if at > now {
                break;
            }
            self.arrived += bytes;
            self.under_way.pop_front();
        }
        match (self.arrived, self.end) {
            (0, Some(at)) if at <= now && self.under_way.is_empty() => Found::End,
            (0, _) => Found::Nothing,
            (bytes, _) => Found::Bytes(bytes),
        }
    }

    /// Takes bytes that have arrived, as many as fill `out`.
    pub(super) fn take(&mut self, out: &mut [u8]) {
        assert!(out.len() <= self.arrived, "the receiver looked first");
        let bytes = out.len();
        for (to, from) in out.iter_mut().zip(self.bytes.drain(..bytes)) {
            *to = from;
        }
        self.arrived -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_in_time_and_within_the_bound() {
        let mut pipe = Pipe::new(6);
        assert_eq!(pipe.send(b"abc", 50), 50);
        assert_eq!(pipe.send(b"de", 20), 50, "never overtakes");
        assert_eq!((pipe.room(), pipe.look(49)), (1, Found::Nothing));
        assert_eq!(pipe.look(50), Found::Bytes(5));
        let mut out = [0; 4];
        pipe.take(&mut out);
        assert_eq!((&out, pipe.room()), (b"abcd", 5));
        assert_eq!(pipe.finish(70), 70);
        assert_eq!(pipe.look(90), Found::Bytes(1));
        pipe.take(&mut out[..1]);
        assert_eq!(pipe.look(90), Found::End);
        assert_eq!(Pipe::new(1).look(u64::MAX), Found::Nothing);
    }
}
