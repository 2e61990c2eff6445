//! Writes a namespace: some documents at a time in one transaction, one writer at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_engine::backend::{Error, Namespace};
use anabranch_engine::value::DocumentId;
use async_trait::async_trait;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::super::{Entry, Fingerprint, IndexWriter, StoreError, VectorSpace};
use super::Shared;
use super::batch::{Batch, Content};

/// Documents after which it commits by itself.
const COMMIT_DOCUMENTS: usize = 128;
/// Bytes of chunks and vectors after which it commits by itself.
const COMMIT_BYTES: usize = 8 << 20;
/// Most numbers of a vector that pgvector keeps, and that its approximate index takes.
const DIMENSIONS_MAX: u32 = 16_000;
const HNSW_DIMENSIONS_MAX: u32 = 2_000;

/// Writes a namespace. The session of its connection holds the lock, and ends with it.
pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: PgConnection,
    space: i64,
    vectors: Option<VectorSpace>,
    /// Whether what the namespace holds is of another vector space and goes with the first commit.
    forgets: bool,
    /// The last change of each document, `None` for one that goes.
    pending: BTreeMap<DocumentId, Option<Content>>,
    pending_bytes: usize,
    has_changed: bool,
}

impl Writer {
    pub(super) async fn begin(
        shared: Arc<Shared>,
        namespace: &Namespace,
        vectors: Option<&VectorSpace>,
    ) -> Result<Self, StoreError> {
        if let Some(space) = vectors {
            let most = if shared.settings.hnsw { HNSW_DIMENSIONS_MAX } else { DIMENSIONS_MAX };
            if space.dimensions == 0 || space.dimensions > most {
                let message =
                    format!("vectors of {} numbers cannot be kept, only of 1 to {most}", space.dimensions);
                return Err(shared.faults.rejected(message).into());
            }
        }
        let search_path = shared.ready().await?.search_path.clone();
        let mut connection = shared.connection(&search_path, shared.settings.write_timeout).await?;
        lock(&shared, &mut connection, namespace).await?;
        let found = space(&shared, &mut connection, namespace);
        let found = shared.faults.in_time(shared.settings.timeout, found).await?;
        let forgets = found.vectors.as_ref() != vectors;
        Ok(Self {
            shared,
            connection,
            space: found.id,
            vectors: vectors.cloned(),
            forgets,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            has_changed: false,
        })
    }

    async fn change(&mut self, doc: &DocumentId, content: Option<Content>) -> Result<(), StoreError> {
        self.pending_bytes += content.as_ref().map_or(0, Content::bytes);
        self.pending.insert(doc.clone(), content);
        if self.pending.len() >= COMMIT_DOCUMENTS || self.pending_bytes >= COMMIT_BYTES {
            self.commit().await?;
        }
        Ok(())
    }

    /// Makes everything so far last, all of it or nothing.
    async fn commit(&mut self) -> Result<(), StoreError> {
        if self.pending.is_empty() && !self.forgets {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let batch = Batch::of(pending).map_err(|message| self.shared.faults.rejected(message))?;
        let Self { shared, connection, space, vectors, forgets, .. } = self;
        let write = async {
            let write = async {
                let mut transaction = connection.begin().await?;
                if *forgets {
                    forget(&mut transaction, *space, vectors.as_ref()).await?;
                }
                batch.write(&mut transaction, *space).await?;
                transaction.commit().await
            };
            write.await.map_err(|error| shared.faults.of(&error))
        };
        shared.faults.in_time(shared.settings.write_timeout, write).await?;
        self.forgets = false;
        self.has_changed = true;
        Ok(())
    }

    /// Gives the planner fresh figures, makes the approximate index if one is wanted, and lets others write.
    async fn end(&mut self) -> Result<(), StoreError> {
        let Self { shared, connection, space, vectors, has_changed, .. } = self;
        let hnsw = vectors.as_ref().filter(|_| shared.settings.hnsw).map(|vectors| vectors.dimensions);
        let end = async {
            if *has_changed {
                sqlx::raw_sql("ANALYZE documents, chunks, words").execute(&mut *connection).await?;
            }
            if let Some(dimensions) = hnsw {
                // Numbers only.
                let create = format!(
                    "CREATE INDEX IF NOT EXISTS hnsw_{space} ON chunks USING hnsw \
                     ((embedding::vector({dimensions})) vector_ip_ops) WHERE space = {space} AND embedding IS NOT NULL"
                );
                sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut *connection).await?;
            }
            sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut *connection).await
        };
        let end = async { end.await.map_err(|error| shared.faults.of(&error)) };
        shared.faults.in_time(shared.settings.write_timeout, end).await?;
        Ok(())
    }
}

#[async_trait]
impl IndexWriter for Writer {
    async fn replace(
        &mut self,
        doc: &DocumentId,
        fingerprint: &Fingerprint,
        entries: Vec<Entry>,
    ) -> Result<(), StoreError> {
        let dimensions = self.vectors.as_ref().map(|space| space.dimensions);
        let fits = |entry: &Entry| match (&entry.vector, dimensions) {
            (Some(vector), Some(dimensions)) => usize::try_from(dimensions) == Ok(vector.len()),
            (None, None) => true,
            _ => false,
        };
        if let Some(entry) = entries.iter().find(|entry| !fits(entry)) {
            let has = entry.vector.as_ref().map_or(0, |vector| vector.len());
            let message = format!(
                "chunk `{}` comes with a vector of {has} numbers, the index takes {}",
                entry.chunk.id,
                dimensions.unwrap_or_default()
            );
            return Err(self.shared.faults.rejected(message).into());
        }
        self.change(doc, Some(Content { fingerprint: fingerprint.clone(), entries })).await
    }

    async fn remove(&mut self, doc: &DocumentId) -> Result<(), StoreError> {
        self.change(doc, None).await
    }

    async fn finish(mut self: Box<Self>) -> Result<(), StoreError> {
        self.commit().await?;
        self.end().await?;
        let Self { shared, connection, .. } = *self;
        let close = async { connection.close().await.map_err(|error| shared.faults.of(&error)) };
        // Everything is committed and unlocked: how the connection ends changes nothing.
        drop(shared.faults.in_time(shared.settings.timeout, close).await);
        Ok(())
    }
}

/// Waits for other writers of the namespace, for as long as the settings say.
async fn lock(
    shared: &Shared,
    connection: &mut PgConnection,
    namespace: &Namespace,
) -> Result<(), StoreError> {
    let busy = || {
        let within =
            if namespace.is_default() { String::new() } else { format!(", namespace `{namespace}`,") };
        StoreError::Busy { backend: format!("{}{within}", shared.faults.backend()) }
    };
    let number = lock_number(&shared.settings.schema, &shared.settings.name, namespace);
    let wait = shared.settings.lock_timeout;
    let lock = async {
        // Zero would mean for ever.
        let milliseconds = wait.as_millis().max(1).to_string();
        sqlx::query("SELECT set_config('lock_timeout', $1, false)")
            .bind(milliseconds)
            .execute(&mut *connection)
            .await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(number).execute(&mut *connection).await?;
        sqlx::query("SELECT set_config('lock_timeout', '0', false)").execute(&mut *connection).await
    };
    match tokio::time::timeout(wait + shared.settings.timeout, lock).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some("55P03") => Err(busy()),
        Ok(Err(error)) => Err(shared.faults.of(&error).into()),
        Err(_) => Err(shared.faults.no_answer(wait + shared.settings.timeout).into()),
    }
}

/// The lock of one namespace of one index. Two that share a number wait for one another, which harms neither.
fn lock_number(schema: &str, index: &str, namespace: &Namespace) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for part in ["anabranch", schema, index, namespace.as_str()] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    let mut first = [0_u8; 8];
    hasher.finalize_xof().fill(&mut first);
    i64::from_be_bytes(first)
}

/// The namespace as the last commit left it.
struct Found {
    id: i64,
    vectors: Option<VectorSpace>,
}

async fn space(
    shared: &Shared,
    connection: &mut PgConnection,
    namespace: &Namespace,
) -> Result<Found, Error> {
    let found = async {
        // The update changes nothing; it makes a row that is there come back.
        let row = sqlx::query(
            "INSERT INTO spaces (index_name, namespace) VALUES ($1, $2) \
             ON CONFLICT (index_name, namespace) DO UPDATE SET namespace = EXCLUDED.namespace \
             RETURNING id, identity, dimensions",
        )
        .bind(&shared.settings.name)
        .bind(namespace.as_str())
        .fetch_one(connection)
        .await?;
        let (identity, dimensions): (Option<String>, Option<i32>) = (row.try_get(1)?, row.try_get(2)?);
        let dimensions = dimensions.and_then(|n| u32::try_from(n).ok());
        let vectors =
            identity.zip(dimensions).map(|(identity, dimensions)| VectorSpace { identity, dimensions });
        Ok(Found { id: row.try_get(0)?, vectors })
    };
    found.await.map_err(|error| shared.faults.of(&error))
}

/// Empties the namespace, which has vectors of `vectors` from now on.
async fn forget(
    connection: &mut PgConnection,
    space: i64,
    vectors: Option<&VectorSpace>,
) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM words WHERE space = $1",
        "DELETE FROM chunks WHERE space = $1",
        "DELETE FROM documents WHERE space = $1",
    ] {
        sqlx::query(statement).bind(space).execute(&mut *connection).await?;
    }
    // It is of the old dimension. A number only.
    let drop_index = format!("DROP INDEX IF EXISTS hnsw_{space}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(drop_index)).execute(&mut *connection).await?;
    sqlx::query(
        "UPDATE spaces SET identity = $2, dimensions = $3, n_documents = 0, n_chunks = 0, n_words = 0, n_vectors = 0 \
         WHERE id = $1",
    )
    .bind(space)
    .bind(vectors.map(|vectors| vectors.identity.as_str()))
    .bind(vectors.and_then(|vectors| i32::try_from(vectors.dimensions).ok()))
    .execute(connection)
    .await?;
    Ok(())
}
