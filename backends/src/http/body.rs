//! Reading the body of an answer, within a limit of its size.

use anabranch_engine::backend::Error;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::Response;
use serde::Deserialize;

use super::failure::{Failures, cut};

/// Most bytes of an answer that an error about it shows.
const SHOWN_BYTES: usize = 200;

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection did not hold.
    #[error("the connection broke")]
    Transport(#[source] reqwest::Error),
    /// There is more of it than was allowed.
    #[error("too large")]
    TooLarge {
        /// What was allowed.
        max_bytes: usize,
    },
}

impl Broken {
    /// As an error of the server that `failures` speak for.
    pub(crate) fn into_error(self, failures: &Failures) -> Error {
        match self {
            Self::Transport(error) => failures.transport(&error),
            Self::TooLarge { max_bytes } => {
                failures.garbled(format!("the answer is larger than {max_bytes} bytes"))
            }
        }
    }
}

/// The pieces of a body, until they are more than `max_bytes`.
pub(crate) fn pieces(response: Response, max_bytes: usize) -> impl Stream<Item = Result<Bytes, Broken>> {
    let mut left = max_bytes;
    response.bytes_stream().map(move |piece| {
        let piece = piece.map_err(Broken::Transport)?;
        left = left.checked_sub(piece.len()).ok_or(Broken::TooLarge { max_bytes })?;
        Ok(piece)
    })
}

/// The whole body, if it has at most `max_bytes`.
pub(crate) async fn read_body(
    response: Response,
    max_bytes: usize,
    failures: &Failures,
) -> Result<Bytes, Error> {
    if response.content_length().is_some_and(|length| length > max_bytes as u64) {
        return Err(Broken::TooLarge { max_bytes }.into_error(failures));
    }
    let mut body = Vec::new();
    let mut pieces = std::pin::pin!(pieces(response, max_bytes));
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(|error| error.into_error(failures))?);
    }
    Ok(body.into())
}

/// As much of the body as fits into `max_bytes`; what breaks off is taken as it is.
pub(crate) async fn read_start(response: Response, max_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut pieces = std::pin::pin!(pieces(response, max_bytes));
    while let Some(Ok(piece)) = pieces.next().await {
        body.extend_from_slice(&piece);
    }
    body
}

/// Reads JSON; what ends too early was cut off on its way, what is wrong otherwise is garbled.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], failures: &Failures) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_eof() {
            failures.unavailable("the answer breaks off")
        } else {
            let start = String::from_utf8_lossy(body.get(..SHOWN_BYTES).unwrap_or(body));
            failures.garbled(format!("{error}; the answer begins `{}`", cut(&start)))
        }
    })
}
