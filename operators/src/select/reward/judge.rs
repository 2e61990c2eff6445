//! A reward by a chat model that says whether a set holds an answer: for the last few sets of a search.

use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Prompt};
use anabranch_engine::value::{Chunk, Value};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Reward;
use crate::ask;
use crate::prompt::{Prompts, quoted};
use crate::select::candidates::Candidates;
use crate::select::search::Set;

/// A judge of the last sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many sets are shown, the best first; the first that holds an answer is taken.
    #[schemars(range(min = 1, max = 3))]
    pub sets: usize,
    /// The model to ask.
    pub model: ModelName,
    /// What the model is told about its task. Besides the ports it can use `fence`.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports, where `chunks` are those of the set, it can use `fence`, a line that no
    /// chunk contains.
    #[schemars(extend("x-variables" = ["fence"]))]
    pub prompt: Prompt,
    /// Most tokens of a judgement with its reason.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sets: 2,
            model: ModelName::default(),
            system: Prompt(include_str!("../../../prompts/select.mcts.system.md").into()),
            prompt: Prompt(include_str!("../../../prompts/select.mcts.md").into()),
            max_tokens: 512,
        }
    }
}

impl Settings {
    /// Most calls of the model.
    pub(crate) fn calls_max(&self) -> u64 {
        self.sets as u64 * 2
    }
}

#[derive(Debug, Deserialize)]
struct Said {
    answerable: bool,
}

/// 1 for a set that holds an answer, 0 for another: a call each.
pub(crate) struct Judge<'a> {
    pub(crate) cx: &'a Cx,
    pub(crate) settings: &'a Settings,
    pub(crate) query: &'a str,
    pub(crate) candidates: &'a Candidates,
}

impl Judge<'_> {
    fn request(&self, set: &Set) -> Result<ChatRequest, OpError> {
        let chunks: Vec<Arc<Chunk>> =
            set.places().filter_map(|place| self.candidates.chunks().get(place).cloned()).collect();
        let variables = [
            ("query", Value::text(self.query)),
            ("chunks", Value::list(chunks.iter().cloned().map(Value::Chunk))),
        ];
        let prompts = Prompts { system: &self.settings.system, prompt: &self.settings.prompt };
        Ok(ChatRequest {
            temperature: Some(0.0),
            max_tokens: Some(self.settings.max_tokens),
            ..prompts.request(self.cx, &variables, quoted(&chunks).chain([self.query]))?
        })
    }
}

#[async_trait]
impl Reward for Judge<'_> {
    async fn values(&self, sets: &[Set]) -> Result<Vec<f64>, OpError> {
        // The reason comes first, so that a model that writes in this order decides after it.
        let schema = json!({
            "type": "object",
            "properties": { "reason": { "type": "string" }, "answerable": { "type": "boolean" } },
            "required": ["reason", "answerable"],
            "additionalProperties": false,
        });
        let mut values = Vec::with_capacity(sets.len());
        for set in sets {
            let request = self.request(set)?;
            let said: Said =
                ask::json(self.cx, &self.settings.model, request, &schema, 1, |_| Ok(())).await?;
            values.push(f64::from(u8::from(said.answerable)));
        }
        Ok(values)
    }
}
