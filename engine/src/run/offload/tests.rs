//! What an operator sees is the same wherever it is executed; and one with effects stays.

#![expect(unreachable_pub, reason = "`ports!` makes ports for everybody")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Done, NotTaken, Offload, Task, execute_task};
use crate::cx::{Cx, Resources};
use crate::diagnostic::SourceFile;
use crate::operator::{Names, OpError, OpenIn, Operator};
use crate::plan::{Environment, Plan, compile};
use crate::run::{Options, run};
use crate::testing;
use crate::value::{Map, Text};

/// Tells what is random and what names it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Dice {}

crate::ports! {
    /// What [`Dice`] gives.
    pub struct DiceOut {
        /// A number of its own.
        pub rolled: i64,
        /// Its name.
        pub key: Text,
    }
}

#[async_trait]
impl Operator for Dice {
    const NAME: &'static str = "test.dice";
    type In = OpenIn;
    type Out = DiceOut;

    async fn run(&self, cx: &Cx, _: OpenIn) -> Result<DiceOut, OpError> {
        Ok(DiceOut { rolled: cx.rng().i64(..), key: cx.idempotency_key().into() })
    }
}

struct Elsewhere(Arc<Plan>, Mutex<Vec<String>>);

#[async_trait]
impl Offload for Elsewhere {
    fn threshold(&self) -> usize {
        1
    }

    async fn execute(&self, task: Task) -> Result<Done, NotTaken> {
        self.1.lock().unwrap().push(task.scope.to_string());
        execute_task(&self.0, task, Arc::new(Resources::default())).await
    }
}

#[tokio::test]
async fn an_operator_cannot_tell_where_it_is_executed_and_one_with_effects_stays() {
    let yaml = "flow: f\nnodes:\n  fan:\n    each: \"[1, 2]\"\n    nodes:\n      \
                dice: { op: test.dice, in: { n: item } }\n      effect: { op: test.effect, in: { n: item } }\n    \
                outputs: { rolled: dice.rolled, key: dice.key, effect: effect.key }\n\
                outputs: { rolled: fan.rolled, key: fan.key, effect: fan.effect }\n";
    let (registry, names) = (testing::registry().with::<Dice>(), Names::defaults([]));
    let environment = Environment { registry: &registry, names: Some(&names), library: &() };
    let (plan, _) = compile(&SourceFile::new("flow.yaml", yaml), &environment).unwrap();
    let plan = Arc::new(plan);
    let options = Options { seed: 7, ..Options::default() };
    let resources = Arc::new(Resources::default());
    let here = run(plan.clone(), Map::new(), resources.clone(), options.clone()).await.unwrap();
    let elsewhere = Arc::new(Elsewhere(plan.clone(), Mutex::default()));
    let options = Options { offload: Some(elsewhere.clone()), ..options };
    let there = run(plan, Map::new(), resources, options).await.unwrap();
    assert_eq!(there.outputs, here.outputs);
    assert_eq!(here.outputs.len(), 3, "{here:?}");
    assert_eq!(*elsewhere.1.lock().unwrap(), ["fan[0]/dice", "fan[1]/dice"]);
}
