//! Conditions over the ports of an operator, as `judge.rule` and `route.rule` have them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::diagnostic::Code;
use anabranch_engine::flow::expression::{self, Problem};
use anabranch_engine::operator::{OpError, SettingProblem};
use anabranch_engine::types::Type;
use anabranch_engine::value::{Map, Text, Value};
use serde::Deserialize;

/// A condition. What was read for values of some types is kept for the next values, which are nearly always of the same.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub struct Condition {
    source: String,
    read: Mutex<Option<Arc<Read>>>,
}

#[derive(Debug)]
struct Read {
    given: Vec<(Text, Type)>,
    condition: expression::Condition,
}

impl From<String> for Condition {
    fn from(source: String) -> Self {
        Self { source, read: Mutex::default() }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl Condition {
    /// What is wrong with it, as the setting at `pointer`, over ports of these types.
    pub(crate) fn problems(&self, pointer: &str, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let problem = |message: String, hint: Option<String>| SettingProblem {
            pointer: pointer.to_owned(),
            message,
            hint,
        };
        match expression::Condition::compile(&self.source, given) {
            Ok(condition) if may_be_bool(condition.ty()) => Vec::new(),
            Ok(condition) => vec![problem(
                format!("`{self}` is of type `{}`, a condition is `bool`", condition.ty()),
                Some("compare it with something: `score > 0.5`".to_owned()),
            )],
            Err(found) => {
                found.into_iter().map(|Problem { message, hint, .. }| problem(message, hint)).collect()
            }
        }
    }

    /// Whether it holds for these values.
    pub(crate) fn holds(&self, values: &Map) -> Result<bool, OpError> {
        let read = self.read(values).map_err(|problems| {
            self.invalid(&problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
        })?;
        match read.condition.eval(values).map_err(|error| self.invalid(&error.message))? {
            Value::Bool(holds) => Ok(holds),
            other => Err(self.invalid(&format!("it gave a value of type `{}`, not `bool`", other.ty()))),
        }
    }

    fn read(&self, values: &Map) -> Result<Arc<Read>, Vec<Problem>> {
        let given: Vec<(Text, Type)> =
            values.iter().map(|(name, value)| (name.clone(), value.ty())).collect();
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = kept.as_ref().filter(|read| read.given == given) {
            return Ok(read.clone());
        }
        let condition = expression::Condition::compile(&self.source, &given).or_else(|problems| {
            // The names were checked when the flow was loaded: what is unknown now is an input without a value.
            let unknown = problems.iter().filter(|problem| problem.code == Code::UNKNOWN_NAME);
            let names = unknown.map(|problem| self.source.get(problem.range.clone()).unwrap_or_default());
            let absent = names.map(|name| (name.into(), Type::optional(Type::Any)));
            expression::Condition::compile(
                &self.source,
                &given.iter().cloned().chain(absent).collect::<Vec<_>>(),
            )
        })?;
        Ok(kept.insert(Arc::new(Read { given, condition })).clone())
    }

    fn invalid(&self, message: &str) -> OpError {
        OpError::InvalidInput(format!("condition `{self}`: {message}"))
    }
}

fn may_be_bool(ty: &Type) -> bool {
    matches!(ty.required(), Type::Bool | Type::Any | Type::Json)
}
