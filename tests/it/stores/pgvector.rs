//! The index in PostgreSQL, against a real one.

use anabranch_backends::index::pgvector::PgIndex;
use anabranch_backends::index::{EmbeddedIndex, IndexStore as _};
use anabranch_engine::backend::Index as _;

use super::corpus;
use super::postgres::Postgres;

#[tokio::test]
async fn postgres_finds_what_the_built_in_index_finds() {
    let server = Postgres::start().await;
    let index = PgIndex::connect(server.settings("docs")).await.unwrap();
    corpus::fill(&index, Some(&corpus::space())).await;

    let mut n_found = 0;
    for namespace in corpus::namespaces() {
        // A folder for each namespace: what the built-in index finds in it cannot come from elsewhere.
        let folder = tempfile::tempdir().unwrap();
        let embedded = EmbeddedIndex::open_or_create(folder.path()).unwrap();
        let mut writer = embedded.begin().unwrap();
        for (doc, entries) in corpus::documents(&namespace) {
            let chunks: Vec<_> = entries.into_iter().map(|entry| entry.chunk).collect();
            writer.replace(&doc, &corpus::fingerprint(&doc), &chunks).unwrap();
        }
        writer.finish().unwrap();
        for query in corpus::by_words().iter().filter(|query| query.namespace == namespace) {
            let expected = corpus::found(&embedded, query).await;
            corpus::assert_same(&expected, &corpus::found(&index, query).await, query);
            n_found += expected.len();
        }
        assert_eq!(index.manifest(&namespace).await.unwrap(), embedded.manifest().unwrap());
        let stats = embedded.stats(&namespace).await.unwrap();
        let found = index.stats(&namespace).await.unwrap();
        assert_eq!((found.documents, found.chunks), (stats.documents, stats.chunks));
        assert_eq!((found.vectors, found.dimensions), (stats.chunks, corpus::DIMENSIONS));
        for (doc, _) in corpus::documents(&namespace) {
            assert_eq!(
                index.chunks_of(&namespace, &doc).await.unwrap(),
                embedded.chunks_of(&namespace, &doc).await.unwrap()
            );
        }
    }
    for query in &corpus::by_vector() {
        let expected = corpus::nearest(query);
        corpus::assert_same(&expected, &corpus::found(&index, query).await, query);
        n_found += expected.len();
    }
    assert!(n_found > 1000, "the corpus must be worth comparing: {n_found}");
}
