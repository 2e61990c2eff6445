//! Keys: made, shown once, used, rotated, revoked; tenants and rates.

use anabranch::access::Scope;
use axum::http::StatusCode;
use serde_json::json;

use super::service::Service;

#[tokio::test]
async fn a_key_is_shown_once_works_and_is_revoked_at_once() {
    let service = Service::start("").await;
    let admin = service.key("acme", &[Scope::Admin]).await;
    let body = json!({ "name": "ci", "scopes": ["read"], "expires_at": "2999-01-01T00:00:00Z" });
    let made = service.ask("POST", "/v1/keys").key(&admin).json(&body).send().await;
    assert_eq!((made.status, made.header("cache-control")), (StatusCode::CREATED, "no-store"));
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    assert!(key.starts_with("anb_"));
    assert_eq!(service.ask("GET", "/v1/flows").key(&key).send().await.status, StatusCode::OK);

    for path in ["/v1/keys".to_owned(), format!("/v1/keys/{id}")] {
        let shown = service.ask("GET", &path).key(&admin).send().await;
        assert_eq!(shown.status, StatusCode::OK);
        assert!(shown.text.contains(&id) && !shown.text.contains(&key[4..20]), "{}", shown.text);
        assert!(!shown.text.contains("hash"), "{}", shown.text);
    }
    let revoked = service.ask("DELETE", &format!("/v1/keys/{id}")).key(&admin).send().await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let after = service.ask("GET", "/v1/flows").key(&key).send().await;
    assert_eq!((after.status, &*after.code()), (StatusCode::UNAUTHORIZED, "no_key"));
    assert!(!after.text.contains(&key));
    let shown = service.ask("GET", &format!("/v1/keys/{id}")).key(&admin).send().await;
    assert!(shown.json()["revoked_at"].is_string());
}

#[tokio::test]
async fn a_rotated_key_is_another_with_the_same_rights() {
    let service = Service::start("").await;
    let admin = service.key("acme", &[Scope::Admin]).await;
    let body = json!({ "name": "ci", "scopes": ["read"] });
    let made = service.ask("POST", "/v1/keys").key(&admin).json(&body).send().await.json();
    let (old, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let rotate = format!("/v1/keys/{id}/rotate");
    let graceful = service.ask("POST", &rotate).key(&admin).json(&json!({ "grace_secs": 60 })).send().await;
    assert_eq!(graceful.status, StatusCode::CREATED, "{}", graceful.text);
    assert_eq!(service.ask("GET", "/v1/flows").key(old).send().await.status, StatusCode::OK);
    let at_once = service.ask("POST", &rotate).key(&admin).json(&json!({})).send().await.json();
    assert_eq!(service.ask("GET", "/v1/flows").key(old).send().await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(at_once["scopes"], json!(["read"]));
    assert_ne!(at_once["id"], made["id"]);
    let new = at_once["key"].as_str().unwrap();
    assert_eq!(service.ask("GET", "/v1/flows").key(new).send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused_at_their_place() {
    let service = Service::start("").await;
    let admin = service.key("acme", &[Scope::Admin]).await;
    for (body, pointer) in [
        (json!({ "name": " ", "scopes": ["read"] }), "/name"),
        (json!({ "name": "a", "scopes": [] }), "/scopes"),
        (json!({ "name": "a", "scopes": ["root"] }), "/scopes/0"),
        (json!({ "name": "a", "scopes": ["read"], "expires_at": "soon" }), "/expires_at"),
        (json!({ "name": "a", "scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z" }), "/expires_at"),
    ] {
        let answer = service.ask("POST", "/v1/keys").key(&admin).json(&body).send().await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.text);
    }
}

#[tokio::test]
async fn admins_of_the_default_tenant_manage_the_others() {
    let service = Service::start("server: { root_key: '${env:ROOT}' }\n").await;
    let root = "a root key that is long enough to be one";
    let body = json!({ "name": "first", "scopes": ["admin", "read"], "tenant": "acme" });
    let made = service.ask("POST", "/v1/keys").key(root).json(&body).send().await;
    assert_eq!((made.status, made.json()["tenant"].as_str()), (StatusCode::CREATED, Some("acme")));
    let acme = made.json()["key"].as_str().unwrap().to_owned();
    let elsewhere = json!({ "name": "x", "scopes": ["read"], "tenant": "other" });
    let refused = service.ask("POST", "/v1/keys").key(&acme).json(&elsewhere).send().await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);

    let limits = json!({ "weight": 2, "max_running": 8, "max_queued": 100, "requests_per_minute": 2 });
    let put = service.ask("PUT", "/v1/tenants/acme").key(root).json(&limits).send().await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text);
    assert_eq!(service.ask("GET", "/v1/tenants").key(root).send().await.json()["items"][0]["name"], "acme");
    let own = service.ask("GET", "/v1/tenants/acme").key(&acme).send().await;
    assert_eq!((own.status, own.json()["max_queued"].as_u64()), (StatusCode::OK, Some(100)));
    let mut wrong = limits.clone();
    wrong["weight"] = json!(0);
    let refused = service.ask("PUT", "/v1/tenants/acme").key(root).json(&wrong).send().await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/weight");
    // The second of two in a minute was the refused one for another tenant; this one is over the rate.
    let own = service.ask("PUT", "/v1/tenants/acme").key(&acme).json(&limits).send().await;
    assert_eq!(own.status, StatusCode::FORBIDDEN, "{}", own.text);
    let over = service.ask("GET", "/v1/tenants/acme").key(&acme).send().await;
    assert_eq!((over.status, &*over.code()), (StatusCode::TOO_MANY_REQUESTS, "too_many"));
}

#[tokio::test]
async fn every_answer_to_a_key_tells_what_is_left_of_its_rate() {
    let service = Service::start("limits: { requests_per_minute: 2 }\n").await;
    let key = service.key("acme", &[Scope::Read]).await;
    let first = service.ask("GET", "/v1/flows").key(&key).send().await;
    assert_eq!(first.header("ratelimit-policy"), "\"key\";q=2;w=60, \"tenant\";q=240000;w=60");
    assert!(first.header("ratelimit").starts_with("\"key\";r=1;t=30, \"tenant\";r=239999;t="));
    let missing = service.ask("GET", "/v1/flows/none").key(&key).send().await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.header("ratelimit").starts_with("\"key\";r=0;t="), "errors tell it, too");
    let over = service.ask("GET", "/v1/flows").key(&key).send().await;
    assert_eq!(over.status, StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = over.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert!(over.header("ratelimit").starts_with("\"key\";r=0;t="));
    let other = service.key("acme", &[Scope::Read]).await;
    assert_eq!(service.ask("GET", "/v1/flows").key(&other).send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn callers_without_a_key_are_let_in_and_not_counted_while_there_is_none() {
    let service = Service::start("limits: { requests_per_minute: 1 }\n").await;
    for _ in 0..3 {
        let answer = service.ask("GET", "/v1/flows").send().await;
        assert_eq!((answer.status, answer.header("ratelimit")), (StatusCode::OK, ""));
    }
    let body = json!({ "name": "first", "scopes": ["read"] });
    assert_eq!(service.ask("POST", "/v1/keys").json(&body).send().await.status, StatusCode::CREATED);
    assert_eq!(service.ask("GET", "/v1/flows").send().await.status, StatusCode::UNAUTHORIZED);
}
