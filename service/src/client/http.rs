//! Asking a server: one address, one key, bounded bodies, typed failures.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;

use super::{Error, Problem};
use crate::tls;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for an answer, on top of what the server was asked to wait.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A server, and the key to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<SecretString>,
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    path: Vec<String>,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Option<Body>,
    timeout: Duration,
}

#[derive(Debug, Clone)]
enum Body {
    Json(Json),
    Text(&'static str, String),
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status: a success.
    pub status: u16,
    /// The `ETag`, if there is one.
    pub etag: Option<String>,
    /// The body, as it came.
    pub bytes: Bytes,
    server: String,
}

impl Ask {
    /// A request for what lies at `path` under `/v1`, in steps: `["jobs", id]`.
    pub fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|step| (*step).to_owned()).collect(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
            timeout: TIMEOUT,
        }
    }

    /// Asks for what lies at `path`.
    pub fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    /// Sends something to `path`.
    pub fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// A parameter behind the address.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "numbers and texts alike, as they come")]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// A parameter behind the address, if there is one.
    #[must_use]
    pub fn maybe(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// A header. One that cannot be sent is left out: all of ours come from names and numbers.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The body.
    #[must_use]
    pub fn json(mut self, body: Json) -> Self {
        self.body = Some(Body::Json(body));
        self
    }

    /// The body, of this media type.
    #[must_use]
    pub fn text(mut self, media_type: &'static str, body: String) -> Self {
        self.body = Some(Body::Text(media_type, body));
        self
    }

    /// Says that the server may take so much longer for its answer.
    #[must_use]
    pub fn waiting(mut self, wait: Duration) -> Self {
        self.timeout = TIMEOUT.saturating_add(wait);
        self
    }
}

impl Answer {
    /// The body as JSON; `null` if there is none.
    pub fn json(&self) -> Result<Json, Error> {
        if self.bytes.is_empty() {
            return Ok(Json::Null);
        }
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Error::Garbled { server: self.server.clone(), why: error.to_string() })
    }
}

impl Client {
    /// The server at `server`, an address such as `http://127.0.0.1:7117`. Nothing is sent before the first request.
    pub fn new(server: &str, key: Option<SecretString>) -> Result<Self, Error> {
        let no_address = |why: &str| Error::Address { server: server.to_owned(), why: why.to_owned() };
        let base = Url::parse(server.trim()).map_err(|error| no_address(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(no_address("it is neither http nor https"));
        }
        let name = base.host_str().unwrap_or_default();
        let is_here = name == "localhost" || name.starts_with("127.") || name == "[::1]";
        let mut builder = tls::client_builder(base.scheme());
        if is_here {
            // A proxy for the world outside cannot reach a server on this machine.
            builder = builder.no_proxy();
        }
        let http = builder
            .connect_timeout(CONNECT)
            // Not followed: a redirected request would take the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| Error::Client { server: server.to_owned(), source })?;
        if let Some(key) = &key {
            bearer(key)?;
        }
        Ok(Self { http, base, key })
    }

    /// The server, as its address names it.
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, ask: Ask) -> Result<Answer, Error> {
        let timeout = ask.timeout;
        let work = async {
            let response = self.open(ask).await?;
            let status = response.status().as_u16();
            let etag = response.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
            let bytes = self.read(response).await?;
            Ok(Answer { status, etag, bytes, server: self.server().to_owned() })
        };
        let late = || Error::TimedOut { server: self.server().to_owned(), secs: timeout.as_secs() };
        tokio::time::timeout(timeout, work).await.map_err(|_| late())?
    }

    /// Sends a request and gives the JSON of the answer.
    pub async fn json(&self, ask: Ask) -> Result<Json, Error> {
        self.send(ask).await?.json()
    }

    /// Whether the server can do its work, and what is in the way if not.
    pub async fn readiness(&self) -> Result<(bool, String), Error> {
        let mut url = self.base.clone();
        if let Ok(mut steps) = url.path_segments_mut() {
            steps.pop_if_empty().push("readyz");
        }
        let asked = self.http.get(url).timeout(CONNECT).send().await.map_err(|error| self.failed(error))?;
        let is_ready = asked.status().is_success();
        let body: Json = serde_json::from_slice(&self.read(asked).await?).unwrap_or_default();
        let checks = body.get("checks").and_then(Json::as_object).into_iter().flatten();
        let wrong: Vec<String> = checks
            .filter_map(|(name, found)| Some((name, found.as_str()?)))
            .filter(|(_, found)| *found != "ok")
            .map(|(name, found)| format!("{name}: {found}"))
            .collect();
        Ok((is_ready, wrong.join("; ")))
    }

    /// Sends a request and gives the answer as soon as it begins. The caller bounds the time.
    pub(super) async fn open(&self, ask: Ask) -> Result<Response, Error> {
        let response = self.request(ask)?.send().await.map_err(|error| self.failed(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
            return Err(self.garbled(format!("it sends elsewhere (status {})", status.as_u16())));
        }
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
        let body = self.read(response).await.unwrap_or_default();
        let problem = Problem::read(status.as_u16(), retry_after.map(Duration::from_secs), &body);
        Err(Error::Refused(Box::new(problem)))
    }

    fn request(&self, ask: Ask) -> Result<RequestBuilder, Error> {
        let mut url = self.base.clone();
        if let Ok(mut steps) = url.path_segments_mut() {
            steps.pop_if_empty().push("v1").extend(&ask.path);
        }
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        let mut request = self.http.request(ask.method, url).headers(ask.headers.clone());
        if !ask.headers.contains_key(ACCEPT) {
            request = request.header(ACCEPT, "application/json, application/problem+json");
        }
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, bearer(key)?);
        }
        Ok(match ask.body {
            Some(Body::Json(body)) => request.json(&body),
            Some(Body::Text(media_type, text)) => {
                request.header(reqwest::header::CONTENT_TYPE, media_type).body(text)
            }
            None => request,
        })
    }

    async fn read(&self, mut response: Response) -> Result<Bytes, Error> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len().saturating_add(piece.len()) > ANSWER_BYTES_MAX {
                return Err(self.garbled(format!("it has more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }

    /// The error for a connection that failed.
    pub(super) fn failed(&self, source: reqwest::Error) -> Error {
        // The address is told already, and it may have a key in its query.
        Error::Unreachable { server: self.server().to_owned(), source: source.without_url() }
    }

    /// The error for an answer that makes no sense.
    pub(super) fn garbled(&self, why: impl Into<String>) -> Error {
        Error::Garbled { server: self.server().to_owned(), why: why.into() }
    }
}

fn bearer(key: &SecretString) -> Result<HeaderValue, Error> {
    let mut value =
        HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim())).map_err(|_| Error::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_and_a_path_stays_one_step() {
        for wrong in ["", "localhost:7117", "ftp://h/", "http://"] {
            assert!(matches!(Client::new(wrong, None), Err(Error::Address { .. })), "{wrong}");
        }
        let client = Client::new("http://h:1/base/", Some("anb_1".to_owned().into())).unwrap();
        let ask = Ask::get(&["flows", "a/../b c"]).query("q", "x&y");
        let request = client.request(ask).unwrap().build().unwrap();
        assert_eq!(request.url().as_str(), "http://h:1/base/v1/flows/a%2F..%2Fb%20c?q=x%26y");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer anb_1");
        assert!(matches!(Client::new("http://h", Some("a\nb".to_owned().into())), Err(Error::Key)));
    }
}
