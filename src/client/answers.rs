//! A consumer's answers on their way to the broker: neighbours that are answered alike become one.

use crate::base::limits::QUEUE_POLL_ITEMS_MAX;
use crate::protocol::native::QueueAnswer;
use std::collections::VecDeque;

/// Answers that were not sent yet, in the order in which they count.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<QueueAnswer>,
}

impl Answers {
    /// Adds one.
    pub(super) fn push(&mut self, answer: QueueAnswer) {
        if let Some(last) = self.waiting.back_mut()
            && last.partition == answer.partition
            && last.kind == answer.kind
            && last.span.deliveries == answer.span.deliveries
            && last.span.until == answer.span.from
        {
            last.span.until = answer.span.until;
            return;
        }
        self.waiting.push_back(answer);
    }

    /// Moves the first ones into `out`, as many as one poll may carry.
    pub(super) fn take(&mut self, out: &mut Vec<QueueAnswer>) {
        let count = self.waiting.len().min(QUEUE_POLL_ITEMS_MAX);
        out.extend(self.waiting.drain(..count));
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets all; returns for how many records they were.
    pub(super) fn clear(&mut self) -> u64 {
        self.waiting.drain(..).map(|answer| records(&answer)).sum()
    }
}

/// For how many records an answer is.
pub(super) fn records(answer: &QueueAnswer) -> u64 {
    answer.span.until.0 - answer.span.from.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::queue::{Nack, Span};
    use crate::base::{Offset, PartitionNo};
    use crate::protocol::native::AnswerKind;

    fn answer(partition: u32, offset: u64, deliveries: u32, kind: AnswerKind) -> QueueAnswer {
        QueueAnswer {
            partition: PartitionNo(partition),
            span: Span {
                from: Offset(offset),
                until: Offset(offset + 1),
                deliveries,
            },
            kind,
        }
    }

    #[test]
    fn only_neighbours_that_are_answered_alike_come_together() {
        let (ack, retry) = (AnswerKind::Ack, AnswerKind::Nack(Nack::Retry));
        let mut answers = Answers::default();
        for offset in 0..5 {
            answers.push(answer(0, offset, 1, ack));
        }
        answers.push(answer(0, 5, 2, ack));
        answers.push(answer(0, 6, 2, retry));
        answers.push(answer(1, 7, 2, retry));
        answers.push(answer(1, 9, 2, retry));
        let mut taken = Vec::new();
        answers.take(&mut taken);
        let spans = taken.iter().map(|one| (one.span.from.0, one.span.until.0));
        assert_eq!(
            spans.collect::<Vec<_>>(),
            [(0, 5), (5, 6), (6, 7), (7, 8), (9, 10)]
        );
        assert_eq!(taken.iter().map(records).sum::<u64>(), 9);
        assert!(answers.is_empty() && answers.clear() == 0);
    }

    #[test]
    fn a_poll_carries_so_many_and_the_rest_follows() {
        let mut answers = Answers::default();
        let most = QUEUE_POLL_ITEMS_MAX as u64;
        for offset in 0..most + 7 {
            answers.push(answer(0, 2 * offset, 1, AnswerKind::Ack));
        }
        let mut taken = Vec::new();
        answers.take(&mut taken);
        assert_eq!((taken.len() as u64, answers.is_empty()), (most, false));
        assert_eq!(answers.clear(), 7);
    }
}
