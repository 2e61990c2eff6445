//! Runs of flows that ask a model, as the service would run them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_engine::backend::ChatModel;
use anabranch_engine::cx::{Cx, Model, Resources};
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::event::RunId;
use anabranch_engine::operator::{ModelName, OpError, Operator, Registry};
use anabranch_engine::plan::{Environment, Plan, compile};
use anabranch_engine::ports;
use anabranch_engine::run::{Options, Outcome, Report, run};
use anabranch_engine::value::{Map, Text, Value};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Failed, request, text};

/// Tokens of the instructions that all calls share.
const SYSTEM_TOKENS: usize = 300;

/// Asks the default model: instructions that are always the same, then the text.
///
/// ```yaml
/// ask: { op: bench.ask, in: { text: inputs.text } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Ask {
    /// Fewest tokens to write.
    #[serde(default = "min_tokens")]
    min_tokens: u32,
    /// Most tokens to write; how many depends on the text.
    #[serde(default = "max_tokens")]
    max_tokens: u32,
}

fn min_tokens() -> u32 {
    32
}

fn max_tokens() -> u32 {
    128
}

ports! {
    /// What goes in and comes out.
    struct Port {
        /// A text.
        pub text: Text,
    }
}

#[async_trait]
impl Operator for Ask {
    const NAME: &'static str = "bench.ask";
    type In = Port;
    type Out = Port;

    async fn run(&self, cx: &Cx, input: Port) -> Result<Port, OpError> {
        let sum = input.text.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let n_tokens = self.min_tokens + sum % (self.max_tokens - self.min_tokens + 1);
        let asked = request(&text(0, SYSTEM_TOKENS), &input.text, n_tokens);
        let answer = cx.chat(&ModelName::default(), &asked).await?;
        Ok(Port { text: answer.text.into() })
    }
}

/// Compiles a flow of `bench.ask`.
pub fn plan(yaml: &str) -> Result<Arc<Plan>, Failed> {
    let registry = Registry::default().with::<Ask>();
    let environment = Environment { registry: &registry, names: None, library: &() };
    Ok(Arc::new(compile(&SourceFile::new("bench.yaml", yaml), &environment)?.0))
}

/// A flow of four calls, each about the answer of the one before.
pub fn four_calls(retry: &str) -> Result<Arc<Plan>, Failed> {
    let node = |name: &str, from: &str| {
        format!("  {name}: {{ op: bench.ask, in: {{ text: {from}.text }}{retry} }}\n")
    };
    let nodes: String =
        [("a", "inputs"), ("b", "a"), ("c", "b"), ("d", "c")].map(|(name, from)| node(name, from)).concat();
    plan(&format!("flow: four\ninputs: {{ text: text }}\nnodes:\n{nodes}outputs: {{ text: d.text }}\n"))
}

/// What runs reach: `model` as the default one.
pub fn resources(model: Arc<dyn ChatModel>) -> Arc<Resources> {
    let models = BTreeMap::from([("default".to_owned(), Model::Chat(model))]);
    Arc::new(Resources { models, ..Resources::default() })
}

/// Runs a flow of one input; its report, whatever came of it.
pub async fn once(
    plan: &Arc<Plan>,
    resources: &Arc<Resources>,
    id: String,
    input: (&str, Value),
    concurrency: usize,
) -> Result<Report, Failed> {
    let inputs: Map = [(input.0.into(), input.1)].into_iter().collect();
    let options = Options { id: RunId(id.into()), details: false, concurrency, ..Options::default() };
    Ok(run(plan.clone(), inputs, resources.clone(), options).await?)
}

/// Whether a run came to its end.
pub fn has_succeeded(report: &Report) -> bool {
    matches!(report.outcome, Outcome::Succeeded)
}
