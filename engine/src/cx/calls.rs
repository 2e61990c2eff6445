//! Calls of models and encoders: reserved in every budget around, sent, and booked.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Answered, Asked, Asking, Cx, Model, Price, Progress, WatchCall, lookup};
use crate::backend::{self, Call, ChatRequest, ChatResponse, Passage, TokenVector, Usage, Vector};
use crate::limits;
use crate::operator::{EmbedderName, ModelName, OpError, RerankerName};
use crate::value::Text;

impl Cx {
    /// Asks the chat model called `name`: reserves the call in every budget around, sends it, books what it used.
    pub async fn chat(&self, name: &ModelName, request: &ChatRequest) -> Result<ChatResponse, OpError> {
        let Model::Chat(model) = self.model(name)? else {
            return Err(OpError::InvalidSetting(format!(
                "model `{name}` is `extractive`, which can only select sentences; set `models.{name}.url` in anabranch.yaml or give --model-url"
            )));
        };
        let price = self.price(&name.0);
        let mut estimate = Usage {
            model_calls: 1,
            prompt_tokens: model.estimate_prompt_tokens(request),
            completion_tokens: u64::from(request.max_tokens.unwrap_or(limits::COMPLETION_TOKENS)),
            ..Usage::default()
        };
        estimate.cost = cost(&estimate, price);
        let on_delta = |delta: &str| self.progress(Progress::Delta(delta.to_owned()));
        let key = self.call_key([serde_json::to_vec(request).unwrap_or_default().as_slice()]);
        let watch = self.watch(&name.0, model.name(), Asked::Chat(request), estimate);
        let on_first_token = || watch.iter().for_each(|watch| watch.first_token());
        let call = Call {
            on_delta: &on_delta,
            on_first_token: &on_first_token,
            ..self.call(&key, watch.as_deref())
        };
        let calls = Usage { model_calls: 1, ..Usage::default() };
        let (answer, used) = self
            .booked(estimate, calls, price, async {
                let response = model.chat(request, &call).await?;
                let tokens = match response.usage {
                    // Another call read for this one.
                    Usage { shared_calls: 1.., .. } => 0,
                    // A server that says nothing of what it read has read about as much as was reserved.
                    Usage { prompt_tokens: 0, .. } => estimate.prompt_tokens,
                    Usage { prompt_tokens, .. } => prompt_tokens,
                };
                let usage = Usage { shareable_tokens: request.shareable_tokens(tokens), ..response.usage };
                Ok((response, usage))
            })
            .await;
        if let Some(watch) = &watch {
            watch.ended(answer.as_ref().map(Answered::Chat), &used);
        }
        answer
    }

    /// The vectors of `texts`, in their order: reserves the call in every budget around, sends it, books what it used.
    pub async fn embed(
        &self,
        name: &EmbedderName,
        texts: &[Text],
        passage: Passage,
    ) -> Result<Vec<Vector>, OpError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let embedder = lookup(&self.run.resources.embedders, "embedder", &name.0)?;
        let backend = || format!("embedder `{name}`");
        let key = self.call_key(texts.iter().map(|text| text.as_bytes()));
        let identity = embedder.identity();
        let room = self.encoding(&format!("embedders.{name}"), texts.iter().map(|text| text.len()).sum());
        let watch = self.watch(&name.0, &identity, Asked::Embed { texts, passage }, room.estimate);
        let call = self.call(&key, watch.as_deref());
        let found = self
            .encode(
                room,
                async {
                    let found = embedder.embed(texts, passage, &call).await?;
                    Ok((found.vectors, found.usage))
                },
                |result, usage| {
                    if let Some(watch) = &watch {
                        watch.ended(result.map(|vectors| Answered::Embed(vectors)), usage);
                    }
                },
            )
            .await?;
        let dimensions = found.first().map_or(0, |vector| vector.len());
        let is_even = dimensions > 0 && found.iter().all(|vector| vector.len() == dimensions);
        if found.len() != texts.len() || !is_even {
            let message =
                format!("{} vectors of {dimensions} numbers for {} texts", found.len(), texts.len());
            return Err(backend::Error::Garbled { backend: backend(), message }.into());
        }
        Ok(found)
    }

    /// The vectors of the tokens of `text`: reserves the call in every budget around, sends it, books what it used.
    pub async fn embed_tokens(&self, name: &EmbedderName, text: &Text) -> Result<Vec<TokenVector>, OpError> {
        let embedder = lookup(&self.run.resources.embedders, "embedder", &name.0)?;
        let key = self.call_key([b"tokens".as_slice(), text.as_bytes()]);
        let asked = Asked::Embed { texts: std::slice::from_ref(text), passage: Passage::Document };
        let identity = embedder.identity();
        let room = self.encoding(&format!("embedders.{name}"), text.len());
        let watch = self.watch(&name.0, &identity, asked, room.estimate);
        let call = self.call(&key, watch.as_deref());
        let tokens = self
            .encode(
                room,
                async {
                    let found = embedder.embed_tokens(text, &call).await?;
                    Ok((found.tokens, found.usage))
                },
                |result, usage| {
                    if let Some(watch) = &watch {
                        watch.ended(result.map(|_| Answered::Embed(&[])), usage);
                    }
                },
            )
            .await?;
        let dimensions = tokens.first().map_or(0, |token| token.vector.len());
        let is_good =
            |token: &TokenVector| token.vector.len() == dimensions && text.get(token.range.clone()).is_some();
        if dimensions == 0 || !tokens.iter().all(is_good) {
            let message =
                format!("{} vectors of tokens, not all of one length and within the text", tokens.len());
            return Err(backend::Error::Garbled { backend: format!("embedder `{name}`"), message }.into());
        }
        Ok(tokens)
    }

    /// How well each of `texts` matches `query`, in their order: the higher the better. Reserves the call in every
    /// budget around, sends it, books what it used.
    pub async fn rerank(
        &self,
        name: &RerankerName,
        query: &str,
        texts: &[Text],
    ) -> Result<Vec<f64>, OpError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let reranker = lookup(&self.run.resources.rerankers, "reranker", &name.0)?;
        let bytes = texts.iter().map(|text| query.len() + text.len()).sum();
        let key =
            self.call_key([query.as_bytes()].into_iter().chain(texts.iter().map(|text| text.as_bytes())));
        let room = self.encoding(&format!("rerankers.{name}"), bytes);
        let watch = self.watch(&name.0, reranker.name(), Asked::Rerank { query, texts }, room.estimate);
        let call = self.call(&key, watch.as_deref());
        let scores = self
            .encode(
                room,
                async {
                    let found = reranker.rerank(query, texts, &call).await?;
                    Ok((found.scores, found.usage))
                },
                |result, usage| {
                    if let Some(watch) = &watch {
                        watch.ended(result.map(|scores| Answered::Rerank(scores)), usage);
                    }
                },
            )
            .await?;
        if scores.len() != texts.len() || !scores.iter().all(|score| score.is_finite()) {
            let message =
                format!("{} scores for {} texts, or one that is no number", scores.len(), texts.len());
            return Err(backend::Error::Garbled { backend: format!("reranker `{name}`"), message }.into());
        }
        Ok(scores)
    }

    /// What a call of an encoder may take that reads `bytes` of text, at the price called `price`.
    fn encoding(&self, price: &str, bytes: usize) -> Room {
        let price = self.price(price);
        // Three bytes a token is above what common tokenizers need for prose.
        let mut estimate =
            Usage { encoder_calls: 1, prompt_tokens: bytes as u64 / 3 + 1, ..Usage::default() };
        estimate.cost = cost(&estimate, price);
        Room { estimate, price }
    }

    /// One call of an encoder; `told` hears of its end.
    async fn encode<T>(
        &self,
        Room { estimate, price }: Room,
        work: impl Future<Output = Result<(T, Usage), backend::Error>>,
        told: impl FnOnce(Result<&T, &OpError>, &Usage),
    ) -> Result<T, OpError> {
        let calls = Usage { encoder_calls: 1, ..Usage::default() };
        let (answer, used) = self.booked(estimate, calls, price, work).await;
        told(answer.as_ref(), &used);
        answer
    }

    /// Who is to be told how a call goes on for which `held` is held.
    pub(super) fn watch(
        &self,
        name: &str,
        model: &str,
        asked: Asked<'_>,
        held: Usage,
    ) -> Option<Box<dyn WatchCall>> {
        let asking = Asking { scope: &self.scope, attempt: self.attempt, name, model, asked, held };
        self.run.observer.as_ref()?.calling(&asking)
    }

    /// Names one call of this node execution by what it asks: the same over attempts and restarts, another for the
    /// next call.
    pub(super) fn call_key<'a>(&self, asked: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.idempotency_key().as_bytes());
        for part in asked {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// A call on behalf of this run, for as long as this attempt may take and the run's outcome is wanted.
    pub(super) fn call<'a>(&'a self, key: &'a str, watch: Option<&'a dyn WatchCall>) -> Call<'a> {
        let deadline = [self.deadline.get().copied(), self.run.deadline].into_iter().flatten().min();
        Call {
            caller: &self.run.caller,
            deadline,
            is_idempotent: !self.has_effects.load(Ordering::Relaxed),
            trace: watch.and_then(WatchCall::traceparent),
            ..Call::keyed(key)
        }
    }

    /// Does `work` with `estimate` held in every budget around, then books `calls` and what it says that it used; tells
    /// what was booked.
    pub(super) async fn booked<T>(
        &self,
        estimate: Usage,
        calls: Usage,
        price: Price,
        work: impl Future<Output = Result<(T, Usage), backend::Error>>,
    ) -> (Result<T, OpError>, Usage) {
        if let Err(over) = self.ledger.hold(estimate) {
            return (Err(over.into()), Usage::default());
        }
        if let Some(purse) = &self.run.purse
            && let Err(over) = purse.hold(estimate)
        {
            self.ledger.release(estimate);
            return (Err(over.into()), Usage::default());
        }
        // As long as nothing is known of what it takes, it may be all that was held.
        let mut call = HeldCall { cx: self, held: estimate, used: unanswered(estimate) };
        match work.await {
            Ok((answer, usage)) => {
                call.used = priced(usage, calls, price);
                (Ok(answer), call.used)
            }
            Err(error) => {
                // A refusal costs a call and no tokens; nobody knows what a broken call has used: the estimate stands.
                if error.used_nothing() {
                    call.used = calls;
                }
                // Here, too, and not only where an attempt fails: an operator may make an output of it.
                let error = match &self.run.resources.redact {
                    Some(redact) => error.redacted(&**redact),
                    None => error,
                };
                (Err(error.into()), call.used)
            }
        }
    }

    fn price(&self, name: &str) -> Price {
        self.run.resources.prices.get(name).copied().unwrap_or_default()
    }
}

/// What is held for a call, by which price.
#[derive(Clone, Copy)]
struct Room {
    estimate: Usage,
    price: Price,
}

/// A model call in flight. Dropped when it ends or is cancelled: what it held becomes what it used.
struct HeldCall<'a> {
    cx: &'a Cx,
    held: Usage,
    used: Usage,
}

impl Drop for HeldCall<'_> {
    fn drop(&mut self) {
        self.cx.ledger.release(self.held);
        self.cx.ledger.hold_unchecked(self.used);
        if let Some(purse) = &self.cx.run.purse {
            purse.settle(self.held, self.used);
        }
        *self.cx.used.lock().unwrap_or_else(PoisonError::into_inner) += self.used;
    }
}

/// What counts as used of a call that nobody heard the end of.
fn unanswered(held: Usage) -> Usage {
    Usage { unanswered_calls: held.model_calls + held.encoder_calls, ..held }
}

/// What an answered call has used, by what its server says.
fn priced(used: Usage, calls: Usage, price: Price) -> Usage {
    let Usage { model_calls, encoder_calls, tool_calls, .. } = calls;
    let used = Usage { model_calls, encoder_calls, tool_calls, ..used };
    Usage { cost: cost(&used, price), ..used }
}

fn cost(usage: &Usage, price: Price) -> f64 {
    let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    fresh as f64 * price.prompt
        + usage.cached_tokens as f64 * price.cached
        + usage.completion_tokens as f64 * price.completion
}
