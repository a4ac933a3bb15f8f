//! The house as data: who may import whom, and which words belong to which rooms. A change of the house is a change of
//! these tables, and of the README's map, which is held against them.

/// A room under `src` and the rooms it may import (`protocol/native` stands for that part alone).
pub(crate) struct Room {
    pub(crate) name: &'static str,
    pub(crate) imports: &'static [&'static str],
}

const fn room(name: &'static str, imports: &'static [&'static str]) -> Room {
    Room { name, imports }
}

/// Stands for every room.
pub(crate) const ALL: &str = "all";

/// Ground floor first; a room imports only what stands above it in this list.
pub(crate) const ROOMS: &[Room] = &[
    room("base", &[]),
    room("io", &["base"]),
    room("engine", &["base"]),
    room("queue", &["base"]),
    room("group", &["base"]),
    room("catalog", &["base"]),
    room("replication", &["base"]),
    room("protocol", &["base", "engine"]),
    room("log", &["base", "io"]),
    room("partition", &["base", "queue"]),
    room("net", &["base", "io", "engine", "protocol"]),
    room(
        "shard",
        &[
            "base",
            "io",
            "engine",
            "log",
            "partition",
            "queue",
            "group",
            "catalog",
        ],
    ),
    room("client", &["base", "io", "protocol/native"]),
    room("ops", &["base", "io", "engine", "shard", "net"]),
    room("bench", &["base", "io", "client", "ops", "protocol/kafka"]),
    room("cli", &[ALL]),
];

/// Rooms whose parts must not know each other.
pub(crate) const SIBLINGS: &[&str] = &["protocol"];

/// Where a word may stand.
pub(crate) enum Where {
    OnlyIn(&'static [&'static [&'static str]]),
    NeverIn(&'static [&'static str]),
}

/// Words and paths that belong to some places alone. A place is a folder or a file without `.rs`.
pub(crate) struct Fence {
    pub(crate) rule: &'static str,
    /// Single words, wherever they stand in code.
    pub(crate) words: &'static [&'static str],
    /// Beginnings of paths, `::` between words.
    pub(crate) paths: &'static [&'static str],
    pub(crate) place: Where,
    /// Whether tests have to keep it too.
    pub tests_too: bool,
}

/// Those who live in real time, on threads: the ground, the command line, and clients that block.
const GROUND: &[&str] = &[
    "src/io",
    "src/ops",
    "src/cli",
    "src/main",
    "src/client/blocking",
    "src/bench",
];

/// The switch of the planted bugs, which only builds with debug assertions have.
const PLANTED: &[&str] = &["src/base/planted"];

const DECIDING: &[&str] = &[
    "src/base",
    "src/queue",
    "src/group",
    "src/catalog",
    "src/replication",
    "src/protocol",
    "src/partition",
];

pub(crate) const FENCES: &[Fence] = &[
    Fence {
        rule: "glommio belongs to src/io/uring",
        words: &["glommio"],
        paths: &[],
        place: Where::OnlyIn(&[&["src/io/uring"]]),
        tests_too: true,
    },
    Fence {
        rule: "unsafe outside the list of files that may hold it",
        words: &["unsafe"],
        paths: &[],
        // The allocation test stands in for the allocator, which is an unsafe trait.
        place: Where::OnlyIn(&[&[
            "src/io/uring",
            "src/protocol/native/generated",
            "tests/allocation",
        ]]),
        tests_too: true,
    },
    Fence {
        rule: "a clock outside io: time comes through the trait Io, or as an argument",
        words: &["Instant", "SystemTime", "UNIX_EPOCH"],
        paths: &[],
        place: Where::OnlyIn(&[GROUND]),
        tests_too: false,
    },
    Fence {
        rule: "a thread or a thread's state outside io",
        words: &["thread_local"],
        paths: &["std::thread"],
        place: Where::OnlyIn(&[GROUND]),
        tests_too: false,
    },
    Fence {
        rule: "the environment or the process outside io and cli: options are pushed",
        words: &[],
        paths: &["std::env", "std::process"],
        place: Where::OnlyIn(&[GROUND, PLANTED]),
        tests_too: false,
    },
    Fence {
        rule: "chance outside io: random bits come through the trait Io, or from a seeded Prng",
        words: &["RandomState", "getrandom"],
        paths: &["rand", "fastrand", "getrandom"],
        place: Where::OnlyIn(&[GROUND]),
        tests_too: false,
    },
    Fence {
        rule: "a file or a socket outside io: they come through the trait Io",
        words: &["TcpStream", "TcpListener", "UdpSocket", "UnixStream"],
        paths: &["std::fs", "std::os"],
        place: Where::OnlyIn(&[GROUND]),
        tests_too: false,
    },
    Fence {
        rule: "a system call or a raw file descriptor outside io",
        words: &["RawFd", "AsRawFd", "FromRawFd", "OwnedFd", "BorrowedFd"],
        paths: &["rustix", "libc", "nix"],
        place: Where::OnlyIn(&[GROUND]),
        tests_too: false,
    },
    Fence {
        rule: "a lock or an atomic on a data core",
        words: &["Mutex", "RwLock", "Condvar", "Barrier"],
        paths: &["std::sync::atomic", "std::sync::mpsc"],
        place: Where::OnlyIn(&[GROUND]),
        tests_too: false,
    },
    Fence {
        rule: "a blocking print outside the command line",
        words: &["println", "eprintln", "print", "eprint", "stdout", "stderr"],
        paths: &[],
        place: Where::OnlyIn(&[&["src/cli", "src/main", "src/ops", "src/bench"]]),
        tests_too: false,
    },
    Fence {
        rule: "a room that decides knows no async: time and events in, effects out",
        words: &["async", "await"],
        paths: &["std::future", "futures_lite"],
        place: Where::NeverIn(DECIDING),
        tests_too: false,
    },
];

/// Files that a tool wrote: sizes do not count, and nobody outside their folder may name them.
pub(crate) const GENERATED: &[&str] = &["src/protocol/native/generated.rs"];

/// What may lie at the top of the project. `.git` and `target` are not part of it.
pub(crate) const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    ".gitignore",
    ".ci",
    "src",
    "schema",
    "benches",
    "tests",
    "tuning",
];

/// File names that say nothing about what is inside.
pub(crate) const EMPTY_NAMES: &[&str] = &[
    "utils", "util", "common", "helpers", "manager", "impls", "misc",
];

pub(crate) const FUNCTION_LINES_MAX: usize = 70;
pub(crate) const FILE_LINES_MAX: usize = 600;
pub(crate) const MAIN_LINES_MAX: usize = 150;
