//! A flow as it is written: every construct of the YAML with its place, nothing resolved yet.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;
use crate::diagnostic::{SourceFile, Span, Spanned};
use crate::event::FailureKind;
use crate::types::Type;
use crate::value::Value;

pub mod expression;
pub mod parse;
pub mod prompt;
pub mod reference;
pub mod schema;
pub mod template;
pub mod yaml;

/// Where sub-flows and prompt files come from. The engine opens no files; the service does, tests use a map.
pub trait Library {
    /// The flow called `name`, as its node in the file `from` would find it.
    fn flow(&self, name: &str, from: &SourceFile) -> Option<Arc<SourceFile>>;
    /// The text of the prompt file `path`, relative to the file `from`; `Err` says why not.
    fn prompt(&self, path: &str, from: &SourceFile) -> Result<String, String>;
    /// Names of the flows that there are, for suggestions.
    fn flows(&self) -> Vec<String> {
        Vec::new()
    }
}

/// No sub-flows, no prompt files.
impl Library for () {
    fn flow(&self, _: &str, _: &SourceFile) -> Option<Arc<SourceFile>> {
        None
    }

    fn prompt(&self, path: &str, _: &SourceFile) -> Result<String, String> {
        Err(format!("there is no file `{path}`"))
    }
}

/// A whole flow file.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The file.
    pub file: Arc<SourceFile>,
    /// `flow:`.
    pub name: Spanned<String>,
    /// `about:`.
    pub about: Option<String>,
    /// `inputs:`, in order.
    pub inputs: Vec<InputDecl>,
    /// `budget:`.
    pub budget: Option<Spanned<Budget>>,
    /// `nodes:`, in order.
    pub nodes: Vec<NodeDecl>,
    /// `outputs:`, in order.
    pub outputs: Vec<Entry<ExprText>>,
    /// `tests:`.
    pub tests: Vec<TestDecl>,
}

/// A key with its value, both with places.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// The key.
    pub key: Spanned<String>,
    /// The value.
    pub value: T,
}

/// An expression as it stands in the YAML.
#[derive(Debug, Clone, PartialEq)]
pub struct ExprText {
    /// The expression, unquoted.
    pub text: String,
    /// Its place, without the quotes.
    pub span: Span,
    /// Whether `text` stands in the file byte for byte at `span`, so that places inside it can be shown.
    pub exact: bool,
}

impl ExprText {
    /// The place of a part of the text, given in bytes of `text`.
    pub fn part(&self, start: usize, end: usize) -> Span {
        if self.exact { self.span.part(start, end) } else { self.span }
    }
}

/// A literal, or an expression to be evaluated when the node starts: `${ expr }`.
#[derive(Debug, Clone)]
pub enum Late<T> {
    /// Known when the flow is loaded.
    Now(Spanned<T>),
    /// `${ expr }`; the text is what stands between the braces.
    Later(ExprText),
}

/// One of `inputs:`.
#[derive(Debug, Clone)]
pub struct InputDecl {
    /// Its name.
    pub name: Spanned<String>,
    /// Its type; required unless it ends in `?` or there is a default.
    pub ty: Spanned<Type>,
    /// Value if none is given.
    pub default: Option<Spanned<serde_json::Value>>,
    /// Least number, or least length of a text or list.
    pub min: Option<Spanned<f64>>,
    /// Greatest number, or greatest length of a text or list.
    pub max: Option<Spanned<f64>>,
    /// What it is for.
    pub about: Option<String>,
}

/// One of `nodes:`.
#[derive(Debug, Clone)]
pub struct NodeDecl {
    /// Its name.
    pub name: Spanned<String>,
    /// What it runs.
    pub kind: KindDecl,
    /// `in:`.
    pub inputs: Vec<Entry<ExprText>>,
    /// `with:`, as spanned YAML: what it may hold depends on the operator.
    pub settings: Option<yaml::Node>,
    /// `when:`.
    pub when: Option<ExprText>,
    /// `after:`.
    pub after: Vec<Spanned<String>>,
    /// `retry:`.
    pub retry: Option<RetryDecl>,
    /// `timeout:`, of an attempt.
    pub timeout: Option<Late<Duration>>,
    /// `idle_timeout:`, the silence of a streaming attempt.
    pub idle_timeout: Option<Late<Duration>>,
    /// `on_error:`.
    pub on_error: Option<Spanned<OnErrorDecl>>,
    /// `cache:`: how long a result may be used again.
    pub cache: Option<Spanned<Duration>>,
    /// `budget:`.
    pub budget: Option<Spanned<Budget>>,
    /// `join:`.
    pub join: Option<Spanned<JoinDecl>>,
    /// `about:`.
    pub about: Option<String>,
}

/// What a node runs: exactly one of `op`, `flow`, `loop`, `each`, `plan`, `wait`.
#[derive(Debug, Clone)]
pub enum KindDecl {
    /// `op: module.operator`.
    Op(Spanned<String>),
    /// `flow: name`.
    Flow(Spanned<String>),
    /// `loop: {...}`.
    Loop(Box<LoopDecl>),
    /// `each: expr`.
    Each(Box<EachDecl>),
    /// `wait: {...}`.
    Wait(Box<WaitDecl>),
    /// `plan: expr`.
    Plan(Box<PlanDecl>),
    /// Reported already: none or several of them, or one that cannot be read. Later checks say nothing about the node,
    /// and take its outputs for anything.
    Unknown,
}

/// `wait: {...}`: a question to somebody outside.
#[derive(Debug, Clone)]
pub struct WaitDecl {
    /// Place of the key `wait`.
    pub span: Span,
    /// `for:`, the type of the answer.
    pub ty: Type,
    /// `about:`, what is asked.
    pub about: Option<String>,
    /// `deadline:`, how long it waits.
    pub deadline: Option<Spanned<Duration>>,
    /// `default:`, the value if nobody answers.
    pub default: Option<Value>,
}

/// `plan: expr` and its companions on the same node: a plan that is made while the flow runs.
#[derive(Debug, Clone)]
pub struct PlanDecl {
    /// Place of the key `plan`.
    pub span: Span,
    /// The plan.
    pub plan: ExprText,
    /// `allow:`, the operators (`module.operator`) and flows that its steps may run.
    pub allow: Vec<Spanned<String>>,
    /// `outputs:`, what the plan must give: name -> type.
    pub outputs: Vec<Entry<Spanned<Type>>>,
    /// `max_nodes:`, the most steps.
    pub max_nodes: Option<Spanned<u32>>,
    /// `repair:`, how often the planner may repair a plan that cannot be used.
    pub repair: Option<Spanned<u32>>,
    /// `order:`, which steps come after which: what one runs -> what those before it run.
    pub order: Vec<Entry<Vec<Spanned<String>>>>,
    /// `must:`, what some step of every plan runs.
    pub must: Vec<Spanned<String>>,
    /// `fallback:`, what runs in the place of a plan that cannot be used.
    pub fallback: Option<FallbackDecl>,
}

/// `fallback: {...}`: nodes of the flow's author.
#[derive(Debug, Clone)]
pub struct FallbackDecl {
    /// Place of the key `fallback`.
    pub span: Span,
    /// `nodes:`.
    pub nodes: Vec<NodeDecl>,
    /// `outputs:`.
    pub outputs: Vec<Entry<ExprText>>,
}

/// `loop: {...}`.
#[derive(Debug, Clone)]
pub struct LoopDecl {
    /// Place of the key `loop`.
    pub span: Span,
    /// `max_turns:`; its absence is a diagnostic.
    pub max_turns: Option<Late<u32>>,
    /// `carry:`, first values.
    pub carry: Vec<Entry<ExprText>>,
    /// The nodes of a turn.
    pub nodes: Vec<NodeDecl>,
    /// `next:`, values for the next turn.
    pub next: Vec<Entry<ExprText>>,
    /// `until:`, reason -> condition, in order.
    pub until: Vec<Entry<ExprText>>,
}

/// `each: expr` and its companions on the same node.
#[derive(Debug, Clone)]
pub struct EachDecl {
    /// The list to go over.
    pub items: ExprText,
    /// `as:`, the name of the item within the body; `item` by default.
    pub name: Spanned<String>,
    /// What runs for each item.
    pub body: EachBody,
    /// `outputs:` of a body of nodes: name -> expression over one item's scope.
    pub outputs: Vec<Entry<ExprText>>,
    /// `concurrency:`.
    pub concurrency: Option<Late<u32>>,
    /// `on_item_error:`.
    pub on_item_error: OnItemError,
    /// `min_success:`, share of the items, 0 to 1.
    pub min_success: Option<Spanned<f64>>,
    /// `stop_when: {quorum: {of, agree}}`.
    pub stop_when: Option<QuorumDecl>,
    /// `max_items:`.
    pub max_items: Option<Late<u32>>,
}

/// What an each runs for every item.
#[derive(Debug, Clone)]
pub enum EachBody {
    /// `nodes:`.
    Nodes(Vec<NodeDecl>),
    /// `op:` on the each itself; its `in`, `with`, `retry`, `timeout`, `idle_timeout` and `cache` are the item's.
    Op(Spanned<String>),
    /// `flow:` on the each itself; its `in` is the item's.
    Flow(Spanned<String>),
}

/// What an each does with an item that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnItemError {
    /// The each fails.
    #[default]
    Fail,
    /// The item is left out of the outputs.
    Skip,
    /// An error record stands in its place.
    Keep,
}

/// `quorum: {of: output, agree: n}`: enough items gave an equal value.
#[derive(Debug, Clone)]
pub struct QuorumDecl {
    /// The output that is compared.
    pub of: Spanned<String>,
    /// How many must agree.
    pub agree: Spanned<u32>,
}

/// `retry: {...}`.
#[derive(Debug, Clone)]
pub struct RetryDecl {
    /// Place of the value.
    pub span: Span,
    /// `attempts:`, the first included.
    pub attempts: Option<Spanned<u32>>,
    /// `backoff:`, wait before the second attempt; doubles from there.
    pub backoff: Option<Spanned<Duration>>,
    /// `max_backoff:`.
    pub max_backoff: Option<Spanned<Duration>>,
    /// `on:`.
    pub on: Option<Vec<Spanned<FailureKind>>>,
}

/// `on_error:`.
#[derive(Debug, Clone)]
pub enum OnErrorDecl {
    /// `fail`.
    Fail,
    /// `skip`: the outputs are absent.
    Skip,
    /// `{value: {port: literal}}`.
    Value(Vec<Entry<Spanned<serde_json::Value>>>),
    /// `{flow: name}`, run with the node's own inputs.
    Flow(Spanned<String>),
}

/// `join:`.
#[derive(Debug, Clone)]
pub struct JoinDecl {
    /// How many inputs must be there.
    pub need: Need,
    /// How long to wait for them.
    pub deadline: Option<Spanned<Duration>>,
    /// Whether branches that are no longer wanted are stopped.
    pub cancel_losers: bool,
}

/// How many of its inputs a node waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// Every one settled.
    #[default]
    All,
    /// One present.
    Any,
    /// So many present.
    AtLeast(u32),
}

/// One of `tests:`.
#[derive(Debug, Clone)]
pub struct TestDecl {
    /// `name:`.
    pub name: Spanned<String>,
    /// `inputs:`.
    pub inputs: Vec<Entry<Spanned<serde_json::Value>>>,
    /// `stub:`, node path -> outputs, or `{error: kind, message}`; a stubbed node does not run.
    pub stub: Vec<Entry<yaml::Node>>,
    /// `replay:`, a file of recorded exchanges beside the flow.
    pub replay: Option<Spanned<String>>,
    /// `script:`, what models answer: by the first rule that fits.
    pub script: Vec<Scripted>,
    /// `expect:`.
    pub expect: ExpectDecl,
}

/// A rule of a test's `script:`.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// `contains:`, text that one of the messages contains. Without `contains` and `matches`, the rule fits always.
    pub contains: Option<Spanned<String>>,
    /// `matches:`, a regular expression that one of the messages matches.
    pub matches: Option<Spanned<String>>,
    /// `answer:`; empty if it is left out where there are `calls`.
    pub answer: Spanned<String>,
    /// `calls:`, the tools that the answer asks for.
    pub calls: Vec<ScriptedCall>,
}

/// A call of a tool in a test's `script:`.
#[derive(Debug, Clone)]
pub struct ScriptedCall {
    /// `tool:`, its name.
    pub tool: Spanned<String>,
    /// `arguments:`, taken as they are: a test may well show what becomes of wrong ones.
    pub arguments: Vec<Entry<Spanned<serde_json::Value>>>,
}

/// `expect:` of a test.
#[derive(Debug, Clone, Default)]
pub struct ExpectDecl {
    /// `ran:`, paths of the nodes that ran, in any order.
    pub ran: Option<Vec<Spanned<String>>>,
    /// `skipped:`, paths of nodes that did not.
    pub skipped: Vec<Spanned<String>>,
    /// `outputs:`, output -> value, or a matcher `{contains|equals|matches|at_least|at_most|size: ...}`.
    pub outputs: Vec<Entry<Spanned<serde_json::Value>>>,
    /// `absent:`, outputs that are absent.
    pub absent: Vec<Spanned<String>>,
    /// `fails:`, `{node, kind}` of the failure that ends the run.
    pub fails: Option<Spanned<serde_json::Value>>,
}
