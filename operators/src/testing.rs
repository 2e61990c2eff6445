//! What the tests of several operators share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::cx::{Cx, Model, Resources};
use anabranch_engine::testing::{Letters, Overlap, cx_with};
use anabranch_engine::value::{
    ByteRange, Chunk, ChunkId, Document, DocumentId, LineRange, Message, Role, Score, TokenCount,
};
use async_trait::async_trait;

mod pretend;
mod reader;
mod shelf;

pub(crate) use pretend::{Asking, Pretend, Says};
pub(crate) use reader::{ByRule, broken, numbered};
pub(crate) use shelf::{Shelf, letters, problems, run_flow};

/// A model that gives these answers, one after the other, and keeps what it was asked.
#[derive(Debug)]
pub(crate) struct Scripted(Mutex<(VecDeque<String>, Vec<ChatRequest>)>);

impl Scripted {
    pub(crate) fn new(answers: &[&str]) -> Arc<Self> {
        Arc::new(Self(Mutex::new((answers.iter().map(|text| (*text).to_owned()).collect(), Vec::new()))))
    }

    /// A context in which this is the model `default`, [`Letters`] the embedder and [`Overlap`] the reranker.
    pub(crate) fn cx(self: &Arc<Self>) -> Cx {
        let mut resources = encoders();
        resources.models.insert("default".to_owned(), Model::Chat(self.clone()));
        cx_with(resources)
    }

    /// What it was asked so far.
    pub(crate) fn requests(&self) -> Vec<ChatRequest> {
        self.0.lock().unwrap().1.clone()
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn chat(&self, request: &ChatRequest, _call: &Call<'_>) -> Result<ChatResponse, Error> {
        let (answers, requests) = &mut *self.0.lock().unwrap();
        requests.push(request.clone());
        let Some(text) = answers.pop_front() else {
            return Err(Error::Rejected {
                backend: "scripted".to_owned(),
                message: "no answer left".to_owned(),
            });
        };
        Ok(ChatResponse {
            text,
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: "scripted".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}

/// [`Letters`] as the embedder `default`, [`Overlap`] as the reranker `default`, and no chat model behind the model
/// `default`.
pub(crate) fn encoders() -> Resources {
    let mut resources = Resources::default();
    resources.models.insert("default".to_owned(), Model::Extractive);
    resources.embedders.insert("default".to_owned(), Arc::new(Letters));
    resources.rerankers.insert("default".to_owned(), Arc::new(Overlap));
    resources
}

/// A request with one message of the user.
pub(crate) fn asked(content: &str) -> ChatRequest {
    let messages = vec![Message { role: Role::User, content: content.into() }];
    ChatRequest { messages, ..ChatRequest::default() }
}

/// A request as people read it, for snapshots of prompts.
pub(crate) fn rendered(request: &ChatRequest) -> String {
    let message = |message: &Message| format!("--- {:?}\n{}\n", message.role, message.content);
    request.messages.iter().map(message).collect()
}

/// A document whose text is its source.
pub(crate) fn document(id: &str, kind: &str, text: &str) -> Document {
    Document {
        id: DocumentId(id.into()),
        title: None,
        text: text.into(),
        kind: kind.into(),
        meta: std::collections::BTreeMap::default(),
    }
}

/// A chunk of `doc` that starts at byte `start`, on line `line`.
pub(crate) fn chunk_at(doc: &str, start: u64, line: u32, text: &str) -> Arc<Chunk> {
    let range = ByteRange { start, end: start + text.len() as u64 };
    let doc = DocumentId(doc.into());
    let newlines = u32::try_from(text.matches('\n').count()).unwrap();
    Arc::new(Chunk {
        id: ChunkId::new(&doc, range),
        doc,
        text: text.into(),
        range,
        lines: LineRange { first: line, last: line + newlines },
        tokens: TokenCount(0),
        title: None,
        headings: Vec::new(),
        score: None,
        meta: std::collections::BTreeMap::default(),
    })
}

/// A chunk at the beginning of `doc`.
pub(crate) fn chunk(doc: &str, text: &str) -> Arc<Chunk> {
    chunk_at(doc, 0, 1, text)
}

/// The chunk with another score.
pub(crate) fn scored(chunk: &Arc<Chunk>, score: f64) -> Arc<Chunk> {
    Arc::new(Chunk { score: Score::new(score), ..Chunk::clone(chunk) })
}

/// A question, and four chunks for it: two that speak of one another and answer it together in 13 tokens, one that matches
/// better than the second of them and speaks of something else, and a copy of the first.
pub(crate) fn linked() -> (String, Vec<Arc<Chunk>>) {
    let with = |doc: &str, title: &str, text: &str, score| {
        scored(&Arc::new(Chunk { title: Some(title.into()), ..Chunk::clone(&chunk(doc, text)) }), score)
    };
    let chunks = vec![
        with("other", "Evelina", "A novel that was long.", 5.0),
        with("novel", "Emma", "A novel by Jane Austen.", 6.0),
        with("author", "Jane Austen", "Born in 1775.", 2.0),
        with("copy", "Emma", "A novel by Jane Austen!", 1.0),
    ];
    ("When was the author of the novel Emma born?".to_owned(), chunks)
}

/// The documents of chunks, in their order.
pub(crate) fn docs_of(chunks: &[Arc<Chunk>]) -> Vec<String> {
    chunks.iter().map(|chunk| chunk.doc.to_string()).collect()
}

/// The compiled schema of an operator's settings.
pub(crate) fn validator(op: &str) -> jsonschema::Validator {
    jsonschema::validator_for(crate::registry().get(op).unwrap().settings.as_value()).unwrap()
}

/// Every chunk is the bytes and lines that it says it is.
pub(crate) fn assert_exact(document: &Document, chunks: &[Arc<Chunk>]) {
    for chunk in chunks {
        let (start, end) =
            (usize::try_from(chunk.range.start).unwrap(), usize::try_from(chunk.range.end).unwrap());
        assert_eq!(&document.text[start..end], &*chunk.text);
        let line = |at: usize| {
            let newlines = document.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            1 + u32::try_from(newlines).unwrap()
        };
        assert_eq!(chunk.lines, LineRange { first: line(start), last: line(end - 1) });
        assert_eq!(chunk.id, ChunkId::new(&document.id, chunk.range));
    }
}

/// Every character that is not space is in some chunk.
pub(crate) fn assert_covers(document: &Document, chunks: &[Arc<Chunk>]) {
    let mut covered = vec![false; document.text.len()];
    for chunk in chunks {
        let range = usize::try_from(chunk.range.start).unwrap()..usize::try_from(chunk.range.end).unwrap();
        covered[range].fill(true);
    }
    for (at, c) in document.text.char_indices() {
        assert!(c.is_whitespace() || covered[at], "byte {at} (`{c}`) is in no chunk of {:?}", document.text);
    }
}
