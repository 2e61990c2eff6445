//! Holds 23,852 recorded plans against the checker of plans, and runs every one of them.
//!
//! `planner --data FOLDER [--json]` reads `recorded/chameleon_plans/transition_counts.json`: how often one module followed
//! another in the plans of two models on two sets. It makes as many plans of these counts as were recorded, so that
//! they have exactly the recorded transitions, writes each as a plan of typed steps, checks it, and runs it with modules
//! that do nothing but tell that they ran. A plan that is refused runs the default pipeline. The program fails if a
//! verdict is not the same twice, if transitions are lost, or if a program is executed before it was generated.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anabranch_benches::Outcome;
use anabranch_engine::plan::{Kind, Kit, Plan};
use anabranch_engine::run::{Options, Outcome as Ended, run};
use anabranch_engine::testing::{self, MapLibrary, take_ran};
use anabranch_engine::value::{Map, Value};
use anabranch_operators::plan::steps::{Step, plan as plan_of};
use serde::Serialize;
use serde_json::Value as Json;

#[path = "planner/modules.rs"]
mod modules;
#[path = "planner/transitions.rs"]
mod transitions;

use modules::Pipeline;
use transitions::{Counts, paths};

/// What came of the plans of one model on one set.
#[derive(Debug, Default, Serialize)]
struct Row {
    set: String,
    plans: usize,
    shapes: usize,
    accepted: usize,
    refused: usize,
    /// Why, with how many plans: the first problem of each.
    reasons: BTreeMap<String, usize>,
    /// Steps that ran, over all plans.
    steps: usize,
    /// Programs that were executed, and those among them that no generator came before.
    executed: usize,
    executed_too_early: usize,
}

/// The verdict on a shape, and the plan that it came to.
struct Verdict {
    plan: Json,
    problem: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let (data, is_json) = args()?;
    let path = data.join("recorded/chameleon_plans/transition_counts.json");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let recorded: BTreeMap<String, Counts> = serde_json::from_str(&text)?;
    let mut rows = Vec::new();
    for (set, counts) in &recorded {
        let pipeline = if set.contains("tabmwp") { modules::TABMWP } else { modules::SCIENCEQA };
        rows.push(judge(set, counts, &pipeline).await?);
    }
    print(&rows, is_json)?;
    let early: usize = rows.iter().map(|row| row.executed_too_early).sum();
    if early > 0 {
        return Err(format!("{early} programs were executed before one was generated").into());
    }
    Ok(())
}

fn args() -> Outcome<(PathBuf, bool)> {
    let (mut data, mut is_json) = (None, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--data" => data = args.next().map(PathBuf::from),
            "--json" => is_json = true,
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    Ok((data.ok_or("give the folder of the data: --data FOLDER")?, is_json))
}

async fn judge(set: &str, counts: &Counts, pipeline: &Pipeline) -> Outcome<Row> {
    let plan = compiled(pipeline)?;
    let kit = kit(&plan)?;
    let plans = paths(counts);
    if transitions::counted(&plans) != *counts {
        return Err(format!("{set}: the plans do not have the recorded transitions").into());
    }
    let mut shapes: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for plan in plans {
        *shapes.entry(plan).or_default() += 1;
    }
    let name = set.trim_start_matches("transition_").replace("_chameleon", "");
    let mut row = Row { set: name, shapes: shapes.len(), ..Row::default() };
    for (shape, times) in &shapes {
        let verdict = checked(&kit, shape);
        if checked(&kit, shape).problem != verdict.problem {
            return Err(format!("two verdicts on {shape:?}").into());
        }
        row.plans += times;
        match &verdict.problem {
            None => row.accepted += times,
            Some(problem) => {
                row.refused += times;
                *row.reasons.entry(problem.clone()).or_default() += times;
            }
        }
        for _ in 0..*times {
            let ran = ran(&plan, &verdict).await?;
            row.steps += ran.len();
            let (executed, early) = executions(&ran);
            row.executed += executed;
            row.executed_too_early += early;
        }
    }
    Ok(row)
}

/// The flow that runs a plan of the pipeline's modules.
fn compiled(pipeline: &Pipeline) -> Outcome<Arc<Plan>> {
    let flows = pipeline.modules.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    testing::plan(pipeline.flow, &MapLibrary(flows.collect())).map_err(|problems| problems.to_string().into())
}

fn kit(plan: &Plan) -> Outcome<Arc<Kit>> {
    match plan.root.nodes.first().map(|node| &node.kind) {
        Some(Kind::Plan(planned)) => Ok(planned.kit.clone()),
        _ => Err("the flow runs no plan".into()),
    }
}

fn checked(kit: &Kit, shape: &[String]) -> Verdict {
    let steps: Vec<Step> = shape.iter().map(|module| Step::of(module)).collect();
    let plan = plan_of(&kit.inventory, &steps, &BTreeMap::new());
    let problem = kit.compile(&plan).err().and_then(|problems| {
        problems.iter().next().map(|problem| format!("{}: {}", problem.code, problem.message))
    });
    Verdict { plan, problem }
}

/// The modules that ran, in the order in which they began.
async fn ran(plan: &Arc<Plan>, verdict: &Verdict) -> Outcome<Vec<String>> {
    let text = |text: &str| Value::text(text);
    let mut inputs: Map = plan.root.inputs.iter().map(|input| (input.port.name.clone(), text("x"))).collect();
    inputs.insert("plan".into(), Value::from_json(verdict.plan.clone()));
    take_ran();
    let options = Options { details: false, ..Options::default() };
    let report = run(plan.clone(), inputs, Arc::new(testing::resources()), options).await?;
    if report.outcome != Ended::Succeeded {
        return Err(format!("a run ended with {:?}", report.outcome).into());
    }
    let fell_back = report.outputs.get("fell_back") == Some(&Value::Bool(true));
    if fell_back != verdict.problem.is_some() {
        return Err(
            format!("the checker says {:?}, and the run fell back: {fell_back}", verdict.problem).into()
        );
    }
    // `work/program_executor_2/w` is a run of `program_executor`.
    let module = |scope: &str| {
        let step = scope.split('/').nth(1).unwrap_or_default();
        step.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_owned()
    };
    Ok(take_ran().iter().map(|(scope, _)| module(scope)).collect())
}

/// How many programs were executed, and how many of them before any was generated and verified.
fn executions(ran: &[String]) -> (usize, usize) {
    let first = |module: &str| ran.iter().position(|other| other == module).unwrap_or(usize::MAX);
    let ready = first("program_generator").max(first("program_verifier"));
    let executed = ran.iter().enumerate().filter(|(_, module)| *module == "program_executor");
    let (mut n, mut early) = (0, 0);
    for (at, _) in executed {
        n += 1;
        early += usize::from(at < ready);
    }
    (n, early)
}

fn print(rows: &[Row], is_json: bool) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut out, rows)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "{:<20} plans   shapes  accepted  refused  steps run  executed  too early", "set")?;
    for row in rows {
        writeln!(
            out,
            "{:<20} {:<7} {:<7} {:<9} {:<8} {:<10} {:<9} {}",
            row.set,
            row.plans,
            row.shapes,
            row.accepted,
            row.refused,
            row.steps,
            row.executed,
            row.executed_too_early
        )?;
        for (reason, times) in &row.reasons {
            writeln!(out, "    {times:>6}  {reason}")?;
        }
    }
    let plans: usize = rows.iter().map(|row| row.plans).sum();
    writeln!(out, "{plans} plans (recorded: 23,852), each verdict the same twice, transitions as recorded")?;
    Ok(())
}
