//! What tokens cost.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_yaml::Spanned;

use super::error::Place;

/// Prices per million tokens, in any one currency: that of `cost` budgets.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    /// Tokens read.
    #[serde(deserialize_with = "price")]
    #[schemars(range(min = 0.0))]
    pub prompt: f64,
    /// Tokens read from the server's cache; as `prompt` if unset.
    #[serde(default, deserialize_with = "some_price")]
    #[schemars(range(min = 0.0))]
    pub cached: Option<f64>,
    /// Tokens written. Encoders write none and need no such price; models do.
    #[serde(default, deserialize_with = "some_price")]
    #[schemars(range(min = 0.0))]
    pub completion: Option<f64>,
    /// Where it stands.
    #[serde(skip)]
    pub(super) place: Option<Place>,
}

/// Prices by name, each with its place.
pub(super) fn prices<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, PriceConfig>, D::Error> {
    let prices = BTreeMap::<String, Spanned<PriceConfig>>::deserialize(deserializer)?;
    let placed = |price: Spanned<PriceConfig>| PriceConfig { place: Some(Place::of(&price)), ..price.value };
    Ok(prices.into_iter().map(|(name, price)| (name, placed(price))).collect())
}

fn price<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let price = f64::deserialize(deserializer)?;
    if price.is_finite() && price >= 0.0 {
        Ok(price)
    } else {
        Err(serde::de::Error::custom(format!("a price is at least 0, and this is {price}")))
    }
}

fn some_price<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    price(deserializer).map(Some)
}
