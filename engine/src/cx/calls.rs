//! Calls of models and encoders: reserved in every budget around, sent, and booked.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Cx, Model, Price, Progress, lookup};
use crate::backend::{self, Call, ChatRequest, ChatResponse, Passage, Usage, Vector};
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
        let call = Call { on_delta: &on_delta, ..self.call(&key) };
        let calls = Usage { model_calls: 1, ..Usage::default() };
        self.booked(estimate, calls, price, async {
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
        .await
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
        let call = self.call(&key);
        let found = self
            .encode(&format!("embedders.{name}"), texts.iter().map(|text| text.len()).sum(), async {
                let found = embedder.embed(texts, passage, &call).await?;
                Ok((found.vectors, found.usage))
            })
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
        let call = self.call(&key);
        let scores = self
            .encode(&format!("rerankers.{name}"), bytes, async {
                let found = reranker.rerank(query, texts, &call).await?;
                Ok((found.scores, found.usage))
            })
            .await?;
        if scores.len() != texts.len() || !scores.iter().all(|score| score.is_finite()) {
            let message =
                format!("{} scores for {} texts, or one that is no number", scores.len(), texts.len());
            return Err(backend::Error::Garbled { backend: format!("reranker `{name}`"), message }.into());
        }
        Ok(scores)
    }

    /// One call of an encoder that reads `bytes` of text.
    async fn encode<T>(
        &self,
        price: &str,
        bytes: usize,
        work: impl Future<Output = Result<(T, Usage), backend::Error>>,
    ) -> Result<T, OpError> {
        let price = self.price(price);
        // Three bytes a token is above what common tokenizers need for prose.
        let mut estimate =
            Usage { encoder_calls: 1, prompt_tokens: bytes as u64 / 3 + 1, ..Usage::default() };
        estimate.cost = cost(&estimate, price);
        let calls = Usage { encoder_calls: 1, ..Usage::default() };
        self.booked(estimate, calls, price, work).await
    }

    /// Names one call of this node execution by what it asks: the same over attempts and restarts, another for the
    /// next call.
    fn call_key<'a>(&self, asked: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.idempotency_key().as_bytes());
        for part in asked {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize().to_hex().to_string()
    }

    /// A call on behalf of this run, for as long as this attempt may take and the run's outcome is wanted.
    fn call<'a>(&'a self, key: &'a str) -> Call<'a> {
        let deadline = [self.deadline.get().copied(), self.run.deadline].into_iter().flatten().min();
        Call {
            caller: &self.run.caller,
            deadline,
            is_idempotent: !self.has_effects.load(Ordering::Relaxed),
            ..Call::keyed(key)
        }
    }

    /// Does `work` with `estimate` held in every budget around, then books `calls` and what it says that it used.
    async fn booked<T>(
        &self,
        estimate: Usage,
        calls: Usage,
        price: Price,
        work: impl Future<Output = Result<(T, Usage), backend::Error>>,
    ) -> Result<T, OpError> {
        self.ledger.hold(estimate)?;
        if let Some(purse) = &self.run.purse
            && let Err(over) = purse.hold(estimate)
        {
            self.ledger.release(estimate);
            return Err(over.into());
        }
        let mut call = HeldCall { cx: self, held: estimate, used: estimate };
        match work.await {
            Ok((answer, usage)) => {
                let Usage { model_calls, encoder_calls, .. } = calls;
                call.used = Usage { model_calls, encoder_calls, ..usage };
                call.used.cost = cost(&call.used, price);
                Ok(answer)
            }
            Err(error) => {
                // A refusal costs a call and no tokens; nobody knows what a broken call has used: the estimate stands.
                if matches!(error, backend::Error::Overloaded { .. } | backend::Error::Rejected { .. }) {
                    call.used = calls;
                }
                Err(error.into())
            }
        }
    }

    fn price(&self, name: &str) -> Price {
        self.run.resources.prices.get(name).copied().unwrap_or_default()
    }
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

fn cost(usage: &Usage, price: Price) -> f64 {
    let fresh = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
    fresh as f64 * price.prompt
        + usage.cached_tokens as f64 * price.cached
        + usage.completion_tokens as f64 * price.completion
}
