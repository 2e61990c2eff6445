//! Calls of models, encoders and tools, as whoever observes a run is told of them: as they begin and as they end.

use serde_json::{Map, Value};

use crate::backend::{ChatRequest, ChatResponse, Passage, ToolAnswer, Usage, Vector};
use crate::operator::OpError;
use crate::scope::Scope;
use crate::value::Text;

/// A call that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The node execution that makes it.
    pub scope: &'a Scope,
    /// Which attempt of it, from 1.
    pub attempt: u32,
    /// What flows call the model, encoder or tool.
    pub name: &'a str,
    /// What its server calls it, as far as is known.
    pub model: &'a str,
    /// What it is asked.
    pub asked: Asked<'a>,
    /// What is held for it in the budgets: what counts as used if its end is never heard of.
    pub held: Usage,
}

/// What a model, an encoder or a tool is asked.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// A chat model.
    Chat(&'a ChatRequest),
    /// An embedder, for the vectors of texts.
    Embed {
        /// The texts.
        texts: &'a [Text],
        /// As what.
        passage: Passage,
    },
    /// A reranker, for how well texts match a query.
    Rerank {
        /// The query.
        query: &'a str,
        /// The texts.
        texts: &'a [Text],
    },
    /// A tool, with these arguments.
    Tool(&'a Map<String, Value>),
}

/// What a model, an encoder or a tool answered.
#[derive(Debug, Clone, Copy)]
pub enum Answered<'a> {
    /// A chat model.
    Chat(&'a ChatResponse),
    /// An embedder: a vector a text.
    Embed(&'a [Vector]),
    /// A reranker: a score a text.
    Rerank(&'a [f64]),
    /// A tool.
    Tool(&'a ToolAnswer),
}

/// Is told how one call goes on. Dropped without [`Self::ended`] if the call is given up. Must not block.
pub trait WatchCall: Send + Sync {
    /// The W3C `traceparent` that goes along with the call.
    fn traceparent(&self) -> Option<&str>;

    /// The model has begun to answer.
    fn first_token(&self);

    /// The call has ended, and has used `usage`, cost included.
    fn ended(&self, result: Result<Answered<'_>, &OpError>, usage: &Usage);
}
