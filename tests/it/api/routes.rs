//! Router and document hold the same list: what is documented is answered, and nothing else is.

use reqwest::Method;
use serde_json::{Value as Json, json};

use super::harness::{Answer, Service};

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_documented_is_routed_and_nothing_else_is() {
    let service = Service::start().await;
    let document = anabranch::api::openapi::document();
    let mut n_asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut concrete = path.clone();
        while let (Some(from), Some(to)) = (concrete.find('{'), concrete.find('}')) {
            concrete.replace_range(from..=to, "x");
        }
        for method in METHODS {
            let is_known = item.get(method.as_str().to_lowercase()).is_some();
            // Nothing is changed by it: whoever reads a body finds none that it takes.
            let request = service.request(method.clone(), &concrete).header("content-type", "x/y");
            let response = request.body("-").send().await.unwrap();
            let (status, allow) = (response.status().as_u16(), response.headers().contains_key("allow"));
            if path.starts_with("/mcp") && !is_known {
                // What this interface takes is decided by its own standard.
                continue;
            }
            if is_known {
                let answer = Answer::of(response).await;
                assert_ne!(status, 405, "{method} {path}: {answer:?}");
                assert_ne!(answer.body["code"], "no_route", "{method} {path}");
            } else {
                // Another pattern may take the same path, such as `/v1/jobs/diff` beside `/v1/jobs/{id}`.
                let is_pattern = document["paths"].as_object().unwrap().iter().any(|(other, item)| {
                    other != path
                        && item.get(method.as_str().to_lowercase()).is_some()
                        && matches(other, &concrete)
                });
                assert!(is_pattern || (status == 405 && allow), "{method} {path} gives {status}");
            }
            n_asked += 1;
        }
    }
    assert!(n_asked > 200, "{n_asked}");
    for path in
        ["/v1", "/v1/", "/v2/jobs", "/v1/job", "/v1/jobs/a/b", "/v1/batches/a/b", "/api", "/v1/flows/a/b/c"]
    {
        for method in METHODS {
            let answer = Answer::of(service.request(method.clone(), path).send().await.unwrap()).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        }
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    pattern.len() == path.len()
        && pattern.iter().zip(&path).all(|(one, other)| one == other || one.starts_with('{'))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_a_service_has_an_endpoint_for_each_flow_with_its_inputs() {
    let service = Service::start().await;
    let document = service.get("/openapi.json").await.body;
    for flow in ["quick", "slow", "steps", "broken", "asking"] {
        let operation = &document["paths"][format!("/v1/flows/{flow}/jobs")]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        let schema = document.pointer(schema.as_str().unwrap().trim_start_matches('#')).unwrap();
        assert_eq!(schema["properties"]["inputs"]["properties"]["n"]["type"], "integer", "{schema}");
        assert_eq!(schema["properties"]["inputs"]["additionalProperties"], false);
        let names = |json: &Json| {
            json["parameters"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect()
        };
        let names: Vec<Json> = names(operation);
        assert!(!names.contains(&json!("name")) && names.contains(&json!("Prefer")), "{operation}");
    }
    assert!(document["paths"]["/v1/flows/{name}/jobs"]["post"].is_object());
    let put = service.request(Method::PUT, "/v1/flows/fresh").header("content-type", "application/yaml");
    let yaml = "flow: fresh\ninputs: { word: text }\nnodes:\n  a: { op: test.numbers, with: { n: 2 } }\noutputs:\n  n: a.numbers\n";
    let put = Answer::of(put.body(yaml).send().await.unwrap()).await;
    assert!(put.status < 300, "{put:?}");
    let document = service.get("/openapi.json").await.body;
    let schema = &document["components"]["schemas"]["JobRequest.fresh"];
    assert_eq!(
        (&schema["required"], &schema["properties"]["inputs"]["required"]),
        (&json!(["inputs"]), &json!(["word"]))
    );
}
