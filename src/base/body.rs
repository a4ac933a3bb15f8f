//! A body of record batches as pieces of memory and of files: what a read yields and what a fetch sends.

/// Record batches as pieces, in order; the pieces' bytes back to back are the batches. Owned by the caller of a read
/// and reused: after warm-up, filling it allocates nothing.
#[derive(Clone, Debug)]
pub struct Body<C, S> {
    /// The pieces.
    pub parts: Vec<Part<C, S>>,
    /// What [`Part::Copied`] refers to.
    pub copied: Vec<u8>,
    /// The pieces' bytes in all.
    pub bytes: u64,
}

/// A piece of a [`Body`].
#[derive(Clone, Debug)]
pub enum Part<C, S> {
    /// `chunk[from..until]` of the hot tail, shared.
    Memory {
        /// The chunk.
        chunk: C,
        /// First byte.
        from: usize,
        /// The byte after the last.
        until: usize,
    },
    /// `copied[from..until]` of the body itself: bytes of the open tail block, or from another core.
    Copied {
        /// First byte.
        from: usize,
        /// The byte after the last.
        until: usize,
    },
    /// A span of a file.
    File {
        /// The file.
        source: S,
        /// Position of the first byte.
        position: u64,
        /// How many.
        bytes: u64,
    },
}

impl<C, S> Default for Body<C, S> {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            copied: Vec::new(),
            bytes: 0,
        }
    }
}

impl<C, S> Body<C, S> {
    /// Adds `chunk[from..until]`.
    pub fn push_memory(&mut self, chunk: C, from: usize, until: usize) {
        assert!(from < until);
        self.bytes += (until - from) as u64;
        self.parts.push(Part::Memory { chunk, from, until });
    }

    /// Adds a copy of `bytes`.
    pub fn push_copy(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        let from = self.copied.len();
        self.copied.extend_from_slice(bytes);
        self.bytes += bytes.len() as u64;
        self.parts.push(Part::Copied {
            from,
            until: self.copied.len(),
        });
    }

    /// Adds `bytes` of a file from `position`.
    pub fn push_file(&mut self, source: S, position: u64, bytes: u64) {
        assert!(bytes > 0);
        self.bytes += bytes;
        self.parts.push(Part::File {
            source,
            position,
            bytes,
        });
    }

    /// Keeps the bytes from `begin` to `end` alone.
    pub fn keep(&mut self, begin: u64, end: u64) {
        assert!(begin <= end && end <= self.bytes);
        let mut pos = 0;
        self.parts.retain_mut(|part| {
            let bytes = part.bytes();
            let front = begin.saturating_sub(pos).min(bytes);
            let back = (pos + bytes).saturating_sub(end).min(bytes);
            pos += bytes;
            part.shorten(front, back);
            part.bytes() > 0
        });
        self.bytes = end - begin;
    }

    /// Forgets the pieces and keeps the memory.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.copied.clear();
        self.bytes = 0;
    }
}

impl<C, S> Part<C, S> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Memory { from, until, .. } | Self::Copied { from, until } => {
                (until - from) as u64
            }
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Takes away so many bytes at the front, and then at the back; if those are more than there are, all.
    fn shorten(&mut self, front: u64, back: u64) {
        let left = self.bytes().saturating_sub(front).saturating_sub(back);
        match self {
            Self::Memory { from, until, .. } | Self::Copied { from, until } => {
                *from += front as usize;
                *until = *from + left as usize;
            }
            Self::File {
                position, bytes, ..
            } => {
                *position += front;
                *bytes = left;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_lies_between_over_all_kinds_of_parts() {
        let file: Vec<u8> = (100..120).collect();
        let whole = || {
            let mut body: Body<Vec<u8>, ()> = Body::default();
            body.push_file((), 3, 6);
            body.push_memory((0..9).collect(), 2, 7);
            body.push_copy(&[50, 51, 52]);
            body
        };
        let bytes = |body: &Body<Vec<u8>, ()>| {
            let mut all: Vec<u8> = Vec::new();
            for part in &body.parts {
                assert!(part.bytes() > 0);
                match part {
                    Part::Memory { chunk, from, until } => all.extend(&chunk[*from..*until]),
                    Part::Copied { from, until } => all.extend(&body.copied[*from..*until]),
                    Part::File {
                        position, bytes, ..
                    } => all.extend(&file[*position as usize..][..*bytes as usize]),
                }
            }
            all
        };
        let all = bytes(&whole());
        for begin in 0..=all.len() {
            for end in begin..=all.len() {
                let mut body = whole();
                body.keep(begin as u64, end as u64);
                assert_eq!(bytes(&body), all[begin..end]);
                assert_eq!(body.bytes, (end - begin) as u64);
            }
        }
    }

    #[test]
    fn counts_what_it_holds_and_keeps_its_memory() {
        let mut body: Body<Vec<u8>, ()> = Body::default();
        body.push_memory(vec![1, 2, 3, 4], 1, 3);
        body.push_copy(&[5, 6]);
        body.push_copy(&[7]);
        body.push_file((), 4096, 10);
        assert_eq!(body.bytes, 15);
        assert!(matches!(body.parts[2], Part::Copied { from: 2, until: 3 }));
        let capacity = body.copied.capacity();
        body.clear();
        assert_eq!(
            (body.bytes, body.parts.len(), body.copied.capacity()),
            (0, 0, capacity)
        );
    }
}
