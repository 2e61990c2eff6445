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
    for doubt in ungrounded(report) {
        write!(text, "\n{YELLOW}not grounded{YELLOW:#}: {doubt}").ok();
    }
    if let Outcome::Cancelled { .. } = &report.outcome {
        text.push_str("\nthe run was cancelled");
    }
    text
}

/// Why answers of models that the run gave cannot be traced to what was retrieved.
fn ungrounded(report: &Report) -> Vec<String> {
    let is_doubtful = |value: &&Value| match value {
        Value::Answer(answer) => !answer.grounded && !answer.by.is_empty() && &*answer.by != EXTRACTIVE,
        _ => false,
    };
    let listed = |answer: &Value, port: &str| -> Vec<String> {
        let gave = report.nodes.iter().filter(|node| node.outputs.values().any(|output| output == answer));
        let lists = gave.filter_map(|node| node.outputs.get(port).and_then(Value::as_list));
        lists.flatten().filter_map(|text| text.as_text().map(ToString::to_string)).collect()
    };
    let mut doubts = Vec::new();
    for answer in report.outputs.values().filter(is_doubtful) {
        let (marks, unsupported) = (listed(answer, "ungrounded"), listed(answer, "unsupported"));
        if !marks.is_empty() {
            doubts
                .push(format!("the model's answer cites {}, which stands for no passage", marks.join(", ")));
        }
        doubts.extend(
            unsupported.iter().map(|sentence| format!("the passages cited do not bear out \"{sentence}\"")),
        );
        if marks.is_empty() && unsupported.is_empty() {
            doubts.push("the model's answer cites none of the passages that it was given".to_owned());
        }
    }
    doubts
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use anabranch_engine::backend::Usage;
    use anabranch_engine::event::Timing;
    use anabranch_engine::flow::expression::Absence;
    use anabranch_engine::run::NodeReport;
    use anabranch_engine::value::{Answer, ByteRange, ChunkId, DocumentId, LineRange, Map, PortType as _};

    use super::*;

    fn citation(first: u32, last: u32, quote: Option<&str>) -> Citation {
        Citation {
            chunk_id: ChunkId("a.md#0-9".into()),
            doc: DocumentId("a.md".into()),
            range: ByteRange { start: 0, end: 9 },
            lines: LineRange { first, last },
            quote: quote.map(Into::into),
        }
    }

    fn report(outputs: Vec<(&str, Value)>) -> Report {
        Report {
            outcome: Outcome::Succeeded,
            outputs: outputs.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map>(),
            absent: BTreeMap::new(),
            usage: Usage::default(),
            nodes: Vec::new(),
            elapsed: Duration::from_millis(3),
        }
    }

    fn node(outputs: Map) -> NodeReport {
        NodeReport {
            scope: "answer".into(),
            op: "read.answer".into(),
            attempts: 1,
            skipped: None,
            failure: None,
            aborted: false,
            inputs: Map::new(),
            outputs,
            usage: Usage::default(),
            timing: Timing::default(),
        }
    }

    fn plain(styled: &str) -> String {
        anstream::adapter::strip_str(styled).to_string()
    }

    #[test]
    fn the_answer_comes_first_and_each_citation_once_with_its_lines() {
        let citations = vec![citation(3, 5, Some("It\n  stops.")), citation(7, 7, None)];
        let answer = Answer {
            text: "It stops. [1]".into(),
            citations: citations.clone(),
            grounded: true,
            by: "extractive".into(),
        };
        let shown = outputs(&report(vec![
            ("answer", Value::Answer(answer.into())),
            ("citations", citations.into_value()),
            ("turns", Value::Int(2)),
        ]));
        assert_eq!(plain(&shown), "It stops. [1]\n\nturns: 2\n\n[1] a.md:3-5  \"It stops.\"\n[2] a.md:7\n");
    }

    #[test]
    fn a_flow_with_one_text_prints_nothing_but_the_text() {
        assert_eq!(plain(&outputs(&report(vec![("summary", Value::text("short"))]))), "short\n");
    }

    #[test]
    fn that_no_model_was_used_is_said_with_how_to_give_one() {
        let answer = Answer { text: "x".into(), citations: vec![], grounded: false, by: "extractive".into() };
        let mut report = report(vec![("answer", Value::Answer(answer.into()))]);
        report
            .absent
            .insert("more".into(), Absence { what: "once.chunks".into(), why: "`when` was false".into() });
        let shown = plain(&footer(&report, false));
        assert!(shown.starts_with("absent more: `once.chunks` is absent: `when` was false\n"), "{shown}");
        assert!(shown.contains("by: extractive (no model)") && shown.contains("--model-url"), "{shown}");
        assert!(!footer(&report, true).contains("--model-url"));
    }

    #[test]
    fn a_models_answer_without_a_source_is_said_to_be_so() {
        let answer = |grounded| Answer {
            text: "It is so [97].".into(),
            citations: vec![],
            grounded,
            by: "qwen".into(),
        };
        let of = |grounded| report(vec![("answer", Value::Answer(answer(grounded).into()))]);
        assert!(plain(&footer(&of(false), true)).contains("not grounded: the model's answer cites none"));
        assert!(!footer(&of(true), true).contains("grounded"));
        let mut marked = of(false);
        let outputs = [
            ("answer", Value::Answer(answer(false).into())),
            ("ungrounded", Value::list([Value::text("[97]")])),
            ("unsupported", Value::list([Value::text("It is so.")])),
        ];
        marked.nodes.push(node(outputs.map(|(name, value)| (name.into(), value)).into_iter().collect()));
        let shown = plain(&footer(&marked, true));
        assert!(shown.contains("not grounded: the model's answer cites [97], which"), "{shown}");
        assert!(shown.contains("not grounded: the passages cited do not bear out \"It is so.\""), "{shown}");
    }
}
