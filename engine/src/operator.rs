//! Operators: what one is (typed), how the engine holds one (boxed), and the registry that finds it by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

use crate::budget::OverBudget;
use crate::cx::Cx;
use crate::types::Type;
use crate::value::{Mismatch, Text, Value};
use crate::{backend, value};

mod planning;
mod ports;
mod settings;

pub use planning::{Inventory, Part, PlanKit};
pub use ports::{OpenIn, Port, PortSet, Ports};
pub use settings::{
    EmbedderName, IndexName, ModelName, NameKind, Prompt, RerankerName, SETTING_KIND, ToolName,
};

/// Why an operator gave no result. Whether trying again can help is in the variant.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpError {
    /// Something outside failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// A budget ran out.
    #[error(transparent)]
    Budget(#[from] OverBudget),
    /// A port got a value of another type than the flow promised.
    #[error("port `{port}`: {mismatch}")]
    Port {
        /// Which port.
        port: Text,
        /// What is wrong with the value.
        mismatch: Mismatch,
    },
    /// The input makes no sense to this operator; the message says which and why.
    #[error("{0}")]
    InvalidInput(String),
    /// A setting, model or index that only became known at run time cannot be used.
    #[error("{0}")]
    InvalidSetting(String),
}

/// One step of a flow: the struct is its settings, `In` and `Out` are its ports.
///
/// The doc comment of the struct is the operator's page. An operator never retries, sleeps, spawns, reads the
/// environment or logs its own start and end: the engine does that, for every operator alike.
#[async_trait]
pub trait Operator: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// `module.operator`, the path of its file.
    const NAME: &'static str;
    /// Whether it changes something outside that must not be changed twice: sends, pays, books.
    ///
    /// Such an attempt begins only once the journal says so, and is not made again by itself if its process dies on it.
    const HAS_EFFECTS: bool = false;
    /// What it reads.
    type In: Ports;
    /// What it gives.
    type Out: Ports;

    /// Does the step.
    async fn run(&self, cx: &Cx, input: Self::In) -> Result<Self::Out, OpError>;

    /// As [`Operator::HAS_EFFECTS`], where the settings decide.
    fn has_effects(&self) -> bool {
        Self::HAS_EFFECTS
    }

    /// The most model calls that one attempt makes; only asked of operators with a setting that names a model.
    fn model_calls_max(&self) -> u64 {
        1
    }

    /// The labels that the output `label` can be; `None` if the operator has no such output or cannot tell.
    ///
    /// The checker warns of comparisons with any other text.
    fn labels(&self) -> Option<Vec<Text>> {
        None
    }

    /// Problems of the settings that types cannot tell, found when the flow is loaded.
    ///
    /// `given` are the input ports that the flow connects, with the types that arrive there.
    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let _ = given;
        Vec::new()
    }
}

/// A problem of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// JSON pointer of the setting within `with`: `/routes/simple`.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// An operator with its settings, as the engine holds it.
#[async_trait]
pub trait DynOperator: Send + Sync {
    /// Does the step. `names` are the input ports that `values` stand on, in the same order.
    async fn run(
        &self,
        cx: &Cx,
        names: &[Text],
        values: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, OpError>;

    /// As [`Operator::has_effects`].
    fn has_effects(&self) -> bool;

    /// As [`Operator::model_calls_max`].
    fn model_calls_max(&self) -> u64;

    /// As [`Operator::labels`].
    fn labels(&self) -> Option<Vec<Text>>;

    /// As [`Operator::check`].
    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem>;
}

struct Boxed<O>(O);

#[async_trait]
impl<O: Operator> DynOperator for Boxed<O> {
    async fn run(
        &self,
        cx: &Cx,
        names: &[Text],
        values: Vec<Option<Value>>,
    ) -> Result<Vec<Option<Value>>, OpError> {
        let input = O::In::from_slots(names, values)?;
        Ok(self.0.run(cx, input).await?.into_slots())
    }

    fn has_effects(&self) -> bool {
        self.0.has_effects()
    }

    fn model_calls_max(&self) -> u64 {
        self.0.model_calls_max()
    }

    fn labels(&self) -> Option<Vec<Text>> {
        self.0.labels()
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        self.0.check(given)
    }
}

/// Everything that is known of an operator without its settings.
pub struct OperatorSpec {
    /// Its name.
    pub name: &'static str,
    /// As [`Operator::HAS_EFFECTS`].
    pub has_effects: bool,
    /// Its page, in Markdown.
    pub page: String,
    /// Its input ports.
    pub inputs: PortSet,
    /// Its output ports.
    pub outputs: PortSet,
    /// JSON Schema of its settings.
    pub settings: Schema,
    /// The compiled schema.
    pub validator: jsonschema::Validator,
    build: fn(serde_json::Value) -> Result<Arc<dyn DynOperator>, serde_json::Error>,
}

impl std::fmt::Debug for OperatorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OperatorSpec {
    fn of<O: Operator>() -> Self {
        let mut settings = schemars::generate::SchemaSettings::draft2020_12()
            .with(|s| s.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<O>();
        let page = settings.get("description").and_then(|d| d.as_str()).unwrap_or_default().to_owned();
        settings.remove("description");
        settings.remove("title");
        #[expect(clippy::expect_used, reason = "a schema that schemars made of a type is valid")]
        let validator = jsonschema::validator_for(settings.as_value()).expect("derived schema");
        Self {
            name: O::NAME,
            has_effects: O::HAS_EFFECTS,
            page,
            inputs: O::In::set(),
            outputs: O::Out::set(),
            settings,
            validator,
            build: |json| Ok(Arc::new(Boxed(serde_json::from_value::<O>(json)?))),
        }
    }

    /// The operator with these settings.
    pub fn build(&self, settings: serde_json::Value) -> Result<Arc<dyn DynOperator>, serde_json::Error> {
        (self.build)(settings)
    }

    /// First sentence of the page.
    pub fn summary(&self) -> &str {
        self.page.split("\n\n").next().unwrap_or_default().trim()
    }
}

/// The operators that flows can name.
#[derive(Debug, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<OperatorSpec>>);

impl Registry {
    /// Adds an operator.
    ///
    /// # Panics
    /// If the name is taken: a registry is a list in source code.
    #[must_use]
    pub fn with<O: Operator>(mut self) -> Self {
        let taken = self.0.insert(O::NAME, Arc::new(OperatorSpec::of::<O>()));
        assert!(taken.is_none(), "operator `{}` is registered twice", O::NAME);
        self
    }

    /// Adds an operator of another registry.
    pub(crate) fn add(&mut self, spec: Arc<OperatorSpec>) {
        self.0.insert(spec.name, spec);
    }

    /// The operator called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<OperatorSpec>> {
        self.0.get(name)
    }

    /// All operators, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<OperatorSpec>> {
        self.0.values()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.keys().copied()
    }
}

/// The tool that is there without any configuration: it runs programs that models write.
pub const PROGRAM_TOOL: &str = "program";

/// Names that settings can refer to: what this installation has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Models, with `default` where there is one.
    pub models: std::collections::BTreeSet<String>,
    /// Indexes.
    pub indexes: std::collections::BTreeSet<String>,
    /// Embedders, with `default` where there is one.
    pub embedders: std::collections::BTreeSet<String>,
    /// Rerankers, with `default` where there is one.
    pub rerankers: std::collections::BTreeSet<String>,
    /// Tools and servers of tools, and `server.tool` where it is known what a server has.
    pub tools: std::collections::BTreeSet<String>,
    /// Servers of tools that are only asked for them when a flow runs.
    pub tool_servers: std::collections::BTreeSet<String>,
}

impl Names {
    /// What there is without any configuration: one of each that can be had on this machine, and these indexes.
    pub fn defaults<'a>(indexes: impl IntoIterator<Item = &'a str>) -> Self {
        let default = || ["default".to_owned()].into();
        let indexes = indexes.into_iter().map(str::to_owned).collect();
        let tools = [PROGRAM_TOOL.to_owned()].into();
        let (models, embedders, rerankers) = (default(), default(), default());
        Self { models, indexes, embedders, rerankers, tools, ..Self::default() }
    }

    /// The known names of one kind.
    pub fn of(&self, kind: NameKind) -> &std::collections::BTreeSet<String> {
        match kind {
            NameKind::Model => &self.models,
            NameKind::Index => &self.indexes,
            NameKind::Embedder => &self.embedders,
            NameKind::Reranker => &self.rerankers,
            NameKind::Tool => &self.tools,
        }
    }

    /// Whether there is a `kind` called `name`, as far as can be known before a flow runs.
    pub fn has(&self, kind: NameKind, name: &str) -> bool {
        let may_have = || match (kind, name.split_once('.')) {
            (NameKind::Tool, Some((server, _))) => self.tool_servers.contains(server),
            _ => false,
        };
        self.of(kind).contains(name) || may_have()
    }
}

impl From<value::Mismatch> for OpError {
    fn from(mismatch: Mismatch) -> Self {
        Self::Port { port: "?".into(), mismatch }
    }
}

/// The value of one port; used by [`ports!`](crate::ports).
#[doc(hidden)]
pub fn take_port<T: value::PortType>(name: &'static str, value: Option<Value>) -> Result<T, OpError> {
    let taken = match value {
        Some(value) => T::from_value(value),
        None => T::absent().ok_or_else(|| Mismatch {
            expected: T::ty(),
            found: "nothing".to_owned(),
            detail: None,
        }),
    };
    taken.map_err(|mismatch| OpError::Port { port: name.into(), mismatch })
}
