//! What a run gave, as a person reads it: the answer, what it cites, and what it took.

use std::fmt::Write as _;

use anabranch_engine::run::{Outcome, Report};
use anabranch_engine::value::{Citation, Text, Value};

use super::super::print::{self, BOLD, DIM, YELLOW};

/// Longest quote that is shown.
const QUOTE_CHARS: usize = 160;
/// Who answers when there is no model.
const EXTRACTIVE: &str = "extractive";

/// The outputs for standard output: the answer's words first, then what it cites; other outputs as YAML.
pub(crate) fn outputs(report: &Report) -> String {
    let cited = citations(report);
    let only = report.outputs.len() == 1;
    let mut text = String::new();
    let mut is_prose = false;
    for (name, value) in &report.outputs {
        match value {
            Value::Answer(answer) => {
                paragraph(&mut text, &answer.text);
                is_prose = true;
            }
            Value::Text(words) if only || &**name == "answer" => {
                paragraph(&mut text, words);
                is_prose = true;
            }
            value if as_citations(value).is_some_and(|list| list.is_empty() || list == cited) => {}
            value => {
                if is_prose {
                    text.push('\n');
                }
                is_prose = false;
                text.push_str(&yaml(name, value));
            }
        }
    }
    if !cited.is_empty() {
        text.push('\n');
    }
    for (i, citation) in cited.iter().enumerate() {
        let lines = citation.lines;
        write!(text, "{BOLD}[{}]{BOLD:#} {}:{}", i + 1, citation.doc, lines.first).ok();
        if lines.last != lines.first {
            write!(text, "-{}", lines.last).ok();
        }
        if let Some(quote) = &citation.quote {
            write!(text, "  {DIM}\"{}\"{DIM:#}", shorten(quote)).ok();
        }
        text.push('\n');
    }
    text
}

/// What is missing and what it took, for standard error.
pub(crate) fn footer(report: &Report, model_given: bool) -> String {
    let mut text = String::new();
    for (name, absence) in &report.absent {
        writeln!(text, "{YELLOW}absent{YELLOW:#} {name}: `{}` is absent: {}", absence.what, absence.why).ok();
    }
    let ran = report.nodes.iter().filter(|node| node.skipped.is_none() && node.attempts > 0).count();
    let skipped = report.nodes.iter().filter(|node| node.skipped.is_some()).count();
    let usage = &report.usage;
    let mut took = vec![print::count(ran, "node")];
    if skipped > 0 {
        took.push(format!("{skipped} skipped"));
    }
    for (op, word) in [("loop", "turn"), ("each", "item")] {
        let parts: u32 = report.nodes.iter().filter(|node| &*node.op == op).map(|node| node.attempts).sum();
        if parts > 0 {
            took.push(print::count(parts as usize, word));
        }
    }
    if usage.model_calls > 0 {
        took.push(print::count(usize::try_from(usage.model_calls).unwrap_or(usize::MAX), "model call"));
        took.push(format!("{} tokens read, {} written", usage.prompt_tokens, usage.completion_tokens));
    }
    if usage.cost > 0.0 {
        took.push(format!("cost {:.4}", usage.cost));
    }
    took.push(super::progress::short(report.elapsed));
    write!(text, "{DIM}{}{DIM:#}", took.join(", ")).ok();
    for by in answered_by(report) {
        if &*by == EXTRACTIVE {
            write!(
                text,
                "\n{YELLOW}by: extractive (no model){YELLOW:#}: sentences were selected from the sources, none was written"
            ).ok();
            if !model_given {
                write!(
                    text,
                    "; for an answer in its own words give a model: --model-url http://localhost:8000/v1"
                )
                .ok();
            }
        } else {
            write!(text, "\n{DIM}by: {by}{DIM:#}").ok();
        }
    }
    if let Outcome::Cancelled { reason } = &report.outcome {
        write!(text, "\ncancelled: {reason}").ok();
    }
    text
}

/// Everybody who answered, each once, in the order of the nodes.
fn answered_by(report: &Report) -> Vec<Text> {
    let mut found: Vec<Text> = Vec::new();
    let values = report.nodes.iter().flat_map(|node| node.outputs.values()).chain(report.outputs.values());
    for value in values {
        if let Value::Answer(answer) = value
            && !answer.by.is_empty()
            && !found.contains(&answer.by)
        {
            found.push(answer.by.clone());
        }
    }
    found
}

/// What the answer cites: its own citations, or an output that is a list of citations.
fn citations(report: &Report) -> Vec<Citation> {
    let answers = report.outputs.values().filter_map(|value| match value {
        Value::Answer(answer) => Some(answer.citations.clone()),
        _ => None,
    });
    let lists = report.outputs.values().filter_map(as_citations);
    answers.chain(lists).find(|list| !list.is_empty()).unwrap_or_default()
}

fn as_citations(value: &Value) -> Option<Vec<Citation>> {
    value.as_list().and_then(|_| serde_json::from_value(value.to_json()).ok())
}

fn paragraph(text: &mut String, words: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(words.trim_end());
    text.push('\n');
}

fn yaml(name: &str, value: &Value) -> String {
    let map = serde_json::json!({ name: value });
    match serde_yaml::to_string(&map) {
        Ok(text) => format!("{}\n", text.trim_end()),
        Err(_) => format!("{name}: {}\n", value.to_json()),
    }
}

/// A quote on one line, cut where it is long.
fn shorten(quote: &str) -> String {
    let line = quote.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTE_CHARS) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default().trim_end()),
        None => line,
    }
}
