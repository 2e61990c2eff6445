//! Steps as planners write them, and the plan that they come to: what a step does not say is connected by its name.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_engine::operator::{Inventory, Part, Port};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

/// A step: what it runs, and what of its wiring is not plain from the names.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name; made of what it runs if left out.
    #[serde(default)]
    pub name: Option<String>,
    /// The operator or flow that it runs.
    #[serde(rename = "use")]
    pub what: String,
    /// Ports with expressions; a port that is left out reads what has its name.
    #[serde(default, rename = "in")]
    pub inputs: BTreeMap<String, Json>,
    /// Settings.
    #[serde(default, rename = "with")]
    pub settings: Map<String, Json>,
    /// Whether it runs.
    #[serde(default)]
    pub when: Option<String>,
    /// Steps that it comes after without reading from them.
    #[serde(default)]
    pub after: Vec<String>,
}

impl Step {
    /// A step that runs this and says nothing more.
    pub fn of(what: &str) -> Self {
        Self { what: what.to_owned(), ..Self::default() }
    }
}

/// The plan of these steps and outputs, as a node with `plan` takes it. Whether it can be used, its checker tells.
///
/// A port that a step does not connect reads the output of the same name and a fitting type of the latest step before
/// it, else the input of the plan of that name; so does an output of the plan that is not given. Names are shared by all
/// steps, as on a blackboard, but what is read is fixed when the plan is made.
pub fn plan(inventory: &Inventory, steps: &[Step], outputs: &BTreeMap<String, Json>) -> Json {
    let mut board = Board { inventory, written: Vec::new() };
    let mut nodes = Map::new();
    for step in steps {
        let name = Board::name(step, &nodes);
        let part = inventory.parts.iter().find(|part| *part.name == *step.what);
        nodes.insert(name.clone(), board.node(step, part));
        if let Some(part) = part {
            board.written.push((name, &part.outputs));
        }
    }
    let mut given: Map<String, Json> =
        outputs.iter().map(|(name, value)| (name.clone(), expression(value))).collect();
    for port in &inventory.outputs {
        if !given.contains_key(&*port.name)
            && let Some(source) = board.step_that_writes(port)
        {
            given.insert(port.name.to_string(), json!(source));
        }
    }
    json!({ "nodes": nodes, "outputs": given })
}

/// What the steps so far have written.
struct Board<'a> {
    inventory: &'a Inventory,
    written: Vec<(String, &'a [Port])>,
}

impl Board<'_> {
    /// The name of a step; one that is not given and taken already gets a number.
    fn name(step: &Step, taken: &Map<String, Json>) -> String {
        if let Some(name) = &step.name {
            return name.clone();
        }
        let last = step.what.rsplit('.').next().unwrap_or_default();
        let numbered = (1..).map(|n| if n == 1 { last.to_owned() } else { format!("{last}_{n}") });
        let mut free = numbered.take(taken.len() + 1).filter(|name| !taken.contains_key(name));
        free.next().unwrap_or_else(|| last.to_owned())
    }

    fn node(&self, step: &Step, part: Option<&Part>) -> Json {
        let mut inputs: Map<String, Json> =
            step.inputs.iter().map(|(port, value)| (port.clone(), expression(value))).collect();
        for port in part.map(|part| part.inputs.as_slice()).unwrap_or_default() {
            if !inputs.contains_key(&*port.name)
                && let Some(source) = self.source(port)
            {
                inputs.insert(port.name.to_string(), json!(source));
            }
        }
        let kind = if step.what.contains('.') { "op" } else { "flow" };
        let mut node = Map::new();
        node.insert(kind.to_owned(), json!(step.what));
        if !inputs.is_empty() {
            node.insert("in".to_owned(), inputs.into());
        }
        if !step.settings.is_empty() {
            node.insert("with".to_owned(), step.settings.clone().into());
        }
        if let Some(when) = &step.when {
            node.insert("when".to_owned(), json!(when));
        }
        if !step.after.is_empty() {
            node.insert("after".to_owned(), json!(step.after));
        }
        node.into()
    }

    /// What a port of that name reads.
    fn source(&self, port: &Port) -> Option<String> {
        self.step_that_writes(port).or_else(|| {
            let input = self.inventory.inputs.iter().find(|input| input.name == port.name)?;
            input.ty.fits(&port.ty).then(|| format!("inputs.{}", port.name))
        })
    }

    fn step_that_writes(&self, port: &Port) -> Option<String> {
        let mut latest = self.written.iter().rev();
        let (step, _) = latest
            .find(|(_, outputs)| outputs.iter().any(|own| own.name == port.name && own.ty.fits(&port.ty)))?;
        Some(format!("{step}.{}", port.name))
    }
}

/// A value of `in`: a text is an expression, anything else means itself.
fn expression(value: &Json) -> Json {
    match value {
        Json::String(_) => value.clone(),
        other => json!(other.to_string()),
    }
}

/// Names that two steps have: a mapping of steps would silently lose one.
pub(crate) fn repeated(steps: &[Step]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    steps.iter().filter_map(|step| step.name.as_deref()).find(|name| !seen.insert(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anabranch_engine::types::Type;

    fn port(name: &str, ty: &str) -> Port {
        Port { name: name.into(), ty: ty.parse::<Type>().unwrap(), doc: "".into() }
    }

    fn part(name: &str, inputs: &[(&str, &str)], outputs: &[(&str, &str)]) -> Part {
        let ports = |ports: &[(&str, &str)]| ports.iter().map(|(name, ty)| port(name, ty)).collect();
        Part {
            name: name.into(),
            about: "".into(),
            inputs: ports(inputs),
            outputs: ports(outputs),
            settings: None,
        }
    }

    fn inventory() -> Inventory {
        Inventory {
            inputs: vec![port("question", "text"), port("table", "text")],
            outputs: vec![port("answer", "text")],
            parts: vec![
                part("look_up", &[("table", "text"), ("question", "text")], &[("table", "text")]),
                part("recall", &[("question", "text")], &[("context", "list<text>")]),
                part("generate", &[("table", "text"), ("context", "list<text>?")], &[("program", "text")]),
                part("read.answer", &[("program", "text"), ("context", "text?")], &[("answer", "text")]),
            ],
            max_nodes: 12,
            repair: 1,
            order: Vec::new(),
            must: Vec::new(),
        }
    }

    #[test]
    fn a_port_reads_the_latest_step_that_writes_its_name() {
        let steps = ["look_up", "recall", "look_up", "generate", "read.answer"].map(Step::of);
        let found = plan(&inventory(), &steps, &BTreeMap::new());
        assert_eq!(
            found,
            json!({
                "nodes": {
                    "look_up": { "flow": "look_up", "in": { "table": "inputs.table", "question": "inputs.question" } },
                    "recall": { "flow": "recall", "in": { "question": "inputs.question" } },
                    "look_up_2": { "flow": "look_up", "in": { "table": "look_up.table", "question": "inputs.question" } },
                    "generate": { "flow": "generate", "in": { "table": "look_up_2.table", "context": "recall.context" } },
                    // A list is no text, so the optional `context` stays free.
                    "answer": { "op": "read.answer", "in": { "program": "generate.program" } },
                },
                "outputs": { "answer": "answer.answer" },
            })
        );
    }

    #[test]
    fn what_a_step_says_is_left_as_it_is() {
        let steps: Vec<Step> = serde_json::from_value(json!([
            { "name": "ask", "use": "read.answer", "in": { "program": "'x'", "context": 3 }, "with": { "max_tokens": 9 },
              "when": "inputs.table != ''", "after": ["other"] },
            { "use": "nobody" },
        ]))
        .unwrap();
        let outputs = [("answer".to_owned(), json!("ask.answer + '!'"))].into();
        let found = plan(&inventory(), &steps, &outputs);
        assert_eq!(
            found["nodes"]["ask"],
            json!({ "op": "read.answer", "in": { "context": "3", "program": "'x'" }, "with": { "max_tokens": 9 },
                    "when": "inputs.table != ''", "after": ["other"] })
        );
        assert_eq!(found["nodes"]["nobody"], json!({ "flow": "nobody" }));
        assert_eq!(found["outputs"], json!({ "answer": "ask.answer + '!'" }));
    }

    #[test]
    fn an_unknown_key_of_a_step_is_refused_and_a_repeated_name_is_found() {
        assert!(serde_json::from_value::<Step>(json!({ "use": "a", "retry": {} })).is_err());
        let named = |name: &str| Step { name: Some(name.to_owned()), ..Step::of("a") };
        assert_eq!(repeated(&[named("x"), Step::of("a"), named("y"), named("x")]), Some("x"));
        assert_eq!(repeated(&[Step::of("a"), Step::of("a")]), None);
    }
}
