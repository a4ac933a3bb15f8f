//! Answering the produces and fetches of Kafka clients.

use crate::engine::Engine;
use crate::io::Io;
use crate::net::answer::Answering;
use crate::net::kafka::Hot;
use crate::protocol::kafka::{fetch, produce};
use std::io::{Error, Result};

impl<I: Io, E: Engine<Source = I::Source>> Answering<'_, I, E> {
    pub(in crate::net) async fn kafka_produce(&mut self, correlation: u32, hot: Hot) -> Result<()> {
        self.settle(hot.entries).await;
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
        self.lend();
        let head = (correlation as i32, hot.error_code);
        let (out, cuts) = (&mut self.out, &mut self.cuts);
        let body = fetch::answer(hot.version, head, &hot.lists.echo, &self.fetched, out, cuts);
        self.send_fetched(body).await?;
        self.shared.pool.give_back_hot(hot);
        Ok(())
    }
}
