//! How a connection begins, on the broker's side: hello first, and only once.

use super::{Caps, ErrorCode, Hello, Refusal, Request, VERSIONS};

/// Whether this connection has been greeted, and in which version it speaks since.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greeting {
    version: Option<u16>,
}

impl Greeting {
    /// A connection that nobody has said hello on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version that both speak; none before hello.
    pub fn version(&self) -> Option<u16> {
        self.version
    }

    /// How large the next frame may be.
    pub fn caps(&self) -> Caps {
        match self.version {
            None => Caps::HELLO,
            Some(_) => Caps::REQUEST,
        }
    }

    /// Lets a request pass, or says why not; then the connection must be closed behind the refusal. For a hello, the
    /// version that both speak from now on.
    pub fn admit(&mut self, request: &Request<'_>) -> Result<Option<u16>, Refusal> {
        match (request, self.version) {
            (Request::Hello(hello), None) => {
                let version = choose(hello)?;
                self.version = Some(version);
                Ok(Some(version))
            }
            (Request::Hello(_), Some(_)) | (_, None) => {
                Err(Refusal::new(ErrorCode::HelloFirst, None))
            }
            (_, Some(_)) => Ok(None),
        }
    }
}

/// The highest version that both speak.
fn choose(hello: &Hello<'_>) -> Result<u16, Refusal> {
    let version = hello.version_max.min(*VERSIONS.end());
    if version >= hello.version_min.max(*VERSIONS.start()) {
        return Ok(version);
    }
    let message = format!(
        "the client speaks protocol versions {} to {}, this broker {} to {}",
        hello.version_min,
        hello.version_max,
        VERSIONS.start(),
        VERSIONS.end()
    );
    Err(Refusal::new(ErrorCode::UnsupportedVersion, Some(&message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::native::MetadataQuery;

    fn hello(version_min: u16, version_max: u16) -> Request<'static> {
        Request::Hello(Hello {
            version_min,
            version_max,
            software: "",
            software_version: "",
        })
    }

    #[test]
    fn hello_opens_once_and_nothing_passes_before_it() {
        let other = Request::Metadata(MetadataQuery::All { after: None });
        let mut greeting = Greeting::new();
        assert_eq!(greeting.caps(), Caps::HELLO);
        let early = greeting.admit(&other).expect_err("before hello");
        assert_eq!(early.code, ErrorCode::HelloFirst);
        assert_eq!(greeting.admit(&hello(1, 9)), Ok(Some(1)));
        assert_eq!(greeting.caps(), Caps::REQUEST);
        assert_eq!(greeting.admit(&other), Ok(None));
        let second = greeting.admit(&hello(1, 1)).expect_err("greeted already");
        assert_eq!(second.code, ErrorCode::HelloFirst);
    }

    #[test]
    fn versions_that_do_not_meet_are_named() {
        for (min, max) in [(0, 0), (2, 9), (3, 1), (u16::MAX, u16::MAX)] {
            let mut greeting = Greeting::new();
            let refusal = greeting.admit(&hello(min, max)).expect_err("no overlap");
            assert_eq!(refusal.code, ErrorCode::UnsupportedVersion);
            assert!(refusal.message.contains(&format!("{min} to {max}")));
            assert_eq!(greeting.caps(), Caps::HELLO);
        }
    }
}
