//! What is read from `anabranch.yaml`, and what is said about a wrong one.

use std::num::NonZeroUsize;
use std::time::Duration;

use anabranch_backends::pool::BatchSettings;

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
embedders:
  default:
    url: http://localhost:8080
    api: tei
    batch_size: 64
    concurrency: 2
    batch: { max_texts: 16 }
    query_prefix: "query: "
    dimensions: 256
    timeout: 5s
  words: hashed
  local: { folder: models/minilm, document_prefix: "passage: " }
rerankers:
  default: { url: http://localhost:8081, api: cohere, model: bge, api_key: "${env:KEY}" }
  words: lexical
indexes:
  docs: { paths: [README.md, docs], flow: chunk.yaml }
  bare: { embedder: none }
  shared: { embedder: local, store: { postgres: postgres://me@db/rag, schema: notes } }
  far: { store: { qdrant: http://localhost:6333, collection: c, api_key: "${env:KEY}" } }
data: ./kept
prices:
  default: { prompt: 0.15, cached: 0.075, completion: 0.6 }
  embedders.default: { prompt: 0.02 }
store: { url: "sqlite:kept/jobs.db", retention: 7d, durability: step }
server: { listen: "0.0.0.0:80", flows: flows, public_url: https://rag.example.org, drain: 5s }
limits: { concurrency: 8, queued: 50 }
"#;

#[test]
fn everything_that_can_be_set_is_read() {
    let config = parse(WHOLE);
    let key = || Some(SecretRef::Env("KEY".into()));
    let server = ServerConfig {
        model: Some("qwen".into()),
        api_key: key(),
        timeout: Some(Duration::from_mins(2)),
        ..ServerConfig::new("http://localhost:8000")
    };
    let chat = ChatConfig {
        server,
        idle_timeout: Some(Duration::from_millis(500)),
        stream: Some(false),
        ..ChatConfig::new("http://localhost:8000")
    };
    assert_eq!(config.models["default"], ModelConfig::Server(Box::new(chat)));
    assert_eq!(config.models["small"], ModelConfig::Extractive);
    assert_eq!(config.models["canned"], ModelConfig::Replay { path: "tape.jsonl".into(), model: None });
    assert_eq!(config.models["demo"], ModelConfig::Script("rules.yaml".into()));
    assert_eq!(config.indexes["docs"].paths, [PathBuf::from("README.md"), PathBuf::from("docs")]);
    let embedder = EmbedderServer {
        server: ServerConfig {
            timeout: Some(Duration::from_secs(5)),
            ..ServerConfig::new("http://localhost:8080")
        },
        api: EmbedderApi::Tei,
        sending: Sending {
            batch_size: Some(64),
            concurrency: Some(2),
            batch: BatchSettings { max_texts: NonZeroUsize::new(16).unwrap(), ..BatchSettings::default() },
        },
        prefixes: Prefixes { query: Some("query: ".into()), document: None },
        dimensions: Some(256),
    };
    assert_eq!(config.embedders["default"], EmbedderConfig::Server(embedder));
    assert_eq!(config.embedders["words"], EmbedderConfig::Hashed);
    let prefixes = Prefixes { query: None, document: Some("passage: ".into()) };
    let folder = EmbedderFolder { path: "models/minilm".into(), prefixes };
    assert_eq!(config.embedders["local"], EmbedderConfig::Folder(folder));
    let RerankerConfig::Server(reranker) = &config.rerankers["default"] else { panic!() };
    assert_eq!((reranker.api, reranker.server.model.as_deref()), (RerankerApi::Cohere, Some("bge")));
    assert_eq!(config.rerankers["words"], RerankerConfig::Lexical);
    assert_eq!(config.indexes["docs"].embedder.name().unwrap().0.as_ref(), "default");
    assert_eq!(config.indexes["bare"].embedder.name(), None);
    let StoreConfig::Postgres(postgres) = &config.indexes["shared"].store else { panic!() };
    assert_eq!(postgres.url, PostgresUrl::Plain("postgres://me@db/rag".into()));
    let StoreConfig::Qdrant(qdrant) = &config.indexes["far"].store else { panic!() };
    assert_eq!((&qdrant.server.api_key, qdrant.collection.as_deref()), (&key(), Some("c")));
    assert_eq!(config.prices["default"].cached, Some(0.075));
    assert_eq!(config.prices["embedders.default"].completion, None);
    assert_eq!(config.store.url, Some(StoreUrl::Sqlite("kept/jobs.db".into())));
    assert_eq!(config.store.retention, Duration::from_hours(7 * 24));
    assert_eq!(config.store.durability, Durability::Step);
    assert_eq!(config.server.listen.port(), 80);
    assert_eq!(config.server.drain, Duration::from_secs(5));
    assert_eq!((config.limits.queued, config.limits.requests), (50, 1024));
    assert_eq!((config.data, config.limits.concurrency), (PathBuf::from("./kept"), 8));
}

#[test]
fn nothing_set_is_the_default() {
    for text in ["", "# nothing\n", "---\n", "data: ./.anabranch\n"] {
        assert_eq!(parse(text), Config::default());
    }
    assert_eq!(Config::default().models["default"], ModelConfig::Extractive);
    assert_eq!(Config::default().embedders["default"], EmbedderConfig::Hashed);
    assert_eq!(Config::default().rerankers["default"], RerankerConfig::Lexical);
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
    assert_eq!(config.store.url, Some(StoreUrl::Sqlite(inside("kept/jobs.db"))));
    assert_eq!(config.server.flows, Some(inside("flows")));
    assert_eq!(config.models["demo"], ModelConfig::Script(inside("rules.yaml")));
    let EmbedderConfig::Folder(folder) = &config.embedders["local"] else { panic!() };
    assert_eq!(folder.path, inside("models/minilm"));
    let ModelConfig::Server(chat) = &config.models["default"] else { panic!() };
    assert_eq!(chat.server.api_key, Some(SecretRef::File(inside("key"))));
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
        "anabranch.yaml:1:11: unknown key `x`\nhint: there are: `batch`, `body_bytes`, `body_time`, `concurrency`, \
         `cost_per_day`, `documents_bytes`, `queued`, `requests`, `requests_per_minute`, `running`, `streams`, \
         `tenant_cost_per_day` and 4 more"
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
    at("limits: { concurrency: 0 }", "1:24", "expected a whole number, at least 1");
    at("limits: { concurrency: many }", "1:24", "expected a whole number, at least 0");
    at("prices: { a: { prompt: -1, completion: 2 } }", "1:24", "a price is at least 0");
    at("prices: { a: { prompt: 1 } }", "1:14", "`completion` is missing");
    at("indexes: { a: { path: [x] } }", "1:17", "unknown key `path`\nhint: did you mean `paths`?");
    at("data: x\ndata: y\n", "2:1", "the key `data` stands twice\nhint: keep one");
    at("models:\n\tdefault: extractive\n", "2:2", "a tab indents\nhint: indent with spaces");
    at("- a\n", "1:1", "expected a mapping");
    at("models: { a: { url: u, stream: 3 } }", "1:32", "expected `true` or `false`");
    at("indexes: { a: { paths: x } }", "1:24", "expected a list");
    at("prices: { a: { prompt: x, completion: 1 } }", "1:24", "expected a number");
    at("data: [x]", "1:7", "expected a text");
    at("store: { url: postgres://me:pw@db/x }", "1:15", "a password does not stand in this file");
    at("store: { url: memry }", "1:15", "this is no address of a store\nhint: did you mean `memory`?");
    at("store: { retention: 30 }", "1:21", "`30` is no duration");
    at("store: { durability: steps }", "1:22", "unknown value `steps`\nhint: did you mean `step`?");
    at("server: { listen: here }", "1:19", "");
    at("data: \"x\nmodels: {}\n", "1:7", "unclosed quote");
}

#[test]
fn a_wrong_encoder_or_store_is_named_with_its_place() {
    let at = |text: &str, place: &str, message: &str| {
        let error = error(text);
        assert!(error.starts_with(&format!("anabranch.yaml:{place}: {message}")), "{text}: {error}");
    };
    at("embedders: { a: hash }", "1:17", "there is no kind of embedder `hash`\nhint: did you mean `hashed`?");
    at(
        "embedders: { a: http://h }",
        "1:17",
        "there is no kind of embedder `http://h`\nhint: a server is a map",
    );
    at(
        "embedders:\n  a: { model: f }",
        "2:6",
        "the embedder has neither `url` nor `folder`\nhint: `url: http",
    );
    at("embedders:\n  a: { url: u, folder: f }", "2:6", "an embedder has only one of");
    at("embedders:\n  a: { folder: f, api: tei }", "2:6", "`api` is a setting of servers");
    at("embedders:\n  a: { url: u, api: tie }", "2:21", "unknown value `tie`\nhint: did you mean `tei`?");
    at("embedders:\n  a: { url: u, batch_size: 0 }", "2:28", "expected a whole number, at least 1");
    at(
        "embedders:\n  a: { url: u, dimensons: 3 }",
        "2:16",
        "unknown key `dimensons`\nhint: did you mean `dim",
    );
    at("embedders:\n  a: { url: u, api_key: sk-1 }", "2:25", "a secret does not stand in this file");
    at("rerankers: { a: lexicon }", "1:17", "there is no kind of reranker `lexicon`\nhint: did you mean");
    at("rerankers:\n  a: { api: tei }", "2:6", "the reranker has no `url`");
    at(
        "indexes:\n  a: { store: embeded }",
        "2:15",
        "there is no kind of store `embeded`\nhint: did you mean",
    );
    at("indexes:\n  a: { store: {} }", "2:15", "the store has neither `postgres` nor `qdrant`");
    at("indexes:\n  a: { store: { qdrant: u, schema: s } }", "2:15", "`schema` is a setting of `postgres`");
    at(
        "indexes:\n  a: { store: { postgres: postgres://me:pw@db/x } }",
        "2:27",
        "a password does not stand in this file",
    );
    at("indexes:\n  a: { store: { postgres: db } }", "2:27", "this is no address of a PostgreSQL database");
}

#[test]
fn everything_that_contradicts_something_else_is_told_at_once() {
    let text = "indexes:\n  a: { embedder: smal }\nembedders: { small: hashed }\n\
                prices: { embedders.big: { prompt: 1 }, default: { prompt: 1 } }\n";
    assert_eq!(
        error(text),
        "anabranch.yaml:2:18: there is no embedder `smal`\nhint: did you mean `small`?\n\
         anabranch.yaml:4:26: there is nothing called `embedders.big` to price\n\
         hint: did you mean `embedders.small`?\n\
         anabranch.yaml:4:50: `completion` is missing"
    );
}

#[test]
fn the_schema_describes_every_key() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    for (key, property) in schema["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "`{key}` has no description");
    }
    let definitions = schema["$defs"].as_object().unwrap();
    for name in [
        "ModelFields",
        "EmbedderFields",
        "RerankerFields",
        "IndexConfig",
        "StoreFields",
        "PriceConfig",
        "StoreSection",
        "ServerSection",
        "LimitsConfig",
    ] {
        for (key, property) in definitions[name]["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "`{name}.{key}` has no description");
        }
    }
    let validator = definitions["EmbedderConfig"]["anyOf"].as_array().unwrap();
    assert_eq!(validator[0]["const"], "hashed");
}

#[test]
fn a_model_on_several_servers_is_read() {
    let config = parse(
        "models:\n  default:\n    replicas:\n    - { url: http://a, weight: 2, max_in_flight: 64 }\n    \
         - { url: http://b, max_in_flight_tokens: 90000 }\n    max_in_flight: 8\n    policy: session\n    \
         breaker: { failures: 2, cooldown: 500ms }\n    probe: {}\n    single_flight: false\n    \
         response_cache: { ttl: 5m, disk: { max_entries: 7 } }\n    warmup: { min_tokens: 1024 }\n    hedge: {}\n",
    );
    let ModelConfig::Server(chat) = &config.models["default"] else { panic!() };
    let settings = |idx: usize| chat.replicas[idx].settings(chat.replica);
    assert_eq!((settings(0).weight, settings(0).max_in_flight.get()), (2.0, 64));
    assert_eq!((settings(1).weight, settings(1).max_in_flight.get()), (1.0, 8));
    assert_eq!(settings(1).max_in_flight_tokens.unwrap().get(), 90_000);
    assert_eq!(
        (chat.pool.breaker.failures.get(), chat.pool.breaker.cooldown),
        (2, Duration::from_millis(500))
    );
    assert!(chat.pool.probe.is_some() && chat.affinity_header.is_none() && !chat.pool.single_flight);
    let cache = chat.pool.response_cache.as_ref().unwrap();
    assert_eq!(cache.ttl, Duration::from_mins(5));
    assert_eq!(cache.disk.as_ref().map(|disk| disk.max_entries.get()), Some(7));
    assert_eq!(chat.pool.warmup.min_tokens.get(), 1024);
    assert!(chat.pool.warmup.enabled && chat.pool.hedge.is_some());
    let config = parse("models: { default: { url: http://router, policy: external } }");
    let ModelConfig::Server(chat) = &config.models["default"] else { panic!() };
    assert_eq!(chat.affinity_header.as_deref(), Some("x-session-id"));
    assert!(chat.pool.single_flight && chat.pool.warmup.enabled, "unless they are turned off");
    assert!(chat.pool.response_cache.is_none() && chat.pool.hedge.is_none(), "unless they are turned on");
}

#[test]
fn servers_that_cannot_be_a_pool_are_refused() {
    for (text, expected) in [
        ("{ url: http://a, replicas: [{ url: http://b }] }", "only one of `url` and `replicas`"),
        ("{ replicas: [] }", "`replicas` are 0 servers, not 1 to 64"),
        ("{ replicas: [{ url: http://a }, { url: http://a }] }", "`http://a` is among the `replicas` twice"),
        ("{ replicas: [{ url: http://a, weight: -1 }] }", "the `weight` -1 of `http://a` is not within"),
        ("{ replicas: [{ url: http://a, wieght: 1 }] }", "did you mean `weight`?"),
        ("{ url: http://a, affinity: { exploration: 2 } }", "`affinity.exploration` is a share"),
        ("{ url: http://a, queue: { max_wait: soon } }", "`soon` is no duration"),
        ("{ url: http://a, breaker: { cooldown: 1m } }", "`breaker.max_cooldown` is no shorter"),
        ("{ url: http://a, policy: fastest }", "fastest"),
        ("{ script: rules.yaml, queue: {} }", "`queue` is a setting of servers"),
        ("{ script: rules.yaml, response_cache: {} }", "`response_cache` is a setting of servers"),
        ("{ url: http://a, response_cache: { ttl: 0s } }", "`0s` is no duration"),
        ("{ url: http://a, response_cache: { disk: { folder: x } } }", "unknown key `folder`"),
        ("{ url: http://a, hedge: {} }", "`hedge` needs a second server"),
        (
            "{ replicas: [{ url: http://a }, { url: http://b }], hedge: { percentile: 0.1 } }",
            "`hedge.percentile` is",
        ),
        (
            "{ replicas: [{ url: http://a }, { url: http://b }], hedge: { budget: 5 } }",
            "`hedge.budget` is a share",
        ),
        (
            "{ replicas: [{ url: http://a }, { url: http://b }], hedge: { window: 10 } }",
            "`hedge.min_samples` is no",
        ),
        ("{ replay: tape.jsonl, single_flight: true }", "`single_flight` is a setting of servers"),
    ] {
        let error = error(&format!("models: {{ default: {text} }}"));
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_model_counts_by_a_table_or_by_a_file_beside_the_configuration() {
    let tokenizer = |text: &str| {
        let mut config = Config::parse(FILE, text).unwrap();
        config.rebase(Path::new("etc"));
        match config.models.remove("default") {
            Some(ModelConfig::Server(chat)) => chat.tokenizer.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let of =
        |name: &str| tokenizer(&format!("models: {{ default: {{ url: http://h, tokenizer: {name} }} }}"));
    assert_eq!(of("o200k_base"), TokenizerConfig::Table("o200k_base".into()));
    assert_eq!(of("qwen/tokenizer.json"), TokenizerConfig::File("etc/qwen/tokenizer.json".into()));
    let error = Config::parse(FILE, "models: { default: { url: http://h, tokenizer: gpt9 } }")
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no tokenizer `gpt9`") && error.contains("`o200k_base`"), "{error}");
}

#[test]
fn batches_that_cannot_be_are_refused() {
    for (text, expected) in [
        ("{ url: http://a, batch: { max_texts: 0 } }", "nonzero"),
        ("{ url: http://a, batch: { max_wait: 2s } }", "`batch.max_wait` is 2s, and can be at most 1s"),
        ("{ url: http://a, batch: { max_wait: 0s } }", "`0s` is no duration"),
        ("{ url: http://a, batch: { size: 3 } }", "unknown key `size`"),
    ] {
        for section in ["embedders", "rerankers"] {
            let error = error(&format!("{section}: {{ default: {text} }}"));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
    let error = error("embedders: { default: { folder: models/minilm, batch: {} } }");
    assert!(error.contains("`batch` is a setting of servers"), "{error}");
}
