//! The tables: made on first use, by one process at a time, and refused where a newer program made them.

use anabranch_engine::backend::Error;
use sqlx::{Connection as _, PgConnection};

use super::fault::Faults;

/// The version of the tables that this program reads and writes.
pub const FORMAT: i32 = 1;

/// Whoever makes tables holds this advisory lock of the database: `anabranc` as a number.
const SETUP_LOCK: i64 = 0x616e_6162_7261_6e63;

const TABLES: &str = "
CREATE TABLE format (version int NOT NULL);
CREATE SEQUENCE ids;

-- One row for each namespace of each index. What BM25 must know of it is kept with every commit.
CREATE TABLE spaces (
    id bigint PRIMARY KEY DEFAULT nextval('ids'),
    index_name text NOT NULL,
    namespace text NOT NULL,
    identity text,
    dimensions int,
    n_documents bigint NOT NULL DEFAULT 0,
    n_chunks bigint NOT NULL DEFAULT 0,
    n_words bigint NOT NULL DEFAULT 0,
    n_vectors bigint NOT NULL DEFAULT 0,
    UNIQUE (index_name, namespace)
);

-- Names are bytes: a text of PostgreSQL cannot hold all of Unicode, and bytes sort as our names do.
CREATE TABLE documents (
    id bigint PRIMARY KEY,
    space bigint NOT NULL,
    key bytea NOT NULL,
    doc bytea NOT NULL,
    fingerprint text NOT NULL,
    UNIQUE (space, key)
);

CREATE TABLE chunks (
    id bigint PRIMARY KEY,
    space bigint NOT NULL,
    document bigint NOT NULL,
    place_start bigint NOT NULL,
    place_end bigint NOT NULL,
    n_words int NOT NULL,
    meta jsonb NOT NULL,
    record bytea NOT NULL,
    embedding vector
);
-- Every vector is read by every search: they stay in the row, and the records go out of it.
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
CREATE INDEX chunks_of_document ON chunks (document);
CREATE INDEX chunks_of_space ON chunks (space);

-- How often a word stands in a chunk. The chunk's length is repeated, so that scoring reads this table alone.
CREATE TABLE words (
    space bigint NOT NULL,
    word text COLLATE \"C\" NOT NULL,
    chunk bigint NOT NULL,
    n int NOT NULL,
    length int NOT NULL,
    PRIMARY KEY (space, word, chunk) INCLUDE (n, length)
);
CREATE INDEX words_of_chunk ON words (chunk);
";

/// Schema names are written into statements, so they are plain.
pub(super) fn check_schema_name(name: &str) -> Result<(), String> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if starts_well && is_plain && name.len() <= 63 && !name.starts_with("pg_") {
        return Ok(());
    }
    Err(format!(
        "`{name}` is no schema; one has at most 63 lower-case letters, digits and `_`, \
         and begins with a letter or `_`, not with `pg_`"
    ))
}

/// Makes what is missing, and says where statements find their tables and types.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    schema: &str,
    faults: &Faults,
) -> Result<String, Error> {
    let of = |error: sqlx::Error| faults.of(&error);
    let encoding: String =
        sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut *connection).await.map_err(of)?;
    if encoding != "UTF8" {
        return Err(faults.rejected(format!("the database has the encoding `{encoding}`; it must be `UTF8`")));
    }
    if !is_ours(connection, schema).await.map_err(of)? {
        make(connection, schema, faults).await?;
    }
    let extension = extension_schema(connection).await.map_err(of)?.ok_or_else(|| {
        faults.rejected(
            "the extension `vector` has gone from the database; `CREATE EXTENSION vector` and index again",
        )
    })?;
    let search_path = search_path(schema, &extension);
    set_search_path(connection, &search_path).await.map_err(of)?;
    let version: i32 =
        sqlx::query_scalar("SELECT version FROM format").fetch_one(connection).await.map_err(of)?;
    if version != FORMAT {
        return Err(faults.rejected(format!(
            "the tables in schema `{schema}` have format {version}, this program reads format {FORMAT}; \
             use the version that wrote them, or drop the schema and index again"
        )));
    }
    Ok(search_path)
}

async fn make(connection: &mut PgConnection, schema: &str, faults: &Faults) -> Result<(), Error> {
    let of = |error: sqlx::Error| faults.of(&error);
    let mut transaction = connection.begin().await.map_err(of)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(SETUP_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(of)?;
    if is_ours(&mut transaction, schema).await.map_err(of)? {
        return transaction.commit().await.map_err(of);
    }
    let extension = extension(&mut transaction, faults).await?;
    // The name was checked by `check_schema_name`.
    let create = format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut *transaction).await.map_err(of)?;
    let found: Option<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = $1 ORDER BY 1 LIMIT 1")
            .bind(schema)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(of)?;
    if let Some(found) = found {
        return Err(faults.rejected(format!(
            "schema `{schema}` is not ours: it holds the table `{found}`; name another, which need not exist yet"
        )));
    }
    set_search_path(&mut transaction, &search_path(schema, &extension)).await.map_err(of)?;
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await.map_err(of)?;
    sqlx::query("INSERT INTO format VALUES ($1)")
        .bind(FORMAT)
        .execute(&mut *transaction)
        .await
        .map_err(of)?;
    transaction.commit().await.map_err(of)
}

/// The schema of the extension, made where it is missing and may be made.
async fn extension(connection: &mut PgConnection, faults: &Faults) -> Result<String, Error> {
    if let Some(schema) = extension_schema(connection).await.map_err(|error| faults.of(&error))? {
        return Ok(schema);
    }
    let missing = |error: sqlx::Error| match &error {
        sqlx::Error::Database(said) => faults.rejected(format!(
            "the database has no pgvector ({}); have it installed on the server, then run \
             `CREATE EXTENSION vector` in the database as somebody who may",
            said.message()
        )),
        error => faults.of(error),
    };
    sqlx::query("CREATE EXTENSION IF NOT EXISTS vector").execute(&mut *connection).await.map_err(missing)?;
    let schema = extension_schema(connection).await.map_err(|error| faults.of(&error))?;
    schema.ok_or_else(|| faults.rejected("`CREATE EXTENSION vector` made nothing"))
}

async fn extension_schema(connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
         WHERE e.extname = 'vector'",
    )
    .fetch_optional(connection)
    .await
}

/// Whether the tables are in the schema. Asked of a table, not of `to_regclass`: that remembers what was not there.
async fn is_ours(connection: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'format')")
        .bind(schema)
        .fetch_one(connection)
        .await
}

async fn set_search_path(connection: &mut PgConnection, search_path: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('search_path', $1, false)").bind(search_path).execute(connection).await?;
    Ok(())
}

fn search_path(schema: &str, extension: &str) -> String {
    format!("\"{schema}\", {extension}")
}

#[cfg(test)]
mod tests {
    use super::check_schema_name;

    #[test]
    fn a_schema_is_never_more_than_a_name() {
        for name in ["anabranch", "_a1", &"a".repeat(63)] {
            assert_eq!(check_schema_name(name), Ok(()));
        }
        for name in ["", "a\"b", "A", "1a", "a.b", "pg_x", "ä", &"a".repeat(64)] {
            assert!(check_schema_name(name).is_err(), "{name:?}");
        }
    }
}
