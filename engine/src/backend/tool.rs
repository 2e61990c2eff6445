//! Tools: what a model, or a flow, can have done outside.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Call, Error, Redact};
use crate::value::Text;

/// What a model is told of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name.
    pub name: Text,
    /// What it does and when to use it.
    pub description: Text,
    /// JSON Schema of its arguments, which are an object.
    pub schema: Value,
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolAnswer {
    /// As JSON where it is JSON, otherwise a text.
    pub value: Value,
    /// As the tool wrote it, where that is known: what a model is told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<Text>,
    /// Whether it says that the call was wrong: another call may be right, so the model is told.
    #[serde(default)]
    pub is_error: bool,
}

impl ToolAnswer {
    /// An answer that is fine.
    pub fn of(value: impl Into<Value>) -> Self {
        Self { value: value.into(), text: None, is_error: false }
    }

    /// What is told to whoever made a wrong call.
    pub fn error(message: impl Into<String>) -> Self {
        Self { value: Value::String(message.into()), text: None, is_error: true }
    }

    /// The same, without the secrets in it: for what a tool says of a wrong call.
    #[must_use]
    pub fn redacted(mut self, by: &dyn Redact) -> Self {
        by.value(&mut self.value);
        self.text = self.text.map(|text| by.text(&text).into());
        self
    }

    /// The answer in words, for a model: as the tool wrote it, else a text as it is and anything else as JSON.
    pub fn words(&self) -> Text {
        if let Some(text) = &self.text {
            return text.clone();
        }
        match &self.value {
            Value::String(text) => text.as_str().into(),
            value => value.to_string().into(),
        }
    }
}

/// Something that can be called. Dropping the future must abort the call, as far as that can be done.
#[async_trait]
pub trait Tool: Send + Sync + fmt::Debug {
    /// What a model is told of it.
    fn spec(&self) -> &ToolSpec;

    /// Whether calling it twice does no more than calling it once. Only such a tool is called again by itself.
    fn is_idempotent(&self) -> bool;

    /// Calls it with arguments that satisfy its schema. Bounds the size of its answer, and ends by the call's deadline.
    async fn call(&self, arguments: &Map<String, Value>, call: &Call<'_>) -> Result<ToolAnswer, Error>;
}

/// Tools that are found out when they are needed: those of a server.
#[async_trait]
pub trait ToolServer: Send + Sync + fmt::Debug {
    /// Its tools, in its order. Asks the server at most once as long as that succeeds.
    async fn tools(&self) -> Result<Arc<[Arc<dyn Tool>]>, Error>;
}

/// A call that a model asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call among those of an answer.
    pub id: Text,
    /// Which tool.
    pub name: Text,
    /// The arguments as the model wrote them: JSON, if the model was careful.
    pub arguments: Text,
}

/// What a model is told of a call that it asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// Of which call.
    pub id: Text,
    /// The answer, or why there is none.
    pub content: Text,
}

/// A turn of a conversation in which the model asked for calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolTurn {
    /// How many messages of the conversation stand before it.
    pub after: usize,
    /// What the model said beside.
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub text: Text,
    /// The calls, at least one.
    pub calls: Vec<ToolCall>,
    /// One result for each call, in their order.
    pub results: Vec<ToolResult>,
}

/// Whether a model may, must or must not ask for calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// It may.
    #[default]
    Auto,
    /// It must.
    Required,
    /// It must not.
    None,
}
