//! An operator that makes plans, as it is told.

use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map as JsonMap, Value as Json, json};
use tokio::time::sleep;

use super::Live;
use crate::cx::Cx;
use crate::operator::{OpError, OpenIn, Operator};
use crate::value::{PlanText, Value};

/// Makes a plan of so many steps that run `test.work`; which step reads which depends on its inputs and `salt`.
///
/// ```yaml
/// planner: { op: test.planner, in: { n: inputs.n }, with: { steps: 3 } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Planner {
    /// How many steps.
    pub steps: u32,
    /// Milliseconds before it ends.
    pub delay_ms: u64,
    /// Milliseconds that each step takes.
    pub step_ms: u64,
    /// Whether the plan is one that cannot be used.
    pub broken: bool,
    /// Told apart from other planners by this.
    pub salt: u64,
}

impl Default for Planner {
    fn default() -> Self {
        Self { steps: 3, delay_ms: 0, step_ms: 0, broken: false, salt: 0 }
    }
}

crate::ports! {
    /// What [`Planner`] gives.
    pub struct PlannerOut {
        /// The plan. Its steps read `inputs.n`, and it gives `value`.
        pub plan: PlanText,
    }
}

#[async_trait]
impl Operator for Planner {
    const NAME: &'static str = "test.planner";
    type In = OpenIn;
    type Out = PlannerOut;

    async fn run(&self, cx: &Cx, input: OpenIn) -> Result<PlannerOut, OpError> {
        let _live = Live::new(cx);
        if self.delay_ms > 0 {
            sleep(Duration::from_millis(self.delay_ms)).await;
        }
        let seen = Value::map(input.0).to_json().to_string();
        let mut rng = fastrand::Rng::with_seed(
            blake3::hash(seen.as_bytes())
                .as_bytes()
                .iter()
                .fold(self.salt, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(*byte))),
        );
        let mut nodes = JsonMap::new();
        for step in 0..self.steps {
            // An earlier step, or the input.
            let mut earlier = || match rng.u32(0..=step) {
                0 => "inputs.n".to_owned(),
                other => format!("s{}.value", other - 1),
            };
            let reads = json!({ "a": earlier(), "b": earlier() });
            let with = json!({ "salt": step, "delay_ms": self.step_ms });
            nodes.insert(format!("s{step}"), json!({ "op": "test.work", "in": reads, "with": with }));
        }
        let last = self.steps.saturating_sub(1);
        let value = if self.broken { "nobody.value".to_owned() } else { format!("s{last}.value") };
        let plan = json!({ "nodes": Json::Object(nodes), "outputs": { "value": value } });
        let fits = cx.kit().is_some_and(|kit| kit.check(&plan).is_ok());
        if fits == self.broken {
            return Err(OpError::InvalidInput("the checker says otherwise than the planner".to_owned()));
        }
        Ok(PlannerOut { plan: PlanText(plan) })
    }
}
