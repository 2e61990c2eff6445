//! Puts the chunks that a model finds most helpful first.

use std::ops::Range;
use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Score, Text, Value};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::grade;
use crate::prompt::{Prompts, quoted};

#[cfg(test)]
mod tests;

/// Puts the chunks that a model finds most helpful first.
///
/// With `mode: listwise` the model sees `window` chunks at a time, the last ones first, and gives their numbers from
/// best to worst; the window then moves `step` chunks forward, so that what is good moves up from window to window.
/// Numbers that it leaves out follow in their old order, repeated and unknown ones are passed over. With
/// `mode: pointwise` it grades each chunk by itself from 0 to 10, and chunks of equal grade stay in their order. Chunks
/// after the first `max_chunks` are not looked at and come last. Retrieved text is fenced off from the instructions by a
/// line that nobody can guess.
///
/// The chunks carry new scores. Listwise they tell ranks and nothing else: of n chunks the best has 1 and each next one
/// 1/n less. Pointwise they are a tenth of the grade. Cut at a number of chunks (`top_k`) after `listwise`, and at a
/// score only after `pointwise`.
///
/// Use it where the order matters more than time: after a retriever, before a reader that sees few chunks.
/// Asks the model once a window: for n chunks 1 + (n - window) / step times, rounded up, one after the other, which is
/// 9 for 100 chunks. With `mode: pointwise` once a chunk, `concurrency` at the same time.
///
/// Source: `RankGPT` (Sun et al. 2023, arXiv 2304.09542), whose first window is widened here to `window` chunks so that
/// the first chunks are always compared.
///
/// ```yaml
/// rerank:
///   op: rerank.llm
///   with: { max_chunks: 40, top_k: 8 }
///   in: { query: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Llm {
    /// The model to ask.
    pub model: ModelName,
    /// Whether the model orders chunks beside one another or grades each by itself.
    pub mode: Mode,
    /// How many chunks the model orders in one call.
    #[schemars(range(min = 2, max = 100))]
    pub window: usize,
    /// How many chunks the window moves on, at most `window`.
    #[schemars(range(min = 1, max = 100))]
    pub step: usize,
    /// Most chunks to look at.
    #[schemars(range(min = 1, max = 1000))]
    pub max_chunks: usize,
    /// How many chunks to give; unset gives all.
    #[schemars(range(min = 1, max = 10_000))]
    pub top_k: Option<usize>,
    /// Most calls at the same time. Windows wait for one another, so this is for `mode: pointwise`.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
    /// Most tokens of one answer. Models that think before they answer need hundreds.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
    /// What the model is told about its task. Besides the ports it can use what `prompt` can.
    #[schemars(extend("x-variables" = ["fence", "mode"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports, where `chunks` are those of this call, it can use `fence`, a line that
    /// no chunk contains, and `mode`.
    #[schemars(extend("x-variables" = ["fence", "mode"]))]
    pub prompt: Prompt,
}

/// How chunks are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Beside one another: the model gives an order.
    Listwise,
    /// Each by itself: the model gives a grade.
    Pointwise,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            model: ModelName::default(),
            mode: Mode::Listwise,
            window: 20,
            step: 10,
            max_chunks: 100,
            top_k: None,
            concurrency: 8,
            max_tokens: 1024,
            system: Prompt(include_str!("../../prompts/rerank.llm.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/rerank.llm.md").into()),
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// What the chunks should help with.
        pub query: String,
        /// The chunks to order, best first as far as is known.
        pub chunks: Vec<Arc<Chunk>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks, best first, with their new scores.
        pub chunks: Vec<Arc<Chunk>>,
        /// Their scores, in the same order.
        pub scores: Vec<f64>,
        /// How many answers could not be read: such a window stays as it is, such a chunk counts as graded 5.
        pub unread: usize,
    }
}

/// The best grade.
const GRADE_MAX: f64 = 10.0;
/// The grade, as a share of the best, of a chunk whose answer says nothing.
const NEUTRAL: f64 = 0.5;

impl Llm {
    /// Asks about `chunks` in one call.
    async fn ask(&self, cx: &Cx, query: &str, chunks: &[Arc<Chunk>]) -> Result<String, OpError> {
        let mode = if self.mode == Mode::Listwise { "listwise" } else { "pointwise" };
        let variables = [
            ("query", Value::text(query)),
            ("chunks", Value::list(chunks.iter().cloned().map(Value::Chunk))),
            ("mode", Value::text(mode)),
        ];
        let prompts = Prompts { system: &self.system, prompt: &self.prompt };
        let request = ChatRequest {
            temperature: Some(0.0),
            max_tokens: Some(self.max_tokens),
            response_schema: Some(self.response_schema(chunks.len())),
            ..prompts.request(cx, &variables, quoted(chunks).chain([query]))?
        };
        Ok(cx.chat(&self.model, &request).await?.text)
    }

    fn response_schema(&self, n: usize) -> Json {
        let number = |minimum: usize, maximum: usize| json!({ "type": "integer", "minimum": minimum, "maximum": maximum });
        let (name, value) = match self.mode {
            Mode::Listwise => ("order", json!({ "type": "array", "items": number(1, n) })),
            Mode::Pointwise => ("grade", number(0, 10)),
        };
        json!({
            "type": "object",
            "properties": { name: value },
            "required": [name],
            "additionalProperties": false,
        })
    }

    /// Orders `chunks` window by window; gives how many answers could not be read.
    async fn listwise(&self, cx: &Cx, query: &str, chunks: &mut [Arc<Chunk>]) -> Result<usize, OpError> {
        let mut unread = 0;
        for window in windows(chunks.len(), self.window, self.step) {
            let Some(window) = chunks.get_mut(window) else { continue };
            let mut order = grade::order(&self.ask(cx, query, window).await?, window.len());
            unread += usize::from(order.is_empty());
            let left_out: Vec<usize> = (0..window.len()).filter(|index| !order.contains(index)).collect();
            order.extend(left_out);
            let ordered: Vec<Arc<Chunk>> =
                order.iter().filter_map(|index| window.get(*index).cloned()).collect();
            window.clone_from_slice(&ordered);
        }
        Ok(unread)
    }

    /// The grade of each chunk, 0 to 1, `None` where the answer has none.
    async fn pointwise(
        &self,
        cx: &Cx,
        query: &str,
        chunks: &[Arc<Chunk>],
    ) -> Result<Vec<Option<f64>>, OpError> {
        let calls: Vec<_> = chunks.chunks(1).map(|chunk| self.ask(cx, query, chunk)).collect();
        let answers: Vec<String> = stream::iter(calls).buffered(self.concurrency).try_collect().await?;
        let grade = |answer: &String| Some(grade::one(answer, "grade", GRADE_MAX)? / GRADE_MAX);
        Ok(answers.iter().map(grade).collect())
    }
}

/// The windows over `n` chunks, in the order in which they are asked about: from the back to the front, the last one
/// always over the first chunks.
fn windows(n: usize, window: usize, step: usize) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut end = n;
    while end > window {
        windows.push(end - window..end);
        end = end.saturating_sub(step.max(1));
    }
    // One chunk alone has no order.
    if n > 1 {
        windows.push(0..window.min(n));
    }
    windows
}

#[async_trait]
impl Operator for Llm {
    const NAME: &'static str = "rerank.llm";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let mut chunks = input.chunks;
        let rest = chunks.split_off(chunks.len().min(self.max_chunks));
        let n = (chunks.len() + rest.len()) as f64;
        let (mut ordered, unread): (Vec<(f64, Arc<Chunk>)>, usize) = match self.mode {
            Mode::Listwise => {
                let unread = self.listwise(cx, &input.query, &mut chunks).await?;
                let ranked = chunks.into_iter().chain(rest).enumerate();
                (ranked.map(|(rank, chunk)| (1.0 - rank as f64 / n, chunk)).collect(), unread)
            }
            Mode::Pointwise => {
                let grades = self.pointwise(cx, &input.query, &chunks).await?;
                let unread = grades.iter().filter(|grade| grade.is_none()).count();
                let grades = grades.into_iter().map(|grade| grade.unwrap_or(NEUTRAL));
                let mut sorted: Vec<(f64, Arc<Chunk>)> = grades.zip(chunks).collect();
                sorted.sort_by(|(a, _), (b, _)| b.total_cmp(a));
                (sorted.into_iter().chain(rest.into_iter().map(|chunk| (0.0, chunk))).collect(), unread)
            }
        };
        ordered.truncate(self.top_k.unwrap_or(usize::MAX));
        let scores = ordered.iter().map(|(score, _)| *score).collect();
        let with_score = |(score, chunk): (f64, Arc<Chunk>)| {
            Arc::new(Chunk { score: Score::new(score), ..Chunk::clone(&chunk) })
        };
        Ok(Out { chunks: ordered.into_iter().map(with_score).collect(), scores, unread })
    }

    fn model_calls_max(&self) -> u64 {
        let calls = match self.mode {
            Mode::Listwise => windows(self.max_chunks, self.window, self.step).len(),
            Mode::Pointwise => self.max_chunks,
        };
        calls as u64
    }

    fn check(&self, _given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        if self.mode == Mode::Listwise && self.step > self.window {
            problems.push(SettingProblem {
                pointer: "/step".to_owned(),
                message: format!(
                    "a step of {} passes over chunks with a window of {}",
                    self.step, self.window
                ),
                hint: Some("make `step` at most `window`; half of it lets good chunks move up".to_owned()),
            });
        }
        problems
    }
}
