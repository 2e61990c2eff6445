//! Lets a model call tools until it has an answer.

use std::sync::Arc;

use anabranch_engine::backend::{
    self, ChatRequest, FinishReason, ToolAnswer, ToolCall, ToolChoice, ToolTurn,
};
use anabranch_engine::cx::{Cx, Progress};
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt, SettingProblem, ToolName};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Message, Role, Text, Value as Port};
use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::check_effects;
use super::offered::{Offered, OfferedTool};
use super::references::References;
use crate::prompt::{push, render};

mod history;
mod made;
#[cfg(test)]
mod tests;

use history::{History, Ids};
use made::Made;

/// Lets a model call tools until it has an answer.
///
/// The model is told of the tools and asks for calls, several in a turn if it likes. Every call is held against the
/// tool's JSON Schema before anything is sent: an unknown tool, arguments that are missing, of a wrong type or too many
/// come back to the model as an error text, so that it can correct itself. Calls of tools that can be called twice
/// without harm run side by side and are made again if they fail in a way that may pass; all others run one after the
/// other, once. Each call has exactly one result, in the order of the calls. Long results are cut for the model, which
/// can hand all of them on by name (`"$tool.1"`), as it can the values that the flow gives it.
///
/// Use it where the model has to decide what to look up or to do; where the flow knows it, `tool.run` is cheaper.
/// Asks the model once a turn, and once more if a bound is reached before it has answered.
///
/// Source: `ReAct` (Yao et al. 2023) with the calls as the model servers take them; the checks are those of
/// `ComplexFuncBench` (Zhong et al. 2025).
///
/// ```yaml
/// act:
///   op: tool.call
///   with: { tools: [program], max_turns: 6, effects: false }
///   in: { question: inputs.question }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tools that the model can ask for. A server's name stands for all that it has.
    #[schemars(length(min = 1, max = 256))]
    pub tools: Vec<ToolName>,
    /// The model to ask.
    #[serde(default)]
    pub model: ModelName,
    /// What the model is told about its task.
    #[serde(default = "default_system")]
    pub system: Prompt,
    /// What the model is asked, unless only `messages` are given.
    #[serde(default = "default_prompt")]
    pub prompt: Prompt,
    /// Most turns: answers of the model that ask for calls.
    #[serde(default = "default_max_turns")]
    #[schemars(range(min = 1, max = 100))]
    pub max_turns: u32,
    /// Most calls in all; those beyond are refused.
    #[serde(default = "default_max_calls")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_calls: u32,
    /// Most turns in a row in which no call can be made because all are wrong.
    #[serde(default = "default_max_repairs")]
    #[schemars(range(min = 0, max = 20))]
    pub max_repairs: u32,
    /// Calls of a turn that are under way at once, of tools that can be called twice without harm.
    #[serde(default = "default_concurrency")]
    #[schemars(range(min = 1, max = 32))]
    pub concurrency: u32,
    /// Longest part of a result that the model is shown, in characters.
    #[serde(default = "default_result_chars")]
    #[schemars(range(min = 100, max = 1_000_000))]
    pub result_chars: u32,
    /// Whether the model may (`auto`), must (`required`) or must not (`none`) ask for a call in its first turn.
    #[serde(default)]
    pub choice: ToolChoice,
    /// Whether a tool may change something outside that must not be changed twice. Without effects all tools must be
    /// such that can be called twice without harm; then a restart makes the node again, where it otherwise fails it.
    #[serde(default = "has_effects")]
    pub effects: bool,
    /// Whether the model is asked for an answer in words once a bound is reached.
    #[serde(default = "has_effects")]
    pub last_word: bool,
    /// Most tokens of an answer.
    #[serde(default = "default_max_tokens")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
}

fn default_system() -> Prompt {
    Prompt(include_str!("../../prompts/tool.call.system.md").into())
}

fn default_prompt() -> Prompt {
    Prompt(include_str!("../../prompts/tool.call.md").into())
}

const fn default_max_turns() -> u32 {
    8
}

const fn default_max_calls() -> u32 {
    32
}

const fn default_max_repairs() -> u32 {
    3
}

const fn default_concurrency() -> u32 {
    4
}

const fn default_result_chars() -> u32 {
    20_000
}

const fn default_max_tokens() -> u32 {
    1_024
}

const fn has_effects() -> bool {
    true
}

ports! {
    /// What it reads.
    pub struct In {
        /// What the user asks.
        pub question: Option<String>,
        /// The conversation so far, oldest first; the question comes after it.
        pub messages: Option<Vec<Arc<Message>>>,
        /// A conversation with its calls and results, as model servers write it: the `history` of an earlier `tool.call`,
        /// or one recorded elsewhere. Before `messages`.
        pub history: Option<Value>,
        /// Values by name that the model can pass to tools as `"$name"` instead of writing them out.
        pub values: Option<Value>,
        /// Those of the tools that are offered this time, as `tool.retrieve` names them.
        pub tools: Option<Vec<String>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The answer in words; empty if the model gave none.
        pub text: String,
        /// Every call that the model asked for: `turn`, `tool`, `arguments` as they were sent, and `result` or `error`.
        pub calls: Vec<Value>,
        /// What was said, with the question and the answer, without the system prompt and the calls.
        pub messages: Vec<Arc<Message>>,
        /// The same with the calls and their results, as model servers write it.
        pub history: Value,
        /// Why it ended: `answered`, `max_turns`, `max_calls` or `invalid_calls`.
        pub stopped_because: String,
    }
}

/// What the turns leave behind.
#[derive(Default)]
struct Log {
    references: References,
    calls: Vec<Value>,
    n_sent: u64,
    n_turns: u32,
    has_effect: bool,
}

impl Call {
    fn request(&self, cx: &Cx, input: &In, offered: &Offered) -> Result<ChatRequest, OpError> {
        let values = input.values.clone().unwrap_or_else(|| json!({}));
        let Value::Object(values) = values else {
            return Err(OpError::InvalidInput("`values` is no object".to_owned()));
        };
        let question = input.question.as_deref().unwrap_or_default();
        let described = values.iter().map(|(name, value)| (name.clone(), Value::String(describe(value))));
        let variables = [
            ("question", Port::text(question)),
            ("values", Port::from_json(Value::Object(described.collect()))),
        ];
        let History { mut messages, mut turns, n_dropped } = match &input.history {
            None | Some(Value::Null) => History::default(),
            Some(history) => History::read(history)
                .map_err(|problem| OpError::InvalidInput(format!("`history`: {problem}")))?,
        };
        if n_dropped > 0 {
            cx.progress(Progress::Note(format!("leaves out {n_dropped} results of no call")));
        }
        messages.extend(input.messages.iter().flatten().map(|message| Message::clone(message)));
        if input.question.is_some() {
            let prompt = render("prompt", &self.prompt, &variables)?;
            messages.push(Message { role: Role::User, content: prompt.text.trim_end().into() });
        }
        // A conversation that brings its system prompt along keeps it.
        let mut framed = ChatRequest::default();
        if n_system(&messages) == 0 {
            push(&mut framed, Role::System, render("system", &self.system, &variables)?);
        }
        for turn in &mut turns {
            turn.after = turn.after.saturating_add(framed.messages.len());
        }
        framed.messages.append(&mut messages);
        Ok(ChatRequest {
            turns,
            tools: offered.specs(),
            tool_choice: self.choice,
            temperature: Some(self.temperature),
            max_tokens: Some(self.max_tokens),
            ..framed
        })
    }

    async fn offered(&self, cx: &Cx, input: &In) -> Result<Offered, OpError> {
        let mut tools = cx.tools(&self.tools).await?;
        if let Some(wanted) = &input.tools {
            if let Some(name) = wanted.iter().find(|name| !tools.iter().any(|tool| *tool.name == ***name)) {
                let message =
                    format!("`tools` has `{name}`, which is none of the tools that this node may use");
                return Err(OpError::InvalidInput(message));
            }
            tools.retain(|tool| wanted.iter().any(|name| *tool.name == **name));
        }
        check_effects(&tools, self.effects)?;
        let offered = Offered::of(tools, &self.tools)?;
        offered.note(cx);
        Ok(offered)
    }

    /// Makes the calls of one turn. Each has one result, in the order in which the model asked.
    async fn make(
        &self,
        cx: &Cx,
        offered: &Offered,
        asked: &[ToolCall],
        is_cut: bool,
        log: &mut Log,
    ) -> Result<Vec<Made>, OpError> {
        let mut n_left = u64::from(self.max_calls).saturating_sub(log.n_sent);
        let mut checked = Vec::with_capacity(asked.len());
        for (n, call) in asked.iter().enumerate() {
            let found = offered.check(call, &log.references);
            checked.push(match found {
                Ok(_) if n_left == 0 => {
                    Err(format!("not called: all of the {} calls are used up", self.max_calls))
                }
                Ok(found) => {
                    n_left -= 1;
                    Ok(found)
                }
                Err(problem) if is_cut && n + 1 == asked.len() => {
                    Err(format!("{problem}; your answer was cut off after {} tokens", self.max_tokens))
                }
                Err(problem) => Err(problem),
            });
        }
        let mut made: Vec<Option<Made>> = asked.iter().map(|_| None).collect();
        // What has effects runs alone, after all before it and before all after it.
        let mut group = Vec::new();
        for (n, (call, checked)) in asked.iter().zip(checked).enumerate() {
            match checked {
                Err(problem) => {
                    if let Some(place) = made.get_mut(n) {
                        *place = Some(Made::refused(call, &problem));
                    }
                }
                Ok((tool, arguments)) if tool.named.tool.is_idempotent() => group.push((n, tool, arguments)),
                Ok((tool, arguments)) => {
                    self.make_group(cx, asked, std::mem::take(&mut group), &mut made, log).await?;
                    log.has_effect = true;
                    self.make_group(cx, asked, vec![(n, tool, arguments)], &mut made, log).await?;
                }
            }
        }
        self.make_group(cx, asked, group, &mut made, log).await?;
        Ok(made.into_iter().flatten().collect())
    }

    async fn make_group(
        &self,
        cx: &Cx,
        asked: &[ToolCall],
        group: Vec<(usize, &OfferedTool, Map<String, Value>)>,
        made: &mut [Option<Made>],
        log: &mut Log,
    ) -> Result<(), OpError> {
        let first = log.n_sent;
        log.n_sent += group.len() as u64;
        let mut calls: Vec<BoxFuture<'_, _>> = Vec::with_capacity(group.len());
        for (position, (n, tool, arguments)) in group.into_iter().enumerate() {
            calls.push(Box::pin(answer(cx, n, tool, arguments, first + position as u64)));
        }
        let mut done = stream::iter(calls).buffered(self.concurrency as usize);
        while let Some((n, tool, arguments, answer)) = done.next().await {
            let Some((call, place)) = asked.get(n).zip(made.get_mut(n)) else { continue };
            let head = [("tool", Value::from(&*tool.named.name)), ("arguments", Value::Object(arguments))];
            let head = head.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
            *place = Some(match answer {
                Ok(answer) if answer.is_error => Made::failed(call, head, &answer.words()),
                Ok(answer) => {
                    let content =
                        self.shown(&answer.words(), &tool.spec.name, &answer.value, &mut log.references);
                    Made::answered(call, head, content, answer.value)
                }
                // What a tool cannot do, the model may find another way for; a budget it cannot.
                Err(OpError::Backend(error)) => Made::failed(call, head, &error.to_string()),
                Err(error) => return Err(error),
            });
        }
        Ok(())
    }

    /// A result as the model sees it, with a name for all of it where it is cut.
    fn shown(&self, words: &Text, tool: &str, value: &Value, references: &mut References) -> Text {
        let name = references.add(tool, value.clone());
        let max = self.result_chars as usize;
        match words.char_indices().nth(max) {
            None => words.clone(),
            Some((cut, _)) => {
                let start = words.get(..cut).unwrap_or_default();
                let n_chars = words.chars().count();
                format!("{start}\n[cut after {max} of {n_chars} characters; `\"${name}\"` as an argument passes all of it]")
                    .into()
            }
        }
    }

    async fn converse(
        &self,
        cx: &Cx,
        offered: &Offered,
        request: &mut ChatRequest,
        log: &mut Log,
    ) -> Result<(String, &'static str), OpError> {
        let mut n_invalid = 0;
        let mut said = String::new();
        let mut ids = Ids::of(&request.turns);
        while log.n_turns < self.max_turns {
            let response = cx.chat(&self.model, request).await?;
            request.tool_choice = ToolChoice::Auto;
            let turn = request.turns.len();
            let own = |(n, call): (usize, ToolCall)| ToolCall { id: ids.own(&call.id, turn, n), ..call };
            let asked: Vec<ToolCall> = response.tool_calls.into_iter().enumerate().map(own).collect();
            let is_cut = response.finish_reason == FinishReason::Length;
            said = response.text;
            if asked.is_empty() {
                return Ok((said, "answered"));
            }
            log.n_turns += 1;
            let made = self.make(cx, offered, &asked, is_cut, log).await?;
            n_invalid = if made.iter().any(|made| made.is_sent) { 0 } else { n_invalid + 1 };
            for made in &made {
                let mut shown = made.shown.clone();
                shown.insert("turn".to_owned(), log.n_turns.into());
                log.calls.push(Value::Object(shown));
            }
            request.turns.push(ToolTurn {
                after: request.messages.len(),
                text: said.as_str().into(),
                calls: asked,
                results: made.into_iter().map(|made| made.result).collect(),
            });
            if log.n_sent >= u64::from(self.max_calls) {
                return Ok((said, "max_calls"));
            }
            if n_invalid > self.max_repairs {
                return Ok((said, "invalid_calls"));
            }
        }
        Ok((said, "max_turns"))
    }
}

#[async_trait]
impl Operator for Call {
    const NAME: &'static str = "tool.call";
    const HAS_EFFECTS: bool = true;
    type In = In;
    type Out = Out;

    fn has_effects(&self) -> bool {
        self.effects
    }

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let offered = self.offered(cx, &input).await?;
        let mut request = self.request(cx, &input, &offered)?;
        let values = input.values.and_then(|values| match values {
            Value::Object(values) => Some(values),
            _ => None,
        });
        let mut log = Log { references: References::new(values.unwrap_or_default()), ..Log::default() };
        let ended = Box::pin(self.converse(cx, &offered, &mut request, &mut log)).await;
        let last = match ended {
            Ok((text, reason)) if reason == "answered" || !self.last_word => Ok((text, reason)),
            Ok((_, reason)) => {
                request.tool_choice = ToolChoice::None;
                cx.chat(&self.model, &request).await.map(|response| (response.text, reason))
            }
            Err(error) => Err(error),
        };
        let (text, reason) = last.map_err(|error| lasting(error, log.has_effect))?;
        let n_system = n_system(&request.messages);
        let mut messages = request.messages.split_off(n_system);
        messages.push(Message { role: Role::Assistant, content: text.as_str().into() });
        for turn in &mut request.turns {
            turn.after = turn.after.saturating_sub(n_system);
        }
        Ok(Out {
            text,
            calls: log.calls,
            history: History::write(&messages, &request.turns),
            messages: messages.into_iter().map(Arc::new).collect(),
            stopped_because: reason.to_owned(),
        })
    }

    fn model_calls_max(&self) -> u64 {
        u64::from(self.max_turns) + u64::from(self.last_word)
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let has = |port: &str| given.iter().any(|(name, _)| &**name == port);
        if has("question") || has("messages") || has("history") {
            return Vec::new();
        }
        vec![SettingProblem {
            pointer: String::new(),
            message: "`tool.call` is asked nothing".to_owned(),
            hint: Some("connect `question`, `messages` or `history` under `in`".to_owned()),
        }]
    }
}

/// Calls a tool, and says of which place the answer is.
async fn answer<'a>(
    cx: &Cx,
    n: usize,
    tool: &'a OfferedTool,
    arguments: Map<String, Value>,
    nth: u64,
) -> (usize, &'a OfferedTool, Map<String, Value>, Result<ToolAnswer, OpError>) {
    cx.progress(Progress::Note(format!("calls `{}`", tool.named.name)));
    let answer = cx.call_tool(&tool.named, &arguments, nth).await;
    (n, tool, arguments, answer)
}

/// How many messages stand before the conversation.
fn n_system(messages: &[Message]) -> usize {
    messages.iter().take_while(|message| message.role == Role::System).count()
}

/// What a value is, for somebody who only needs to know whether to pass it on.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(fields) => {
            let names: Vec<&str> = fields.keys().take(20).map(String::as_str).collect();
            format!("an object with {}", names.join(", "))
        }
    }
}

/// Once something was changed outside, making the node again would change it twice: the failure is for good.
fn lasting(error: OpError, has_effect: bool) -> OpError {
    match error {
        OpError::Backend(failure) if has_effect => OpError::Backend(backend::Error::Rejected {
            backend: "tool.call".to_owned(),
            message: format!("{failure}; not made again, since a tool with effects was called before"),
        }),
        error => error,
    }
}
