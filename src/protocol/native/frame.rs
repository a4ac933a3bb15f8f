//! Frames: a fixed prefix, a header, a body.
//!
//! ```text
//! byte  0             4              8              12            16           16 + header bytes
//!       | frame bytes | header bytes | correlation  | header crc  | header ... | body ...          |
//!         u32           u32            u32            u32         └──── frame bytes counts from 4 ──┘
//! ```
//! All little-endian. The CRC-32 (IEEE) covers the header alone: record batches carry their own checksums.

use crate::base::checksum::crc32;
use crate::base::limits::{
    BATCH_BYTES_MAX, FETCH_BYTES_MAX, FRAME_BODY_BYTES_MAX, FRAME_HEADER_BYTES_MAX,
};
use thiserror::Error;
use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the prefix.
pub const PREFIX_BYTES: usize = 16;
/// Bytes of the frame's own length, which it does not count.
const LENGTH_BYTES: usize = 4;

/// The prefix, as it lies on the wire.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Prefix {
    frame_bytes: U32,
    header_bytes: U32,
    correlation: U32,
    header_crc: U32,
}
const _: () = assert!(size_of::<Prefix>() == PREFIX_BYTES);

/// How large a frame may be here. What is larger is refused before a byte of it is awaited or stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Bytes of the header.
    pub header_bytes_max: usize,
    /// Bytes of the body.
    pub body_bytes_max: usize,
}

impl Caps {
    /// For the first request of a connection, which can only be a hello. So small that the greeting of any other
    /// protocol, read as a length, is refused at its fourth byte.
    pub const HELLO: Self = Self {
        header_bytes_max: 1_024,
        body_bytes_max: 0,
    };
    /// For all later requests.
    pub const REQUEST: Self = Self {
        header_bytes_max: FRAME_HEADER_BYTES_MAX,
        body_bytes_max: FRAME_BODY_BYTES_MAX,
    };
    /// For replies: a fetch may pass its limit by a batch that is sent whole.
    pub const REPLY: Self = Self {
        header_bytes_max: FRAME_HEADER_BYTES_MAX,
        body_bytes_max: FETCH_BYTES_MAX + BATCH_BYTES_MAX,
    };

    fn total_max(self) -> usize {
        PREFIX_BYTES + self.header_bytes_max + self.body_bytes_max
    }
}
// The TLS greeting 16 03 vv .. is the smallest length that a foreign greeting makes: at least 0x0316 + (1 << 16).
const _: () = assert!(Caps::HELLO.header_bytes_max < 1 << 16);

/// One whole frame whose lengths fit its caps and whose header has the stated checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// What the reply to this repeats.
    pub correlation: u32,
    /// The FlatBuffers header, not yet verified.
    pub header: &'a [u8],
    /// The raw body.
    pub body: &'a [u8],
    /// Bytes of the frame in all: the next one begins there.
    pub total: usize,
}

/// What lies at the front of a receive buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split<'a> {
    /// Not a whole frame yet: at least this many bytes are needed in all. Never more than the caps allow.
    NeedMore(usize),
    /// A frame.
    Frame(Frame<'a>),
}

/// Why bytes are not a frame. There is no way to find the next one: the connection must be closed.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// The greeting of another protocol.
    #[error("the peer speaks {0}, this port speaks the native protocol of Millrace")]
    Foreign(&'static str),
    /// A length above the cap.
    #[error("a frame's {what} of {bytes} bytes is above the limit of {limit}")]
    TooLong {
        /// Which length.
        what: &'static str,
        /// What was stated.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// Lengths that contradict each other.
    #[error("a frame of {frame} bytes cannot hold a header of {header}")]
    TooShort {
        /// Bytes stated for the frame, behind its length.
        frame: usize,
        /// Bytes stated for its header.
        header: usize,
    },
    /// The header does not have the stated checksum.
    #[error("frame header checksum is {found:08x}, its prefix says {stated:08x}")]
    Crc {
        /// What the prefix states.
        stated: u32,
        /// What the bytes give.
        found: u32,
    },
}

/// Takes the frame at the front of `bytes`, if it is whole. A length above `caps` is refused as soon as it can be read.
#[inline]
pub fn split(bytes: &[u8], caps: Caps) -> Result<Split<'_>, FrameError> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(Split::NeedMore(PREFIX_BYTES));
    };
    let total = LENGTH_BYTES.saturating_add(u32::from_le_bytes(*length) as usize);
    if total > caps.total_max() {
        return Err(foreign(bytes).unwrap_or(FrameError::TooLong {
            what: "length",
            bytes: total,
            limit: caps.total_max(),
        }));
    }
    let Ok((prefix, rest)) = Prefix::ref_from_prefix(bytes) else {
        return Ok(Split::NeedMore(PREFIX_BYTES));
    };
    let header_bytes = prefix.header_bytes.get() as usize;
    check_lengths(total, header_bytes, caps)?;
    if bytes.len() < total {
        return Ok(Split::NeedMore(total));
    }
    let (header, body) = rest[..total - PREFIX_BYTES].split_at(header_bytes);
    let (stated, found) = (prefix.header_crc.get(), crc32(header));
    if stated != found {
        return Err(FrameError::Crc { stated, found });
    }
    Ok(Split::Frame(Frame {
        correlation: prefix.correlation.get(),
        header,
        body,
        total,
    }))
}

/// Appends the prefix and the header of a frame; `body_bytes` must follow.
pub(super) fn write(correlation: u32, header: &[u8], body_bytes: usize, out: &mut Vec<u8>) {
    assert!(
        header.len() <= FRAME_HEADER_BYTES_MAX,
        "writers keep headers within their limit"
    );
    assert!(
        body_bytes <= Caps::REPLY.body_bytes_max,
        "callers keep bodies within their limit"
    );
    let frame_bytes = PREFIX_BYTES - LENGTH_BYTES + header.len() + body_bytes;
    let prefix = Prefix {
        frame_bytes: U32::new(frame_bytes as u32),
        header_bytes: U32::new(header.len() as u32),
        correlation: U32::new(correlation),
        header_crc: U32::new(crc32(header)),
    };
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(header);
}

fn check_lengths(total: usize, header_bytes: usize, caps: Caps) -> Result<(), FrameError> {
    if header_bytes > caps.header_bytes_max {
        return Err(FrameError::TooLong {
            what: "header",
            bytes: header_bytes,
            limit: caps.header_bytes_max,
        });
    }
    let Some(body_bytes) = total.checked_sub(PREFIX_BYTES + header_bytes) else {
        return Err(FrameError::TooShort {
            frame: total - LENGTH_BYTES,
            header: header_bytes,
        });
    };
    if body_bytes > caps.body_bytes_max {
        return Err(FrameError::TooLong {
            what: "body",
            bytes: body_bytes,
            limit: caps.body_bytes_max,
        });
    }
    Ok(())
}

/// The first bytes of others, to say who knocked. Only asked about bytes that cannot be a frame of ours.
const GREETINGS: [(&[u8], &str); 12] = [
    (b"GET ", "HTTP"),
    (b"HEAD", "HTTP"),
    (b"POST", "HTTP"),
    (b"PUT ", "HTTP"),
    (b"DELE", "HTTP"),
    (b"OPTI", "HTTP"),
    (b"CONN", "HTTP"),
    (b"HTTP", "HTTP"),
    (b"PRI ", "HTTP/2"),
    (b"SSH-", "SSH"),
    (b"AMQP", "AMQP"),
    (b"\x16\x03", "TLS"),
];

fn foreign(bytes: &[u8]) -> Option<FrameError> {
    GREETINGS
        .iter()
        .find(|(greeting, _)| bytes.starts_with(greeting))
        .map(|(_, name)| FrameError::Foreign(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        write(7, b"header!!", 5, &mut out);
        out.extend_from_slice(b"body.");
        out
    }

    #[test]
    fn a_frame_comes_back_whole_and_leaves_what_follows() {
        let mut bytes = sample();
        let total = bytes.len();
        bytes.extend_from_slice(b"next");
        let expected = Frame {
            correlation: 7,
            header: b"header!!",
            body: b"body.",
            total,
        };
        assert_eq!(split(&bytes, Caps::REQUEST), Ok(Split::Frame(expected)));
    }

    #[test]
    fn every_truncation_asks_for_more_and_never_for_more_than_there_is() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            let Ok(Split::NeedMore(wanted)) = split(&bytes[..cut], Caps::REQUEST) else {
                panic!("cut at {cut}");
            };
            assert!(wanted > cut && wanted <= bytes.len());
        }
    }

    #[test]
    fn a_flipped_bit_of_lengths_checksum_or_header_is_never_taken_for_the_frame() {
        let bytes = sample();
        for index in (0..8).chain(12..24) {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[index] ^= 1 << bit;
                if let Ok(Split::Frame(frame)) = split(&bad, Caps::REQUEST) {
                    // Only a shorter frame, still with the whole header, can pass: the body has its own checksums.
                    assert!(frame.total < bytes.len() && frame.header == b"header!!");
                }
            }
        }
    }

    #[test]
    fn lengths_above_the_caps_are_refused_at_the_fourth_byte() {
        for length in [Caps::REQUEST.total_max() as u32 - 3, u32::MAX] {
            assert!(matches!(
                split(&length.to_le_bytes(), Caps::REQUEST),
                Err(FrameError::TooLong { what: "length", .. })
            ));
        }
    }

    #[test]
    fn a_header_or_a_body_above_its_cap_is_refused_before_it_is_awaited() {
        let prefix = |frame: u32, header: u32| {
            [frame, header, 0, 0]
                .map(u32::to_le_bytes)
                .as_flattened()
                .to_vec()
        };
        let verdict = |frame, header, caps| match split(&prefix(frame, header), caps) {
            Err(FrameError::TooLong { what, .. }) => what,
            Err(FrameError::TooShort { .. }) => "short",
            other => panic!("{other:?}"),
        };
        assert_eq!(verdict(70_000, 65_537, Caps::REQUEST), "header");
        assert_eq!(verdict(20, 100, Caps::REQUEST), "short");
        assert_eq!(verdict(11, 0, Caps::REQUEST), "short");
        assert_eq!(verdict(0, 0, Caps::REQUEST), "short");
        assert_eq!(verdict(12 + 17, 16, Caps::HELLO), "body");
        assert_eq!(verdict((16 << 20) + 13, 0, Caps::REQUEST), "body");
    }

    #[test]
    fn other_protocols_are_named() {
        let greetings: [(&[u8], &str); 6] = [
            (b"GET / HTTP/1.1\r\n", "HTTP"),
            (b"PRI * HTTP/2.0\r\n", "HTTP/2"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"AMQP\x00\x00\x09\x01", "AMQP"),
            (b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03", "TLS"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        ];
        for (bytes, name) in greetings {
            assert_eq!(
                split(bytes, Caps::HELLO),
                Err(FrameError::Foreign(name)),
                "{name}"
            );
        }
    }
}
