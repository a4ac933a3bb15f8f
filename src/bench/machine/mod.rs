//! What the figures were taken on. A throughput without its disk, or a latency without its kernel, cannot be compared.
//!
//! ```text
//!  look(dir) ─> /proc, /sys ─> text ─> parse (pure) ─> Machine ─> facts(): one table for terminal, JSON and page
//!                                └─> disk: mount of dir ─> block device ─> the whole disk below partitions
//! ```
//! Invariant: a fact that cannot be had is "unknown", never an error and never a guess.

mod disk;

pub use disk::Disk;

use crate::io::uring::probe_ring;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What stands where the machine would not tell.
pub const UNKNOWN: &str = "unknown";

/// The facts of a machine that bear on what a broker does on it.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Release of the running kernel: `6.18.44`.
    pub kernel: String,
    /// The processor's name as it tells it.
    pub cpu_model: String,
    /// CPUs online; 0: unknown.
    pub cpus: usize,
    /// Whether the machine is a guest of a hypervisor: `yes`, `no`.
    pub virtual_machine: String,
    /// Memory that the kernel manages; 0: unknown.
    pub memory_bytes: u64,
    /// The disk that the measured broker writes to.
    #[serde(flatten)]
    pub disk: Disk,
    /// What the kernel takes its time from. Anything but `tsc` (x86) makes each look at the clock a system call.
    pub clocksource: String,
    /// Frequency governor of the first CPU; guests mostly have none to show.
    pub governor: String,
    /// Transparent huge pages: `always`, `madvise`, `never`.
    pub huge_pages: String,
    /// Whether io_uring may be used, by the sysctl and by trying.
    pub io_uring: String,
}

/// One fact, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fact {
    /// What it is about.
    pub label: &'static str,
    /// What was found, with its unit.
    pub text: String,
}

/// Where the kernel shows itself; tests show a machine of their own.
struct Roots {
    proc: PathBuf,
    sys: PathBuf,
}

impl Roots {
    fn proc(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.proc.join(path)).ok()
    }

    fn sys(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.sys.join(path)).ok()
    }
}

/// Looks at this machine, and at the disk under `dir`.
pub fn look(dir: &Path) -> Machine {
    let roots = Roots {
        proc: PathBuf::from("/proc"),
        sys: PathBuf::from("/sys"),
    };
    let ring = probe_ring().map_err(|cause| cause.to_string());
    look_below(&roots, dir, ring)
}

fn look_below(roots: &Roots, dir: &Path, ring: Result<(), String>) -> Machine {
    let cpuinfo = roots.proc("cpuinfo");
    let online = roots.sys("devices/system/cpu/online");
    Machine {
        kernel: line_or_unknown(roots.proc("sys/kernel/osrelease")),
        cpu_model: cpuinfo
            .as_deref()
            .and_then(cpu_model)
            .unwrap_or_else(unknown),
        cpus: online.as_deref().and_then(count_of_list).unwrap_or(0),
        virtual_machine: cpuinfo.as_deref().map_or_else(unknown, virtual_machine),
        memory_bytes: roots
            .proc("meminfo")
            .as_deref()
            .and_then(memory_bytes)
            .unwrap_or(0),
        disk: disk::look(roots, dir),
        clocksource: line_or_unknown(
            roots.sys("devices/system/clocksource/clocksource0/current_clocksource"),
        ),
        governor: line_or_unknown(roots.sys("devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        huge_pages: roots
            .sys("kernel/mm/transparent_hugepage/enabled")
            .map_or_else(unknown, |text| chosen(&text)),
        io_uring: io_uring_state(roots.proc("sys/kernel/io_uring_disabled").as_deref(), &ring),
    }
}

impl Machine {
    /// The facts in the order in which people ask for them.
    pub fn facts(&self) -> Vec<Fact> {
        let fact = |label, text: &str| Fact {
            label,
            text: text.to_owned(),
        };
        let guest = match self.virtual_machine.as_str() {
            "yes" => ", virtual machine",
            _ => "",
        };
        let mut facts = vec![
            fact("kernel", &format!("Linux {}", self.kernel)),
            fact(
                "CPU",
                &format!(
                    "{}, {} online{guest}",
                    self.cpu_model,
                    number_or_unknown(self.cpus)
                ),
            ),
            fact("memory", &gibibytes(self.memory_bytes)),
        ];
        facts.extend(self.disk.facts());
        facts.extend([
            fact("clock source", &self.clocksource),
            fact("CPU governor", &self.governor),
            fact("huge pages", &self.huge_pages),
            fact("io_uring", &self.io_uring),
        ]);
        facts
    }
}

fn unknown() -> String {
    UNKNOWN.to_owned()
}

fn line_or_unknown(text: Option<String>) -> String {
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(unknown)
}

fn number_or_unknown(number: usize) -> String {
    match number {
        0 => unknown(),
        number => number.to_string(),
    }
}

fn gibibytes(bytes: u64) -> String {
    match bytes {
        0 => unknown(),
        bytes => format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64),
    }
}

/// The value behind `key` and a colon, in the texts of /proc.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
}

/// x86 has `model name`; Arm says it in numbers alone, which are better than nothing.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    if let Some(name) = value_of(cpuinfo, "model name") {
        return Some(name.to_owned());
    }
    let implementer = value_of(cpuinfo, "CPU implementer")?;
    let part = value_of(cpuinfo, "CPU part")?;
    Some(format!("implementer {implementer}, part {part}"))
}

/// The processor itself tells a guest, on x86: CPUID's hypervisor bit.
fn virtual_machine(cpuinfo: &str) -> String {
    match value_of(cpuinfo, "flags") {
        Some(flags) if flags.split(' ').any(|flag| flag == "hypervisor") => "yes".to_owned(),
        Some(_) => "no".to_owned(),
        None => unknown(),
    }
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kibibytes = value_of(meminfo, "MemTotal")?.strip_suffix("kB")?;
    kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// How many are in a list such as `0-3,8`.
fn count_of_list(list: &str) -> Option<usize> {
    let mut count = 0usize;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

/// The one in brackets: `always [madvise] never` is `madvise`.
fn chosen(choices: &str) -> String {
    choices
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or_else(
            || line_or_unknown(Some(choices.to_owned())),
            |(chosen, _)| chosen.to_owned(),
        )
}

/// Kernels before 6.6 have no sysctl for it.
fn io_uring_state(disabled: Option<&str>, ring: &Result<(), String>) -> String {
    let allowed = match disabled.map(str::trim) {
        Some("0") => "allowed for all",
        Some("1") => "allowed for a group (kernel.io_uring_disabled=1)",
        Some("2") => "forbidden (kernel.io_uring_disabled=2)",
        _ => "no sysctl",
    };
    match ring {
        Ok(()) => format!("works, {allowed}"),
        Err(cause) => format!("refused ({cause}), {allowed}"),
    }
}

#[cfg(test)]
mod tests {
    //! Goal: each text of the kernel is read right, and what is missing or torn is "unknown". Method: texts as machines
    //! show them, whole and cut at every index; a machine of files, with links as sysfs has them.

    use super::*;

    const CPUINFO: &str = "processor\t: 0\nmodel name\t: AMD EPYC 9654\nflags\t\t: fpu sse2 hypervisor avx\n\n\
                           processor\t: 1\nmodel name\t: other\n";

    #[test]
    fn the_processor_is_named_once() {
        assert_eq!(cpu_model(CPUINFO).as_deref(), Some("AMD EPYC 9654"));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        assert_eq!(
            cpu_model(arm).as_deref(),
            Some("implementer 0x41, part 0xd0c")
        );
        assert_eq!(cpu_model(""), None);
    }

    #[test]
    fn a_guest_is_told_by_a_whole_flag() {
        assert_eq!(virtual_machine(CPUINFO), "yes");
        assert_eq!(virtual_machine("flags : fpu nohypervisorhere"), "no");
        assert_eq!(virtual_machine("Features : fp asimd"), UNKNOWN);
    }

    #[test]
    fn lists_of_cpus_are_counted() {
        for (list, count) in [
            ("0-1\n", Some(2)),
            ("0", Some(1)),
            ("0-3,8,10-11", Some(7)),
            ("", None),
            ("3-1", None),
            ("0-18446744073709551615", None),
            ("0-3,", None),
        ] {
            assert_eq!(count_of_list(list), count, "{list:?}");
        }
    }

    #[test]
    fn the_chosen_is_in_brackets_or_alone() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen("none [mq-deadline] kyber"), "mq-deadline");
        assert_eq!(chosen("none\n"), "none");
        assert_eq!(chosen("\n"), UNKNOWN);
        assert_eq!(chosen("always [madv"), "always [madv");
    }

    #[test]
    fn the_state_of_io_uring_tells_rule_and_trial() {
        let refused = Err("Operation not permitted".to_owned());
        assert_eq!(
            io_uring_state(Some("0\n"), &Ok(())),
            "works, allowed for all"
        );
        assert_eq!(io_uring_state(None, &Ok(())), "works, no sysctl");
        assert_eq!(
            io_uring_state(Some("2"), &refused),
            "refused (Operation not permitted), forbidden (kernel.io_uring_disabled=2)"
        );
    }

    #[test]
    fn texts_cut_anywhere_are_read_or_unknown() {
        let meminfo = "MemTotal:       24682416 kB\nMemFree: 1 kB\n";
        for cut in 0..CPUINFO.len() {
            let _ = (cpu_model(&CPUINFO[..cut]), virtual_machine(&CPUINFO[..cut]));
        }
        let whole = meminfo.find('B').expect("it is there") + 1;
        for cut in 0..meminfo.len() {
            let expected = (cut >= whole).then_some(24_682_416 * 1024);
            assert_eq!(memory_bytes(&meminfo[..cut]), expected, "{cut}");
        }
        assert_eq!(memory_bytes("MemTotal: 99999999999999999999 kB"), None);
        assert_eq!(memory_bytes("MemTotal: 18446744073709551615 kB"), None);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_unknown_throughout() {
        let nowhere = Roots {
            proc: PathBuf::from("/nonexistent/proc"),
            sys: PathBuf::from("/nonexistent/sys"),
        };
        let machine = look_below(&nowhere, Path::new("/nonexistent"), Ok(()));
        assert_eq!(machine.kernel, UNKNOWN);
        assert_eq!((machine.cpus, machine.memory_bytes), (0, 0));
        for fact in machine.facts() {
            let told = fact.text.contains(UNKNOWN) || fact.text == "works, no sysctl";
            assert!(told, "{fact:?}");
        }
    }

    #[test]
    fn this_machine_tells_its_kernel_and_its_cpus() {
        let machine = look(&std::env::temp_dir());
        assert_ne!(machine.kernel, UNKNOWN);
        assert!(machine.cpus > 0 && machine.memory_bytes > 0);
        assert_ne!(machine.disk.filesystem, UNKNOWN);
    }
}
