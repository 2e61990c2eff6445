//! Indexes with vectors, namespaces and filters on the command line, and what is said when they do not fit.

use std::net::TcpListener;

use serde_json::{Value as Json, json};

use super::project::Project;
use super::server::Server;

fn birds(config: &str) -> Project {
    let project = Project::new(config);
    project.write("birds/heron.md", "# Herons\n\nHerons nest in tall trees.\n");
    project.write("birds/pike.md", "# Pike\n\nPike lie in wait among reeds.\n");
    project
}

/// A configuration whose embedders are `default` and `other`.
fn embedders(default: &str, other: &str) -> String {
    format!("embedders:\n  default: {default}\n  other: {other}\n")
}

fn at(server: &Server) -> String {
    format!("{{ url: {}, model: fake }}", server.url)
}

/// An address where nobody listens: it was free a moment ago.
fn nowhere() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("{{ url: http://127.0.0.1:{port}, model: fake }}")
}

const INDEX: [&str; 5] = ["index", "birds", "--into", "birds", "--json"];

#[test]
fn an_index_is_searched_by_words_by_vectors_and_by_both() {
    let project = birds("");
    let made = project.json(&INDEX);
    assert_eq!(
        (&made["embedder"], &made["chunks_total"]),
        (&json!("default"), &made["vectors_total"]),
        "{made}"
    );
    assert_eq!(project.search(&["birds", "reeds"]), ["birds/pike.md"]);
    assert!(project.search(&["birds", "heronz nestz"]).is_empty(), "no such words");
    assert_eq!(project.search(&["birds", "heronz nestz", "--by", "vectors"])[0], "birds/heron.md");
    let both = project.search(&["birds", "reeds", "--by", "hybrid"]);
    assert_eq!((both[0].as_str(), both.len()), ("birds/pike.md", 2));
    assert_eq!(project.search(&["birds", "reeds", "--by", "hybrid", "--top-k", "1"]).len(), 1);
}

#[test]
fn namespaces_are_shut_off_from_one_another() {
    let project = birds("");
    project.write("acme/letter.md", "The heron of Acme.\n");
    project.json(&["index", "birds", "--into", "all", "--json"]);
    let acme = project.json(&["index", "acme", "--into", "all", "--namespace", "acme", "--json"]);
    assert_eq!((&acme["namespace"], &acme["documents_total"]), (&json!("acme"), &json!(1)));
    for by in ["words", "vectors", "hybrid"] {
        assert_eq!(project.search(&["all", "herons heron", "--by", by])[0], "birds/heron.md", "{by}");
        let found = project.search(&["all", "herons heron", "--by", by, "--namespace", "acme"]);
        assert_eq!(found, ["acme/letter.md"], "{by}");
    }
    let unknown = project.run(&["search", "all", "heron", "--namespace", "acne"]);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.err.contains("index `all` has no namespace `acne`"), "{}", unknown.err);
    assert!(unknown.err.contains("hint: make it with `anabranch index PATH"), "{}", unknown.err);
    assert_eq!(project.run(&["search", "all", "heron", "--namespace", "a/b"]).code, Some(2));
}

#[test]
fn a_filter_looks_at_the_metadata() {
    let project = Project::new("");
    let line = |id: &str, year: u32, lang: &str| json!({ "id": id, "text": "The heron stood in the reeds.", "meta": { "year": year, "lang": lang } });
    let corpus = [line("a", 2020, "en"), line("b", 2024, "en"), line("c", 2024, "de")];
    let lines: Vec<String> = corpus.iter().map(Json::to_string).collect();
    project.write("notes.jsonl", &lines.join("\n"));
    project.json(&["index", "notes.jsonl", "--into", "notes", "--json"]);
    for by in ["words", "vectors", "hybrid"] {
        let found = |filters: &[&str]| {
            let mut args = vec!["notes", "heron", "--by", by];
            args.extend(filters.iter().flat_map(|filter| ["--filter", filter]));
            let mut found = project.search(&args);
            found.sort();
            found
        };
        assert_eq!(found(&["year=2024"]), ["notes.jsonl#b", "notes.jsonl#c"], "{by}");
        assert_eq!(found(&["year=2024", "lang=en"]), ["notes.jsonl#b"], "{by}");
        assert_eq!(found(&["year=2024", "year=2020", "lang=en"]), ["notes.jsonl#a", "notes.jsonl#b"], "{by}");
        assert!(found(&["year=\"2024\""]).is_empty(), "a text is no number");
    }
    let wrong = project.run(&["search", "notes", "heron", "--filter", "year"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("`--filter year` is no condition"), "{}", wrong.err);
}

#[test]
fn an_index_remembers_its_embedder() {
    let server = Server::start();
    let project = birds(&embedders("hashed", &at(&server)));
    let made = project.json(&["index", "birds", "--into", "birds", "--embedder", "other", "--json"]);
    assert_eq!((&made["embedder"], server.embedded()), (&json!("other"), 2));
    assert_eq!(project.json(&INDEX)["unchanged"], 2, "without a word about it, it stays the same one");
    project.search(&["birds", "herons", "--by", "vectors"]);
    assert_eq!(server.embedded(), 3, "the query's vector comes from it too");

    project.configure(&embedders("hashed", "hashed"));
    for by in ["vectors", "hybrid"] {
        let search = project.run(&["search", "birds", "herons", "--by", by]);
        assert_eq!(search.code, Some(3), "{}", search.err);
        for part in
            ["`openai:fake`", "embedder `other` is `hashed-384-v1`", "anabranch index PATH --into birds"]
        {
            assert!(search.err.contains(part), "{part}: {}", search.err);
        }
    }
    assert_eq!(project.search(&["birds", "reeds"]), ["birds/pike.md"], "words are words");
    project.configure("");
    let gone = project.run(&["search", "birds", "herons", "--by", "vectors"]);
    assert_eq!(gone.code, Some(3));
    assert!(gone.err.contains("embedder `other`, which is not configured"), "{}", gone.err);
    assert_eq!(
        project.json(&["index", "birds", "--into", "birds", "--embedder", "default", "--json"])["changed"],
        2
    );
    assert_eq!(project.search(&["birds", "herons", "--by", "vectors"])[0], "birds/heron.md");
}

#[test]
fn another_embedder_is_refused_where_documents_would_lose_their_vectors() {
    let project = birds(&embedders("hashed", "none").replace("  other: none\n", ""));
    project.json(&INDEX);
    let refused = project.run(&["index", "birds/pike.md", "--into", "birds", "--embedder", "none"]);
    assert_eq!(refused.code, Some(3), "{}", refused.err);
    assert!(refused.err.contains("1 of its documents are not below the given paths"), "{}", refused.err);
    assert_eq!(project.search(&["birds", "herons", "--by", "vectors"]).len(), 2, "nothing has changed");
    let unknown = project.run(&["index", "birds", "--into", "birds", "--embedder", "defaul"]);
    assert_eq!(unknown.code, Some(3));
    assert!(unknown.err.contains("did you mean `default`?"), "{}", unknown.err);
}

#[test]
fn an_index_without_vectors_says_so() {
    let project = birds("indexes:\n  bare: { paths: [birds], embedder: none }\n");
    let made = project.json(&["index", "birds", "--into", "words", "--embedder", "none", "--json"]);
    assert_eq!((&made["embedder"], &made["vectors_total"]), (&Json::Null, &json!(0)));
    for by in ["vectors", "hybrid"] {
        let search = project.run(&["search", "words", "herons", "--by", by]);
        assert_eq!(search.code, Some(2));
        assert!(search.err.contains("index `words` has no vectors"), "{}", search.err);
        assert!(search.err.contains("--embedder default"), "{}", search.err);
    }
    project.write("dense.yaml", &flow("bare"));
    let run = project.run(&["run", "dense.yaml", "-i", "question=herons"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("index `bare` has no vectors; set `indexes.bare.embedder`"), "{}", run.err);
}

/// A flow that searches an index by vectors.
fn flow(index: &str) -> String {
    format!(
        "flow: dense\ninputs: {{ question: text }}\nnodes:\n  search:\n    op: retrieve.dense\n    \
         in: {{ query: inputs.question }}\n    with: {{ index: {index} }}\noutputs: {{ chunks: search.chunks }}\n"
    )
}

#[test]
fn an_embedder_that_is_down_is_named_wherever_it_is_needed() {
    let server = Server::start();
    let config = |embedder: &str| {
        format!(
            "embedders: {{ default: {embedder} }}\nindexes: {{ docs: {{ paths: [birds] }}, bare: {{ embedder: none }} }}\n"
        )
    };
    let project = birds(&config(&at(&server)));
    project.write("dense.yaml", &flow("docs"));
    let run = ["run", "dense.yaml", "-i", "question=herons"];
    assert_eq!(project.run(&run).code, Some(0));

    project.configure(&config(&nowhere()));
    let search = project.run(&["search", "docs", "herons", "--by", "vectors"]);
    assert_eq!(search.code, Some(4), "{}", search.err);
    assert!(search.err.contains("is unavailable"), "{}", search.err);
    assert_eq!(project.run(&run).code, Some(4), "the index is up to date, the question has no vector");
    assert_eq!(project.search(&["docs", "reeds"]), ["birds/pike.md"], "words need no embedder");

    for n in 0..20 {
        project.write(&format!("birds/more{n}.md"), "Some more about herons.\n");
    }
    for command in [&["index", "birds", "--into", "docs"][..], &run] {
        let ran = project.run(command);
        assert_eq!(ran.code, Some(4), "{}", ran.err);
        for part in ["embedder `default` failed on 5 documents in a row", "what was indexed is kept"] {
            assert!(ran.err.contains(part), "{part}: {}", ran.err);
        }
    }
    project.configure(&config(&at(&server)));
    assert_eq!(project.json(&["index", "birds", "--into", "docs", "--json"])["added"], 20);
}

#[test]
fn another_model_behind_the_same_name_is_noticed_by_its_dimensions() {
    let server = Server::start();
    let project = birds(&embedders(&at(&server), "hashed"));
    project.json(&INDEX);
    server.set_dimensions(5);
    let search = project.run(&["search", "birds", "herons", "--by", "vectors"]);
    assert_eq!(search.code, Some(4));
    assert!(
        search.err.contains("its vectors have 26 numbers, and that of the query has 5"),
        "{}",
        search.err
    );
    project.write("birds/more.md", "Some more about herons.\n");
    let index = project.run(&["index", "birds", "--into", "birds"]);
    assert_eq!(index.code, Some(4));
    assert!(index.err.contains("a vector of 5 numbers, where those of this index have 26"), "{}", index.err);
}

#[test]
fn an_index_that_is_filled_elsewhere_is_declared_without_paths() {
    let project = birds("indexes: { docs: {} }\n");
    project.write("dense.yaml", &flow("docs"));
    project.json(&["index", "birds", "--into", "docs", "--json"]);
    let report = project.json(&["run", "dense.yaml", "-i", "question=herons", "--json"]);
    assert_eq!(report["outputs"]["chunks"].as_array().unwrap().len(), 2, "{report}");
    let other = project.run(&["index", "birds", "--into", "docs", "--embedder", "none"]);
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("declared with `embedder: default`"), "{}", other.err);
}
