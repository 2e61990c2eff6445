//! From texts to a bundle and its plan, on threads of their own, some at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::diagnostic::{Diagnostics, SourceFile};
use anabranch_engine::flow::Library;
use anabranch_engine::limits;
use anabranch_engine::operator::{Names, Registry};
use anabranch_engine::plan::{self, Plan};
use tokio::sync::Semaphore;

use super::shelf::{self, Read, Recorded, Shelf};
use super::{Bundle, FlowError, Given};
use crate::library;

/// Longest wait for a thread to compile on.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Name of a flow whose text does not say it.
const NAMELESS: &str = "flow";

/// A flow that was compiled, with what is to be kept of it.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The flow with its parts.
    pub bundle: Arc<Bundle>,
    /// The compiled flow.
    pub plan: Arc<Plan>,
    /// What is odd about it.
    pub warnings: Diagnostics,
}

/// What came of compiling what was given.
pub(super) struct Compiled {
    pub(super) result: Result<Bound, Diagnostics>,
    /// Flows that were looked for beside the flow and are not there.
    pub(super) missing: BTreeSet<String>,
}

/// Compiles flows.
pub(super) struct Compiler {
    registry: Arc<Registry>,
    names: Arc<dyn Fn() -> Option<Names> + Send + Sync>,
    turns: Arc<Semaphore>,
}

impl Compiler {
    pub(super) fn new(registry: Arc<Registry>, names: Arc<dyn Fn() -> Option<Names> + Send + Sync>) -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { registry, names, turns: Arc::new(Semaphore::new(at_once)) }
    }

    /// Compiles what was given, with these flows of the service on the shelf.
    pub(super) async fn given(
        &self,
        given: Arc<Given>,
        mounted: Vec<Arc<Bundle>>,
        others: Vec<String>,
    ) -> Result<Compiled, FlowError> {
        let (registry, names) = (self.registry.clone(), self.names.clone());
        self.turn(move || {
            let name = declared(&given.flow).unwrap_or(NAMELESS);
            let mut library = Shelf::new(name, &given.flows, &given.prompts, others);
            for bundle in &mounted {
                library.mount(bundle);
            }
            let file = SourceFile::new(shelf::file_of(name), given.flow.as_str());
            let result = compile(&file, &registry, names().as_ref(), &library);
            let read = library.read();
            Compiled { missing: read.missing.clone(), result: bind(given.flow.clone(), result, read) }
        })
        .await
    }

    /// Compiles the flow in a file, with what stands beside it.
    pub(super) async fn file(&self, path: &Path) -> Result<Result<Bound, Diagnostics>, FlowError> {
        let (registry, names, path) = (self.registry.clone(), self.names.clone(), path.to_owned());
        self.turn(move || {
            let text = library::read_flow(&path).map_err(|error| FlowError::Read {
                path: path.display().to_string(),
                why: error.to_string(),
            })?;
            let file = SourceFile::new(path.display().to_string(), text.as_str());
            let library = Recorded::beside(&path);
            let result = compile(&file, &registry, names().as_ref(), &library);
            Ok(bind(text, result, library.into_read()))
        })
        .await?
    }

    /// Compiles a bundle that was bound before. The names of models and indexes are not looked at: a job that was taken
    /// in says by itself what it misses.
    pub(super) async fn again(&self, bundle: Arc<Bundle>, hash: &str) -> Result<Arc<Plan>, FlowError> {
        let (registry, wanted) = (self.registry.clone(), hash.to_owned());
        self.turn(move || {
            let file = SourceFile::new(shelf::file_of(&bundle.name), bundle.flow.as_str());
            let (plan, _) = compile(&file, &registry, None, &Shelf::of(&bundle))
                .map_err(|problems| FlowError::Invalid(Arc::new(problems)))?;
            if *plan.hash != *wanted {
                let (name, found) = (bundle.name.clone(), plan.hash.to_string());
                return Err(FlowError::OtherHash { name, wanted, found });
            }
            Ok(Arc::new(plan))
        })
        .await?
    }

    async fn turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, FlowError> {
        let turn = tokio::time::timeout(TURN_MAX, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(FlowError::Busy) };
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|_| FlowError::Broken)
    }
}

fn compile(
    file: &Arc<SourceFile>,
    registry: &Registry,
    names: Option<&Names>,
    library: &dyn Library,
) -> Result<(Plan, Diagnostics), Diagnostics> {
    plan::compile(file, &plan::Environment { registry, names, library })
}

fn bind(
    flow: String,
    result: Result<(Plan, Diagnostics), Diagnostics>,
    read: Read,
) -> Result<Bound, Diagnostics> {
    let (plan, warnings) = result?;
    let Read { flows, prompts, .. } = read;
    let bundle = Arc::new(Bundle { name: plan.name.to_string(), flow, flows, prompts });
    Ok(Bound { bundle, plan: Arc::new(plan), warnings })
}

/// The name that the text of a flow gives it, as far as one line says.
pub(super) fn declared(text: &str) -> Option<&str> {
    let text = text.get(..limits::FLOW_BYTES).unwrap_or(text);
    let line = text.lines().find_map(|line| line.strip_prefix("flow:"))?;
    let name = line.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!name.is_empty() && name.chars().all(is_word)).then_some(name)
}

/// Parts that were given under names that cannot be theirs.
pub(super) fn wrong_keys(parts: &BTreeMap<String, String>) -> Option<&str> {
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    parts.keys().find(|key| !key.split('/').all(is_part)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_flow_is_read_from_its_line() {
        assert_eq!(declared("# a\nflow: linear # b\nnodes: {}\n"), Some("linear"));
        assert_eq!(declared("flow: \"two_2\"\n"), Some("two_2"));
        assert_eq!(declared("flow: a/b\n"), None);
        assert_eq!(declared("nodes:\n  flow: a\n"), None);
    }
}
