//! The tool that runs programs which models write.

use std::sync::Arc;
use std::thread;

use anabranch_engine::backend::{Call, Error, Tool, ToolAnswer, ToolSpec};
use anabranch_engine::operator::PROGRAM_TOOL;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::program::{Limits, run};

/// What a program leaves its result in, unless told otherwise.
pub const RESULT: &str = "ans";

/// Runs programs in a part of Python, each within its bounds.
#[derive(Debug)]
pub struct ProgramTool {
    spec: ToolSpec,
    result: String,
    limits: Limits,
    // Programs take a processor each; more of them at once would only be slower.
    places: Arc<Semaphore>,
}

impl Default for ProgramTool {
    fn default() -> Self {
        Self::new(PROGRAM_TOOL, RESULT, Limits::default())
    }
}

impl ProgramTool {
    /// A tool called `name` that gives what a program leaves in `result`.
    pub fn new(name: &str, result: impl Into<String>, limits: Limits) -> Self {
        let result = result.into();
        let description = format!(
            "Runs a program in a part of Python and gives the value of `{result}`, or what it printed if it never sets it. \
             There are numbers, texts, lists, tuples, dictionaries, sets, functions, comprehensions, f-strings and the \
             module math; no classes, exceptions, files, network or other modules."
        );
        let schema = json!({
            "type": "object",
            "properties": {
                "source": { "type": "string", "description": "The program." },
                "inputs": { "type": "object", "description": "Values that the program knows by these names." },
            },
            "required": ["source"],
        });
        let spec = ToolSpec { name: name.into(), description: description.into(), schema };
        let places = Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, Into::into)));
        Self { spec, result, limits, places }
    }
}

#[async_trait]
impl Tool for ProgramTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    async fn call(&self, arguments: &Map<String, Value>, _: &Call<'_>) -> Result<ToolAnswer, Error> {
        let unavailable = |message: &str| Error::Unavailable {
            backend: format!("tool `{}`", self.spec.name),
            message: message.to_owned(),
            retry_after: None,
        };
        let Ok(place) = self.places.clone().acquire_owned().await else {
            return Err(unavailable("it is shutting down"));
        };
        let source =
            without_fence(arguments.get("source").and_then(Value::as_str).unwrap_or_default()).to_owned();
        let inputs = arguments.get("inputs").and_then(Value::as_object).cloned().unwrap_or_default();
        let (result, limits) = (self.result.clone(), self.limits);
        let outcome = tokio::task::spawn_blocking(move || {
            let outcome = run(&source, &inputs, &result, limits);
            drop(place);
            outcome
        });
        match outcome.await {
            Ok(Ok(outcome)) => Ok(ToolAnswer::of(outcome.value)),
            Ok(Err(error)) => Ok(ToolAnswer::error(error.to_string())),
            Err(_) => Err(unavailable("the interpreter failed: a bug, to be reported")),
        }
    }
}

/// A program without the fence that models like to put around it.
fn without_fence(source: &str) -> &str {
    let trimmed = source.trim();
    let fenced = trimmed.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match fenced.and_then(|inner| inner.split_once('\n')) {
        Some((language, inner)) if language.trim().chars().all(char::is_alphanumeric) => inner,
        _ => source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(arguments: Value) -> ToolAnswer {
        let Value::Object(arguments) = arguments else { panic!("no object") };
        ProgramTool::default().call(&arguments, &Call::keyed("key")).await.unwrap()
    }

    #[tokio::test]
    async fn a_program_gives_its_answer_or_what_it_printed() {
        let arguments = json!({ "source": "ans = sum(n for n in rows)", "inputs": { "rows": [1, 2, 3.5] } });
        assert_eq!(call(arguments).await, ToolAnswer::of(json!(6.5)));
        assert_eq!(call(json!({ "source": "```python\nans = 'a'\n```" })).await, ToolAnswer::of("a"));
        assert_eq!(call(json!({ "source": "print('a', 1)" })).await, ToolAnswer::of("a 1"));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_program_is_told() {
        let answer = call(json!({ "source": "x = 1\nans = x / 0" })).await;
        assert_eq!(answer, ToolAnswer::error("line 2: ZeroDivisionError: division by zero"));
        let answer = call(json!({ "source": "while True: pass" })).await;
        assert_eq!(answer, ToolAnswer::error("line 1: stopped: more than 1000000 steps"));
    }
}
