//! The repository keeps its own rules: who may know whom, how long a file may be, that everything has its page.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_engine::diagnostic::ALL;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::support::{files_below, read, root};

/// Which of our crates each of our crates may use. Tests and benchmarks stand outside and may use all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("anabranch-engine", &[]),
    ("anabranch-operators", &["anabranch-engine"]),
    ("anabranch-backends", &["anabranch-engine"]),
    ("anabranch-evaluation", &[]),
    ("anabranch", &["anabranch-engine", "anabranch-operators", "anabranch-backends", "anabranch-evaluation"]),
];

/// Folders of source files.
const SOURCES: [&str; 7] = [
    "engine/src",
    "operators/src",
    "backends/src",
    "evaluation/src",
    "service/src",
    "tests/it",
    "benches/src",
];

/// Longest source file. A file answers one question; at this length it answers two.
const MOST_LINES: usize = 500;

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--offline".into()])
        .exec()
        .unwrap()
}

fn ours(name: &str) -> bool {
    name == "anabranch" || name.starts_with("anabranch-")
}

#[test]
fn crates_know_only_those_further_in() {
    let metadata = metadata();
    for (name, allowed) in MAY_USE {
        let package =
            metadata.workspace_packages().into_iter().find(|package| package.name == *name).unwrap();
        for dependency in package.dependencies.iter().filter(|dependency| ours(&dependency.name)) {
            assert!(
                allowed.contains(&dependency.name.as_str()),
                "`{name}` must not depend on `{}`; see ARCHITECTURE.md",
                dependency.name
            );
        }
    }
    for package in metadata.workspace_packages() {
        let known = MAY_USE.iter().any(|(name, _)| package.name == *name);
        let outside = ["anabranch-tests", "anabranch-benches"].contains(&package.name.as_str());
        assert!(known || outside, "`{}` has no line in MAY_USE", package.name);
    }
}

#[test]
fn the_engine_has_no_http_sql_or_files() {
    let metadata = metadata();
    let engine = metadata.workspace_packages().into_iter().find(|p| p.name == "anabranch-engine").unwrap();
    for dependency in engine.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
        for banned in
            ["reqwest", "hyper", "axum", "rustls", "tantivy", "sqlx", "rusqlite", "ignore", "tempfile"]
        {
            assert_ne!(dependency.name, banned, "the engine stays pure; see ARCHITECTURE.md");
        }
    }
}

#[test]
fn every_crate_that_we_name_is_used_in_one_version_that_the_workspace_sets() {
    let mut requirements: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata().workspace_packages() {
        for dependency in package.dependencies.iter().filter(|dependency| !ours(&dependency.name)) {
            requirements.entry(dependency.name.clone()).or_default().insert(dependency.req.to_string());
        }
    }
    for (name, requirements) in &requirements {
        assert_eq!(
            requirements.len(),
            1,
            "`{name}` is asked for as {requirements:?}: use `workspace = true`"
        );
    }
    // The lock file writes the version beside the name where there are several.
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in read("Cargo.lock").split("[[package]]") {
        let name = package.lines().find_map(|line| line.strip_prefix("name = ")).unwrap_or_default();
        if !ours(name.trim_matches('"')) {
            continue;
        }
        for line in package.lines().filter_map(|line| line.strip_prefix(" \"")) {
            let (name, version) = line.trim_end_matches([',', '"']).split_once(' ').unwrap_or((line, ""));
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    for (name, versions) in versions {
        assert_eq!(versions.len(), 1, "`{name}` is used in versions {versions:?}");
    }
}

#[test]
fn no_source_file_is_too_long() {
    let mut long = Vec::new();
    for folder in SOURCES {
        for path in files_below(folder).iter().filter(|path| path.ends_with(".rs")) {
            let lines = read(path).lines().count();
            if lines > MOST_LINES {
                long.push(format!("{path}: {lines} lines"));
            }
        }
    }
    assert!(long.is_empty(), "split these by the questions that they answer:\n{}", long.join("\n"));
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    for folder in SOURCES {
        for path in files_below(folder).iter().filter(|path| path.ends_with(".rs")) {
            let text = read(path);
            let first = text.lines().next().unwrap_or_default();
            assert!(first.starts_with("//! ") && first.len() > 15, "{path} opens with `{first}`");
        }
    }
}

#[test]
fn every_code_has_a_page_with_an_example_and_what_to_do() {
    for code in ALL {
        let page = code.page();
        let title = format!("# {}: {}", code.id(), code.title());
        assert_eq!(page.lines().next(), Some(title.as_str()), "first line of codes/{}.md", code.id());
        let body = page.lines().skip(1).filter(|line| !line.trim().is_empty()).count();
        assert!(body >= 3, "codes/{}.md says only {body} lines beyond its title", code.id());
    }
    for path in files_below("engine/src/codes") {
        let id = path.trim_start_matches("engine/src/codes/").trim_end_matches(".md");
        assert!(ALL.iter().any(|code| code.id() == id), "{path} belongs to no code");
    }
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    let mut found = Vec::new();
    let banned =
        [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];
    let code = ["engine", "operators", "backends", "evaluation", "service", "tests", "benches"];
    for folder in code.into_iter().chain(["flows", "docs", ".ci", ".config"]) {
        for path in files_below(folder).iter().filter(|path| !path.contains("/target/")) {
            let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
            for (index, line) in text.lines().enumerate() {
                if banned.iter().any(|place| line.contains(place)) {
                    found.push(format!("{path}:{}: {}", index + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_documents_name_files_that_are_there() {
    for path in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/guide.md"] {
        assert!(root().join(path).exists(), "{path} is missing");
        let text = read(path);
        for word in text.split(|c: char| c.is_whitespace() || "()`\"'<>|,;".contains(c)) {
            let word = word.trim_end_matches(['.', ':']);
            let is_file =
                ["flows/", "docs/", "engine/", "operators/", "backends/", "service/", "tests/", "./.ci/"]
                    .iter()
                    .any(|start| word.starts_with(start) && word.len() > start.len());
            if is_file && !word.contains(['*', '{', '…', '[']) && !word.contains("..") {
                let word = word.split('#').next().unwrap_or_default();
                assert!(root().join(word).exists(), "{path} names `{word}`, which is not there");
            }
        }
        // Links between documents are relative to the document.
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(
                    root().join(folder).join(target).exists(),
                    "{path} links to `{target}`, which is not there"
                );
            }
        }
    }
}
