//! Vectors for the chunks of documents, several documents in one call.

use std::sync::Arc;
use std::time::Duration;

use anabranch_backends::index::{Entry, Fingerprint, VectorSpace, searched_text};
use anabranch_engine::backend::{Call, Embedder, Error, Passage, Redact, Vector};
use anabranch_engine::operator::EmbedderName;
use anabranch_engine::value::{DocumentId, Text};
use tokio::sync::OnceCell;

use super::cutter::Pieces;

/// Calls for the same texts, before they count as failed.
const ATTEMPTS: u32 = 3;
/// Wait before the second attempt, where the server asks for none; doubled before every further one.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait between two attempts, whatever the server asks for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Text whose vector tells how long the vectors are, where no document is at hand.
const PROBE: &str = "a";

/// Makes the vectors of an index.
#[derive(Debug, Clone)]
pub struct Encoder {
    /// The embedder's name in the configuration.
    pub name: EmbedderName,
    embedder: Arc<dyn Embedder>,
    /// What takes secrets out of what its server says.
    redact: Option<Arc<dyn Redact>>,
    /// Known once the first vector is there, or if the index has some already.
    dimensions: Arc<OnceCell<u32>>,
}

/// A document that has been cut.
pub(super) struct Cut {
    pub(super) id: DocumentId,
    pub(super) fingerprint: Fingerprint,
    /// The chunks; `None` if cutting was cancelled.
    pub(super) pieces: Result<Option<Pieces>, Failure>,
}

/// A document on its way into the index.
pub(super) struct Encoded {
    pub(super) id: DocumentId,
    pub(super) fingerprint: Fingerprint,
    /// The chunks with their vectors; `None` if the work was cancelled.
    pub(super) entries: Result<Option<Vec<Entry>>, Failure>,
}

/// Why a document could not be indexed.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The indexing flow failed on it.
    Cutting(String),
    /// Its chunks got no vectors.
    Embedding(Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cutting(why) => f.write_str(why),
            Self::Embedding(error) => write!(f, "it got no vectors: {error}"),
        }
    }
}

impl Encoder {
    /// The embedder called `name`.
    pub fn new(name: EmbedderName, embedder: Arc<dyn Embedder>) -> Self {
        Self { name, embedder, redact: None, dimensions: Arc::default() }
    }

    /// The same, with `redact` taking secrets out of what its server says of a failure.
    #[must_use]
    pub fn redacting(self, redact: Option<Arc<dyn Redact>>) -> Self {
        Self { redact, ..self }
    }

    /// What its vectors are, without their length.
    pub fn identity(&self) -> String {
        self.embedder.identity()
    }

    /// Takes over the length of the vectors that an index has already.
    pub(super) fn expect(&self, space: &VectorSpace) {
        if space.identity == self.identity() {
            // It may be known already: then it came from the embedder, and counts for more.
            self.dimensions.set(space.dimensions).ok();
        }
    }

    /// What its vectors are; asks for one if their length is not known yet.
    pub(super) async fn space(&self) -> Result<VectorSpace, Error> {
        if self.dimensions.get().is_none() {
            self.embed(&[PROBE.into()], PROBE).await?;
        }
        let dimensions = self.dimensions.get().copied().unwrap_or_default();
        Ok(VectorSpace { identity: self.identity(), dimensions })
    }

    /// The documents of `group` with the vectors of their chunks.
    pub(super) async fn encode(&self, group: Vec<Cut>) -> Vec<Encoded> {
        let texts: Vec<Text> = group.iter().flat_map(texts_of).collect();
        let key = group.first().map(|cut| cut.fingerprint.as_str().to_owned()).unwrap_or_default();
        match self.embed(&texts, &key).await {
            Ok(vectors) => {
                let mut vectors = vectors.into_iter();
                group.into_iter().map(|cut| self.with_vectors(cut, &mut vectors)).collect()
            }
            // One of the documents may be all that it does not like.
            Err(Error::Rejected { .. } | Error::Garbled { .. }) if group.len() > 1 => {
                let mut encoded = Vec::with_capacity(group.len());
                for cut in group {
                    let texts: Vec<Text> = texts_of(&cut).collect();
                    encoded.push(match self.embed(&texts, cut.fingerprint.as_str()).await {
                        Ok(vectors) => self.with_vectors(cut, &mut vectors.into_iter()),
                        Err(error) => failed(cut, &error),
                    });
                }
                encoded
            }
            Err(error) => group.into_iter().map(|cut| failed(cut, &error)).collect(),
        }
    }

    /// The document with the vectors that its flow gave, or else the next ones of `vectors`.
    fn with_vectors(&self, mut cut: Cut, vectors: &mut impl Iterator<Item = Vector>) -> Encoded {
        let given =
            cut.pieces.as_mut().ok().and_then(Option::as_mut).and_then(|pieces| pieces.vectors.take());
        let Some(given) = given.filter(|given| !given.is_empty()) else { return with_vectors(cut, vectors) };
        match self.checked(given.len(), given) {
            Ok(given) => with_vectors(cut, &mut given.into_iter()),
            Err(error) => failed(cut, &error),
        }
    }

    /// The vectors of `texts`; a failure without secrets.
    async fn embed(&self, texts: &[Text], key: &str) -> Result<Vec<Vector>, Error> {
        let made = self.embed_patiently(texts, key).await;
        made.map_err(|error| match &self.redact {
            Some(redact) => error.redacted(&**redact),
            None => error,
        })
    }

    /// The vectors of `texts`, after some attempts if the server is not well.
    async fn embed_patiently(&self, texts: &[Text], key: &str) -> Result<Vec<Vector>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let call = Call::keyed(key);
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.embedder.embed(texts, Passage::Document, &call).await {
                Ok(found) => return self.checked(texts.len(), found.vectors),
                Err(
                    Error::Overloaded { retry_after, .. }
                    | Error::Unavailable { retry_after, .. }
                    | Error::Unreached { retry_after, .. },
                ) => {
                    tokio::time::sleep(retry_after.unwrap_or(pause).min(PAUSE_MAX)).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        let found = self.embedder.embed(texts, Passage::Document, &call).await?;
        self.checked(texts.len(), found.vectors)
    }

    fn checked(&self, n_texts: usize, vectors: Vec<Vector>) -> Result<Vec<Vector>, Error> {
        let garbled = |message| Error::Garbled { backend: format!("embedder `{}`", self.name), message };
        let first = vectors.first().and_then(|vector| u32::try_from(vector.len()).ok()).unwrap_or_default();
        if vectors.len() != n_texts || first == 0 {
            return Err(garbled(format!("{} vectors for {n_texts} texts", vectors.len())));
        }
        if self.dimensions.get().is_none() {
            // Whoever was faster said the same, or is contradicted below.
            self.dimensions.set(first).ok();
        }
        let known = self.dimensions.get().copied().unwrap_or(first);
        match vectors.iter().find(|vector| vector.len() as u64 != u64::from(known)) {
            None => Ok(vectors),
            Some(other) => Err(garbled(format!(
                "a vector of {} numbers, where those of this index have {known}: another model answers under the \
                 same name",
                other.len()
            ))),
        }
    }
}

/// The texts of a document's chunks that have no vectors yet: those that a search by words looks at, too.
fn texts_of(cut: &Cut) -> impl Iterator<Item = Text> {
    let pieces = cut.pieces.as_ref().ok().and_then(Option::as_ref);
    let without = pieces.filter(|pieces| pieces.vectors.is_none());
    without.into_iter().flat_map(|pieces| &pieces.chunks).map(|chunk| searched_text(chunk).into())
}

fn with_vectors(cut: Cut, vectors: &mut impl Iterator<Item = Vector>) -> Encoded {
    let Cut { id, fingerprint, pieces } = cut;
    let entries = pieces.map(|pieces| {
        pieces.map(|pieces| {
            pieces.chunks.into_iter().map(|chunk| Entry { chunk, vector: vectors.next() }).collect()
        })
    });
    Encoded { id, fingerprint, entries }
}

fn failed(cut: Cut, error: &Error) -> Encoded {
    let Cut { id, fingerprint, pieces } = cut;
    let entries = match pieces {
        // Without chunks there was nothing to fail at.
        Ok(Some(pieces)) if pieces.chunks.is_empty() => Ok(Some(Vec::new())),
        Ok(Some(_)) => Err(Failure::Embedding(error.clone())),
        Ok(None) => Ok(None),
        Err(failure) => Err(failure),
    };
    Encoded { id, fingerprint, entries }
}

impl Cut {
    /// The document, for an index without vectors.
    pub(super) fn bare(self) -> Encoded {
        with_vectors(self, &mut std::iter::empty())
    }

    /// The document, with nothing done: the work was cancelled.
    pub(super) fn cancelled(id: DocumentId, fingerprint: Fingerprint) -> Encoded {
        Encoded { id, fingerprint, entries: Ok(None) }
    }
}
