//! The types of Kafka's schemas on the wire, and the macro that makes a message out of a schema's rows.
//!
//! ```text
//!            classic                     flexible
//!   string   i16 length, bytes           varint length + 1, bytes         null: -1 / 0
//!   bytes    i32 length, bytes           varint length + 1, bytes
//!   array    i32 count, items            varint count + 1, items
//!   struct   fields                      fields, varint count of tagged fields, those
//! ```
//! All numbers are big-endian; a varint here is unsigned.

use thiserror::Error;

/// Memory that one decoded request may take, in bytes: a consumer group's plan for thousands of partitions fits.
const MEMORY_BYTES_MAX: usize = 4 << 20;

/// Bytes that are not the request that they claim to be.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// They end inside a field.
    #[error("a request ends inside a field")]
    Short,
    /// A length, a count or a text that no request can have.
    #[error("a request holds an impossible {0}")]
    Field(&'static str),
    /// More memory than a request may take.
    #[error("a request would take more than {MEMORY_BYTES_MAX} bytes of memory")]
    TooLarge,
}

/// How a message lies on the wire: what its version has, and in which of the two encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Version of the API.
    pub version: i16,
    /// Compact lengths and tagged fields.
    pub is_flexible: bool,
}

impl Shape {
    /// Whether a field that stands in the versions `first` to `last` is there.
    pub fn has(self, first: i16, last: i16) -> bool {
        (first..=last).contains(&self.version)
    }
}

/// Takes fields off the front of a request. What a request says about sizes is believed only as far as bytes are there,
/// and as far as the memory for one request goes: 30 bytes that claim 2^31 topics cost nothing.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    memory_left: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            memory_left: MEMORY_BYTES_MAX,
        }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// What decoding took of memory so far, in bytes.
    pub fn memory_bytes(&self) -> usize {
        MEMORY_BYTES_MAX - self.memory_left
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Malformed::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(Malformed::Short)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// An `i8`.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, Malformed> {
        self.array().map(i8::from_be_bytes)
    }

    /// An `i16`.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    /// An `i32`.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// An `i64`.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// An unsigned varint of 32 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0xf {
                return Err(Malformed::Field("varint"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Field("varint"))
    }

    /// A length or a count, -1 and its compact form being none; `classic` reads the classic one.
    #[inline]
    fn length(
        &mut self,
        shape: Shape,
        classic: impl FnOnce(&mut Self) -> Result<i32, Malformed>,
    ) -> Result<Option<usize>, Malformed> {
        if shape.is_flexible {
            return Ok((self.varint()? as usize).checked_sub(1));
        }
        match classic(self)? {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| Malformed::Field("length")),
        }
    }

    /// A string, or null, as it lies there.
    #[inline]
    pub fn string(&mut self, shape: Shape) -> Result<Option<&'a str>, Malformed> {
        let length = self.length(shape, |reader| reader.i16().map(i32::from))?;
        let Some(length) = length else {
            return Ok(None);
        };
        let text = std::str::from_utf8(self.take(length)?);
        text.map(Some).map_err(|_| Malformed::Field("text"))
    }

    /// Bytes, or null, as they lie there.
    #[inline]
    pub fn bytes(&mut self, shape: Shape) -> Result<Option<&'a [u8]>, Malformed> {
        let length = self.length(shape, Self::i32)?;
        length.map(|length| self.take(length)).transpose()
    }

    /// The count of an array, or null. Each item takes at least a byte, so no count is above what is left.
    #[inline]
    pub fn count(&mut self, shape: Shape) -> Result<Option<usize>, Malformed> {
        let count = self.length(shape, Self::i32)?;
        if count.is_some_and(|count| count > self.bytes.len()) {
            return Err(Malformed::Field("count"));
        }
        Ok(count)
    }

    /// Steps over the tagged fields at the end of a struct: none that a client sends changes an answer.
    #[inline]
    pub fn tagged(&mut self, shape: Shape) -> Result<(), Malformed> {
        if !shape.is_flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length as usize)?;
        }
        Ok(())
    }

    /// Takes note of memory about to be taken.
    fn spend(&mut self, bytes: usize) -> Result<(), Malformed> {
        let left = self.memory_left.checked_sub(bytes);
        self.memory_left = left.ok_or(Malformed::TooLarge)?;
        Ok(())
    }
}

/// Appends an unsigned varint.
pub fn write_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the count of an array.
pub fn write_count(count: usize, out: &mut Vec<u8>, shape: Shape) {
    if shape.is_flexible {
        write_varint(count as u32 + 1, out);
    } else {
        out.extend((count as i32).to_be_bytes());
    }
}

/// Appends a string.
pub fn write_string(text: &[u8], out: &mut Vec<u8>, shape: Shape) {
    // Longer than a classic length can say: nothing of ours is, and what a client sent came with such a length.
    let text = &text[..text.len().min(i16::MAX as usize)];
    if shape.is_flexible {
        write_varint(text.len() as u32 + 1, out);
    } else {
        out.extend((text.len() as i16).to_be_bytes());
    }
    out.extend_from_slice(text);
}

/// Appends the end of a struct: no tagged fields.
pub fn write_tagged(out: &mut Vec<u8>, shape: Shape) {
    if shape.is_flexible {
        out.push(0);
    }
}

/// A type of the schemas.
pub trait Field: Sized {
    /// Takes it off the front of `reader`.
    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed>;

    /// Appends it to `out`.
    fn write(&self, out: &mut Vec<u8>, shape: Shape);

    /// Tells the error codes that it is or holds; `name` is the field's.
    fn tell_errors(&self, _name: &str, _tell: &mut dyn FnMut(i16)) {}
}

macro_rules! numbers {
    ($($number:ty),*) => { $(
        impl Field for $number {
            fn read(reader: &mut Reader<'_>, _: Shape) -> Result<Self, Malformed> {
                reader.array().map(Self::from_be_bytes)
            }

            fn write(&self, out: &mut Vec<u8>, _: Shape) {
                out.extend(self.to_be_bytes());
            }
        }
    )* };
}
// A UUID is a `u128`.
numbers!(i8, i32, i64, u128);

impl Field for i16 {
    fn read(reader: &mut Reader<'_>, _: Shape) -> Result<Self, Malformed> {
        reader.i16()
    }

    fn write(&self, out: &mut Vec<u8>, _: Shape) {
        out.extend(self.to_be_bytes());
    }

    fn tell_errors(&self, name: &str, tell: &mut dyn FnMut(i16)) {
        if name == "error_code" && *self != 0 {
            tell(*self);
        }
    }
}

impl Field for bool {
    fn read(reader: &mut Reader<'_>, _: Shape) -> Result<Self, Malformed> {
        Ok(reader.i8()? != 0)
    }

    fn write(&self, out: &mut Vec<u8>, _: Shape) {
        out.push(u8::from(*self));
    }
}

impl Field for Option<String> {
    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed> {
        let text = reader.string(shape)?;
        reader.spend(text.map_or(0, str::len))?;
        Ok(text.map(str::to_owned))
    }

    fn write(&self, out: &mut Vec<u8>, shape: Shape) {
        match self {
            Some(text) => write_string(text.as_bytes(), out, shape),
            None if shape.is_flexible => out.push(0),
            None => out.extend((-1i16).to_be_bytes()),
        }
    }
}

impl Field for String {
    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed> {
        Option::<Self>::read(reader, shape)?.ok_or(Malformed::Field("null"))
    }

    fn write(&self, out: &mut Vec<u8>, shape: Shape) {
        write_string(self.as_bytes(), out, shape);
    }
}

/// The schemas' `bytes`; null reads as none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Blob(pub Vec<u8>);

impl Field for Blob {
    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed> {
        let bytes = reader.bytes(shape)?.unwrap_or_default();
        reader.spend(bytes.len())?;
        Ok(Self(bytes.to_vec()))
    }

    fn write(&self, out: &mut Vec<u8>, shape: Shape) {
        // A length reads as a count does.
        write_count(self.0.len(), out, shape);
        out.extend_from_slice(&self.0);
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed> {
        let Some(count) = reader.count(shape)? else {
            return Ok(None);
        };
        reader.spend(count.saturating_mul(size_of::<T>()))?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(T::read(reader, shape)?);
        }
        Ok(Some(items))
    }

    fn write(&self, out: &mut Vec<u8>, shape: Shape) {
        match self {
            Some(items) => items.write(out, shape),
            None if shape.is_flexible => out.push(0),
            None => out.extend((-1i32).to_be_bytes()),
        }
    }

    fn tell_errors(&self, name: &str, tell: &mut dyn FnMut(i16)) {
        self.iter().for_each(|items| items.tell_errors(name, tell));
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(reader: &mut Reader<'_>, shape: Shape) -> Result<Self, Malformed> {
        Option::<Self>::read(reader, shape)?.ok_or(Malformed::Field("null"))
    }

    fn write(&self, out: &mut Vec<u8>, shape: Shape) {
        write_count(self.len(), out, shape);
        self.iter().for_each(|item| item.write(out, shape));
    }

    fn tell_errors(&self, name: &str, tell: &mut dyn FnMut(i16)) {
        self.iter().for_each(|item| item.tell_errors(name, tell));
    }
}

/// Makes a struct of a schema: each field with its first version, its last one if it went again, and what it is where
/// the version lacks it, if that is not nothing. It reads and writes the fields of a version in their order, and the
/// tagged ones (read over, never written) behind them.
macro_rules! message {
    (@last) => { i16::MAX };
    (@last $last:literal) => { $last };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    ($(#[$doc:meta])* $visible:vis struct $name:ident {
        $($field:ident: $type:ty [$first:literal $(, $last:literal)?] $(= $default:expr)?,)*
    }) => {
        $(#[$doc])*
        #[allow(missing_docs, reason = "the fields are the schema's, which says what they are")]
        #[derive(Clone, PartialEq, Debug)]
        $visible struct $name {
            $($visible $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: message!(@default $($default)?),)* }
            }
        }

        impl $crate::protocol::kafka::wire::Field for $name {
            fn read(
                reader: &mut $crate::protocol::kafka::wire::Reader<'_>,
                shape: $crate::protocol::kafka::wire::Shape,
            ) -> Result<Self, $crate::protocol::kafka::wire::Malformed> {
                let mut made = Self::default();
                $(if shape.has($first, message!(@last $($last)?)) {
                    made.$field = $crate::protocol::kafka::wire::Field::read(reader, shape)?;
                })*
                reader.tagged(shape)?;
                Ok(made)
            }

            fn write(&self, out: &mut Vec<u8>, shape: $crate::protocol::kafka::wire::Shape) {
                $(if shape.has($first, message!(@last $($last)?)) {
                    self.$field.write(out, shape);
                })*
                $crate::protocol::kafka::wire::write_tagged(out, shape);
            }

            fn tell_errors(&self, _: &str, tell: &mut dyn FnMut(i16)) {
                $(self.$field.tell_errors(stringify!($field), tell);)*
            }
        }
    };
}
pub(super) use message;

#[cfg(test)]
mod tests {
    use super::*;

    message! {
        /// Every type, and fields that come and go.
        struct Sample {
            number: i32 [0],
            text: Option<String> [1, 2] = Some("unset".to_owned()),
            items: Vec<i16> [0],
            blob: Blob [2],
            id: u128 [3],
            yes: bool [0] = true,
        }
    }

    fn sample() -> Sample {
        Sample {
            number: -7,
            text: None,
            items: vec![1, -2],
            blob: Blob(vec![9; 200]),
            id: 1 << 100,
            yes: false,
        }
    }

    #[test]
    fn a_version_has_its_fields_and_the_others_their_defaults() {
        for (version, is_flexible) in [(0, false), (2, false), (2, true), (3, true)] {
            let shape = Shape {
                version,
                is_flexible,
            };
            let mut bytes = Vec::new();
            sample().write(&mut bytes, shape);
            let mut reader = Reader::new(&bytes);
            let read = Sample::read(&mut reader, shape).expect("just written");
            assert!(reader.rest().is_empty());
            assert_eq!(read.text.is_none(), version == 2);
            assert_eq!(read.id == 0, version < 3);
            assert_eq!((read.number, read.yes), (-7, false));
            for cut in 0..bytes.len() {
                assert!(Sample::read(&mut Reader::new(&bytes[..cut]), shape).is_err());
            }
        }
    }

    message! {
        /// An answer: codes at two levels, and a number that is none.
        struct Told {
            error_code: i16 [0],
            number: i16 [0],
            items: Option<Vec<Told>> [0],
        }
    }

    #[test]
    fn error_codes_are_told_at_every_level_and_nothing_else_is() {
        let told = |error_code, items| Told {
            error_code,
            number: 9,
            items,
        };
        let inner = vec![told(3, None), told(0, None), told(-1, Some(Vec::new()))];
        let mut found = Vec::new();
        told(7, Some(inner)).tell_errors("", &mut |code| found.push(code));
        assert_eq!(found, [7, 3, -1]);
    }

    #[test]
    fn what_is_claimed_costs_nothing_before_it_is_there() {
        for (is_flexible, claim) in [
            (false, [0x7f, 0xff, 0xff, 0xff, 0xff]),
            (true, [0xff, 0xff, 0xff, 0xff, 0x07]),
        ] {
            let shape = Shape {
                version: 0,
                is_flexible,
            };
            assert!(Vec::<u128>::read(&mut Reader::new(&claim), shape).is_err());
            assert!(Blob::read(&mut Reader::new(&claim), shape).is_err());
        }
        let shape = Shape {
            version: 0,
            is_flexible: true,
        };
        let count = MEMORY_BYTES_MAX / size_of::<Sample>() + 1;
        let mut bytes = Vec::new();
        write_varint(count as u32 + 1, &mut bytes);
        bytes.resize(bytes.len() + 32 * count, 0);
        let read = Vec::<Sample>::read(&mut Reader::new(&bytes), shape);
        assert_eq!(read, Err(Malformed::TooLarge));
    }

    #[test]
    fn varints_take_at_most_five_bytes() {
        for value in [0, 1, 127, 128, 300, 1 << 20, u32::MAX] {
            let mut bytes = Vec::new();
            write_varint(value, &mut bytes);
            assert_eq!(Reader::new(&bytes).varint(), Ok(value));
        }
        assert!(Reader::new(&[0xff; 9]).varint().is_err());
        assert!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10])
                .varint()
                .is_err()
        );
    }
}
