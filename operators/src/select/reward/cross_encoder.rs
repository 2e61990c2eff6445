//! A reward by a reranker, which reads the query and the joined text of a set together.

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, RerankerName};
use anabranch_engine::value::Text;
use async_trait::async_trait;

use super::Reward;
use crate::passage;
use crate::select::candidates::Candidates;
use crate::select::search::Set;

/// What stands between two chunks of a set.
const BETWEEN: &str = "\n\n";

/// The score that a reranker gives the joined text of a set.
pub struct CrossEncoder<'a> {
    cx: &'a Cx,
    reranker: RerankerName,
    query: &'a str,
    texts: Vec<Text>,
}

impl std::fmt::Debug for CrossEncoder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrossEncoder").field("reranker", &self.reranker).finish_non_exhaustive()
    }
}

impl<'a> CrossEncoder<'a> {
    /// The reward of sets of `candidates` for `query`.
    pub fn new(cx: &'a Cx, reranker: RerankerName, query: &'a str, candidates: &Candidates) -> Self {
        let texts = candidates.chunks().iter().map(|chunk| passage::whole(chunk)).collect();
        Self { cx, reranker, query, texts }
    }

    fn joined(&self, set: &Set) -> Text {
        let parts: Vec<&str> = set.places().filter_map(|place| self.texts.get(place)).map(|t| &**t).collect();
        parts.join(BETWEEN).into()
    }
}

#[async_trait]
impl Reward for CrossEncoder<'_> {
    async fn values(&self, sets: &[Set]) -> Result<Vec<f64>, OpError> {
        let texts: Vec<Text> = sets.iter().map(|set| self.joined(set)).collect();
        self.cx.rerank(&self.reranker, self.query, &texts).await
    }

    // The raw scores of many rerankers are below 0 even for the best passage: nothing is no better than that.
    fn of_nothing(&self) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk};
    use crate::tokens::Counter;

    #[tokio::test]
    async fn a_set_is_read_as_one_text() {
        let cx = Shelf::small().cx();
        let chunks = [chunk("a", "loops need"), chunk("b", "some bounds"), chunk("c", "a page")];
        let query = "loops need bounds";
        let candidates = Candidates::of(query, &chunks, 20, &Counter::default());
        let reward = CrossEncoder::new(&cx, RerankerName::default(), query, &candidates);
        let set = |places: &[usize]| places.iter().fold(Set::default(), |set, place| set.with(*place, true));
        let values = reward.values(&[set(&[0]), set(&[1]), set(&[1, 0]), set(&[2])]).await.unwrap();
        assert_eq!(values, [2.0 / 3.0, 1.0 / 3.0, 1.0, 0.0]);
        assert_eq!(&*reward.joined(&set(&[1, 0])), "some bounds\n\nloops need");
        assert_eq!(reward.of_nothing(), None);
    }
}
