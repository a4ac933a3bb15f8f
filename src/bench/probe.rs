//! What the machine can do at most, measured in the same call as the broker.

/// The limits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Probe {
    /// O_DIRECT sequential writes of 1 MiB, 4 in the queue, bytes a second.
    pub direct_write_bytes_per_s: f64,
    /// Durable writes of 4 KiB, one at a time, a second.
    pub durable_4k_per_s: f64,
    /// The time of one of them, microseconds, median.
    pub durable_4k_p50_us: f64,
    /// TCP over the loopback, one connection, bytes a second.
    pub loopback_bytes_per_s: f64,
}
