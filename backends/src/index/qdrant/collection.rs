//! The collection: made with what its points need, and described by a point of its own.

use anabranch_engine::backend::Error;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::super::VectorSpace;
use super::Shared;
use super::points::{self, Counted, Kind};

/// The format that this program reads and writes.
const FORMAT: u64 = 1;

/// What is fixed when chunks are written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Collection {
    pub(super) weights: Weights,
    pub(super) vectors: Option<VectorSpace>,
}

/// How BM25 weighs a word of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Weights {
    pub(super) k1: f32,
    pub(super) b: f32,
    pub(super) average_words: f32,
}

/// The point that describes the collection.
#[derive(Serialize, Deserialize)]
struct Description {
    kind: Kind,
    format: u64,
    weights: Weights,
    identity: Option<String>,
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Described {
    payload: Json,
}

impl Collection {
    /// The collection as it is; `None` if there is none.
    pub(super) async fn read(shared: &Shared) -> Result<Option<Self>, Error> {
        let body = json!({ "ids": [points::id(&[])], "with_payload": true });
        let Some(found) = shared.ask::<Vec<Described>>(Method::POST, "/points", Some(&body)).await? else {
            return Ok(None);
        };
        let name = &shared.settings.name;
        let Some(described) = found.into_iter().next() else {
            // A run that was killed in between has made the collection and not described it.
            let counted: Option<Counted> =
                shared.ask(Method::POST, "/points/count", Some(&json!({ "exact": true }))).await?;
            if counted.is_none_or(|counted| counted.count == 0) {
                return Ok(None);
            }
            return Err(shared.failures.rejected(format!(
                "the collection `{name}` is not ours: it has points, and none that describes it; name another index"
            )));
        };
        let format = described.payload.get("format").and_then(Json::as_u64);
        if format != Some(FORMAT) {
            return Err(shared.failures.rejected(format!(
                "the collection `{name}` has format {}, this program reads format {FORMAT}; \
                 use the version that wrote it, or delete the collection and index again",
                format.map_or_else(|| "unknown".to_owned(), |format| format.to_string())
            )));
        }
        let description: Description = serde_json::from_value(described.payload)
            .map_err(|error| shared.failures.garbled(format!("the collection's description: {error}")))?;
        let Description { weights, identity, dimensions, .. } = description;
        let vectors =
            identity.zip(dimensions).map(|(identity, dimensions)| VectorSpace { identity, dimensions });
        Ok(Some(Self { weights, vectors }))
    }

    /// Makes the server's collection like this one. Another that is there goes, with all that it holds.
    pub(super) async fn ensure(&self, shared: &Shared) -> Result<(), Error> {
        if Self::read(shared).await?.as_ref() == Some(self) {
            return Ok(());
        }
        shared.check_version().await?;
        // Also where there is none: one without a description is empty, and its vectors may be others.
        shared.ask::<bool>(Method::DELETE, "", None).await?;
        let mut dense = json!({});
        if let Some(space) = &self.vectors {
            dense = json!({ points::DENSE: { "size": space.dimensions, "distance": "Cosine" } });
        }
        let create = json!({
            "vectors": dense,
            "sparse_vectors": { points::WORDS: { "modifier": "idf" } },
            // Counts of words are those of a shard.
            "shard_number": 1,
        });
        shared.ask::<bool>(Method::PUT, "", Some(&create)).await?;
        for (field, schema) in [
            ("namespace", json!({ "type": "keyword", "is_tenant": true })),
            ("kind", json!("keyword")),
            ("doc", json!("keyword")),
        ] {
            let index = json!({ "field_name": field, "field_schema": schema });
            shared.change(Method::PUT, "/index", &index).await?;
        }
        // Last: whoever finds it finds everything else.
        let description = Description {
            kind: Kind::Index,
            format: FORMAT,
            weights: self.weights,
            identity: self.vectors.as_ref().map(|space| space.identity.clone()),
            dimensions: self.vectors.as_ref().map(|space| space.dimensions),
        };
        let point = json!({ "id": points::id(&[]), "vector": {}, "payload": description });
        shared.change(Method::PUT, "/points", &json!({ "points": [point] })).await
    }
}
