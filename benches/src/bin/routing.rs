//! What a router that learned from a log is worth: a weak and a strong model on 14,042 recorded MMLU questions.
//!
//! `routing --data FOLDER [--seeds N] [--json]` reads `recorded/mmlu_routing/*.csv`: for each question whether either model
//! was right. The subject, which is the file, is the tag. Four fifths of the questions are the log, from which
//! `route.tag` gets its table as `anabranch route learn` makes it; the others are routed. For each share of calls to the
//! strong model the larger `lambda` is looked for that spends no more, and the subject in which the share is reached is
//! split evenly. Printed is the mean over all fifths of N shuffles, beside a router that tosses a coin.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anabranch_benches::Outcome;
use anabranch_engine::operator::Operator as _;
use anabranch_engine::testing::cx;
use anabranch_evaluation::statistics::mean;
use anabranch_operators::route::tag::{In, Tag};
use anabranch_operators::route::tally::{Learned, Record};
use serde::Serialize;
use serde_json::json;

const FOLDS: usize = 5;
const SHARES: [f64; 4] = [0.10, 0.25, 0.50, 0.75];
/// What the specification measured.
const SPECIFIED: [f64; 4] = [0.7131, 0.7408, 0.7728, 0.7930];
const QUESTIONS: usize = 14_042;

struct Question {
    subject: String,
    /// Whether the weak and the strong model were right.
    right: [bool; 2],
}

#[derive(Debug, Serialize)]
struct Row {
    share: f64,
    router: f64,
    coin: f64,
    specified: f64,
    /// How much of the way from the weak to the strong model is gained.
    recovered: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let (data, seeds, is_json) = args()?;
    let questions = read(&data.join("recorded/mmlu_routing"))?;
    if questions.len() != QUESTIONS {
        return Err(format!("{} questions were read, {QUESTIONS} were recorded", questions.len()).into());
    }
    let accuracy = |model: usize| {
        let right =
            questions.iter().filter(|question| question.right.get(model).is_some_and(|is_right| *is_right));
        right.count() as f64 / questions.len() as f64
    };
    let (weak, strong) = (accuracy(0), accuracy(1));
    let mut found: Vec<Vec<f64>> = vec![Vec::new(); SHARES.len()];
    for seed in 0..seeds {
        let fold_of = folds(questions.len(), seed);
        for fold in 0..FOLDS {
            let (log, test): (Vec<_>, Vec<_>) =
                questions.iter().zip(&fold_of).partition(|(_, own)| **own != fold);
            let curve = curve(&log, &test).await?;
            for (found, share) in found.iter_mut().zip(SHARES) {
                found.push(at(&curve, share));
            }
        }
    }
    let rows: Vec<Row> = SHARES
        .iter()
        .zip(&found)
        .zip(SPECIFIED)
        .map(|((share, found), specified)| {
            let router = mean(found);
            let coin = weak + share * (strong - weak);
            Row { share: *share, router, coin, specified, recovered: (router - weak) / (strong - weak) }
        })
        .collect();
    print(&rows, (weak, strong), seeds, is_json)
}

fn args() -> Outcome<(PathBuf, u64, bool)> {
    let (mut data, mut seeds, mut is_json) = (None, 10, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--data" => data = args.next().map(PathBuf::from),
            "--seeds" => seeds = args.next().ok_or("give a number: --seeds N")?.parse()?,
            "--json" => is_json = true,
            other => return Err(format!("unknown argument `{other}`").into()),
        }
    }
    Ok((data.ok_or("give the folder of the data: --data FOLDER")?, seeds, is_json))
}

/// The questions of every subject, by its name.
fn read(folder: &Path) -> Outcome<Vec<Question>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort();
    let mut questions = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let subject = name.trim_start_matches("mmlu_").to_owned();
        for row in csv::Reader::from_path(&path)?.records() {
            let row = row?;
            let is_right = |column: usize| row.get(column).is_some_and(|value| value == "True");
            questions.push(Question { subject: subject.clone(), right: [is_right(1), is_right(2)] });
        }
    }
    Ok(questions)
}

/// The fold of each question: equally many in each, shuffled.
fn folds(n: usize, seed: u64) -> Vec<usize> {
    let mut folds: Vec<usize> = (0..n).map(|at| at % FOLDS).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut folds);
    folds
}

/// Share of strong calls and accuracy, for each `lambda` at which the router changes its mind about a subject.
async fn curve(log: &[(&Question, &usize)], test: &[(&Question, &usize)]) -> Outcome<Vec<(f64, f64)>> {
    let mut learned = Learned::default();
    for (question, _) in log {
        for (route, right) in ["weak", "strong"].into_iter().zip(question.right) {
            let tags = vec![question.subject.as_str().into()];
            learned.add(&Record { tags, route: route.into(), success: right, cost: None });
        }
    }
    let table: BTreeMap<String, BTreeMap<String, [u64; 2]>> = learned
        .table
        .iter()
        .map(|(tag, routes)| {
            let seen = routes.iter().map(|(route, seen)| (route.to_string(), [seen.right, seen.of]));
            (tag.to_string(), seen.collect())
        })
        .collect();
    let router = |lambda: f64| -> Outcome<Tag> {
        Ok(serde_json::from_value(
            json!({ "routes": { "weak": 0, "strong": 1 }, "table": table, "lambda": lambda, "prior_strength": 5 }),
        )?)
    };
    let mut by_subject: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (question, _) in test {
        let counts = by_subject.entry(&question.subject).or_default();
        counts[0] += 1;
        counts[1] += usize::from(question.right[0]);
        counts[2] += usize::from(question.right[1]);
    }
    // What the strong model gains in a subject is the `lambda` up to which it is taken.
    let mut gains = Vec::new();
    let neutral = router(0.0)?;
    for subject in by_subject.keys() {
        let input = In { text: None, tags: Some(vec![(*subject).to_owned()]) };
        let out = neutral.run(&cx(), input).await?;
        let score = |route: &str| out.scores.get(route).copied().unwrap_or_default();
        gains.push(score("strong") - score("weak"));
    }
    gains.sort_by(f64::total_cmp);
    let n = test.len() as f64;
    let mut curve = vec![(0.0, by_subject.values().map(|counts| counts[1] as f64).sum::<f64>() / n)];
    for gain in gains.iter().rev() {
        // A little below it, the strong model is worth its cost there.
        let router = router((gain - 1e-9).max(0.0))?;
        let (mut n_strong, mut n_right) = (0, 0);
        for (subject, [of, weak, strong]) in &by_subject {
            let input = In { text: None, tags: Some(vec![(*subject).to_owned()]) };
            let is_strong = &*router.run(&cx(), input).await?.label.0 == "strong";
            n_strong += if is_strong { *of } else { 0 };
            n_right += if is_strong { *strong } else { *weak };
        }
        curve.push((n_strong as f64 / n, n_right as f64 / n));
    }
    Ok(curve)
}

/// The accuracy at a share of strong calls, between the two neighbours on the curve.
fn at(curve: &[(f64, f64)], share: f64) -> f64 {
    let between = curve.windows(2).find_map(|pair| match pair {
        [(from, low), (to, high)] if *from <= share && share <= *to && to > from => {
            Some(low + (high - low) * (share - from) / (to - from))
        }
        _ => None,
    });
    between.or_else(|| curve.last().map(|(_, accuracy)| *accuracy)).unwrap_or_default()
}

fn print(rows: &[Row], (weak, strong): (f64, f64), seeds: u64, is_json: bool) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    if is_json {
        serde_json::to_writer_pretty(&mut out, rows)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(
        out,
        "{QUESTIONS} questions, weak model {weak:.4}, strong model {strong:.4}, {seeds} shuffles of {FOLDS} folds"
    )?;
    writeln!(out, "strong calls  by subject  by a coin  specified  of the gap")?;
    for row in rows {
        writeln!(
            out,
            "{:>10.0} %  {:.4}      {:.4}     {:.4}     {:.3}",
            row.share * 100.0,
            row.router,
            row.coin,
            row.specified,
            row.recovered
        )?;
    }
    Ok(())
}
