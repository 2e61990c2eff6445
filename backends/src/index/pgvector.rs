//! An index in `PostgreSQL` with pgvector: for those who run a database anyway, and for several machines at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::backend::{By, Error, Index, IndexStats, Namespace, SearchQuery};
use anabranch_engine::value::{Chunk, DocumentId};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{ConnectOptions as _, PgConnection, Row as _};
use tokio::sync::OnceCell;

mod batch;
mod fault;
mod filter;
mod search;
mod setup;
mod writer;

pub use setup::FORMAT;

use super::{Fingerprint, IndexStore, IndexWriter, Manifest, StoreError, VectorSpace};
use fault::Faults;
use writer::Writer;

/// How an index in `PostgreSQL` is reached.
#[derive(Debug, Clone)]
pub struct PgSettings {
    /// The database, such as `postgres://user:password@host:5432/rag`.
    pub url: SecretString,
    /// The schema of the tables of all indexes. It is made on first use and must belong to Anabranch alone.
    pub schema: String,
    /// Name of the index: one schema holds many.
    pub name: String,
    /// Most connections held for searches; a writer has one of its own.
    pub max_connections: u32,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time for one statement, here and on the server.
    pub timeout: Duration,
    /// Longest wait for another writer of the same namespace to end.
    pub lock_timeout: Duration,
    /// Longest time for one commit of a writer, and for building an approximate index when it ends.
    pub write_timeout: Duration,
    /// Whether searches by vector without a filter go through an approximate index (HNSW): far faster from some
    /// 100,000 chunks on, but some of the nearest chunks may be missed. Without it, and with a filter, they are exact.
    pub hnsw: bool,
}

impl PgSettings {
    /// The index `name` in the database at `url`, with defaults for all else.
    pub fn new(url: impl Into<SecretString>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "anabranch".to_owned(),
            name: name.into(),
            max_connections: 8,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_mins(10),
            hnsw: false,
        }
    }
}

/// An index in `PostgreSQL`. Cloning it copies a pointer.
///
/// Words are scored with the same BM25 as in the built-in index, over the same words, in SQL; vectors are compared
/// with all others of the namespace, so both find what the built-in index finds. Documents come and go whole, some at
/// a time in one transaction: whoever is killed leaves what was committed. It needs `PostgreSQL` 13 or newer with the
/// extension `vector` 0.5 or newer, and connections that keep their session (no `PgBouncer` in transaction mode).
#[derive(Clone)]
pub struct PgIndex {
    shared: Arc<Shared>,
}

struct Shared {
    settings: PgSettings,
    options: PgConnectOptions,
    faults: Faults,
    /// Made on first use: a database that is down when the program starts may be up when it is needed.
    ready: OnceCell<Ready>,
}

/// What is known once the tables are there.
struct Ready {
    pool: PgPool,
    search_path: String,
}

impl fmt::Debug for PgIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgIndex").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl PgIndex {
    /// The index that `settings` describe. Nothing is reached before the first use.
    pub fn new(settings: PgSettings) -> Result<Self, Error> {
        let faults = Faults::new(&settings.name);
        setup::check_schema_name(&settings.schema).map_err(|message| faults.rejected(message))?;
        let url = settings.url.expose_secret();
        // What the parser says may repeat the password, and it takes every scheme.
        let options = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
            .then(|| url.parse::<PgConnectOptions>().ok())
            .flatten()
            .ok_or_else(|| {
                faults.rejected(
                    "`url` is no PostgreSQL address; one is `postgres://user:password@host:5432/rag`",
                )
            })?;
        let options = options.application_name("anabranch").disable_statement_logging();
        Ok(Self { shared: Arc::new(Shared { settings, options, faults, ready: OnceCell::new() }) })
    }

    /// The index that `settings` describe, its tables made where they are missing.
    pub async fn connect(settings: PgSettings) -> Result<Self, Error> {
        let this = Self::new(settings)?;
        this.shared.ready().await?;
        Ok(this)
    }
}

impl Shared {
    /// The pool, once the tables are there.
    async fn ready(&self) -> Result<&Ready, Error> {
        self.ready.get_or_try_init(|| self.prepare()).await
    }

    async fn prepare(&self) -> Result<Ready, Error> {
        // The pool would try again and again; this says at once what is wrong.
        let mut connection = self.connection("", self.settings.timeout).await?;
        let prepared = setup::prepare(&mut connection, &self.settings.schema, &self.faults);
        let search_path = self.faults.in_time(self.settings.timeout, prepared).await?;
        let session = Session::new(self.settings.timeout, &search_path);
        let pool = PgPoolOptions::new()
            .max_connections(self.settings.max_connections.max(1))
            .acquire_timeout(self.settings.connect_timeout)
            .after_connect(move |connection, _| {
                let session = session.clone();
                Box::pin(async move { session.begin(connection).await })
            })
            .connect_lazy_with(self.options.clone());
        Ok(Ready { pool, search_path })
    }

    /// A connection outside the pool.
    async fn connection(
        &self,
        search_path: &str,
        statement_timeout: Duration,
    ) -> Result<PgConnection, Error> {
        let session = Session::new(statement_timeout, search_path);
        let connect = async {
            let mut connection = self.options.connect().await?;
            session.begin(&mut connection).await?;
            Ok(connection)
        };
        match tokio::time::timeout(self.settings.connect_timeout, connect).await {
            Ok(connected) => connected.map_err(|error| self.faults.of(&error)),
            Err(_) => Err(self.faults.no_connection(self.settings.connect_timeout)),
        }
    }

    /// Runs `work` on a connection of the pool, in bounded time.
    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let connection = self.ready().await?.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => self.faults.no_connection(self.settings.connect_timeout),
            error => self.faults.of(&error),
        })?;
        let mut lease = Lease { connection, is_done: false };
        let done = async { work(&mut lease.connection).await.map_err(|error| self.faults.of(&error)) };
        let result = self.faults.in_time(self.settings.timeout, done).await;
        // An answer, even that something is wrong, leaves the connection in order; a timeout does not.
        lease.is_done = !matches!(result, Err(Error::TimedOut { .. } | Error::Unavailable { .. }));
        result
    }
}

/// A connection of the pool. One that was left in mid-statement is closed, so that nobody waits for its answer.
struct Lease {
    connection: sqlx::pool::PoolConnection<sqlx::Postgres>,
    is_done: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_done {
            self.connection.close_on_drop();
        }
    }
}

/// What is set on every connection.
#[derive(Clone)]
struct Session {
    timeout: Duration,
    search_path: String,
}

impl Session {
    fn new(timeout: Duration, search_path: &str) -> Self {
        Self { timeout, search_path: search_path.to_owned() }
    }

    async fn begin(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "SELECT set_config('statement_timeout', $1, false), \
             set_config('search_path', CASE WHEN $2 = '' THEN current_setting('search_path') ELSE $2 END, false)",
        )
        .bind(self.timeout.as_millis().to_string())
        .bind(&self.search_path)
        .execute(connection)
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Index for PgIndex {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        if query.top_k == 0 {
            return Ok(Vec::new());
        }
        match &query.by {
            By::Words { text, k1, b } => search::by_words(&self.shared, query, text, *k1, *b).await,
            By::Vector(vector) => search::by_vector(&self.shared, query, vector).await,
        }
    }

    async fn chunks_of(&self, namespace: &Namespace, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        let rows = self.shared.run(async |connection| {
            sqlx::query(
                "SELECT c.record FROM spaces s JOIN documents d ON d.space = s.id JOIN chunks c ON c.document = d.id \
                 WHERE s.index_name = $1 AND s.namespace = $2 AND d.key = $3 ORDER BY c.place_start, c.place_end, c.id",
            )
            .bind(&self.shared.settings.name)
            .bind(namespace.as_str())
            .bind(key(doc))
            .fetch_all(connection)
            .await
        });
        rows.await?.iter().map(|row| self.shared.faults.chunk(row).map(Arc::new)).collect()
    }

    async fn stats(&self, namespace: &Namespace) -> Result<IndexStats, Error> {
        let row = self.shared.run(async |connection| {
            sqlx::query(
                "SELECT n_documents, n_chunks, n_vectors, coalesce(dimensions, 0) FROM spaces \
                 WHERE index_name = $1 AND namespace = $2",
            )
            .bind(&self.shared.settings.name)
            .bind(namespace.as_str())
            .fetch_optional(connection)
            .await?
            .as_ref()
            .map(stats_of)
            .transpose()
        });
        Ok(row.await?.unwrap_or_default())
    }
}

fn stats_of(row: &PgRow) -> Result<IndexStats, sqlx::Error> {
    let count = |column: usize| row.try_get::<i64, _>(column).map(|n| u64::try_from(n).unwrap_or_default());
    let (documents, chunks, vectors) = (count(0)?, count(1)?, count(2)?);
    let dimensions = u32::try_from(row.try_get::<i32, _>(3)?).unwrap_or_default();
    let dimensions = if vectors == 0 { 0 } else { dimensions };
    Ok(IndexStats { documents, chunks, vectors, dimensions })
}

#[async_trait]
impl IndexStore for PgIndex {
    async fn manifest(&self, namespace: &Namespace) -> Result<Manifest, StoreError> {
        let documents = self.shared.run(async |connection| {
            sqlx::query(
                "SELECT d.doc, d.fingerprint FROM spaces s JOIN documents d ON d.space = s.id \
                 WHERE s.index_name = $1 AND s.namespace = $2",
            )
            .bind(&self.shared.settings.name)
            .bind(namespace.as_str())
            .fetch(connection)
            .and_then(async |row| {
                let doc: Vec<u8> = row.try_get(0)?;
                let doc = String::from_utf8(doc).map_err(|error| sqlx::Error::Decode(error.into()))?;
                Ok((DocumentId(doc.into()), Fingerprint::parse(row.try_get::<String, _>(1)?)))
            })
            .try_collect::<Vec<_>>()
            .await
        });
        Ok(documents.await?.into_iter().collect())
    }

    async fn space(&self, namespace: &Namespace) -> Result<Option<VectorSpace>, StoreError> {
        let space = self.shared.run(async |connection| {
            sqlx::query("SELECT identity, dimensions FROM spaces WHERE index_name = $1 AND namespace = $2")
                .bind(&self.shared.settings.name)
                .bind(namespace.as_str())
                .fetch_optional(connection)
                .await?
                .map(|row| Ok((row.try_get::<Option<String>, _>(0)?, row.try_get::<Option<i32>, _>(1)?)))
                .transpose()
        });
        let Some((Some(identity), Some(dimensions))) = space.await? else { return Ok(None) };
        let dimensions = u32::try_from(dimensions).unwrap_or_default();
        Ok(Some(VectorSpace { identity, dimensions }))
    }

    async fn writer(
        &self,
        namespace: &Namespace,
        vectors: Option<&VectorSpace>,
    ) -> Result<Box<dyn IndexWriter>, StoreError> {
        Ok(Box::new(Writer::begin(Arc::clone(&self.shared), namespace, vectors).await?))
    }
}

/// A document's key. Names can be longer than an entry of an index may be; their hashes cannot.
fn key(doc: &DocumentId) -> Vec<u8> {
    blake3::hash(doc.0.as_bytes()).as_bytes().to_vec()
}
