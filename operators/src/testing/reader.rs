//! A model that answers by a rule, as late as a test wants.

use std::fmt;
use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use anabranch_engine::cx::{Cx, Model};
use anabranch_engine::testing::cx_with;
use async_trait::async_trait;

/// What a rule gives: words, or words or a failure.
pub(crate) trait Said {
    fn said(self) -> Result<String, Error>;
}

impl Said for String {
    fn said(self) -> Result<String, Error> {
        Ok(self)
    }
}

impl Said for Result<String, Error> {
    fn said(self) -> Result<String, Error> {
        self
    }
}

type Rule = dyn Fn(&ChatRequest) -> Result<String, Error> + Send + Sync;

/// A model that answers by a rule, and keeps what it was asked.
pub(crate) struct ByRule {
    rule: Box<Rule>,
    /// Whether later calls are answered before earlier ones.
    is_shuffled: bool,
    requests: Mutex<Vec<ChatRequest>>,
}

impl fmt::Debug for ByRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRule").finish_non_exhaustive()
    }
}

impl ByRule {
    pub(crate) fn new<S: Said>(rule: impl Fn(&ChatRequest) -> S + Send + Sync + 'static) -> Arc<Self> {
        Self::answering(rule, false)
    }

    fn answering<S: Said>(
        rule: impl Fn(&ChatRequest) -> S + Send + Sync + 'static,
        is_shuffled: bool,
    ) -> Arc<Self> {
        let rule = Box::new(move |request: &ChatRequest| rule(request).said());
        Arc::new(Self { rule, is_shuffled, requests: Mutex::default() })
    }

    /// The same, answering in another order than it is asked.
    pub(crate) fn shuffled<S: Said>(rule: impl Fn(&ChatRequest) -> S + Send + Sync + 'static) -> Arc<Self> {
        Self::answering(rule, true)
    }

    /// A context in which this is the model `default`.
    pub(crate) fn cx(self: &Arc<Self>) -> Cx {
        let mut resources = super::encoders();
        resources.models.insert("default".to_owned(), Model::Chat(self.clone()));
        cx_with(resources)
    }

    /// What it was asked, in order.
    pub(crate) fn requests(&self) -> Vec<ChatRequest> {
        self.requests.lock().unwrap().clone()
    }
}

/// `n` lines, each with its number.
pub(crate) fn numbered(n: usize) -> String {
    (0..n).map(|n| format!("Line {n} says that its number is {n}.\n")).collect::<Vec<_>>().concat()
}

/// A failure of a server.
pub(crate) fn broken() -> Error {
    Error::Unavailable { backend: "scripted".to_owned(), message: "gone".to_owned(), retry_after: None }
}

#[async_trait]
impl ChatModel for ByRule {
    fn name(&self) -> &'static str {
        "by rule"
    }

    async fn chat(&self, request: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        let n_before = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len()
        };
        let n_yields = if self.is_shuffled { n_before * 7 % 5 } else { 0 };
        for _ in 0..n_yields {
            tokio::task::yield_now().await;
        }
        Ok(ChatResponse {
            text: (self.rule)(request)?,
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: "by rule".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}
