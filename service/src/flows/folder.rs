//! The flows of a folder, taken in when the service starts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Bound, FlowError, Flows};
use crate::library;
use crate::store::{Expected, FlowPut};

/// Most files of a folder that are looked at.
const FILES_MAX: usize = 10_000;

/// What came of taking in a folder.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Flows that are new or another than before, with their version.
    pub changed: Vec<(String, i32)>,
    /// Flows that are as they were.
    pub unchanged: Vec<String>,
    /// Files that are no valid flow.
    pub broken: Vec<Broken>,
}

/// A file that is no valid flow.
#[derive(Debug)]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub why: FlowError,
}

impl Flows {
    /// Takes in the flows of `folder`: every YAML file in it with a top-level `flow:`, with what stands beside it.
    ///
    /// A flow is taken in when its files, or what this build makes of them, are others than those that were last taken
    /// in under its name. Otherwise it is left as it is, whatever was put, activated or removed over the API since:
    /// whoever did that meant it. A file that is no valid flow is reported, and the others are taken in.
    pub async fn load_folder(&self, tenant: &str, folder: &Path) -> Result<Loaded, FlowError> {
        let listed = folder.to_owned();
        let files = tokio::task::spawn_blocking(move || files(&listed)).await;
        let files = files.map_err(|_| FlowError::Broken)?.map_err(|error| FlowError::Read {
            path: folder.display().to_string(),
            why: error.to_string(),
        })?;
        let mut loaded = Loaded::default();
        let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in files {
            match self.load_file(tenant, &path, &mut seen).await {
                Ok((name, Some(version))) => loaded.changed.push((name, version)),
                Ok((name, None)) => loaded.unchanged.push(name),
                Err(FlowError::Store(error)) => return Err(error.into()),
                Err(why) => loaded.broken.push(Broken { path, why }),
            }
        }
        Ok(loaded)
    }

    async fn load_file(
        &self,
        tenant: &str,
        path: &Path,
        seen: &mut BTreeMap<String, PathBuf>,
    ) -> Result<(String, Option<i32>), FlowError> {
        let bound =
            self.compiler.file(path).await?.map_err(|problems| FlowError::Invalid(problems.into()))?;
        let Bound { bundle, plan, .. } = &bound;
        if let Some(other) = seen.insert(bundle.name.clone(), path.to_owned()) {
            return Err(FlowError::Parts(format!(
                "flow `{}` stands in `{}` too",
                bundle.name,
                other.display()
            )));
        }
        // What is kept must be the whole flow: another process has no such folder.
        self.compiler.again(bundle.clone(), &plan.hash).await?;
        if self.store.is_taken(tenant, &bundle.name, &plan.hash).await? {
            return Ok((bundle.name.clone(), None));
        }
        let version = match self.put(tenant, &bound, None, Expected::Anything, false).await? {
            FlowPut::New(version, _) => Some(version),
            // Another process was faster, or somebody had put the same.
            FlowPut::Same(_) | FlowPut::SameDraft(_) | FlowPut::Unexpected(_) => None,
        };
        self.store.note_taken(tenant, &bundle.name, &plan.hash).await?;
        Ok((bundle.name.clone(), version))
    }
}

/// The flow files of a folder, in order of their names.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(FILES_MAX) {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let is_flow = || {
            // What cannot be read is no flow that could be reported as broken.
            library::read_flow(&path).is_ok_and(|text| text.lines().any(|line| line.starts_with("flow:")))
        };
        if is_yaml && path.is_file() && is_flow() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.why)
    }
}
