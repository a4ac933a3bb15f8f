//! Memory that the connections of a core share.

use crate::io::Signal;
use std::cell::Cell;

/// So many bytes, for whoever asks first; later ones wait.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: usize,
    used: Cell<usize>,
    freed: Signal,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            used: Cell::new(0),
            freed: Signal::new(),
        }
    }

    /// Waits until `bytes` are free and takes them.
    pub(super) async fn take(&self, bytes: usize) {
        assert!(bytes <= self.bytes_max);
        loop {
            let freed = self.freed.wait();
            if self.try_take(bytes) {
                return;
            }
            freed.await;
        }
    }

    /// Takes `bytes` if they are free now.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        let used = self.used.get() + bytes;
        let fits = used <= self.bytes_max;
        if fits {
            self.used.set(used);
        }
        fits
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&self, bytes: usize) {
        assert!(bytes <= self.used.get());
        self.used.set(self.used.get() - bytes);
        self.freed.notify();
    }

    /// Bytes that are taken.
    pub(super) fn used(&self) -> usize {
        self.used.get()
    }
}
