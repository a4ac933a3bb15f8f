//! What happened, as a running hash and, where asked for, as lines of text. Two runs are the same run exactly when
//! their hashes agree: every scheduling decision, effect, arrival and draw that code can see goes in.

use std::hash::{Hash, Hasher};

/// One thing that happened. Numbers only, so that noting it costs a hash and no memory.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) enum Note {
    Spawn {
        task: u64,
        core: u16,
    },
    Poll {
        task: u64,
    },
    Ended {
        task: u64,
    },
    Clock {
        now: u64,
    },
    Effect {
        number: u64,
        checksum: u32,
    },
    Landed {
        number: u64,
        ok: bool,
        value: u64,
    },
    Read {
        number: u64,
        ok: bool,
        checksum: u32,
    },
    Crash {
        effect: u64,
    },
    Mail {
        from: u16,
        to: u16,
    },
    Connected {
        connection: u64,
    },
    Sent {
        connection: u64,
        bytes: u64,
        at: u64,
    },
    Received {
        connection: u64,
        bytes: u64,
    },
    Random {
        value: u64,
    },
}

/// The hash so far and the text if it is kept.
#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: Fnv,
    text: Option<Vec<String>>,
}

impl Trace {
    /// Notes what happened at `now`.
    pub(super) fn note(&mut self, now: u64, note: Note) {
        note.hash(&mut self.hash);
        if let Some(text) = &mut self.text {
            text.push(format!("{now:>12} {note:?}"));
        }
    }

    /// Adds a line for people; no part of the hash. `line` is only called where text is kept.
    pub(super) fn say(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            text.push(format!("{now:>12} {}", line()));
        }
    }

    /// Keeps text from now on.
    pub(super) fn keep_text(&mut self) {
        self.text.get_or_insert_default();
    }

    /// The hash of everything so far.
    pub(super) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// The text so far.
    pub(super) fn text(&self) -> Vec<String> {
        self.text.clone().unwrap_or_default()
    }
}

/// FNV-1a, 64 bits: stable between builds of the compiler, which std's own hasher does not promise.
#[derive(Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_values_count_and_text_does_not() {
        let poll = |task| Note::Poll { task };
        let hash = |notes: &[Note], talk: bool| {
            let mut trace = Trace::default();
            if talk {
                trace.keep_text();
            }
            for note in notes {
                trace.note(7, *note);
                trace.say(7, || "a remark".into());
            }
            assert_eq!(trace.text().len(), if talk { 2 * notes.len() } else { 0 });
            trace.hash()
        };
        let (one, two) = (poll(1), poll(2));
        assert_eq!(hash(&[one, two], false), hash(&[one, two], true));
        assert_ne!(hash(&[one, two], false), hash(&[two, one], false));
        assert_ne!(hash(&[one], false), hash(&[Note::Ended { task: 1 }], false));
    }
}
