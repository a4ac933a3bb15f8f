//! What a connection sends, as a fuzzer can shape it.
//!
//! ```text
//!   piece   0      1              3
//!           | kind | length (LE)  | bytes ...        as many as are there
//!   kind % 4:  0 a frame: the bytes are its header       1 the same, and the bytes of the next piece are its body
//!              2 bytes as they are                       3 so many milliseconds of silence, no bytes
//! ```
//! A frame gets right lengths and a right checksum, so that the fuzzer's work is what lies behind them.

use millrace::base::checksum::crc32;

/// Silence is cut to this.
const SILENCE_MS_MAX: u16 = 5_000;

/// One thing that the peer does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Sends a well-formed frame.
    Frame(Vec<u8>),
    /// Sends bytes.
    Raw(Vec<u8>),
    /// Waits so many milliseconds.
    Silence(u64),
}

/// Reads a script. Every input is one. Frames are numbered from 0: their number is their correlation id.
pub fn read(mut bytes: &[u8]) -> Vec<Act> {
    let (mut acts, mut frames) = (Vec::new(), 0);
    while let Some((kind, piece, length)) = take_piece(&mut bytes) {
        acts.push(match kind % 4 {
            2 => Act::Raw(piece.to_vec()),
            3 => Act::Silence(u64::from(length.min(SILENCE_MS_MAX))),
            with_body => {
                let body = match with_body {
                    0 => &[][..],
                    _ => take_piece(&mut bytes).map_or(&[][..], |(_, body, _)| body),
                };
                frames += 1;
                Act::Frame(frame(frames - 1, piece, body))
            }
        });
    }
    acts
}

/// A frame around a header and a body.
pub fn frame(correlation: u32, header: &[u8], body: &[u8]) -> Vec<u8> {
    let length = 12 + header.len() + body.len();
    let words = [
        length as u32,
        header.len() as u32,
        correlation,
        crc32(header),
    ];
    let mut frame: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    frame.extend_from_slice(header);
    frame.extend_from_slice(body);
    frame
}

/// The next piece: its kind, its bytes, the length that it states.
fn take_piece<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8], u16)> {
    let (&[kind, low, high], rest) = bytes.split_first_chunk()?;
    let stated = u16::from_le_bytes([low, high]);
    let length = if kind % 4 == 3 {
        0
    } else {
        usize::from(stated)
    };
    let (piece, rest) = rest.split_at(length.min(rest.len()));
    *bytes = rest;
    Some((kind, piece, stated))
}

/// Frames of a Kafka client: two bytes of length before each, little-endian, become the four of the wire.
pub fn kafka(mut bytes: &[u8]) -> Vec<Act> {
    let mut acts = Vec::new();
    while let Some((&[low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high]));
        let (content, rest) = rest.split_at(length.min(rest.len()));
        let mut frame = (content.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(content);
        acts.push(Act::Raw(frame));
        bytes = rest;
    }
    acts
}
