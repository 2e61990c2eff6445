//! Evaluating a flow: the built program on a small set, stopped, killed, taken up, compared.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::Ran;
use super::project::Project;
use super::server::Server;

const FLOW: &str = "\
flow: ask
about: Searches, and reads what was found.
inputs: { question: text, hops: { type: int, default: 1, max: 3 } }
nodes:
  search: { op: retrieve.bm25, in: { query: inputs.question }, with: { index: house, top_k: 2 } }
  answer: { op: read.answer, in: { question: inputs.question, chunks: search.chunks } }
outputs: { answer: answer.answer, chunks: search.chunks, hops: inputs.hops }
";

/// Documents about one thing each.
const CORPUS: &str = r#"{"id": "lease", "title": "Lease", "text": "The lease ends in May. Rent is due each Monday."}
{"id": "boat", "title": "Boat", "text": "The boat is painted every spring."}
{"id": "garden", "title": "Garden", "text": "The garden has three old apple trees."}
{"id": "roof", "title": "Roof", "text": "The roof was mended by Harriet Moss."}
"#;

const QUERIES: &str = r#"{"id": "q1", "question": "When does the lease end?", "answers": ["The lease ends in May."], "evidence": [{"doc": "lease", "start": 0, "end": 22, "bstart": 0, "bend": 22}]}
{"id": "q2", "question": "Who mended the roof?", "answers": ["Harriet Moss"], "evidence": [{"doc": "roof", "start": 0, "end": 36}], "meta": {"answerable": true}}
{"id": "q3", "question": "Which trees are in the garden?", "answers": ["apple trees", "apple"], "evidence": [{"doc": "garden"}, {"doc": "boat"}]}
{"id": "q4", "question": "Whose zeppelin circles Vladivostok?", "answers": [], "evidence": [], "meta": {"answerable": false}}
{"id": "q5", "question": "When is the boat painted?", "answers": ["every spring"], "evidence": [{"doc": "boat"}], "meta": {"hops": 9}}
"#;

const EVAL: [&str; 7] = ["eval", "ask.yaml", "--data", "set", "--out", "out", "--json"];

fn project(config: &str) -> Project {
    let project = Project::new(config);
    project.write("ask.yaml", FLOW);
    project.write("set/corpus.jsonl", CORPUS);
    project.write("set/queries.jsonl", QUERIES);
    project
}

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    EVAL.iter().chain(more).copied().collect()
}

fn read(project: &Project, path: &str) -> String {
    fs::read_to_string(project.path().join(path)).unwrap()
}

/// The questions with results, in the order in which they ended.
fn asked(project: &Project) -> Vec<String> {
    let lines = read(project, "out/results.jsonl");
    let id = |line: &str| serde_json::from_str::<Json>(line).unwrap()["id"].as_str().unwrap().to_owned();
    lines.lines().skip(1).map(id).collect()
}

fn refused(ran: &Ran, code: i32, told: &str) {
    assert_eq!(ran.code, Some(code), "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains(told), "`{told}` is not in:\n{}", ran.err);
}

#[test]
fn a_flow_is_asked_and_judged_and_what_fails_counts_as_zero() {
    let project = project("{}");
    let summary = project.json(&with(&["--at", "1,2", "--concurrency", "1"]));
    let variant = &summary["variants"][0];
    assert_eq!((&variant["asked"], &variant["failed"]), (&json!(5), &json!(1)), "{summary}");
    assert_eq!(variant["failures"], json!({ "invalid_input": 1 }));
    assert_eq!(variant["failed_questions"][0]["id"], "q5", "its `hops` are more than the flow takes");
    let mean = |figure: &str| {
        let found = &variant["figures"][figure];
        (found["mean"].as_f64().unwrap(), found["n"].as_u64().unwrap())
    };
    // Right are q1 and q2 at once; q3 needs two documents and finds one; q5 failed.
    assert_eq!(mean("recall@1"), ((1.0 + 1.0 + 0.5) / 4.0, 4));
    assert_eq!(mean("all@2"), (0.5, 4));
    assert_eq!(mean("hit@1"), (0.75, 4));
    assert_eq!(mean("refused"), (1.0, 1));
    assert_eq!(mean("answered"), (1.0, 1));
    // Two questions say where their evidence is; one counts characters, and is found all the same.
    assert_eq!(mean("chunk_recall@1"), (1.0, 2));
    assert_eq!(mean("exact_match").1, 4);
    assert!(mean("contains").0 >= 0.5, "{variant}");
    let written: Json = serde_json::from_str(&read(&project, "out/summary.json")).unwrap();
    assert_eq!(written, summary);
    let page = read(&project, "out/report.html");
    assert!(page.contains("<svg") && page.contains("Which trees are in the garden?") && page.contains("q5"));

    // All of it is there: nothing is asked again, and nothing is different.
    let before = read(&project, "out/results.jsonl");
    assert_eq!(project.json(&with(&["--at", "1,2"])), summary);
    assert_eq!(read(&project, "out/results.jsonl"), before);
}

#[test]
fn without_json_it_is_a_table_and_what_cannot_be_worked_out_is_told() {
    let project = project("{}");
    let flow = FLOW
        .replace(", chunks: search.chunks, hops", ", hops")
        .replace("answer: answer.answer", "said: answer.text");
    project.write("ask.yaml", &flow);
    let ran = project.run(&["eval", "ask.yaml", "--data", "set"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for told in [
        "rankings and chunks: no output of the flow is a list of chunks (a node has some: `search.chunks`)",
        "citations: the flow has no output `citations`",
        "results in",
        "indexing set: 0 of 4 documents",
        "asking ask: 5 questions",
    ] {
        assert!(ran.err.contains(told), "{told}\n{}", ran.err);
    }
    assert!(ran.out.contains("exact_match") && !ran.out.contains("recall@5"), "{}", ran.out);
    assert!(ran.out.contains("1 failed of ask: 1 invalid_input\n  q5  invalid_input: "), "{}", ran.out);
    let ran = project.run(&["eval", "ask.yaml", "--data", "set", "--chunks", "search.chunks"]);
    assert!(ran.out.contains("  recall@5 ") && !ran.err.contains("indexing"), "{}\n{}", ran.out, ran.err);
}

#[test]
fn settings_are_swept_and_compared_with_one_another_and_with_other_results() {
    let project = project("{}");
    project.json(&with(&["--at", "1,2", "--limit", "4"]));
    let summary = project.json(&[
        "eval",
        "ask.yaml",
        "--data",
        "set",
        "--out",
        "swept",
        "--json",
        "--at",
        "1,2",
        "--limit",
        "4",
        "--sweep",
        "search.with.top_k=1,4",
        "--against",
        "out",
    ]);
    let names: Vec<&str> =
        summary["variants"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["search.with.top_k=1", "search.with.top_k=4"]);
    let figure = |n: usize, name: &str| summary["variants"][n]["figures"][name]["mean"].as_f64().unwrap();
    assert!(figure(0, "recall@2") <= figure(1, "recall@2"), "more is never found in less");
    let compared: Vec<(&Json, &Json)> =
        summary["comparisons"].as_array().unwrap().iter().map(|c| (&c["variant"], &c["with"])).collect();
    assert_eq!(
        compared,
        [
            (&json!("search.with.top_k=4"), &json!("search.with.top_k=1")),
            (&json!("search.with.top_k=1"), &json!("out")),
            (&json!("search.with.top_k=4"), &json!("out")),
        ]
    );
    let recall = &summary["comparisons"][1]["figures"]["recall@1"];
    assert_eq!(
        (&recall["difference"], &recall["p"]),
        (&json!(0.0), &json!(1.0)),
        "the first is the same either way"
    );
    assert!(project.path().join("swept/results-search.with.top_k=4.jsonl").exists());
    assert!(read(&project, "swept/report.html").contains("figures by search.with.top_k"));
}

#[test]
fn results_of_another_evaluation_are_not_continued() {
    let project = project("{}");
    project.json(&with(&["--limit", "2"]));
    assert_eq!(asked(&project).len(), 2);
    refused(&project.run(&with(&["--seed", "3"])), 2, "`seed` was 0 and is 3");
    project.write("ask.yaml", &FLOW.replace("top_k: 2", "top_k: 1"));
    refused(&project.run(&EVAL), 2, "has results of another evaluation: the flow is another");
    project.write("ask.yaml", FLOW);
    // More questions are the same evaluation, and so is another number at once.
    project.json(&with(&["--concurrency", "3"]));
    assert_eq!(asked(&project).len(), 5);
    project.write("set/corpus.jsonl", &CORPUS.replace("May", "June"));
    refused(&project.run(&EVAL), 2, "the corpus, or how it is indexed, is another");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_asked() {
    let project = project("{}");
    refused(&project.run(&["eval", "ask.yaml", "--data", "none"]), 2, "there is no file or folder `none`");
    refused(&project.run(&with(&["-i", "hop=2"])), 2, "has no input `hop`");
    refused(&project.run(&with(&["-i", "hops=two"])), 2, "`hops`: expected `int`");
    refused(
        &project.run(&with(&["--answer", "chunks"])),
        2,
        "`--answer chunks`: it is of type `list<chunk>`",
    );
    refused(&project.run(&with(&["--sweep", "serch.with.top_k=1"])), 2, "the flow has no node `serch`");
    refused(&project.run(&with(&["--against", "none.jsonl"])), 1, "cannot use `none.jsonl`");
    project.write("set/queries.jsonl", "{\"id\": \"a\"}\n");
    refused(&project.run(&EVAL), 2, "line 1: missing field `question`");
    project.write("set/queries.jsonl", QUERIES);
    project.write("ask.yaml", &FLOW.replace("question: text,", "question: text, more: text,"));
    refused(&project.run(&EVAL), 2, "needs an input `more` (`text`), which the questions do not have");
    assert!(!project.path().join("out").exists());
}

#[test]
fn it_fails_if_every_question_does_and_asks_them_again_when_told() {
    // It takes connections in and says nothing: no answer is faster than no time at all.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = silent.local_addr().unwrap();
    let project = project(&format!("models: {{ default: {{ url: \"http://{url}\", model: m }} }}\n"));
    project.write("ask.yaml", &FLOW.replace("default: 1, max: 3", "default: 1"));
    let budget = ["--limit", "1", "--budget", "wall=0s"];
    let ran = project.run(&with(&budget));
    assert_eq!(ran.code, Some(1), "{}\n{}", ran.out, ran.err);
    assert_eq!(ran.json()["variants"][0]["failures"], json!({ "over_budget": 1 }));
    project.run(&with(&budget));
    assert_eq!(asked(&project), ["q1"]);
    project.run(&with(&[&budget[..], &["--retry-failed"]].concat()));
    assert_eq!(asked(&project), ["q1", "q1"]);
}

/// A project whose questions need vectors of `server`, with one question asked.
fn begun(server: &Server) -> Project {
    let project = project(&format!("embedders: {{ default: {{ url: {}, model: fake }} }}\n", server.url));
    project.write("ask.yaml", &FLOW.replace("retrieve.bm25", "retrieve.dense").replace("max: 3", "max: 9"));
    project.json(&with(&["--limit", "1"]));
    project
}

#[test]
fn killed_between_two_questions_it_goes_on_with_the_next() {
    let server = Server::start();
    let whole = begun(&server);
    let expected = whole.json(&with(&["--concurrency", "1"]));
    let project = begun(&server);
    // The second and the third question are answered, and the fourth hangs.
    server.hang_after(2);
    let mut child = project.start(&with(&["--concurrency", "1"]));
    server.wait_until_it_hangs();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(asked(&project), ["q1", "q2", "q3"]);
    server.hang_after(usize::MAX);
    let summary = project.json(&EVAL);
    assert_eq!(server.embedded(), 2, "only those that are left are asked");
    assert_eq!(summary["variants"][0]["figures"], expected["variants"][0]["figures"]);
}

#[test]
fn killed_while_it_indexes_it_indexes_the_rest() {
    let server = Server::start();
    let expected = begun(&server).json(&EVAL);
    let project = project(&format!("embedders: {{ default: {{ url: {}, model: fake }} }}\n", server.url));
    project.write("ask.yaml", &FLOW.replace("retrieve.bm25", "retrieve.dense").replace("max: 3", "max: 9"));
    server.hang_after(0);
    let mut child = project.start(&EVAL);
    server.wait_until_it_hangs();
    child.kill().unwrap();
    child.wait().unwrap();
    server.hang_after(usize::MAX);
    assert_eq!(project.json(&EVAL)["variants"][0]["figures"], expected["variants"][0]["figures"]);
}

#[cfg(unix)]
#[test]
fn interrupted_it_says_how_far_it_is_and_goes_on_from_there() {
    let server = Server::start();
    let project = begun(&server);
    server.hang_after(2);
    let child = project
        .command(&with(&["--concurrency", "1"]))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    server.wait_until_it_hangs();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("stopped after 3 of 5 questions; run the same command again"), "{told}");
    server.hang_after(usize::MAX);
    assert_eq!(project.json(&EVAL)["variants"][0]["asked"], 5);
    let mut asked = asked(&project);
    asked.sort();
    assert_eq!(asked, ["q1", "q2", "q3", "q4", "q5"], "each once, in whatever order they ended");
}
