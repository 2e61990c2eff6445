//! Tests of namespaces: what is one tenant's is nobody else's.

use super::super::super::{IndexStore as _, IndexWriter};
use super::super::NAMESPACES_OPEN_MAX;
use super::vectors::{entries, space, vector_of};
use super::*;

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn put_into(index: &EmbeddedIndex, name: &str, documents: &[(&str, &str)]) {
    let mut writer = index.begin_in(&namespace(name), Some(&space("test", 4)), Limits::default()).unwrap();
    for (name, text) in documents {
        writer.replace_entries(&doc(name), &fingerprint(text), &entries(name, text)).unwrap();
    }
    writer.finish().unwrap();
}

fn found_in(index: &EmbeddedIndex, name: &str, text: &str) -> Vec<(String, f64)> {
    let asked = SearchQuery { namespace: namespace(name), ..query(text) };
    let hits = index.search_blocking(&asked).unwrap();
    hits.iter().map(|chunk| (chunk.text.to_string(), chunk.score.unwrap().get())).collect()
}

#[tokio::test]
async fn one_tenant_finds_nothing_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let texts = [("", "a1 ours"), ("acme", "b1 secret acme"), ("Acme", "c1 secret capital")];
    for (name, text) in texts {
        put_into(&index, name, &[("same.md", text)]);
    }
    for reader in [&index, &EmbeddedIndex::open_or_create(folder.path()).unwrap()] {
        for (name, text) in texts {
            let hits = found_in(reader, name, "ours secret acme capital");
            assert_eq!(hits.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), [text]);
            let near = SearchQuery { namespace: namespace(name), ..SearchQuery::near(vector_of("a1"), 9) };
            let near = reader.search(&near).await.unwrap();
            assert_eq!(near.iter().map(|chunk| chunk.text.as_ref()).collect::<Vec<_>>(), [text]);
            let of_doc = reader.chunks_of(&namespace(name), &doc("same.md")).await.unwrap();
            assert_eq!(of_doc.len(), 1);
            assert_eq!(reader.stats(&namespace(name)).await.unwrap().documents, 1);
        }
    }
}

#[test]
fn statistics_are_those_of_the_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    put_into(&index, "alone", LIBRARY);
    let alone = found_in(&index, "alone", "whales");
    put_into(&index, "", &[("many", &"a1 whales\n".repeat(50))]);
    assert_eq!(found_in(&index, "alone", "whales"), alone);
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_empty_and_is_not_made_by_reading() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let nobody = namespace("nobody");
    assert!(
        index.search(&SearchQuery { namespace: nobody.clone(), ..query("red") }).await.unwrap().is_empty()
    );
    assert!(index.chunks_of(&nobody, &doc("a")).await.unwrap().is_empty());
    assert_eq!(index.stats(&nobody).await.unwrap(), IndexStats::default());
    assert!(super::super::super::IndexStore::manifest(&index, &nobody).await.unwrap().is_empty());
    assert!(!folder.path().join("namespaces").exists());

    let mut writer: Box<dyn IndexWriter> = index.writer(&nobody, None).await.unwrap();
    assert!(
        index.search(&SearchQuery { namespace: nobody.clone(), ..query("red") }).await.unwrap().is_empty()
    );
    writer.replace(&doc("a"), &fingerprint("a"), Vec::new()).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(index.stats(&nobody).await.unwrap().documents, 1);
}

#[test]
fn so_many_are_kept_open_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let index = EmbeddedIndex::open_or_create(folder.path()).unwrap();
    let names: Vec<_> = (0..NAMESPACES_OPEN_MAX + 3).map(|n| format!("n{n}")).collect();
    for name in &names {
        index.parts.get_or_create(&namespace(name)).unwrap();
        assert!(index.parts.n_open() <= NAMESPACES_OPEN_MAX);
    }
    put_into(&index, &names[0], &[("a", "a1 back")]);
    assert_eq!(found_in(&index, &names[0], "back").len(), 1);
    assert_eq!(index.parts.n_open(), NAMESPACES_OPEN_MAX);
}
