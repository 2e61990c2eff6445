//! The command line as its users meet it: the built binary, its output, its exit codes.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::{Expected, flow_files, root};

mod client;
mod eval;
mod indexing;
mod killed;
mod models;
mod papers;
mod project;
mod server;
mod tools;
mod vectors;
mod waits;

/// Every command.
const COMMANDS: [&str; 40] = [
    "run",
    "check",
    "explain",
    "test",
    "eval",
    "index",
    "search",
    "operators",
    "route",
    "route learn",
    "schema",
    "completions",
    "serve",
    "worker",
    "migrate",
    "health",
    "mcp",
    "top",
    "doctor",
    "jobs",
    "jobs submit",
    "jobs list",
    "jobs show",
    "jobs watch",
    "jobs cancel",
    "jobs retry",
    "jobs resume",
    "jobs diff",
    "jobs export",
    "flows",
    "flows list",
    "flows push",
    "flows show",
    "flows versions",
    "flows activate",
    "flows check",
    "keys",
    "keys create",
    "keys list",
    "keys revoke",
];

const QUESTION: &str = "question=What happens to a loop without max_turns?";

/// The binary, which cargo builds beside the folder of the tests.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let path = target.join(format!("anabranch{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "there is no `{}`; build it: cargo build -p anabranch", path.display());
    path
}

/// A command in the repository, with indexes kept in `data`, and nothing of the environment that changes output.
pub(crate) fn anabranch(args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(args)
        .current_dir(root())
        .env("NO_COLOR", "1")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("COLUMNS")
        .env_remove("ANABRANCH_SERVER")
        .env_remove("ANABRANCH_KEY")
        .stdin(Stdio::null());
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }
}

fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn run(args: &[&str]) -> Ran {
    ran(&mut anabranch(args))
}

fn with_data<'a>(data: &'a TempDir, args: &[&'a str]) -> Ran {
    let mut args = args.to_vec();
    args.extend(["--data", data.path().to_str().unwrap()]);
    run(&args)
}

#[test]
fn the_first_flow_answers_with_citations_and_says_that_no_model_wrote_it() {
    let data = TempDir::new().unwrap();
    let first = with_data(&data, &["run", "flows/quickstart.yaml", "-i", QUESTION]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.out.contains("FLOW0032"), "{}", first.out);
    assert!(first.out.contains("does not load"), "{}", first.out);
    assert!(first.out.contains("[1] "), "citations name files and lines: {}", first.out);
    assert!(first.err.contains("extractive"), "{}", first.err);

    let second = with_data(&data, &["run", "flows/quickstart.yaml", "-i", QUESTION]);
    assert_eq!((second.code, &second.out), (Some(0), &first.out), "the index is there, the answer the same");
    assert!(!second.err.contains("built"), "nothing is indexed twice: {}", second.err);
}

#[test]
fn a_citation_is_found_where_it_says() {
    let data = TempDir::new().unwrap();
    let report = with_data(&data, &["run", "flows/quickstart.yaml", "-i", QUESTION, "--json"]).json();
    let citations = report["outputs"]["citations"].as_array().unwrap();
    assert!(!citations.is_empty());
    for citation in citations {
        let text = fs::read(root().join(citation["doc"].as_str().unwrap())).unwrap();
        let at = |end: &str| usize::try_from(citation["range"][end].as_u64().unwrap()).unwrap();
        let cited = String::from_utf8(text[at("start")..at("end")].to_vec()).unwrap();
        let quote = citation["quote"].as_str().unwrap();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert!(words(&cited).contains(&words(quote)), "`{quote}` is cited at `{cited}`");
    }
}

#[test]
fn the_json_of_a_run_has_the_documented_shape() {
    let data = TempDir::new().unwrap();
    let report = with_data(&data, &["run", "quickstart", "-i", QUESTION, "--json"]).json();
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["flow", "status", "outputs", "absent", "usage", "nodes", "elapsed_ms"]);
    assert_eq!((report["flow"].as_str(), report["status"].as_str()), (Some("quickstart"), Some("succeeded")));
    assert_eq!(report["usage"]["model_calls"], 0);
    let nodes: Vec<&str> =
        report["nodes"].as_array().unwrap().iter().map(|n| n["node"].as_str().unwrap()).collect();
    assert_eq!(nodes, ["search", "keep", "answer"]);
    for key in ["op", "attempts", "outputs", "usage", "queued_ms", "ran_ms"] {
        assert!(report["nodes"][0].get(key).is_some(), "a node has `{key}`");
    }
}

#[test]
fn every_line_of_jsonl_is_json_and_the_last_is_the_result() {
    let data = TempDir::new().unwrap();
    let ran = with_data(&data, &["run", "quickstart", "-i", QUESTION, "--jsonl"]);
    let lines: Vec<Json> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["status"], "succeeded");
    assert!(lines.iter().any(|line| line["notice"] == "started" && line["scope"] == "search"));
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let data = TempDir::new().unwrap();
    let code = |args: &[&str]| with_data(&data, args).code;
    let broken = "flows/invalid/a_loop_has_no_max_turns.yaml";
    assert_eq!(run(&["operators"]).code, Some(0));
    assert_eq!(run(&["no-such-command"]).code, Some(2));
    assert_eq!(code(&["run", "flows/no_such_flow.yaml"]), Some(2));
    assert_eq!(code(&["run", "flows/quickstart.yaml"]), Some(2), "an input is missing");
    assert_eq!(code(&["run", broken, "-i", "question=x"]), Some(3));
    assert_eq!(run(&["check", broken]).code, Some(3));
    assert_eq!(run(&["check", "flows/quickstart.yaml"]).code, Some(0));
    assert_eq!(run(&["explain", "FLOW9999"]).code, Some(2));
    // A port that was free a moment ago: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let away = ["run", "quickstart", "-i", QUESTION, "--model-url", &url];
    assert_eq!(code(&away), Some(4));
    let many = data.path().join("many.yaml");
    let each = "{ each: inputs.items, max_items: 1, op: judge.rule, in: { n: item }, with: { pass: n > 0 } }";
    let flow = format!(
        "flow: many\ninputs: {{ items: list<int> }}\nnodes: {{ fan: {each} }}\noutputs: {{ pass: fan.pass }}\n"
    );
    fs::write(&many, flow).unwrap();
    assert_eq!(code(&["run", many.to_str().unwrap(), "-i", "items=[1]"]), Some(0));
    assert_eq!(code(&["run", many.to_str().unwrap(), "-i", "items=[1, 2]"]), Some(5), "a limit is reached");
}

#[test]
fn all_missing_and_wrong_inputs_are_told_at_once() {
    let data = TempDir::new().unwrap();
    let ran = with_data(&data, &["run", "flows/looping.yaml", "-i", "turns=many", "-i", "qestion=x"]);
    assert_eq!(ran.code, Some(2));
    for part in ["turns", "qestion", "question"] {
        assert!(ran.err.contains(part), "{}", ran.err);
    }
    assert!(ran.out.is_empty(), "data goes to standard output, and there is none");
}

#[test]
fn the_loop_and_the_branches_run_on_real_documents() {
    let data = TempDir::new().unwrap();
    let looping = with_data(&data, &["run", "looping", "-i", QUESTION, "--json"]).json();
    assert_eq!(looping["status"], "succeeded", "{looping}");
    assert!(looping["outputs"]["turns"].as_u64().unwrap() >= 1);
    let parts = "parts=[What is a turn?, What is a scope?]";
    let branching = with_data(&data, &["run", "branching", "-i", QUESTION, "-i", parts, "--json"]).json();
    assert_eq!(branching["status"], "succeeded", "{branching}");
    assert!(branching["outputs"]["n_merged"].as_u64().unwrap() >= 1);
    let comparison = "question=What is the difference between skip and keep?";
    let conditional = with_data(&data, &["run", "conditional", "-i", comparison, "--json"]).json();
    assert_eq!(conditional["outputs"]["kind"], "comparison", "{conditional}");
}

#[test]
fn problems_come_as_text_json_sarif_and_github() {
    let broken = "flows/invalid/several_mistakes_at_once.yaml";
    let text = run(&["check", broken]);
    assert_eq!(text.code, Some(3));
    assert!(text.out.contains("error[FLOW0014]") && text.out.contains("--> "), "{}", text.out);
    let json = run(&["check", broken, "--format", "json"]).json();
    let codes: Vec<&str> = json.as_array().unwrap().iter().map(|p| p["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["FLOW0014", "FLOW0019", "FLOW0023", "FLOW0032", "FLOW0044"]);
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&Json::from(6), &Json::from(9)));
    let sarif = run(&["check", broken, "--format", "sarif"]).json();
    assert_eq!(sarif["version"], "2.1.0");
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), 5);
    let github = run(&["check", broken, "--format", "github"]).out;
    assert_eq!(github.lines().filter(|line| line.starts_with("::error ")).count(), 5, "{github}");
}

#[test]
fn a_folder_is_searched_for_flows_but_not_for_those_that_are_broken_on_purpose() {
    let checked = run(&["check", "flows"]);
    assert_eq!(checked.code, Some(0), "{}", checked.out);
    assert_eq!(run(&["check", "flows/invalid"]).code, Some(3), "unless they are asked for");
}

#[test]
fn warnings_are_errors_where_that_is_asked_for() {
    let unused = "flows/invalid/a_node_is_used_nowhere.yaml";
    assert_eq!(run(&["check", unused]).code, Some(0));
    assert_eq!(run(&["check", "--strict", unused]).code, Some(3));
}

#[test]
fn flows_and_codes_are_explained() {
    for format in ["text", "mermaid", "dot", "json"] {
        let shown = run(&["explain", "flows/looping.yaml", "--format", format]);
        assert_eq!(shown.code, Some(0), "{}", shown.err);
        assert!(shown.out.contains("think"), "{format}: {}", shown.out);
    }
    assert!(run(&["explain", "flow0032"]).out.contains("FLOW0032: a loop has no bound"));
}

#[test]
fn every_flow_passes_the_tests_that_it_carries() {
    let flows = flow_files();
    let mut args = vec!["test", "--json"];
    args.extend(flows.iter().map(String::as_str));
    let ran = run(&args);
    let tally = ran.json();
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    assert!(tally["passed"].as_u64().unwrap() >= 9, "{tally}");
    assert_eq!((&tally["failed"], &tally["without_tests"]), (&Json::from(0), &Json::Array(vec![])));
}

#[test]
fn a_test_that_is_not_met_says_what_was_expected_and_found() {
    let folder = TempDir::new().unwrap();
    let flow = "flow: wrong\ninputs: { n: int }\n\
                nodes: { is_large: { op: judge.rule, in: { n: inputs.n }, with: { pass: n > 5 } } }\n\
                outputs: { is_large: is_large.pass, n: inputs.n + 1 }\n\
                tests:\n  - { name: adds one, inputs: { n: 1 }, expect: { outputs: { n: 3 } } }\n";
    let path = folder.path().join("wrong.yaml");
    fs::write(&path, flow).unwrap();
    let ran = run(&["test", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("expected: 3") && ran.out.contains('2'), "{}", ran.out);
}

#[test]
fn the_schema_is_json_and_names_every_operator() {
    let schema = run(&["schema"]);
    assert!(schema.json().is_object());
    for operator in anabranch_operators::registry().names() {
        assert!(schema.out.contains(operator), "{operator}");
    }
}

#[test]
fn help_says_what_it_says() {
    let mut expected = Expected::default();
    expected.file("tests/it/cli/help/anabranch.txt", run(&["--help"]).out);
    for words in COMMANDS {
        let command: Vec<&str> = words.split(' ').collect();
        let help = run(&[&command[..], &["--help"]].concat());
        assert_eq!(help.code, Some(0));
        assert!(help.out.contains("Examples:"), "`{words} --help` has no examples");
        expected.file(format!("tests/it/cli/help/{}.txt", words.replace(' ', "-")), help.out);
    }
    expected.compare();
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).out.contains("anabranch"), "{shell}");
    }
}
