//! A chat model behind the OpenAI-compatible chat completions API: vLLM, `SGLang`, llama.cpp, TGI, Ollama, `OpenAI`.

use std::time::Duration;

use anabranch_engine::backend::{Call, ChatModel, ChatRequest, ChatResponse, Error};
use async_trait::async_trait;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

mod failure;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use failure::Failures;
use stream::{StreamLimits, read_body, read_events, read_start};
use wire::{Assembly, Body, Models, parse};

/// Most bytes read of an answer that reports a failure.
const ERROR_BYTES: usize = 64 * 1024;

/// How a chat server is reached.
#[derive(Debug, Clone)]
pub struct OpenAiSettings {
    /// Its address, such as `http://localhost:8000`; `/v1` is added where no version is given.
    pub base_url: String,
    /// The model to ask; the first that the server lists if unset.
    pub model: Option<String>,
    /// Sent as bearer token.
    pub api_key: Option<SecretString>,
    /// Whether answers are streamed: shows progress, and notices a server that has died.
    pub stream: bool,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time for a whole call.
    pub timeout: Duration,
    /// Longest wait between two events of a streamed answer.
    pub idle_timeout: Duration,
    /// Most bytes of an answer; reading stops there.
    pub max_response_bytes: usize,
}

impl OpenAiSettings {
    /// The server at `base_url`, with defaults for all else.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: None,
            api_key: None,
            stream: true,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_mins(2),
            idle_timeout: Duration::from_secs(30),
            max_response_bytes: 8 * 1024 * 1024,
        }
    }
}

/// Why settings describe no server.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The address is none.
    #[error("`{url}` is no address of a model server: {reason}; write it as `http://localhost:8000`")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No client can be made of them.
    #[error("no HTTP client for {host}")]
    Client {
        /// The server's host.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

/// A chat model on a server.
#[derive(Debug)]
pub struct OpenAiChat {
    client: Client,
    base: Url,
    host: String,
    settings: OpenAiSettings,
    /// The model's name: as configured, or as the server's list gave it.
    model: OnceCell<String>,
}

impl OpenAiChat {
    /// The model that `settings` describe. Nothing is sent before the first question.
    pub fn new(settings: OpenAiSettings) -> Result<Self, SettingsError> {
        let base = base_url(&settings.base_url)
            .map_err(|reason| SettingsError::Url { url: settings.base_url.clone(), reason })?;
        let name = base.host_str().unwrap_or_default();
        let host = base.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let mut client = tls::client_builder(base.scheme());
        // A proxy for the world outside cannot reach a server on this machine.
        if is_loopback(name) {
            client = client.no_proxy();
        }
        let client = client
            .connect_timeout(settings.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| SettingsError::Client { host: host.clone(), source })?;
        let model = OnceCell::new_with(settings.model.clone());
        Ok(Self { client, base, host, settings, model })
    }

    /// The address of `path` under the base address, which may have a query of its own.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn authorize(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.settings.api_key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }

    fn failures(&self) -> Failures {
        let backend = match self.model.get() {
            Some(model) => format!("model `{model}` at {}", self.host),
            None => format!("the model server at {}", self.host),
        };
        Failures { backend }
    }

    /// Sends, and gives the answer if its status is a success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let failures = self.failures();
        let response = self.authorize(request).send().await.map_err(|error| failures.transport(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let body = read_start(response, ERROR_BYTES).await;
        Err(failures.status(status, &headers, &body))
    }

    /// The model's name, asked for once if the settings leave it open.
    async fn model(&self) -> Result<&str, Error> {
        let name = self.model.get_or_try_init(|| async {
            let failures = self.failures();
            let response = self.send(self.client.get(self.url(&["models"]))).await?;
            let body = read_body(response, self.settings.max_response_bytes, &failures).await?;
            let models: Models = parse(&body, &failures)?;
            let first = models.data.into_iter().next();
            first.map(|model| model.id).ok_or_else(|| failures.unavailable("it serves no model"))
        });
        name.await.map(String::as_str)
    }

    async fn ask(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let model = self.model().await?;
        let failures = self.failures();
        let post = self
            .client
            .post(self.url(&["chat", "completions"]))
            .header("Idempotency-Key", call.idempotency_key)
            .json(&Body::new(model, request, self.settings.stream));
        let response = self.send(post).await?;
        let max_bytes = self.settings.max_response_bytes;
        // The header decides, not what was asked for: some servers do not stream.
        if is_event_stream(&response) {
            let limits = StreamLimits { max_bytes, idle: self.settings.idle_timeout };
            return read_events(response, model, limits, call, &failures).await;
        }
        let body = read_body(response, max_bytes, &failures).await?;
        let mut assembly = Assembly::default();
        if let Some(text) = assembly.add(parse(&body, &failures)?, &failures)? {
            (call.on_delta)(&text);
        }
        assembly.finish(model, &failures)
    }
}

#[async_trait]
impl ChatModel for OpenAiChat {
    fn name(&self) -> &str {
        self.model.get().map_or(&self.host, String::as_str)
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let limit = self.settings.timeout;
        // One limit around everything, so that no slow trickle of headers or events gets past it.
        tokio::time::timeout(limit, Box::pin(self.ask(request, call))).await.unwrap_or_else(|_| {
            Err(self.failures().timed_out(format!("no complete answer within {limit:?} (`timeout`)")))
        })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_event_stream(response: &Response) -> bool {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    header.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// The address under which `chat/completions` lies.
fn base_url(given: &str) -> Result<Url, String> {
    let mut url = Url::parse(given.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it does not begin with `http://` or `https://`".to_owned());
    }
    let mut path: Vec<&str> = given_segments(&url);
    if let Some(base) = path.strip_suffix(&["chat", "completions"]) {
        path = base.to_vec();
    }
    let is_version = |segment: &&str| {
        segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    if !path.iter().any(is_version) {
        path.push("v1");
    }
    let path = path.join("/");
    url.set_path(&path);
    Ok(url)
}

fn given_segments(url: &Url) -> Vec<&str> {
    url.path().split('/').filter(|segment| !segment.is_empty()).collect()
}
