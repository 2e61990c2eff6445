//! A test that a flow carries, run: what comes of it against what is expected. Nothing outside is asked: models answer
//! from the test's script or recording, or not at all, stand-ins encode, and there are no indexes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anabranch_backends::chat::{Replay, Rule, Scripted, Tape};
use anabranch_backends::embed::Hashed;
use anabranch_backends::rerank::Lexical;
use anabranch_engine::backend::{Embedder, Reranker};
use anabranch_engine::cx::{Model, Resources};
use anabranch_engine::event::{FailureKind, RunId};
use anabranch_engine::expect::{self, Unmet};
use anabranch_engine::flow::TestDecl;
use anabranch_engine::plan::Plan;
use anabranch_engine::run::{self, Options, Stub};
use anabranch_engine::value::{Map, Value};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DEFAULT};
use crate::exit;

/// What became of a test: what is not met, or why it could not be run.
pub(crate) type Tested = Result<Vec<Unmet>, String>;

/// Runs one test of `plan`, with the names of `config`; `recording` finds the one that the test names.
pub(crate) async fn run(
    plan: &Arc<Plan>,
    test: &TestDecl,
    config: &Config,
    recording: impl Fn(&str) -> Result<Arc<Tape>, String>,
    cancel: &CancellationToken,
) -> Tested {
    // Whatever encoder a flow names, a stand-in answers.
    let embedder = |name: &String| (name.clone(), Arc::new(Hashed) as Arc<dyn Embedder>);
    let reranker = |name: &String| (name.clone(), Arc::new(Lexical) as Arc<dyn Reranker>);
    let resources = Arc::new(Resources {
        models: models(test, config, recording)?,
        embedders: config.embedders.keys().map(embedder).collect(),
        rerankers: config.rerankers.keys().map(reranker).collect(),
        // A program asks nothing outside either.
        tools: crate::resources::tools::built_in(),
        ..Resources::default()
    });
    let value = |entry: &Json| Value::from_json(entry.clone());
    let inputs: Map = test
        .inputs
        .iter()
        .map(|entry| (entry.key.value.as_str().into(), value(&entry.value.value)))
        .collect();
    let options = Options {
        id: RunId("test".into()),
        stubs: test
            .stub
            .iter()
            .map(|entry| (entry.key.value.clone(), stub(&entry.value.to_json())))
            .collect(),
        cancel: cancel.clone(),
        // A wait that is not stubbed ends the test, not the day.
        park: true,
        details: true,
        ..Options::default()
    };
    let report =
        run::run(plan.clone(), inputs, resources, options).await.map_err(|error| exit::chain(&error))?;
    Ok(expect::unmet(test, &report))
}

/// The models of a test: scripted or recorded answers if it has a script or names a recording, otherwise none that could
/// answer.
fn models(
    test: &TestDecl,
    config: &Config,
    recording: impl Fn(&str) -> Result<Arc<Tape>, String>,
) -> Result<BTreeMap<String, Model>, String> {
    let mut models: BTreeMap<String, Model> =
        config.models.keys().map(|name| (name.clone(), Model::Extractive)).collect();
    models.insert(DEFAULT.to_owned(), Model::Extractive);
    if !test.script.is_empty() {
        let rules = test.script.iter().map(Rule::from);
        let model = Arc::new(Scripted::rules(rules).map_err(|error| exit::chain(&error))?);
        for one in models.values_mut() {
            *one = Model::Chat(model.clone());
        }
        return Ok(models);
    }
    let Some(replay) = &test.replay else { return Ok(models) };
    let tape = recording(&replay.value)?;
    let names: Vec<String> = models.keys().cloned().chain(tape.models().map(str::to_owned)).collect();
    for name in names {
        let chat = Arc::new(Replay::new(&*name, tape.clone()));
        models.insert(name, Model::Chat(chat));
    }
    Ok(models)
}

/// `{error: kind, message}` is a failure, anything else outputs by port.
fn stub(json: &Json) -> Stub {
    let kind = json.get("error").and_then(|kind| FailureKind::ALL.into_iter().find(|k| *kind == k.as_str()));
    if let Some(kind) = kind {
        let message = json.get("message").and_then(Json::as_str).unwrap_or("stubbed");
        return Stub::Fails(kind, message.to_owned());
    }
    let entries = json.as_object().into_iter().flatten();
    Stub::Outputs(
        entries.map(|(port, json)| (port.as_str().into(), Value::from_json(json.clone()))).collect(),
    )
}
