//! Every broken flow of `flows/invalid` is refused: with the codes that its first line names, in the order of their
//! places, and with the rendering that stands beside it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use anabranch_engine::diagnostic::{ALL, Code, Diagnostics, SourceFile, render};
use anabranch_engine::limits;
use anabranch_engine::operator::Registry;
use anabranch_engine::plan::{Environment, compile};

use crate::support::{Expected, Repository, files, names, source};

/// Made once: every flow is checked many times over.
static REGISTRY: LazyLock<Registry> = LazyLock::new(anabranch_operators::registry);

fn problems(file: &Arc<SourceFile>) -> Diagnostics {
    let names = names();
    let environment = Environment { registry: &REGISTRY, names: Some(&names), library: &Repository };
    compile(file, &environment).map_or_else(|problems| problems, |(_, warnings)| warnings)
}

fn codes(problems: &Diagnostics) -> Vec<&'static str> {
    problems.iter().map(|problem| problem.code.id()).collect()
}

fn expected_codes(file: &SourceFile) -> Vec<&str> {
    let first = file.text.lines().next().unwrap_or_default();
    first.strip_prefix("# expect: ").map(|codes| codes.split_whitespace().collect()).unwrap_or_default()
}

/// Flows that are wrong by their size alone: made here, since nobody wants to read them.
fn oversized() -> Vec<(&'static str, Arc<SourceFile>)> {
    let large = format!("flow: example\nabout: {}\nnodes: {{}}\n", "x".repeat(limits::FLOW_BYTES));
    let values = format!("flow: example\nabout: [{}]\nnodes: {{}}\n", "1, ".repeat(limits::YAML_NODES));
    let mut nodes = String::from("flow: example\ninputs: { question: text }\nnodes:\n");
    for index in 0..=limits::FLOW_NODES {
        // Few YAML values a node, so that this limit is reached before the one on values.
        writeln!(nodes, "  n{index}: {{ op: retrieve.bm25 }}").unwrap();
    }
    vec![
        ("FLOW0004", SourceFile::new("large.yaml", large)),
        ("FLOW0006", SourceFile::new("values.yaml", values)),
        ("FLOW0050", SourceFile::new("nodes.yaml", nodes)),
    ]
}

#[test]
fn every_broken_flow_is_refused_with_the_codes_that_its_first_line_names() {
    let mut wrong = Vec::new();
    for path in files("flows/invalid", "yaml") {
        let file = source(&path);
        let found = problems(&file);
        let expected = expected_codes(&file);
        if codes(&found) != expected {
            wrong.push(format!("{path}\n  expected: {}\n{}", expected.join(" "), render(&found, false)));
        }
    }
    assert!(wrong.is_empty(), "{} flows differ\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn every_broken_flow_is_rendered_as_the_text_beside_it_says() {
    let mut expected = Expected::default();
    for path in files("flows/invalid", "yaml") {
        expected.file(path.replace(".yaml", ".txt"), render(&problems(&source(&path)), false));
    }
    expected.compare();
}

#[test]
fn no_rendering_is_left_without_its_flow() {
    let flows = files("flows/invalid", "yaml");
    for text in files("flows/invalid", "txt") {
        assert!(flows.contains(&text.replace(".txt", ".yaml")), "{text} belongs to no flow");
    }
}

#[test]
fn every_problem_has_a_place_inside_its_file() {
    for path in files("flows/invalid", "yaml") {
        for problem in &problems(&source(&path)) {
            let span = problem.span;
            assert!(span.start <= span.end && span.end <= problem.file.text.len(), "{path}: {problem:?}");
            let whole_file = problem.code == Code::NOT_A_FLOW;
            assert!(span.start > 0 || span.end > 0 || whole_file, "{path}: {} points nowhere", problem.code);
            assert!(problem.file.text.is_char_boundary(span.start), "{path}: {}", problem.code);
            assert!(problem.file.text.is_char_boundary(span.end), "{path}: {}", problem.code);
        }
    }
}

#[test]
fn every_message_is_lowercase_without_a_full_stop() {
    for path in files("flows/invalid", "yaml") {
        for problem in &problems(&source(&path)) {
            let message = &problem.message;
            assert!(!message.is_empty() && !message.ends_with('.'), "{path}: {message}");
            let first = message.chars().next().unwrap_or_default();
            assert!(!first.is_uppercase() || message.starts_with("YAML"), "{path}: {message}");
        }
    }
}

#[test]
fn flows_that_are_too_large_are_refused_and_say_so() {
    for (code, file) in oversized() {
        let found = problems(&file);
        assert!(codes(&found).contains(&code), "{}: {}", file.name, render(&found, false));
    }
}

#[test]
fn every_code_has_a_flow_that_raises_it() {
    let mut raised: BTreeSet<String> = oversized().iter().map(|(code, _)| (*code).to_owned()).collect();
    for path in files("flows/invalid", "yaml") {
        raised.extend(expected_codes(&source(&path)).iter().map(|code| (*code).to_owned()));
    }
    let missing: Vec<_> = ALL.iter().map(|code| code.id()).filter(|id| !raised.contains(*id)).collect();
    assert!(missing.is_empty(), "no flow in flows/invalid raises {missing:?}");
}

#[test]
fn cutting_a_flow_off_anywhere_gives_problems_and_no_panic() {
    for path in files("flows", "yaml") {
        let text = crate::support::read(&path);
        let step = (text.len() / 40).max(1);
        for end in (0..text.len()).step_by(step).filter(|end| text.is_char_boundary(*end)) {
            let cut = SourceFile::new(path.clone(), &text[..end]);
            let found = problems(&cut);
            assert!(found.iter().all(|problem| problem.span.end <= end), "{path} cut at {end}");
        }
    }
}
