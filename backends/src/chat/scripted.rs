//! A chat model that answers from a script: for tests and demonstrations.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anabranch_engine::backend::{
    Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, ToolCall, Usage,
};
use anabranch_engine::diagnostic::Spanned;
use anabranch_engine::flow;
use async_trait::async_trait;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

/// One answer, and the requests that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Text that one of the messages contains, results of tools included. Without `contains` and `matches`, the rule is for every request.
    #[serde(default)]
    pub contains: Option<String>,
    /// Regular expression that one of the messages matches.
    #[serde(default)]
    pub matches: Option<String>,
    /// The answer; may be left out where there are `calls`.
    #[serde(default)]
    pub answer: String,
    /// Calls of tools that the answer asks for.
    #[serde(default)]
    pub calls: Vec<RuleCall>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleCall {
    /// Which tool.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

impl From<&flow::Scripted> for Rule {
    fn from(rule: &flow::Scripted) -> Self {
        let text = |text: &Option<Spanned<String>>| text.as_ref().map(|text| text.value.clone());
        let call = |call: &flow::ScriptedCall| RuleCall {
            tool: call.tool.value.clone(),
            arguments: call
                .arguments
                .iter()
                .map(|argument| (argument.key.value.clone(), argument.value.value.clone()))
                .collect(),
        };
        Self {
            contains: text(&rule.contains),
            matches: text(&rule.matches),
            answer: rule.answer.value.clone(),
            calls: rule.calls.iter().map(call).collect(),
        }
    }
}

impl RuleCall {
    fn asked(&self, turn: usize, n: usize) -> ToolCall {
        let arguments = serde_json::Value::Object(self.arguments.clone()).to_string();
        ToolCall {
            id: format!("call_{turn}_{n}").into(),
            name: self.tool.as_str().into(),
            arguments: arguments.into(),
        }
    }
}

/// A rule whose expression is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("rule {position} of the script: `{pattern}` is no regular expression")]
pub struct RuleError {
    /// Which rule, from 1.
    pub position: usize,
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

/// A chat model that answers from a script: first what is queued, then by the first rule that fits.
#[derive(Debug, Default)]
pub struct Scripted {
    queue: Mutex<VecDeque<String>>,
    rules: Vec<(Rule, Option<Regex>)>,
    n_calls: AtomicU64,
}

impl Scripted {
    /// Answers these, one after the other, and refuses what comes later.
    pub fn queue<A: Into<String>>(answers: impl IntoIterator<Item = A>) -> Self {
        Self { queue: Mutex::new(answers.into_iter().map(Into::into).collect()), ..Self::default() }
    }

    /// Answers by the first rule that fits.
    pub fn rules(rules: impl IntoIterator<Item = Rule>) -> Result<Self, RuleError> {
        let compile = |(rule_idx, rule): (usize, Rule)| match &rule.matches {
            None => Ok((rule, None)),
            Some(pattern) => match Regex::new(pattern) {
                Ok(regex) => Ok((rule, Some(regex))),
                Err(source) => Err(RuleError { position: rule_idx + 1, pattern: pattern.clone(), source }),
            },
        };
        let rules = rules.into_iter().enumerate().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { rules, ..Self::default() })
    }

    /// Adds an answer to the queue.
    pub fn push(&self, answer: impl Into<String>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer.into());
    }

    /// How often it was asked.
    pub fn n_calls(&self) -> u64 {
        self.n_calls.load(Ordering::Relaxed)
    }

    fn answer(&self, request: &ChatRequest) -> Option<(String, &[RuleCall])> {
        if let Some(answer) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return Some((answer, &[]));
        }
        let says = |test: &dyn Fn(&str) -> bool| {
            let results = request.turns.iter().flat_map(|turn| &turn.results).map(|result| &result.content);
            request.messages.iter().map(|message| &message.content).chain(results).any(|text| test(text))
        };
        let fits = |(rule, regex): &&(Rule, Option<Regex>)| {
            rule.contains.as_ref().is_none_or(|text| says(&|content| content.contains(text)))
                && regex.as_ref().is_none_or(|regex| says(&|content| regex.is_match(content)))
        };
        self.rules.iter().find(fits).map(|(rule, _)| (rule.answer.clone(), rule.calls.as_slice()))
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        let Some((text, calls)) = self.answer(request) else {
            let asked = request.messages.last().map_or("", |message| &message.content);
            let shown: String = asked.chars().take(200).collect();
            return Err(Error::Rejected {
                backend: "the script".into(),
                message: format!(
                    "no rule fits, and no answer is queued, for the request that ends {shown:?}"
                ),
            });
        };
        (call.on_delta)(&text);
        let usage = Usage {
            prompt_tokens: self.estimate_prompt_tokens(request),
            completion_tokens: text.len() as u64 / 3 + 1,
            ..Usage::default()
        };
        Ok(ChatResponse {
            text,
            finish_reason: FinishReason::Stop,
            usage,
            model: self.name().to_owned(),
            tool_calls: calls
                .iter()
                .enumerate()
                .map(|(n, call)| call.asked(request.turns.len(), n))
                .collect(),
            logprobs: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::backend::{ToolResult, ToolTurn};
    use anabranch_engine::value::{Message, Role};

    async fn ask(model: &Scripted, content: &str) -> Result<String, Error> {
        let messages = vec![
            Message { role: Role::System, content: "be brief".into() },
            Message { role: Role::User, content: content.into() },
        ];
        let call = Call::keyed("key");
        model.chat(&ChatRequest { messages, ..ChatRequest::default() }, &call).await.map(|answer| answer.text)
    }

    fn rule(contains: Option<&str>, matches: Option<&str>, answer: &str) -> Rule {
        Rule {
            contains: contains.map(Into::into),
            matches: matches.map(Into::into),
            answer: answer.to_owned(),
            calls: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_queue_comes_first_and_then_the_first_rule_that_fits() {
        let model = Scripted::rules([
            rule(Some("brief"), Some("^who"), "Ada"),
            rule(None, Some(r"\d{4}"), "1843"),
            rule(Some("where"), None, "London"),
        ])
        .unwrap();
        model.push("queued");
        assert_eq!(ask(&model, "who?").await.unwrap(), "queued");
        assert_eq!(ask(&model, "who?").await.unwrap(), "Ada");
        assert_eq!(ask(&model, "where in 1850?").await.unwrap(), "1843");
        assert_eq!(ask(&model, "where?").await.unwrap(), "London");
        let error = ask(&model, "why?").await.unwrap_err();
        assert!(
            matches!(&error, Error::Rejected { message, .. } if message.ends_with("\"why?\"")),
            "{error}"
        );
        assert_eq!(model.n_calls(), 5);
    }

    #[tokio::test]
    async fn a_rule_can_ask_for_calls_and_see_their_results() {
        let text = r#"[
            {"contains": "18 degrees", "answer": "It is 18 degrees."},
            {"contains": "warm", "calls": [{"tool": "weather", "arguments": {"city": "Oslo"}}]}
        ]"#;
        let model = Scripted::rules(serde_json::from_str::<Vec<Rule>>(text).unwrap()).unwrap();
        let messages = vec![Message { role: Role::User, content: "is it warm?".into() }];
        let mut request = ChatRequest { messages, ..ChatRequest::default() };
        let first = model.chat(&request, &Call::keyed("key")).await.unwrap();
        assert_eq!(first.text, "");
        assert_eq!(&*first.tool_calls[0].arguments, r#"{"city":"Oslo"}"#);
        let results = vec![ToolResult { id: first.tool_calls[0].id.clone(), content: "18 degrees".into() }];
        let turn = ToolTurn { after: 1, text: "".into(), calls: first.tool_calls, results };
        request.turns.push(turn);
        let last = model.chat(&request, &Call::keyed("key")).await.unwrap();
        assert_eq!((last.text.as_str(), last.tool_calls.len()), ("It is 18 degrees.", 0));
    }

    #[test]
    fn a_wrong_expression_is_named_with_its_rule() {
        let error = Scripted::rules([rule(None, None, "a"), rule(None, Some("("), "b")]).unwrap_err();
        assert_eq!(error.to_string(), "rule 2 of the script: `(` is no regular expression");
    }
}
