//! Indexes over the API: documents come, are found, go; no tenant sees another's.

use anabranch::access::Scope;
use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::service::Service;

fn documents(list: &[(&str, &str)]) -> Json {
    let documents: Vec<Json> = list.iter().map(|(id, text)| json!({ "id": id, "text": text })).collect();
    json!({ "documents": documents })
}

async fn put(service: &Service, key: &str, list: &[(&str, &str)]) -> Json {
    let body = documents(list);
    let answer = service.ask("POST", "/v1/indexes/notes/documents").key(key).json(&body).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

async fn found(service: &Service, key: &str, by: &str, query: &str) -> Vec<String> {
    let body = json!({ "query": query, "by": by });
    let answer = service.ask("POST", "/v1/indexes/notes/search").key(key).json(&body).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let chunks = answer.json()["chunks"].as_array().unwrap().clone();
    chunks.iter().map(|chunk| chunk["doc"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn documents_come_are_found_in_every_way_and_go() {
    let service = Service::start("").await;
    let key = service.key("default", &Scope::ALL).await;
    let done =
        put(&service, &key, &[("otters/a.md", "Otters hold their breath."), ("b", "Owls see at night.")])
            .await;
    assert_eq!((&done["added"], &done["changed"], &done["failed"]), (&json!(2), &json!(0), &json!([])));
    for by in ["words", "vectors", "hybrid"] {
        assert_eq!(found(&service, &key, by, "otters breath").await[0], "otters/a.md", "{by}");
    }
    // The others stay, what is the same is left alone.
    let done = put(&service, &key, &[("b", "Owls see at night."), ("c", "Bees dance.")]).await;
    assert_eq!((&done["added"], &done["unchanged"]), (&json!(1), &json!(1)));
    let done = put(&service, &key, &[("b", "Bees sleep.")]).await;
    assert_eq!((&done["changed"], &done["added"]), (&json!(1), &json!(0)));
    assert_eq!(found(&service, &key, "words", "bees").await.len(), 2);
    let info = service.ask("GET", "/v1/indexes/notes").key(&key).send().await.json();
    assert_eq!((&info["documents"], &info["embedder"]), (&json!(3), &json!("default")));
    let delete = async || {
        service.ask("DELETE", "/v1/indexes/notes/documents/otters/a.md").key(&key).send().await.status
    };
    assert_eq!(delete().await, StatusCode::NO_CONTENT);
    assert_eq!(delete().await, StatusCode::NOT_FOUND);
    assert!(found(&service, &key, "words", "otters").await.is_empty());
    assert_eq!(found(&service, &key, "vectors", "bees").await.len(), 2, "the others have kept their vectors");
}

#[tokio::test]
async fn each_tenant_sees_its_own_part_and_nobody_elses() {
    let service = Service::start("").await;
    let (default, acme, other) = (
        service.key("default", &Scope::ALL).await,
        service.key("acme", &Scope::ALL).await,
        service.key("other", &Scope::ALL).await,
    );
    put(&service, &default, &[("d", "Bees of the house.")]).await;
    put(&service, &acme, &[("a", "Bees of Acme.")]).await;
    assert_eq!(found(&service, &acme, "words", "bees").await, ["a"]);
    assert_eq!(found(&service, &default, "words", "bees").await, ["d"]);
    assert_eq!(found(&service, &other, "hybrid", "bees").await, Vec::<String>::new());
    let gone = service.ask("DELETE", "/v1/indexes/notes/documents/a").key(&other).send().await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let body = json!({ "query": "bees", "namespace": "tenant.acme" });
    let refused = service.ask("POST", "/v1/indexes/notes/search").key(&default).json(&body).send().await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    let list = service.ask("GET", "/v1/indexes").key(&other).send().await.json();
    assert_eq!(list["items"][0]["documents"], 0);
}

#[tokio::test]
async fn a_flow_finds_the_documents_of_the_tenant_that_runs_it() {
    let service = Service::start("").await;
    let flow = "flow: look\ninputs: { q: text }\nnodes:\n  find: { op: retrieve.bm25, with: { index: notes }, in: { \
                query: inputs.q } }\noutputs: { chunks: find.chunks }\n";
    let mut keys = Vec::new();
    for (tenant, id) in [("default", "d"), ("acme", "a"), ("other", "o")] {
        let key = service.key(tenant, &Scope::ALL).await;
        let there = service.ask("PUT", "/v1/flows/look").key(&key).yaml(flow).send().await;
        assert_eq!(there.status, StatusCode::CREATED, "{}", there.text);
        put(&service, &key, &[(id, "Bees again.")]).await;
        keys.push((key, id));
    }
    // Twice: what the first run of a tenant left behind is not what the next one gets.
    for (key, id) in keys.iter().chain(&keys) {
        let body = json!({ "flow": "look", "inputs": { "q": "bees" } });
        let asked = service.ask("POST", "/v1/jobs").key(key).header("prefer", "wait=20").json(&body);
        let job = asked.send().await.json();
        assert_eq!(job["status"], "succeeded", "{job}");
        let chunks = job["outputs"]["chunks"].as_array().unwrap();
        let documents: Vec<&Json> = chunks.iter().map(|chunk| &chunk["doc"]).collect();
        assert_eq!(documents, [id], "{job}");
    }
}

#[tokio::test]
async fn many_writers_of_one_index_all_have_their_documents_in_it() {
    let service = Service::start("").await;
    let key = service.key("default", &Scope::ALL).await;
    let writers = (0..8).map(|n| {
        let (service, key) = (&service, &key);
        async move {
            let id = format!("doc-{n}");
            put(service, key, &[(&id, "Bees dance.")]).await
        }
    });
    for done in futures::future::join_all(writers).await {
        assert_eq!(done["added"], 1);
    }
    assert_eq!(found(&service, &key, "words", "bees").await.len(), 8);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_at_its_place() {
    let service = Service::start("limits: { documents_bytes: 1000 }\n").await;
    let key = service.key("default", &Scope::ALL).await;
    let ask = async |path: &str, body: Json| service.ask("POST", path).key(&key).json(&body).send().await;
    let put = "/v1/indexes/notes/documents";
    let nameless = ask(put, documents(&[("a", ""), (" ", "")])).await;
    assert_eq!(nameless.json()["errors"][0]["pointer"], "/documents/1/id");
    assert_eq!(ask(put, documents(&[])).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ask(put, documents(&[("a", &"x".repeat(1000))])).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let unknown = ask("/v1/indexes/note/documents", documents(&[("a", "b")])).await;
    assert_eq!(
        (unknown.status, &unknown.json()["hint"]),
        (StatusCode::NOT_FOUND, &json!("did you mean `notes`?"))
    );
    let search = "/v1/indexes/notes/search";
    for body in
        [json!({ "query": "" }), json!({ "query": "a", "top_k": 0 }), json!({ "query": "a", "by": "magic" })]
    {
        assert_eq!(ask(search, body).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}
