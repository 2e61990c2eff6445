//! Times the calls of models and encoders, whoever answers them, by the names of OpenTelemetry's conventions for
//! generative AI.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anabranch_engine::backend::{
    Call, ChatModel, ChatRequest, ChatResponse, Embedder, Embeddings, Error, Passage, Reranker, Reranking,
    Usage,
};
use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::value::Text;
use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Times, add, names};

/// Bounds of the times of calls, in seconds, as the conventions have them.
const CALL_SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Bounds of the times to the first piece of an answer, in seconds, as the conventions have them.
const FIRST_SECONDS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Bounds of the tokens of a call: powers of four, as the conventions have them, up to the longest prompts there are.
const TOKENS: [f64; 11] =
    [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: Arc<str>,
    /// Empty, which Prometheus takes as not there, if it was answered.
    error_type: &'static str,
}

#[expect(clippy::struct_field_names, reason = "labels have the names of the conventions")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Used {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: Arc<str>,
    gen_ai_token_type: &'static str,
}

/// What calls take.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    duration: Times<Ended>,
    first: Times<Of>,
    tokens: Times<Used>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            duration: Family::new_with_constructor(|| Histogram::new(CALL_SECONDS)),
            first: Family::new_with_constructor(|| Histogram::new(FIRST_SECONDS)),
            tokens: Family::new_with_constructor(|| Histogram::new(TOKENS)),
        }
    }
}

impl Calls {
    pub(super) fn register(&self, to: &mut Registry) {
        add(to, &names::CALL_DURATION, self.duration.clone());
        add(to, &names::CALL_FIRST_CHUNK, self.first.clone());
        add(to, &names::CALL_TOKENS, self.tokens.clone());
    }

    /// Has every model and every encoder of `resources` timed.
    pub(super) fn time(&self, resources: &mut Resources) {
        for (name, model) in &mut resources.models {
            if let Model::Chat(chat) = model {
                *model = Model::Chat(Arc::new(Timed { of: self.of("chat", name), inner: chat.clone() }));
            }
        }
        for (name, embedder) in &mut resources.embedders {
            *embedder = Arc::new(Timed { of: self.of("embeddings", name), inner: embedder.clone() });
        }
        for (name, reranker) in &mut resources.rerankers {
            *reranker = Arc::new(Timed { of: self.of("rerank", name), inner: reranker.clone() });
        }
    }

    fn of(&self, operation: &'static str, name: &str) -> Timing {
        Timing { calls: self.clone(), operation, name: name.into() }
    }
}

/// Where the calls of one model are counted.
#[derive(Debug)]
struct Timing {
    calls: Calls,
    operation: &'static str,
    name: Arc<str>,
}

impl Timing {
    fn ended(&self, took: Duration, usage: Result<Usage, &Error>) {
        let (gen_ai_operation_name, gen_ai_request_model) = (self.operation, self.name.clone());
        let error_type = usage.as_ref().err().map_or("", |error| error.kind().as_str());
        let ended =
            Ended { gen_ai_operation_name, gen_ai_request_model: gen_ai_request_model.clone(), error_type };
        self.calls.duration.get_or_create(&ended).observe(took.as_secs_f64());
        // What another call's answer stood in for used nothing.
        let Ok(usage) =
            usage.map(|usage| [("input", usage.prompt_tokens), ("output", usage.completion_tokens)])
        else {
            return;
        };
        for (gen_ai_token_type, tokens) in usage.into_iter().filter(|(_, tokens)| *tokens > 0) {
            let gen_ai_request_model = gen_ai_request_model.clone();
            let used = Used { gen_ai_operation_name, gen_ai_request_model, gen_ai_token_type };
            self.calls.tokens.get_or_create(&used).observe(tokens as f64);
        }
    }

    fn began(&self, after: Duration) {
        let of = Of { gen_ai_operation_name: self.operation, gen_ai_request_model: self.name.clone() };
        self.calls.first.get_or_create(&of).observe(after.as_secs_f64());
    }
}

/// A model or an encoder whose calls are timed.
#[derive(Debug)]
struct Timed<T: ?Sized> {
    of: Timing,
    inner: Arc<T>,
}

#[async_trait]
impl ChatModel for Timed<dyn ChatModel> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let (began, first) = (Instant::now(), OnceLock::new());
        let on_first_token = || {
            first.get_or_init(|| began.elapsed());
            (call.on_first_token)();
        };
        let timed = Call { on_first_token: &on_first_token, ..*call };
        let answered = self.inner.chat(request, &timed).await;
        if let Some(after) = first.get() {
            self.of.began(*after);
        }
        self.of.ended(began.elapsed(), answered.as_ref().map(|response| response.usage));
        answered
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.inner.count_tokens(text)
    }

    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        self.inner.estimate_prompt_tokens(request)
    }
}

#[async_trait]
impl Embedder for Timed<dyn Embedder> {
    fn identity(&self) -> String {
        self.inner.identity()
    }

    async fn embed(&self, texts: &[Text], passage: Passage, call: &Call<'_>) -> Result<Embeddings, Error> {
        let began = Instant::now();
        let answered = self.inner.embed(texts, passage, call).await;
        self.of.ended(began.elapsed(), answered.as_ref().map(|found| found.usage));
        answered
    }
}

#[async_trait]
impl Reranker for Timed<dyn Reranker> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn rerank(&self, query: &str, texts: &[Text], call: &Call<'_>) -> Result<Reranking, Error> {
        let began = Instant::now();
        let answered = self.inner.rerank(query, texts, call).await;
        self.of.ended(began.elapsed(), answered.as_ref().map(|found| found.usage));
        answered
    }
}

#[cfg(test)]
mod tests {
    use anabranch_engine::backend::FinishReason;

    use super::*;
    use crate::metrics::{Metrics, Moment};

    /// Begins to answer, and answers; or refuses what is empty.
    #[derive(Debug)]
    struct Streams;

    #[async_trait]
    impl ChatModel for Streams {
        fn name(&self) -> &'static str {
            "streams"
        }

        async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
            if request.messages.is_empty() {
                return Err(Error::Rejected { backend: "streams".into(), message: "empty".into() });
            }
            (call.on_first_token)();
            (call.on_first_token)();
            Ok(ChatResponse {
                text: "yes".into(),
                model: "streams".into(),
                finish_reason: FinishReason::Stop,
                usage: Usage { prompt_tokens: 100, completion_tokens: 1, ..Usage::default() },
                logprobs: Vec::new(),
                tool_calls: Vec::new(),
            })
        }
    }

    #[tokio::test]
    async fn calls_are_timed_by_model_and_by_what_came_of_them() {
        let metrics = Metrics::default();
        let mut resources = Resources::default();
        resources.models.insert("fast".into(), Model::Chat(Arc::new(Streams)));
        metrics.time(&mut resources);
        let Model::Chat(model) = &resources.models["fast"] else { panic!("no chat model") };
        let said = anabranch_engine::value::Message {
            role: anabranch_engine::value::Role::User,
            content: "well?".into(),
        };
        let asked = ChatRequest { messages: vec![said], ..ChatRequest::default() };
        model.chat(&asked, &Call::keyed("1")).await.unwrap();
        model.chat(&ChatRequest::default(), &Call::keyed("2")).await.unwrap_err();
        let text = metrics.text(Moment::default());
        let of = "gen_ai_operation_name=\"chat\",gen_ai_request_model=\"fast\"";
        for line in [
            format!("gen_ai_client_operation_duration_seconds_count{{{of},error_type=\"\"}} 1"),
            format!("gen_ai_client_operation_duration_seconds_count{{{of},error_type=\"rejected\"}} 1"),
            format!("gen_ai_client_operation_time_to_first_chunk_seconds_count{{{of}}} 1"),
            format!("gen_ai_client_token_usage_sum{{{of},gen_ai_token_type=\"input\"}} 100.0"),
            format!("gen_ai_client_token_usage_count{{{of},gen_ai_token_type=\"output\"}} 1"),
        ] {
            assert!(text.lines().any(|told| told == line), "{line} in\n{text}");
        }
    }
}
