//! The machine that a report was made on.

/// What figures depend on. Text is as Linux says it; `None`: it does not say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu_model: Option<String>,
    /// CPUs that this process may run on.
    pub cpus: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// File system of the data directory: `ext4`.
    pub filesystem: Option<String>,
    /// Device under it: `vda`.
    pub device: Option<String>,
    /// The device's write cache: `write back` or `write through`.
    pub write_cache: Option<String>,
    /// Clock source of the kernel.
    pub clocksource: Option<String>,
    /// Frequency governor of CPU 0.
    pub governor: Option<String>,
}
