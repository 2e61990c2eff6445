//! Operators that change what is searched of chunks and leave alone what is read.

use anabranch_engine::operator::OpError;
use anabranch_engine::value::{Chunk, SEARCHED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::passage::whole;

pub mod context;
pub mod late_embed;
pub mod surrogates;

/// Most chunks of a document of which a model is asked.
const CHUNKS_MAX: usize = 10_000;

/// Refuses more chunks than a model is asked about.
fn check_number(chunks: usize) -> Result<(), OpError> {
    if chunks <= CHUNKS_MAX {
        return Ok(());
    }
    Err(OpError::InvalidInput(format!(
        "`chunks` has {chunks}, more than {CHUNKS_MAX}; cut the document into larger ones, or into several documents"
    )))
}

/// What happens to a chunk that the model has nothing usable to say of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It goes on as it came.
    #[default]
    Keep,
    /// The node fails.
    Fail,
}

/// What a search of the chunk looks at so far: what was said before, or its title, headings, table header and text.
fn searched(chunk: &Chunk) -> String {
    if let Some(text) = chunk.meta.get(SEARCHED).and_then(Json::as_str) {
        return text.to_owned();
    }
    let header = chunk.meta.get("table_header").and_then(Json::as_str);
    header.map(|header| format!("{header}\n")).unwrap_or_default() + &whole(chunk)
}

/// The chunk, of which `text` is searched from now on.
fn with_searched(chunk: &Chunk, text: String) -> Chunk {
    let mut chunk = chunk.clone();
    chunk.meta.insert(SEARCHED.to_owned(), Json::from(text));
    chunk
}

/// What went well, and how many did not; the error itself where that is asked for, and where all did not.
fn kept<T>(results: Vec<Result<T, OpError>>, on_error: OnError) -> Result<(Vec<Option<T>>, usize), OpError> {
    let n = results.len();
    let mut failed = 0;
    let mut kept = Vec::with_capacity(n);
    let mut first = None;
    for result in results {
        match result {
            Ok(found) => kept.push(Some(found)),
            // A budget that is spent stays so, and a setting that is wrong stays wrong.
            Err(error @ (OpError::Budget(_) | OpError::InvalidSetting(_))) => return Err(error),
            Err(error) if on_error == OnError::Fail => return Err(error),
            Err(error) => {
                failed += 1;
                first.get_or_insert(error);
                kept.push(None);
            }
        }
    }
    // Nothing at all came of it: a model that is not there, rather than chunks of which nothing can be said.
    match first {
        Some(error) if failed == n && n > 1 => Err(error),
        _ => Ok((kept, failed)),
    }
}
