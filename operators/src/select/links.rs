//! Which candidates speak of one another: the title of one stands in the other, or both have a name that is rare.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_engine::value::Chunk;

use super::candidates::Candidates;
use crate::read::names::names;
use crate::words::{is_stop_word, words};

/// Key of a chunk's metadata under which its names stand, where somebody has found them out: a list of texts.
const ENTITIES: &str = "entities";
/// Shortest title that is looked for, in characters: shorter ones stand everywhere.
const TITLE_CHARS_MIN: usize = 3;

/// The candidates that each candidate is linked with, as bits by place. Passages of one document are not linked: what
/// is sought is the step from one to another.
pub(super) fn links(query: &str, candidates: &Candidates, with_names: bool) -> Vec<u64> {
    let chunks = candidates.chunks();
    let texts: Vec<String> = chunks.iter().map(|chunk| flat(&chunk.text)).collect();
    let titles: Vec<Option<String>> =
        chunks.iter().map(|chunk| chunk.title.as_deref().and_then(title)).collect();
    let mut links = vec![0_u64; chunks.len()];
    let mut link = |a: usize, b: usize| {
        let is_apart = match (chunks.get(a), chunks.get(b)) {
            (Some(a), Some(b)) => a.doc != b.doc,
            _ => false,
        };
        for (a, b) in [(a, b), (b, a)].into_iter().filter(|_| is_apart) {
            if let Some(links) = links.get_mut(a) {
                *links |= 1 << b;
            }
        }
    };
    for (a, title) in titles.iter().enumerate() {
        let Some(title) = title else { continue };
        for (b, text) in texts.iter().enumerate() {
            let is_same = titles.get(b).is_some_and(|other| other.as_ref() == Some(title));
            if !is_same && text.contains(title.as_str()) {
                link(a, b);
            }
        }
    }
    if with_names {
        let asked = flat(query);
        let mut holders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, chunk) in chunks.iter().enumerate() {
            for name in names_of(chunk) {
                holders.entry(name).or_default().push(place);
            }
        }
        // What the question names, every candidate has: it says nothing of how they belong together.
        for (_, places) in holders.iter().filter(|(name, _)| !asked.contains(name.as_str())) {
            // A name that more than two have is no rare one.
            if let [a, b] = places.as_slice() {
                link(*a, *b);
            }
        }
    }
    links
}

/// The words in lower case, a space around each, so that one text can be looked for in another.
fn flat(text: &str) -> String {
    let mut flat = String::from(" ");
    for word in words(text) {
        flat.push_str(&word.to_lowercase());
        flat.push(' ');
    }
    flat
}

/// A title as it would stand in a text: without what tells it from others of its name, as in `Emma (novel)`.
fn title(title: &str) -> Option<String> {
    let name = match title.trim().strip_suffix(')').and_then(|title| title.rsplit_once('(')) {
        Some((name, _)) if !name.trim().is_empty() => name,
        _ => title,
    };
    let is_telling = words(name).any(|word| !is_stop_word(&word.to_lowercase()));
    let name = flat(name);
    (is_telling && name.trim().chars().count() >= TITLE_CHARS_MIN).then_some(name)
}

/// The names in a chunk: those that its metadata gives, else those of several words in its text.
fn names_of(chunk: &Chunk) -> BTreeSet<String> {
    if let Some(entities) = chunk.meta.get(ENTITIES).and_then(serde_json::Value::as_array) {
        let names = entities.iter().filter_map(serde_json::Value::as_str).map(flat);
        return names.filter(|name| name.trim().chars().count() >= TITLE_CHARS_MIN).collect();
    }
    let of = |text: &str| -> Vec<String> {
        let several = names(text).into_iter().filter(|name| name.len() > 1);
        several.map(|name| flat(&name.join(" "))).collect()
    };
    let mut found: BTreeSet<String> = chunk.title.as_deref().and_then(title).into_iter().collect();
    found.extend(of(&chunk.text));
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::chunk;
    use crate::tokens::Counter;

    fn titled(doc: &str, title: &str, text: &str) -> Arc<Chunk> {
        Arc::new(Chunk { title: Some(title.into()), ..Chunk::clone(&chunk(doc, text)) })
    }

    /// The documents of linked candidates, in pairs.
    fn linked(query: &str, chunks: &[Arc<Chunk>], with_names: bool) -> Vec<String> {
        let candidates = Candidates::of(query, chunks, 20, &Counter::default());
        let links = links(query, &candidates, with_names);
        let doc = |place: usize| candidates.chunks()[place].doc.to_string();
        let pairs = (0..links.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
        let mut found: Vec<String> = pairs
            .filter(|(a, b)| links[*a] >> b & 1 == 1)
            .map(|(a, b)| {
                let mut pair = [doc(a), doc(b)];
                pair.sort();
                pair.join("-")
            })
            .collect();
        found.sort();
        found
    }

    #[test]
    fn a_title_in_another_text_links() {
        let chunks = [
            titled("a", "Emma (novel)", "It is long."),
            titled("b", "Jane Austen", "She wrote Emma, and more."),
            titled("c", "It", "A film."),
            titled("d", "Emmanuel", "A name."),
        ];
        assert_eq!(linked("q", &chunks, false), ["a-b"]);
    }

    #[test]
    fn a_rare_name_links_unless_the_question_has_it() {
        let chunks = [
            chunk("a", "The bridge was built by Ann Lee in 1900."),
            chunk("b", "In May the engineer Ann Lee died."),
            chunk("c", "Nothing of hers is left."),
        ];
        assert_eq!(linked("Who died?", &chunks, true), ["a-b"]);
        assert!(linked("Did Ann Lee die?", &chunks, true).is_empty());
        assert!(linked("Who died?", &chunks, false).is_empty());
        let often = [chunks.to_vec(), vec![chunk("d", "There Ann Lee sang.")]].concat();
        assert!(linked("Who died?", &often, true).is_empty());
    }

    #[test]
    fn entities_of_the_metadata_count_in_the_place_of_names() {
        let with = |doc: &str, entities: &[&str]| {
            let mut chunk = Chunk::clone(&chunk(doc, &format!("In May Ann Lee sang {doc}.")));
            chunk.meta.insert("entities".to_owned(), entities.into());
            Arc::new(chunk)
        };
        let chunks = [with("a", &["Low Dam", "x"]), with("b", &["the Low dam"]), with("c", &["low dam"])];
        assert_eq!(linked("q", &chunks, true), ["a-c"]);
    }

    #[test]
    fn passages_of_one_document_are_not_linked() {
        let one = crate::testing::chunk_at("a", 0, 1, "Here Ann Lee sang.");
        let other = crate::testing::chunk_at("a", 50, 3, "There Ann Lee died.");
        assert!(linked("q", &[one, other], true).is_empty());
    }
}
