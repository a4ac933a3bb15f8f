//! Frames: a length, a header, a body.
//!
//! ```text
//!  request   i32 length | i16 api key | i16 version | i32 correlation | string client id | (tagged) | body
//!  response  i32 length | i32 correlation | (tagged) | body
//! ```
//! The length does not count itself. The client id is never compact; the tagged fields are there where the API's version
//! is flexible, except that a response of ApiVersions never has them: it is read before versions are known.

use crate::base::limits::FRAME_BYTES_MAX;
use crate::protocol::kafka::api::{self, Api, key};
use crate::protocol::kafka::wire::{Field, Malformed, Reader, Shape, write_tagged};

/// Bytes of the length.
const LENGTH_BYTES: usize = 4;
/// The largest frame, length included: as large as a native one, since both are received into the same buffers.
const BYTES_MAX: usize = FRAME_BYTES_MAX;

/// What lies at the front of a receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split<'a> {
    /// Not a whole frame yet.
    NeedMore,
    /// A frame.
    Frame {
        /// What is behind the length.
        content: &'a [u8],
        /// Bytes of the frame in all: the next one begins there.
        total: usize,
    },
}

/// Takes the frame at the front of `bytes`, if it is whole. A length that no request has is refused as soon as it can be
/// read; the greetings of other protocols, read as lengths, are far above.
#[inline]
pub fn split(bytes: &[u8]) -> Result<Split<'_>, Malformed> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(Split::NeedMore);
    };
    let length = usize::try_from(i32::from_be_bytes(*length));
    let total = length.map_or(usize::MAX, |length| length + LENGTH_BYTES);
    if total > BYTES_MAX {
        return Err(Malformed::Field("length of a frame"));
    }
    match bytes.get(LENGTH_BYTES..total) {
        Some(content) => Ok(Split::Frame { content, total }),
        None => Ok(Split::NeedMore),
    }
}

/// The header of a request.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// The API asked for.
    pub api: &'static Api,
    /// The version of request and answer.
    pub version: i16,
    /// What the answer repeats.
    pub correlation: i32,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
}

/// What a request is, as far as its header tells.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// Of an API and a version that are served: the header, and the body behind it.
    Served(Header<'a>, &'a [u8]),
    /// Of an unknown version of ApiVersions: answered with version 0 of it and the ranges that are served.
    UnknownApiVersions {
        /// What the answer repeats.
        correlation: i32,
    },
    /// Of an API or a version that is not served: nothing that the client could read can be answered.
    Unserved {
        /// The API's key.
        key: i16,
        /// The version.
        version: i16,
        /// What the client calls itself, if that can be read.
        client_id: Option<&'a str>,
    },
}

impl Header<'_> {
    /// How the body and its answer lie on the wire.
    pub fn shape(&self) -> Shape {
        self.api.shape(self.version)
    }
}

/// Reads the header of a request.
pub fn header(content: &[u8]) -> Result<Asked<'_>, Malformed> {
    let mut reader = Reader::new(content);
    let (key, version, correlation) = (reader.i16()?, reader.i16()?, reader.i32()?);
    let served = api::find(key).filter(|api| api.serves(version));
    let classic = Shape {
        version,
        is_flexible: false,
    };
    let Some(api) = served else {
        return Ok(match key {
            key::API_VERSIONS => Asked::UnknownApiVersions { correlation },
            _ => Asked::Unserved {
                key,
                version,
                client_id: reader.string(classic).unwrap_or_default(),
            },
        });
    };
    let client_id = reader.string(classic)?;
    reader.tagged(api.shape(version))?;
    let header = Header {
        api,
        version,
        correlation,
        client_id,
    };
    Ok(Asked::Served(header, reader.rest()))
}

/// Begins an answer: the length is set by [`end`]. Returns where it begins.
pub fn begin(api: &Api, shape: Shape, correlation: i32, out: &mut Vec<u8>) -> usize {
    let at = out.len();
    out.extend([0; LENGTH_BYTES]);
    out.extend(correlation.to_be_bytes());
    if api.key != key::API_VERSIONS {
        write_tagged(out, shape);
    }
    at
}

/// Ends the answer that began at `at`, of which `elsewhere` bytes are not in `out`.
pub fn end(at: usize, elsewhere: usize, out: &mut [u8]) {
    let length = (out.len() - at - LENGTH_BYTES + elsewhere) as i32;
    out[at..at + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Appends a whole answer.
pub fn respond(api: &Api, version: i16, correlation: i32, body: &impl Field, out: &mut Vec<u8>) {
    let shape = api.shape(version);
    let at = begin(api, shape, correlation, out);
    body.write(out, shape);
    end(at, 0, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: i16, version: i16) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 0];
        bytes.extend(key.to_be_bytes());
        bytes.extend(version.to_be_bytes());
        bytes.extend(7i32.to_be_bytes());
        bytes.extend([0, 2, b'm', b'e']);
        if api::find(key).is_some_and(|api| api.shape(version).is_flexible) {
            // A tagged field that nobody knows.
            bytes.extend([1, 9, 2, 1, 1]);
        }
        bytes.extend(b"body");
        end(0, 0, &mut bytes);
        bytes
    }

    #[test]
    fn a_frame_comes_back_whole_and_leaves_what_follows() {
        for version in [8, 9] {
            let mut bytes = request(key::METADATA, version);
            let whole = bytes.len();
            for cut in 0..whole {
                assert_eq!(split(&bytes[..cut]), Ok(Split::NeedMore));
            }
            bytes.extend(b"next");
            let Ok(Split::Frame { content, total }) = split(&bytes) else {
                panic!("a whole frame");
            };
            assert_eq!(total, whole);
            let Ok(Asked::Served(header, body)) = header(content) else {
                panic!("served");
            };
            assert_eq!((header.api.name, header.version), ("Metadata", version));
            assert_eq!((header.correlation, header.client_id), (7, Some("me")));
            assert_eq!(body, b"body");
        }
    }

    #[test]
    fn a_header_that_is_cut_short_is_no_header() {
        let bytes = request(key::METADATA, 9);
        for cut in 4..bytes.len() - b"body".len() {
            assert!(header(&bytes[4..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn lengths_that_no_request_has_are_refused_at_the_fourth_byte() {
        for start in [&b"GET "[..], b"\x16\x03\x01\x02", b"AMQP", &[0xff; 4]] {
            assert!(split(start).is_err(), "{start:?}");
        }
        let most = (BYTES_MAX - LENGTH_BYTES) as i32;
        assert_eq!(split(&most.to_be_bytes()), Ok(Split::NeedMore));
        assert!(split(&(most + 1).to_be_bytes()).is_err());
    }

    #[test]
    fn what_is_not_served_is_told_apart() {
        let asked =
            |key, version| header(&request(key, version)[4..]).map(|asked| format!("{asked:?}"));
        assert!(asked(key::API_VERSIONS, 99).is_ok_and(|text| text.contains("correlation: 7")));
        for (key, version) in [(4, 0), (key::PRODUCE, 2), (key::METADATA, 99), (-1, 0)] {
            assert!(asked(key, version).is_ok_and(|text| text.starts_with("Unserved")));
        }
    }
}
