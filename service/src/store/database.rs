//! The database under the store: opening it, its tables, and how one text of SQL is run on either of the two.
//!
//! A file of this folder that keeps something writes its statements once and lets a macro expand them for both:
//!
//! ```ignore
//! row! { struct KeyRow { key_id: String, expires_ms: Option<i64> } }
//!
//! impl Store {
//!     pub async fn key(&self, hash: &str) -> Result<Option<Key>, StoreError> {
//!         // `db` is a pool of the one database or of the other; the text is the same.
//!         let row: Option<KeyRow> = reading!(self.database(), |db| {
//!             sqlx::query_as("SELECT key_id, expires_ms FROM keys WHERE hash = $1").bind(hash).fetch_optional(db).await?
//!         });
//!         let n = writing!(self.database(), |db| {
//!             sqlx::query("DELETE FROM keys WHERE key_id = $1").bind(id).execute(db).await?.rows_affected()
//!         });
//!         // Several statements at once; what returns early with `?` is undone.
//!         let sql = self.sql("UPDATE keys SET used_ms = {now} WHERE key_id IN ({list:$1})");
//!         transaction!(self.database(), |tx| {
//!             sqlx::query(sql).bind(json_list).execute(&mut *tx).await?;
//!         });
//!     }
//! }
//! ```
//!
//! What the databases say differently stands in braces and goes through [`Database::sql`]: `{now}` (their clock in unix
//! ms), `{ilike}` (`LIKE` whatever the case), `{skip locked}`, `{list:$1}` (the items of a JSON array of texts that is
//! bound as a text). Types that read the
//! same in both: `String`, `i64` for BIGINT and COUNT, `i32` for INTEGER, `i16` for SMALLINT, `Vec<u8>`, `f64`, and
//! `Option` of these. Sums are cast: `CAST(SUM(x) AS BIGINT)`.

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Executor as _, SqlSafeStr as _};

use super::rows::PREPARED;
use super::{At, StoreError, limits};

/// The class of SQLSTATE for values that cannot be kept, or not as they are: the fault is the value's.
const DATA_EXCEPTION: &str = "22";

/// One of the two databases.
pub(crate) enum Database {
    /// A file, or memory. There is one connection that writes; in memory it reads, too.
    Sqlite {
        /// The one that writes.
        write: SqlitePool,
        /// Those that read.
        read: SqlitePool,
    },
    /// A server.
    Postgres {
        /// The connection of the writer, which never waits for another's.
        write: PgPool,
        /// For everything else.
        read: PgPool,
    },
}

/// Runs statements that only read; `db` is a pool.
macro_rules! reading {
    ($database:expr, |$db:ident| $body:expr) => {
        match $database {
            $crate::store::database::Database::Sqlite { read: $db, .. } => $body,
            $crate::store::database::Database::Postgres { read: $db, .. } => $body,
        }
    };
}

/// Runs one statement that writes; `db` is a pool.
macro_rules! writing {
    ($database:expr, |$db:ident| $body:expr) => {
        match $database {
            $crate::store::database::Database::Sqlite { write: $db, .. } => $body,
            $crate::store::database::Database::Postgres { read: $db, .. } => $body,
        }
    };
}

/// Runs several statements as one; `tx` is a connection (`&mut *tx` runs on it). Its value is the body's.
macro_rules! transaction {
    ($database:expr, |$tx:ident| $body:block) => {
        match $database {
            $crate::store::database::Database::Sqlite { write, .. } => {
                // Taking the lock at once: a lock that is taken late can be refused.
                let mut held = write.begin_with("BEGIN IMMEDIATE").await?;
                let $tx = &mut *held;
                let value = $body;
                held.commit().await?;
                value
            }
            $crate::store::database::Database::Postgres { read, .. } => {
                let mut held = read.begin().await?;
                let $tx = &mut *held;
                let value = $body;
                held.commit().await?;
                value
            }
        }
    };
}

/// A row that is read by the names of its columns, from either database.
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $name { $($field: $ty),* }

        impl<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> for $name {
            fn from_row(row: &'r sqlx::sqlite::SqliteRow) -> sqlx::Result<Self> {
                use sqlx::Row as _;
                Ok(Self { $($field: row.try_get(stringify!($field))?),* })
            }
        }

        impl<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> for $name {
            fn from_row(row: &'r sqlx::postgres::PgRow) -> sqlx::Result<Self> {
                use sqlx::Row as _;
                Ok(Self { $($field: row.try_get(stringify!($field))?),* })
            }
        }
    };
}

pub(crate) use {reading, row, transaction, writing};

/// Number, name and text of the tables' versions that both databases have.
const COMMON: &[(i64, &str, &str)] = &[
    (1, "core", include_str!("../../../migrations/common/0001_core.sql")),
    (2, "access", include_str!("../../../migrations/common/0002_access.sql")),
    (3, "outside", include_str!("../../../migrations/common/0003_outside.sql")),
    (5, "spending", include_str!("../../../migrations/common/0005_spending.sql")),
    (6, "folder", include_str!("../../../migrations/common/0006_folder.sql")),
    (7, "bounds", include_str!("../../../migrations/common/0007_bounds.sql")),
    (8, "live", include_str!("../../../migrations/common/0008_live.sql")),
];
/// Those that only `PostgreSQL` has.
const POSTGRES: &[(i64, &str, &str)] =
    &[(4, "tuning", include_str!("../../../migrations/postgres/0004_tuning.sql"))];

/// What makes the tables, oldest first.
pub fn migrations(is_postgres: bool) -> Vec<(i64, &'static str, &'static str)> {
    let more = if is_postgres { POSTGRES } else { &[] };
    let mut all: Vec<_> = COMMON.iter().chain(more).copied().collect();
    all.sort_by_key(|(version, ..)| *version);
    all
}

fn migrator(is_postgres: bool) -> Migrator {
    let migration = |(version, name, text): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(migrations(is_postgres).into_iter().map(migration).collect())
}

impl Database {
    pub(super) async fn open(at: &At, migrate: bool) -> Result<Self, StoreError> {
        let this = match at {
            At::Sqlite(path) => Self::file(path).await?,
            At::Memory => Self::memory().await?,
            At::Postgres(url) => Self::server(url.expose_secret()).await?,
        };
        if migrate {
            match &this {
                Self::Sqlite { write, .. } => migrator(false).run(write).await,
                Self::Postgres { read, .. } => migrator(true).run(read).await,
            }
            .map_err(|error| StoreError::Unavailable(format!("the tables cannot be made: {error}")))?;
        }
        this.check_version().await?;
        Ok(this)
    }

    async fn file(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| {
                StoreError::Unavailable(format!("the folder `{}` cannot be made: {error}", folder.display()))
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is acknowledged has reached the disk; group commit pays for it.
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", limits::SQLITE_CHECKPOINT_PAGES.to_string())
            .pragma("cache_size", format!("-{}", limits::SQLITE_CACHE_KIB))
            .busy_timeout(limits::SQLITE_BUSY);
        let write = options.clone().statement_cache_capacity(PREPARED);
        let write = pool_options(1).connect_with(write).await?;
        let read = pool_options(limits::SQLITE_READERS).connect_with(options.read_only(true)).await?;
        Ok(Self::Sqlite { write, read })
    }

    async fn memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .journal_mode(SqliteJournalMode::Memory)
            .statement_cache_capacity(PREPARED);
        let write = pool_options(1).connect_with(options).await?;
        Ok(Self::Sqlite { read: write.clone(), write })
    }

    async fn server(url: &str) -> Result<Self, StoreError> {
        // The message of the parser could repeat the password.
        let options: PgConnectOptions = url.parse().map_err(|_| {
            StoreError::Unavailable("the URL of the database is no PostgreSQL URL".to_owned())
        })?;
        let options = options.application_name("anabranch");
        // A process that is stopped, or cut off, in the middle of a transaction would keep its successor waiting at the
        // rows that it wrote: after this time the server ends its transaction.
        let patience =
            format!("SET idle_in_transaction_session_timeout = {}", limits::IDLE_IN_TRANSACTION.as_millis());
        let pool = |n, setting: String| {
            PgPoolOptions::new().max_connections(n).acquire_timeout(limits::ACQUIRE).after_connect(
                move |connection, _| {
                    let setting = AssertSqlSafe(setting.clone());
                    Box::pin(async move { connection.execute(sqlx::raw_sql(setting)).await.map(drop) })
                },
            )
        };
        let patience = match home(pool(1, patience.clone()).connect_with(options.clone()).await?).await? {
            Some(schema) => format!("{patience}; SET search_path TO \"{}\"", schema.replace('"', "\"\"")),
            None => patience,
        };
        // The writer looks for few rows by their keys, whatever the statistics of a young table say.
        let keys_only =
            "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off";
        let write = pool(1, format!("{patience}; {keys_only}"))
            .test_before_acquire(false)
            .connect_with(options.clone())
            .await?;
        let read = pool(limits::POSTGRES_CONNECTIONS, patience).connect_with(options).await?;
        Ok(Self::Postgres { write, read })
    }

    /// Refuses tables that are older than this build, or newer.
    async fn check_version(&self) -> Result<(), StoreError> {
        let newest = migrations(self.is_postgres()).last().map_or(0, |(version, ..)| *version);
        let found: Option<i64> = reading!(self, |db| {
            sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(db)
                .await
                .map_err(|error| match error {
                    sqlx::Error::Database(_) => {
                        StoreError::Unavailable("its tables are missing: run `anabranch migrate`".to_owned())
                    }
                    other => other.into(),
                })?
        });
        match found.unwrap_or(0) {
            found if found == newest => Ok(()),
            found if found < newest => Err(StoreError::Unavailable(format!(
                "its tables have version {found}, this build needs {newest}: run `anabranch migrate`"
            ))),
            found => Err(StoreError::Unavailable(format!(
                "its tables have version {found}, this build knows up to {newest}: use a newer one"
            ))),
        }
    }

    pub(super) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A text of SQL as this database says it; see the top of the file for what may stand in braces.
    pub(crate) fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        let (now, ilike, skip, list) = match self {
            Self::Sqlite { .. } => (
                "CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER)",
                "LIKE",
                "",
                ("SELECT value FROM json_each(", ")"),
            ),
            Self::Postgres { .. } => (
                "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
                "ILIKE",
                "FOR UPDATE SKIP LOCKED",
                ("SELECT jsonb_array_elements_text(", "::jsonb)"),
            ),
        };
        let mut text = text.replace("{now}", now).replace("{ilike}", ilike).replace("{skip locked}", skip);
        while let Some((before, (name, after))) =
            text.split_once("{list:").and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            text = format!("{before}{}{name}{}{after}", list.0, list.1);
        }
        AssertSqlSafe(text)
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres { write, read } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

/// The schema that the tables are in, or, if there are none, that they would be made in.
///
/// Every connection is told. By itself, each would look into the schema that is called like the user first: where that is
/// made later, for an index say, tables that lie elsewhere would be made there again, with nothing in them.
async fn home(pool: PgPool) -> Result<Option<String>, StoreError> {
    let schema = sqlx::query_scalar(
        "SELECT COALESCE((SELECT CAST(schemaname AS TEXT) FROM pg_tables WHERE tablename = '_sqlx_migrations' \
         AND schemaname = ANY(current_schemas(false)) \
         ORDER BY array_position(current_schemas(false), schemaname) LIMIT 1), CAST(current_schema() AS TEXT))",
    )
    .fetch_one(&pool)
    .await?;
    pool.close().await;
    Ok(schema)
}

fn pool_options(most: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(limits::ACQUIRE)
        // A database in memory lives as long as its connection, and a file cannot go away.
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) => {
                Self::Corrupt(error.to_string())
            }
            error => match refused_value(&error) {
                Some(why) => Self::Refused(why),
                None => Self::Unavailable(error.to_string()),
            },
        }
    }
}

/// Why the database does not take a value that it was given, if that is what is wrong.
pub(super) fn refused_value(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    // `SQLite` has codes of its own, and takes any value.
    error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?;
    error.code()?.starts_with(DATA_EXCEPTION).then(|| error.message().to_owned())
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}
