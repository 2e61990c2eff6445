//! The flows of the papers, run by the binary on real files: with a model that follows the prompts, and with one that
//! talks nonsense.

use std::fs;

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Ran, anabranch, ran};

/// Answers as the prompts of each operator ask for them, told apart by how its system prompt begins.
const OBEDIENT: &str = r#"
- contains: "You judge how much a passage helps"
  answer: '{"score": 0.8}'
- contains: "You judge what the request quotes"
  matches: "ambiguous"
  answer: '{"reason": "The passages are about herons.", "label": "ambiguous", "score": 0.5}'
- contains: "You judge what the request quotes"
  answer: '{"reason": "The passage says so.", "label": "grounded", "score": 1.0}'
- contains: "You split a question into"
  answer: '{"questions": ["Where do herons nest?", "Which river feeds the lake?"]}'
- contains: "You write the passage that a document would have"
  answer: 'Herons build their nests high up in trees near the water.'
- contains: "You write search queries"
  answer: 'Here you are: {"queries": ["heron nest site", "where herons breed"]}'
- contains: "You answer a question step by step"
  answer: '{"thought": "Herons nest in trees.", "done": true, "query": "", "answer": "in trees"}'
- contains: "You rewrite a question"
  answer: '{"query": "Where do herons nest?"}'
- contains: "You answer a question from numbered passages"
  answer: 'Herons nest in the tops of tall trees [1].'
"#;

const FLOWS: [&str; 9] = [
    "pre_branching",
    "post_branching",
    "chunkrag",
    "crag",
    "ircot",
    "iter_retgen",
    "hyde",
    "multi_query",
    "self_correct",
];

/// A folder with three documents, a configuration, and a model of these rules.
fn place(rules: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("docs")).unwrap();
    write("docs/herons.md", "# Herons\n\nHerons nest in the tops of tall trees, often near a lake.\n");
    write(
        "docs/lake.md",
        "# The lake\n\nThe river Ill feeds the lake. It reaches the sea through the Rhine.\n",
    );
    write("docs/ships.md", "# Ships\n\nShips carry freight and passengers.\n");
    write("rules.yaml", rules);
    write(
        "anabranch.yaml",
        "models: { default: { script: rules.yaml } }\nindexes: { docs: { paths: [docs] } }\n",
    );
    folder
}

fn run_in(place: &TempDir, flow: &str) -> Ran {
    let flow = crate::support::root().join("flows").join(format!("{flow}.yaml"));
    let question = "question=Where do herons nest?";
    ran(anabranch(&["run", flow.to_str().unwrap(), "-i", question, "--json"]).current_dir(place.path()))
}

#[test]
fn every_paper_flow_answers_from_files_with_a_model_that_follows_its_prompts() {
    let place = place(OBEDIENT);
    for flow in FLOWS {
        let ran = run_in(&place, flow);
        assert_eq!(ran.code, Some(0), "{flow}: {}\n{}", ran.err, ran.out);
        let answer = &ran.json()["outputs"]["answer"];
        assert_eq!(answer["text"], "Herons nest in the tops of tall trees [1].", "{flow}");
        assert_eq!(answer["grounded"], true, "{flow}: {answer}");
        let doc = answer["citations"][0]["doc"].as_str().unwrap();
        assert_eq!(doc, "docs/herons.md", "{flow}");
    }
}

#[test]
fn a_model_that_talks_nonsense_ends_every_paper_flow_in_words() {
    let place = place("- answer: 'I like turtles.'\n");
    for flow in FLOWS {
        let ran = run_in(&place, flow);
        assert!(!ran.err.contains("panicked"), "{flow}: {}", ran.err);
        match ran.code {
            // Nothing of what it says rests on a passage, and the answer says so.
            Some(0) => assert_ne!(ran.json()["outputs"]["answer"]["grounded"], Json::Bool(true), "{flow}"),
            // Or it was asked for JSON, twice, and gave none.
            Some(4) => {
                assert!(ran.out.contains("garbled") || ran.err.contains("garbled"), "{flow}: {}", ran.err);
            }
            code => panic!("{flow} ended with {code:?}: {}\n{}", ran.err, ran.out),
        }
    }
}
