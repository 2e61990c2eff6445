//! Every endpoint of the `OpenAPI` document, with no key, with a key that lacks the scope, and with another tenant's objects.

use std::collections::BTreeMap;

use anabranch::access::Scope;
use anabranch::api::openapi;
use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::service::{Answer, Service};

/// Endpoints whose objects belong to nobody: the operators of the program, and the indexes, of which each tenant has its
/// own part.
const EVERYONES: [&str; 6] = [
    "/v1/operators/{name}",
    "/v1/indexes/{name}",
    "/v1/indexes/{name}/search",
    "/v1/indexes/{name}/documents",
    "/v1/models",
    "/v1/models/{model}",
];
/// A flow that waits for a person, so that its job is there as long as the test is.
const FLOW: &str = "flow: ask\ninputs: { question: text }\nnodes:\n  approve: { wait: { for: bool }, in: { q: inputs.question } }\n\
                    outputs: { yes: approve.value }\n";

/// An operation that needs a key.
struct Operation {
    method: String,
    path: String,
    /// All of which it needs.
    scopes: Vec<Scope>,
    kind: Option<String>,
    body: Option<Json>,
}

/// Every operation that needs a key, from the document.
fn operations() -> Vec<Operation> {
    let document = openapi::document();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let scopes = operation["security"][0]["key"].as_array().cloned().unwrap_or_default();
            if scopes.is_empty() {
                continue;
            }
            let scope = |word: &Json| {
                let word = word.as_str().unwrap();
                Scope::parse(word).unwrap_or_else(|| panic!("{path}: `{word}`"))
            };
            let content = operation["requestBody"]["content"].as_object();
            let kind = content.and_then(|content| {
                content
                    .contains_key("application/json")
                    .then_some("application/json")
                    .or_else(|| content.keys().next().map(String::as_str))
            });
            let schema = kind.map(|kind| operation["requestBody"]["content"][kind]["schema"].clone());
            found.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                scopes: scopes.iter().map(scope).collect(),
                kind: kind.map(str::to_owned),
                body: schema.map(|schema| match &**path {
                    // All of its fields may be left out, but not all at once.
                    "/v1/jobs/{id}/feedback" => json!({ "score": 1 }),
                    _ => least(&schema, &document, 0),
                }),
            });
        }
    }
    found
}

/// The smallest value that a schema takes.
fn least(schema: &Json, document: &Json, depth: usize) -> Json {
    if depth > 16 {
        return Json::Null;
    }
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.trim_start_matches('#');
        return least(document.pointer(pointer).unwrap(), document, depth + 1);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(first) = schema[key].as_array().and_then(|list| list.first()) {
            return least(first, document, depth + 1);
        }
    }
    if let Some(all) = schema["allOf"].as_array() {
        let mut merged = serde_json::Map::new();
        for part in all {
            merged.extend(least(part, document, depth + 1).as_object().cloned().unwrap_or_default());
        }
        return merged.into();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|list| list.first()) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or("object");
    match kind {
        "object" => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let fields = required.iter().map(|name| {
                let name = name.as_str().unwrap();
                (name.to_owned(), least(&schema["properties"][name], document, depth + 1))
            });
            fields.collect::<serde_json::Map<_, _>>().into()
        }
        "array" => match schema["minItems"].as_u64() {
            Some(1..) => json!([least(&schema["items"], document, depth + 1)]),
            _ => json!([]),
        },
        "string" => json!("x"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(false),
        _ => Json::Null,
    }
}

impl Operation {
    async fn send(&self, service: &Service, path: &str, key: Option<&str>) -> Answer {
        let mut asking = service.ask(&self.method, path);
        if let Some(key) = key {
            asking = asking.key(key);
        }
        match (&self.kind, &self.body) {
            (Some(kind), Some(Json::String(text))) => asking.body(kind, text.clone()).send().await,
            (Some(kind), Some(body)) => asking.body(kind, body.to_string()).send().await,
            _ => asking.send().await,
        }
    }

    /// The path with something in the place of its parameters.
    fn at(&self, objects: &BTreeMap<&str, String>) -> String {
        let mut path = self.path.clone();
        let group = self.path.split('/').nth(2).unwrap_or_default().to_owned();
        while let Some((before, rest)) = path.clone().split_once('{') {
            let (_, after) = rest.split_once('}').unwrap();
            // The first names an object of the group, whatever follows is inside of it.
            let is_first = !before.trim_start_matches("/v1/").trim_end_matches('/').contains('/');
            let object = objects.get(&*group).filter(|_| is_first).map_or("approve", String::as_str);
            path = format!("{before}{object}{after}");
        }
        path
    }
}

fn but(scope: Scope) -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|other| *other != scope).collect()
}

#[tokio::test]
async fn without_a_key_every_endpoint_answers_401() {
    let service = Service::start("").await;
    service.key("acme", &Scope::ALL).await;
    let mut asked = 0;
    for operation in operations() {
        for key in [None, Some("anb_no_such_key"), Some("sk-of-another-service")] {
            let answer = operation.send(&service, &operation.at(&BTreeMap::new()), key).await;
            let (method, path) = (&operation.method, &operation.path);
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}: {}", answer.text);
            asked += 1;
        }
    }
    assert!(asked > 60, "{asked}");
}

#[tokio::test]
async fn with_a_key_that_lacks_the_scope_every_endpoint_answers_403() {
    let service = Service::start("").await;
    let mut keys = BTreeMap::new();
    for scope in Scope::ALL {
        keys.insert(scope, service.key("acme", &but(scope)).await);
    }
    for operation in operations() {
        for scope in &operation.scopes {
            let answer = operation.send(&service, &operation.at(&BTreeMap::new()), Some(&keys[scope])).await;
            let (method, path) = (&operation.method, &operation.path);
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path}: {}", answer.text);
            assert!(answer.text.contains(scope.as_str()), "{method} {path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn another_tenants_objects_are_not_there() {
    let service = Service::start("").await;
    let (ours, theirs) = (service.key("acme", &Scope::ALL).await, service.key("other", &Scope::ALL).await);
    let objects = objects(&service, &ours).await;
    let (mut asked, mut others) = (Vec::new(), Vec::new());
    for operation in operations().into_iter().filter(|operation| operation.path.contains('{')) {
        let (method, path) = (&operation.method, &operation.path);
        let group = path.split('/').nth(2).unwrap_or_default();
        if EVERYONES.contains(&&**path) || !objects.contains_key(group) {
            continue;
        }
        // A flow can be put by whoever has none of this name: it is another flow then.
        if method == "PUT" && group == "flows" {
            continue;
        }
        let answer = operation.send(&service, &operation.at(&objects), Some(&theirs)).await;
        if answer.status != StatusCode::NOT_FOUND {
            others.push(format!("{method} {path}: {} {}", answer.status, answer.text));
        }
        for secret in [&ours, &theirs] {
            assert!(!answer.text.contains(secret), "{method} {path}");
        }
        asked.push(format!("{method} {path}"));
    }
    assert!(others.is_empty(), "{others:#?}");
    assert!(asked.len() > 15, "{asked:?}");
    // All of it is still there for whoever it belongs to.
    for (group, id) in &objects {
        if *group == "tenants" {
            continue;
        }
        let answer = service.ask("GET", &format!("/v1/{group}/{id}")).key(&ours).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{group}: {}", answer.text);
    }
}

#[tokio::test]
async fn another_tenants_objects_are_on_no_list() {
    let service = Service::start("").await;
    let (ours, theirs) = (service.key("acme", &Scope::ALL).await, service.key("other", &Scope::ALL).await);
    let objects = objects(&service, &ours).await;
    for operation in operations() {
        if operation.method != "GET"
            || operation.path.contains('{')
            || operation.path.starts_with("/v1/jobs/")
        {
            continue;
        }
        let answer = operation.send(&service, &operation.path, Some(&theirs)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}: {}", operation.path, answer.text);
        for id in objects.values() {
            assert!(!answer.text.contains(&format!("\"{id}\"")), "{}: {}", operation.path, answer.text);
        }
    }
}

/// An object of each group that belongs to whoever has this key, by the group's part of the path.
async fn objects(service: &Service, key: &str) -> BTreeMap<&'static str, String> {
    let put = service.ask("PUT", "/v1/flows/ask").key(key).yaml(FLOW).send().await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    let made = async |path: &str, body: Json| {
        let answer = service.ask("POST", path).key(key).json(&body).send().await;
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text);
        answer.json()["id"].as_str().unwrap_or_else(|| panic!("{path}: {}", answer.text)).to_owned()
    };
    BTreeMap::from([
        ("flows", "ask".to_owned()),
        ("jobs", made("/v1/jobs", json!({ "flow": "ask", "inputs": { "question": "?" } })).await),
        ("keys", made("/v1/keys", json!({ "name": "k", "scopes": ["read"] })).await),
        ("tenants", "acme".to_owned()),
    ])
}
