//! Reads a stream of events, one after the other.

use std::pin::Pin;
use std::time::Duration;

use axum::body::Bytes;
use futures::{Stream, StreamExt as _};
use serde_json::Value as Json;

/// Longest wait for something that must happen.
pub(super) const SOON: Duration = Duration::from_mins(1);

/// An event of a stream.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) id: Option<u64>,
    pub(super) name: String,
    pub(super) data: Json,
}

pub(super) struct Reader {
    parts: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
}

impl Reader {
    /// Of what a request is answered with.
    pub(super) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self { parts: Box::pin(response.bytes_stream()), text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let frame: String = self.text.drain(..end + 2).collect();
                let field =
                    |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                // Pings have no data.
                let Some(data) = field("data:") else { continue };
                return Some(Event {
                    id: field("id:").map(|id| id.parse().unwrap()),
                    name: field("event:").unwrap_or_default().to_owned(),
                    data: serde_json::from_str(data).unwrap_or_default(),
                });
            }
            let part = tokio::time::timeout(SOON, self.parts.next()).await.expect("something comes");
            self.text.push_str(std::str::from_utf8(&part?.unwrap()).unwrap());
        }
    }

    /// The events up to the next one of this name.
    pub(super) async fn until(&mut self, name: &str) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        while events.last().is_none_or(|event| event.name != name) {
            match self.next().await {
                Some(event) => events.push(event),
                None => panic!("it ends without `{name}`: {events:#?}"),
            }
        }
        events
    }

    /// The next piece of a chat's answer.
    pub(super) async fn until_text(&mut self) -> String {
        loop {
            let event = self.next().await.expect("a piece of the answer");
            match event.data["choices"][0]["delta"]["content"].as_str() {
                Some(text) if !text.is_empty() => return text.to_owned(),
                _ => {}
            }
        }
    }

    /// All further pieces of a chat's answer, which ends well.
    pub(super) async fn rest_of_text(&mut self) -> String {
        let (mut text, mut reason) = (String::new(), None);
        while let Some(event) = self.next().await {
            assert!(event.data["error"].is_null(), "{event:?}");
            let choice = &event.data["choices"][0];
            text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            reason = choice["finish_reason"].as_str().map(str::to_owned).or(reason);
        }
        assert_eq!(reason.as_deref(), Some("stop"));
        text
    }
}
