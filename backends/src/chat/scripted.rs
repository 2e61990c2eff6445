//! A chat model that answers from a script: for tests and demonstrations.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Usage};
use async_trait::async_trait;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

/// One answer, and the requests that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Text that one of the messages contains. Without `contains` and `matches`, the rule is for every request.
    #[serde(default)]
    pub contains: Option<String>,
    /// Regular expression that one of the messages matches.
    #[serde(default)]
    pub matches: Option<String>,
    /// The answer.
    pub answer: String,
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

    fn answer(&self, request: &ChatRequest) -> Option<String> {
        if let Some(answer) = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return Some(answer);
        }
        let says =
            |test: &dyn Fn(&str) -> bool| request.messages.iter().any(|message| test(&message.content));
        let fits = |(rule, regex): &&(Rule, Option<Regex>)| {
            rule.contains.as_ref().is_none_or(|text| says(&|content| content.contains(text)))
                && regex.as_ref().is_none_or(|regex| says(&|content| regex.is_match(content)))
        };
        self.rules.iter().find(fits).map(|(rule, _)| rule.answer.clone())
    }
}

#[async_trait]
impl ChatModel for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        let Some(text) = self.answer(request) else {
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
            logprobs: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn a_wrong_expression_is_named_with_its_rule() {
        let error = Scripted::rules([rule(None, None, "a"), rule(None, Some("("), "b")]).unwrap_err();
        assert_eq!(error.to_string(), "rule 2 of the script: `(` is no regular expression");
    }
}
