//! Searching an index without a flow file: by a flow of one node, so that everyone finds what flows find.

use std::sync::Arc;

use anabranch_engine::backend::{Filter, Namespace};
use anabranch_engine::cx::Resources;
use anabranch_engine::diagnostic::{Diagnostics, SourceFile};
use anabranch_engine::event::{Failure, RunId};
use anabranch_engine::operator::Registry;
use anabranch_engine::plan;
use anabranch_engine::run::{self, Options, Outcome};
use anabranch_engine::value::{Chunk, Map, Value};
use serde::Deserialize;
use serde_json::json;

/// What makes a chunk a good one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// It has the words of the query, by BM25.
    #[default]
    Words,
    /// Its vector is near that of the query.
    Vectors,
    /// Both: the places in the two rankings are fused.
    Hybrid,
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// The index.
    pub index: String,
    /// The query.
    pub query: String,
    /// What makes a chunk a good one.
    pub by: By,
    /// Most chunks.
    pub top_k: u32,
    /// Which chunks may be found.
    pub filter: Filter,
    /// The part of the index.
    pub namespace: Namespace,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The search makes no sense.
    #[error("the search is invalid: {0}")]
    Invalid(Diagnostics),
    /// The inputs make no sense.
    #[error(transparent)]
    Inputs(#[from] run::Error),
    /// It failed.
    #[error("{0}")]
    Failed(Failure),
}

impl By {
    /// The operator that searches so.
    fn operator(self) -> &'static str {
        match self {
            Self::Words => "retrieve.bm25",
            Self::Vectors => "retrieve.dense",
            Self::Hybrid => "retrieve.hybrid",
        }
    }
}

impl Search {
    /// The chunks that match best, best first.
    pub async fn run(
        self,
        registry: &Registry,
        resources: Arc<Resources>,
    ) -> Result<Vec<Arc<Chunk>>, SearchError> {
        let mut settings = json!({ "index": self.index, "top_k": self.top_k, "filter": self.filter });
        if !self.namespace.is_default()
            && let Some(settings) = settings.as_object_mut()
        {
            settings.insert("namespace".to_owned(), json!(self.namespace));
        }
        let flow = format!(
            "flow: search\ninputs: {{ query: text }}\nnodes:\n  search:\n    op: {}\n    with: {settings}\n    \
             in: {{ query: inputs.query }}\noutputs: {{ chunks: search.chunks }}\n",
            self.by.operator()
        );
        let file = SourceFile::new("(search)", flow);
        let plan = {
            let environment = plan::Environment { registry, names: None, library: &() };
            plan::compile(&file, &environment).map_err(SearchError::Invalid)?.0
        };
        let inputs: Map = [("query".into(), Value::Text(self.query.into()))].into_iter().collect();
        let options = Options { id: RunId("search".into()), ..Options::default() };
        let report = run::run(Arc::new(plan), inputs, resources, options).await?;
        if let Outcome::Failed(failure) = report.outcome {
            return Err(SearchError::Failed(failure));
        }
        let found = report.outputs.get("chunks").and_then(Value::as_list).unwrap_or_default();
        Ok(found
            .iter()
            .filter_map(|value| match value {
                Value::Chunk(chunk) => Some(chunk.clone()),
                _ => None,
            })
            .collect())
    }
}
