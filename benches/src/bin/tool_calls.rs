//! Replays the gold calls of the Berkeley Function-Calling Leaderboard through `tool.call`, with damaged ones before them.
//!
//! `tool_calls --data FOLDER [--json]` has a scripted model ask, for every question of `bfcl_static`, for three damaged
//! variants of each gold call (a wrong type, a missing argument, an unknown function) in one turn, and for the gold calls
//! in the next. It counts which calls reach a tool: every gold call once, with identical arguments and in its order, and
//! no damaged one. It fails where one is missing, differs or is sent though it is damaged.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anabranch_benches::Outcome;
use anabranch_benches::arguments::data_and_json;
use anabranch_engine::backend::{
    Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Tool, ToolAnswer, ToolCall, ToolSpec,
    Usage,
};
use anabranch_engine::cx::{Model, Resources, ToolEntry};
use anabranch_engine::operator::Operator as _;
use anabranch_engine::testing::cx_with;
use anabranch_evaluation::set::{CORPUS, QUERIES, read_lines};
use anabranch_operators::tool::call::{Call as CallTools, In};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Function {
    id: String,
    meta: FunctionMeta,
}

#[derive(Deserialize)]
struct FunctionMeta {
    spec: Spec,
}

#[derive(Clone, Deserialize)]
struct Spec {
    name: String,
    description: String,
    parameters: Value,
}

#[derive(Deserialize)]
struct Question {
    id: String,
    #[serde(rename = "question")]
    text: String,
    meta: QuestionMeta,
}

#[derive(Deserialize)]
struct QuestionMeta {
    candidates: Vec<String>,
    #[serde(default)]
    gold_calls: Vec<BTreeMap<String, Map<String, Value>>>,
}

/// A call: the function and its arguments.
#[derive(Debug, Clone, PartialEq)]
struct Made(String, Value);

/// What became of the calls.
#[derive(Default, Serialize)]
struct Counts {
    questions: usize,
    gold: usize,
    gold_made_once: usize,
    /// Gold calls whose arguments do not satisfy the function's own schema: to be refused like any other.
    gold_misfits: usize,
    damaged: usize,
    damaged_sent: usize,
    results: usize,
}

/// A function that only notes how it is called.
#[derive(Debug)]
struct Noted(ToolSpec, Arc<Mutex<Vec<Made>>>);

#[async_trait]
impl Tool for Noted {
    fn spec(&self) -> &ToolSpec {
        &self.0
    }

    fn is_idempotent(&self) -> bool {
        false
    }

    async fn call(&self, arguments: &Map<String, Value>, _: &Call<'_>) -> Result<ToolAnswer, Error> {
        let made = Made(self.0.name.to_string(), Value::Object(arguments.clone()));
        self.1.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        Ok(ToolAnswer::of("done"))
    }
}

/// A model that asks for these calls, turn by turn, and then says that it is done.
#[derive(Debug)]
struct Script(Mutex<VecDeque<Vec<Made>>>);

#[async_trait]
impl ChatModel for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    async fn chat(&self, _: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        let turn = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_default();
        let call = |(n, Made(name, arguments)): (usize, Made)| ToolCall {
            id: format!("call_{n}").into(),
            name: name.into(),
            arguments: arguments.to_string().into(),
        };
        Ok(ChatResponse {
            text: "done".to_owned(),
            tool_calls: turn.into_iter().enumerate().map(call).collect(),
            finish_reason: FinishReason::Stop,
            usage: Usage::default(),
            model: "script".to_owned(),
            logprobs: Vec::new(),
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let (data, is_json) = data_and_json("tool_calls")?;
    let folder = data.join("sets/bfcl_static");
    let functions: Vec<Function> = read_lines(&folder.join(CORPUS))?;
    let functions: BTreeMap<String, Spec> =
        functions.into_iter().map(|function| (function.id, function.meta.spec)).collect();
    let questions: Vec<Question> = read_lines(&folder.join(QUERIES))?;
    let started = Instant::now();
    let mut counts = Counts::default();
    for question in &questions {
        replay(question, &functions, &mut counts).await?;
    }
    let us = started.elapsed().as_secs_f64() * 1e6 / (counts.gold + counts.damaged).max(1) as f64;
    let mut out = std::io::stdout().lock();
    if is_json {
        writeln!(out, "{}", serde_json::to_string(&counts)?)?;
    } else {
        let Counts { questions, gold, gold_made_once, gold_misfits, damaged, damaged_sent, results } = counts;
        writeln!(out, "questions                                        {questions:>6}")?;
        writeln!(out, "gold calls                                       {gold:>6}")?;
        writeln!(out, "  made once, with identical arguments            {gold_made_once:>6}")?;
        writeln!(out, "  refused, since they do not fit their own schema{gold_misfits:>6}")?;
        writeln!(out, "damaged calls                                    {damaged:>6}")?;
        writeln!(out, "  sent                                           {damaged_sent:>6}")?;
        writeln!(out, "results told to the model, one a call            {results:>6}")?;
        writeln!(out, "{us:.0} µs a call")?;
    }
    let is_whole = counts.gold_made_once + counts.gold_misfits == counts.gold
        && counts.results == counts.gold + counts.damaged
        && counts.damaged_sent == 0;
    if is_whole { Ok(()) } else { Err("a call is missing, differs, or was sent though it is damaged".into()) }
}

async fn replay(question: &Question, functions: &BTreeMap<String, Spec>, counts: &mut Counts) -> Outcome<()> {
    let specs: Vec<Spec> =
        question.meta.candidates.iter().filter_map(|id| functions.get(id)).cloned().collect();
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut resources = Resources::default();
    let mut names = Vec::new();
    for (n, spec) in specs.iter().enumerate() {
        let told = ToolSpec {
            name: spec.name.as_str().into(),
            description: spec.description.as_str().into(),
            // As the leaderboard writes it: reading that is a part of what is measured.
            schema: spec.parameters.clone(),
        };
        // Names of flows have no dots but between a server and its tools.
        let name = format!("f{n}");
        resources.tools.insert(name.clone(), ToolEntry::One(Arc::new(Noted(told, log.clone()))));
        names.push(name);
    }
    let (mut gold, mut damaged) = (Vec::new(), Vec::new());
    for call in &question.meta.gold_calls {
        for (name, accepted) in call {
            let spec = specs
                .iter()
                .find(|spec| spec.name == *name)
                .ok_or(format!("{}: no `{name}`", question.id))?;
            let schema = schema(&spec.parameters);
            let arguments = concrete(&schema, accepted);
            damaged.extend(damage(name, &schema, &arguments));
            gold.push((Made(name.clone(), Value::Object(arguments.clone())), fits(&schema, &arguments)));
        }
    }
    counts.questions += 1;
    counts.gold += gold.len();
    counts.damaged += damaged.len();
    counts.gold_misfits += gold.iter().filter(|(_, fits)| !fits).count();
    if names.is_empty() || gold.is_empty() {
        return Ok(());
    }
    let turns = [damaged.clone(), gold.iter().map(|(made, _)| made.clone()).collect()];
    let turns = turns.into_iter().filter(|turn| !turn.is_empty()).collect();
    let model: Arc<dyn ChatModel> = Arc::new(Script(Mutex::new(turns)));
    resources.models.insert("default".to_owned(), Model::Chat(model));
    let operator: CallTools = serde_json::from_value(json!({ "tools": names, "max_calls": 1000 }))?;
    let input = In {
        question: Some(question.text.clone()),
        messages: None,
        history: None,
        values: None,
        tools: None,
    };
    let out = operator.run(&cx_with(resources), input).await?;
    let is_result = |message: &&Value| message.get("role").is_some_and(|role| role == "tool");
    counts.results += out.history.as_array().into_iter().flatten().filter(is_result).count();
    let sent = log.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let expected: Vec<&Made> = gold.iter().filter(|(_, fits)| *fits).map(|(made, _)| made).collect();
    if sent.iter().collect::<Vec<_>>() == expected {
        counts.gold_made_once += expected.len();
    } else {
        let is_gold = |made: &&Made| expected.contains(made);
        counts.gold_made_once += sent.iter().filter(is_gold).count().min(expected.len());
        counts.damaged_sent += sent.iter().filter(|made| !is_gold(made)).count();
    }
    Ok(())
}

/// The schema in JSON Schema's words: the leaderboard writes Python's.
fn schema(parameters: &Value) -> Value {
    match parameters {
        Value::Object(entries) => {
            let mut out = Map::new();
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("type", Value::String(kind)) => {
                        let kind = match kind.as_str() {
                            "dict" => "object",
                            "float" => "number",
                            "tuple" => "array",
                            "any" => continue,
                            kind => kind,
                        };
                        out.insert(key.clone(), kind.into());
                    }
                    ("properties", Value::Object(fields)) => {
                        let fields =
                            fields.iter().map(|(name, field)| (name.clone(), schema(field))).collect();
                        out.insert(key.clone(), Value::Object(fields));
                    }
                    ("items", value) => {
                        out.insert(key.clone(), schema(value));
                    }
                    ("optional" | "format", _) => {}
                    (_, value) => {
                        out.insert(key.clone(), value.clone());
                    }
                }
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

fn property<'a>(schema: &'a Value, name: &str) -> &'a Value {
    schema.get("properties").and_then(|fields| fields.get(name)).unwrap_or(&Value::Null)
}

fn required(schema: &Value) -> Vec<&str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Arguments out of the accepted values: of each the first that fits, and none where it may be left out.
fn concrete(schema: &Value, accepted: &Map<String, Value>) -> Map<String, Value> {
    let mut arguments = Map::new();
    for (name, values) in accepted {
        let Value::Array(values) = values else {
            arguments.insert(name.clone(), values.clone());
            continue;
        };
        if values.iter().any(|value| value == "") && !required(schema).contains(&name.as_str()) {
            continue;
        }
        let of = property(schema, name);
        let made: Vec<Value> =
            values.iter().filter(|value| *value != "").map(|value| one(of, value)).collect();
        let fitting = made.iter().find(|value| is_valid(of, value)).or(made.first());
        if let Some(value) = fitting {
            arguments.insert(name.clone(), value.clone());
        }
    }
    arguments
}

/// A value in which objects have lists of accepted values for their fields.
fn one(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(concrete(schema, fields)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let of = schema.get("items").unwrap_or(&Value::Null);
            Value::Array(items.iter().map(|item| one(of, item)).collect())
        }
        value => value.clone(),
    }
}

fn is_valid(schema: &Value, value: &Value) -> bool {
    schema.is_null() || jsonschema::validator_for(schema).is_ok_and(|validator| validator.is_valid(value))
}

fn fits(schema: &Value, arguments: &Map<String, Value>) -> bool {
    is_valid(schema, &Value::Object(arguments.clone()))
}

/// The call with a value of a wrong type, without a required argument, and of a function that nobody has.
fn damage(name: &str, schema: &Value, arguments: &Map<String, Value>) -> Vec<Made> {
    let mut damaged = Vec::new();
    let wrong = arguments.keys().find_map(|key| {
        let kind = property(schema, key).get("type")?.as_str()?;
        let value = if kind == "object" { json!("no object") } else { json!({ "no": kind }) };
        Some((key.clone(), value))
    });
    if let Some((key, value)) = wrong {
        let mut arguments = arguments.clone();
        arguments.insert(key, value);
        damaged.push(Made(name.to_owned(), Value::Object(arguments)));
    }
    if let Some(missing) = required(schema).into_iter().find(|name| arguments.contains_key(*name)) {
        let mut arguments = arguments.clone();
        arguments.remove(missing);
        damaged.push(Made(name.to_owned(), Value::Object(arguments)));
    }
    damaged.push(Made(format!("{name}_of_nobody"), Value::Object(arguments.clone())));
    damaged
}
