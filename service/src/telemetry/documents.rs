//! Documents of a span: the chunks that a node read or gave, one attribute a fact, as `OpenInference` wants them.

use anabranch_engine::value::{Chunk, Map, Value};
use serde_json::json;

use super::attributes::Attributes;
use super::content::Contents;
use super::names;

/// Documents that are told of a list; of more, how many there were.
const DOCUMENTS: usize = 32;

/// Ports on which chunks leave that go no further.
const LEFT_OUT: &str = "dropped";

/// The chunks on `ports`, in order.
pub(crate) fn chunks(ports: &Map) -> Vec<&Chunk> {
    let mut found = Vec::new();
    for (port, value) in ports {
        if &**port != LEFT_OUT {
            gather(value, &mut found);
        }
    }
    found
}

fn gather<'a>(value: &'a Value, found: &mut Vec<&'a Chunk>) {
    match value {
        Value::Chunk(chunk) => found.push(chunk),
        Value::List(items) => items.iter().for_each(|item| gather(item, found)),
        _ => {}
    }
}

/// Tells of `chunks` under `prefix`: `retrieval.documents`.
pub(super) fn tell(attributes: &mut Attributes, prefix: &str, chunks: &[&Chunk], contents: &Contents) {
    for (index, chunk) in chunks.iter().take(DOCUMENTS).enumerate() {
        let name = |field: &str| format!("{prefix}.{index}.document.{field}");
        attributes.set(name("id"), chunk.id.0.to_string());
        if let Some(score) = chunk.score {
            attributes.set(name("score"), score.get());
        }
        if let Some(text) = contents.text(&chunk.text) {
            attributes.set(name("content"), text);
            let about = || json!({ "doc": &chunk.doc, "lines": &chunk.lines, "title": &chunk.title, "meta": &chunk.meta });
            if let Some(about) = contents.json(about) {
                attributes.set(name("metadata"), about);
            }
        }
    }
    if chunks.len() > DOCUMENTS {
        attributes.count(names::DOCUMENTS, chunks.len() as u64);
    }
}
