//! What embedders and rerankers on a server have in common: where it is, which model, how texts go there.

use std::borrow::Cow;
use std::ops::Range;

use anabranch_engine::backend::{Call, Error};
use anabranch_engine::value::Text;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

mod batches;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::EncoderSettings;

use crate::http::{Endpoint, Failures, Reach, Root, SettingsError, parse, read_body};
use batches::BatchLimits;

/// Largest answer that is looked through for an error when it is nothing else.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// Where a server takes texts, below its base address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    /// Whether the address takes a version.
    pub(crate) root: Root,
    /// The path.
    pub(crate) path: &'static str,
}

/// A server that encodes texts.
#[derive(Debug)]
pub(crate) struct Server {
    endpoint: Endpoint,
    path: &'static str,
    /// The model's name as configured.
    pub(crate) configured: Option<String>,
    /// The model's name: as configured, or as the server's list gave it.
    model: OnceCell<String>,
    limits: BatchLimits,
    concurrency: usize,
}

/// The names of the models that a server serves.
#[derive(Deserialize)]
struct Models {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
}

impl Server {
    /// The server that `settings` describe. Nothing is sent before the first text.
    pub(crate) fn new(
        settings: &EncoderSettings,
        route: Route,
        paths: &'static [&'static str],
    ) -> Result<Self, SettingsError> {
        let endpoint = Endpoint::new(Reach {
            base_url: settings.base_url.clone(),
            root: route.root,
            paths,
            api_key: settings.api_key.clone(),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
            max_response_bytes: settings.max_response_bytes,
        })?;
        Ok(Self {
            endpoint,
            path: route.path,
            configured: settings.model.clone(),
            model: OnceCell::new_with(settings.model.clone()),
            limits: BatchLimits::of(settings.batch_size),
            concurrency: settings.concurrency.max(1),
        })
    }

    /// The model where its name is known, else the host.
    pub(crate) fn name(&self) -> &str {
        self.model.get().map_or(self.endpoint.host(), String::as_str)
    }

    /// The model as configured, else the host with whatever model it serves: the same before and after the first call.
    pub(crate) fn settled_name(&self) -> &str {
        self.configured.as_deref().unwrap_or(self.endpoint.host())
    }

    /// Errors that name this server and its model.
    pub(crate) fn failures(&self) -> Failures {
        self.endpoint.failures(self.model.get().map(String::as_str))
    }

    /// The model's name, asked for once if the settings leave it open.
    pub(crate) async fn model(&self) -> Result<&str, Error> {
        let name = self.model.get_or_try_init(|| async {
            let failures = self.failures();
            let body = self.endpoint.get("models", &failures).await?;
            let models: Models = parse(&body, &failures)?;
            let first = models.data.into_iter().next();
            first.map(|model| model.id).ok_or_else(|| failures.unavailable("it serves no model"))
        });
        name.await.map(String::as_str)
    }

    /// Sends `body`, and hands the answer's headers and its whole body to `read`, within the time for one request.
    pub(crate) async fn post<B: Serialize + Sync, T>(
        &self,
        body: &B,
        key: &Asked<'_>,
        read: impl FnOnce(&Answer<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.post_to(self.path, body, key, read).await
    }

    /// As [`Server::post`], at another path of the server.
    pub(crate) async fn post_to<B: Serialize + Sync, T>(
        &self,
        path: &str,
        body: &B,
        key: &Asked<'_>,
        read: impl FnOnce(&Answer<'_>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let failures = self.failures();
        let work = async {
            let response = self.endpoint.post_with(path, body, &key.key, None, key.trace, &failures).await?;
            let n_tokens = tokens_header(&response);
            let body = read_body(response, self.endpoint.max_response_bytes(), &failures).await?;
            read(&Answer { body: &body, n_tokens, failures: &failures })
        };
        self.endpoint.within(&failures, Box::pin(work)).await
    }

    /// Answers of `ask` to all of `texts`, batch by batch and in order. A batch that the server finds too large is
    /// halved and asked again, down to a single text; so `n` texts take at most `2n - 1` requests.
    pub(crate) async fn in_batches<'a, T: Send>(
        &self,
        texts: &'a [Cow<'a, str>],
        call: &'a Call<'a>,
        ask: impl Fn(Batch<'a>) -> BoxFuture<'a, Result<T, Error>> + Send + Sync,
    ) -> Result<Vec<T>, Error> {
        let ask = |range: Range<usize>| {
            // The same batch has the same key when it is sent again, and no two batches have one key.
            let key = format!("{}/{}-{}", call.idempotency_key, range.start, range.end);
            ask(Batch {
                texts: texts.get(range).unwrap_or_default(),
                asked: Asked { key, trace: call.trace },
            })
        };
        let batches = self.limits.cut(texts);
        let answers = stream::iter(batches).map(|batch| halving(batch, &ask)).buffered(self.concurrency);
        let answers: Vec<Vec<T>> = answers.try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }
}

/// Texts that go into one request.
pub(crate) struct Batch<'a> {
    /// The texts.
    pub(crate) texts: &'a [Cow<'a, str>],
    /// Which request it is.
    pub(crate) asked: Asked<'a>,
}

/// What names a request to a server.
pub(crate) struct Asked<'a> {
    /// Its `Idempotency-Key`.
    pub(crate) key: String,
    /// The W3C `traceparent` of the call.
    pub(crate) trace: Option<&'a str>,
}

/// What a server answered to one batch.
pub(crate) struct Answer<'a> {
    /// The whole body.
    pub(crate) body: &'a [u8],
    /// Tokens it read, where a header says so.
    pub(crate) n_tokens: Option<u64>,
    /// To speak of what is wrong with it.
    pub(crate) failures: &'a Failures,
}

impl Answer<'_> {
    /// What it says. Some servers put an error there under a status of success: it is told as what it is.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        parse(self.body, self.failures).map_err(|no_answer| {
            let body = Some(self.body).filter(|body| body.len() <= REFUSAL_BYTES_MAX);
            let fields = body.and_then(|body| serde_json::from_slice::<Map<String, Value>>(body).ok());
            let error =
                fields.as_ref().and_then(|fields| Some((fields.get("error")?, fields.get("error_type"))));
            error.map_or(no_answer, |(error, kind)| self.failures.in_body(error, kind))
        })
    }
}

async fn halving<'a, T>(
    batch: Range<usize>,
    ask: &(impl Fn(Range<usize>) -> BoxFuture<'a, Result<T, Error>> + Sync),
) -> Result<Vec<T>, Error> {
    let mut waiting = vec![batch];
    let mut answers = Vec::new();
    while let Some(batch) = waiting.pop() {
        match ask(batch.clone()).await {
            Ok(answer) => answers.push(answer),
            Err(error) if batch.len() > 1 && is_too_large(&error) => {
                let middle = batch.start + batch.len() / 2;
                waiting.extend([middle..batch.end, batch.start..middle]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

/// Whether a refusal is about how much was sent. A wrong yes costs a few requests more, each half the size.
fn is_too_large(error: &Error) -> bool {
    let Error::Rejected { message, .. } = error else { return false };
    let said = message.to_lowercase();
    let is_about_size =
        ["batch", "too large", "too long", "too many", "too big", "maximum", "max ", "exceed", "at most"];
    said.starts_with("413")
        || (said.starts_with("400") || said.starts_with("422"))
            && is_about_size.iter().any(|words| said.contains(words))
}

/// Tokens that TEI says to have read.
fn tokens_header(response: &Response) -> Option<u64> {
    response.headers().get("x-compute-tokens")?.to_str().ok()?.trim().parse().ok()
}

/// `texts`, each with `prefix` before it.
pub(crate) fn prefixed<'a>(prefix: &str, texts: &'a [Text]) -> Vec<Cow<'a, str>> {
    let with_prefix = |text: &'a Text| match prefix {
        "" => Cow::Borrowed(&**text),
        _ => Cow::Owned(format!("{prefix}{text}")),
    };
    texts.iter().map(with_prefix).collect()
}

/// Puts what a server said about each of `n_texts` texts into their order. `found` holds an index with each; without
/// any index at all, the order is taken as that of the texts.
pub(crate) fn in_order<T>(
    found: Vec<(Option<usize>, T)>,
    n_texts: usize,
    failures: &Failures,
) -> Result<Vec<T>, Error> {
    if found.len() != n_texts {
        return Err(failures.garbled(format!("{} results for {n_texts} texts", found.len())));
    }
    if found.iter().all(|(index, _)| index.is_none()) {
        return Ok(found.into_iter().map(|(_, value)| value).collect());
    }
    let mut slots: Vec<Option<T>> = std::iter::repeat_with(|| None).take(n_texts).collect();
    for (index, value) in found {
        let index = index.ok_or_else(|| failures.garbled("a result without `index` among those with one"))?;
        let slot = slots.get_mut(index).ok_or_else(|| {
            failures.garbled(format!("a result with `index` {index}, though there were {n_texts} texts"))
        })?;
        if slot.replace(value).is_some() {
            return Err(failures.garbled(format!("two results with `index` {index}")));
        }
    }
    // As many results as texts, none twice: there is one for each.
    Ok(slots.into_iter().flatten().collect())
}
