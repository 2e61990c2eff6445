//! What the readers of long texts read: a document, a text, or chunks.

use std::sync::Arc;

use anabranch_engine::operator::{OpError, SettingProblem};
use anabranch_engine::types::Type;
use anabranch_engine::value::{
    ByteRange, Chunk, ChunkId, Citation, Document, DocumentId, LineRange, Metadata, Text, TokenCount,
};

/// The ports of which one gives what is read.
const PORTS: [&str; 3] = ["document", "text", "chunks"];
/// What a text is called that has no name.
const UNNAMED: &str = "text";

/// What is read, as chunks in the order of the text.
pub(crate) fn chunks_of(
    document: Option<&Document>,
    text: Option<&str>,
    chunks: Option<Vec<Arc<Chunk>>>,
) -> Result<Vec<Arc<Chunk>>, OpError> {
    let found = match (document, text, chunks) {
        (Some(document), None, None) => vec![whole(&document.id, document.title.clone(), &document.text)],
        (None, Some(text), None) => vec![whole(&DocumentId(UNNAMED.into()), None, text)],
        (None, None, Some(chunks)) => chunks,
        (None, None, None) => {
            return Err(OpError::InvalidInput(
                "there is no `document`, `text` or `chunks` to read".to_owned(),
            ));
        }
        _ => {
            let message = "more than one of `document`, `text` and `chunks` is given; it reads one of them";
            return Err(OpError::InvalidInput(message.to_owned()));
        }
    };
    Ok(found.into_iter().filter(|chunk| !chunk.text.trim().is_empty()).collect())
}

/// Problems of what a flow connects.
pub(crate) fn check(given: &[(Text, Type)]) -> Vec<SettingProblem> {
    let connected: Vec<&str> =
        PORTS.into_iter().filter(|port| given.iter().any(|(name, _)| &**name == *port)).collect();
    let message = match connected.as_slice() {
        [_] => return Vec::new(),
        [] => "it reads none of `document`, `text` and `chunks`, so there is nothing to read".to_owned(),
        several => format!("it reads `{}`, but can only read one of them", several.join("`, `")),
    };
    let hint = Some("connect one of `document`, `text` and `chunks` under `in`".to_owned());
    vec![SettingProblem { pointer: String::new(), message, hint }]
}

/// Problems of the window's settings together.
pub(crate) fn check_window(context_tokens: usize, reserve_output: u32) -> Option<SettingProblem> {
    (context_tokens <= reserve_output as usize).then(|| SettingProblem {
        pointer: "/reserve_output".to_owned(),
        message: format!(
            "`reserve_output` is {reserve_output}, which leaves nothing of `context_tokens` ({context_tokens}) for a prompt"
        ),
        hint: Some("`context_tokens` is the model's whole window".to_owned()),
    })
}

/// Refuses a text that makes more portions than may be read.
pub(crate) fn check_portions(n_portions: usize, most: usize) -> Result<(), OpError> {
    if n_portions <= most {
        return Ok(());
    }
    Err(OpError::InvalidInput(format!(
        "the text makes {n_portions} portions, more than `max_portions` ({most}); set that higher, or `context_tokens`"
    )))
}

/// The place of a chunk, cited as a whole.
pub(crate) fn cite(chunk: &Chunk) -> Citation {
    Citation {
        chunk_id: chunk.id.clone(),
        doc: chunk.doc.clone(),
        range: chunk.range,
        lines: chunk.lines,
        quote: None,
    }
}

/// All of a text as one chunk.
fn whole(doc: &DocumentId, title: Option<Text>, text: &str) -> Arc<Chunk> {
    let range = ByteRange { start: 0, end: text.len() as u64 };
    Arc::new(Chunk {
        id: ChunkId::new(doc, range),
        doc: doc.clone(),
        text: text.into(),
        range,
        lines: LineRange { first: 1, last: 1 + inner_newlines(text) },
        tokens: TokenCount(0),
        title,
        headings: Vec::new(),
        score: None,
        meta: Metadata::new(),
    })
}

/// How many lines end within `text`.
pub(crate) fn newlines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|byte| *byte == b'\n').count()).unwrap_or(u32::MAX)
}

/// The same, but for one that ends with it: that belongs to the line before.
pub(crate) fn inner_newlines(text: &str) -> u32 {
    newlines(text.strip_suffix('\n').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk, document};

    #[test]
    fn a_document_is_one_chunk_with_its_place() {
        let document = document("a.md", "markdown", "One.\nTwo.\n");
        let chunks = chunks_of(Some(&document), None, None).unwrap();
        crate::testing::assert_exact(&document, &chunks);
        assert_eq!(chunks.len(), 1);
        assert_eq!(&*chunks_of(None, Some("One."), None).unwrap()[0].doc.0, "text");
    }

    #[test]
    fn blank_chunks_are_left_out() {
        assert!(chunks_of(None, Some(" \n"), None).unwrap().is_empty());
        let chunks = vec![chunk("a", " "), chunk("b", "one")];
        assert_eq!(chunks_of(None, None, Some(chunks)).unwrap().len(), 1);
    }

    #[test]
    fn nothing_and_too_much_are_errors_when_a_flow_is_loaded_and_when_it_runs() {
        assert!(chunks_of(None, None, None).unwrap_err().to_string().contains("no `document`"));
        let error = chunks_of(None, Some("a"), Some(Vec::new())).unwrap_err();
        assert!(error.to_string().contains("more than one"), "{error}");
        let given = |ports: &[&str]| {
            let given: Vec<(Text, Type)> = ports.iter().map(|port| ((*port).into(), Type::Any)).collect();
            check(&given).first().map(|problem| problem.message.clone()).unwrap_or_default()
        };
        assert_eq!(given(&["question", "text"]), "");
        assert!(given(&["question"]).starts_with("it reads none"));
        assert_eq!(given(&["text", "chunks"]), "it reads `text`, `chunks`, but can only read one of them");
    }
}
