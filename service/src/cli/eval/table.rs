//! An evaluation as a table.

use std::fmt::Write as _;

use crate::cli::print::{self, BOLD, DIM, YELLOW};
use crate::eval::compare::Compared;
use crate::eval::figures::{GROUPS, place_of};
use crate::eval::summary::{Summary, Variant};

/// Most questions that failed of those that are named.
const FAILED_SHOWN: usize = 10;
/// Longest message of a failure that is shown.
const MESSAGE_CHARS: usize = 160;

/// The whole: figures of each variant side by side, what it took, comparisons, what failed.
pub(super) fn describe(summary: &Summary) -> String {
    let mut text = String::new();
    let questions = print::count(summary.questions, "question");
    writeln!(text, "{BOLD}{}{BOLD:#} on {}: {questions}", summary.flow, summary.data).ok();
    let is_swept = summary.variants.len() > 1;
    if is_swept {
        for (n, variant) in summary.variants.iter().enumerate() {
            writeln!(text, "  {DIM}({}){DIM:#} {}", n + 1, variant.name).ok();
        }
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if is_swept {
        let heads = (1..=summary.variants.len()).map(|n| format!("({n})"));
        rows.push([String::new()].into_iter().chain(heads).collect());
    }
    figures(summary, &mut rows);
    usage(summary, &mut rows);
    table(&mut text, &rows);
    for compared in &summary.comparisons {
        comparison(&mut text, compared);
    }
    for variant in &summary.variants {
        failures(&mut text, variant);
    }
    writeln!(text, "\n{DIM}report{DIM:#} {}", summary.report).ok();
    text
}

fn figures(summary: &Summary, rows: &mut Vec<Vec<String>>) {
    let mut names: Vec<&String> =
        summary.variants.iter().flat_map(|variant| variant.figures.keys()).collect();
    names.sort_by_key(|name| place_of(name));
    names.dedup();
    let mut group = None;
    for name in names {
        let its_group = place_of(name).0;
        if group != Some(its_group) {
            group = Some(its_group);
            let title = GROUPS.get(its_group).map_or("others", |(title, _)| title);
            rows.push(vec![format!("\n{title}")]);
        }
        let cell = |variant: &Variant| match variant.figures.get(name) {
            // Of one variant there is room to say how sure it is.
            Some(mean) if summary.variants.len() == 1 => {
                format!(
                    "{:.3}  {DIM}{:.3} to {:.3}, n {}{DIM:#}",
                    mean.mean, mean.interval.low, mean.interval.high, mean.n
                )
            }
            Some(mean) => format!("{:.3}", mean.mean),
            None => String::new(),
        };
        rows.push([format!("  {name}")].into_iter().chain(summary.variants.iter().map(cell)).collect());
    }
}

fn usage(summary: &Summary, rows: &mut Vec<Vec<String>>) {
    rows.push(vec!["\nquestions".to_owned()]);
    let mut row = |name: &str, cell: &dyn Fn(&Variant) -> String| {
        rows.push([format!("  {name}")].into_iter().chain(summary.variants.iter().map(cell)).collect());
    };
    row("asked", &|variant| variant.asked.to_string());
    row("failed", &|variant| variant.failed.to_string());
    if summary.variants.iter().any(|variant| variant.usage.model_calls > 0) {
        row("model calls", &|variant| variant.usage.model_calls.to_string());
        row("tokens read", &|variant| variant.usage.prompt_tokens.to_string());
        row("tokens written", &|variant| variant.usage.completion_tokens.to_string());
    }
    if summary.variants.iter().any(|variant| variant.usage.cost > 0.0) {
        row("cost", &|variant| format!("{:.4}", variant.usage.cost));
    }
    row("latency p50, ms", &|variant| format!("{:.1}", variant.latency_ms.p50));
    row("latency p99, ms", &|variant| format!("{:.1}", variant.latency_ms.p99));
}

/// Columns as wide as their widest cell; a row of one cell is a heading.
fn table(text: &mut String, rows: &[Vec<String>]) {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > 1).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = match row.as_slice() {
            [heading] => vec![format!("{BOLD}{heading}{BOLD:#}")],
            cells => cells
                .iter()
                .zip(&widths)
                .enumerate()
                .map(
                    |(n, (cell, width))| {
                        if n == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                    },
                )
                .collect(),
        };
        writeln!(text, "{}", cells.join("  ").trim_end()).ok();
    }
}

fn comparison(text: &mut String, compared: &Compared) {
    let questions = print::count(compared.questions, "question");
    let unpaired = match compared.unpaired {
        0 => String::new(),
        n => format!(", {n} left out that only one was asked"),
    };
    writeln!(
        text,
        "\n{BOLD}{}{BOLD:#} against {BOLD}{}{BOLD:#}: {questions} that both were asked{unpaired}",
        compared.variant, compared.with
    )
    .ok();
    let mut rows =
        vec![["", "this", "other", "difference", "95 % interval", "p"].map(str::to_owned).to_vec()];
    for (name, difference) in &compared.figures {
        let found = &difference.comparison;
        rows.push(vec![
            format!("  {name}"),
            format!("{:.3}", difference.mean),
            format!("{:.3}", difference.with),
            format!("{:+.3}", found.difference),
            format!("{:+.3} to {:+.3}", found.interval.low, found.interval.high),
            format!("{:.3}", found.p),
        ]);
    }
    table(text, &rows);
}

fn failures(text: &mut String, variant: &Variant) {
    if variant.failed == 0 {
        return;
    }
    let kinds: Vec<String> = variant.failures.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    writeln!(text, "\n{YELLOW}{} failed{YELLOW:#} of {}: {}", variant.failed, variant.name, kinds.join(", "))
        .ok();
    for failed in variant.failed_questions.iter().take(FAILED_SHOWN) {
        let message: String = failed.message.chars().take(MESSAGE_CHARS).collect();
        let more = if message.len() < failed.message.len() { "…" } else { "" };
        writeln!(text, "  {}  {}: {message}{more}", failed.id, failed.kind).ok();
    }
    if variant.failed > FAILED_SHOWN {
        writeln!(text, "  and {} more, in {}", variant.failed - FAILED_SHOWN, variant.results).ok();
    }
}
