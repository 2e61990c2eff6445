//! What is read from `anabranch.yaml`, and what is said about a wrong one.

use std::time::Duration;

use super::*;

fn parse(text: &str) -> Config {
    Config::parse(FILE, text).unwrap_or_else(|error| panic!("{error}"))
}

fn error(text: &str) -> String {
    Config::parse(FILE, text).unwrap_err().to_string()
}

const WHOLE: &str = r#"
models:
  default:
    url: http://localhost:8000
    model: qwen
    api_key: "${env:KEY}"
    timeout: 2m
    idle_timeout: 500ms
    stream: false
  small: extractive
  canned: { replay: tape.jsonl }
  demo: { script: rules.yaml }
indexes:
  docs: { paths: [README.md, docs], flow: chunk.yaml }
data: ./kept
prices:
  default: { prompt: 0.15, cached: 0.075, completion: 0.6 }
limits: { concurrency: 8 }
"#;

#[test]
fn everything_that_can_be_set_is_read() {
    let config = parse(WHOLE);
    let server = ServerConfig {
        model: Some("qwen".into()),
        api_key: Some(SecretRef::Env("KEY".into())),
        timeout: Some(Duration::from_mins(2)),
        idle_timeout: Some(Duration::from_millis(500)),
        stream: Some(false),
        ..ServerConfig::new("http://localhost:8000")
    };
    assert_eq!(config.models["default"], ModelConfig::Server(server));
    assert_eq!(config.models["small"], ModelConfig::Extractive);
    assert_eq!(config.models["canned"], ModelConfig::Replay { path: "tape.jsonl".into(), model: None });
    assert_eq!(config.models["demo"], ModelConfig::Script("rules.yaml".into()));
    assert_eq!(config.indexes["docs"].paths, [PathBuf::from("README.md"), PathBuf::from("docs")]);
    assert_eq!(config.prices["default"].cached, Some(0.075));
    assert_eq!((config.data, config.limits.concurrency), (PathBuf::from("./kept"), 8));
}

#[test]
fn nothing_set_is_the_default() {
    for text in ["", "# nothing\n", "---\n", "data: ./.anabranch\n"] {
        assert_eq!(parse(text), Config::default());
    }
    assert_eq!(Config::default().models["default"], ModelConfig::Extractive);
    assert_eq!(Config::default().limits.concurrency, 64);
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.yaml");
    std::fs::write(&path, WHOLE.replace("${env:KEY}", "${file:key}")).unwrap();
    let config = Config::find(Some(&path)).unwrap();
    let inside = |name: &str| folder.path().join(name);
    assert_eq!(config.indexes["docs"].paths, [inside("README.md"), inside("docs")]);
    assert_eq!(config.indexes["docs"].flow, Some(inside("chunk.yaml")));
    assert_eq!(config.data, inside("./kept"));
    assert_eq!(config.models["demo"], ModelConfig::Script(inside("rules.yaml")));
    let ModelConfig::Server(server) = &config.models["default"] else { panic!() };
    assert_eq!(server.api_key, Some(SecretRef::File(inside("key"))));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::find(Some(Path::new("no/such.yaml"))).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration `no/such.yaml`");
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    assert_eq!(
        error("data: x\nmodls: {}\n"),
        "anabranch.yaml:2:1: unknown key `modls`\nhint: did you mean `models`?"
    );
    assert_eq!(
        error("models:\n  default:\n    url: http://h\n    timout: 3s\n"),
        "anabranch.yaml:4:5: unknown key `timout`\nhint: did you mean `timeout`?"
    );
    assert_eq!(
        error("limits: { x: 3 }\n"),
        "anabranch.yaml:1:11: unknown key `x`\nhint: there are: `concurrency`"
    );
}

#[test]
fn a_literal_secret_is_refused_and_not_repeated() {
    let error = error("models:\n  default:\n    url: http://h\n    api_key: sk-12345\n");
    assert_eq!(
        error,
        "anabranch.yaml:4:14: a secret does not stand in this file, where it would be copied and shared with it\n\
         hint: refer to it: `${env:NAME}` or `${file:PATH}`"
    );
}

#[test]
fn a_wrong_value_is_named_with_its_place() {
    let at = |text: &str, place: &str, message: &str| {
        let error = error(text);
        assert!(error.starts_with(&format!("anabranch.yaml:{place}: {message}")), "{text}: {error}");
    };
    at("models: { default: extracive }", "1:20", "there is no kind of model `extracive`\nhint: did you mean");
    at(
        "models: { a: http://h }",
        "1:14",
        "there is no kind of model `http://h`\nhint: a server is a mapping",
    );
    at("models:\n  a: { url: u, replay: f }", "2:6", "a model has only one of");
    at("models:\n  a: { model: f }", "2:6", "the model has neither `url`");
    at("models:\n  a: { replay: f, timeout: 3s }", "2:6", "`timeout` is a setting of servers");
    at("models:\n  a: { url: u, timeout: 3 }", "2:25", "`3` is no duration");
    at("models: [a]", "1:9", "expected a mapping");
    at("limits: { concurrency: 0 }", "1:24", "`concurrency` is at least 1");
    at("limits: { concurrency: many }", "1:24", "expected a whole number, at least 0");
    at("prices: { a: { prompt: -1, completion: 2 } }", "1:24", "a price is at least 0");
    at("prices: { a: { prompt: 1 } }", "1:16", "`completion` is missing");
    at("indexes: { a: { path: [x] } }", "1:17", "unknown key `path`\nhint: did you mean `paths`?");
    at("data: x\ndata: y\n", "2:1", "the key `data` stands twice\nhint: keep one");
    at("models:\n\tdefault: extractive\n", "2:2", "a tab indents\nhint: indent with spaces");
    at("- a\n", "1:1", "expected a mapping");
    at("models: { a: { url: u, stream: 3 } }", "1:32", "expected `true` or `false`");
    at("indexes: { a: { paths: x } }", "1:24", "expected a list");
    at("prices: { a: { prompt: x, completion: 1 } }", "1:24", "expected a number");
    at("data: [x]", "1:7", "expected a text");
    at("data: \"x\nmodels: {}\n", "1:7", "unclosed quote");
}

#[test]
fn the_schema_describes_every_key() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    for (key, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "`{key}` has no description");
    }
    let definitions = schema["$defs"].as_object().unwrap();
    assert!(
        definitions.contains_key("IndexConfig") && definitions.contains_key("ModelConfig"),
        "{definitions:?}"
    );
}
