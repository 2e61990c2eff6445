//! One flow, and whatever answers: no model, a server, a recording, by changing one line of `anabranch.yaml`.

use super::project::Project;
use super::server::{ANSWER, Server};

const FLOW: &str = "\
flow: ask
about: Searches by words and by vectors, reranks, answers.
inputs: { question: text }
nodes:
  search:
    op: retrieve.hybrid
    in: { query: inputs.question }
    with: { index: house }
  best:
    op: rerank.cross_encoder
    in: { query: inputs.question, chunks: search.chunks }
    with: { top_k: 2 }
  answer:
    op: read.answer
    in: { question: inputs.question, chunks: best.chunks }
outputs:
  text: answer.text
  citations: answer.citations
";

/// The configuration with this line for the model.
fn config(model: &str) -> String {
    format!("models:\n  default: {model}\nindexes:\n  house: {{ paths: [house] }}\n")
}

fn project() -> Project {
    let project = Project::new(&config("extractive"));
    project.write("ask.yaml", FLOW);
    project.write(
        "house/lease.md",
        "# Lease\n\nThe lease ends on the last day of May. Rent is due each Monday.\n",
    );
    project.write("house/boat.md", "# Boat\n\nThe boat is painted every spring.\n");
    project
}

const RUN: [&str; 5] = ["run", "ask.yaml", "-i", "question=When does the lease end?", "--json"];

#[test]
fn the_same_flow_answers_with_no_model_with_a_server_and_with_a_recording() {
    let (project, server) = (project(), Server::start());

    let report = project.json(&RUN);
    let extracted = report["outputs"]["text"].as_str().unwrap();
    assert!(extracted.contains("last day of May"), "{report}");
    assert_eq!(report["usage"]["model_calls"], 0);

    project.configure(&config(&format!("{{ url: {} }}", server.url)));
    let record = [&RUN[..], &["--record", "tape.jsonl"]].concat();
    let report = project.json(&record);
    assert_eq!(report["outputs"]["text"], ANSWER);
    assert_eq!(report["outputs"]["citations"][0]["doc"], "house/lease.md", "{report}");
    assert_eq!((&report["usage"]["model_calls"], server.chats()), (&1.into(), 1));
    let answered = report["outputs"].clone();

    project.configure(&config("{ replay: tape.jsonl }"));
    drop(server);
    let report = project.json(&RUN);
    assert_eq!(report["outputs"], answered, "the recording says what the server said");

    project.configure(&config("extractive"));
    assert_eq!(project.json(&RUN)["outputs"]["text"], extracted);
}

#[test]
fn the_same_flow_takes_its_vectors_and_scores_from_servers_too() {
    let (project, server) = (project(), Server::start());
    let encoders = format!(
        "{}embedders: {{ default: {{ url: {url}, model: fake }} }}\nrerankers: {{ default: {{ url: {url} }} }}\n",
        config("extractive"),
        url = server.url
    );
    project.configure(&encoders);
    let report = project.json(&RUN);
    assert!(report["outputs"]["text"].as_str().unwrap().contains("last day of May"), "{report}");
    assert_eq!(server.embedded(), 3, "two chunks and a question");
}
