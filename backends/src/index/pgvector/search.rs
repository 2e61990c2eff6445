//! The two searches as SQL, one statement each, so that each sees one state of the index.

use std::sync::Arc;

use anabranch_engine::backend::{Error, SearchQuery, Vector};
use anabranch_engine::value::{Chunk, Score};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, Postgres, QueryBuilder, Row as _};

use super::super::embedded::counted_words;
use super::batch::literal;
use super::{Shared, filter};

/// How many candidates the approximate index looks at, at least and at most; more finds more of the nearest.
const HNSW_CANDIDATES: std::ops::RangeInclusive<i64> = 100..=1000;

/// BM25 over the namespace, summed up in the same order as in the built-in index, so that ties are the same.
pub(super) async fn by_words(
    shared: &Shared,
    query: &SearchQuery,
    text: &str,
    k1: f32,
    b: f32,
) -> Result<Vec<Arc<Chunk>>, Error> {
    let (words, times): (Vec<String>, Vec<f64>) =
        counted_words(text).into_iter().map(|(word, n_asked)| (word, f64::from(n_asked))).unzip();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql: QueryBuilder<Postgres> = QueryBuilder::new(
        "WITH space AS (
            SELECT id, n_chunks::float8 AS n, greatest(n_words::float8 / greatest(n_chunks, 1), 1) AS average
            FROM spaces WHERE index_name = ",
    );
    sql.push_bind(shared.settings.name.clone()).push(" AND namespace = ");
    sql.push_bind(query.namespace.as_str().to_owned()).push("), asked AS (SELECT * FROM unnest(");
    sql.push_bind(words).push("::text[], ").push_bind(times).push(
        "::float8[]) WITH ORDINALITY AS asked(word, times, place)
        ), setting AS (SELECT ",
    );
    sql.push_bind(f64::from(k1.max(0.0))).push("::float8 AS k1, ");
    sql.push_bind(f64::from(b.clamp(0.0, 1.0))).push(
        "::float8 AS b
        ), found AS (
            SELECT w.chunk, w.n::float8 AS n, w.length::float8 AS length, a.times, a.place, s.average, s.n AS n_all,
                count(*) OVER (PARTITION BY w.word)::float8 AS n_with
            FROM space s CROSS JOIN asked a JOIN words w ON w.space = s.id AND w.word = a.word
        ), weighed AS (
            SELECT chunk, n, length, average, place,
                ln(1 + (n_all - n_with + 0.5) / (n_with + 0.5)) * times AS weight
            FROM found
        ), scored AS (
            SELECT chunk, sum(
                weight * (n / (n + k1 * (1 - b + b * length / average))) ORDER BY weight DESC, place
            ) AS score
            FROM weighed CROSS JOIN setting GROUP BY chunk
        ), best AS (
            SELECT scored.chunk, scored.score FROM scored",
    );
    if !query.filter.is_empty() {
        sql.push(" JOIN chunks c ON c.id = scored.chunk WHERE true");
        filter::push(&mut sql, &query.filter);
    }
    let limit = limit(query.top_k);
    // Place decides among equals, so all of them are fetched before the last cut.
    sql.push(" ORDER BY scored.score DESC FETCH FIRST ").push_bind(limit).push(" ROWS WITH TIES) ");
    push_records(&mut sql, limit);
    let rows = shared.run(async |connection| sql.build().fetch_all(connection).await).await?;
    chunks(shared, &rows)
}

/// The nearest chunks of the namespace. Vectors have unit length, so the inner product is the cosine, and a chunk
/// whose vector is all zeros is as far as any other that has nothing in common with the query.
pub(super) async fn by_vector(
    shared: &Shared,
    query: &SearchQuery,
    vector: &Vector,
) -> Result<Vec<Arc<Chunk>>, Error> {
    let Some(space) = space_of(shared, query).await? else {
        return Ok(Vec::new());
    };
    if space.n_vectors == 0 {
        return if space.n_chunks == 0 {
            Ok(Vec::new())
        } else {
            Err(shared.faults.rejected("it has no vectors; give it an `embedder` and index again"))
        };
    }
    if usize::try_from(space.dimensions) != Ok(vector.len()) {
        return Err(shared.faults.rejected(format!(
            "its vectors have {} numbers, the query's has {}; index again with the embedder that asks",
            space.dimensions,
            vector.len()
        )));
    }
    let limit = limit(query.top_k);
    // A filter would take its share of what the approximate index finds, and could leave nothing.
    let is_approximate = shared.settings.hnsw && query.filter.is_empty();
    let mut sql: QueryBuilder<Postgres> =
        QueryBuilder::new("WITH best AS (SELECT c.id AS chunk, -(c.embedding <#> ");
    let literal = literal(vector);
    sql.push_bind(literal.clone()).push("::vector) AS score FROM chunks c WHERE c.space = ");
    // The number itself, not a parameter: the approximate index is one of this space and dimension alone.
    sql.push(space.id).push(" AND c.embedding IS NOT NULL");
    filter::push(&mut sql, &query.filter);
    if is_approximate {
        sql.push(format_args!(" ORDER BY c.embedding::vector({0}) <#> ", space.dimensions));
        sql.push_bind(literal).push(format_args!("::vector({}) LIMIT ", space.dimensions));
        sql.push_bind(limit).push(") ");
    } else {
        sql.push(" ORDER BY c.embedding <#> ").push_bind(literal).push("::vector FETCH FIRST ");
        sql.push_bind(limit).push(" ROWS WITH TIES) ");
    }
    push_records(&mut sql, limit);
    let rows = shared
        .run(async |connection| {
            if !is_approximate {
                return sql.build().fetch_all(connection).await;
            }
            let candidates = limit.clamp(*HNSW_CANDIDATES.start(), *HNSW_CANDIDATES.end());
            let mut transaction = connection.begin().await?;
            sqlx::query("SELECT set_config('hnsw.ef_search', $1, true)")
                .bind(candidates.to_string())
                .execute(&mut *transaction)
                .await?;
            let rows = sql.build().fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(rows)
        })
        .await?;
    chunks(shared, &rows)
}

struct Space {
    id: i64,
    dimensions: i32,
    n_chunks: i64,
    n_vectors: i64,
}

async fn space_of(shared: &Shared, query: &SearchQuery) -> Result<Option<Space>, Error> {
    let space = shared.run(async |connection| {
        let row = sqlx::query(
            "SELECT id, coalesce(dimensions, 0), n_chunks, n_vectors FROM spaces \
             WHERE index_name = $1 AND namespace = $2",
        )
        .bind(&shared.settings.name)
        .bind(query.namespace.as_str())
        .fetch_optional(connection)
        .await?;
        let space = |row: PgRow| -> Result<Space, sqlx::Error> {
            Ok(Space {
                id: row.try_get(0)?,
                dimensions: row.try_get(1)?,
                n_chunks: row.try_get(2)?,
                n_vectors: row.try_get(3)?,
            })
        };
        row.map(space).transpose()
    });
    space.await
}

/// The records of what is in `best`, in order.
fn push_records(sql: &mut QueryBuilder<Postgres>, limit: i64) {
    sql.push(
        "SELECT c.record, best.score FROM best JOIN chunks c ON c.id = best.chunk \
         JOIN documents d ON d.id = c.document \
         ORDER BY best.score DESC, d.doc, c.place_start, c.place_end, c.id LIMIT ",
    );
    sql.push_bind(limit);
}

fn chunks(shared: &Shared, rows: &[PgRow]) -> Result<Vec<Arc<Chunk>>, Error> {
    let chunk = |row| {
        let chunk = shared.faults.chunk(row)?;
        let score: f64 = row.try_get(1).map_err(|error| shared.faults.of(&error))?;
        Ok(Arc::new(Chunk { score: Score::new(score), ..chunk }))
    };
    rows.iter().map(chunk).collect()
}

fn limit(top_k: usize) -> i64 {
    i64::try_from(top_k).unwrap_or(i64::MAX)
}
