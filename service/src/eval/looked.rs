//! Which of the things that a flow gives are looked at: its answer, the chunks that it found, what it cites.

use anabranch_engine::diagnostic::suggest;
use anabranch_engine::operator::Port;
use anabranch_engine::plan::{Body, Kind, Node, Plan};
use anabranch_engine::run::Report;
use anabranch_engine::scope::Scope;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Text, Value};
use anabranch_evaluation::places::Place;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Most chunks of an answer that are looked at.
pub const CHUNKS_MAX: usize = 1_000;

/// What the command line says is looked at, over what is found by name and type.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The answer: an output of the flow, or `node.port`.
    pub answer: Option<String>,
    /// The chunks: an output of the flow, or `node.port`.
    pub chunks: Option<String>,
}

/// What of a run is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// The answer.
    pub answer: Option<Spot>,
    /// The chunks, best first.
    pub chunks: Option<Spot>,
    /// What is cited; an answer that is a record has its own.
    pub citations: Option<Spot>,
    /// What cannot be looked at, and why.
    pub left_out: Vec<LeftOut>,
}

/// Figures that cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Which.
    pub figures: String,
    /// Why, and what would help.
    pub why: String,
}

/// Where a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// An output of the flow.
    Output(Text),
    /// An output of a node that ran, in its last execution.
    Port {
        /// Its path, without turns and items: `hop/search`.
        node: String,
        /// The output.
        port: Text,
    },
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Output(name) => f.write_str(name),
            Self::Port { node, port } => write!(f, "{node}.{port}"),
        }
    }
}

/// Why something cannot be looked at as the command line says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WrongSpot {
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

impl Looked {
    /// What of `plan` is looked at.
    pub fn new(plan: &Plan, wanted: &Wanted) -> Result<Self, WrongSpot> {
        let mut left_out = Vec::new();
        let outputs: Vec<&Port> = plan.root.outputs.iter().map(|output| &output.port).collect();
        let mut choose = |figures: &str, option: &str, found: Result<Spot, String>| {
            let leave_out =
                |why| LeftOut { figures: figures.to_owned(), why: format!("{why}; {option} names one") };
            found.map_err(|why| left_out.push(leave_out(why))).ok()
        };
        let answer = match &wanted.answer {
            Some(word) => Some(spot(plan, "--answer", word, is_answer)?),
            None => choose("answers", "--answer", answer_of(&outputs)),
        };
        let chunks = if let Some(word) = &wanted.chunks {
            Some(spot(plan, "--chunks", word, is_chunks)?)
        } else {
            let some = ports(plan, &Type::list(Type::Chunk));
            let helped = |why| match some.first() {
                Some(port) => format!("{why} (a node has some: `{port}`)"),
                None => why,
            };
            choose("rankings and chunks", "--chunks", chunks_of(&outputs).map_err(helped))
        };
        let citations = outputs
            .iter()
            .find(|port| &*port.name == "citations")
            .map(|port| Spot::Output(port.name.clone()));
        let is_record = |name: &Text| {
            outputs.iter().any(|port| port.name == *name && *port.ty.required() == Type::Answer)
        };
        let has_own = match &answer {
            Some(Spot::Output(name)) => is_record(name),
            Some(Spot::Port { .. }) => true,
            None => false,
        };
        if citations.is_none() && !has_own {
            let why = "the flow has no output `citations`, and none of type `answer`".to_owned();
            left_out.push(LeftOut { figures: "citations".to_owned(), why });
        }
        Ok(Self { answer, chunks, citations, left_out })
    }

    /// Whether citations can be found.
    pub fn sees_citations(&self) -> bool {
        !self.left_out.iter().any(|left| left.figures == "citations")
    }

    /// What a run gave of it.
    pub fn find(&self, report: &Report) -> Found {
        let value = |spot: &Option<Spot>| spot.as_ref().and_then(|spot| spot.value(report));
        let answer = value(&self.answer);
        let mut cited = value(&self.citations);
        if let (None, Some(Value::Answer(answer))) = (&cited, &answer) {
            cited = answer.field("citations");
        }
        Found {
            answer: answer.as_ref().map(words),
            passages: value(&self.chunks).map(|chunks| passages(&chunks)),
            citations: cited.map(|cited| passages(&cited)),
        }
    }
}

impl Spot {
    fn value(&self, report: &Report) -> Option<Value> {
        match self {
            Self::Output(name) => report.outputs.get(name).cloned(),
            Self::Port { node, port } => {
                let is_it = |scope: &Scope| without_indexes(&scope.to_string()) == *node;
                let mut runs = report.nodes.iter().rev().filter(|run| is_it(&run.scope));
                runs.find_map(|run| run.outputs.get(port).cloned())
            }
        }
    }
}

/// What a run gave of what is looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// The answer in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The chunks, best first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passages: Option<Vec<Passage>>,
    /// What is cited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<Vec<Passage>>,
}

/// A part of a document: `[doc, start, end]`, in bytes of its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage(pub String, pub u64, pub u64);

impl Passage {
    /// The same as a place to compare with others.
    pub fn place(&self) -> Place<'_> {
        Place { doc: &self.0, bytes: Some(self.1..self.2) }
    }
}

/// An answer in words: those of a record, a text, or whatever else as JSON.
fn words(value: &Value) -> String {
    match value {
        Value::Answer(answer) => answer.text.to_string(),
        Value::Text(text) => text.to_string(),
        other => other.to_json().to_string(),
    }
}

/// Whatever has a document and a range, in order, lists within lists too.
fn passages(value: &Value) -> Vec<Passage> {
    let mut found = Vec::new();
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<Passage>) {
    if found.len() >= CHUNKS_MAX {
        return;
    }
    match value {
        Value::List(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Chunk(chunk) => {
            found.push(Passage(chunk.doc.0.to_string(), chunk.range.start, chunk.range.end));
        }
        Value::Map(_) => {
            let json = value.to_json();
            let at = |key: &str| json.pointer(&format!("/range/{key}")).and_then(Json::as_u64);
            if let (Some(doc), Some(start), Some(end)) =
                (json.get("doc").and_then(Json::as_str), at("start"), at("end"))
            {
                found.push(Passage(doc.to_owned(), start, end));
            }
        }
        _ => {}
    }
}

/// `hop/search` of `hop[2]/search`.
fn without_indexes(path: &str) -> String {
    let steps = path.split('/').map(|step| step.split('[').next().unwrap_or(step));
    steps.collect::<Vec<_>>().join("/")
}

fn is_answer(ty: &Type) -> bool {
    matches!(
        ty.required(),
        Type::Answer
            | Type::Text
            | Type::Label
            | Type::Any
            | Type::Json
            | Type::Int
            | Type::Float
            | Type::Bool
    )
}

fn is_chunks(ty: &Type) -> bool {
    match ty.required() {
        Type::Any | Type::Json => true,
        Type::List(item) => **item == Type::Chunk || is_chunks(item),
        _ => false,
    }
}

/// The output that is the answer: the record, else the one called so, else the only text.
fn answer_of(outputs: &[&Port]) -> Result<Spot, String> {
    let output = |port: &&Port| Spot::Output(port.name.clone());
    let named = outputs.iter().find(|port| &*port.name == "answer" && is_answer(&port.ty));
    let of = |ty: &Type| outputs.iter().filter(|port| port.ty.required() == ty).collect::<Vec<_>>();
    match (named, of(&Type::Answer).as_slice(), of(&Type::Text).as_slice()) {
        (Some(named), _, _) => Ok(output(named)),
        (None, [record], _) => Ok(output(record)),
        (None, [], [text]) => Ok(output(text)),
        (None, [], []) => Err("no output of the flow is an answer or a text".to_owned()),
        (None, [], texts) => Err(format!("several outputs are texts: {}", listed(texts))),
        (None, records, _) => Err(format!("several outputs are answers: {}", listed(records))),
    }
}

/// The output that is what was found: the one called `chunks`, else the only list of chunks.
fn chunks_of(outputs: &[&Port]) -> Result<Spot, String> {
    let output = |port: &&Port| Spot::Output(port.name.clone());
    let named = outputs.iter().find(|port| &*port.name == "chunks" && is_chunks(&port.ty));
    let lists: Vec<&&Port> =
        outputs.iter().filter(|port| *port.ty.required() == Type::list(Type::Chunk)).collect();
    match (named, lists.as_slice()) {
        (Some(named), _) => Ok(output(named)),
        (None, [only]) => Ok(output(only)),
        (None, []) => Err("no output of the flow is a list of chunks".to_owned()),
        (None, several) => Err(format!("several outputs are lists of chunks: {}", listed(several))),
    }
}

fn listed(ports: &[&&Port]) -> String {
    ports.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ")
}

/// What the command line names.
fn spot(plan: &Plan, option: &str, word: &str, fits: fn(&Type) -> bool) -> Result<Spot, WrongSpot> {
    let wrong = |message: String, hint| WrongSpot { message: format!("`{option} {word}`: {message}"), hint };
    let check = |ty: &Type, spot: Spot| {
        if fits(ty) { Ok(spot) } else { Err(wrong(format!("it is of type `{ty}`"), None)) }
    };
    if let Some(output) = plan.root.outputs.iter().find(|output| *output.port.name == *word) {
        return check(&output.port.ty, Spot::Output(output.port.name.clone()));
    }
    let all = || plan.root.outputs.iter().map(|output| output.port.name.to_string()).chain(all_ports(plan));
    let unknown = || {
        let known: Vec<String> = all().collect();
        let hint = suggest(word, known.iter().map(String::as_str), "there are");
        wrong(format!("flow `{}` has no such output, and no such port of a node", plan.name), hint)
    };
    let (path, port) = word.rsplit_once('.').ok_or_else(unknown)?;
    let node = plan.node(&Scope::from(path)).ok_or_else(unknown)?;
    let found = node.outputs.iter().find(|output| *output.name == *port).ok_or_else(unknown)?;
    if !is_told(node) {
        let message = format!("`{path}` runs other nodes, and only what operators give is kept");
        return Err(wrong(
            message,
            Some("name one of those nodes, or make it an output of the flow".to_owned()),
        ));
    }
    check(&found.ty, Spot::Port { node: path.to_owned(), port: found.name.clone() })
}

/// Whether a report tells what the node gave.
fn is_told(node: &Node) -> bool {
    matches!(node.kind, Kind::Op(_) | Kind::Wait(_))
}

fn all_ports(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    walk(&plan.root, "", &mut |path, port| found.push(format!("{path}.{}", port.name)));
    found
}

/// The ports of nodes that have this type, as `node.port`.
fn ports(plan: &Plan, ty: &Type) -> Vec<String> {
    let mut found = Vec::new();
    walk(&plan.root, "", &mut |path, port| {
        if port.ty.required() == ty {
            found.push(format!("{path}.{}", port.name));
        }
    });
    found
}

fn walk(body: &Body, frame: &str, tell: &mut dyn FnMut(&str, &Port)) {
    for node in &body.nodes {
        let path = if frame.is_empty() { node.name.to_string() } else { format!("{frame}/{}", node.name) };
        if is_told(node) {
            node.outputs.iter().for_each(|port| tell(&path, port));
        }
        if let Some(inner) = node.body() {
            walk(inner, &path, tell);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anabranch_engine::backend::Usage;
    use anabranch_engine::diagnostic::SourceFile;
    use anabranch_engine::event::Timing;
    use anabranch_engine::plan;
    use anabranch_engine::run::{NodeReport, Outcome};
    use serde_json::json;

    use super::*;
    use crate::library::Files;

    fn plan(outputs: &str) -> Plan {
        let flow = format!(
            "flow: f\ninputs: {{ question: text }}\nnodes:\n  search: {{ op: retrieve.bm25, in: {{ query: inputs.question }} }}\n  \
             hop:\n    loop:\n      max_turns: 2\n      carry: {{ chunks: search.chunks }}\n      nodes:\n        \
             more: {{ op: select.budget, in: {{ chunks: carry.chunks }} }}\n      next: {{ chunks: more.chunks }}\n  \
             read: {{ op: read.answer, in: {{ question: inputs.question, chunks: hop.chunks }} }}\noutputs: {outputs}\n"
        );
        let registry = anabranch_operators::registry();
        let library = Files::beside(std::path::Path::new("f.yaml"));
        let environment = plan::Environment { registry: &registry, names: None, library: &library };
        plan::compile(&SourceFile::new("f.yaml", flow), &environment)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .0
    }

    fn looked(outputs: &str, answer: Option<&str>, chunks: Option<&str>) -> Result<Looked, WrongSpot> {
        let wanted = Wanted { answer: answer.map(str::to_owned), chunks: chunks.map(str::to_owned) };
        Looked::new(&plan(outputs), &wanted)
    }

    fn output(name: &str) -> Spot {
        Spot::Output(name.into())
    }

    #[test]
    fn outputs_are_found_by_name_and_by_type() {
        let found = looked("{ answer: read.answer, chunks: hop.chunks }", None, None).unwrap();
        assert_eq!(
            (found.answer.clone(), found.chunks.clone()),
            (Some(output("answer")), Some(output("chunks")))
        );
        assert!(found.left_out.is_empty() && found.sees_citations());
        let found = looked("{ said: read.text, best: search.chunks, citations: read.citations }", None, None)
            .unwrap();
        assert_eq!(
            (found.answer, found.chunks, found.citations),
            (Some(output("said")), Some(output("best")), Some(output("citations")))
        );
    }

    #[test]
    fn what_cannot_be_looked_at_is_told_with_what_would_help() {
        let found = looked("{ a: read.text, b: inputs.question, turns: hop.turns }", None, None).unwrap();
        let told: Vec<String> =
            found.left_out.iter().map(|left| format!("{}: {}", left.figures, left.why)).collect();
        assert_eq!(
            told,
            [
                "answers: several outputs are texts: `a`, `b`; --answer names one",
                "rankings and chunks: no output of the flow is a list of chunks (a node has some: `search.chunks`); \
                 --chunks names one",
                "citations: the flow has no output `citations`, and none of type `answer`",
            ]
        );
    }

    #[test]
    fn the_command_line_may_name_an_output_or_a_port() {
        let found = looked("{ a: read.text, n: hop.turns }", Some("a"), Some("hop/more.chunks")).unwrap();
        assert_eq!(found.answer, Some(output("a")));
        assert_eq!(found.chunks.map(|spot| spot.to_string()), Some("hop/more.chunks".to_owned()));
        let wrong = |answer, chunks| looked("{ a: read.text, n: hop.turns }", answer, chunks).unwrap_err();
        assert_eq!(wrong(None, Some("a")).message, "`--chunks a`: it is of type `text`");
        assert_eq!(wrong(None, Some("serch.chunks")).hint.unwrap(), "did you mean `search.chunks`?");
        assert!(wrong(None, Some("hop.chunks")).message.contains("runs other nodes"));
        assert!(wrong(Some("b"), None).message.contains("has no such output"));
    }

    #[test]
    fn the_last_execution_of_a_node_counts() {
        let run = |scope: &str, doc: &str| NodeReport {
            scope: scope.into(),
            op: "select.budget".into(),
            attempts: 1,
            skipped: None,
            failure: None,
            aborted: false,
            inputs: anabranch_engine::value::Map::new(),
            outputs: [(
                "chunks".into(),
                Value::from_json(json!([{"doc": doc, "range": {"start": 1, "end": 2}}, 3])),
            )]
            .into_iter()
            .collect(),
            usage: Usage::default(),
            timing: Timing::default(),
        };
        let report = Report {
            outcome: Outcome::Succeeded,
            outputs: [("answer".into(), Value::text("yes"))].into_iter().collect(),
            absent: std::collections::BTreeMap::new(),
            usage: Usage::default(),
            nodes: vec![run("hop[1]/more", "a"), run("hop[2]/more", "b"), run("other", "c")],
            elapsed: Duration::ZERO,
        };
        let found = looked("{ answer: read.text }", None, Some("hop/more.chunks")).unwrap().find(&report);
        assert_eq!(found.answer.as_deref(), Some("yes"));
        assert_eq!(found.passages, Some(vec![Passage("b".to_owned(), 1, 2)]));
        assert_eq!(found.citations, None);
    }
}
