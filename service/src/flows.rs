//! The flows of a service: versions in the store, compiled plans in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anabranch_engine::diagnostic::{Diagnostics, suggest};
use anabranch_engine::operator::{Names, Registry};
use anabranch_engine::plan::Plan;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use crate::store::{Expected, FlowPut, FlowVersion, NewVersion, Store, StoreError};

mod compile;
mod folder;
pub mod graph;
pub mod schema;
mod shelf;
#[cfg(test)]
mod tests;

pub use compile::Bound;
use compile::Compiler;
pub use folder::{Broken, Loaded};

/// How long another process may not notice that a flow has another active version.
pub const NOTICED_WITHIN: Duration = Duration::from_secs(2);
/// Flows whose active version is kept in mind.
const ACTIVE_MAX: u64 = 10_000;
/// Compiled flows that are kept.
const PLANS_MAX: u64 = 1_000;
/// Most sub-flows, and most prompts, that are given with a flow.
pub const PARTS_MAX: usize = 256;

/// A flow with everything that it is made of, so that any process can compile it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Name of the flow.
    pub name: String,
    /// Its YAML.
    pub flow: String,
    /// YAML of its sub-flows, by name, and of theirs.
    pub flows: BTreeMap<String, String>,
    /// Its prompt files, by path.
    pub prompts: BTreeMap<String, String>,
}

/// A flow as somebody gives it. Sub-flows that do not come along are the active ones of the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Its YAML.
    pub flow: String,
    /// YAML of its sub-flows, by name.
    #[serde(default)]
    pub flows: BTreeMap<String, String>,
    /// Its prompt files, by the path that the flow gives them.
    #[serde(default)]
    pub prompts: BTreeMap<String, String>,
}

/// A flow that is ready to run.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Name of the flow.
    pub name: String,
    /// Its version in the store; `None` for one that was sent along.
    pub version: Option<i32>,
    /// Hash of the bundle: the plan's.
    pub hash: String,
    /// The compiled flow.
    pub plan: Arc<Plan>,
}

/// Why a flow is not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FlowError {
    /// There is none of this name (and version); what is nearest.
    #[error("there is no flow `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// It is no valid flow.
    #[error("{0}")]
    Invalid(Arc<Diagnostics>),
    /// What was given with it cannot be.
    #[error("{0}")]
    Parts(String),
    /// This build makes something else of the same texts.
    #[error(
        "flow `{name}` was taken in as `{wanted}`, and this build of the program makes `{found}` of it: run the job \
         with the build that took it in, or retry it from the start with the flow as it is now"
    )]
    OtherHash {
        /// The flow.
        name: String,
        /// The hash that it was stored under.
        wanted: String,
        /// The hash that it has here.
        found: String,
    },
    /// The bundle is not in the store.
    #[error("the flow with the hash `{0}` is not in the store")]
    NoBundle(String),
    /// A file of the folder cannot be read.
    #[error("cannot read `{path}`: {why}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// Too many flows are being compiled.
    #[error("too many flows are being compiled just now")]
    Busy,
    /// The compiler broke down.
    #[error("compiling the flow broke down; this is a bug, please report it")]
    Broken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which models and indexes flows may name; `None` does not check names.
pub type KnownNames = Arc<dyn Fn() -> Option<Names> + Send + Sync>;

/// Finds, compiles and keeps flows. Cheap to clone.
#[derive(Clone)]
pub struct Flows {
    store: Store,
    compiler: Arc<Compiler>,
    /// Versions by tenant, name and version asked for; `None` is the active one.
    known: Cache<(String, String, Option<i32>), Arc<Ready>>,
    /// Compiled flows by hash.
    plans: Cache<String, Arc<tokio::sync::OnceCell<Arc<Plan>>>>,
}

impl Flows {
    /// The flows in `store`, made of the operators of `registry`; `names` says what else they may name.
    pub fn new(store: Store, registry: Arc<Registry>, names: KnownNames) -> Self {
        Self {
            store,
            compiler: Arc::new(Compiler::new(registry, names)),
            known: Cache::builder().max_capacity(ACTIVE_MAX).time_to_live(NOTICED_WITHIN).build(),
            plans: Cache::new(PLANS_MAX),
        }
    }

    /// The flow that new jobs take: the active version, or the one asked for.
    pub async fn get(&self, tenant: &str, name: &str, version: Option<i32>) -> Result<Ready, FlowError> {
        let asked = (tenant.to_owned(), name.to_owned(), version);
        if let Some(ready) = self.known.get(&asked) {
            return Ok(Ready::clone(&ready));
        }
        let found = self.version(tenant, name, version).await?;
        let plan = self.pinned(&found.hash).await?;
        let ready = Ready { name: name.to_owned(), version: Some(found.version), hash: found.hash, plan };
        self.known.insert(asked, Arc::new(ready.clone()));
        Ok(ready)
    }

    /// The flow of a job, by the hash that it pins.
    pub async fn pinned(&self, hash: &str) -> Result<Arc<Plan>, FlowError> {
        // One cell a hash: whoever comes while it is compiled waits for the same plan. A failure leaves it empty.
        let cell = self.plans.get_with_by_ref(hash, Arc::default);
        let plan = cell
            .get_or_try_init(|| async {
                let bundle = self.bundle(hash).await?;
                self.compiler.again(bundle, hash).await
            })
            .await?;
        Ok(plan.clone())
    }

    /// What the flow with this hash is made of.
    pub async fn bundle(&self, hash: &str) -> Result<Arc<Bundle>, FlowError> {
        let bundle = self.store.bundle(hash).await?;
        bundle.map(Arc::new).ok_or_else(|| FlowError::NoBundle(hash.to_owned()))
    }

    /// A version of a flow, or its active one.
    pub async fn version(
        &self,
        tenant: &str,
        name: &str,
        version: Option<i32>,
    ) -> Result<FlowVersion, FlowError> {
        if let Some(found) = self.store.flow(tenant, name, version).await? {
            return Ok(found);
        }
        if let Some(newest) = self.store.versions(tenant, name).await?.first() {
            let newest = newest.version;
            let (name, hint) = match version {
                Some(version) => (format!("{name}@{version}"), format!("its newest version is {newest}")),
                None => (
                    name.to_owned(),
                    format!("it has drafts alone: activate one, or ask for `version={newest}`"),
                ),
            };
            return Err(FlowError::Unknown { name, hint: Some(hint) });
        }
        Err(self.unknown(tenant, name).await?)
    }

    /// Names of a tenant's flows.
    pub async fn names(&self, tenant: &str) -> Result<Vec<String>, FlowError> {
        Ok(self.store.flows(tenant).await?.into_iter().map(|flow| flow.name).collect())
    }

    /// Compiles a flow with its parts; what is missing of them is looked for among the active flows of the tenant.
    pub async fn bind(&self, tenant: &str, given: Given) -> Result<Bound, FlowError> {
        for (parts, what) in [(&given.flows, "sub-flows"), (&given.prompts, "prompts")] {
            if parts.len() > PARTS_MAX {
                let message = format!("{} {what} are given; at most {PARTS_MAX} are taken", parts.len());
                return Err(FlowError::Parts(message));
            }
            if let Some(key) = compile::wrong_keys(parts) {
                return Err(FlowError::Parts(format!("`{key}` is no path relative to the flow")));
            }
        }
        let given = Arc::new(given);
        let first = self.compiler.given(given.clone(), Vec::new(), Vec::new()).await?;
        if first.missing.is_empty() {
            return first.result.map_err(|problems| FlowError::Invalid(Arc::new(problems)));
        }
        let (mut mounted, names) = (Vec::new(), self.names(tenant).await?);
        for name in first.missing.iter().filter(|name| names.contains(name)).take(PARTS_MAX) {
            let version = self.version(tenant, name, None).await?;
            mounted.push(self.bundle(&version.hash).await?);
        }
        let second = self.compiler.given(given, mounted, names).await?;
        second.result.map_err(|problems| FlowError::Invalid(Arc::new(problems)))
    }

    /// A flow that comes along with a job: kept by its hash, without a version.
    pub async fn sent_along(&self, tenant: &str, given: Given) -> Result<Ready, FlowError> {
        let bound = self.bind(tenant, given).await?;
        let hash = bound.plan.hash.to_string();
        self.store.put_bundle(&hash, &bound.bundle).await?;
        self.remember(&bound);
        Ok(Ready { name: bound.bundle.name.clone(), version: None, hash, plan: bound.plan })
    }

    /// Makes a flow the newest version of its name, if what is active by then is what `expected` says. New jobs take it,
    /// unless it is to be a draft.
    pub async fn put(
        &self,
        tenant: &str,
        bound: &Bound,
        by: Option<&str>,
        expected: Expected,
        is_draft: bool,
    ) -> Result<FlowPut, FlowError> {
        let hash = bound.plan.hash.to_string();
        self.store.put_bundle(&hash, &bound.bundle).await?;
        let new = NewVersion {
            tenant: tenant.to_owned(),
            name: bound.bundle.name.clone(),
            // Two versions of the same text differ if what they call does, and so do their etags.
            etag: hash.clone(),
            hash,
            about: bound.plan.about.as_deref().map(str::to_owned),
            created_by: by.map(str::to_owned),
            expected,
            is_draft,
        };
        let put = self.store.put_flow_version(&new).await?;
        self.remember(bound);
        self.changed();
        Ok(put)
    }

    /// Makes a version the one that new jobs take.
    pub async fn activate(&self, tenant: &str, name: &str, version: i32) -> Result<FlowVersion, FlowError> {
        let found = self.version(tenant, name, Some(version)).await?;
        self.store.activate(tenant, name, version).await?;
        self.changed();
        Ok(FlowVersion { is_active: true, ..found })
    }

    /// All versions of a flow, newest first.
    pub async fn versions(&self, tenant: &str, name: &str) -> Result<Vec<FlowVersion>, FlowError> {
        let versions = self.store.versions(tenant, name).await?;
        if versions.is_empty() {
            return Err(self.unknown(tenant, name).await?);
        }
        Ok(versions)
    }

    /// The active versions of a tenant's flows, by name.
    pub async fn list(&self, tenant: &str) -> Result<Vec<FlowVersion>, FlowError> {
        Ok(self.store.flows(tenant).await?)
    }

    /// Takes a flow off the list; jobs that were taken in keep theirs. `false` if there is none.
    pub async fn remove(&self, tenant: &str, name: &str) -> Result<bool, FlowError> {
        let was_there = self.store.remove_flow(tenant, name).await?;
        self.changed();
        Ok(was_there)
    }

    async fn unknown(&self, tenant: &str, name: &str) -> Result<FlowError, FlowError> {
        let names = self.names(tenant).await?;
        let hint = suggest(name, names.iter().map(String::as_str), "there are");
        Ok(FlowError::Unknown { name: name.to_owned(), hint })
    }

    fn remember(&self, bound: &Bound) {
        let cell = Arc::new(tokio::sync::OnceCell::new_with(Some(bound.plan.clone())));
        self.plans.get_with_by_ref(&*bound.plan.hash, || cell);
    }

    fn changed(&self) {
        self.known.invalidate_all();
    }
}
