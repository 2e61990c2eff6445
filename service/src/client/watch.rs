//! Following a job: its events in order, over as many connections as it takes.

use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderName};
use serde_json::Value as Json;

use super::sse::Stopped;
use super::{Ask, Client, Error, Message, Messages};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Connections in a row that bring nothing before one gives up.
const FRUITLESS_MAX: u32 = 10;
/// The first wait before another connection; it doubles.
const WAIT_FIRST: Duration = Duration::from_millis(200);
/// The longest wait before another connection, whatever the server says.
const WAIT_LONGEST: Duration = Duration::from_secs(10);

/// The events of a job, without gap or repetition.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    path: Vec<String>,
    /// The number of the last event that was given.
    last_id: Option<String>,
    open: Option<Messages>,
    /// Connections in a row that brought nothing.
    fruitless: u32,
    wait: Duration,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Watched {
    /// Something happened.
    Event {
        /// What.
        event: String,
        /// Its number in the journal, if it has one.
        id: Option<String>,
        /// The data.
        data: Json,
    },
    /// Nothing comes any more.
    Over,
}

impl Watch {
    /// Follows the job `id`, after the event `after` if one is named.
    pub fn new(client: Client, id: &str, after: Option<String>) -> Self {
        Self {
            client,
            path: vec!["jobs".to_owned(), id.to_owned(), "events".to_owned()],
            last_id: after,
            open: None,
            fruitless: 0,
            wait: WAIT_FIRST,
        }
    }

    /// What happens next. Dropping the future loses nothing that was not given.
    pub async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            let messages = match &mut self.open {
                Some(messages) => messages,
                None => match self.connect().await? {
                    Some(messages) => self.open.insert(messages),
                    None => return Ok(Watched::Over),
                },
            };
            match messages.next().await {
                Ok(message) => return self.take(message),
                Err(Stopped::TooLong) => return Err(self.client.too_long()),
                Err(Stopped::Closed | Stopped::Broken) => {
                    if let Some(retry) = messages.retry() {
                        self.wait = retry.min(WAIT_LONGEST);
                    }
                    self.open = None;
                }
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<Watched, Error> {
        self.fruitless = 0;
        self.wait = WAIT_FIRST;
        if message.id.is_some() {
            self.last_id.clone_from(&message.id);
        }
        let data = serde_json::from_str(&message.data)
            .map_err(|error| self.client.garbled(format!("event `{}`: {error}", message.event)))?;
        Ok(Watched::Event { event: message.event, id: message.id, data })
    }

    /// Opens the stream where the last one ended; `None` once the job has ended and everything was given.
    async fn connect(&mut self) -> Result<Option<Messages>, Error> {
        loop {
            if self.fruitless > 0 {
                tokio::time::sleep(self.wait).await;
                self.wait = self.wait.saturating_mul(2).min(WAIT_LONGEST);
            }
            if self.fruitless >= FRUITLESS_MAX {
                return Err(Error::BrokenOff {
                    server: self.client.server().to_owned(),
                    times: self.fruitless,
                });
            }
            let is_first = self.fruitless == 0 && self.last_id.is_none();
            self.fruitless = self.fruitless.saturating_add(1);
            let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
            let mut ask = Ask::get(&path).header(ACCEPT, "text/event-stream");
            if let Some(id) = &self.last_id {
                ask = ask.header(LAST_EVENT_ID, id);
            }
            match self.client.open(ask).await {
                Ok(response) if response.status().as_u16() == 204 => return Ok(None),
                Ok(response) => return Ok(Some(Messages::new(response))),
                // Whoever watches has seen the server: it may be starting again.
                Err(error) if error.is_passing() && !is_first => {
                    if let Some(wait) = error.problem().and_then(|problem| problem.retry_after) {
                        self.wait = self.wait.max(wait.min(WAIT_LONGEST));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::response::{IntoResponse, Response};

    /// Answers each connection with the next of the scripts, and keeps what was asked for.
    #[derive(Clone, Default)]
    struct Scripted {
        answers: Arc<Mutex<VecDeque<(StatusCode, &'static str)>>>,
        asked: Arc<Mutex<Vec<Option<String>>>>,
    }

    async fn answer(State(server): State<Scripted>, headers: HeaderMap) -> Response {
        let id = headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
        server.asked.lock().unwrap().push(id);
        let next = server.answers.lock().unwrap().pop_front();
        next.unwrap_or((StatusCode::NO_CONTENT, "")).into_response()
    }

    async fn watch(answers: &[(StatusCode, &'static str)]) -> (Watch, Scripted) {
        let server = Scripted::default();
        server.answers.lock().unwrap().extend(answers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Watch::new(Client::new(&address, None).unwrap(), "job_1", None), server)
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_taken_up_after_the_last_event() {
        let ok = StatusCode::OK;
        let (mut watch, server) = watch(&[
            (ok, "retry: 1\nid: 1\nevent: a\ndata: 1\n\nid: 2\nevent: b\ndata: 2\n\n"),
            (StatusCode::SERVICE_UNAVAILABLE, "{}"),
            (ok, "event: delta\ndata: 3\n\nid: 4\nevent: c\ndata: 4\n\n"),
        ])
        .await;
        let mut seen = Vec::new();
        while let Watched::Event { event, id, data } = watch.next().await.unwrap() {
            seen.push((event, id, data));
        }
        let events: Vec<&str> = seen.iter().map(|(event, ..)| event.as_str()).collect();
        assert_eq!(events, ["a", "b", "delta", "c"]);
        let asked = server.asked.lock().unwrap().clone();
        let id = |text: &str| Some(text.to_owned());
        assert_eq!(asked, [None, id("2"), id("2"), id("4")]);
    }

    #[tokio::test]
    async fn a_job_that_is_not_there_is_told_at_once() {
        let (mut watch, _) =
            watch(&[(StatusCode::NOT_FOUND, r#"{"detail": "there is no job `job_1`"}"#)]).await;
        assert_eq!(watch.next().await.unwrap_err().to_string(), "there is no job `job_1`");
    }
}
