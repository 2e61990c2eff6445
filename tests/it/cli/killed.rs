//! Indexing that is stopped or killed, at places that do not depend on the clock, and run again.

use std::process::{Child, Command};

use serde_json::{Value as Json, json};

use super::project::Project;
use super::server::Server;

const DOCUMENTS: usize = 700;
const INDEX: [&str; 5] = ["index", "notes", "--into", "notes", "--json"];

/// Notes of a chunk each; their vectors come from `server`.
fn notes(server: &Server) -> Project {
    let project =
        Project::new(&format!("embedders: {{ default: {{ url: {}, model: fake }} }}\n", server.url));
    for n in 0..DOCUMENTS {
        project.write(
            &format!("notes/{n:03}.md"),
            &format!("# Note {n}\n\nKeyword{n} and the quiet harbour.\n"),
        );
    }
    project
}

/// What the index holds and finds.
fn state(project: &Project) -> Vec<Json> {
    let again = project.json(&INDEX);
    assert_eq!((&again["added"], &again["changed"]), (&json!(0), &json!(0)), "{again}");
    let mut state: Vec<Json> =
        ["documents_total", "chunks_total", "vectors_total"].iter().map(|key| again[key].clone()).collect();
    for by in ["words", "vectors", "hybrid"] {
        state.push(project.json(&["search", "notes", "keyword42 harbour", "--by", by, "--json"]));
    }
    state
}

/// Starts to index, and lets it run until its embedder has given vectors for so many chunks.
fn until(project: &Project, server: &Server, chunks: usize) -> Child {
    server.hang_after(chunks);
    let child = project.start(&INDEX);
    server.wait_until_it_hangs();
    server.hang_after(usize::MAX);
    child
}

#[test]
fn killed_anywhere_and_run_again_it_holds_and_finds_the_same() {
    let server = Server::start();
    let whole = notes(&server);
    assert_eq!(whole.json(&INDEX)["added"], DOCUMENTS);
    let expected = state(&whole);
    // Before anything was written, between two commits, and after several.
    for chunks in [0, 100, 600] {
        let killed = notes(&server);
        let mut child = until(&killed, &server, chunks);
        child.kill().unwrap();
        child.wait().unwrap();
        let again = killed.json(&INDEX);
        let of = |key: &str| usize::try_from(again[key].as_u64().unwrap()).unwrap();
        assert_eq!(of("added") + of("unchanged"), DOCUMENTS, "{again}");
        assert_eq!(state(&killed), expected, "killed after {chunks} chunks");
    }
}

#[cfg(unix)]
#[test]
fn interrupted_it_keeps_what_was_done_and_goes_on_from_there() {
    let server = Server::start();
    let whole = notes(&server);
    whole.json(&INDEX);
    let stopped = notes(&server);
    let mut child = until(&stopped, &server, 500);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let again = stopped.json(&INDEX);
    assert!(again["unchanged"].as_u64().unwrap() > 0, "what was done is kept: {again}");
    assert_eq!(state(&stopped), state(&whole));
}
