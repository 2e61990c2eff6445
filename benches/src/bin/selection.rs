//! Measures what choosing chunks together is worth under a number of tokens, beside taking the best ones.
//!
//! `selection --data FOLDER [--json]` gives every question of `HotpotQA`-100 and `MuSiQue`-100 the paragraphs that came
//! with it, ranked by BM25 over the whole corpus, and lets each `select` operator choose under 256, 384 and 512 tokens.
//! A question is hit if all of its evidence was taken. The weights of the reward are tuned on one set and reported on
//! the other. Beside each figure stands that of the specification, beside each difference its interval by a paired
//! bootstrap. The last lines hold the goals against what was measured; one that is missed fails the program.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use anabranch_benches::Outcome;
use anabranch_benches::arguments::data_and_json;
use anabranch_evaluation::statistics::{Comparison, RESAMPLES, paired_bootstrap, percentile};
use anabranch_operators::select::search::Bounds;
use anabranch_operators::select::search::tree;
use serde::Serialize;

mod selection {
    pub(super) mod arms;
    pub(super) mod questions;
    pub(super) mod tuning;
}

use selection::arms::{self, Arm, Taken};
use selection::questions::{Question, read};
use selection::tuning::{Prepared, options, tune};

const SETS: [&str; 2] = ["hotpotqa_100", "musique_100"];
const BUDGETS: [usize; 3] = [256, 384, 512];
const SEED: u64 = 17;

/// The specification's share of questions hit, by set, arm and budget.
const SPECIFIED: [(&str, Arm, [f64; 3]); 12] = [
    ("hotpotqa_100", Arm::TopkFill, [0.43, 0.55, 0.67]),
    ("hotpotqa_100", Arm::Mmr, [0.39, 0.54, 0.65]),
    ("hotpotqa_100", Arm::Greedy, [0.62, 0.82, 0.85]),
    ("hotpotqa_100", Arm::Mcts, [0.63, 0.83, 0.91]),
    ("hotpotqa_100", Arm::Exact, [0.70, 0.90, 0.95]),
    ("hotpotqa_100", Arm::Oracle, [0.85, 0.98, 1.0]),
    ("musique_100", Arm::TopkFill, [0.14, 0.17, 0.22]),
    ("musique_100", Arm::Mmr, [0.16, 0.17, 0.22]),
    ("musique_100", Arm::Greedy, [0.15, 0.29, 0.35]),
    ("musique_100", Arm::Mcts, [0.14, 0.26, 0.32]),
    ("musique_100", Arm::MctsEntities, [0.22, 0.40, 0.505]),
    ("musique_100", Arm::Oracle, [0.51, 0.88, 0.95]),
];

/// The goals.
const GAIN_LEAST: f64 = 0.25;
const REGRET_MOST: f64 = 0.015;
const SEARCH_MS_MOST: f64 = 1.0;

/// What is printed for one set, budget and arm.
#[derive(Debug, Serialize)]
struct Row {
    set: &'static str,
    budget: usize,
    arm: Arm,
    /// Share of the questions all of whose evidence was taken.
    hit: f64,
    /// The same in the specification.
    specified: Option<f64>,
    recall: f64,
    precision: f64,
    tokens: f64,
    evals: f64,
    /// How far the reward is from the best, as a share of it.
    regret: f64,
    /// The gain over the best chunks that fit.
    gain: Option<Comparison>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<ExitCode> {
    let (data, is_json) = data_and_json("selection")?;
    let mut out = std::io::stdout().lock();
    let [first, second] = SETS;
    let (first, second) = ((first, read(&data, first)?), (second, read(&data, second)?));
    let mut rows = Vec::new();
    for ((set, questions), (tuned_on, others)) in [(&first, &second), (&second, &first)] {
        let started = Instant::now();
        let weights = tune(others, &BUDGETS).await?;
        if !is_json {
            let secs = started.elapsed().as_secs_f64();
            writeln!(out, "\n{set}, with weights tuned on {tuned_on} ({secs:.0} s): {}", weights.words())?;
            writeln!(
                out,
                "{:<7} {:<16} hit   spec   recall precision tokens  evals    regret   gain over topk_fill (95 %)",
                "budget", "arm"
            )?;
        }
        for (at, budget) in BUDGETS.into_iter().enumerate() {
            for row in measure(set, questions, &weights.0, (at, budget)).await? {
                if is_json {
                    writeln!(out, "{}", serde_json::to_string(&row)?)?;
                } else {
                    print_row(&mut out, &row)?;
                }
                rows.push(row);
            }
        }
    }
    let search = search_ms(&second.1).await?;
    verdict(&mut out, &rows, search, is_json)
}

async fn measure(
    set: &'static str,
    questions: &[Question],
    weights: &arms::Weights,
    (at, budget): (usize, usize),
) -> Outcome<Vec<Row>> {
    let mut taken: BTreeMap<Arm, Vec<Taken>> = BTreeMap::new();
    for question in questions {
        for arm in Arm::ALL.into_iter().filter(|arm| arm.is_for(question)) {
            taken.entry(arm).or_default().push(arms::take(arm, question, budget, weights).await?);
        }
    }
    let hits = |arm: Arm| -> Vec<f64> {
        taken.get(&arm).into_iter().flatten().map(|taken| f64::from(u8::from(taken.is_hit))).collect()
    };
    let base = hits(Arm::TopkFill);
    let rows = taken.iter().map(|(arm, all)| {
        let mean = |of: &dyn Fn(&Taken) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        let bests = taken.get(&Arm::Exact).into_iter().flatten();
        let regrets = all.iter().zip(bests).filter(|(_, best)| best.value > 0.0);
        let regrets: Vec<f64> =
            regrets.map(|(taken, best)| (best.value - taken.value) / best.value).collect();
        let pairs: Vec<(f64, f64)> = hits(*arm).into_iter().zip(base.iter().copied()).collect();
        let specified = SPECIFIED.iter().find(|(one, other, _)| *one == set && other == arm);
        Row {
            set,
            budget,
            arm: *arm,
            hit: mean(&|taken| f64::from(u8::from(taken.is_hit))),
            specified: specified.and_then(|(_, _, hits)| hits.get(at).copied()),
            recall: mean(&|taken| taken.recall),
            precision: mean(&|taken| taken.precision),
            tokens: mean(&|taken| taken.tokens as f64),
            evals: mean(&|taken| taken.evals as f64),
            regret: regrets.iter().sum::<f64>() / regrets.len().max(1) as f64,
            gain: paired_bootstrap(&pairs, RESAMPLES, SEED),
        }
    });
    Ok(rows.collect())
}

/// Milliseconds of a search over 20 candidates in 30 steps: the median and the worst of all questions.
async fn search_ms(questions: &[Question]) -> Outcome<(f64, f64)> {
    let mut times = Vec::new();
    for question in questions {
        let prepared = Prepared::of(question, 384);
        let bounds = Bounds { max_evals: 1000, batch: 32 };
        let started = Instant::now();
        tree::search(&prepared.problem, &prepared.reward, bounds, &options(30)).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let at = |share: f64| percentile(&times, share).unwrap_or_default();
    Ok((at(0.5), at(1.0)))
}

fn print_row(out: &mut impl std::io::Write, row: &Row) -> std::io::Result<()> {
    let specified = row.specified.map_or("-".to_owned(), |specified| format!("{specified:.2}"));
    let regret = if row.arm.has_value() { format!("{:.2} %", row.regret * 100.0) } else { "-".to_owned() };
    let gain = row.gain.map_or("-".to_owned(), |gain| {
        format!("{:+.2} [{:+.2}, {:+.2}]", gain.difference, gain.interval.low, gain.interval.high)
    });
    let evals = if row.arm.has_value() { format!("{:.0}", row.evals) } else { "-".to_owned() };
    writeln!(
        out,
        "{:<7} {:<16} {:.2}  {specified:<6} {:.2}   {:.2}      {:<7.0} {evals:<8} {regret:<8} {}",
        row.budget,
        row.arm.name(),
        row.hit,
        row.recall,
        row.precision,
        row.tokens,
        gain,
    )
}

fn verdict(
    out: &mut impl std::io::Write,
    rows: &[Row],
    (median, worst): (f64, f64),
    is_json: bool,
) -> Outcome<ExitCode> {
    let mcts = || rows.iter().filter(|row| row.arm == Arm::Mcts);
    let gain = mcts().find(|row| row.set == SETS[0] && row.budget == 384).and_then(|row| row.gain);
    let gain = gain.map_or(0.0, |gain| gain.difference);
    let regret = mcts().map(|row| row.regret).fold(0.0, f64::max);
    let goals = [
        ("gain of select.mcts over the best that fit, HotpotQA at 384", gain, GAIN_LEAST, gain >= GAIN_LEAST),
        ("worst mean regret of select.mcts", regret, REGRET_MOST, regret <= REGRET_MOST),
        (
            "median of a search, ms (20 candidates, 30 steps)",
            median,
            SEARCH_MS_MOST,
            median <= SEARCH_MS_MOST,
        ),
    ];
    let is_good = goals.iter().all(|goal| goal.3);
    if is_json {
        let summary = serde_json::json!({
            "gain": gain, "regret": regret, "search_ms": median, "search_ms_worst": worst, "seed": SEED,
            "pass": is_good,
        });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(out, "\nseed of the bootstrap: {SEED}; slowest search: {worst:.2} ms")?;
        for (what, found, goal, is_met) in goals {
            writeln!(out, "{} {what}: {found:.3} (goal {goal})", if is_met { "pass" } else { "FAIL" })?;
        }
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
