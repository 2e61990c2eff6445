//! Calls of HTTP tools, over real sockets.

use std::sync::Mutex;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get, post};
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

type Seen = Arc<Mutex<Vec<String>>>;

/// A server that notes what it is asked: `POST /path?query {"body": 1} key=secret`. Its address, and its notes.
async fn server(router: Router) -> (String, Seen) {
    let seen = Seen::default();
    let notes = seen.clone();
    let router =
        router.layer(axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
            let notes = notes.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let mut note = format!("{} {}", parts.method, parts.uri);
                if !body.is_empty() {
                    note.push(' ');
                    note.push_str(&String::from_utf8_lossy(&body));
                }
                for name in ["x-key", "x-trace", "idempotency-key"] {
                    if let Some(value) = parts.headers.get(name) {
                        note.push_str(&format!(" {name}={}", value.to_str().unwrap()));
                    }
                }
                notes.lock().unwrap().push(note);
                next.run(Request::from_parts(parts, body.into())).await
            }
        }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, seen)
}

/// Lets calls go to this machine, by its address.
fn reach() -> Reach {
    Reach { guard: Guard::new(["127.0.0.1".parse().unwrap()]), ..Reach::default() }
}

fn settings(method: &str, url: &str, properties: impl Into<Value>) -> HttpSettings {
    let properties = properties.into();
    let required: Vec<String> = properties.as_object().unwrap().keys().cloned().collect();
    HttpSettings {
        spec: ToolSpec {
            name: "weather".into(),
            description: "Tells the weather.".into(),
            schema: json!({ "type": "object", "properties": properties, "required": required }),
        },
        method: method.to_owned(),
        url: url.to_owned(),
        placement: None,
        idempotent: None,
    }
}

fn tool(reach: Reach, settings: HttpSettings) -> HttpTool {
    HttpServer::new(reach).unwrap().tool(settings).unwrap()
}

async fn call(tool: &HttpTool, arguments: Value) -> Result<ToolAnswer, Error> {
    let Value::Object(arguments) = arguments else { panic!("no object") };
    tool.call(&arguments, &Call::keyed("k1")).await
}

#[tokio::test]
async fn arguments_go_into_path_query_header_and_body() {
    let (url, seen) =
        server(Router::new().fallback(any(|| async { axum::Json(json!({ "degrees": 18 })) }))).await;
    let properties = json!({ "city": {}, "days": {}, "tags": {}, "x-trace": {} });
    let placement = Placement { header: ["x-trace".to_owned()].into(), ..Placement::default() };
    let settings = |method: &str, placement| HttpSettings {
        placement: Some(placement),
        ..settings(method, &format!("{url}/v1/{{city}}?units=c"), properties.clone())
    };
    let arguments = json!({ "city": "São Paulo/..", "days": 2, "tags": ["a b", "c"], "x-trace": "t" });
    let reach = || Reach { headers: vec![("X-Key".into(), "secret".into())], ..reach() };
    let answer = call(&tool(reach(), settings("GET", placement.clone())), arguments.clone()).await.unwrap();
    assert_eq!((answer.value.clone(), &*answer.words()), (json!({ "degrees": 18 }), r#"{"degrees":18}"#));
    let in_body = Placement { rest_in_body: true, query: ["days".to_owned()].into(), ..placement };
    call(&tool(reach(), settings("POST", in_body)), arguments.clone()).await.unwrap();
    let whole = Placement { body: Some("tags".to_owned()), ..Placement::default() };
    call(&tool(reach(), settings("PUT", whole)), json!({ "city": "x", "tags": [1], "days": null }))
        .await
        .unwrap();
    let expected = [
        "GET /v1/S%C3%A3o%20Paulo%2F..?units=c&days=2&tags=a+b&tags=c x-key=secret x-trace=t idempotency-key=k1",
        "POST /v1/S%C3%A3o%20Paulo%2F..?units=c&days=2 {\"tags\":[\"a b\",\"c\"]} x-key=secret x-trace=t idempotency-key=k1",
        "PUT /v1/x?units=c [1] x-key=secret idempotency-key=k1",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    let refused =
        call(&tool(reach(), settings("GET", Placement::default())), json!({ "city": ".." })).await.unwrap();
    assert!(refused.is_error && refused.words().contains("it is a part of the address"));
    assert_eq!(seen.lock().unwrap().len(), 3, "nothing was sent");
}

#[tokio::test]
async fn what_comes_back_is_read_as_what_it_is() {
    let router = Router::new()
        .route("/text", get(|| async { "18 degrees" }))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/json",
            get(|| async { ([(header::CONTENT_TYPE, "application/problem+json")], "{ \"a\": 1.50 }") }),
        )
        .route(
            "/latin",
            get(|| async {
                ([(header::CONTENT_TYPE, "text/plain; charset=ISO-8859-1")], b"caf\xe9".to_vec())
            }),
        )
        .route("/broken", get(|| async { ([(header::CONTENT_TYPE, "text/plain")], b"caf\xe9".to_vec()) }))
        .route("/image", get(|| async { ([(header::CONTENT_TYPE, "image/png")], "PNG") }))
        .route("/wrong", get(|| async { (StatusCode::UNPROCESSABLE_ENTITY, "no such city") }))
        .route("/bare", get(|| async { StatusCode::NOT_FOUND }))
        .route("/away", get(|| async { StatusCode::FORBIDDEN }));
    let (url, _) = server(router).await;
    let ask = async |path: &str| {
        call(&tool(reach(), settings("get", &format!("{url}/{path}"), json!({}))), json!({})).await
    };
    assert_eq!(ask("text").await.unwrap(), ToolAnswer::of("18 degrees"));
    assert_eq!(ask("none").await.unwrap(), ToolAnswer::of(Value::Null));
    let found = ask("json").await.unwrap();
    assert_eq!(
        (found.value["a"].as_f64(), &*found.words()),
        (Some(1.5), "{ \"a\": 1.50 }"),
        "a model reads it as written"
    );
    assert_eq!(ask("latin").await.unwrap(), ToolAnswer::of("café"));
    assert!(ask("broken").await.unwrap_err().to_string().contains("its answer is no UTF-8"));
    assert!(matches!(ask("image").await, Err(Error::Garbled { .. })));
    assert_eq!(ask("wrong").await.unwrap(), ToolAnswer::error("422 Unprocessable Entity: no such city"));
    assert_eq!(ask("bare").await.unwrap(), ToolAnswer::error("404 Not Found"));
    assert!(
        matches!(ask("away").await, Err(Error::Rejected { .. })),
        "a key is nothing that a model can put right"
    );
}

#[tokio::test]
async fn every_address_of_a_redirect_is_checked_again() {
    let (other, other_seen) = server(Router::new().route("/end", get(|| async { "there" }))).await;
    let by_name = other.replace("127.0.0.1", "localhost");
    let to = |url: String| get(move || async move { Redirect::temporary(&url) });
    let router = Router::new()
        .route("/near", get(|| async { Redirect::temporary("/end") }))
        .route("/end", get(|| async { "here" }))
        .route("/far", to(format!("{other}/end")))
        .route("/name", to(format!("{by_name}/end")))
        .route("/meta", to("http://169.254.169.254/latest/meta-data/".into()))
        .route("/file", to("file:///etc/passwd".into()))
        .route("/round", get(|| async { Redirect::temporary("/round") }))
        .route("/post", post(|| async { Redirect::temporary("/end") }))
        .route("/lost", get(|| async { StatusCode::FOUND }));
    let (url, seen) = server(router).await;
    let reach = || Reach { headers: vec![("x-key".into(), "secret".into())], ..reach() };
    let ask = async |method: &str, path: &str| {
        call(&tool(reach(), settings(method, &format!("{url}/{path}"), json!({}))), json!({})).await
    };
    assert_eq!(ask("GET", "near").await.unwrap(), ToolAnswer::of("here"));
    assert!(seen.lock().unwrap().iter().all(|note| note.contains("x-key=secret")));
    assert_eq!(ask("GET", "far").await.unwrap(), ToolAnswer::of("there"));
    assert_eq!(*other_seen.lock().unwrap(), ["GET /end"], "a key is for whom it was given");
    for (method, path, why) in [
        ("GET", "name", "`localhost` is this machine"),
        ("GET", "meta", "link-local, where clouds keep their metadata"),
        ("GET", "file", "neither http nor https"),
        ("GET", "round", "it redirects more than 3 times"),
        ("POST", "post", "which is not followed with POST"),
    ] {
        let error = ask(method, path).await.unwrap_err();
        assert!(
            matches!(&error, Error::Rejected { message, .. } if message.contains(why)),
            "{path}: {error}"
        );
    }
    assert!(matches!(ask("GET", "lost").await, Err(Error::Garbled { .. })));
}

#[tokio::test]
async fn nothing_is_sent_inside_unless_it_is_listed() {
    let (url, seen) = server(Router::new().fallback(any(|| async { "inside" }))).await;
    let refused = |url: &str| {
        let server = HttpServer::new(Reach::default()).unwrap();
        server.tool(settings("GET", url, json!({}))).unwrap_err().to_string()
    };
    for url in
        [url.as_str(), "https://10.0.0.1/x", "http://example.com/x", "https://localhost/x", "https://[::1]/"]
    {
        assert_eq!(refused(url), format!("nothing may be sent to `{url}`"));
    }
    // A name that leads inside: seen when it is resolved.
    let by_name = url.replace("127.0.0.1", "localhost");
    let guard = Guard::new(["10.9.0.0/16".parse().unwrap()]);
    let tool = HttpServer::new(Reach { guard, ..Reach::default() }).unwrap();
    let error = tool.tool(settings("GET", &by_name, json!({}))).unwrap_err();
    assert!(matches!(error, SettingsError::Refused { source: Refused::Inside { .. }, .. }), "{error:?}");
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let router = Router::new()
        .route("/large", get(|| async { "x".repeat(70_000) }))
        .route("/slow", get(|| async { std::future::pending::<String>().await.into_response() }));
    let (url, _) = server(router).await;
    let reach = || Reach { max_response_bytes: 65_536, timeout: Duration::from_millis(100), ..reach() };
    let ask = async |path: &str| {
        call(&tool(reach(), settings("GET", &format!("{url}/{path}"), json!({}))), json!({})).await
    };
    let error = ask("large").await.unwrap_err().to_string();
    assert!(error.contains("larger than 65536 bytes"), "{error}");
    assert!(matches!(ask("slow").await, Err(Error::TimedOut { .. })));
}

#[test]
fn what_is_no_tool_says_why() {
    let server = HttpServer::new(reach()).unwrap();
    let error = |settings: HttpSettings| server.tool(settings).unwrap_err().to_string();
    let url = "http://127.0.0.1:1/x";
    assert_eq!(error(settings("G T", url, json!({}))), "`G T` is no method of HTTP");
    let optional = HttpSettings {
        spec: ToolSpec { schema: json!({ "type": "object" }), ..settings("GET", url, json!({})).spec },
        ..settings("GET", "http://127.0.0.1:1/{city}", json!({}))
    };
    assert_eq!(error(optional), "the address needs `city`, which is not among the `required` arguments");
    let list = HttpSettings {
        spec: ToolSpec { schema: json!({ "type": "array" }), ..settings("GET", url, json!({})).spec },
        ..settings("GET", url, json!({}))
    };
    assert!(error(list).contains("not of type `object`"));
    let typo = error(settings("GET", url, json!({ "city": { "type": "word" } })));
    assert!(typo.contains("the arguments of `") && typo.contains("/properties/city/type"), "{typo}");
    assert!(error(settings("GET", "127.0.0.1/x", json!({}))).contains("it has no scheme"));
    let header = Reach { headers: vec![("a b".into(), "secret".into())], ..reach() };
    assert_eq!(HttpServer::new(header).unwrap_err().to_string(), "`a b` is no header that can be sent");
    assert!(server.tool(settings("DELETE", url, json!({}))).unwrap().is_idempotent());
    assert!(!server.tool(settings("POST", url, json!({}))).unwrap().is_idempotent());
    let safe = HttpSettings { idempotent: Some(true), ..settings("POST", url, json!({})) };
    assert!(server.tool(safe).unwrap().is_idempotent());
}
