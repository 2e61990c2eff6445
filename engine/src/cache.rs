//! Results of nodes that a flow allows to be used again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache as Moka;

use crate::value::Value;

/// Most results that are kept.
const ENTRIES: u64 = 10_000;

type Outputs = Arc<Vec<Option<Value>>>;

/// Results by name, each with its own time to live; the least used go first when it is full.
#[derive(Debug, Clone)]
pub struct Cache(Moka<String, (Duration, Outputs)>);

#[derive(Debug)]
struct ByEntry;

impl Expiry<String, (Duration, Outputs)> for ByEntry {
    fn expire_after_create(
        &self,
        _: &String,
        (ttl, _): &(Duration, Outputs),
        _: Instant,
    ) -> Option<Duration> {
        Some(*ttl)
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self(Moka::builder().max_capacity(ENTRIES).expire_after(ByEntry).build())
    }
}

impl Cache {
    pub(crate) fn get(&self, key: &str) -> Option<Outputs> {
        self.0.get(key).map(|(_, outputs)| outputs)
    }

    pub(crate) fn put(&self, key: String, ttl: Duration, outputs: Vec<Option<Value>>) {
        self.0.insert(key, (ttl, Arc::new(outputs)));
    }
}
