//! For tests, of this crate and of those around it: a context without a run, operators that do as they are told, a
//! scripted model, and whole flows in one call.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::backend::{self, Call, Caller, ChatModel, ChatRequest, ChatResponse, FinishReason, Usage};
use crate::budget::{Budget, Ledger};
use crate::cx::{Cx, Model, Resources, RunContext};
use crate::diagnostic::{Diagnostics, SourceFile};
use crate::event::{FailureKind, RunId};
use crate::flow::Library;
use crate::operator::{ModelName, Names, OpError, OpenIn, Operator, Registry};
use crate::plan::{Environment, Plan, compile};
use crate::run::{self, Options, Report};
use crate::scope::Scope;
use crate::value::{
    ByteRange, Chunk, ChunkId, DocumentId, LineRange, Map, Message, Role, Score, Text, TokenCount, Value,
};

mod durable;
mod encoders;
mod planner;

pub use durable::{Effect, LossyJournal, clock, take_ran};
pub use encoders::{Letters, Overlap};
pub use planner::Planner;

/// A context with no models and no indexes.
pub fn cx() -> Cx {
    cx_with(Resources::default())
}

/// A context with these models and indexes, and no budget.
pub fn cx_with(resources: Resources) -> Cx {
    let run = RunContext {
        run: RunId("test".into()),
        seed: 0,
        resources: Arc::new(resources),
        caller: Caller::default(),
        deadline: None,
        purse: None,
        started: Instant::now(),
        rested_ns: AtomicU64::new(0),
        on_progress: None,
        observer: None,
    };
    Cx::new(Arc::new(run), Scope::from("node"), 1, Ledger::new("".into(), Budget::default(), None))
}

/// Flows and prompts by name.
#[derive(Debug, Clone, Default)]
pub struct MapLibrary(pub BTreeMap<String, String>);

impl Library for MapLibrary {
    fn flow(&self, name: &str, _: &SourceFile) -> Option<Arc<SourceFile>> {
        self.0.get(name).map(|text| SourceFile::new(format!("{name}.yaml"), text.clone()))
    }

    fn prompt(&self, path: &str, _: &SourceFile) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| format!("there is no file `{path}`"))
    }

    fn flows(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// The operators of this module.
pub fn registry() -> Registry {
    let registry = Registry::default().with::<Work>().with::<Numbers>().with::<Ask>().with::<Passages>();
    registry.with::<Effect>().with::<Planner>()
}

/// Compiles a flow over the operators of this module.
pub fn plan(yaml: &str, library: &dyn Library) -> Result<Arc<Plan>, Diagnostics> {
    let registry = registry();
    let names = Names::defaults(["docs"]);
    let environment = Environment { registry: &registry, names: Some(&names), library };
    compile(&SourceFile::new("flow.yaml", yaml), &environment).map(|(plan, _)| Arc::new(plan))
}

/// Compiles and runs a flow over the operators of this module, with a scripted `default` model.
///
/// # Panics
/// If the flow does not compile or the run cannot be carried through.
#[expect(clippy::panic, reason = "for tests")]
pub async fn run_flow(yaml: &str, inputs: impl IntoIterator<Item = (&'static str, Value)>) -> Report {
    let plan = plan(yaml, &()).unwrap_or_else(|problems| panic!("{problems}"));
    let inputs = inputs.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map>();
    let ran = run::run(plan, inputs, Arc::new(resources()), Options::default()).await;
    ran.unwrap_or_else(|error| panic!("{error}"))
}

/// A [`Parrot`] as the model `default`.
pub fn resources() -> Resources {
    let parrot: Arc<dyn ChatModel> = Arc::new(Parrot::default());
    Resources { models: [("default".to_owned(), Model::Chat(parrot))].into(), ..Resources::default() }
}

/// Executions of this module's operators that are under way on this thread: zero once no run is left on it.
///
/// Counted by thread, since test runners run other tests beside this one; use it with a single-threaded runtime.
pub fn n_live() -> usize {
    LIVE.with(Cell::get)
}

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

struct Live;

impl Live {
    fn new(cx: &Cx) -> Self {
        durable::began(cx);
        LIVE.with(|live| live.set(live.get() + 1));
        Self
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.with(|live| live.set(live.get().saturating_sub(1)));
    }
}

/// Mixes its inputs into a number, after a delay; fails as often as it is told.
///
/// ```yaml
/// work: { op: test.work, in: { a: inputs.n }, with: { delay_ms: 10 } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Work {
    /// Milliseconds before it ends.
    pub delay_ms: u64,
    /// Attempts that fail with `fail` before one succeeds.
    pub fail_times: u32,
    /// How it fails.
    #[schemars(with = "String")]
    pub fail: FailureKind,
    /// Told apart from other work by this.
    pub salt: i64,
}

impl Default for Work {
    fn default() -> Self {
        Self { delay_ms: 0, fail_times: 0, fail: FailureKind::Unavailable, salt: 0 }
    }
}

crate::ports! {
    /// What [`Work`] gives.
    pub struct WorkOut {
        /// A number that depends on every input.
        pub value: i64,
        /// The number as text.
        pub text: Text,
    }
}

#[async_trait]
impl Operator for Work {
    const NAME: &'static str = "test.work";
    type In = OpenIn;
    type Out = WorkOut;

    async fn run(&self, cx: &Cx, input: OpenIn) -> Result<WorkOut, OpError> {
        let _live = Live::new(cx);
        if self.delay_ms > 0 {
            sleep(Duration::from_millis(self.delay_ms)).await;
        }
        if cx.attempt() <= self.fail_times {
            let (backend, message) = ("work".to_owned(), format!("attempt {}", cx.attempt()));
            return Err(match self.fail {
                FailureKind::Overloaded => backend::Error::Overloaded {
                    backend,
                    message,
                    retry_after: Some(Duration::from_millis(7)),
                }
                .into(),
                FailureKind::Rejected => backend::Error::Rejected { backend, message }.into(),
                _ => backend::Error::Unavailable { backend, message, retry_after: None }.into(),
            });
        }
        let mut mixed = blake3::Hasher::new();
        mixed.update(&self.salt.to_le_bytes());
        for (name, value) in &input.0 {
            mixed.update(name.as_bytes()).update(value.to_json().to_string().as_bytes());
        }
        let mut bytes = [0; 8];
        mixed.finalize_xof().fill(&mut bytes);
        let value = i64::from_le_bytes(bytes).rem_euclid(1_000);
        Ok(WorkOut { value, text: value.to_string().into() })
    }
}

/// Gives the numbers from 0 up to `n`.
///
/// ```yaml
/// numbers: { op: test.numbers, with: { n: 3 } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// How many.
    #[schemars(range(max = 100_000))]
    pub n: i64,
}

crate::ports! {
    /// What [`Numbers`] gives.
    pub struct NumbersOut {
        /// The numbers, ascending.
        pub numbers: Vec<i64>,
    }
}

#[async_trait]
impl Operator for Numbers {
    const NAME: &'static str = "test.numbers";
    type In = OpenIn;
    type Out = NumbersOut;

    async fn run(&self, _: &Cx, _: OpenIn) -> Result<NumbersOut, OpError> {
        Ok(NumbersOut { numbers: (0..self.n).collect() })
    }
}

/// Asks the model `default`.
///
/// ```yaml
/// ask: { op: test.ask, in: { question: inputs.question } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Most tokens to write.
    #[serde(default = "ask_max_tokens")]
    pub max_tokens: u32,
}

fn ask_max_tokens() -> u32 {
    20
}

crate::ports! {
    /// What [`Ask`] reads.
    pub struct AskIn {
        /// What to ask.
        pub question: Text,
    }
}

crate::ports! {
    /// What [`Ask`] gives.
    pub struct AskOut {
        /// The model's words.
        pub text: Text,
    }
}

#[async_trait]
impl Operator for Ask {
    const NAME: &'static str = "test.ask";
    type In = AskIn;
    type Out = AskOut;

    async fn run(&self, cx: &Cx, input: AskIn) -> Result<AskOut, OpError> {
        let _live = Live::new(cx);
        let messages = vec![Message { role: Role::User, content: input.question }];
        let request = ChatRequest { messages, max_tokens: Some(self.max_tokens), ..ChatRequest::default() };
        let response = cx.chat(&ModelName::default(), &request).await?;
        Ok(AskOut { text: response.text.into() })
    }
}

/// Cuts a text into passages, a word each; puts out no `none`.
///
/// ```yaml
/// passages: { op: test.passages, in: { text: inputs.text } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passages {}

crate::ports! {
    /// What [`Passages`] reads.
    pub struct PassagesIn {
        /// What to cut.
        pub text: Text,
        /// Passages to put in front.
        pub before: Option<Vec<Arc<Chunk>>>,
    }
}

crate::ports! {
    /// What [`Passages`] gives.
    pub struct PassagesOut {
        /// All of them.
        pub chunks: Vec<Arc<Chunk>>,
        /// The first.
        pub first: Option<Arc<Chunk>>,
        /// JSON `null`: a value that is there.
        pub nil: serde_json::Value,
        /// Nothing at all.
        pub none: Option<i64>,
        /// A share that decimals cannot say.
        pub third: f64,
    }
}

#[async_trait]
impl Operator for Passages {
    const NAME: &'static str = "test.passages";
    type In = PassagesIn;
    type Out = PassagesOut;

    async fn run(&self, _: &Cx, input: PassagesIn) -> Result<PassagesOut, OpError> {
        let mut chunks = input.before.unwrap_or_default();
        let mut start = 0;
        for word in input.text.split(' ') {
            let (doc, range) =
                (DocumentId("text".into()), ByteRange { start, end: start + word.len() as u64 });
            start = range.end + 1;
            chunks.push(Arc::new(Chunk {
                id: ChunkId::new(&doc, range),
                doc,
                text: word.into(),
                range,
                lines: LineRange { first: 1, last: 1 },
                tokens: TokenCount(1),
                title: None,
                headings: Vec::new(),
                score: Score::new(1.0 / chunks.len().max(3) as f64),
                meta: BTreeMap::new(),
            }));
        }
        let (first, third) = (chunks.first().cloned(), 1.0 / chunks.len().max(3) as f64);
        Ok(PassagesOut { chunks, first, nil: serde_json::Value::Null, none: None, third })
    }
}

/// A model that says what it is told, after a while, and counts its calls.
#[derive(Debug)]
pub struct Parrot {
    /// How long it takes.
    pub delay: Duration,
    /// Calls so far.
    pub calls: AtomicUsize,
}

impl Default for Parrot {
    fn default() -> Self {
        Self { delay: Duration::from_millis(5), calls: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl ChatModel for Parrot {
    fn name(&self) -> &'static str {
        "parrot"
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, backend::Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if !self.delay.is_zero() {
            sleep(self.delay).await;
        }
        let text = request.messages.last().map(|message| message.content.to_string()).unwrap_or_default();
        (call.on_delta)(&text);
        let usage = Usage {
            model_calls: 1,
            prompt_tokens: self.estimate_prompt_tokens(request),
            completion_tokens: u64::from(request.max_tokens.unwrap_or(1)) / 2,
            ..Usage::default()
        };
        Ok(ChatResponse {
            text,
            finish_reason: FinishReason::Stop,
            usage,
            model: "parrot".to_owned(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        })
    }
}
