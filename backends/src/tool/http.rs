//! Tools behind an HTTP address.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::backend::{Call, Error, Tool, ToolAnswer, ToolSpec, json_schema};
use async_trait::async_trait;
use encoding_rs::{Encoding, UTF_8};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::{Map, Value};

use crate::egress::{Guard, Refused, URL_BYTES_MAX};
use crate::http::{ERROR_BODY_TIME, ERROR_BYTES, Failures, client_builder, parse, read_body, read_start};

pub mod openapi;
mod template;
#[cfg(test)]
mod tests;

use template::{Template, plain};

/// Most redirects that one call follows.
const REDIRECTS_MAX: usize = 3;
/// Longest part of an answer that reports a wrong call, in bytes.
const REFUSAL_BYTES: usize = 16 * 1024;

/// Why settings describe no tool.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The address is none.
    #[error("`{url}` cannot be the address of a tool: {why}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing may be sent there.
    #[error("nothing may be sent to `{url}`")]
    Refused {
        /// As it was given.
        url: String,
        /// Why.
        #[source]
        source: Refused,
    },
    /// Its arguments are no schema of an object.
    #[error("the arguments of `{tool}` are no JSON Schema of an object: {why}")]
    Schema {
        /// Its name.
        tool: String,
        /// What is wrong with them.
        why: String,
    },
    /// An argument of the path may be left out.
    #[error("the address needs `{0}`, which is not among the `required` arguments")]
    Optional(String),
    /// It has no method.
    #[error("`{0}` is no method of HTTP")]
    Method(String),
    /// A header is none.
    #[error("`{0}` is no header that can be sent")]
    Header(String),
    /// No client can be made.
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
    /// The description of an API is none.
    #[error("the OpenAPI document cannot be used: {0}")]
    OpenApi(String),
}

/// How a server of tools is reached, and what bounds a call of it.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Headers that go along with every call, such as a key.
    pub headers: Vec<(String, String)>,
    /// Where calls may go.
    pub guard: Guard,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest time for a call.
    pub timeout: Duration,
    /// Most bytes of an answer.
    pub max_response_bytes: usize,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            guard: Guard::default(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            max_response_bytes: 1 << 20,
        }
    }
}

impl Reach {
    /// The headers that go along with every call; the log never shows them.
    pub(super) fn header_map(&self) -> Result<HeaderMap, SettingsError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            // The value is not repeated: it may be a secret.
            let wrong = || SettingsError::Header(name.clone());
            let key = HeaderName::try_from(name.as_str()).map_err(|_invalid| wrong())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_invalid| wrong())?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(headers)
    }

    /// A client for addresses of `scheme` that goes only where the guard lets it.
    pub(super) fn client(&self, scheme: &str) -> ClientBuilder {
        client_builder(scheme)
            .dns_resolver(self.guard.resolver(scheme))
            // A proxy would resolve names by itself, past the guard.
            .no_proxy()
            // A redirect would lead past the check of the address.
            .redirect(Policy::none())
            .connect_timeout(self.connect_timeout)
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
    }
}

/// Where the arguments of a call go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// Into the query of the address.
    pub query: BTreeSet<String>,
    /// Into headers.
    pub header: BTreeSet<String>,
    /// The argument that is the whole body.
    pub body: Option<String>,
    /// Whether all others are the fields of the body; otherwise they go into the query.
    pub rest_in_body: bool,
}

impl Placement {
    /// As people expect it: of a method that has a body the arguments are its fields.
    pub fn of(method: &Method) -> Self {
        let has_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        Self { rest_in_body: has_body, ..Self::default() }
    }
}

/// A tool behind an HTTP address.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// What a model is told of it.
    pub spec: ToolSpec,
    /// `GET`, `POST`, …
    pub method: String,
    /// Its address, with `{argument}` in its path or query.
    pub url: String,
    /// Where the other arguments go; by the method if unset.
    pub placement: Option<Placement>,
    /// Whether calling it twice does no more than calling it once; by the method if unset.
    pub idempotent: Option<bool>,
}

/// The client that the tools of one server share.
#[derive(Debug)]
struct Shared {
    plain: Client,
    /// None where there are no certificates to check servers by: a slim container has none.
    encrypted: Option<Client>,
    headers: HeaderMap,
    guard: Guard,
    timeout: Duration,
    max_response_bytes: usize,
}

/// A tool behind an HTTP address.
#[derive(Debug)]
pub struct HttpTool {
    spec: ToolSpec,
    method: Method,
    url: Template,
    placement: Placement,
    is_idempotent: bool,
    shared: Arc<Shared>,
}

/// A request with its arguments in their places.
struct Filled {
    url: Url,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

/// A server that tools can be made for.
#[derive(Debug, Clone)]
pub struct HttpServer(Arc<Shared>);

impl HttpServer {
    /// The server that `reach` describes. Nothing is sent before the first call.
    pub fn new(reach: Reach) -> Result<Self, SettingsError> {
        let client = |scheme| reach.client(scheme).build().map_err(SettingsError::Client);
        Ok(Self(Arc::new(Shared {
            plain: client("http")?,
            encrypted: client("https").ok(),
            headers: reach.header_map()?,
            guard: reach.guard,
            timeout: reach.timeout,
            max_response_bytes: reach.max_response_bytes,
        })))
    }

    /// A tool of this server.
    pub fn tool(&self, settings: HttpSettings) -> Result<HttpTool, SettingsError> {
        let HttpSettings { mut spec, method, url, placement, idempotent } = settings;
        spec.schema = json_schema(&spec.schema);
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_invalid| SettingsError::Method(method))?;
        let url = Template::parse(&url)?;
        let refused = |source| SettingsError::Refused { url: url.text().to_owned(), source };
        self.0.guard.url(url.origin()).map_err(refused)?;
        let required = required(&spec.schema)
            .map_err(|why| SettingsError::Schema { tool: spec.name.to_string(), why })?;
        if let Some(name) = url.names_in_path().find(|name| !required.contains(*name)) {
            return Err(SettingsError::Optional(name.to_owned()));
        }
        Ok(HttpTool {
            placement: placement.unwrap_or_else(|| Placement::of(&method)),
            is_idempotent: idempotent.unwrap_or_else(|| method.is_idempotent()),
            spec,
            method,
            url,
            shared: self.0.clone(),
        })
    }
}

/// The names of the arguments that a schema asks for.
fn required(schema: &Value) -> Result<BTreeSet<String>, String> {
    let is_object = schema.get("type").is_none_or(|kind| kind == "object");
    if !schema.is_object() || !is_object {
        return Err("it is not of type `object`".to_owned());
    }
    // Told when the service starts, and not by the first run that calls it.
    if let Err(error) = jsonschema::validator_for(schema) {
        return Err(format!("{error} (at `{}`)", error.instance_path()));
    }
    let names = schema.get("required").and_then(Value::as_array);
    Ok(names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

impl HttpTool {
    fn failures(&self) -> Failures {
        Failures { backend: format!("tool `{}`", self.spec.name) }
    }

    /// The address of a call, and what goes along with it; or what is wrong with an argument.
    fn request(&self, arguments: &Map<String, Value>) -> Result<Filled, String> {
        let text = self.url.fill(|name| arguments.get(name).cloned())?;
        let mut url = Url::parse(&text).map_err(|error| format!("they make no address: {error}"))?;
        let in_url: BTreeSet<&str> = self.url.names().collect();
        let (mut query, mut headers, mut fields) = (Vec::new(), Vec::new(), Map::new());
        let mut body = None;
        let is_field = |name: &String| {
            let Placement { query, header, body, rest_in_body } = &self.placement;
            *rest_in_body && !query.contains(name) && !header.contains(name) && body.as_ref() != Some(name)
        };
        // Null takes away what was set where it is a field; elsewhere it is nothing.
        let is_sent = |(name, value): &(&String, &Value)| {
            !in_url.contains(name.as_str()) && (!value.is_null() || is_field(name))
        };
        for (name, value) in arguments.iter().filter(is_sent) {
            if is_field(name) {
                fields.insert(name.clone(), value.clone());
            } else if self.placement.body.as_ref() == Some(name) {
                body = Some(value.clone());
            } else if self.placement.header.contains(name) {
                let value = plain(value);
                if HeaderValue::try_from(&value).is_err() {
                    return Err(format!("`{name}` goes into a header, which is a line of text"));
                }
                headers.push((name.clone(), value));
            } else {
                match value {
                    Value::Array(items) => {
                        query.extend(items.iter().map(|item| (name.as_str(), plain(item))));
                    }
                    value => query.push((name.as_str(), plain(value))),
                }
            }
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        if self.placement.rest_in_body && body.is_none() {
            body = Some(Value::Object(fields));
        }
        Ok(Filled { url, headers, body })
    }

    async fn send(&self, arguments: &Map<String, Value>, call: &Call<'_>) -> Result<ToolAnswer, Error> {
        let failures = self.failures();
        let Filled { mut url, headers, body } = match self.request(arguments) {
            Ok(request) => request,
            Err(problem) => return Ok(ToolAnswer::error(problem)),
        };
        if url.as_str().len() > URL_BYTES_MAX {
            let problem = format!("they make an address of more than {URL_BYTES_MAX} bytes; send less");
            return Ok(ToolAnswer::error(problem));
        }
        let origin = url.origin();
        for _ in 0..=REDIRECTS_MAX {
            // Followed by hand: each address is checked, and its name again at the moment of the connection.
            let at = || url.origin().ascii_serialization();
            let refused =
                |refused: Refused| failures.rejected(format!("nothing is sent to {}: {refused}", at()));
            self.shared.guard.url(url.as_str()).map_err(refused)?;
            let client = match url.scheme() {
                "https" => self.shared.encrypted.as_ref().ok_or_else(|| {
                    failures.rejected("there are no certificates on this machine to check its server by")
                })?,
                _ => &self.shared.plain,
            };
            let mut request = client.request(self.method.clone(), url.clone());
            if url.origin() == origin {
                // A key is for whom it was given, and for nobody that they send us to.
                request = request.headers(self.shared.headers.clone());
                request = request.header("Idempotency-Key", call.idempotency_key);
                request =
                    call.trace.iter().fold(request, |request, trace| request.header("traceparent", *trace));
                request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            }
            request = body.iter().fold(request, RequestBuilder::json);
            let response = request.send().await.map_err(|error| self.broken(&error))?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return self.read(response).await;
            }
            let next = response.headers().get(LOCATION).and_then(|to| url.join(to.to_str().ok()?).ok());
            let Some(next) = next else {
                return Err(failures.garbled(format!("{} without an address", response.status())));
            };
            if !matches!(self.method, Method::GET | Method::HEAD) {
                let to = next.origin().ascii_serialization();
                let message = format!("it redirects to {to}, which is not followed with {}", self.method);
                return Err(failures.rejected(message));
            }
            url = next;
        }
        Err(failures.rejected(format!("it redirects more than {REDIRECTS_MAX} times")))
    }

    /// Why there was no answer. What the guard refused will be refused again.
    fn broken(&self, error: &reqwest::Error) -> Error {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if let Some(refused) = cause.downcast_ref::<Refused>() {
                return self.failures().rejected(refused.to_string());
            }
            source = cause.source();
        }
        self.failures().transport(error)
    }

    async fn read(&self, response: Response) -> Result<ToolAnswer, Error> {
        if !response.status().is_success() {
            return self.read_refusal(response).await;
        }
        let failures = self.failures();
        let (kind, encoding) = content_type(response.headers());
        if !is_text(&kind) {
            return Err(failures.garbled(format!("it answers with `{kind}`, which is no text")));
        }
        let body = read_body(response, self.shared.max_response_bytes, &failures).await?;
        if body.is_empty() {
            return Ok(ToolAnswer::of(Value::Null));
        }
        let (text, _, is_broken) = encoding.decode(&body);
        if is_broken {
            return Err(failures.garbled(format!("its answer is no {}", encoding.name())));
        }
        let text = text.into_owned();
        if kind.ends_with("json") {
            let value = parse(text.as_bytes(), &failures)?;
            return Ok(ToolAnswer { value, text: Some(text.into()), is_error: false });
        }
        Ok(ToolAnswer::of(text))
    }

    /// An answer that is no success: told to whoever made the call if another call may be right.
    async fn read_refusal(&self, response: Response) -> Result<ToolAnswer, Error> {
        let status = response.status();
        let headers = response.headers().clone();
        let (_, encoding) = content_type(&headers);
        let start = read_start(response, ERROR_BYTES);
        // The status has said most of it already.
        let wait = ERROR_BODY_TIME.min(self.shared.timeout / 4);
        let body = tokio::time::timeout(wait, start).await.unwrap_or_default();
        let is_ours = matches!(status.as_u16(), 401 | 403 | 407 | 408 | 429);
        if !status.is_client_error() || is_ours {
            return Err(self.failures().status(status, &headers, &body));
        }
        let (said, _, _) = encoding.decode(body.get(..REFUSAL_BYTES).unwrap_or(&body));
        Ok(ToolAnswer::error(format!("{status}: {said}").trim_end_matches([':', ' ', '\n']).to_owned()))
    }
}

/// What an answer is, in small letters and without parameters, and how its text is written: UTF-8 unless it says otherwise.
fn content_type(headers: &HeaderMap) -> (String, &'static Encoding) {
    let written = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut parts = written.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    (kind, charset.and_then(|charset| Encoding::for_label(charset.as_bytes())).unwrap_or(UTF_8))
}

/// Whether a content type is one that a model can read; none at all is taken for text.
fn is_text(kind: &str) -> bool {
    const TEXTS: [&str; 4] =
        ["", "application/yaml", "application/javascript", "application/x-www-form-urlencoded"];
    kind.starts_with("text/")
        || ["json", "xml"].iter().any(|end| kind.ends_with(end))
        || TEXTS.contains(&kind)
}

#[async_trait]
impl Tool for HttpTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    async fn call(&self, arguments: &Map<String, Value>, call: &Call<'_>) -> Result<ToolAnswer, Error> {
        let work = Box::pin(self.send(arguments, call));
        tokio::time::timeout(self.shared.timeout, work).await.unwrap_or_else(|_| {
            Err(self
                .failures()
                .timed_out(format!("no complete answer within {:?} (`timeout`)", self.shared.timeout)))
        })
    }
}
