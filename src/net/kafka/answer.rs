//! Answering the produces and fetches of Kafka clients.

use crate::engine::{Engine, EngineError};
use crate::io::Io;
use crate::net::answer::Answering;
use crate::net::kafka::Hot;
use crate::protocol::kafka::{TOPIC_IDS_FROM, error, fetch, produce};
use std::io::{Error, Result};

impl<I: Io, E: Engine<Source = I::Source>> Answering<'_, I, E> {
    pub(in crate::net) async fn kafka_produce(&mut self, correlation: u32, hot: Hot) -> Result<()> {
        self.settle(hot.entries).await;
        let refusals = self
            .results
            .iter()
            .filter_map(|result| result.as_ref().err());
        self.count_kafka_errors(&hot, refusals);
        if !hot.is_silent {
            self.note_ready();
            let (correlation, results) = (correlation as i32, &self.results);
            produce::answer(
                hot.version,
                correlation,
                &hot.lists.echo,
                results,
                &mut self.out,
            );
        } else if hot.lists.echo.has_error() || self.results.iter().any(|result| result.is_err()) {
            // Nobody waits for an answer. The end of the connection is what tells a client to look again.
            return Err(Error::other("a produce without acks was refused"));
        }
        self.shared.pool.give_back_hot(hot);
        Ok(())
    }

    pub(in crate::net) async fn kafka_fetch(
        &mut self,
        correlation: u32,
        mut hot: Hot,
    ) -> Result<()> {
        self.await_fetch(&mut hot.lists.fetch).await;
        self.hide_zstd(&mut hot).await?;
        let refusals = self.fetched.iter().filter_map(|one| one.error.as_ref());
        self.count_kafka_errors(&hot, refusals);
        self.lend();
        let head = (correlation as i32, hot.error_code);
        let (out, cuts) = (&mut self.out, &mut self.cuts);
        let body = fetch::answer(hot.version, head, &hot.lists.echo, &self.fetched, out, cuts);
        self.send_fetched(body).await?;
        self.shared.pool.give_back_hot(hot);
        Ok(())
    }

    /// Counts the errors of an answer: those of the request, and what the engine refused.
    fn count_kafka_errors<'a>(&self, hot: &Hot, refusals: impl Iterator<Item = &'a EngineError>) {
        let seat = &self.shared.seat;
        if hot.error_code != 0 {
            seat.refused(hot.error_code);
        }
        hot.lists.echo.errors().for_each(|code| seat.refused(code));
        let has_ids = hot.version >= TOPIC_IDS_FROM;
        refusals.for_each(|refusal| seat.refused(error::code_for(refusal, has_ids)));
    }
}
