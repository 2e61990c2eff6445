//! What one commit of a writer changes, as the rows of the tables.

use std::collections::{BTreeMap, HashMap};

use anabranch_engine::backend::Vector;
use anabranch_engine::value::{Chunk, DocumentId};
use serde_json::Value as Json;
use sqlx::PgConnection;

use super::super::embedded::words_of;
use super::super::{Entry, Fingerprint};
use super::{filter, key};

/// Rows that one statement inserts at most: each stays small, and far from its time limit.
const CHUNK_ROWS: usize = 500;
/// The same for words, whose rows are small.
const WORD_ROWS: usize = 20_000;

/// What takes the place of a document's chunks.
pub(super) struct Content {
    pub(super) fingerprint: Fingerprint,
    pub(super) entries: Vec<Entry>,
}

impl Content {
    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |entry: &Entry| {
            let vector = entry.vector.as_ref().map_or(0, |vector| size_of_val(vector.as_ref()));
            entry.chunk.text.len() + vector
        };
        self.entries.iter().map(bytes).sum()
    }
}

/// The rows of one commit. Documents and chunks refer to one another by position: they have no numbers yet.
#[derive(Default)]
pub(super) struct Batch {
    /// The documents whose rows go first.
    keys: Vec<Vec<u8>>,
    documents: Vec<DocumentRow>,
    chunks: Vec<ChunkRow>,
    words: Vec<WordRow>,
}

struct DocumentRow {
    key: Vec<u8>,
    doc: Vec<u8>,
    fingerprint: String,
}

struct ChunkRow {
    document: usize,
    place: (i64, i64),
    n_words: i32,
    meta: String,
    record: Vec<u8>,
    vector: Option<Vector>,
}

struct WordRow {
    chunk: usize,
    word: String,
    n: i32,
    length: i32,
}

impl Batch {
    /// The rows of `changes`, or why they cannot be kept.
    pub(super) fn of(changes: BTreeMap<DocumentId, Option<Content>>) -> Result<Self, String> {
        let mut batch = Self::default();
        for (doc, content) in changes {
            let key = key(&doc);
            batch.keys.push(key.clone());
            let Some(content) = content else { continue };
            for entry in content.entries {
                batch.add(&doc, entry)?;
            }
            let fingerprint = content.fingerprint.as_str().to_owned();
            batch.documents.push(DocumentRow { key, doc: doc.0.as_bytes().to_vec(), fingerprint });
        }
        Ok(batch)
    }

    /// Adds a chunk of the document that is about to be added.
    fn add(&mut self, doc: &DocumentId, entry: Entry) -> Result<(), String> {
        // Of another document, the chunk would stay behind when this one changes.
        let chunk = Chunk { doc: doc.clone(), score: None, ..Chunk::clone(&entry.chunk) };
        let unwritable = |error| format!("chunk `{}` cannot be written ({error})", chunk.id);
        let words = words_of(&chunk);
        let length = i32::try_from(words.len()).unwrap_or(i32::MAX);
        let mut counts: HashMap<String, i32> = HashMap::new();
        for word in words {
            let n = counts.entry(word).or_default();
            *n = n.saturating_add(1);
        }
        let position = self.chunks.len();
        self.words.extend(counts.into_iter().map(|(word, n)| WordRow { chunk: position, word, n, length }));
        let meta: BTreeMap<String, Json> =
            chunk.meta.iter().map(|(key, value)| (filter::escaped(key), filter::kept(value))).collect();
        // Only the order of places is looked at here; the record has the exact numbers.
        let place = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.chunks.push(ChunkRow {
            document: self.documents.len(),
            place: (place(chunk.range.start), place(chunk.range.end)),
            n_words: length,
            meta: serde_json::to_string(&meta).map_err(unwritable)?,
            record: serde_json::to_vec(&chunk).map_err(unwritable)?,
            vector: entry.vector,
        });
        Ok(())
    }

    /// Writes the rows, the old ones of the same documents first taken out.
    pub(super) async fn write(&self, connection: &mut PgConnection, space: i64) -> Result<(), sqlx::Error> {
        self.take_out(connection, space).await?;
        let n_ids = i64::try_from(self.documents.len() + self.chunks.len()).unwrap_or(i64::MAX);
        let ids: Vec<i64> = sqlx::query_scalar("SELECT nextval('ids') FROM generate_series(1, $1)")
            .bind(n_ids)
            .fetch_all(&mut *connection)
            .await?;
        let (of_documents, of_chunks) = ids.split_at(self.documents.len().min(ids.len()));
        self.insert_documents(connection, space, of_documents).await?;
        self.insert_chunks(connection, space, of_documents, of_chunks).await?;
        self.insert_words(connection, space, of_chunks).await?;
        sqlx::query(
            "UPDATE spaces SET n_documents = n_documents + $2, n_chunks = n_chunks + $3, n_words = n_words + $4, \
             n_vectors = n_vectors + $5 WHERE id = $1",
        )
        .bind(space)
        .bind(count(self.documents.len()))
        .bind(count(self.chunks.len()))
        .bind(self.chunks.iter().map(|chunk| i64::from(chunk.n_words)).sum::<i64>())
        .bind(count(self.chunks.iter().filter(|chunk| chunk.vector.is_some()).count()))
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn take_out(&self, connection: &mut PgConnection, space: i64) -> Result<(), sqlx::Error> {
        sqlx::query(
            "WITH gone AS (
                DELETE FROM documents WHERE space = $1 AND key = ANY($2) RETURNING id
            ), gone_chunks AS (
                DELETE FROM chunks USING gone WHERE chunks.document = gone.id
                RETURNING chunks.id, chunks.n_words, chunks.embedding
            ), gone_words AS (
                DELETE FROM words USING gone_chunks WHERE words.chunk = gone_chunks.id
            )
            UPDATE spaces SET n_documents = n_documents - (SELECT count(*) FROM gone),
                n_chunks = n_chunks - (SELECT count(*) FROM gone_chunks),
                n_words = n_words - (SELECT coalesce(sum(n_words), 0) FROM gone_chunks),
                n_vectors = n_vectors - (SELECT count(embedding) FROM gone_chunks)
            WHERE id = $1",
        )
        .bind(space)
        .bind(&self.keys)
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn insert_documents(
        &self,
        connection: &mut PgConnection,
        space: i64,
        ids: &[i64],
    ) -> Result<(), sqlx::Error> {
        let column = |get: fn(&DocumentRow) -> &Vec<u8>| self.documents.iter().map(get).cloned().collect();
        let (keys, docs): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (column(|row| &row.key), column(|row| &row.doc));
        let fingerprints: Vec<&str> = self.documents.iter().map(|row| row.fingerprint.as_str()).collect();
        sqlx::query(
            "INSERT INTO documents (space, id, key, doc, fingerprint) \
             SELECT $1, * FROM unnest($2::bigint[], $3::bytea[], $4::bytea[], $5::text[])",
        )
        .bind(space)
        .bind(ids)
        .bind(keys)
        .bind(docs)
        .bind(fingerprints)
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn insert_chunks(
        &self,
        connection: &mut PgConnection,
        space: i64,
        of_documents: &[i64],
        ids: &[i64],
    ) -> Result<(), sqlx::Error> {
        for (rows, ids) in self.chunks.chunks(CHUNK_ROWS).zip(ids.chunks(CHUNK_ROWS)) {
            let documents: Vec<Option<i64>> =
                rows.iter().map(|row| of_documents.get(row.document).copied()).collect();
            let vectors: Vec<Option<String>> =
                rows.iter().map(|row| row.vector.as_ref().map(literal)).collect();
            sqlx::query(
                "INSERT INTO chunks (space, id, document, place_start, place_end, n_words, meta, record, embedding) \
                 SELECT $1, id, document, place_start, place_end, n_words, meta::jsonb, record, embedding::vector \
                 FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::int[], $7::text[], \
                 $8::bytea[], $9::text[]) \
                 AS row(id, document, place_start, place_end, n_words, meta, record, embedding)",
            )
            .bind(space)
            .bind(ids)
            .bind(documents)
            .bind(rows.iter().map(|row| row.place.0).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.place.1).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.n_words).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.meta.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.record.clone()).collect::<Vec<_>>())
            .bind(vectors)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    async fn insert_words(
        &self,
        connection: &mut PgConnection,
        space: i64,
        of_chunks: &[i64],
    ) -> Result<(), sqlx::Error> {
        for rows in self.words.chunks(WORD_ROWS) {
            let chunks: Vec<Option<i64>> = rows.iter().map(|row| of_chunks.get(row.chunk).copied()).collect();
            sqlx::query(
                "INSERT INTO words (space, word, chunk, n, length) \
                 SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::int[], $5::int[])",
            )
            .bind(space)
            .bind(rows.iter().map(|row| row.word.as_str()).collect::<Vec<_>>())
            .bind(chunks)
            .bind(rows.iter().map(|row| row.n).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.length).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The vector as pgvector reads it; digits are as many as bring every number back exactly.
pub(super) fn literal(vector: &Vector) -> String {
    let mut text = String::with_capacity(vector.len() * 12 + 2);
    for (position, number) in vector.iter().enumerate() {
        let before = if position == 0 { '[' } else { ',' };
        text.push(before);
        text.push_str(&number.to_string());
    }
    text.push(']');
    text
}
