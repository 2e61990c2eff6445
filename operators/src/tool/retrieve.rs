//! Picks the tools that a task needs from a large set.

use std::cmp::Ordering;

use anabranch_engine::backend::{ChatRequest, Passage, ToolSpec, Vector};
use anabranch_engine::cx::{Cx, Model, NamedTool};
use anabranch_engine::operator::{EmbedderName, ModelName, OpError, Operator, Prompt, ToolName};
use anabranch_engine::ports;
use anabranch_engine::value::{Text, Value as Port};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ask;
use crate::prompt::Prompts;

#[cfg(test)]
mod tests;

/// Most tools that are chosen among.
const TOOLS_MAX: usize = 2_000;

/// Picks the tools that a task needs from a large set.
///
/// A model is asked what the tools that it needs would be called and what they would do. Then three views of each tool
/// are compared: all that is said of it with the question, its description with the proposed one, its name with the
/// proposed names. The nearest tools of each view get a vote from it, and whoever has `min_votes` is taken, most votes
/// first. Use it before `tool.call` (its port `tools`) where there are too many tools to offer all: fewer tools mean a
/// shorter prompt and fewer wrong calls. Asks the model once, and once more if its answer cannot be used; with an
/// extractive model it asks none, and the question itself stands in for the proposal. Asks the embedder for all tools
/// anew, so give the node a `cache`.
///
/// Source: the multi-view matching of CRAFT (Yuan et al. 2023).
///
/// ```yaml
/// pick:
///   op: tool.retrieve
///   with: { tools: [program], top_k: 3 }
///   in: { question: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retrieve {
    /// The tools to choose among. A server's name stands for all that it has.
    #[schemars(length(min = 1, max = 256))]
    pub tools: Vec<ToolName>,
    /// Most tools that are taken.
    #[serde(default = "default_top_k")]
    #[schemars(range(min = 1, max = 256))]
    pub top_k: usize,
    /// How many votes a tool needs, of one a view.
    #[serde(default = "default_min_votes")]
    #[schemars(range(min = 1, max = 3))]
    pub min_votes: u8,
    /// Tools that are taken in any case, the nearest first, if fewer have the votes.
    #[serde(default = "default_min_tools")]
    #[schemars(range(min = 0, max = 256))]
    pub min_tools: usize,
    /// How many tools the view of the question votes for.
    #[serde(default = "default_k")]
    #[schemars(range(min = 1, max = 256))]
    pub k_query: usize,
    /// How many tools the view of the description votes for.
    #[serde(default = "default_k")]
    #[schemars(range(min = 1, max = 256))]
    pub k_description: usize,
    /// How many tools each proposed name votes for.
    #[serde(default = "default_k_name")]
    #[schemars(range(min = 1, max = 256))]
    pub k_name: usize,
    /// Most names that are proposed.
    #[serde(default = "default_names")]
    #[schemars(range(min = 1, max = 20))]
    pub names: usize,
    /// The embedder to ask.
    #[serde(default)]
    pub embedder: EmbedderName,
    /// The model to ask.
    #[serde(default)]
    pub model: ModelName,
    /// What the model is told about its task. Besides the ports it can use `fence` and `n`.
    #[serde(default = "default_system")]
    #[schemars(extend("x-variables" = ["fence", "n"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports it can use `fence` and `n`; `fence` is a line that none of
    /// the texts contains.
    #[serde(default = "default_prompt")]
    #[schemars(extend("x-variables" = ["fence", "n"]))]
    pub prompt: Prompt,
    /// Most tokens of the proposal.
    #[serde(default = "default_max_tokens")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
}

const fn default_top_k() -> usize {
    3
}

const fn default_min_votes() -> u8 {
    2
}

const fn default_min_tools() -> usize {
    1
}

const fn default_k() -> usize {
    10
}

const fn default_k_name() -> usize {
    5
}

const fn default_names() -> usize {
    3
}

const fn default_max_tokens() -> u32 {
    256
}

fn default_system() -> Prompt {
    Prompt(include_str!("../../prompts/tool.retrieve.system.md").into())
}

fn default_prompt() -> Prompt {
    Prompt(include_str!("../../prompts/tool.retrieve.md").into())
}

ports! {
    /// What it reads.
    pub struct In {
        /// What is to be done.
        pub question: String,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The names of the tools, as `tool.call` takes them.
        pub tools: Vec<String>,
        /// Every tool that got a vote, best first: `tool`, `votes`, `similarity`.
        pub ranking: Vec<Value>,
        /// What was looked for: `names` and `description`.
        pub proposal: Value,
    }
}

#[derive(Debug, Deserialize)]
struct Proposal {
    names: Vec<String>,
    description: String,
}

/// A tool with its votes.
struct Candidate {
    at: usize,
    votes: u8,
    similarity: f64,
}

impl Retrieve {
    async fn proposal(&self, cx: &Cx, question: &str) -> Result<Proposal, OpError> {
        if matches!(cx.model(&self.model)?, Model::Extractive) {
            return Ok(Proposal { names: vec![question.to_owned()], description: question.to_owned() });
        }
        let n = Port::Int(i64::try_from(self.names).unwrap_or(i64::MAX));
        let variables = [("question", Port::text(question)), ("n", n)];
        let prompts = Prompts { system: &self.system, prompt: &self.prompt };
        let request = ChatRequest {
            temperature: Some(0.0),
            max_tokens: Some(self.max_tokens),
            ..prompts.request(cx, &variables, std::iter::once(question))?
        };
        let schema = json!({
            "type": "object",
            "properties": {
                "names": { "type": "array", "items": { "type": "string" } },
                "description": { "type": "string" },
            },
            "required": ["names", "description"],
            "additionalProperties": false,
        });
        let check = |said: &Proposal| {
            let is_empty = |text: &String| words(text).is_empty();
            if said.names.iter().all(is_empty) || is_empty(&said.description) {
                return Err("`names` or `description` says nothing".to_owned());
            }
            Ok(())
        };
        let mut said: Proposal = ask::json(cx, &self.model, request, &schema, 1, check).await?;
        said.names.retain(|name| !words(name).is_empty());
        said.names.truncate(self.names);
        Ok(said)
    }

    /// The votes of the three views.
    async fn vote(
        &self,
        cx: &Cx,
        tools: &[NamedTool],
        question: &str,
        proposal: &Proposal,
    ) -> Result<Vec<Candidate>, OpError> {
        let specs = || tools.iter().map(|named| named.tool.spec());
        let n = tools.len();
        let texts: Vec<Text> = specs()
            .map(|spec| Text::from(whole(spec)))
            // Not all tools have one, and not all embedders take nothing.
            .chain(specs().map(|spec| match spec.description.trim() {
                "" => Text::from(words(&spec.name)),
                _ => spec.description.clone(),
            }))
            .chain(specs().map(|spec| Text::from(words(&spec.name))))
            .collect();
        let asked: Vec<Text> = [question, &proposal.description]
            .into_iter()
            .map(Text::from)
            .chain(proposal.names.iter().map(|name| Text::from(words(name))))
            .collect();
        let vectors = cx.embed(&self.embedder, &texts, Passage::Document).await?;
        let asked = cx.embed(&self.embedder, &asked, Passage::Query).await?;
        let (wholes, rest) = vectors.split_at_checked(n).unwrap_or_default();
        let (descriptions, names) = rest.split_at_checked(n).unwrap_or_default();
        let mut candidates: Vec<Candidate> =
            (0..n).map(|at| Candidate { at, votes: 0, similarity: 0.0 }).collect();
        let (general, by_name) = asked.split_at_checked(2).unwrap_or_default();
        let views = general.iter().zip([(wholes, self.k_query), (descriptions, self.k_description)]);
        for (asked, (view, k)) in views {
            count(&mut candidates, &[nearest(asked, view, k)]);
        }
        let by_name: Vec<_> = by_name.iter().map(|asked| nearest(asked, names, self.k_name)).collect();
        count(&mut candidates, &by_name);
        candidates.sort_by(|a, b| {
            let by_similarity = b.similarity.partial_cmp(&a.similarity).unwrap_or(Ordering::Equal);
            b.votes.cmp(&a.votes).then(by_similarity).then(a.at.cmp(&b.at))
        });
        Ok(candidates)
    }
}

/// The `k` tools that are nearest to what is asked, each with its cosine; of equal ones the first declared.
fn nearest(asked: &Vector, view: &[Vector], k: usize) -> Vec<(usize, f64)> {
    let dot =
        |vector: &Vector| asked.iter().zip(vector.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let mut found: Vec<(usize, f64)> = view.iter().map(dot).enumerate().collect();
    found.sort_by(|(_, a), (_, b)| b.partial_cmp(a).unwrap_or(Ordering::Equal));
    found.truncate(k);
    // What has nothing in common with what is asked is near to it only for want of others.
    found.retain(|(_, similarity)| *similarity > 0.0);
    found
}

/// Adds the votes of one view: one for each tool in any of its lists, with its best similarity.
fn count(candidates: &mut [Candidate], lists: &[Vec<(usize, f64)>]) {
    for candidate in candidates {
        let here =
            lists.iter().flatten().filter(|(at, _)| *at == candidate.at).map(|(_, similarity)| *similarity);
        if let Some(best) = here.reduce(f64::max) {
            candidate.votes += 1;
            candidate.similarity += best;
        }
    }
}

/// All that is said of a tool: its name, its description, its arguments.
fn whole(spec: &ToolSpec) -> String {
    let mut text = format!("{}. {}", words(&spec.name), spec.description);
    for (name, about) in spec.schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let about = about.get("description").and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!(" {}: {about}", words(name)));
    }
    text
}

/// A name as words: `getExchangeRate`, `get_exchange_rate` and `get.exchange-rate` are `get exchange rate`.
fn words(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for c in name.chars() {
        if (was_lower && c.is_uppercase()) || !c.is_alphanumeric() {
            words.push(' ');
        }
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl Operator for Retrieve {
    const NAME: &'static str = "tool.retrieve";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let tools = cx.tools(&self.tools).await?;
        if tools.len() > TOOLS_MAX {
            let message = format!("`tools` are {}; at most {TOOLS_MAX} are chosen among", tools.len());
            return Err(OpError::InvalidSetting(message));
        }
        let proposal = self.proposal(cx, &input.question).await?;
        let candidates = self.vote(cx, &tools, &input.question, &proposal).await?;
        let name = |candidate: &Candidate| tools.get(candidate.at).map(|tool| tool.name.to_string());
        let n_elected = candidates.iter().filter(|candidate| candidate.votes >= self.min_votes).count();
        let n_taken = n_elected.max(self.min_tools).min(self.top_k);
        let line = |candidate: &Candidate| json!({ "tool": name(candidate), "votes": candidate.votes, "similarity": candidate.similarity });
        Ok(Out {
            tools: candidates.iter().take(n_taken).filter_map(name).collect(),
            ranking: candidates.iter().filter(|candidate| candidate.votes > 0).map(line).collect(),
            proposal: json!({ "names": proposal.names, "description": proposal.description }),
        })
    }

    fn model_calls_max(&self) -> u64 {
        2
    }
}
