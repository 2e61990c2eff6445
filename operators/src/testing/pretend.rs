//! Tools that only pretend, and a model that asks for them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{
    Call, ChatModel, ChatRequest, ChatResponse, Error, FinishReason, Tool, ToolAnswer, ToolCall, ToolServer,
    ToolSpec, Usage,
};
use anabranch_engine::cx::{Cx, Model, Resources, ToolEntry};
use anabranch_engine::testing::cx_with;
use async_trait::async_trait;
use serde_json::{Map, Value, json};

type Answer = fn(&Map<String, Value>, usize) -> Result<ToolAnswer, Error>;

/// A tool that writes down how it is called.
#[derive(Debug)]
struct Puppet {
    spec: ToolSpec,
    is_idempotent: bool,
    answer: Answer,
    n_calls: AtomicUsize,
    log: Arc<Mutex<Vec<String>>>,
    running: Arc<(AtomicUsize, AtomicUsize)>,
}

#[async_trait]
impl Tool for Puppet {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    async fn call(&self, arguments: &Map<String, Value>, call: &Call<'_>) -> Result<ToolAnswer, Error> {
        assert!(!call.idempotency_key.is_empty() && call.deadline.is_some());
        self.log.lock().unwrap().push(format!("{} {}", self.spec.name, Value::Object(arguments.clone())));
        let n_running = self.running.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.running.1.fetch_max(n_running, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.running.0.fetch_sub(1, Ordering::SeqCst);
        (self.answer)(arguments, self.n_calls.fetch_add(1, Ordering::SeqCst))
    }
}

/// A server that is asked for its tools.
#[derive(Debug)]
struct Sea(Arc<[Arc<dyn Tool>]>);

#[async_trait]
impl ToolServer for Sea {
    async fn tools(&self) -> Result<Arc<[Arc<dyn Tool>]>, Error> {
        Ok(self.0.clone())
    }
}

/// Tools that only pretend: `weather`, `report`, `flaky`, and with effects `pay` and `broken`; the server `sea` has `tide`
/// and another `weather`, the server `lake` has `depth`, whose schema is in Python's words, and `odd`, whose schema is none.
#[derive(Debug)]
pub(crate) struct Pretend {
    resources: Resources,
    log: Arc<Mutex<Vec<String>>>,
    running: Arc<(AtomicUsize, AtomicUsize)>,
}

fn unavailable(message: &str) -> Error {
    Error::Unavailable { backend: "tool".to_owned(), message: message.to_owned(), retry_after: None }
}

#[expect(clippy::unnecessary_wraps, reason = "one of several tools, of which others fail")]
fn weather(arguments: &Map<String, Value>, _: usize) -> Result<ToolAnswer, Error> {
    Ok(match arguments.get("city").and_then(Value::as_str) {
        Some("Atlantis") => ToolAnswer::error("there is no city `Atlantis`"),
        _ => ToolAnswer::of(json!({ "degrees": 18 })),
    })
}

fn flaky(_: &Map<String, Value>, n: usize) -> Result<ToolAnswer, Error> {
    if n < 2 { Err(unavailable("not now")) } else { Ok(ToolAnswer::of("at last")) }
}

impl Pretend {
    pub(crate) fn tools() -> Self {
        let (log, running) = (Arc::<Mutex<_>>::default(), Arc::<(AtomicUsize, AtomicUsize)>::default());
        let made = |name: &str, is_idempotent: bool, schema: Value, answer: Answer| {
            let spec = ToolSpec { name: name.into(), description: format!("Does {name}.").into(), schema };
            let (log, running) = (log.clone(), running.clone());
            Arc::new(Puppet { spec, is_idempotent, answer, n_calls: AtomicUsize::new(0), log, running })
                as Arc<dyn Tool>
        };
        let tool = |name: &str, is_idempotent: bool, properties: Value, required: &[&str], answer: Answer| {
            let schema = json!({ "type": "object", "properties": properties, "required": required });
            made(name, is_idempotent, schema, answer)
        };
        let one = ToolEntry::One;
        let city = json!({ "city": { "type": "string" }, "days": { "type": "integer" } });
        let amount = json!({ "amount": { "type": "number" }, "memo": { "type": "string" } });
        let sea: Arc<[Arc<dyn Tool>]> = [
            tool("tide", true, json!({}), &[], |_, _| Ok(ToolAnswer::of("high"))),
            tool("weather", true, json!({}), &[], |_, _| Ok(ToolAnswer::of("windy"))),
        ]
        .into();
        let depth =
            json!({ "type": "dict", "properties": { "at": { "type": "float" } }, "required": ["at"] });
        let lake: Arc<[Arc<dyn Tool>]> = [
            made("depth", true, depth, |_, _| Ok(ToolAnswer::of("12 m"))),
            made("odd", true, json!({ "properties": { "x": { "type": "file" } } }), |_, _| {
                Ok(ToolAnswer::of("odd"))
            }),
        ]
        .into();
        let tools = [
            ("weather", one(tool("weather", true, city, &["city"], weather))),
            (
                "report",
                one(tool("report", true, json!({}), &[], |_, _| {
                    Ok(ToolAnswer::of(json!({ "text": "x".repeat(500), "rows": ["first", "second"] })))
                })),
            ),
            ("flaky", one(tool("flaky", true, json!({}), &[], flaky))),
            ("pay", one(tool("pay", false, amount, &["amount"], |_, _| Ok(ToolAnswer::of("paid"))))),
            ("broken", one(tool("broken", false, json!({}), &[], |_, _| Err(unavailable("no bank"))))),
            ("sea", ToolEntry::Server(Arc::new(Sea(sea)))),
            ("lake", ToolEntry::Server(Arc::new(Sea(lake)))),
        ];
        let tools = tools.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect();
        Self { resources: Resources { tools, ..Resources::default() }, log, running }
    }

    /// The same, and a model that asks for calls.
    pub(crate) fn with(model: &Arc<Asking>) -> Self {
        let mut tools = Self::tools();
        tools.resources.models.insert("default".to_owned(), Model::Chat(model.clone()));
        tools
    }

    pub(crate) fn cx(&self) -> Cx {
        cx_with(self.resources.clone())
    }

    /// What was called, in order: `weather {"city":"Oslo"}`.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// How many were under way at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.running.1.load(Ordering::SeqCst)
    }
}

/// What a model says: its words and its calls, each an id, a tool and its arguments.
pub(crate) type Says<'a> = (&'a str, &'a [(&'a str, &'a str, &'a str)]);

/// A model that says these things, one after the other: words with calls, or a failure.
#[derive(Debug)]
pub(crate) struct Asking(Mutex<(VecDeque<Said>, Vec<ChatRequest>)>);

#[derive(Debug, Clone)]
struct Said {
    text: String,
    calls: Vec<(String, String, String)>,
    fails: bool,
    is_cut: bool,
}

impl Asking {
    /// Each answer is its words and its calls: id, tool, arguments.
    pub(crate) fn new(answers: &[Says<'_>]) -> Arc<Self> {
        let said = |(text, calls): &Says<'_>| Said {
            text: (*text).to_owned(),
            calls: calls
                .iter()
                .map(|(id, tool, args)| ((*id).to_owned(), (*tool).to_owned(), (*args).to_owned()))
                .collect(),
            fails: *text == "FAIL",
            is_cut: *text == "CUT",
        };
        Arc::new(Self(Mutex::new((answers.iter().map(said).collect(), Vec::new()))))
    }

    pub(crate) fn requests(&self) -> Vec<ChatRequest> {
        self.0.lock().unwrap().1.clone()
    }
}

#[async_trait]
impl ChatModel for Asking {
    fn name(&self) -> &'static str {
        "asking"
    }

    async fn chat(&self, request: &ChatRequest, _: &Call<'_>) -> Result<ChatResponse, Error> {
        let (answers, requests) = &mut *self.0.lock().unwrap();
        requests.push(request.clone());
        let said =
            answers.pop_front().filter(|said| !said.fails).ok_or_else(|| unavailable("no answer left"))?;
        let call = |(id, name, arguments): (String, String, String)| ToolCall {
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        };
        Ok(ChatResponse {
            text: said.text,
            tool_calls: said.calls.into_iter().map(call).collect(),
            finish_reason: if said.is_cut { FinishReason::Length } else { FinishReason::Stop },
            usage: Usage::default(),
            model: "asking".to_owned(),
            logprobs: Vec::new(),
        })
    }
}
