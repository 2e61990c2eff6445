//! The faults, met by an HTTP tool.

use anabranch_backends::tool::http::{HttpServer, HttpSettings, Reach};
use anabranch_engine::backend::{Tool as _, ToolSpec};
use serde_json::{Map, json};

use super::*;

async fn ask(url: String, timeout: Duration) -> Result<Outcome, Error> {
    let guard = anabranch_backends::egress::Guard::new(["127.0.0.1".parse().unwrap()]);
    let reach = Reach { guard, timeout, max_response_bytes: MAX_BYTES, ..Reach::default() };
    let settings = HttpSettings {
        spec: ToolSpec {
            name: "pay".into(),
            description: "Pays.".into(),
            schema: json!({ "type": "object" }),
        },
        method: "POST".to_owned(),
        url,
        placement: None,
        idempotent: None,
    };
    let tool = HttpServer::new(reach).unwrap().tool(settings).unwrap();
    let answer = tool.call(&Map::new(), &CALL).await?;
    // What a tool refuses is told to the model.
    let refused = Error::Rejected { backend: "pay".into(), message: answer.words().to_string() };
    if answer.is_error { Err(refused) } else { Ok(Outcome::Answered) }
}

#[tokio::test]
async fn an_http_tool_meets_every_fault() {
    let shape = Shape {
        content_type: "application/json",
        good: format!(r#"{{"said":"{}"}}"#, "Ada Lovelace ".repeat(20)),
        cut_by_length: None,
        wrong: Vec::new(),
        wrap: str::to_owned,
    };
    // To a tool, a page is an answer as good as any.
    meet_but(Backend { shape, ask: |url, timeout| Box::pin(ask(url, timeout)) }, "a web page").await;
}
