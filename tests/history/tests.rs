//! Goal: the checker names each anomaly, and nothing where there is none. Method: small histories of one or two places,
//! each with one thing wrong.

use super::*;

const RULES: Rules = Rules {
    flushed_after: u64::MAX,
};

/// A history with one place, at `level`.
fn history(level: Promise) -> History {
    let mut history = History::default();
    history.place(level);
    history
}

impl History {
    fn acked(&mut self, value: Value, offset: u64, promise: Promise) -> &mut Self {
        self.note(Event::Acked {
            value,
            offset,
            promise,
            stream: 0,
            at: 0,
        });
        self
    }

    /// Sends and acks the next value of producer 0 at `offset`.
    fn put(&mut self, offset: u64, promise: Promise) -> &mut Self {
        let value = self.sent(0, 0);
        self.acked(value, offset, promise)
    }

    fn reads(&mut self, offset: u64, value: Value) -> &mut Self {
        let event = Event::Read {
            reader: 0,
            place: 0,
            offset,
            value,
        };
        self.note(event);
        self
    }

    fn seeks(&mut self, offset: u64) -> &mut Self {
        let event = Event::Sought {
            reader: 0,
            place: 0,
            offset,
        };
        self.note(event);
        self
    }

    fn dies(&mut self, how: Death, end: u64) -> &mut Self {
        self.note(Event::Died {
            how,
            at: 5_000_000_000,
        });
        self.finds(end)
    }

    fn finds(&mut self, end: u64) -> &mut Self {
        self.note(Event::Found {
            place: 0,
            end,
            stream: 0,
        });
        self
    }

    fn whole(&mut self, end: u64) -> &mut Self {
        self.note(Event::Whole {
            reader: 0,
            place: 0,
            end,
        });
        self
    }

    fn kinds(&self) -> Vec<&'static str> {
        let found = check(self, RULES);
        found.iter().map(Anomaly::kind).collect()
    }
}

#[test]
fn a_history_without_fault_passes() {
    use Promise::{Synced, Written};
    let mut history = history(Written);
    history.put(0, Written).put(1, Synced);
    let (unknown, refused) = (history.sent(0, 0), history.sent(0, 0));
    history.note(Event::Refused { value: refused });
    history.seeks(0).reads(0, 0).reads(1, 1).reads(2, unknown);
    // The unknown one was read, so a kill spares it; power may take all but what was synced.
    history.dies(Death::Kill, 3).dies(Death::Power, 3);
    history.put(3, Written).dies(Death::Power, 3);
    history.put(3, Synced).dies(Death::Stop, 4);
    let late = history.sent(1, 0);
    history.acked(late, 4, Promise::None).dies(Death::Kill, 4);
    let poll = history.asked(0);
    history.note(Event::Answered {
        poll,
        high_watermark: 4,
    });
    history.seeks(0).reads(0, 0).reads(1, 1).reads(2, unknown);
    history.reads(3, 5).whole(4);
    assert_eq!(history.kinds(), [""; 0]);
}

#[test]
fn what_was_promised_and_cut_is_lost_or_taken_back() {
    use Promise::{None, Synced, Written};
    // promise, read, death, the name of its loss
    let rows = [
        (Some(Written), false, Death::Kill, "lost"),
        (Some(Written), false, Death::Stop, "lost"),
        (Some(Written), false, Death::Power, ""),
        (Some(Synced), false, Death::Power, "lost"),
        (Some(None), false, Death::Kill, ""),
        (Option::None, true, Death::Kill, "taken-back"),
        (Option::None, true, Death::Power, ""),
        (Option::None, false, Death::Kill, ""),
    ];
    for (promise, read, death, name) in rows {
        let mut history = history(Written);
        let value = history.sent(0, 0);
        if let Some(promise) = promise {
            history.acked(value, 0, promise);
        }
        if read {
            history.seeks(0).reads(0, value);
        }
        history.dies(death, 0);
        let kinds = history.kinds();
        let row = format!("{promise:?} {read} {death:?}");
        assert_eq!(kinds.first().copied().unwrap_or(""), name, "{row}");
    }
}

#[test]
fn a_reader_of_a_synced_place_is_promised_as_much() {
    let mut history = history(Promise::Synced);
    let value = history.sent(0, 0);
    history.seeks(0).reads(0, value).dies(Death::Power, 0);
    assert_eq!(history.kinds(), ["taken-back"]);
}

#[test]
fn what_a_restart_found_is_owed_from_then_on() {
    let mut history = history(Promise::Written);
    history.put(0, Promise::Written).dies(Death::Kill, 2);
    history.dies(Death::Power, 0);
    assert_eq!(history.kinds(), ["lost", "shrunk"]);
}

#[test]
fn deaths_without_a_look_between_them_count_as_the_strongest() {
    let mut history = history(Promise::Written);
    history.put(0, Promise::Written);
    history.note(Event::Died {
        how: Death::Power,
        at: 0,
    });
    history.dies(Death::Kill, 0);
    assert_eq!(history.kinds(), [""; 0]);
}

#[test]
fn what_is_written_and_old_is_synced() {
    let mut history = history(Promise::Written);
    history.put(0, Promise::Written).dies(Death::Power, 0);
    let rules = Rules {
        flushed_after: 5_000_000_000,
    };
    assert_eq!(check(&history, rules)[0].kind(), "lost");
    let rules = Rules {
        flushed_after: 5_000_000_001,
    };
    assert_eq!(check(&history, rules), []);
}

#[test]
fn a_core_that_has_failed_flushes_no_more() {
    let rules = Rules {
        flushed_after: 5_000_000_000,
    };
    let lost_after = |stream, at| {
        let mut history = history(Promise::Written);
        history.put(0, Promise::Written);
        history.note(Event::Failed { stream, at });
        history.dies(Death::Power, 0);
        check(&history, rules).len()
    };
    let (young, old) = (4_999_999_999, 5_000_000_000);
    assert_eq!(lost_after(Some(0), young), 0);
    assert_eq!(lost_after(None, young), 0);
    assert_eq!(lost_after(Some(1), young), 1);
    assert_eq!(lost_after(Some(0), old), 1);
}

#[test]
fn a_lying_disk_may_take_the_last_group_and_no_more() {
    for (put_later, death, kinds) in [
        (Option::None, Death::Kill, &[""; 0][..]),
        (Some(Promise::Written), Death::Kill, &["lost", "lost"]),
        (Some(Promise::Written), Death::Power, &[]),
        (Some(Promise::Synced), Death::Power, &["lost"]),
        (Option::None, Death::Stop, &["lost"]),
    ] {
        let mut history = history(Promise::Written);
        history.note(Event::Lied);
        history.put(0, Promise::Synced);
        if let Some(promise) = put_later {
            history.put(1, promise);
        }
        history.dies(death, 0);
        // Of two, the second is the last group: it may go, where it was promised against this death.
        let expected = &kinds[..kinds.len().min(1)];
        assert_eq!(history.kinds(), expected, "{put_later:?} {death:?}");
        // A lie is over once a start has looked at the disk.
        history.put(0, Promise::Synced).dies(Death::Power, 0);
        assert_eq!(history.kinds().len(), expected.len() + 1);
    }
}

#[test]
fn observers_must_agree() {
    let mut history = history(Promise::Written);
    history.put(0, Promise::Written);
    let other = history.sent(1, 0);
    history.seeks(0).reads(0, other);
    assert_eq!(history.kinds(), ["inconsistent-offset"]);
}

#[test]
fn one_value_has_one_offset() {
    let mut history = history(Promise::Written);
    history.put(0, Promise::Written).seeks(1).reads(1, 0);
    assert_eq!(history.kinds(), ["duplicate"]);
}

#[test]
fn what_was_refused_or_never_sent_must_not_be_seen() {
    let mut early = history(Promise::Written);
    let value = early.sent(0, 0);
    early.seeks(0).reads(0, value);
    early.note(Event::Refused { value });
    assert_eq!(early.kinds(), ["phantom"]);
    let mut late = history(Promise::Written);
    let value = late.sent(0, 0);
    late.note(Event::Refused { value });
    late.seeks(0).reads(0, value).reads(1, 77);
    assert_eq!(late.kinds(), ["phantom", "phantom"]);
}

#[test]
fn a_value_stays_where_it_was_sent() {
    let mut history = history(Promise::Written);
    let other = history.place(Promise::Written);
    let value = history.sent(0, other);
    history.seeks(0).reads(0, value);
    assert_eq!(history.kinds(), ["misplaced"]);
}

#[test]
fn what_a_death_took_must_not_come_back() {
    let mut history = history(Promise::Written);
    history.put(0, Promise::Written).dies(Death::Power, 0);
    history.seeks(0).reads(0, 0);
    assert_eq!(history.kinds(), ["resurrected"]);
}

#[test]
fn a_reader_neither_goes_back_nor_skips() {
    for to in [0, 2] {
        let mut history = history(Promise::Written);
        for offset in 0..3 {
            history.put(offset, Promise::Written);
        }
        history.seeks(0).reads(0, 0).reads(to, to);
        assert_eq!(history.kinds(), ["skipped"]);
    }
}

#[test]
fn a_fetch_knows_what_was_known_before_it_began() {
    let told = |high_watermark, promise| {
        let mut history = history(Promise::Written);
        let early = history.asked(0);
        history.put(0, promise);
        let late = history.asked(0);
        for poll in [early, late] {
            history.note(Event::Answered {
                poll,
                high_watermark,
            });
        }
        history.kinds().len()
    };
    assert_eq!(told(0, Promise::Synced), 1, "only the late one");
    assert_eq!(told(1, Promise::Synced), 0);
    // Something that waits for its sync may stand before it.
    assert_eq!(told(0, Promise::Written), 0);
    let mut history = history(Promise::Written);
    for high_watermark in [5, 4] {
        let poll = history.asked(0);
        history.note(Event::Answered {
            poll,
            high_watermark,
        });
    }
    assert_eq!(history.kinds(), ["stale"]);
}

#[test]
fn sends_keep_their_order_when_acked_and_when_stored() {
    let mut acked = history(Promise::Written);
    let (first, second) = (acked.sent(0, 0), acked.sent(0, 0));
    acked.acked(first, 1, Promise::Written);
    acked.acked(second, 0, Promise::Written);
    assert_eq!(acked.kinds(), ["send-order", "reordered"]);
    let mut stored = history(Promise::Written);
    stored.sent(0, 0);
    stored.sent(0, 0);
    stored.seeks(0).reads(0, 1).reads(1, 0);
    assert_eq!(stored.kinds(), ["reordered"]);
}

#[test]
fn a_full_read_has_no_gap_and_misses_nothing() {
    let mut history = history(Promise::Written);
    for offset in 0..3 {
        history.put(offset, Promise::Written);
    }
    history.seeks(0).reads(0, 0).whole(2);
    assert_eq!(history.kinds(), ["gap", "lost"]);
    history
        .seeks(0)
        .reads(0, 0)
        .reads(1, 1)
        .reads(2, 2)
        .whole(3);
    assert_eq!(history.kinds().len(), 2, "the second one was whole");
}

/// Three records; those below 2 are asked to be given up, with an answer or without.
fn trimmed(is_answered: bool) -> History {
    let mut history = history(Promise::Written);
    for offset in 0..3 {
        history.put(offset, Promise::Synced);
    }
    history.note(Event::Trimming {
        place: 0,
        before: 2,
    });
    if is_answered {
        history.note(Event::Trimmed { place: 0, start: 2 });
    }
    history
}

/// A power cut, and where the start finds that the place begins.
fn restart(mut history: History, start: u64) -> History {
    history.note(Event::Died {
        how: Death::Power,
        at: 0,
    });
    history.note(Event::Starts { place: 0, start });
    history.finds(3);
    history
}

#[test]
fn what_was_trimmed_stays_so_and_nothing_else_goes() {
    assert_eq!(restart(trimmed(true), 2).kinds(), [""; 0]);
    assert_eq!(restart(trimmed(true), 1).kinds(), ["untrimmed"]);
    assert_eq!(restart(trimmed(true), 3).kinds(), ["overtrimmed"]);
    for start in 0..3 {
        assert_eq!(restart(trimmed(false), start).kinds(), [""; 0]);
    }
    assert_eq!(restart(trimmed(false), 3).kinds(), ["overtrimmed"]);
    // A full read begins where the place does.
    let mut history = restart(trimmed(true), 2);
    history.seeks(2).reads(2, 2).whole(3);
    assert_eq!(history.kinds(), [""; 0]);
    // What was asked for and did not happen is there: a start has decided it.
    let mut history = restart(trimmed(false), 0);
    history.seeks(2).reads(2, 2).whole(3);
    assert_eq!(history.kinds(), ["gap", "gap"]);
}

#[test]
fn a_disk_that_lies_may_bring_back_what_was_trimmed() {
    let mut history = trimmed(true);
    history.note(Event::Lied);
    assert_eq!(restart(history, 0).kinds(), [""; 0]);
}

#[test]
fn a_deleted_place_owes_nothing() {
    let mut history = history(Promise::Written);
    history.put(0, Promise::Synced);
    history.note(Event::Deleting { place: 0 });
    history.dies(Death::Kill, 0);
    assert_eq!(history.kinds(), [""; 0]);
}

#[test]
fn a_million_events_take_one_pass() {
    let mut history = history(Promise::Written);
    for offset in 0..200_000 {
        history.put(offset, Promise::Written);
    }
    history.seeks(0);
    for offset in 0..200_000 {
        history.reads(offset, offset);
    }
    history.whole(200_000);
    assert_eq!(check(&history, RULES), []);
}
