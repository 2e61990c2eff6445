//! Each tenant's part of the indexes: no flow reaches another tenant's documents, or results that were kept of them.

use std::sync::Arc;

use anabranch_engine::backend::{Error, Index, IndexStats, Namespace, SearchQuery};
use anabranch_engine::cache::Cache as Results;
use anabranch_engine::cx::{IndexEntry, Resources};
use anabranch_engine::value::{Chunk, DocumentId};
use async_trait::async_trait;
use moka::sync::Cache;

use crate::access::DEFAULT_TENANT;

/// What the namespaces of tenants begin with. The tenant `default` has all others.
const PREFIX: &str = "tenant.";
/// Tenants whose resources are kept.
const TENANTS_MAX: u64 = 1_000;

/// What is a tenant's of `namespace`: itself for the tenant `default`, `tenant.NAME` and below for others.
pub fn namespace_of(tenant: &str, namespace: &Namespace) -> Result<Namespace, String> {
    let asked = namespace.as_str();
    if tenant == DEFAULT_TENANT {
        return if asked.starts_with(PREFIX) {
            Err(format!("the namespace `{asked}` belongs to a tenant"))
        } else {
            Ok(namespace.clone())
        };
    }
    let name =
        if asked.is_empty() { format!("{PREFIX}{tenant}") } else { format!("{PREFIX}{tenant}.{asked}") };
    Namespace::new(&name).map_err(|error| error.to_string())
}

/// The resources of a process, as each tenant may use them. Cheap to clone.
#[derive(Clone)]
pub struct TenantResources {
    base: Arc<Resources>,
    kept: Cache<String, Arc<Resources>>,
}

impl TenantResources {
    /// Parts of `base` for every tenant.
    pub fn new(base: Arc<Resources>) -> Self {
        Self { base, kept: Cache::new(TENANTS_MAX) }
    }

    /// What a tenant's flows can use.
    pub fn of(&self, tenant: &str) -> Arc<Resources> {
        self.kept.get_with_by_ref(tenant, || {
            let mut resources = Resources::clone(&self.base);
            for (name, entry) in &mut resources.indexes {
                *entry = part(name, tenant, entry);
            }
            // Results of nodes hold what was found: they are nobody else's.
            resources.cache = Results::default();
            Arc::new(resources)
        })
    }
}

fn part(name: &str, tenant: &str, entry: &IndexEntry) -> IndexEntry {
    let index = Tenanted { name: name.to_owned(), tenant: tenant.to_owned(), index: entry.index.clone() };
    IndexEntry { index: Arc::new(index), embedder: entry.embedder.clone() }
}

/// An index of which only a tenant's part can be reached.
#[derive(Debug)]
struct Tenanted {
    name: String,
    tenant: String,
    index: Arc<dyn Index>,
}

impl Tenanted {
    fn part(&self, namespace: &Namespace) -> Result<Namespace, Error> {
        namespace_of(&self.tenant, namespace)
            .map_err(|message| Error::Rejected { backend: format!("index `{}`", self.name), message })
    }
}

#[async_trait]
impl Index for Tenanted {
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Arc<Chunk>>, Error> {
        let namespace = self.part(&query.namespace)?;
        // A tenant that has nothing yet finds nothing; one that names a part that is not there is told.
        if query.namespace.is_default()
            && !namespace.is_default()
            && self.index.stats(&namespace).await?.documents == 0
        {
            return Ok(Vec::new());
        }
        self.index.search(&SearchQuery { namespace, ..query.clone() }).await
    }

    async fn chunks_of(&self, namespace: &Namespace, doc: &DocumentId) -> Result<Vec<Arc<Chunk>>, Error> {
        self.index.chunks_of(&self.part(namespace)?, doc).await
    }

    async fn stats(&self, namespace: &Namespace) -> Result<IndexStats, Error> {
        self.index.stats(&self.part(namespace)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tenant: &str, namespace: &str) -> Result<String, String> {
        namespace_of(tenant, &Namespace::new(namespace).unwrap())
            .map(|namespace| namespace.as_str().to_owned())
    }

    #[test]
    fn no_two_tenants_share_a_namespace() {
        assert_eq!(of("default", "").unwrap(), "");
        assert_eq!(of("default", "acme").unwrap(), "acme");
        assert_eq!(of("acme", "").unwrap(), "tenant.acme");
        assert_eq!(of("acme", "eu").unwrap(), "tenant.acme.eu");
        assert_eq!(of("acme", "tenant.other").unwrap(), "tenant.acme.tenant.other");
        assert!(of("default", "tenant.acme").unwrap_err().contains("belongs to a tenant"));
        assert!(of("acme", &"a".repeat(60)).is_err());
    }
}
