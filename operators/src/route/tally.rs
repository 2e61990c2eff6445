//! What a log says of routes: how often each was right, tag by tag. The table of `route.tag` is made of it.

use anabranch_engine::value::Text;
use indexmap::IndexMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// How often something was right, and of how many times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times it was right.
    pub right: u64,
    /// Times it was tried.
    pub of: u64,
}

impl Tally {
    /// Adds so many times right, of so many.
    pub fn add(&mut self, right: u64, of: u64) {
        self.right = self.right.saturating_add(right);
        self.of = self.of.saturating_add(of);
    }

    /// The share that was right, 0 to 1; `None` if it was never tried.
    pub fn share(self) -> Option<f64> {
        (self.of > 0).then(|| self.right as f64 / self.of as f64)
    }
}

/// A line of a log: a text with these tags took this route, and was right or not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Record {
    /// The tags of the text.
    pub tags: Vec<Text>,
    /// The route that it took.
    pub route: Text,
    /// Whether that was right.
    pub success: bool,
    /// What it cost, 0 or more, if the log says so.
    #[serde(default, deserialize_with = "cost")]
    pub cost: Option<f64>,
}

fn cost<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    match Option::<f64>::deserialize(from)? {
        Some(cost) if cost < 0.0 => Err(D::Error::custom(format!("`cost` is {cost}, less than nothing"))),
        cost => Ok(cost),
    }
}

/// What was learned of a log, in the order in which routes and tags come in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learned {
    /// For each tag, how often each route was right.
    pub table: IndexMap<Text, IndexMap<Text, Tally>>,
    /// For each route, how often it was right over all lines, and the sum of what is known of its cost.
    pub routes: IndexMap<Text, Route>,
}

/// What was learned of one route.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Route {
    /// How often it was right.
    pub tally: Tally,
    cost: f64,
    n_costs: u64,
}

impl Route {
    /// Its mean cost; 0 where no line says one.
    pub fn cost(&self) -> f64 {
        if self.n_costs == 0 { 0.0 } else { self.cost / self.n_costs as f64 }
    }
}

impl Learned {
    /// Adds a line of the log. A tag that it names twice counts once.
    pub fn add(&mut self, record: &Record) {
        let right = u64::from(record.success);
        let route = self.routes.entry(record.route.clone()).or_default();
        route.tally.add(right, 1);
        if let Some(cost) = record.cost {
            route.cost += cost;
            route.n_costs += 1;
        }
        for (at, tag) in record.tags.iter().enumerate() {
            if record.tags.iter().take(at).any(|before| before == tag) {
                continue;
            }
            let of_tag = self.table.entry(tag.clone()).or_default();
            of_tag.entry(record.route.clone()).or_default().add(right, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tags: &[&str], route: &str, success: bool, cost: Option<f64>) -> Record {
        Record { tags: tags.iter().map(|tag| (*tag).into()).collect(), route: route.into(), success, cost }
    }

    #[test]
    fn a_log_is_counted_by_tag_and_route() {
        let mut learned = Learned::default();
        for record in [
            record(&["algebra", "algebra"], "small", false, Some(1.0)),
            record(&["algebra", "hard"], "small", true, Some(2.0)),
            record(&["algebra"], "large", true, None),
            record(&[], "large", true, None),
        ] {
            learned.add(&record);
        }
        assert_eq!(learned.table["algebra"]["small"], Tally { right: 1, of: 2 });
        assert_eq!(learned.table["hard"].len(), 1);
        assert_eq!(learned.routes["large"].tally, Tally { right: 2, of: 2 });
        assert_eq!((learned.routes["small"].cost(), learned.routes["large"].cost()), (1.5, 0.0));
        assert_eq!(Tally::default().share(), None);
    }
}
