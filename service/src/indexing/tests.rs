//! Tests of indexing: what an update does with files that come, change and go, and with an embedder that is not well.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anabranch_backends::embed::Hashed;
use anabranch_backends::index::EmbeddedIndex;
use anabranch_engine::backend::{Call, Embedder, Embeddings, Passage, SearchQuery, Usage, Vector};
use anabranch_engine::operator::EmbedderName;
use anabranch_engine::value::Text;
use async_trait::async_trait;

use super::stages::is_below;
use super::*;

struct Nobody;

impl Watch for Nobody {
    fn listed(&self, _: usize) {}
    fn at(&self, _: Progress) {}
}

/// An embedder that does as a test tells it, and remembers what it was asked.
#[derive(Debug)]
struct Told {
    identity: &'static str,
    dimensions: usize,
    /// What it answers to the texts of its n-th call instead of vectors.
    fails: fn(usize, &[Text]) -> Option<backend::Error>,
    asked: Mutex<Vec<Vec<Text>>>,
}

impl Told {
    fn new(fails: fn(usize, &[Text]) -> Option<backend::Error>) -> Arc<Self> {
        Self::like("told", 3, fails)
    }

    fn like(
        identity: &'static str,
        dimensions: usize,
        fails: fn(usize, &[Text]) -> Option<backend::Error>,
    ) -> Arc<Self> {
        Arc::new(Self { identity, dimensions, fails, asked: Mutex::default() })
    }

    fn texts(&self) -> Vec<Text> {
        let mut texts: Vec<Text> = self.asked.lock().unwrap().concat();
        texts.sort();
        texts
    }
}

#[async_trait]
impl Embedder for Told {
    fn identity(&self) -> String {
        self.identity.to_owned()
    }

    async fn embed(
        &self,
        texts: &[Text],
        passage: Passage,
        _: &Call<'_>,
    ) -> Result<Embeddings, backend::Error> {
        assert_eq!(passage, Passage::Document);
        let n = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(texts.to_vec());
            asked.len()
        };
        if let Some(error) = (self.fails)(n, texts) {
            return Err(error);
        }
        let mut vector = vec![0.0; self.dimensions];
        vector[0] = 1.0;
        let vector: Vector = vector.into();
        Ok(Embeddings { vectors: vec![vector; texts.len()], usage: Usage::default() })
    }
}

fn well(_: usize, _: &[Text]) -> Option<backend::Error> {
    None
}

#[expect(clippy::unnecessary_wraps, reason = "one of several ways to answer")]
fn down(_: usize, _: &[Text]) -> Option<backend::Error> {
    Some(backend::Error::TimedOut { backend: "embedder `told`".into(), message: "no answer for 60s".into() })
}

struct Place {
    folder: tempfile::TempDir,
    index: Arc<EmbeddedIndex>,
    cutter: Cutter,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        let index = Arc::new(EmbeddedIndex::open_or_create(folder.path().join("index")).unwrap());
        let cutter = Cutter::load(None, &anabranch_operators::registry()).unwrap();
        Self { folder, index, cutter }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join("docs").join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("docs").join(name)).unwrap();
    }

    fn job(&self, embedder: Option<Arc<dyn Embedder>>) -> Job {
        Job {
            index: self.index.clone(),
            namespace: Namespace::default(),
            roots: vec![self.folder.path().join("docs")],
            prune: Prune::BelowRoots,
            cutter: self.cutter.clone(),
            encoder: embedder.map(|embedder| Encoder::new(EmbedderName("default".into()), embedder)),
            resources: Arc::new(Resources::default()),
        }
    }

    async fn update(&self, embedder: Option<Arc<dyn Embedder>>) -> Summary {
        run(self.job(embedder)).await.unwrap()
    }

    async fn finds(&self, query: &SearchQuery) -> Vec<String> {
        let chunks = backend::Index::search(&*self.index, query).await.unwrap();
        chunks.iter().map(|chunk| chunk.text.to_string()).collect()
    }

    async fn stats(&self) -> backend::IndexStats {
        backend::Index::stats(&*self.index, &Namespace::default()).await.unwrap()
    }
}

async fn run(job: Job) -> Result<Summary, Error> {
    job.run(&CancellationToken::new(), Arc::new(Nobody)).await
}

fn counts(summary: &Summary) -> [usize; 4] {
    [summary.added, summary.changed, summary.unchanged, summary.removed]
}

#[tokio::test]
async fn only_what_changed_is_indexed_again_and_what_went_is_taken_out() {
    for embedder in [None, Some(Arc::new(Hashed) as Arc<dyn Embedder>)] {
        let place = Place::new();
        place.write("a.md", "# Herons\n\nHerons nest in trees.\n");
        place.write("b.md", "# Pike\n\nPike lie in wait.\n");
        assert_eq!(counts(&place.update(embedder.clone()).await), [2, 0, 0, 0]);
        assert_eq!(place.finds(&SearchQuery::words("herons", 9)).await.len(), 1);
        let again = place.update(embedder.clone()).await;
        assert_eq!(counts(&again), [0, 0, 2, 0]);
        assert!(!again.has_changes());
        place.write("a.md", "# Herons\n\nHerons eat frogs.\n");
        place.remove("b.md");
        assert_eq!(counts(&place.update(embedder.clone()).await), [0, 1, 0, 1]);
        for (word, n) in [("frogs", 1), ("trees", 0), ("pike", 0)] {
            assert_eq!(place.finds(&SearchQuery::words(word, 9)).await.len(), n, "{word}");
        }
        place.remove("a.md");
        assert_eq!(counts(&place.update(embedder).await), [0, 0, 0, 1]);
    }
}

#[tokio::test]
async fn what_is_embedded_is_what_a_search_by_words_looks_at() {
    let place = Place::new();
    place.write("a.md", "# Herons\n\n## Food\n\nThey eat frogs.\n");
    let embedder = Told::new(well);
    let summary = place.update(Some(embedder.clone())).await;
    assert_eq!((summary.chunks, place.stats().await.vectors), (1, 1));
    assert_eq!(embedder.texts(), ["Herons\nFood\n# Herons\n\n## Food\n\nThey eat frogs.".into()]);
}

#[tokio::test]
async fn a_search_by_vectors_finds_the_document_that_is_alike() {
    let place = Place::new();
    place.write("a.md", "Herons nest in trees.\n");
    place.write("b.md", "Pike lie in wait.\n");
    place.update(Some(Arc::new(Hashed))).await;
    let call = Call::keyed("");
    let query = Hashed.embed(&["heron's nests".into()], Passage::Query, &call).await.unwrap();
    let found = place.finds(&SearchQuery::near(query.vectors[0].clone(), 1)).await;
    assert_eq!(found, ["Herons nest in trees."]);
}

#[tokio::test]
async fn another_embedder_indexes_everything_again() {
    let place = Place::new();
    place.write("a.md", "Herons nest in trees.\n");
    place.write("empty.md", "\n");
    assert_eq!(counts(&place.update(None).await)[..2], [2, 0]);
    assert_eq!(place.stats().await.vectors, 0);
    assert_eq!(place.update(Some(Told::new(well))).await.changed, 2, "vectors for the first time");
    assert_eq!((place.stats().await.vectors, place.stats().await.dimensions), (1, 3));
    assert_eq!(place.update(Some(Told::like("other", 5, well))).await.changed, 2, "other vectors");
    assert_eq!((place.stats().await.vectors, place.stats().await.dimensions), (1, 5));
    assert_eq!(place.update(None).await.changed, 2, "no vectors any more");
    assert_eq!(place.stats().await.vectors, 0);
}

#[tokio::test]
async fn another_embedder_is_refused_where_documents_would_be_lost() {
    let place = Place::new();
    place.write("a.md", "Herons nest in trees.\n");
    place.write("b.md", "Pike lie in wait.\n");
    place.update(Some(Told::new(well))).await;
    let only_a = |embedder| {
        let roots = vec![place.folder.path().join("docs/a.md")];
        Job { roots, ..place.job(Some(embedder)) }
    };
    let error = run(only_a(Told::like("other", 3, well))).await.unwrap_err();
    let Error::OtherVectors { found, wanted, n_elsewhere } = &error else { panic!("{error}") };
    assert_eq!((found.as_str(), wanted.as_str(), *n_elsewhere), ("told", "other", 1));
    assert_eq!(place.stats().await.documents, 2, "nothing is lost");
    assert_eq!(run(only_a(Told::new(well))).await.unwrap().unchanged, 1);
    let all = Job { prune: Prune::All, ..only_a(Told::like("other", 3, well)) };
    assert_eq!(counts(&run(all).await.unwrap()), [0, 1, 0, 1], "unless the roots are the whole of it");
}

#[tokio::test]
async fn a_document_that_the_embedder_rejects_fails_alone_and_with_the_reason() {
    let place = Place::new();
    for n in 0..20 {
        place.write(&format!("{n:02}.md"), &format!("Note {n}.\n"));
    }
    place.write("11.md", "Poison.\n");
    let embedder = Told::new(|_, texts| {
        let is_poison = texts.iter().any(|text| text.contains("Poison"));
        is_poison.then(|| backend::Error::Rejected { backend: "embedder".into(), message: "too long".into() })
    });
    let summary = place.update(Some(embedder)).await;
    assert_eq!((summary.added, summary.failed.len(), summary.gave_up), (19, 1, None));
    let (id, failure) = &summary.failed[0];
    assert!(id.0.ends_with("11.md"));
    assert_eq!(failure.to_string(), "it got no vectors: embedder rejected the request: too long");
    assert!(place.finds(&SearchQuery::words("poison", 9)).await.is_empty());
}

#[tokio::test]
async fn an_embedder_that_is_down_ends_it_early_and_nothing_is_lost() {
    let place = Place::new();
    place.write("00.md", "Herons nest in trees.\n");
    place.update(Some(Told::new(well))).await;
    for n in 1..200 {
        place.write(&format!("{n:03}.md"), &format!("Note {n}.\n"));
    }
    place.remove("00.md");
    let embedder = Told::new(down);
    let summary = place.update(Some(embedder.clone())).await;
    assert!(summary.gave_up.is_some() && summary.wants_embedder() && !summary.interrupted);
    assert!(embedder.texts().len() < 199, "it does not go through all of them");
    assert_eq!((summary.added, place.stats().await.documents), (0, 1), "what was there stays, gone or not");
    let summary = place.update(Some(Told::new(well))).await;
    assert_eq!(counts(&summary), [199, 0, 0, 1], "and the next time goes on");
}

#[tokio::test(start_paused = true)]
async fn an_embedder_that_is_busy_is_asked_again() {
    let embedder = Told::new(|n, _| {
        let error = || backend::Error::Overloaded {
            backend: "embedder".into(),
            message: "queue full".into(),
            retry_after: Some(std::time::Duration::from_secs(7)),
        };
        (n < 3).then(error)
    });
    let encoder = Encoder::new(EmbedderName("default".into()), embedder.clone());
    let begun = tokio::time::Instant::now();
    assert_eq!(encoder.space().await.unwrap().dimensions, 3);
    assert_eq!(
        (embedder.texts().len(), begun.elapsed().as_secs()),
        (3, 14),
        "after the pauses that it asks for"
    );
}

#[tokio::test]
async fn another_model_under_the_same_name_is_noticed() {
    let place = Place::new();
    place.write("a.md", "Herons nest in trees.\n");
    place.update(Some(Told::new(well))).await;
    place.write("b.md", "Pike lie in wait.\n");
    let summary = place.update(Some(Told::like("told", 4, well))).await;
    let why = summary.failed[0].1.to_string();
    assert!(why.contains("a vector of 4 numbers, where those of this index have 3"), "{why}");
    assert_eq!(place.stats().await.vectors, 1);
}

/// Cancels itself once an embedder has been asked so often.
#[derive(Debug)]
struct Stopping {
    at: usize,
    asked: AtomicUsize,
    token: CancellationToken,
}

#[async_trait]
impl Embedder for Stopping {
    fn identity(&self) -> String {
        Hashed.identity()
    }

    async fn embed(
        &self,
        texts: &[Text],
        passage: Passage,
        call: &Call<'_>,
    ) -> Result<Embeddings, backend::Error> {
        if self.asked.fetch_add(1, Ordering::Relaxed) == self.at {
            self.token.cancel();
            // Never ready: whoever waits for it has to look at the token.
            std::future::pending::<()>().await;
        }
        Hashed.embed(texts, passage, call).await
    }
}

#[tokio::test]
async fn stopped_anywhere_and_run_again_it_holds_the_same() {
    for at in [0, 1, 3, 1000] {
        let place = Place::new();
        for n in 0..40 {
            place.write(&format!("{n:02}.md"), &format!("The heron called bird{n}.\n"));
        }
        let token = CancellationToken::new();
        let embedder = Arc::new(Stopping { at, asked: AtomicUsize::new(0), token: token.clone() });
        let stopped = place.job(Some(embedder)).run(&token, Arc::new(Nobody)).await.unwrap();
        assert_eq!(stopped.interrupted, at < 1000, "{at}");
        assert_eq!(place.stats().await.documents, stopped.added as u64, "what was done is kept");
        place.update(Some(Arc::new(Hashed))).await;
        assert_eq!((place.stats().await.documents, place.stats().await.vectors), (40, 40), "{at}");
        assert_eq!(place.finds(&SearchQuery::words("bird7", 9)).await, ["The heron called bird7."]);
    }
}

#[tokio::test]
async fn an_update_that_is_stopped_removes_nothing_and_says_so() {
    let place = Place::new();
    place.write("a.md", "Herons nest in trees.\n");
    place.update(None).await;
    place.remove("a.md");
    let stopped = CancellationToken::new();
    stopped.cancel();
    let summary = place.job(None).run(&stopped, Arc::new(Nobody)).await.unwrap();
    assert!(summary.interrupted);
    assert_eq!(place.finds(&SearchQuery::words("herons", 9)).await.len(), 1);
}

#[tokio::test]
async fn namespaces_do_not_see_one_another() {
    let place = Place::new();
    place.write("a.md", "Herons nest in trees.\n");
    let acme = Namespace::new("acme").unwrap();
    let job = Job { namespace: acme.clone(), ..place.job(Some(Arc::new(Hashed))) };
    assert_eq!(run(job).await.unwrap().added, 1);
    assert!(place.finds(&SearchQuery::words("herons", 9)).await.is_empty());
    let query = SearchQuery { namespace: acme.clone(), ..SearchQuery::words("herons", 9) };
    assert_eq!(place.finds(&query).await.len(), 1);
    place.remove("a.md");
    assert_eq!(place.update(Some(Arc::new(Hashed))).await.removed, 0, "it is not theirs to remove");
    assert_eq!(place.finds(&query).await.len(), 1);
}

#[tokio::test]
async fn an_empty_folder_is_no_error() {
    let place = Place::new();
    assert_eq!(place.update(Some(Told::new(down))).await, Summary::default());
}

#[test]
fn a_flow_that_takes_no_document_cannot_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.yaml");
    std::fs::write(
        &path,
        "flow: f\ninputs: { doc: document }\nnodes:\n  cut:\n    op: chunk.structure\n    in: { document: inputs.doc }\noutputs: { chunks: cut.chunks }\n",
    )
    .unwrap();
    let error = Cutter::load(Some(&path), &anabranch_operators::registry()).unwrap_err();
    assert!(error.to_string().contains("no input `document`"), "{error}");
}

#[test]
fn a_document_is_below_the_root_that_it_was_found_under() {
    let below = |id: &str, root: &str| is_below(&DocumentId(id.into()), Path::new(root));
    assert!(below("docs/a.md", "./docs") && below("docs/a.md", ".") && below("/x/a.md", "/x"));
    assert!(below("docs/c.jsonl#7", "docs/c.jsonl"));
    assert!(!below("docs2/a.md", "docs") && !below("/x/a.md", ".") && !below("../a.md", "."));
}

/// A cutter by the flow of this text.
fn cutter(place: &Place, flow: &str) -> Cutter {
    let path = place.folder.path().join("own.yaml");
    std::fs::write(&path, flow).unwrap();
    Cutter::load(Some(&path), &anabranch_operators::registry()).unwrap()
}

const SLICES: &str = "flow: own\ninputs: { document: document }\nnodes:\n  \
    cut: { op: chunk.recursive, in: { document: inputs.document }, with: { chunk_size: 200 } }\n  \
    entries: { op: enrich.surrogates, in: { chunks: cut.chunks }, with: { kinds: [slice], slice_chars: 30 } }\n\
    outputs: { chunks: entries.chunks }\n";

#[tokio::test]
async fn entries_that_stand_for_a_chunk_are_found_by_their_own_words_and_give_it() {
    let mut place = Place::new();
    place.cutter = cutter(&place, SLICES);
    place.write("a.md", "Herons nest in trees.\nThey eat small fish.\n");
    let embedder = Told::new(well);
    assert_eq!(place.update(Some(embedder.clone())).await.chunks, 2);
    assert!(embedder.texts().iter().any(|text| &**text == "They eat small fish."), "{:?}", embedder.texts());
    let found = place.finds(&SearchQuery::words("fish", 5)).await;
    assert_eq!(found, ["Herons nest in trees.\nThey eat small fish."]);
}

const LATE: &str = "flow: own\ninputs: { document: document }\nnodes:\n  \
    cut: { op: chunk.sentence, in: { document: inputs.document }, with: { max_sentences: 1 } }\n  \
    late: { op: enrich.late_embed, in: { document: inputs.document, chunks: cut.chunks } }\n\
    outputs: { chunks: cut.chunks, vectors: late.vectors }\n";

#[tokio::test]
async fn vectors_that_a_flow_makes_are_kept_and_the_embedder_is_not_asked_for_others() {
    let mut place = Place::new();
    place.cutter = cutter(&place, LATE);
    place.write("a.md", "Herons nest. Ships sink.\n");
    let embedder = Told::like("hashed", 384, well);
    let mut job = place.job(Some(embedder.clone()));
    let mut resources = Resources::default();
    resources.embedders.insert("default".to_owned(), Arc::new(Hashed));
    job.resources = Arc::new(resources);
    let summary = run(job).await.unwrap();
    assert_eq!((summary.chunks, &*summary.failed), (2, &[] as &[_]));
    assert_eq!(embedder.texts(), Vec::<Text>::new());
    let stats = place.stats().await;
    assert_eq!((stats.vectors, stats.dimensions), (2, 384));
    let call = Call::keyed("k");
    let asked = Hashed.embed(&["sinking ships".into()], Passage::Query, &call).await.unwrap();
    assert_eq!(place.finds(&SearchQuery::near(asked.vectors[0].clone(), 1)).await, ["Ships sink."]);
}

#[test]
fn vectors_of_another_type_are_refused() {
    let place = Place::new();
    let path = place.folder.path().join("own.yaml");
    std::fs::write(&path, LATE.replace("vectors: late.vectors", "vectors: cut.chunks")).unwrap();
    let error = Cutter::load(Some(&path), &anabranch_operators::registry()).unwrap_err().to_string();
    assert!(error.contains("`vectors` is of type `list<chunk>`"), "{error}");
}
