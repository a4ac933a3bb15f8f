//! How `consume` prints a record: kcat's tokens, compiled once, then walked for every record without allocating.
//!
//! | token | prints | token | prints |
//! |---|---|---|---|
//! | `%t` | topic | `%v` `%s` | value |
//! | `%p` | partition | `%S` | length of the value, -1 if it is null |
//! | `%o` | offset | `%k` | key |
//! | `%T` | timestamp in milliseconds | `%K` | length of the key, -1 if it is null |
//! | `%d` | which delivery of a queue, 0 if it is none | | |
//! | `%%` | a percent sign | `\n` `\t` `\r` `\0` `\\` `\xNN` | that byte |

use crate::cli::values::escape;
use std::str::FromStr;

/// What of a record can be printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fields<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// Number of the partition.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Which delivery of it this is, of a queue; else 0.
    pub deliveries: u32,
    /// Key, if any.
    pub key: Option<&'a [u8]>,
    /// Value, if any.
    pub value: Option<&'a [u8]>,
}

/// A compiled format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Deliveries,
    Key,
    KeyLength,
    Value,
    ValueLength,
}

impl Format {
    /// Appends the record, printed, to `out`.
    pub fn print(&self, record: &Fields<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(record.topic.as_bytes()),
                Piece::Partition => print_number(i128::from(record.partition), out),
                Piece::Offset => print_number(i128::from(record.offset), out),
                Piece::Timestamp => print_number(i128::from(record.timestamp_ms), out),
                Piece::Deliveries => print_number(i128::from(record.deliveries), out),
                Piece::Key => out.extend_from_slice(record.key.unwrap_or_default()),
                Piece::KeyLength => print_number(length(record.key), out),
                Piece::Value => out.extend_from_slice(record.value.unwrap_or_default()),
                Piece::ValueLength => print_number(length(record.value), out),
            }
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut format = Self { pieces: Vec::new() };
        let mut rest = text.as_bytes();
        while let Some((first, others)) = rest.split_first() {
            rest = others;
            match first {
                b'%' => {
                    let (token, others) = rest
                        .split_first()
                        .ok_or("a format may not end in a bare %: write %% for a percent sign")?;
                    rest = others;
                    format.push_token(*token)?;
                }
                b'\\' => {
                    let (byte, took) = escape(rest)
                        .ok_or("unknown escape: use \\n, \\t, \\r, \\0, \\\\ or \\xNN")?;
                    rest = &rest[took..];
                    format.push_byte(byte);
                }
                byte => format.push_byte(*byte),
            }
        }
        Ok(format)
    }
}

impl Format {
    fn push_token(&mut self, token: u8) -> Result<(), String> {
        self.pieces.push(match token {
            b't' => Piece::Topic,
            b'p' => Piece::Partition,
            b'o' => Piece::Offset,
            b'T' => Piece::Timestamp,
            b'd' => Piece::Deliveries,
            b'k' => Piece::Key,
            b'K' => Piece::KeyLength,
            b'v' | b's' => Piece::Value,
            b'S' => Piece::ValueLength,
            b'%' => {
                self.push_byte(b'%');
                return Ok(());
            }
            other => {
                return Err(format!(
                    "unknown token %{}: use %t %p %o %k %v %T %K %S %d or %%",
                    char::from(other).escape_default()
                ));
            }
        });
        Ok(())
    }

    fn push_byte(&mut self, byte: u8) {
        if let Some(Piece::Literal(bytes)) = self.pieces.last_mut() {
            bytes.push(byte);
        } else {
            self.pieces.push(Piece::Literal(vec![byte]));
        }
    }
}

fn length(bytes: Option<&[u8]>) -> i128 {
    bytes.map_or(-1, |bytes| bytes.len() as i128)
}

/// Decimal digits. `write!` would do the same through three layers of formatting, for every record.
fn print_number(number: i128, out: &mut Vec<u8>) {
    let mut digits = [0u8; 40];
    let mut at = digits.len();
    let magnitude = number.unsigned_abs();
    let mut left = u64::try_from(magnitude).expect("what is printed has at most 64 bits");
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(format: &str, record: &Fields<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let format: Format = format.parse().expect(format);
        format.print(record, &mut out);
        out
    }

    const RECORD: Fields<'static> = Fields {
        topic: "logs",
        partition: 3,
        offset: u64::MAX,
        timestamp_ms: i64::MIN,
        deliveries: 7,
        key: None,
        value: Some(b"a\xff\0b"),
    };

    #[test]
    fn every_token_and_escape_prints() {
        let cases: [(&str, &[u8]); 10] = [
            ("%d", b"7"),
            ("%v\\n", b"a\xff\0b\n"),
            ("%s", b"a\xff\0b"),
            ("%t/%p@%o", b"logs/3@18446744073709551615"),
            ("%T", b"-9223372036854775808"),
            ("[%k]%K", b"[]-1"),
            ("%S", b"4"),
            ("100%%%%", b"100%%"),
            ("\\t\\r\\0\\\\\\x41\\xfF", b"\t\r\0\\A\xff"),
            ("", b""),
        ];
        for (format, printed) in cases {
            assert_eq!(print(format, &RECORD), printed, "{format}");
        }
        let keyed = Fields {
            key: Some(b""),
            value: None,
            timestamp_ms: 0,
            ..RECORD
        };
        assert_eq!(print("%K %S %v%T", &keyed), b"0 -1 0");
    }

    #[test]
    fn literals_that_touch_are_one_piece() {
        let format: Format = "é%%\\n%v".parse().expect("good");
        assert_eq!(format.pieces, [Piece::Literal("é%\n".into()), Piece::Value]);
    }

    #[test]
    fn what_is_not_understood_is_refused_at_once() {
        for bad in [
            "%", "%v%", "%q", "%é", "\\", "\\q", "\\x", "\\x4", "\\x4g", "%v\\",
        ] {
            assert!(bad.parse::<Format>().is_err(), "{bad}");
        }
    }
}
