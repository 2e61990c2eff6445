//! `anabranch index` on folders: one's own, an empty one, and one that it was killed over.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{anabranch, with_data};

const DOCUMENTS: usize = 200;

/// A folder of notes, each with a word of its own.
fn notes() -> TempDir {
    let folder = TempDir::new().unwrap();
    for n in 0..DOCUMENTS {
        let filler = "The harbour was quiet and the ferry came late. ".repeat(40);
        let text = format!("# Note {n}\n\nKeyword{n} stands here alone.\n\n## More\n\n{filler}\n");
        fs::write(folder.path().join(format!("note{n:03}.md")), text).unwrap();
    }
    folder
}

fn index(data: &TempDir, folder: &Path) -> Json {
    with_data(data, &["index", folder.to_str().unwrap(), "--into", "notes", "--json"]).json()
}

/// What the index finds for some words: ids and scores.
fn found(data: &TempDir, query: &str) -> Vec<(String, Json)> {
    let chunks = with_data(data, &["search", "notes", query, "--json"]).json();
    let chunks = chunks.as_array().unwrap();
    chunks.iter().map(|chunk| (chunk["id"].as_str().unwrap().to_owned(), chunk["score"].clone())).collect()
}

#[test]
fn a_folder_is_indexed_once_and_then_only_what_changed() {
    let (data, folder) = (TempDir::new().unwrap(), notes());
    let first = index(&data, folder.path());
    assert_eq!((&first["added"], &first["unchanged"]), (&Json::from(DOCUMENTS), &Json::from(0)));
    let again = index(&data, folder.path());
    assert_eq!((&again["added"], &again["unchanged"]), (&Json::from(0), &Json::from(DOCUMENTS)));

    fs::write(folder.path().join("note000.md"), "# Note 0\n\nA heron stood in the reeds.\n").unwrap();
    fs::remove_file(folder.path().join("note001.md")).unwrap();
    let changed = index(&data, folder.path());
    assert_eq!((&changed["changed"], &changed["removed"]), (&Json::from(1), &Json::from(1)));
    assert!(found(&data, "heron reeds")[0].0.contains("note000.md"));
    assert!(found(&data, "Keyword1").is_empty(), "what was removed is not found");
}

#[test]
fn an_own_folder_can_be_asked() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(folder.path().join("lease.md"), "# Lease\n\nThe lease ends on the last day of May.\n").unwrap();
    fs::write(folder.path().join("boat.txt"), "The boat is painted every spring.\n").unwrap();
    index(&data, folder.path());
    let ran = with_data(
        &data,
        &[
            "run",
            "flows/quickstart.yaml",
            "-i",
            "question=When does the lease end?",
            "--set",
            "search.with.index=notes",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("last day of May") && ran.out.contains("lease.md:3"), "{}", ran.out);
}

#[test]
fn an_empty_folder_makes_an_empty_index_and_a_run_on_it_says_that_nothing_is_known() {
    let (data, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let made = index(&data, folder.path());
    assert_eq!((&made["added"], &made["documents_total"]), (&Json::from(0), &Json::from(0)));
    let question = ["run", "quickstart", "-i", "question=Who?", "--set", "search.with.index=notes", "--json"];
    let report = with_data(&data, &question).json();
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(report["outputs"]["citations"], Json::Array(vec![]));
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let data = TempDir::new().unwrap();
    let ran = with_data(&data, &["index", "no/such/folder", "--into", "notes"]);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("no/such/folder"), "{}", ran.err);
}

#[test]
fn killed_while_it_indexes_and_run_again_it_finds_the_same() {
    let folder = notes();
    let whole = TempDir::new().unwrap();
    index(&whole, folder.path());

    let killed = TempDir::new().unwrap();
    let mut child = anabranch(&["index", folder.path().to_str().unwrap(), "--into", "notes", "--data"])
        .arg(killed.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It has begun when there are files in its folder. If it is faster than this loop, the law holds all the more.
    let deadline = Instant::now() + Duration::from_mins(1);
    while n_files(killed.path()) < 3 && child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let again = index(&killed, folder.path());
    assert_eq!(again["documents_total"], DOCUMENTS, "{again}");
    for query in ["Keyword7", "Keyword199 harbour", "ferry"] {
        assert_eq!(found(&killed, query), found(&whole, query), "{query}");
    }
}

fn n_files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { n_files(&entry.path()) } else { 1 }).sum()
}
