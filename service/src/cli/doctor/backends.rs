//! Models, embedders and indexes: each is asked for as little as shows that it works.

use std::time::Duration;

use anabranch_engine::backend::{Call, ChatRequest, Namespace, Passage};
use anabranch_engine::cx::{Model, Resources, ToolEntry};
use anabranch_engine::value::{Message, Role};

use super::Check;
use crate::cli::print;
use crate::cli::world::World;
use crate::exit::Exit;
use crate::resources::Overrides;

/// Longest time for one answer.
const PROBE: Duration = Duration::from_secs(30);

pub(super) async fn checks(world: &World, is_probing: bool) -> Vec<Check> {
    let resources = match world.resources(&Overrides::default(), std::collections::BTreeMap::new()) {
        Ok(resources) => resources,
        Err(error) => {
            return vec![Check::fail(
                "backends",
                error.message,
                "put right what it names in the configuration",
            )];
        }
    };
    let mut checks = Vec::new();
    if is_probing {
        for (name, model) in &resources.models {
            checks.push(model_check(name, model).await);
        }
    }
    for name in resources.embedders.keys().filter(|_| is_probing) {
        checks.push(embedder(name, &resources).await);
    }
    for (name, entry) in resources.tools.iter().filter(|(name, _)| world.config.tools.contains_key(*name)) {
        checks.push(tool(name, entry, is_probing).await);
    }
    for name in world.names().indexes {
        checks.push(index(&name, world, &resources).await);
    }
    for check in &mut checks {
        check.found = resources.redacted(std::mem::take(&mut check.found));
    }
    checks
}

async fn model_check(name: &str, model: &Model) -> Check {
    let what = format!("model {name}");
    let Model::Chat(model) = model else {
        return Check::ok(what, "extractive: readers select sentences, nobody is asked");
    };
    let request = ChatRequest {
        messages: vec![Message { role: Role::User, content: "Hi".into() }],
        max_tokens: Some(1),
        ..ChatRequest::default()
    };
    let key = uuid::Uuid::now_v7().simple().to_string();
    let call = Call::keyed(&key);
    let fix = format!("start its server, or put `models.{name}` right");
    match tokio::time::timeout(PROBE, model.chat(&request, &call)).await {
        Ok(Ok(_)) => Check::ok(what, format!("`{}` answers", model.name())),
        Ok(Err(error)) => Check::away(what, error.to_string(), fix),
        Err(_) => Check::away(what, format!("no answer within {} s", PROBE.as_secs()), fix),
    }
}

async fn embedder(name: &str, resources: &Resources) -> Check {
    let what = format!("embedder {name}");
    let Some(embedder) = resources.embedders.get(name) else { return Check::ok(what, "none") };
    let key = uuid::Uuid::now_v7().simple().to_string();
    let call = Call::keyed(&key);
    let fix = format!("start its server, or put `embedders.{name}` right");
    let texts = ["Hi".into()];
    match tokio::time::timeout(PROBE, embedder.embed(&texts, Passage::Query, &call)).await {
        Ok(Ok(made)) => {
            let n = made.vectors.first().map_or(0, |vector| vector.len());
            Check::ok(what, format!("`{}` gives {n} numbers", embedder.identity()))
        }
        Ok(Err(error)) => Check::away(what, error.to_string(), fix),
        Err(_) => Check::away(what, format!("no answer within {} s", PROBE.as_secs()), fix),
    }
}

/// What a tool is, and whether a server of tools lists them. None is called: it may have effects.
async fn tool(name: &str, entry: &ToolEntry, is_probing: bool) -> Check {
    let what = format!("tool {name}");
    let fix = format!("start its server, or put `tools.{name}` right");
    let server = match entry {
        ToolEntry::One(tool) => {
            let kind =
                if tool.is_idempotent() { "can be called twice" } else { "is called once, whatever happens" };
            return Check::ok(what, format!("there; it {kind}"));
        }
        ToolEntry::Several(tools) => return Check::ok(what, print::count(tools.len(), "operation")),
        ToolEntry::Server(_) if !is_probing => return Check::ok(what, "not asked"),
        ToolEntry::Server(server) => server,
    };
    match tokio::time::timeout(PROBE, server.tools()).await {
        Ok(Ok(tools)) => Check::ok(what, format!("it has {}", print::count(tools.len(), "tool"))),
        Ok(Err(error)) => Check::away(what, error.to_string(), fix),
        Err(_) => Check::away(what, format!("no answer within {} s", PROBE.as_secs()), fix),
    }
}

/// Whether an index can be opened, and its vectors are those of its embedder.
async fn index(name: &str, world: &World, resources: &Resources) -> Check {
    let what = format!("index {name}");
    let fix = |hint: Option<String>| {
        hint.unwrap_or_else(|| format!("make it anew: `anabranch index PATH --into {name}`"))
    };
    let wrong = |error: crate::exit::Error| match error.exit {
        Exit::Unavailable => Check::away(what.clone(), error.message, fix(error.hint)),
        _ => Check::fail(what.clone(), error.message, fix(error.hint)),
    };
    let opened = match world.open(name, resources).await {
        Ok(opened) => opened,
        Err(error) => return wrong(error),
    };
    if opened.encoder.is_some()
        && let Err(error) = opened.check(&Namespace::default()).await
    {
        return wrong(error);
    }
    match opened.store.stats(&Namespace::default()).await {
        Ok(stats) if stats.documents == 0 => {
            let fix =
                format!("fill it: `anabranch index PATH --into {name}`, or run a flow that declares it");
            Check::warn(what, "it is empty", fix)
        }
        Ok(stats) => {
            let (documents, chunks) =
                (print::count_u64(stats.documents, "document"), print::count_u64(stats.chunks, "chunk"));
            Check::ok(what, format!("{documents}, {chunks}"))
        }
        Err(error) => Check::away(what, error.to_string(), fix(None)),
    }
}
