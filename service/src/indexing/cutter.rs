//! The flow that cuts documents into chunks: the built-in one, or the user's.

use std::path::Path;
use std::sync::Arc;

use anabranch_backends::load::Source;
use anabranch_engine::backend::Vector;
use anabranch_engine::cx::Resources;
use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::event::RunId;
use anabranch_engine::operator::Registry;
use anabranch_engine::plan::{self, Plan};
use anabranch_engine::run::{self, Options, Outcome};
use anabranch_engine::types::Type;
use anabranch_engine::value::{Chunk, Map, Value};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::library::{self, Files};

/// The indexing flow that is used where none is named.
const DEFAULT_FLOW: &str = include_str!("../../../flows/index.yaml");
/// The name under which diagnostics show it.
const DEFAULT_FLOW_NAME: &str = "flows/index.yaml (built in)";

/// What became of a document.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Its chunks.
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// Their vectors, where the flow gives them.
    pub(super) vectors: Option<Vec<Vector>>,
}

/// A flow that cuts documents into chunks.
#[derive(Debug, Clone)]
pub struct Cutter {
    plan: Arc<Plan>,
    /// Names the way of cutting: a document is cut again when it changes.
    pub(super) stamp: String,
}

impl Cutter {
    /// Names the way of cutting: another one cuts other chunks.
    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The indexing flow in the file `path`, or the built-in one.
    pub fn load(path: Option<&Path>, registry: &Registry) -> Result<Self, Error> {
        let file = match path {
            Some(path) => {
                let read = |source| Error::Read { path: path.to_owned(), source };
                SourceFile::new(path.display().to_string(), library::read_flow(path).map_err(read)?)
            }
            None => SourceFile::new(DEFAULT_FLOW_NAME, DEFAULT_FLOW),
        };
        let library = Files::beside(Path::new(&file.name));
        let environment = plan::Environment { registry, names: None, library: &library };
        let (plan, _) = plan::compile(&file, &environment).map_err(Error::Flow)?;
        if let Some(why) = why_no_indexer(&plan) {
            return Err(Error::NoIndexer { flow: plan.name.to_string(), why });
        }
        // A new version of the program may cut the same document in another way.
        let stamp = format!("{} {}", env!("CARGO_PKG_VERSION"), plan.hash);
        Ok(Self { plan: Arc::new(plan), stamp })
    }

    /// The chunks of one document; `None` if the run was cancelled, an error text if it failed.
    pub(super) async fn cut(
        &self,
        source: Source,
        resources: Arc<Resources>,
        cancel: CancellationToken,
    ) -> Result<Option<Pieces>, String> {
        let document = source.into_document().map_err(|why| why.to_string())?;
        let inputs: Map = [("document".into(), Value::Document(Arc::new(document)))].into_iter().collect();
        let options = Options { id: RunId("index".into()), cancel, ..Options::default() };
        let report = run::run(self.plan.clone(), inputs, resources, options)
            .await
            .map_err(|error| crate::exit::chain(&error))?;
        match report.outcome {
            Outcome::Succeeded => {}
            Outcome::Failed(failure) => return Err(failure.to_string()),
            Outcome::Cancelled { .. } | Outcome::Waiting { .. } | Outcome::Paused => return Ok(None),
        }
        let chunks = report.outputs.get("chunks").and_then(Value::as_list).unwrap_or_default();
        let chunks: Vec<Arc<Chunk>> = chunks
            .iter()
            .filter_map(|value| match value {
                Value::Chunk(chunk) => Some(chunk.clone()),
                _ => None,
            })
            .collect();
        let vectors = match report.outputs.get("vectors") {
            None | Some(Value::Null) => None,
            Some(vectors) => {
                Some(vectors.as_list().unwrap_or_default().iter().map(vector).collect::<Vec<_>>())
            }
        };
        match &vectors {
            Some(vectors) if vectors.len() != chunks.len() => {
                Err(format!("the flow gave {} vectors for {} chunks", vectors.len(), chunks.len()))
            }
            _ => Ok(Some(Pieces { chunks, vectors })),
        }
    }
}

/// A list of numbers as a vector.
fn vector(value: &Value) -> Vector {
    #[expect(clippy::cast_possible_truncation, reason = "vectors are kept in 32 bits")]
    let number = |value: &Value| match value {
        Value::Float(number) => *number as f32,
        Value::Int(number) => *number as f32,
        _ => 0.0,
    };
    value.as_list().unwrap_or_default().iter().map(number).collect()
}

fn why_no_indexer(plan: &Plan) -> Option<String> {
    let inputs = &plan.root.inputs;
    let Some(document) = inputs.iter().find(|input| &*input.port.name == "document") else {
        return Some("it has no input `document`".to_owned());
    };
    if *document.port.ty.required() != Type::Document {
        return Some(format!("its input `document` is of type `{}`", document.port.ty));
    }
    let needed = |input: &&plan::Input| {
        &*input.port.name != "document" && input.default.is_none() && !input.port.ty.is_optional()
    };
    if let Some(other) = inputs.iter().find(needed) {
        return Some(format!("it needs an input `{}` too", other.port.name));
    }
    let vectors = plan.root.outputs.iter().find(|output| &*output.port.name == "vectors");
    if let Some(output) =
        vectors.filter(|output| *output.port.ty.required() != Type::list(Type::list(Type::Float)))
    {
        return Some(format!(
            "its output `vectors` is of type `{}`, not `list<list<float>>`",
            output.port.ty
        ));
    }
    match plan.root.outputs.iter().find(|output| &*output.port.name == "chunks") {
        None => Some("it has no output `chunks`".to_owned()),
        Some(output) if *output.port.ty.required() != Type::list(Type::Chunk) => {
            Some(format!("its output `chunks` is of type `{}`", output.port.ty))
        }
        Some(_) => None,
    }
}
