//! Sending one message to one address: checked, bounded, and typed by what is to be done next.

use std::time::Duration;

use anabranch_backends::egress::Guard;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;

use crate::exit::chain;
use crate::tls;

/// Longest time of an attempt.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection that is not used is kept.
const IDLE: Duration = Duration::from_secs(30);

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken.
    Taken(u16),
    /// Nobody wants it there any more.
    Gone(u16),
    /// It was not taken.
    Failed {
        /// The status, if there was an answer.
        status: Option<u16>,
        /// Why.
        why: String,
        /// When the receiver wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It may not be sent there: trying again would not help before something is changed.
    Refused(String),
}

/// Sends messages to addresses that the guard lets through.
#[derive(Debug)]
pub(super) struct Post {
    guard: Guard,
    plain: Result<reqwest::Client, String>,
    encrypted: Result<reqwest::Client, String>,
}

impl Post {
    pub(super) fn new(guard: Guard) -> Self {
        let client = |scheme| {
            tls::client_builder(scheme)
                .dns_resolver(guard.resolver(scheme))
                // A proxy would resolve names by itself, past the guard.
                .no_proxy()
                // A redirect would lead past the check of the address.
                .redirect(Policy::none())
                .connect_timeout(CONNECT)
                .timeout(TIMEOUT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(1)
                .user_agent(concat!("anabranch/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| chain(&error))
        };
        Self { plain: client("http"), encrypted: client("https"), guard }
    }

    /// Sends `body` to `url`.
    pub(super) async fn send(&self, url: &str, headers: &[(&'static str, String)], body: String) -> Outcome {
        let url = match self.guard.url(url) {
            Ok(url) => url,
            Err(refused) => return Outcome::Refused(refused.to_string()),
        };
        let client = match if url.scheme() == "https" { &self.encrypted } else { &self.plain } {
            Ok(client) => client,
            Err(why) => return failed(None, why.clone()),
        };
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = match request.send().await {
            Ok(response) => response,
            // The address is known, and may have a secret in it.
            Err(error) => return failed(None, chain(&error.without_url())),
        };
        // What the receiver says beyond its status is of no interest: the body is never read.
        let status = response.status();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
        match status.as_u16() {
            code @ 200..=299 => Outcome::Taken(code),
            code @ 410 => Outcome::Gone(code),
            code @ 300..=399 => {
                failed(Some(code), format!("status {code}: it redirects, which is not followed"))
            }
            code => Outcome::Failed {
                status: Some(code),
                why: format!("status {code}"),
                retry_after: retry_after.map(Duration::from_secs),
            },
        }
    }
}

fn failed(status: Option<u16>, why: String) -> Outcome {
    Outcome::Failed { status, why, retry_after: None }
}
