//! Conditions over the ports of an operator, as `judge.rule` and `route.rule` have them.

use anabranch_engine::diagnostic::Code;
use anabranch_engine::flow::expression::{Condition, Problem};
use anabranch_engine::operator::{OpError, SettingProblem};
use anabranch_engine::types::Type;
use anabranch_engine::value::{Map, Text, Value};

/// What is wrong with the condition at `pointer`, over ports of these types.
pub(crate) fn problems(pointer: &str, condition: &str, given: &[(Text, Type)]) -> Vec<SettingProblem> {
    let problem =
        |message: String, hint: Option<String>| SettingProblem { pointer: pointer.to_owned(), message, hint };
    match Condition::compile(condition, given) {
        Ok(compiled) if may_be_bool(compiled.ty()) => Vec::new(),
        Ok(compiled) => vec![problem(
            format!("`{condition}` is of type `{}`, a condition is `bool`", compiled.ty()),
            Some("compare it with something: `score > 0.5`".to_owned()),
        )],
        Err(found) => found.into_iter().map(|Problem { message, hint, .. }| problem(message, hint)).collect(),
    }
}

fn may_be_bool(ty: &Type) -> bool {
    matches!(ty.required(), Type::Bool | Type::Any | Type::Json)
}

/// Whether the condition holds for these values.
pub(crate) fn holds(condition: &str, values: &Map) -> Result<bool, OpError> {
    let invalid = |message: String| OpError::InvalidInput(format!("condition `{condition}`: {message}"));
    let mut given: Vec<(Text, Type)> =
        values.iter().map(|(name, value)| (name.clone(), value.ty())).collect();
    let compiled = Condition::compile(condition, &given).or_else(|problems| {
        // The names were checked when the flow was loaded: what is unknown now is an input without a value.
        for problem in problems.iter().filter(|problem| problem.code == Code::UNKNOWN_NAME) {
            let name = condition.get(problem.range.clone()).unwrap_or_default();
            given.push((name.into(), Type::optional(Type::Any)));
        }
        Condition::compile(condition, &given)
    });
    let compiled = compiled.map_err(|problems| {
        invalid(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
    })?;
    match compiled.eval(values).map_err(|error| invalid(error.message))? {
        Value::Bool(holds) => Ok(holds),
        other => Err(invalid(format!("it gave a value of type `{}`, not `bool`", other.ty()))),
    }
}
