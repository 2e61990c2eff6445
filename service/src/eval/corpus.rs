//! The index of a set's corpus: made once for a corpus and a way of indexing it, in a place of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::index::IndexStore;
use anabranch_engine::backend::Namespace;
use anabranch_engine::cx::Resources;
use anabranch_engine::value::DocumentId;
use anabranch_evaluation::set::{self, CORPUS, CorpusLine};
use tokio_util::sync::CancellationToken;

use crate::config::StoreConfig;
use crate::indexes::Opened;
use crate::indexing::{self, Cutter, Encoder, Given, Summary, Target};
use crate::resources;

/// The name of the index within its place.
const NAME: &str = "corpus";
/// Written when all documents are in.
const COMPLETE: &str = "complete";
/// Documents that are indexed before the next commit: a kill loses no more.
const BATCH: usize = 512;

/// Why there is no index of a corpus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The corpus cannot be used.
    #[error(transparent)]
    Set(#[from] set::Error),
    /// The place cannot be used.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The index cannot be opened.
    #[error(transparent)]
    Open(#[from] resources::Error),
    /// Indexing failed.
    #[error("cannot index the corpus")]
    Indexing(#[from] indexing::Error),
    /// Documents are not in it: figures would be too low without a word.
    #[error("{n} of the corpus cannot be indexed: `{id}`: {why}")]
    Documents {
        /// How many, with the noun.
        n: String,
        /// The first.
        id: DocumentId,
        /// Why.
        why: indexing::Failure,
    },
}

/// A corpus, and how it is indexed.
pub struct Corpus {
    file: PathBuf,
    place: PathBuf,
    cutter: Cutter,
    encoder: Option<Encoder>,
    /// Names the corpus and the way of indexing it: other results come of others.
    pub key: String,
}

/// Is told how many documents are done, of how many.
pub type Watch<'a> = &'a (dyn Fn(usize, usize) + Sync);

impl Corpus {
    /// The corpus of the set in `folder`, indexed by `cutter` with vectors of `encoder`, kept below `data`.
    pub fn new(folder: &Path, data: &Path, cutter: Cutter, encoder: Option<Encoder>) -> Result<Self, Error> {
        let file = folder.join(CORPUS);
        let key = key(&file, &cutter, encoder.as_ref())
            .map_err(|source| Error::Io { path: file.clone(), source })?;
        let place = data.join("evals").join("indexes").join(&key);
        Ok(Self { file, place, cutter, encoder, key })
    }

    /// The index, made if it is not there yet; `None` if it was stopped, to go on from there another time.
    pub async fn index(
        self,
        resources: &Arc<Resources>,
        cancel: &CancellationToken,
        watch: Watch<'_>,
    ) -> Result<Option<Opened>, Error> {
        let io = |source| Error::Io { path: self.place.clone(), source };
        std::fs::create_dir_all(&self.place).map_err(io)?;
        // The environment is for addresses and keys, and this is a folder.
        let store = resources::open_store(NAME, &StoreConfig::Embedded, &self.place, &|_| None)?;
        let complete = self.place.join(COMPLETE);
        if !complete.exists() {
            let folder = self.file.parent().unwrap_or(Path::new(""));
            if !self.fill(&store, set::corpus(folder)?, resources, cancel, watch).await? {
                return Ok(None);
            }
            std::fs::write(complete, "").map_err(io)?;
        }
        Ok(Some(Opened { name: NAME.to_owned(), store, encoder: self.encoder }))
    }

    /// Puts all documents in; `false` if it was stopped before the end.
    async fn fill(
        &self,
        store: &Arc<dyn IndexStore>,
        corpus: Vec<CorpusLine>,
        resources: &Arc<Resources>,
        cancel: &CancellationToken,
        watch: Watch<'_>,
    ) -> Result<bool, Error> {
        let total = corpus.len();
        let mut documents = corpus.into_iter().map(given);
        let mut done = 0;
        watch(done, total);
        while done < total {
            let batch: Vec<Given> = documents.by_ref().take(BATCH).collect();
            done += batch.len();
            let target = Target {
                index: store.clone(),
                namespace: Namespace::default(),
                cutter: self.cutter.clone(),
                encoder: self.encoder.clone(),
                resources: resources.clone(),
            };
            let Summary { failed, interrupted, .. } = target.put(batch, cancel).await?;
            if interrupted || cancel.is_cancelled() {
                return Ok(false);
            }
            let n_failed = failed.len();
            if let Some((id, why)) = failed.into_iter().next() {
                let n = format!("{n_failed} document{}", if n_failed == 1 { "" } else { "s" });
                return Err(Error::Documents { n, id, why });
            }
            watch(done, total);
        }
        Ok(true)
    }
}

fn given(line: CorpusLine) -> Given {
    Given {
        id: DocumentId(line.id.into()),
        title: line.title.filter(|title| !title.is_empty()).map(Into::into),
        text: line.text.into(),
        meta: line.meta,
    }
}

/// A fingerprint of the corpus and of all that its index depends on.
fn key(file: &Path, cutter: &Cutter, encoder: Option<&Encoder>) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(file)?)?;
    hasher.update(cutter.stamp().as_bytes());
    hasher.update(encoder.map(Encoder::identity).unwrap_or_default().as_bytes());
    // Half of it tells them apart, and keeps paths short.
    Ok(hasher.finalize().to_hex().chars().take(32).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anabranch_engine::backend::SearchQuery;

    use super::*;

    fn folder(texts: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let lines = texts
            .iter()
            .enumerate()
            .map(|(n, text)| format!("{{\"id\": \"d{n}\", \"title\": \"\", \"text\": \"{text}\"}}\n"));
        std::fs::write(folder.path().join(CORPUS), lines.collect::<String>()).unwrap();
        folder
    }

    fn corpus(folder: &Path, data: &Path) -> Corpus {
        let cutter = Cutter::load(None, &anabranch_operators::registry()).unwrap();
        Corpus::new(folder, data, cutter, None).unwrap()
    }

    async fn made(
        folder: &Path,
        data: &Path,
        cancel: &CancellationToken,
    ) -> (Option<Opened>, Vec<(usize, usize)>) {
        let told = Mutex::new(Vec::new());
        let resources = Arc::new(Resources::default());
        let watch = |done: usize, total: usize| told.lock().unwrap().push((done, total));
        let opened = corpus(folder, data).index(&resources, cancel, &watch).await.unwrap();
        (opened, told.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_corpus_is_indexed_once_under_its_own_ids() {
        let (folder, data) = (folder(&["otters swim", "herons nest"]), tempfile::tempdir().unwrap());
        let go = CancellationToken::new();
        let (opened, told) = made(folder.path(), data.path(), &go).await;
        assert_eq!(told, [(0, 2), (2, 2)]);
        let found = opened.unwrap().store.search(&SearchQuery::words("herons", 5)).await.unwrap();
        assert_eq!((found[0].doc.0.as_ref(), found[0].range.end), ("d1", 11));
        let (opened, told) = made(folder.path(), data.path(), &go).await;
        assert!(opened.is_some() && told.is_empty(), "it is there: {told:?}");
    }

    #[tokio::test]
    async fn a_corpus_that_was_stopped_is_not_taken_for_whole() {
        let (folder, data) = (folder(&["otters swim"]), tempfile::tempdir().unwrap());
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(made(folder.path(), data.path(), &stop).await.0.is_none());
        let (opened, told) = made(folder.path(), data.path(), &CancellationToken::new()).await;
        assert!(opened.is_some() && !told.is_empty());
    }

    #[test]
    fn another_corpus_is_kept_elsewhere() {
        let (one, other, data) = (folder(&["otters"]), folder(&["herons"]), tempfile::tempdir().unwrap());
        assert_ne!(corpus(one.path(), data.path()).key, corpus(other.path(), data.path()).key);
        assert_eq!(corpus(one.path(), data.path()).key, corpus(one.path(), data.path()).key);
    }
}
