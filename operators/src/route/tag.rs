//! Chooses a route by what a log says of the text's tags.

use std::collections::{BTreeMap, BTreeSet};

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator, SettingProblem};
use anabranch_engine::ports;
use anabranch_engine::types::Type;
use anabranch_engine::value::{Label, Text};
use async_trait::async_trait;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tally::Tally;
use crate::choice::listed;
use crate::words::terms;

/// Chooses a route by what a log says of the text's tags: how often each route was right, and what it costs.
///
/// For every tag the table holds how often each route was right, of how many times it was tried. Such a share is drawn
/// towards the route's share over all tags, as if that had been seen `prior_strength` times more; an unknown tag has
/// that share alone. The score of a route is the mean over the tags, and the route with the highest `score - lambda *
/// cost` is taken: with `lambda: 0` the best, and the larger `lambda`, the cheaper. Of equal routes the cheaper one is
/// taken, then the one declared first. Without `tags`, those tags of the table are the text's whose words all stand in
/// it. Use it to send to a large model only what a small one gets wrong, where past answers tell which; `anabranch route
/// learn` makes the table from a log. Asks no model.
///
/// Source: `TagRouter` (2025), whose tags a small model writes; here they come from the flow, such as the subject of a
/// form, a field of the metadata, or `extract.structured`.
///
/// ```yaml
/// route:
///   op: route.tag
///   with:
///     routes: { small: 0, large: 1 }
///     table:
///       astronomy: { small: [80, 100], large: [84, 100] }
///       algebra: { small: [35, 100], large: [61, 100] }
///     lambda: 0.1
///   in: { tags: inputs.tags }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// The routes, each with what it costs, in a unit of your choice.
    #[schemars(with = "BTreeMap<String, f64>", extend("minProperties" = 1, "maxProperties" = 50))]
    pub routes: IndexMap<Text, f64>,
    /// For each tag and route, how often the route was right and of how many: `[right, of]`.
    #[schemars(with = "BTreeMap<String, BTreeMap<String, Seen>>", extend("maxProperties" = 10_000))]
    pub table: IndexMap<Text, IndexMap<Text, Seen>>,
    /// How much success a unit of cost must bring: 0 looks at success alone.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
    /// How many times the route's share over all tags counts beside what was seen of a tag.
    #[serde(default = "five")]
    #[schemars(range(min = 0.0, max = 1_000_000.0))]
    pub prior_strength: f64,
}

/// How often a route was right, and of how many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen(
    /// Times it was right.
    pub u64,
    /// Times it was tried.
    pub u64,
);

fn five() -> f64 {
    5.0
}

ports! {
    /// What it reads.
    pub struct In {
        /// The text to route; its words are looked up among the tags if no `tags` are given.
        pub text: Option<String>,
        /// The tags of the text.
        pub tags: Option<Vec<String>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The route that was chosen.
        pub label: Label,
        /// How likely it is to be right, 0 to 1, by the log.
        pub score: f64,
        /// The same for every route, without its cost.
        pub scores: BTreeMap<String, f64>,
        /// The tags that the table knows.
        pub known: Vec<String>,
        /// Why, in words.
        pub reason: String,
    }
}

impl Tag {
    fn tags(&self, input: In) -> Vec<String> {
        if let Some(tags) = input.tags {
            // A tag that is given twice counts once.
            let mut seen = BTreeSet::new();
            return tags.into_iter().filter(|tag| seen.insert(tag.clone())).collect();
        }
        let words: BTreeSet<String> = terms(&input.text.unwrap_or_default()).into_iter().collect();
        let stands_there = |tag: &&Text| {
            let parts = terms(tag);
            !parts.is_empty() && parts.iter().all(|part| words.contains(part))
        };
        self.table.keys().filter(stands_there).map(ToString::to_string).collect()
    }

    /// How often the route was right over all tags, 0 to 1; a half if it was never tried.
    fn prior(&self, route: &str) -> f64 {
        let seen = self.table.values().filter_map(|routes| routes.get(route));
        let mut tally = Tally::default();
        seen.for_each(|Seen(right, of)| tally.add(*right, *of));
        tally.share().unwrap_or(0.5)
    }

    /// How likely the route is to be right for a text with these tags.
    fn score(&self, route: &str, tags: &[String]) -> f64 {
        let prior = self.prior(route);
        let of_tag = |tag: &String| {
            let Some(Seen(right, of)) = self.table.get(&**tag).and_then(|routes| routes.get(route)) else {
                return prior;
            };
            let weight = *of as f64 + self.prior_strength;
            if weight > 0.0 { (*right as f64 + self.prior_strength * prior) / weight } else { prior }
        };
        if tags.is_empty() { prior } else { tags.iter().map(of_tag).sum::<f64>() / tags.len() as f64 }
    }

    /// The position of the route to take, for the score of each.
    fn best(&self, scores: &[f64]) -> usize {
        let costs: Vec<f64> = self.routes.values().copied().collect();
        let value = |at: usize| {
            let (score, cost) = (scores.get(at).copied(), costs.get(at).copied());
            (score.unwrap_or_default() - self.lambda * cost.unwrap_or_default(), cost.unwrap_or_default())
        };
        let mut best = 0;
        for at in 1..scores.len() {
            let ((worth, cost), (most, least)) = (value(at), value(best));
            if worth > most || (worth >= most && cost < least) {
                best = at;
            }
        }
        best
    }
}

#[async_trait]
impl Operator for Tag {
    const NAME: &'static str = "route.tag";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        if input.text.is_none() && input.tags.is_none() {
            return Err(OpError::InvalidInput("neither `text` nor `tags` is present".to_owned()));
        }
        let tags = self.tags(input);
        let scores: Vec<f64> = self.routes.keys().map(|route| self.score(route, &tags)).collect();
        let best = self.best(&scores);
        let label = self.routes.get_index(best).map(|(route, _)| route.clone()).unwrap_or_default();
        let score = scores.get(best).copied().unwrap_or_default();
        let known: Vec<String> =
            tags.iter().filter(|tag| self.table.contains_key(tag.as_str())).cloned().collect();
        let by = if known.is_empty() { "over all tags".to_owned() } else { known.join(", ") };
        Ok(Out {
            reason: format!("`{label}` was right {:.0} % of the time ({by})", score * 100.0),
            label: Label(label),
            score,
            scores: self.routes.keys().map(ToString::to_string).zip(scores).collect(),
            known,
        })
    }

    fn labels(&self) -> Option<Vec<Text>> {
        Some(self.routes.keys().cloned().collect())
    }

    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let problem = |pointer: String, message: String, hint: String| SettingProblem {
            pointer,
            message,
            hint: Some(hint),
        };
        let mut problems = Vec::new();
        if !given.iter().any(|(port, _)| matches!(&**port, "text" | "tags")) {
            problems.push(problem(
                "/table".to_owned(),
                "without `text` or `tags` there is nothing to look up in it".to_owned(),
                "connect `tags`, or `text` to look its words up".to_owned(),
            ));
        }
        for (tag, routes) in &self.table {
            // As JSON pointers are written.
            let pointer = |route: &str| {
                let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
                format!("/table/{}/{}", escaped(tag), escaped(route))
            };
            for (route, Seen(right, of)) in routes {
                if !self.routes.contains_key(route) {
                    let hint = format!("the routes are {}", listed(self.routes.keys()));
                    problems.push(problem(pointer(route), format!("`{route}` is none of the routes"), hint));
                }
                if right > of {
                    let message = format!("it was right {right} times, of {of}");
                    let hint = "write `[right, of]`".to_owned();
                    problems.push(problem(pointer(route), message, hint));
                }
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests;
