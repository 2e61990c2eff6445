//! An index whose results a test can work out by hand, and whole flows over it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use anabranch_engine::backend::{
    By, Call, Embedder, Error, Index, IndexStats, Namespace, Passage, SearchQuery, Vector,
};
use anabranch_engine::cx::{Cx, IndexEntry, Resources};
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::operator::{EmbedderName, Names};
use anabranch_engine::plan::{Environment, compile};
use anabranch_engine::run::{self, Options};
use anabranch_engine::testing::{Letters, cx_with};
use anabranch_engine::value::{Chunk, DocumentId, Map, Value};
use async_trait::async_trait;
use serde_json::Value as Json;

use super::{chunk, scored};
use crate::fuse::ranking::best_first;

/// An index that holds chunks and keeps what it was asked. By words a chunk scores the number of the query's words
/// that it has; by a vector the cosine of [`Letters`].
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    chunks: Vec<Arc<Chunk>>,
    asked: Mutex<Vec<SearchQuery>>,
    fetched: Mutex<Vec<String>>,
}

impl Shelf {
    pub(crate) fn of(chunks: Vec<Arc<Chunk>>) -> Arc<Self> {
        Arc::new(Self { chunks, ..Self::default() })
    }

    /// Three documents of a word each.
    pub(crate) fn small() -> Arc<Self> {
        Self::of(["one", "two", "three"].map(|word| chunk(&format!("{word}.md"), word)).into())
    }

    /// Resources in which this is the index `docs`, with the encoders of [`super::encoders`].
    pub(crate) fn resources(self: &Arc<Self>) -> Resources {
        let mut resources = super::encoders();
        let entry = IndexEntry::of_vectors(self.clone(), EmbedderName::default());
        resources.indexes.insert("docs".to_owned(), entry);
        resources
    }

    /// A context with [`Shelf::resources`].
    pub(crate) fn cx(self: &Arc<Self>) -> Cx {
        cx_with(self.resources())
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<SearchQuery> {
        self.asked.lock().unwrap().clone()
    }

    /// The documents whose chunks it was asked for so far.
    pub(crate) fn fetched(&self) -> Vec<String> {
        self.fetched.lock().unwrap().clone()
    }
}

/// The vector of a text, as [`Letters`] has it.
pub(crate) async fn letters(text: &str) -> Vector {
    let call = Call::keyed("");
    Letters.embed(&[text.into()], Passage::Document, &call).await.unwrap().vectors[0].clone()
}

#[async_trait]
impl Index for Shelf {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        self.asked.lock().unwrap().push(query.clone());
        let mut found = Vec::new();
        for chunk in self.chunks.iter().filter(|chunk| query.filter.passes(&chunk.meta)) {
            let score = match &query.by {
                By::Words { text, .. } => {
                    let words =
                        |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
                    words(text).intersection(&words(&chunk.text)).count() as f64
                }
                By::Vector(vector) => {
                    let own = letters(&chunk.text).await;
                    vector.iter().zip(own.iter()).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                }
            };
            if score > 0.0 {
                found.push(scored(chunk, score));
            }
        }
        found.sort_by(|a, b| best_first(a, b));
        found.truncate(query.top_k);
        Ok(found)
    }

    async fn chunks_of(&self, _: &Namespace, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        self.fetched.lock().unwrap().push(doc.to_string());
        let mut chunks: Vec<_> = self.chunks.iter().filter(|chunk| chunk.doc == *doc).cloned().collect();
        chunks.sort_by_key(|chunk| chunk.range);
        Ok(chunks)
    }

    async fn stats(&self, _: &Namespace) -> Result<IndexStats, Error> {
        Ok(IndexStats { chunks: self.chunks.len() as u64, ..IndexStats::default() })
    }
}

/// Runs a flow over the operators of this crate; its outputs, or a panic that says what went wrong.
pub(crate) async fn run_flow(yaml: &str, inputs: Json, resources: Resources) -> Json {
    let registry = crate::registry();
    let names = Names::defaults(["docs"]);
    let environment = Environment { registry: &registry, names: Some(&names), library: &() };
    let plan = compile(&SourceFile::new("flow.yaml", yaml), &environment);
    let (plan, _) = plan.unwrap_or_else(|problems| panic!("{problems}"));
    let Value::Map(inputs) = Value::from_json(inputs) else { panic!("inputs are a map") };
    let report = run::run(Arc::new(plan), Map::clone(&inputs), Arc::new(resources), Options::default()).await;
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.outcome, run::Outcome::Succeeded);
    Value::map(report.outputs).to_json()
}

/// What the flow's checker says of `with: settings` of an operator, a line a problem.
pub(crate) fn problems(op: &str, inputs: &str, settings: &str) -> String {
    let yaml = format!(
        "flow: checked\ninputs: {{ chunks: list<chunk>, query: text }}\nnodes:\n  node:\n    op: {op}\n    with: {settings}\n    in: {inputs}\noutputs: {{ chunks: node.chunks }}\n"
    );
    let registry = crate::registry();
    let names = Names::defaults(["docs"]);
    let environment = Environment { registry: &registry, names: Some(&names), library: &() };
    let found = compile(&SourceFile::new("flow.yaml", yaml), &environment);
    found.map_or_else(|problems| problems.to_string(), |(_, warnings)| warnings.to_string())
}
