//! Expressions over an operator's own inputs, as in the rules of a router.

use super::{Absence, Env, EvalError, Expr, Problem, Resolve, Resolved, Slot, Unresolved, compile};
use crate::diagnostic::{Code, suggest};
use crate::plan::Ref;
use crate::types::Type;
use crate::value::{Map, Text, Value};
use std::sync::Arc;

/// An expression whose names are given values: `size(chunks) > 3 && present(question)`.
#[derive(Debug, Clone)]
pub struct Condition {
    expr: Expr,
    names: Vec<Text>,
}

impl Condition {
    /// Reads and checks a condition over values of the given names and types.
    pub fn compile(source: &str, given: &[(Text, Type)]) -> Result<Self, Vec<Problem>> {
        let expr = compile(source, &Given(given))?;
        Ok(Self { expr, names: given.iter().map(|(name, _)| name.clone()).collect() })
    }

    /// Its type, as far as it could be inferred.
    pub fn ty(&self) -> &Type {
        &self.expr.ty
    }

    /// Its value. A name without a value is absent: `present(name)` is false, and the whole has no value if it needs it.
    pub fn eval(&self, values: &Map) -> Result<Value, EvalError> {
        match self.expr.eval(&Bound { names: &self.names, values })? {
            Slot::Present(value) => Ok(value),
            Slot::Absent(absence) => Err(EvalError {
                source_text: self.expr.source.clone(),
                message: format!("`{}` is absent: {}", absence.what, absence.why),
            }),
            Slot::Pending => Err(EvalError {
                source_text: self.expr.source.clone(),
                message: "a value is not settled yet".to_owned(),
            }),
        }
    }
}

struct Given<'a>(&'a [(Text, Type)]);

impl Resolve for Given<'_> {
    fn resolve(&self, path: &[&str]) -> Result<Resolved, Unresolved> {
        let name = path.first().copied().unwrap_or_default();
        let found = self.0.iter().zip(0_u32..).find(|((given, _), _)| given.as_ref() == name);
        match found {
            Some(((_, ty), at)) => Ok(Resolved { at: Ref::Input(at), ty: ty.clone(), taken: 1 }),
            None => Err(Unresolved {
                code: Code::UNKNOWN_NAME,
                segment: 0,
                message: format!("there is no input `{name}`"),
                hint: suggest(name, self.0.iter().map(|(name, _)| name.as_ref()), "the inputs are"),
            }),
        }
    }
}

struct Bound<'a> {
    names: &'a [Text],
    values: &'a Map,
}

impl Env for Bound<'_> {
    fn slot(&self, at: Ref) -> Slot {
        let name = match at {
            Ref::Input(at) => usize::try_from(at).ok().and_then(|at| self.names.get(at)),
            _ => None,
        };
        let value = name.and_then(|name| self.values.get(name));
        value.cloned().map_or_else(
            || {
                let what = name.cloned().unwrap_or_else(|| "".into());
                Slot::Absent(Arc::new(Absence { what, why: "it is not given".into() }))
            },
            Slot::Present,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Vec<(Text, Type)> {
        vec![("chunks".into(), Type::list(Type::Chunk)), ("question".into(), Type::optional(Type::Text))]
    }

    fn values(question: Option<&str>) -> Map {
        let mut values = Map::new();
        values.insert("chunks".into(), Value::list([]));
        values.extend(question.map(|question| ("question".into(), Value::text(question))));
        values
    }

    #[test]
    fn names_are_the_given_values() {
        let condition = Condition::compile("size(chunks) == 0 && size(question) > 2", &given()).unwrap();
        assert_eq!(*condition.ty(), Type::Bool);
        assert_eq!(condition.eval(&values(Some("why"))), Ok(Value::Bool(true)));
        let error = condition.eval(&values(None)).unwrap_err();
        assert_eq!(error.message, "`question` is absent: it is not given");
    }

    #[test]
    fn a_name_that_may_be_missing_can_be_asked_for() {
        let condition = Condition::compile("present(question) ? 'asked' : 'silent'", &given()).unwrap();
        assert_eq!(condition.eval(&values(None)), Ok(Value::text("silent")));
        assert_eq!(condition.eval(&values(Some("why"))), Ok(Value::text("asked")));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let problems = Condition::compile("size(chunk) > 0", &given()).unwrap_err();
        assert_eq!((problems[0].code, problems[0].range.clone()), (Code::UNKNOWN_NAME, 5..10));
        assert_eq!(problems[0].hint.as_deref(), Some("did you mean `chunks`?"));
    }
}
