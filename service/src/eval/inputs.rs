//! A question as inputs of a flow.

use std::sync::Arc;

use anabranch_engine::plan::{Input, Plan};
use anabranch_engine::types::Type;
use anabranch_engine::value::{Map, Text, Value};
use anabranch_evaluation::set::QueryLine;

/// The inputs that are the question, whatever else there is.
const QUESTION: [&str; 2] = ["question", "query"];

/// Where each input of a flow comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Given once for all questions.
    constants: Map,
    from_question: Vec<(Text, Source)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Source {
    /// What is asked.
    Question,
    /// The question's `meta` of the same name.
    Meta,
}

/// An input that nothing gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("flow `{flow}` needs an input `{input}` (`{ty}`), which the questions do not have")]
pub struct Missing {
    /// The flow.
    pub flow: Text,
    /// The input.
    pub input: Text,
    /// Its type.
    pub ty: Type,
}

impl Inputs {
    /// How `plan` is asked `queries`, with `constants` over what the questions say.
    ///
    /// An input called `question` or `query` is the question; another one is the question's `meta` of that name, if
    /// any question has it. If one input is left that the flow needs, and no other is the question, it is that.
    pub fn new(plan: &Plan, constants: Map, queries: &[QueryLine]) -> Result<Self, Missing> {
        let has_meta = |name: &str| queries.iter().any(|query| query.meta.contains_key(name));
        let mut from_question = Vec::new();
        let mut left: Vec<&Input> = Vec::new();
        for input in &plan.root.inputs {
            let name = &input.port.name;
            if constants.contains_key(name) {
                continue;
            }
            if QUESTION.contains(&&**name) {
                from_question.push((name.clone(), Source::Question));
            } else if has_meta(name) {
                from_question.push((name.clone(), Source::Meta));
            } else if input.default.is_none() && !input.port.ty.is_optional() {
                left.push(input);
            }
        }
        let asks = from_question.iter().any(|(_, source)| *source == Source::Question);
        match left.as_slice() {
            [] => {}
            [only] if !asks && *only.port.ty.required() == Type::Text => {
                from_question.push((only.port.name.clone(), Source::Question));
            }
            [first, ..] => {
                return Err(Missing {
                    flow: plan.name.clone(),
                    input: first.port.name.clone(),
                    ty: first.port.ty.clone(),
                });
            }
        }
        Ok(Self { constants, from_question })
    }

    /// The inputs for one question. What it does not have stays out: the flow's default then counts.
    pub fn of(&self, query: &QueryLine) -> Map {
        let mut inputs = self.constants.clone();
        for (name, source) in &self.from_question {
            let value = match source {
                Source::Question => Some(Value::Text(Arc::from(query.question.as_str()))),
                Source::Meta => {
                    query.meta.get(&**name).filter(|json| !json.is_null()).cloned().map(Value::from_json)
                }
            };
            if let Some(value) = value {
                inputs.insert(name.clone(), value);
            }
        }
        inputs
    }

    /// The inputs that are given once for all questions.
    pub fn constants(&self) -> &Map {
        &self.constants
    }
}

#[cfg(test)]
mod tests {
    use anabranch_engine::budget::Budget;
    use anabranch_engine::operator::Port;
    use anabranch_engine::plan::Body;
    use serde_json::json;

    use super::*;

    fn plan(inputs: &[(&str, &str)]) -> Plan {
        let input = |(name, ty): &(&str, &str)| Input {
            port: Port { name: (*name).into(), ty: ty.parse().unwrap(), doc: "".into() },
            default: None,
            min: None,
            max: None,
        };
        Plan {
            name: "f".into(),
            hash: "".into(),
            about: None,
            root: Arc::new(Body { inputs: inputs.iter().map(input).collect(), ..Body::default() }),
            budget: Budget::default(),
            tests: vec![],
            indexes: vec![],
        }
    }

    fn query() -> QueryLine {
        serde_json::from_value(json!({"id": "a", "question": "Who?", "meta": {"hops": 2, "scale": null}}))
            .unwrap()
    }

    fn asked(inputs: &[(&str, &str)], constants: Map) -> Result<serde_json::Value, String> {
        let inputs =
            Inputs::new(&plan(inputs), constants, &[query()]).map_err(|missing| missing.to_string())?;
        Ok(json!(inputs.of(&query())))
    }

    #[test]
    fn inputs_come_from_the_question_its_meta_and_the_command_line() {
        let given = Map::from_iter([("turns".into(), Value::Int(3))]);
        let flow =
            [("question", "text"), ("hops", "int"), ("turns", "int"), ("scale", "text?"), ("more", "text?")];
        assert_eq!(asked(&flow, given), Ok(json!({"turns": 3, "question": "Who?", "hops": 2})));
        assert_eq!(
            asked(&[("text", "text")], Map::new()),
            Ok(json!({"text": "Who?"})),
            "the only one is the question"
        );
    }

    #[test]
    fn an_input_that_nothing_gives_is_named() {
        let message = "flow `f` needs an input `text` (`text`), which the questions do not have";
        assert_eq!(asked(&[("question", "text"), ("text", "text")], Map::new()), Err(message.to_owned()));
        assert!(asked(&[("n", "int")], Map::new()).is_err(), "a question is no number");
    }
}
