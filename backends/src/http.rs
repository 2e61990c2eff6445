//! One room for all model servers: how they are reached, what bounds a call, which typed error a failure becomes.

use std::time::Duration;

use anabranch_engine::backend::Error;
use bytes::Bytes;
use reqwest::header::HeaderName;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

mod address;
mod body;
mod events;
mod failure;
mod tls;

pub(crate) use address::Root;
pub(crate) use body::{parse, pieces, read_body, read_start};
pub(crate) use events::Events;
pub(crate) use failure::Failures;
pub(crate) use tls::client_builder;

/// Most bytes read of an answer that reports a failure.
pub(crate) const ERROR_BYTES: usize = 64 * 1024;
/// Longest time for reading them, no more than a quarter of a call: the status has said most of it already.
pub(crate) const ERROR_BODY_TIME: Duration = Duration::from_secs(2);

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
    /// A header has no name.
    #[error("`{name}` is no name of a header; write it as `x-session-id`")]
    Header {
        /// As it was given.
        name: String,
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

/// How a model server is reached, and what bounds a call.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// Its address, as the user wrote it.
    pub(crate) base_url: String,
    /// Whether the address takes a version.
    pub(crate) root: Root,
    /// Paths that may stand at the end of the address by mistake.
    pub(crate) paths: &'static [&'static str],
    /// Sent as bearer token.
    pub(crate) api_key: Option<SecretString>,
    /// Longest wait for a connection.
    pub(crate) connect_timeout: Duration,
    /// Longest time for a whole call.
    pub(crate) timeout: Duration,
    /// Most bytes of an answer; reading stops there.
    pub(crate) max_response_bytes: usize,
}

/// A model server: where it is, and the client that reaches it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    client: Client,
    base: Url,
    host: String,
    api_key: Option<SecretString>,
    timeout: Duration,
    max_response_bytes: usize,
}

impl Endpoint {
    /// The server that `reach` describes. Nothing is sent before the first call.
    pub(crate) fn new(reach: Reach) -> Result<Self, SettingsError> {
        let base = address::base_url(&reach.base_url, reach.root, reach.paths)
            .map_err(|reason| SettingsError::Url { url: reach.base_url, reason })?;
        let name = base.host_str().unwrap_or_default();
        let host = base.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let mut client = tls::client_builder(base.scheme());
        // A proxy for the world outside cannot reach a server on this machine.
        if address::is_loopback(name) {
            client = client.no_proxy();
        }
        let client = client
            .connect_timeout(reach.connect_timeout)
            // Not followed: a redirected POST would lose its body, or take the key elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|source| SettingsError::Client { host: host.clone(), source })?;
        let Reach { api_key, timeout, max_response_bytes, .. } = reach;
        Ok(Self { client, base, host, api_key, timeout, max_response_bytes })
    }

    /// The server's name and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Most bytes of an answer.
    pub(crate) fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    /// Errors that name this server and `model`, which is how its answers and refusals are told to users.
    pub(crate) fn failures(&self, model: Option<&str>) -> Failures {
        let backend = match model {
            Some(model) => format!("model `{model}` at {}", self.host),
            None => format!("the model server at {}", self.host),
        };
        Failures { backend }
    }

    /// The address of `path` (`chat/completions`) under the base address, which may have a query of its own.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    /// Asks for what lies at `path`, and gives the whole body. Bounded by the server's timeout.
    pub(crate) async fn get(&self, path: &str, failures: &Failures) -> Result<Bytes, Error> {
        self.within(failures, async {
            let response = self.send(self.client.get(self.url(path)), failures).await?;
            read_body(response, self.max_response_bytes, failures).await
        })
        .await
    }

    /// Sends `body` to `path`, and gives the answer as soon as it begins. The caller bounds the time.
    ///
    /// `key` goes along as `Idempotency-Key`: bodies that differ need keys that differ. So do `header` and `trace`, the
    /// W3C `traceparent` of the call.
    pub(crate) async fn post_with<T: Serialize + Sync + ?Sized>(
        &self,
        path: &str,
        body: &T,
        key: &str,
        header: Option<(&HeaderName, String)>,
        trace: Option<&str>,
        failures: &Failures,
    ) -> Result<Response, Error> {
        let request = self.client.post(self.url(path)).header("Idempotency-Key", key).json(body);
        let request = trace.into_iter().fold(request, |request, trace| request.header("traceparent", trace));
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        self.send(request, failures).await
    }

    /// Asks for `path` from the root of the server's address, whatever comes back: its status, and at most
    /// `max_bytes` of its body.
    pub(crate) async fn look(&self, path: &str, max_bytes: usize) -> Option<(StatusCode, Vec<u8>)> {
        let mut url = self.base.clone();
        url.set_path(path);
        let response = self.authorised(self.client.get(url)).send().await.ok()?;
        let status = response.status();
        Some((status, body::read_start(response, max_bytes).await))
    }

    /// Sends `body` to `path` by any method, with parameters behind the address, and gives the whole body of the
    /// answer; `None` if what the path names is not there. Bounded by the server's timeout.
    pub(crate) async fn call<T: Serialize + Sync + ?Sized>(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        body: Option<&T>,
        failures: &Failures,
    ) -> Result<Option<Bytes>, Error> {
        let mut url = self.url(path);
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let request = self.client.request(method, url);
        let request = body.into_iter().fold(request, RequestBuilder::json);
        self.within(failures, async {
            let response =
                self.authorised(request).send().await.map_err(|error| failures.transport(&error))?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let response = self.success(response, failures).await?;
            read_body(response, self.max_response_bytes, failures).await.map(Some)
        })
        .await
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.api_key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }

    /// Sends, and gives the answer if its status is a success.
    async fn send(&self, request: RequestBuilder, failures: &Failures) -> Result<Response, Error> {
        let request = self.authorised(request);
        let response = request.send().await.map_err(|error| failures.transport(&error))?;
        self.success(response, failures).await
    }

    /// The answer, if its status is a success.
    async fn success(&self, response: Response, failures: &Failures) -> Result<Response, Error> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let start = body::read_start(response, ERROR_BYTES);
        let body =
            tokio::time::timeout(ERROR_BODY_TIME.min(self.timeout / 4), start).await.unwrap_or_default();
        Err(failures.status(status, &headers, &body))
    }

    /// One limit around everything in `work`, so that no slow trickle of headers or pieces gets past it.
    pub(crate) async fn within<T>(
        &self,
        failures: &Failures,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            Err(failures.timed_out(format!("no complete answer within {:?} (`timeout`)", self.timeout)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_below_the_base_and_before_its_query() {
        let reach = Reach {
            base_url: "https://h/v2?key=1".into(),
            root: Root::Versioned,
            paths: &[],
            api_key: None,
            connect_timeout: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            max_response_bytes: 100,
        };
        let endpoint = Endpoint::new(reach).unwrap();
        assert_eq!(endpoint.url("chat/completions").as_str(), "https://h/v2/chat/completions?key=1");
    }
}
