//! Every limit, with its arithmetic. A limit that depends on another says so in an assertion beside it.

/// The block of direct I/O and of every on-disk unit of ours, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// The longest topic name, in bytes (as Kafka has it).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// The most partitions that one topic may have.
pub const TOPIC_PARTITIONS_MAX: u32 = 10_000;

/// The most topics that one node holds.
pub const TOPICS_MAX: usize = 100_000;

/// The most partitions that one node holds: each keeps a file open (two, once a block of its index was full) and some
/// hundred bytes of memory.
pub const NODE_PARTITIONS_MAX: u64 = 200_000;
const _: () = assert!(NODE_PARTITIONS_MAX >= TOPIC_PARTITIONS_MAX as u64);

/// The largest record batch that is accepted, in bytes, header included. A record of 1 MiB and its framing fit well.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// The largest header of a native frame, in bytes.
pub const FRAME_HEADER_BYTES_MAX: usize = 64 << 10;

/// The largest body of a native frame, in bytes: a request may carry several batches.
pub const FRAME_BODY_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(FRAME_BODY_BYTES_MAX >= BATCH_BYTES_MAX);

/// The most bytes that one fetch answers with.
pub const FETCH_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(FETCH_BYTES_MAX <= FRAME_BODY_BYTES_MAX);
const _: () = assert!(FETCH_BYTES_MAX >= BATCH_BYTES_MAX);

/// The most partitions that one produce or fetch request names.
pub const REQUEST_PARTITIONS_MAX: usize = 1_024;

/// The longest that a fetch may wait for data, in milliseconds.
pub const FETCH_WAIT_MS_MAX: u64 = 60_000;

/// The smallest and the largest append chunk of a partition, in bytes: a chunk is what one direct write carries.
pub const CHUNK_BYTES_MIN: usize = 16 << 10;
/// See [`CHUNK_BYTES_MIN`].
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(
    CHUNK_BYTES_MIN.is_multiple_of(BLOCK_BYTES) && CHUNK_BYTES_MAX.is_multiple_of(BLOCK_BYTES)
);

/// From this many pending bytes on, a partition's whole blocks go straight to its segment; below, they go inline into
/// the journal.
pub const DIRECT_BYTES_MIN: usize = 64 << 10;

/// The same while no commit cycle is in flight: one producer that waits for each answer is served sooner by one write
/// of the journal than by two writes, though its bytes are then written twice.
pub const LONE_DIRECT_BYTES_MIN: usize = 256 << 10;
const _: () = assert!(LONE_DIRECT_BYTES_MIN >= DIRECT_BYTES_MIN);

/// The largest journal entry, in bytes, header and padding included.
pub const JOURNAL_ENTRY_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(JOURNAL_ENTRY_BYTES_MAX > LONE_DIRECT_BYTES_MIN + 2 * BLOCK_BYTES);

/// The size of one journal file, in bytes: zero-filled once, then recycled.
pub const JOURNAL_FILE_BYTES: u64 = if cfg!(test) { 4 << 20 } else { 64 << 20 };
const _: () = assert!(JOURNAL_FILE_BYTES >= 4 * JOURNAL_ENTRY_BYTES_MAX as u64);

/// How many commit cycles may be in flight at once.
pub const CYCLES_IN_FLIGHT_MAX: usize = 8;

/// How many may be when the next one has little to write.
pub const SMALL_CYCLES_IN_FLIGHT_MAX: usize = 2;
const _: () = assert!(SMALL_CYCLES_IN_FLIGHT_MAX <= CYCLES_IN_FLIGHT_MAX);

/// The smallest and the largest segment that a topic may ask for, in bytes, and what it gets unasked.
pub const SEGMENT_BYTES_MIN: u64 = if cfg!(test) { 64 << 10 } else { 1 << 20 };
/// See [`SEGMENT_BYTES_MIN`].
pub const SEGMENT_BYTES_MAX: u64 = 16 << 30;
/// See [`SEGMENT_BYTES_MIN`].
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;
const _: () = assert!(
    SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT && SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX
);

/// The shortest and the longest age at which a topic may have its segments sealed, in milliseconds, and what it gets
/// unasked (a week, as Kafka has it).
pub const SEGMENT_MS_MIN: u64 = 1_000;
/// See [`SEGMENT_MS_MIN`].
pub const SEGMENT_MS_MAX: u64 = 100 * 365 * 86_400_000;
/// See [`SEGMENT_MS_MIN`].
pub const SEGMENT_MS_DEFAULT: u64 = 7 * 86_400_000;
const _: () = assert!(SEGMENT_MS_MIN <= SEGMENT_MS_DEFAULT && SEGMENT_MS_DEFAULT <= SEGMENT_MS_MAX);

/// A span of time, in milliseconds, that no two timestamps exceed: as a limit, none. What Kafka's defaults say, too.
pub const TIMESTAMP_SPAN_MS_MAX: u64 = i64::MAX as u64;

/// One sparse index entry is kept for about this many bytes of a segment.
pub const INDEX_INTERVAL_BYTES: u64 = 64 << 10;

/// Bytes that a core may hold appended but not yet written: past it, the core stops reading sockets.
pub const UNWRITTEN_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(UNWRITTEN_BYTES_MAX >= 2 * FRAME_BODY_BYTES_MAX);

/// Bytes of produce requests that a core may have on their way to other cores, and how many requests: past either,
/// the core stops reading sockets.
pub const FORWARD_BYTES_MAX: usize = 32 << 20;
const _: () = assert!(FORWARD_BYTES_MAX >= FRAME_BODY_BYTES_MAX);
/// See [`FORWARD_BYTES_MAX`].
pub const FORWARDS_MAX: usize = 8_192;

/// How far a record's timestamp may be from what a signed 64-bit millisecond count can hold: nothing is refused.
pub const RECORDS_PER_BATCH_MAX: u32 = i32::MAX as u32;

/// The largest native frame, in bytes: prefix, header, body.
pub const FRAME_BYTES_MAX: usize = 16 + FRAME_HEADER_BYTES_MAX + FRAME_BODY_BYTES_MAX;

/// The receive buffer of a connection, in bytes: what it begins with and what it may grow to. It holds the largest
/// frame whole. A connection has one while there is something in it.
pub const RECEIVE_BUFFER_BYTES_MIN: usize = 16 << 10;
/// See [`RECEIVE_BUFFER_BYTES_MIN`].
pub const RECEIVE_BUFFER_BYTES_MAX: usize =
    FRAME_BYTES_MAX.next_multiple_of(RECEIVE_BUFFER_BYTES_MIN);

/// What of [`RECEIVE_BYTES_MAX`] is for one buffer at a time: the largest frame fits, so that there is always a connection
/// that can go on.
pub const RECEIVE_RESERVE_BYTES: usize = RECEIVE_BUFFER_BYTES_MAX;

/// What the receive buffers of one core may have grown by in all, in bytes: whoever announces 16 MiB and stops in the
/// middle, on however many connections, takes no more than this.
pub const RECEIVE_BYTES_MAX: usize = 48 << 20;
const _: () = assert!(RECEIVE_BYTES_MAX - RECEIVE_RESERVE_BYTES >= 24 << 20);

/// What receive buffers that no connection uses may keep of memory on one core, in bytes: enough for the connections
/// that are busy at a time, and little beside what they may use.
pub const RECEIVE_SPARE_BYTES_MAX: usize = 8 << 20;
const _: () = assert!(RECEIVE_SPARE_BYTES_MAX >= 64 * RECEIVE_BUFFER_BYTES_MIN);

/// How long a producer that numbers its batches is remembered while it is silent, in milliseconds, unless the command line
/// says otherwise (as Kafka has it).
pub const PRODUCER_EXPIRATION_MS_DEFAULT: u64 = 86_400_000;

/// Requests of one connection that were taken and not yet answered: past it, the connection is not read.
pub const REPLIES_PENDING_MAX: usize = 16_384;

/// What those requests may keep in memory until they are answered, in bytes: past it, the connection is not read. A
/// request that names 1,024 partitions keeps some 50 KiB; without this limit, 16,384 of them would keep 800 MiB. It is
/// passed by at most one request.
pub const REPLIES_PENDING_BYTES_MAX: usize = 1 << 20;
const _: () = assert!(REPLIES_PENDING_BYTES_MAX >= 8 * FRAME_HEADER_BYTES_MAX);

/// Connections of one core.
pub const CONNECTIONS_MAX: usize = 20_000;

/// The clients, told apart by name, that one core counts by themselves, and how many of them may be known by nothing but an
/// id: those are as many as somebody cares to make up. The rest is counted together.
pub const CLIENT_ROWS_MAX: usize = 96;
/// See [`CLIENT_ROWS_MAX`].
pub const CLIENT_ID_ROWS_MAX: usize = 32;
const _: () = assert!(CLIENT_ID_ROWS_MAX < CLIENT_ROWS_MAX);

/// What is kept of a client's name, in bytes.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

/// The longest name of a consumer group, in bytes.
pub const GROUP_NAME_BYTES_MAX: usize = 1 << 10;

/// The most groups of one core, those that have nothing but offsets included.
pub const GROUPS_MAX: usize = 50_000;

/// The most members of one group, those that were only given an id included.
pub const GROUP_MEMBERS_MAX: usize = 2_000;

/// What the members of one group may say, and be assigned, in bytes: the leader gets it in one answer.
pub const GROUP_BYTES_MAX: usize = 16 << 20;

/// The same for all groups of one core.
pub const GROUPS_BYTES_MAX: usize = 256 << 20;
const _: () = assert!(GROUPS_BYTES_MAX >= GROUP_BYTES_MAX);

/// What a member is counted with besides what it says, in bytes.
pub const GROUP_MEMBER_OVERHEAD_BYTES: usize = 1 << 10;
const _: () = assert!(GROUP_MEMBERS_MAX * GROUP_MEMBER_OVERHEAD_BYTES <= GROUP_BYTES_MAX);

/// The longest metadata of a committed offset, in bytes (as Kafka has it).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;

/// The most offsets that the groups of one core have committed.
pub const GROUP_OFFSETS_MAX: usize = 1 << 20;

/// The partitions of our own that committed offsets are spread over, by the name of their group. A constant of the
/// format: another number would look for the offsets in other places.
pub const GROUP_SLOTS: u32 = 64;

/// The runs of records that the ledger of one queue and partition keeps: neighbours in the same state are one run, at some
/// 150 bytes each, so some 40 MB. A ledger hands nothing out that could make more of them: a leased record may become a
/// run of its own.
pub const QUEUE_RUNS_MAX: usize = if cfg!(test) { 1 << 8 } else { 1 << 18 };

/// Of those, the runs up to which records are looked at in advance; the others are for what leases, acks and retries split.
pub const QUEUE_AHEAD_RUNS_MAX: usize = QUEUE_RUNS_MAX / 2;

/// Records that are ready to be handed out, up to which others are looked at in advance.
pub const QUEUE_AHEAD_READY_MAX: u64 = if cfg!(test) { 1 << 6 } else { 1 << 16 };

/// The most consumers of one ledger.
pub const QUEUE_CONSUMERS_MAX: usize = 10_000;

/// The most records that one consumer may have and not have settled.
pub const QUEUE_PREFETCH_MAX: u32 = 1 << 16;
const _: () = assert!(cfg!(test) || QUEUE_PREFETCH_MAX as usize <= QUEUE_RUNS_MAX / 2);

/// The shortest and the longest lease of a record, in milliseconds, and what a queue has unasked.
pub const QUEUE_LEASE_MS_MIN: u32 = 10;
/// See [`QUEUE_LEASE_MS_MIN`].
pub const QUEUE_LEASE_MS_MAX: u32 = 12 * 3_600_000;
/// See [`QUEUE_LEASE_MS_MIN`].
pub const QUEUE_LEASE_MS_DEFAULT: u32 = 30_000;
const _: () = assert!(
    QUEUE_LEASE_MS_MIN <= QUEUE_LEASE_MS_DEFAULT && QUEUE_LEASE_MS_DEFAULT <= QUEUE_LEASE_MS_MAX
);

/// The most deliveries that a queue may allow a record where it limits them.
pub const QUEUE_DELIVERIES_MAX: u32 = 100_000;

/// The longest delay before a record is delivered again, in milliseconds: a week.
pub const QUEUE_DELAY_MS_MAX: u32 = 7 * 86_400_000;

/// The most steps of a retry schedule.
pub const QUEUE_RETRY_STEPS_MAX: usize = 16;

/// The most queues that one node holds. Each has a partition of its own for every partition of its topic, which count
/// among those of the node.
pub const QUEUES_MAX: usize = 10_000;

/// The most answers that a consumer sends in one poll, and the most deliveries that one brings: both lie in the header of
/// one frame, at 16 and 40 bytes each (an answer on its way to the broker takes 32, alone).
pub const QUEUE_POLL_ITEMS_MAX: usize = 1_024;
const _: () = assert!(QUEUE_POLL_ITEMS_MAX * (16 + 40) + (4 << 10) <= FRAME_HEADER_BYTES_MAX);
