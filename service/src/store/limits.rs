//! Every bound of the store, by name.

use std::time::Duration;

/// Entries that one commit holds.
pub const BATCH_ENTRIES: usize = 4_096;
/// Bytes that one commit holds, once there is an entry in it.
pub const BATCH_BYTES: usize = 4 << 20;
/// How long the writer lets others hand in more before it commits what it has.
pub const GATHER: Duration = Duration::from_millis(2);
/// The same, since the last that came.
pub const GATHER_GAP: Duration = Duration::from_micros(50);
/// Submissions that wait for a commit; more are refused.
pub const QUEUE_SUBMITS: usize = 4_096;
/// Entries of any kind that wait for a commit; more are refused, and the jobs that they belong to stop.
pub const QUEUE_ENTRIES: usize = 65_536;
/// Bytes that wait for a commit; a submission beyond is refused, and beyond twice as many so is everything.
pub const QUEUE_BYTES: usize = 64 << 20;
/// How long an entry waits for a database that is away.
pub const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// Shortest and longest pause between two attempts at a commit.
pub const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Payloads up to this many bytes stand where they belong; larger ones are cut into blobs.
pub const INLINE_BYTES: usize = 8 << 10;
/// Journals whose blobs are remembered, so that what is known is not sent again.
pub const KNOWN_JOBS: usize = 4_096;
/// Blobs that are remembered of one job.
pub const KNOWN_BLOBS: usize = 65_536;
/// Shortest pause between two notifications of a process.
pub const NOTIFY_PAUSE: Duration = Duration::from_millis(10);
/// Ids that one notification names; beyond, it says that any job may have changed.
pub const NOTIFY_IDS: usize = 150;
/// Pause between two looks at the database where a notification may have been lost.
pub const POLL: Duration = Duration::from_secs(1);
/// Wakes that a slow listener may have waiting.
pub const WAKES: usize = 1_024;
/// How long an `Idempotency-Key` is remembered.
pub const IDEMPOTENCY: Duration = Duration::from_hours(24);
/// Jobs that one step of pruning forgets, so that others are not kept waiting.
pub const PRUNE_STEP: u32 = 250;
/// How long what a flow is made of is kept, since somebody put it last, without anything that needs it.
pub const BUNDLE_GRACE: Duration = Duration::from_hours(1);
/// Jobs that one step of a cancel of many asks for.
pub const CANCEL_STEP: usize = 500;
/// Jobs on a page of a list.
pub const PAGE: u32 = 1_000;
/// Jobs that one page of a search in their texts looks through.
pub const SEARCH_JOBS: u32 = 25_000;
/// Tenants that are looked at for one claim, the least served first.
pub const CLAIM_TENANTS: i64 = 16;
/// Units of virtual time that a job of a tenant of weight 1 takes.
pub const VTIME_JOB: i64 = 1_000_000;
/// Jobs that a tenant which had none for a while comes before others with.
pub const VTIME_CREDIT: i64 = 16;
/// How long a connection is waited for.
pub const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a transaction may stand still between two statements before `PostgreSQL` ends it.
pub const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(3);
/// Connections to `PostgreSQL`, without the writer's and the listener's.
pub const POSTGRES_CONNECTIONS: u32 = 8;
/// Connections that read a file.
pub const SQLITE_READERS: u32 = 4;
/// How long another process may hold the file.
pub const SQLITE_BUSY: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log at which they are moved into the file.
pub const SQLITE_CHECKPOINT_PAGES: u32 = 4_000;
/// Memory of a connection for pages.
pub const SQLITE_CACHE_KIB: u32 = 8_192;
/// Jobs that have ended and are kept by a store that is in memory; older ones are forgotten.
pub const MEMORY_JOBS: u32 = 1_000;
/// Jobs that end before a store that is in memory forgets as many.
pub const MEMORY_SLACK: u32 = 100;
