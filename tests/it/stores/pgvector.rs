//! The index in `PostgreSQL`, against a real one.

use std::time::{Duration, Instant};

use anabranch_backends::index::pgvector::{PgIndex, PgSettings};
use anabranch_backends::index::{EmbeddedIndex, IndexStore, VectorSpace};
use anabranch_engine::backend::{Error, Index as _, IndexStats, Namespace, SearchQuery};
use anabranch_engine::value::DocumentId;
use tokio::net::TcpListener;

use super::corpus;
use super::postgres::Postgres;

#[tokio::test]
async fn postgres_finds_what_the_built_in_index_finds() {
    let server = Postgres::start().await;
    let index = PgIndex::connect(server.settings("docs")).await.unwrap();
    corpus::fill(&index, Some(&corpus::space())).await;

    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    corpus::fill(&embedded, Some(&corpus::space())).await;

    let mut n_found = 0;
    for query in corpus::by_words().iter().chain(&corpus::by_vector()) {
        let expected = corpus::found(&embedded, query).await;
        corpus::assert_same(&expected, &corpus::found(&index, query).await, query);
        n_found += expected.len();
    }
    for namespace in corpus::namespaces() {
        let expected = IndexStore::manifest(&embedded, &namespace).await.unwrap();
        assert_eq!(index.manifest(&namespace).await.unwrap(), expected);
        assert_eq!(index.space(&namespace).await.unwrap(), Some(corpus::space()));
        let (expected, found) = (embedded.stats(&namespace).await, index.stats(&namespace).await);
        assert_eq!(found.unwrap(), expected.unwrap());
        for (doc, _) in corpus::documents(&namespace) {
            let (expected, found) =
                (embedded.chunks_of(&namespace, &doc).await, index.chunks_of(&namespace, &doc).await);
            assert_eq!(found.unwrap(), expected.unwrap());
        }
    }
    // Both agree with what a calculation by hand gives.
    for query in &corpus::by_vector() {
        let expected = corpus::nearest(query);
        corpus::assert_same(&expected, &corpus::found(&index, query).await, query);
        n_found += expected.len();
    }
    assert!(n_found > 1000, "the corpus must be worth comparing: {n_found}");
}

#[tokio::test]
async fn postgres_takes_documents_in_and_out_whole() {
    let server = Postgres::start().await;
    // Two programs come at once to a database without tables.
    let (index, other) =
        tokio::join!(PgIndex::connect(server.settings("docs")), PgIndex::connect(server.settings("docs")));
    let (index, other) = (index.unwrap(), other.unwrap());
    let [default, acme] = corpus::namespaces();
    corpus::fill(&index, Some(&corpus::space())).await;
    let before = index.stats(&default).await.unwrap();

    // What was not committed has not happened.
    let (doc, entries) = corpus::documents(&default).swap_remove(3);
    let mut writer = index.writer(&default, Some(&corpus::space())).await.unwrap();
    writer.remove(&doc).await.unwrap();
    let busy = other.writer(&default, Some(&corpus::space())).await.err().unwrap();
    assert!(busy.is_busy(), "{busy}");
    assert_eq!(
        busy.to_string(),
        "index `docs` is being written by another process; wait until that has ended, then try again"
    );
    other.writer(&acme, Some(&corpus::space())).await.unwrap();
    drop(writer);
    assert_eq!(index.stats(&default).await.unwrap(), before);

    // A document goes, comes back without chunks, and with those that it had.
    let mut writer = other.writer(&default, Some(&corpus::space())).await.unwrap();
    writer.remove(&doc).await.unwrap();
    writer.remove(&DocumentId("never seen".into())).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(index.chunks_of(&default, &doc).await.unwrap(), []);
    assert_eq!(index.manifest(&default).await.unwrap().get(&doc), None);
    for kept in [Vec::new(), entries] {
        let n_kept = kept.len();
        let mut writer = index.writer(&default, Some(&corpus::space())).await.unwrap();
        writer.replace(&doc, &corpus::fingerprint(&doc), kept).await.unwrap();
        writer.finish().await.unwrap();
        assert!(index.manifest(&default).await.unwrap().is_current(&doc, &corpus::fingerprint(&doc)));
        assert_eq!(index.chunks_of(&default, &doc).await.unwrap().len(), n_kept);
    }
    assert_eq!(index.stats(&default).await.unwrap(), before);
    for query in corpus::by_vector().iter().filter(|query| query.namespace == default) {
        corpus::assert_same(&corpus::nearest(query), &corpus::found(&index, query).await, query);
    }

    // Another index of the same schema and another namespace of the same index are not touched.
    let empty = PgIndex::connect(server.settings("empty")).await.unwrap();
    assert_eq!(empty.stats(&default).await.unwrap(), IndexStats::default());
    assert_eq!(empty.search(&SearchQuery::words("river", 5)).await.unwrap(), []);

    // A vector that is not of the space is refused; another space makes the namespace forget what it had.
    let mut writer = index.writer(&default, Some(&corpus::space())).await.unwrap();
    let (_, mut entries) = corpus::documents(&default).swap_remove(0);
    entries[0].vector = Some([1.0_f32, 0.0].into());
    let refused = writer.replace(&doc, &corpus::fingerprint(&doc), entries).await.unwrap_err();
    assert!(
        refused.to_string().ends_with("comes with a vector of 2 numbers, the index takes 24"),
        "{refused}"
    );
    drop(writer);
    let space = VectorSpace { identity: "other".to_owned(), ..corpus::space() };
    index.writer(&default, Some(&space)).await.unwrap().finish().await.unwrap();
    assert!(index.manifest(&default).await.unwrap().is_empty());
    assert_eq!(index.stats(&default).await.unwrap(), IndexStats::default());
    assert_eq!(index.stats(&acme).await.unwrap().documents, 30);
}

#[tokio::test]
async fn postgres_finds_nearly_all_of_the_nearest_through_an_approximate_index() {
    let server = Postgres::start().await;
    let index = PgIndex::connect(PgSettings { hnsw: true, ..server.settings("docs") }).await.unwrap();
    corpus::fill(&index, Some(&corpus::space())).await;
    let mut connection = server.connection().await;
    let n_indexes: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'anabranch' AND indexdef LIKE '%hnsw%'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(n_indexes, 2, "one for each namespace");
    let (mut n_expected, mut n_found) = (0, 0);
    for query in &mut corpus::by_vector() {
        query.top_k = 10;
        let expected = corpus::nearest(query);
        let found = corpus::found(&index, query).await;
        if query.filter.is_empty() {
            n_expected += expected.len();
            n_found +=
                found.iter().filter(|(name, _)| expected.iter().any(|(other, _)| other == name)).count();
        } else {
            corpus::assert_same(&expected, &found, query);
        }
    }
    assert!(n_found * 10 >= n_expected * 9, "{n_found} of {n_expected}");
}

#[tokio::test]
async fn postgres_says_what_is_wrong_and_in_time() {
    let mut server = Postgres::start().await;

    // Somebody without rights, in a database without pgvector.
    server.run("CREATE ROLE plain LOGIN; CREATE ROLE locked LOGIN PASSWORD 'right'").await;
    let refused = |url: String| async move {
        match PgIndex::connect(PgSettings::new(url, "docs")).await {
            Err(Error::Rejected { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    };
    let message = refused(server.url("plain")).await;
    assert!(message.starts_with("the database has no pgvector (permission denied"), "{message}");
    assert!(message.contains("`CREATE EXTENSION vector`"), "{message}");
    let message = refused(format!("{}&password=wrong", server.url("locked"))).await;
    assert_eq!(message, "password authentication failed for user \"locked\" (code 28P01)");
    let message = refused(server.url("anabranch").replace("/postgres?", "/nothing?")).await;
    assert_eq!(message, "database \"nothing\" does not exist (code 3D000)");
    let message = refused("mysql://secret:password@host/db".to_owned()).await;
    assert!(message.contains("is no PostgreSQL address") && !message.contains("secret"), "{message}");

    // A schema that holds something else, and one that a newer program has made.
    server.run("CREATE SCHEMA theirs; CREATE TABLE theirs.things ()").await;
    let theirs = PgSettings { schema: "theirs".to_owned(), ..server.settings("docs") };
    let error = PgIndex::connect(theirs).await.unwrap_err().to_string();
    assert!(error.contains("schema `theirs` is not ours: it holds the table `things`"), "{error}");
    let index = PgIndex::connect(server.settings("docs")).await.unwrap();
    corpus::fill(&index, None).await;
    server.run("UPDATE anabranch.format SET version = 2").await;
    let error = PgIndex::connect(server.settings("docs")).await.unwrap_err().to_string();
    assert!(error.contains("have format 2, this program reads format 1"), "{error}");
    server.run("UPDATE anabranch.format SET version = 1").await;

    // Questions that this index cannot answer.
    let near = |n: usize| SearchQuery::near(vec![1.0; n].into(), 3);
    let error = index.search(&near(24)).await.unwrap_err();
    assert!(matches!(&error, Error::Rejected { message, .. } if message.contains("no vectors")), "{error}");
    corpus::fill(&index, Some(&corpus::space())).await;
    let error = index.search(&near(25)).await.unwrap_err();
    assert!(matches!(&error, Error::Rejected { message, .. } if message.contains("24 numbers")), "{error}");

    // A table that somebody holds: the server gives up, and the next search is as good as ever.
    let hasty = PgSettings { timeout: Duration::from_millis(300), ..server.settings("docs") };
    let hasty = PgIndex::connect(hasty).await.unwrap();
    let mut connection = server.connection().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE anabranch.words").execute(&mut connection).await.unwrap();
    let river = SearchQuery::words("river", 3);
    let begun = Instant::now();
    let error = hasty.search(&river).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    assert_eq!(hasty.search(&river).await.unwrap().len(), 3);

    // A database that has gone.
    server.stop();
    let error = index.search(&river).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. } | Error::TimedOut { .. }), "{error}");
    let error = PgIndex::connect(server.settings("docs")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_speaks_is_no_database() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://me@{}/db", listener.local_addr().unwrap());
    let settings = PgSettings { connect_timeout: Duration::from_millis(200), ..PgSettings::new(url, "docs") };
    let index = PgIndex::new(settings).unwrap();
    let error = index.stats(&Namespace::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "index `docs` timed out: no connection to the database within 200ms");
}
