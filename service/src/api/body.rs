//! Reading requests: bounded, typed, and wrong ones told with the place.

use axum::RequestExt as _;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::problem::{Code, Mistake, Problem};
use super::{App, texts};

/// A body of JSON.
#[derive(Debug, Clone)]
pub struct Body<T> {
    /// What it says.
    pub value: T,
    /// Hash of its bytes: two requests with the same are the same.
    pub hash: String,
}

/// A body as it came, up to `limits.documents_bytes`.
#[derive(Debug, Clone)]
pub struct Large(pub Bytes);

/// The parameters of a query.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        must_be_json(request.headers())?;
        let bytes = read(request, app, app.config.limits.body_bytes).await?;
        let value = json(&bytes)?;
        Ok(Self { value, hash: blake3::hash(&bytes).to_hex().to_string() })
    }
}

impl FromRequest<App> for Large {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        read(request, app, app.config.limits.documents_bytes).await.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri).map(|axum::extract::Query(value)| Self(value)).map_err(
            |rejection| {
                let text = rejection.body_text();
                // Said by us already: only what is wrong is of interest.
                let detail = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Problem::new(Code::BadParameter, detail)
            },
        )
    }
}

/// The whole body, at most `most` bytes, in the time that the limits allow.
pub async fn read(request: Request, app: &App, most: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(Code::TooLarge, format!("the body has more than {most} bytes"))
            .hint("the section `limits` of the configuration sets the bound")
    };
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most as u64) {
        return Err(too_large());
    }
    let mut stream = request.with_limited_body().into_body().into_data_stream();
    let whole = async {
        let mut bytes = BytesMut::new();
        while let Some(part) = stream.next().await {
            let part =
                part.map_err(|error| Problem::new(Code::BadJson, format!("the body broke off: {error}")))?;
            if bytes.len() + part.len() > most {
                return Err(too_large());
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    };
    let time = app.config.limits.body_time;
    tokio::time::timeout(time, whole).await.unwrap_or_else(|_| {
        Err(Problem::new(Code::TooSlow, format!("the body did not arrive within {} s", time.as_secs())))
    })
}

/// What `bytes` say, or everything that is wrong with them.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    texts::in_json(bytes)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        let text = error.to_string();
        // The place stands in the pointer, or in its own words below.
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        if error.is_data() {
            let detail = if pointer.is_empty() { message.clone() } else { format!("`{pointer}`: {message}") };
            return Problem::new(Code::Invalid, detail).errors(vec![Mistake::at(pointer, message)]);
        }
        let (line, column) = (error.line(), error.column());
        Problem::new(
            Code::BadJson,
            format!("the body is no JSON: {message}, at line {line}, column {column}"),
        )
    })?;
    reader.end().map_err(|error| Problem::new(Code::BadJson, format!("the body is no JSON: {error}")))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// A name as a JSON pointer has it.
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Refuses a body that does not say that it is JSON.
pub fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return Err(Problem::new(Code::MediaType, "the header `Content-Type` is missing")
            .hint("send `Content-Type: application/json`"));
    };
    let given = given.to_str().unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::new(Code::MediaType, format!("the body is `{given}`")).hint("send `application/json`"))
}
