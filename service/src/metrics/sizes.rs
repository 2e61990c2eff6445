//! How large the indexes are: looked up when it is asked, but not at every asking, since some stores count.

use std::time::{Duration, Instant};

use anabranch_engine::backend::{IndexStats, Namespace};
use tokio::sync::Mutex;

use crate::indexes::Indexes;

/// How long a look is good for.
const EVERY: Duration = Duration::from_secs(30);
/// Longest time that an index may take to say how large it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// The size of an index of the configuration, without the parts that other tenants have in it.
pub type Size = (String, IndexStats);

/// The latest look.
#[derive(Debug, Default)]
pub(super) struct Sizes(Mutex<Option<(Instant, Vec<Size>)>>);

impl Sizes {
    pub(super) async fn of(&self, indexes: &Indexes) -> Vec<Size> {
        let mut seen = self.0.lock().await;
        if let Some((at, sizes)) = &*seen
            && at.elapsed() < EVERY
        {
            return sizes.clone();
        }
        let (mut sizes, namespace) = (Vec::new(), Namespace::default());
        for name in indexes.names() {
            let asked = tokio::time::timeout(PATIENCE, indexes.stats(name, &namespace));
            // What does not answer is left out, until it does.
            if let Ok(Ok(Some(stats))) = asked.await {
                sizes.push((name.to_owned(), stats));
            }
        }
        *seen = Some((Instant::now(), sizes.clone()));
        sizes
    }
}
