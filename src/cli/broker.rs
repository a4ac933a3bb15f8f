//! The way to a broker, and how its refusals end a command.

use crate::cli::exit::{Exit, Failure};
use crate::cli::values::Endpoint;
use crate::client::ClientError;
use crate::client::blocking::{Client, ClientOptions};

/// Connects to a running broker.
pub fn connect(server: &Endpoint) -> Result<Client, Failure> {
    Ok(Client::connect(
        [server.to_string()],
        ClientOptions::default(),
    )?)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (exit, remedy) = match &error {
            ClientError::Connect { .. } => (
                Exit::Unavailable,
                Some("start it with `millrace serve`, or name it with --server"),
            ),
            ClientError::Lost { .. } | ClientError::Timeout { .. } => (
                Exit::Unavailable,
                Some("whether it was carried out is unknown: look before trying again"),
            ),
            ClientError::Session { .. } => (
                Exit::Unavailable,
                Some("check that --server names a port of millrace of this version"),
            ),
            ClientError::Refused(refusal) if refusal.code.is_transient() => {
                (Exit::Temporary, Some("try again"))
            }
            ClientError::Damaged { .. } => (
                Exit::Failed,
                Some("read on behind it with --from, and keep the data directory"),
            ),
            _ => (Exit::Failed, None),
        };
        let line = match remedy {
            Some(remedy) => format!("{error}; {remedy}"),
            None => error.to_string(),
        };
        Self::new(exit, line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there_is_unavailable_and_says_what_to_do() {
        // A port that was free a moment ago, and that nobody listens on.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let server: Endpoint = format!("127.0.0.1:{port}").parse().expect("good");
        let failure = connect(&server).err().expect("nobody listens");
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.line.contains("millrace serve"), "{}", failure.line);
    }
}
