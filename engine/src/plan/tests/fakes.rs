//! Operators with the shapes of real ones, which do nothing.
#![expect(dead_code, reason = "settings that nothing reads still have to be there to be set")]

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::cx::Cx;
use crate::operator::{IndexName, ModelName, OpError, Operator, Prompt, Registry, SettingProblem};
use crate::types::Type;
use crate::value::{Chunk, Label, Text};

macro_rules! fake {
    ($settings:ident, $name:literal, $in:ty, $out:ty $(, $more:item)*) => {
        #[async_trait]
        impl Operator for $settings {
            const NAME: &'static str = $name;
            type In = $in;
            type Out = $out;

            async fn run(&self, _: &Cx, _: $in) -> Result<$out, OpError> {
                Err(OpError::InvalidInput("a fake does not run".to_owned()))
            }

            $($more)*
        }
    };
}

/// Finds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retrieve {
    /// Where.
    #[serde(default = "docs")]
    pub index: IndexName,
    /// How many.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub top_k: u32,
}

fn docs() -> IndexName {
    IndexName("docs".into())
}

fn ten() -> u32 {
    10
}

crate::ports! {
    /// In.
    pub(crate) struct RetrieveIn {
        /// What to look for.
        pub query: String,
        /// Most.
        pub limit: Option<i64>,
    }
}
crate::ports! {
    /// Out.
    pub(crate) struct RetrieveOut {
        /// Found.
        pub chunks: Vec<Arc<Chunk>>,
        /// How well each fits.
        pub scores: Vec<f64>,
    }
}
fake!(Retrieve, "retrieve.bm25", RetrieveIn, RetrieveOut);

/// Answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// With what.
    #[serde(default)]
    pub model: ModelName,
    /// How asked.
    pub prompt: Option<Prompt>,
    /// How.
    #[serde(default)]
    pub style: Style,
    /// Most tokens.
    pub max_tokens: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Style {
    #[default]
    Short,
    Long,
}

crate::ports! {
    /// In.
    pub(crate) struct AnswerIn {
        /// What was asked.
        pub question: String,
        /// What to read.
        pub chunks: Vec<Arc<Chunk>>,
    }
}
crate::ports! {
    /// Out.
    pub(crate) struct AnswerOut {
        /// The answer.
        pub text: String,
        /// How sure.
        pub confidence: f64,
    }
}
fake!(Answer, "read.answer", AnswerIn, AnswerOut);

/// Routes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Label to examples.
    pub routes: std::collections::BTreeMap<String, Vec<String>>,
}

crate::ports! {
    /// In.
    pub(crate) struct RouteIn {
        /// What to route.
        pub text: String,
    }
}
crate::ports! {
    /// Out.
    pub(crate) struct RouteOut {
        /// Where to.
        pub label: Label,
    }
}
fake!(
    Route,
    "route.semantic",
    RouteIn,
    RouteOut,
    fn labels(&self) -> Option<Vec<Text>> {
        Some(self.routes.keys().map(|label| label.as_str().into()).collect())
    },
    fn check(&self, given: &[(Text, Type)]) -> Vec<SettingProblem> {
        let _ = given;
        self.routes
            .iter()
            .filter(|(_, examples)| examples.is_empty())
            .map(|(label, _)| SettingProblem {
                pointer: format!("/routes/{label}"),
                message: format!("route `{label}` has no examples"),
                hint: None,
            })
            .collect()
    }
);

/// Thinks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Think {}

crate::ports! {
    /// In.
    pub(crate) struct ThinkIn {
        /// What was asked.
        pub question: String,
        /// What is known.
        pub chunks: Vec<Arc<Chunk>>,
    }
}
crate::ports! {
    /// Out.
    pub(crate) struct ThinkOut {
        /// What to look for next.
        pub query: String,
        /// Whether that was all.
        pub done: bool,
    }
}
fake!(Think, "query.next_hop", ThinkIn, ThinkOut);

/// Every fake, and the operators of [`crate::testing`].
pub(crate) fn registry() -> Registry {
    crate::testing::registry().with::<Retrieve>().with::<Answer>().with::<Route>().with::<Think>()
}
