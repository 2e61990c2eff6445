//! The looks at chunks: what the model is asked, and the scores that it gives.

use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::OpError;
use anabranch_engine::value::{Chunk, Value};
use serde_json::{Value as Json, json};

use super::{Llm, Mode, OnParseError, Stage};
use crate::grade;
use crate::prompt::{Prompts, quoted};

/// The score of an answer that says nothing.
const NEUTRAL: f64 = 0.5;
/// What the looks at one chunk gave.
#[derive(Debug, Clone, Default)]
pub(super) struct Judged {
    /// One score a stage.
    pub(super) scores: Vec<f64>,
    /// How many of them could not be read.
    pub(super) unread: usize,
    /// Whether it is dropped for that.
    pub(super) is_out: bool,
}

impl Judged {
    fn put(&mut self, score: Option<f64>, on_parse_error: OnParseError) {
        self.unread += usize::from(score.is_none());
        let stand_in = match on_parse_error {
            OnParseError::KeepBase => self.scores.first().copied().unwrap_or(NEUTRAL),
            OnParseError::Neutral | OnParseError::Drop => NEUTRAL,
        };
        self.is_out |= score.is_none() && on_parse_error == OnParseError::Drop;
        self.scores.push(score.unwrap_or(stand_in));
    }
}

impl Llm {
    /// All looks at `chunks`, each of which is one call.
    pub(super) async fn judge(
        &self,
        cx: &Cx,
        query: &str,
        chunks: &[Arc<Chunk>],
    ) -> Result<Vec<Judged>, OpError> {
        let mut judged = vec![Judged::default(); chunks.len()];
        for stage in &self.stages {
            if judged.iter().all(|judged| judged.is_out) {
                break;
            }
            let scores = self.look(cx, query, chunks, *stage, &judged).await?;
            for (judged, score) in judged.iter_mut().zip(scores) {
                judged.put(score, self.on_parse_error);
            }
        }
        Ok(judged)
    }

    /// One call: the scores of `chunks`, `None` where the answer has none.
    async fn look(
        &self,
        cx: &Cx,
        query: &str,
        chunks: &[Arc<Chunk>],
        stage: Stage,
        before: &[Judged],
    ) -> Result<Vec<Option<f64>>, OpError> {
        let rounded = |score: f64| Value::Float((score * 100.0).round() / 100.0);
        let scores = before.iter().map(|judged| {
            Value::map(
                Stage::ALL.iter().zip(&judged.scores).map(|(stage, score)| (stage.name(), rounded(*score))),
            )
        });
        let variables = [
            ("query", Value::text(query)),
            ("chunks", Value::list(chunks.iter().cloned().map(Value::Chunk))),
            ("stage", Value::text(stage.name())),
            ("mode", Value::text(self.mode.name())),
            ("scores", Value::list(scores)),
        ];
        let prompts = Prompts { system: &self.system, prompt: &self.prompt };
        let request = ChatRequest {
            temperature: Some(0.0),
            max_tokens: Some(self.max_tokens),
            response_schema: Some(self.response_schema(chunks.len())),
            ..prompts.request(cx, &variables, quoted(chunks).chain([query]))?
        };
        let answer = cx.chat(&self.model, &request).await?.text;
        Ok(match self.mode {
            Mode::Pointwise => vec![grade::one(&answer, "score", 1.0)],
            Mode::Listwise => grade::many(&answer, "score", 1.0, chunks.len()),
        })
    }

    fn response_schema(&self, n: usize) -> Json {
        let score = json!({ "type": "number", "minimum": 0, "maximum": 1 });
        let (name, value) = match self.mode {
            Mode::Pointwise => ("score", score),
            Mode::Listwise => {
                let item = json!({
                    "type": "object",
                    "properties": { "passage": { "type": "integer", "minimum": 1, "maximum": n }, "score": score },
                    "required": ["passage", "score"],
                    "additionalProperties": false,
                });
                ("scores", json!({ "type": "array", "items": item }))
            }
        };
        json!({
            "type": "object",
            "properties": { name: value },
            "required": [name],
            "additionalProperties": false,
        })
    }
}
