//! Has a model plan the steps that answer a question.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anabranch_engine::backend::{self, ChatRequest};
use anabranch_engine::cx::Cx;
use anabranch_engine::limits;
use anabranch_engine::operator::{ModelName, OpError, Operator, PlanKit, Prompt};
use anabranch_engine::ports;
use anabranch_engine::value::{PlanText, Value};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Value as Json, json};

use super::shown;
use super::steps::{Step, plan, repeated};
use crate::ask;
use crate::prompt::Prompts;

/// Has a model plan the steps that answer a question, for a node with `plan` to run.
///
/// The node beside it that reads `plan` says what a plan may be made of: the operators and flows under `allow`, what the
/// steps can read and must give, how many there may be, what comes after what. The model is shown that inventory with
/// its types. It lists steps; a port that a step leaves open reads the latest step before it that gives something of the
/// same name, so that a bare list of names is a plan. The plan is then checked as every flow is, and if it cannot be used
/// the model is told everything that is wrong with it, as often as `repair` of the node says. What is still wrong then is
/// given as it is, with `valid: false`, and the node runs its `fallback`.
///
/// Use it where questions need different steps and writing a flow for each kind is too much; where the kinds are few,
/// `route.llm` before flows of your own is cheaper and surer. Asks the model once, and once more for each repair.
///
/// Source: the planner of Chameleon (Lu et al. 2023, arXiv 2304.09842), whose plans are lists of names that share
/// what they write; steps with references that run side by side are those of `LLMCompiler` (Kim et al. 2023, arXiv
/// 2312.04511).
///
/// ```yaml
/// planner:
///   op: plan.llm
///   in: { question: inputs.question }
/// work:
///   plan: planner.plan
///   in: { question: inputs.question }
///   allow: [query.multi, retrieve.bm25, read.answer]
///   outputs: { text: text }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Llm {
    /// Worked examples, questions with their steps, as the model shall read them.
    pub examples: String,
    /// The model to ask.
    pub model: ModelName,
    /// What the model is told about its task. Besides the ports it can use `fence`, `examples`, and of the inventory
    /// `parts`, `given`, `wanted`, `rules` and `max_steps`.
    #[schemars(extend("x-variables" = ["fence", "examples", "parts", "given", "wanted", "rules", "max_steps"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports it can use `fence`, `examples`, and of the inventory `parts`, `given`,
    /// `wanted`, `rules` and `max_steps`; `fence` is a line that none of the texts contains.
    #[schemars(extend("x-variables" = ["fence", "examples", "parts", "given", "wanted", "rules", "max_steps"]))]
    pub prompt: Prompt,
    /// Most tokens of the plan with its reason.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            examples: String::new(),
            model: ModelName::default(),
            system: Prompt(include_str!("../../prompts/plan.llm.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/plan.llm.md").into()),
            max_tokens: 1024,
            temperature: 0.0,
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// What the plan is to answer.
        pub question: String,
        /// What is known already, such as what earlier plans gave.
        pub notes: Option<Vec<String>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The plan.
        pub plan: PlanText,
        /// Whether it can be used.
        pub valid: bool,
        /// What is wrong with it; empty if it can be used.
        pub problems: Vec<String>,
        /// Why these steps, in the words of the model; empty if it gave none.
        pub reason: String,
    }
}

/// A plan as a model writes it.
#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(default)]
    reason: String,
    #[serde(deserialize_with = "steps")]
    steps: Vec<Step>,
    #[serde(default)]
    outputs: BTreeMap<String, Json>,
}

/// Steps as mappings, or as the bare names of what they run.
fn steps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Bare(String),
        Whole(Step),
    }
    let steps = Vec::<Either>::deserialize(deserializer)?;
    Ok(steps
        .into_iter()
        .map(|step| match step {
            Either::Bare(what) => Step::of(&what),
            Either::Whole(step) => step,
        })
        .collect())
}

/// The last plan that was read, and what is wrong with it.
#[derive(Debug, Default)]
struct Last {
    plan: Option<Json>,
    problems: Vec<String>,
    reason: String,
}

impl Last {
    fn of(kit: &dyn PlanKit, said: &Said) -> Self {
        let plan = plan(kit.inventory(), &said.steps, &said.outputs);
        let mut problems: Vec<String> =
            repeated(&said.steps).map(|name| format!("two steps are called `{name}`")).into_iter().collect();
        if let Err(found) = kit.check(&plan) {
            problems.extend(found.iter().map(|problem| {
                let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{}{hint}", problem.message)
            }));
        }
        Self { plan: Some(plan), problems, reason: said.reason.clone() }
    }
}

/// What servers that take a schema are held to.
fn schema(kit: &dyn PlanKit) -> Json {
    let names: Vec<&str> = kit.inventory().parts.iter().map(|part| &*part.name).collect();
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let step = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "use": { "type": "string", "enum": names },
            "in": { "type": "object" },
            "with": { "type": "object" },
            "when": { "type": "string" },
            "after": texts,
        },
        "required": ["use"],
        "additionalProperties": false,
    });
    json!({
        "type": "object",
        "properties": {
            "reason": { "type": "string" },
            "steps": {
                "type": "array",
                "minItems": 1,
                "items": { "anyOf": [step, { "type": "string", "enum": names }] },
            },
            "outputs": { "type": "object" },
        },
        "required": ["steps"],
        "additionalProperties": false,
    })
}

impl Llm {
    fn request(&self, cx: &Cx, kit: &dyn PlanKit, input: &In) -> Result<ChatRequest, OpError> {
        let notes = input.notes.as_deref().unwrap_or_default();
        let mut variables = vec![
            ("question", Value::text(input.question.as_str())),
            ("notes", Value::list(notes.iter().map(|note| Value::text(note.as_str())))),
            ("examples", Value::text(self.examples.trim())),
        ];
        variables.extend(shown::variables(kit.inventory()));
        let quoted = notes.iter().chain([&input.question]).map(String::as_str);
        let prompts = Prompts { system: &self.system, prompt: &self.prompt };
        Ok(ChatRequest {
            temperature: Some(self.temperature),
            max_tokens: Some(self.max_tokens),
            ..prompts.request(cx, &variables, quoted)?
        })
    }
}

#[async_trait]
impl Operator for Llm {
    const NAME: &'static str = "plan.llm";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let kit = cx.kit().ok_or_else(|| {
            OpError::InvalidSetting(
                "no node with `plan` runs this plan, so nothing says what it may be made of".to_owned(),
            )
        })?;
        let last: Mutex<Last> = Mutex::default();
        let check = |said: &Said| {
            let found = Last::of(kit, said);
            let problems = found.problems.join("; ");
            *last.lock().unwrap_or_else(PoisonError::into_inner) = found;
            if problems.is_empty() { Ok(()) } else { Err(problems) }
        };
        let request = self.request(cx, kit, &input)?;
        let repairs = kit.inventory().repair;
        let asked = ask::json(cx, &self.model, request, &schema(kit), repairs, check).await;
        let Last { plan, mut problems, reason } = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Ok(_) => {}
            // The node that runs the plan has something to fall back to, or says what is wrong.
            Err(OpError::Backend(error @ backend::Error::Garbled { .. })) => {
                if problems.is_empty() {
                    problems.push(error.to_string());
                }
            }
            Err(other) => return Err(other),
        }
        Ok(Out {
            plan: PlanText(plan.unwrap_or_else(|| json!({ "nodes": {} }))),
            valid: problems.is_empty(),
            problems,
            reason,
        })
    }

    fn model_calls_max(&self) -> u64 {
        u64::from(limits::PLAN_REPAIRS_MAX) + 1
    }
}

#[cfg(test)]
mod tests;
