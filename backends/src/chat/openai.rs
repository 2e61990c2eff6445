//! A chat model behind the OpenAI-compatible chat completions API: vLLM, `SGLang`, llama.cpp, TGI, Ollama, `OpenAI`.

use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::backend::{Call, Caller, ChatModel, ChatRequest, ChatResponse, Error};
use async_trait::async_trait;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use secrecy::SecretString;
use tokio::sync::OnceCell;

mod answer;
mod dialect;
mod stream;
#[cfg(test)]
mod tests;
mod thinking;
mod tools;
mod wire;

pub use crate::http::SettingsError;
use crate::http::{Endpoint, Failures, Reach, Root, parse, read_body};
use crate::pool::Probe;
use crate::tokenizer::{BYTES_PER_TOKEN, Tokenizer};
use answer::Assembly;
use dialect::{Dialect, Extra, Known};
use stream::{StreamLimits, read_events};
use tools::Names;
use wire::{Body, Models};

/// Where a server takes questions, below its base address.
const PATH: &str = "chat/completions";
/// What stands around a message in a prompt.
const FRAME_BYTES: usize = 12;
/// The same in tokens, rather too many: marks of the beginning and the end, and the role.
const FRAME_TOKENS: u64 = 8;

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
    /// Header in which a name for the session, or the run, is sent to a router in front of the servers; none is if unset.
    pub affinity_header: Option<String>,
    /// Counts the tokens of prompts before they are sent; they are estimated, rather too many than too few, if unset.
    pub tokenizer: Option<Arc<Tokenizer>>,
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
            affinity_header: None,
            tokenizer: None,
        }
    }
}

/// A chat model on a server.
#[derive(Debug)]
pub struct OpenAiChat {
    server: Endpoint,
    stream: bool,
    idle_timeout: Duration,
    known: Known,
    affinity_header: Option<HeaderName>,
    tokenizer: Option<Arc<Tokenizer>>,
    /// The model's name: as configured, or as the server's list gave it.
    model: OnceCell<String>,
}

impl OpenAiChat {
    /// The model that `settings` describe. Nothing is sent before the first question.
    pub fn new(settings: OpenAiSettings) -> Result<Self, SettingsError> {
        let OpenAiSettings { stream, idle_timeout, .. } = settings;
        let header =
            |name: String| HeaderName::try_from(&name).map_err(|_invalid| SettingsError::Header { name });
        let affinity_header = settings.affinity_header.map(header).transpose()?;
        let server = Endpoint::new(Reach {
            base_url: settings.base_url,
            root: Root::Versioned,
            paths: &[PATH],
            api_key: settings.api_key,
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
            max_response_bytes: settings.max_response_bytes,
        })?;
        Ok(Self {
            server,
            stream,
            idle_timeout,
            known: Known::default(),
            affinity_header,
            tokenizer: settings.tokenizer,
            model: OnceCell::new_with(settings.model),
        })
    }

    /// The server's name and port.
    pub fn address(&self) -> String {
        self.server.host().to_owned()
    }

    fn failures(&self) -> Failures {
        self.server.failures(self.model.get().map(String::as_str))
    }

    /// The model's name, asked for once if the settings leave it open.
    async fn model(&self) -> Result<&str, Error> {
        let name = self.model.get_or_try_init(|| async {
            let failures = self.failures();
            let body = self.server.get("models", &failures).await?;
            let models: Models = parse(&body, &failures)?;
            let first = models.data.into_iter().next();
            first.map(|model| model.id).ok_or_else(|| failures.unavailable("it serves no model"))
        });
        name.await.map(String::as_str)
    }

    /// Asks, leaving out what the server refuses as long as the question can do without.
    async fn ask(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        let model = self.model().await?;
        let mut dialect = self.known.dialect();
        let mut lasting = dialect;
        for _ in 0..Extra::COUNT {
            let error = match self.exchange(model, request, call, dialect).await {
                Ok(response) => {
                    self.known.learn(lasting);
                    return Ok(response);
                }
                Err(error) => error,
            };
            let Some(refusal) = dialect.refused(&error, request) else { return Err(error) };
            dialect = dialect.without(refusal.extra);
            if refusal.is_lasting {
                lasting = lasting.without(refusal.extra);
            }
        }
        self.exchange(model, request, call, dialect).await
    }

    async fn exchange(
        &self,
        model: &str,
        request: &ChatRequest,
        call: &Call<'_>,
        dialect: Dialect,
    ) -> Result<ChatResponse, Error> {
        let failures = self.failures();
        let names = Names::of(request);
        // Servers that tell of the prompt do so in one piece.
        let stream = self.stream && !request.prompt_logprobs;
        let body = Body::new(model, request, &names, stream, dialect);
        let key = dialect.key(call.idempotency_key);
        let header = self.affinity_header.as_ref().zip(affinity(call.caller));
        let response = self.server.post_with(PATH, &body, &key, header, call.trace, &failures).await?;
        let max_bytes = self.server.max_response_bytes();
        // The header decides, not what was asked for: some servers do not stream.
        if stream && is_event_stream(&response) {
            let limits = StreamLimits { max_bytes, idle: self.idle_timeout };
            return read_events(response, (model, &names), limits, call, &failures).await;
        }
        read_whole(&read_body(response, max_bytes, &failures).await?, (model, &names), call, &failures)
    }
}

#[async_trait]
impl ChatModel for OpenAiChat {
    fn name(&self) -> &str {
        self.model.get().map_or(self.server.host(), String::as_str)
    }

    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatResponse, Error> {
        self.server.within(&self.failures(), Box::pin(self.ask(request, call))).await
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.tokenizer.as_ref().map(|tokenizer| usize::try_from(tokenizer.count(text)).unwrap_or(usize::MAX))
    }

    fn estimate_prompt_tokens(&self, request: &ChatRequest) -> u64 {
        let contents = request.messages.iter().map(|message| &*message.content);
        // Servers put the schema into the prompt, and where they do not know of schemas, we do.
        let schema = request.response_schema.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some(tokenizer) = &self.tokenizer {
            let messages: u64 = contents.map(|content| tokenizer.count(content) + FRAME_TOKENS).sum();
            return messages + tokenizer.count(&schema) + (request.tool_bytes() / BYTES_PER_TOKEN) as u64;
        }
        let messages: usize = contents.map(|content| content.len() + FRAME_BYTES).sum();
        ((messages + schema.len() + request.tool_bytes()) / BYTES_PER_TOKEN) as u64
    }
}

/// The same for all calls of a session, or of a run without one. Hashed: it goes to routers and into their logs.
fn affinity(caller: &Caller) -> Option<String> {
    const CHARS: usize = 32;
    let name = caller.session.as_ref().or(caller.run.as_ref())?;
    Some(blake3::hash(name.as_bytes()).to_hex().chars().take(CHARS).collect())
}

#[async_trait]
impl Probe for OpenAiChat {
    async fn look(&self, path: &str, max_bytes: usize) -> Option<Vec<u8>> {
        let (status, body) = self.server.look(path, max_bytes).await?;
        // A server that wants a key, or knows no such path, is there.
        (!status.is_server_error()).then_some(body)
    }
}

fn read_whole(
    body: &[u8],
    asked: (&str, &Names),
    call: &Call<'_>,
    failures: &Failures,
) -> Result<ChatResponse, Error> {
    let mut assembly = Assembly::default();
    if let Some(text) = assembly.add(parse(body, failures)?, failures)? {
        (call.on_delta)(&text);
    }
    assembly.finish(asked, failures)
}

fn is_event_stream(response: &Response) -> bool {
    let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    header.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
