//! Indexing documents that somebody sends, beside those that are there.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_backends::index::{Fingerprint, IndexStore, StoreError};
use anabranch_backends::load::Source;
use anabranch_engine::backend::Namespace;
use anabranch_engine::cx::Resources;
use anabranch_engine::value::{DocumentId, Metadata, Text};
use tokio_util::sync::CancellationToken;

use super::encoder::{Cut, Encoded};
use super::{Cutter, Encoder, Error, Failure, GROUP_DOCUMENTS, Summary};

/// A document that somebody sends.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// Its name within the index.
    pub id: DocumentId,
    /// Its title, if it has one.
    pub title: Option<Text>,
    /// Its text.
    pub text: Text,
    /// Facts that retrieval can filter on.
    pub meta: Metadata,
}

/// Where documents go, and what makes chunks and vectors of them.
#[derive(Debug, Clone)]
pub struct Target {
    /// The index.
    pub index: Arc<dyn IndexStore>,
    /// Whose part of it.
    pub namespace: Namespace,
    /// What cuts the documents.
    pub cutter: Cutter,
    /// What makes the vectors; none for an index without.
    pub encoder: Option<Encoder>,
    /// What the cutter's flow may use.
    pub resources: Arc<Resources>,
}

impl Target {
    /// Puts documents in; all that is there under other names stays. A document that is as it was is left alone.
    pub async fn put(self, documents: Vec<Given>, cancel: &CancellationToken) -> Result<Summary, Error> {
        let manifest = self.index.manifest(&self.namespace).await?;
        let space = self.index.space(&self.namespace).await?;
        let wanted = self.encoder.as_ref().map(Encoder::identity);
        let found = space.as_ref().map(|space| &*space.identity);
        if !manifest.is_empty() && found != wanted.as_deref() {
            // Vectors of another kind would take the place of all that is there.
            let named = |identity: Option<&str>| identity.unwrap_or("no embedder").to_owned();
            let n_elsewhere = manifest.iter().count();
            return Err(Error::OtherVectors {
                found: named(found),
                wanted: named(wanted.as_deref()),
                n_elsewhere,
            });
        }
        if let (Some(encoder), Some(space)) = (&self.encoder, &space) {
            encoder.expect(space);
        }
        let stamp = format!("{} vectors: {}", self.cutter.stamp, wanted.unwrap_or_default());
        let mut summary = Summary::default();
        let mut changed = Vec::new();
        let mut seen = BTreeSet::new();
        // Of two with the same name the last counts, as if it had come later.
        for given in documents.into_iter().rev().filter(|given| seen.insert(given.id.clone())) {
            let source = Source::given(given.id, given.title, given.text, given.meta);
            let fingerprint = Fingerprint::new(&source.hash, &stamp);
            if manifest.is_current(&source.id, &fingerprint) {
                summary.unchanged += 1;
            } else {
                changed.push((source, fingerprint));
            }
        }
        if changed.is_empty() {
            return Ok(summary);
        }
        let space = match &self.encoder {
            Some(encoder) => Some(encoder.space().await.map_err(StoreError::Backend)?),
            None => None,
        };
        let mut writer = self.index.writer(&self.namespace, space.as_ref()).await?;
        let mut changed = changed.into_iter().rev().peekable();
        while changed.peek().is_some() && summary.gave_up.is_none() {
            let mut group = Vec::with_capacity(GROUP_DOCUMENTS);
            for (source, fingerprint) in changed.by_ref().take(GROUP_DOCUMENTS) {
                let id = source.id.clone();
                let pieces = self.cutter.cut(source, self.resources.clone(), cancel.child_token()).await;
                group.push(Cut { id, fingerprint, pieces: pieces.map_err(Failure::Cutting) });
            }
            let encoded: Vec<Encoded> = match &self.encoder {
                Some(encoder) => encoder.encode(group).await,
                None => group.into_iter().map(Cut::bare).collect(),
            };
            for Encoded { id, fingerprint, entries } in encoded {
                match entries {
                    Ok(None) => summary.interrupted = true,
                    Ok(Some(entries)) => {
                        summary.chunks += entries.len();
                        writer.replace(&id, &fingerprint, entries).await?;
                        match manifest.get(&id) {
                            Some(_) => summary.changed += 1,
                            None => summary.added += 1,
                        }
                    }
                    Err(failure) => {
                        if let Failure::Embedding(error) = &failure {
                            summary.gave_up = Some(error.clone());
                        }
                        summary.failed.push((id, failure));
                    }
                }
            }
        }
        writer.finish().await?;
        Ok(summary)
    }
}

/// Takes a document out; `false` if it is not there. All others stay.
pub async fn remove(
    index: &Arc<dyn IndexStore>,
    namespace: &Namespace,
    encoder: Option<&Encoder>,
    id: &DocumentId,
) -> Result<bool, Error> {
    let manifest = index.manifest(namespace).await?;
    if manifest.get(id).is_none() {
        return Ok(false);
    }
    let space = index.space(namespace).await?;
    if let (Some(encoder), Some(space)) = (encoder, &space) {
        encoder.expect(space);
    }
    // The space that it has: a writer with another one would begin with an empty index.
    let mut writer = index.writer(namespace, space.as_ref()).await?;
    writer.remove(id).await?;
    writer.finish().await?;
    Ok(true)
}
