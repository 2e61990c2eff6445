//! Indexes: opened, brought up to date, and what is said about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_backends::index::{IndexStore, StoreError};
use anabranch_engine::backend::Namespace;
use anabranch_engine::cx::{IndexEntry, Resources};
use anabranch_engine::diagnostic;
use anabranch_engine::operator::{EmbedderName, Registry};
use anabranch_engine::value::Text;
use tokio_util::sync::CancellationToken;

use super::bar::Bar;
use super::{World, env};
use crate::catalog::{self, Card};
use crate::cli::print;
use crate::config::{DEFAULT, EmbedderChoice, IndexConfig, StoreConfig};
use crate::exit::{self, Error, Exit};
use crate::indexing::{self, Cutter, Encoder, Job, Prune, Summary};
use crate::resources;

pub(crate) use crate::indexes::Opened;
use crate::indexes::{Indexes, Written};

/// The word for the flow that cuts documents where none is named.
const BUILT_IN: &str = "none";

impl Opened {
    /// Refuses an index whose vectors are not those of its embedder.
    pub(crate) async fn check(&self, namespace: &Namespace) -> Result<(), Error> {
        let mismatch = self.checked().mismatch(namespace).await.map_err(|error| store_error(&error))?;
        match mismatch {
            None => Ok(()),
            Some(mismatch) => Err(Error::new(Exit::Invalid, format!("index `{}`: {mismatch}", self.name))
                .hint(format!(
                    "`anabranch index PATH --into {}` with all of its paths makes its vectors anew",
                    self.name
                ))),
        }
    }
}

impl World {
    /// Opens the index `name` for searching: it must be declared, or be there.
    pub(crate) async fn open(&self, name: &str, resources: &Resources) -> Result<Opened, Error> {
        let config = self.config.indexes.get(name);
        if config.is_none() && (!catalog::is_name(name) || !catalog::folder(&self.config.data, name).is_dir())
        {
            let names = self.names().indexes;
            let near = diagnostic::nearest(name, names.iter().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("make it with `anabranch index PATH --into {name}`"),
            };
            return Err(Error::new(Exit::Invalid, format!("there is no index `{name}`")).hint(hint));
        }
        self.open_or_create(name, None, resources).await
    }

    /// Opens the index `name`, or makes an empty one; `embedder` is what the command line says about its vectors.
    pub(crate) async fn open_or_create(
        &self,
        name: &str,
        embedder: Option<&str>,
        resources: &Resources,
    ) -> Result<Opened, Error> {
        must_be_name(name)?;
        let config = self.config.indexes.get(name);
        let store = config.map_or(&StoreConfig::Embedded, |config| &config.store);
        let store = resources::open_store(name, store, &self.config.data, &env)
            .map_err(|error| Error::new(Exit::Unavailable, exit::chain(&error)))?;
        let given = embedder.map(|word| EmbedderChoice::parse(word).name());
        let embedder = match (config, given) {
            (Some(config), Some(given)) if given != config.embedder.name() => {
                let declared = config.embedder.name().map_or("none".into(), |name| name.0);
                let message =
                    format!("index `{name}` is declared with `embedder: {declared}` in the configuration");
                return Err(Error::usage(message).hint("leave out `--embedder`, or change the declaration"));
            }
            (Some(config), _) => config.embedder.name(),
            (None, Some(given)) => given,
            (None, None) => self.remembered(name, &*store, resources).await?,
        };
        let encoder = embedder.map(|embedder| encoder(name, embedder, resources)).transpose()?;
        Ok(Opened { name: name.to_owned(), store, encoder })
    }

    fn card(&self, name: &str) -> Result<Option<Card>, Error> {
        Card::load(&self.config.data, name).map_err(|error| {
            Error::caused(Exit::Failed, format!("cannot read what is remembered of index `{name}`"), &error)
        })
    }

    /// The flow that cuts the documents of index `name`, `None` for the built-in one: that of the command line, else of the
    /// configuration, else the one that it was made with. Another one would cut all of it anew.
    pub(crate) fn flow_of(&self, name: &str, given: Option<&Path>) -> Result<Option<PathBuf>, Error> {
        if let Some(given) = given {
            return Ok(Some(given.to_owned()).filter(|flow| flow.as_os_str() != BUILT_IN));
        }
        if let Some(config) = self.config.indexes.get(name) {
            return Ok(config.flow.clone());
        }
        let Some(flow) = self.card(name)?.and_then(|card| card.flow) else { return Ok(None) };
        if !flow.exists() {
            let message = format!(
                "index `{name}` was made with the flow `{}`, which is not there any more",
                flow.display()
            );
            let hint = format!("name the flow with `--flow`; `--flow {BUILT_IN}` cuts all documents anew");
            return Err(Error::new(Exit::Invalid, message).hint(hint));
        }
        Ok(Some(flow))
    }

    /// The embedder that an index was made with; for a new one, the default.
    async fn remembered(
        &self,
        name: &str,
        store: &dyn IndexStore,
        resources: &Resources,
    ) -> Result<Option<EmbedderName>, Error> {
        if let Some(card) = self.card(name)? {
            return Ok(card.embedder);
        }
        let default = || EmbedderName(DEFAULT.into());
        let whole = Namespace::default();
        let space = store.space(&whole).await.map_err(|error| store_error(&error))?;
        let Some(space) = space else {
            let stats = store.stats(&whole).await.map_err(|error| store_error(&error.into()))?;
            return Ok((stats.documents == 0).then(default));
        };
        let same = resources.embedders.iter().find(|(_, embedder)| embedder.identity() == space.identity);
        Ok(Some(same.map_or_else(default, |(name, _)| EmbedderName(name.as_str().into()))))
    }

    /// Remembers what makes the chunks and vectors of an index that the configuration does not declare; with `again`, even
    /// if something is remembered already.
    pub(crate) fn remember(&self, index: &Opened, flow: Option<&Path>, again: bool) -> Result<(), Error> {
        let is_known = || matches!(Card::load(&self.config.data, &index.name), Ok(Some(_)));
        if self.config.indexes.contains_key(&index.name) || (!again && is_known()) {
            return Ok(());
        }
        // The next command may run in another folder.
        let flow = flow.map(|flow| std::path::absolute(flow).unwrap_or_else(|_| flow.to_owned()));
        let card = Card { embedder: index.encoder.as_ref().map(|encoder| encoder.name.clone()), flow };
        card.save(&self.config.data, &index.name)
            .map_err(|error| Error::caused(Exit::Failed, "cannot write to the data folder", &error))
    }

    /// The indexes `names`, those with `paths` in the configuration built or brought up to date.
    pub(crate) async fn indexes(
        &self,
        names: &[Text],
        registry: &Registry,
        resources: &Arc<Resources>,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<String, IndexEntry>, Error> {
        let opened = self.opened(names, registry, resources, cancel).await;
        let opened = opened.map_err(|error| error.without_secrets(resources))?;
        Ok(opened.into_iter().map(|opened| (opened.name.clone(), opened.entry())).collect())
    }

    /// As [`World::indexes`], each with its store.
    async fn opened(
        &self,
        names: &[Text],
        registry: &Registry,
        resources: &Arc<Resources>,
        cancel: &CancellationToken,
    ) -> Result<Vec<Opened>, Error> {
        let mut indexes: Vec<Opened> = Vec::with_capacity(names.len());
        for name in names {
            let opened = match self.config.indexes.get(&**name) {
                Some(config) if !config.paths.is_empty() => {
                    self.up_to_date(name, config, registry, resources, cancel).await?
                }
                _ => self.open(name, resources).await?,
            };
            opened.check(&Namespace::default()).await?;
            indexes.push(opened);
        }
        Ok(indexes)
    }

    /// As [`World::indexes`], for a process that also writes them.
    pub(crate) async fn writable(
        &self,
        names: &[Text],
        registry: &Registry,
        resources: &Arc<Resources>,
        cancel: &CancellationToken,
    ) -> Result<Indexes, Error> {
        let mut indexes = Vec::with_capacity(names.len());
        let opened = self.opened(names, registry, resources, cancel).await;
        for opened in opened.map_err(|error| error.without_secrets(resources))? {
            let config = self.config.indexes.get(&opened.name);
            let flow = self.flow_of(&opened.name, None)?;
            let cutter =
                Cutter::load(flow.as_deref(), registry).map_err(|error| failed(&opened.name, &error))?;
            let is_of_files = config.is_some_and(|config| !config.paths.is_empty());
            indexes.push(Written { opened, cutter, is_of_files });
        }
        Ok(Indexes::new(indexes))
    }

    async fn up_to_date(
        &self,
        name: &str,
        config: &IndexConfig,
        registry: &Registry,
        resources: &Arc<Resources>,
        cancel: &CancellationToken,
    ) -> Result<Opened, Error> {
        let cutter = Cutter::load(config.flow.as_deref(), registry).map_err(|error| failed(name, &error))?;
        for path in config.paths.iter().filter(|path| !path.exists()) {
            print::remark(&format!("index `{name}`: there is no `{}`", path.display()));
        }
        let opened = self.open_or_create(name, None, resources).await?;
        let stats = opened.store.stats(&Namespace::default()).await;
        let is_new = stats.map_err(|error| store_error(&error.into()))?.documents == 0;
        let job = Job {
            index: opened.store.clone(),
            namespace: Namespace::default(),
            roots: config.paths.clone(),
            prune: Prune::All,
            cutter,
            encoder: opened.encoder.clone(),
            resources: resources.clone(),
        };
        match update(name, job, cancel).await {
            Ok(summary) if summary.interrupted => return Err(Error::silent(Exit::Interrupted)),
            Ok(summary) => {
                let is_empty = summary.added + summary.changed + summary.unchanged == 0;
                if summary.gave_up.is_some() || (summary.wants_embedder() && is_empty) {
                    return Err(gave_up(&opened, &summary));
                }
                tell(name, &summary, is_new);
            }
            // Somebody else is bringing it up to date: what it holds already will do.
            Err(indexing::Error::Index(error)) if error.is_busy() && !is_new => {
                print::remark(&format!(
                    "index `{name}` is being written by another process; it is used as it is"
                ));
            }
            Err(error) => return Err(failed(name, &error)),
        }
        Ok(opened)
    }
}

/// The encoder of the embedder `name`, for an index.
pub(crate) fn encoder(index: &str, name: EmbedderName, resources: &Resources) -> Result<Encoder, Error> {
    let Some(embedder) = resources.embedders.get(&*name.0) else {
        let known = resources.embedders.keys().map(String::as_str).chain(["none"]);
        let hint = diagnostic::suggest(&name.0, known, "there are");
        let message = format!("index `{index}` has vectors of embedder `{name}`, which is not configured");
        return Err(Error::new(Exit::Invalid, message).maybe_hint(hint));
    };
    Ok(Encoder::new(name, embedder.clone()).redacting(resources.redact.clone()))
}

fn must_be_name(name: &str) -> Result<(), Error> {
    if catalog::is_name(name) {
        return Ok(());
    }
    Err(Error::new(Exit::Invalid, format!("`{name}` is no name for an index"))
        .hint("a name has small letters, digits, `_` and `-`, and begins with a letter"))
}

/// Does the job, and shows how far it is.
pub(crate) async fn update(
    name: &str,
    job: Job,
    cancel: &CancellationToken,
) -> Result<Summary, indexing::Error> {
    let watch = Arc::new(Bar::new(name));
    let summary = job.run(cancel, watch.clone()).await;
    watch.end();
    summary
}

/// Why an update ended before its end, as the command line tells it: the embedder would not go on.
pub(crate) fn gave_up(index: &Opened, summary: &Summary) -> Error {
    let embedder = index.encoder.as_ref().map(|encoder| encoder.name.to_string()).unwrap_or_default();
    let last = match (&summary.gave_up, summary.failed.last()) {
        (Some(error), _) | (None, Some((_, indexing::Failure::Embedding(error)))) => error.to_string(),
        (None, _) => String::new(),
    };
    let message = format!(
        "embedder `{embedder}` failed on {}: {last}",
        match &summary.gave_up {
            Some(_) => format!("{} documents in a row", indexing::FAILURES_IN_A_ROW_MAX),
            None => print::count(summary.failed.len(), "document"),
        }
    );
    Error::new(Exit::Unavailable, message).hint(format!(
        "what was indexed is kept; run the same command again when the embedder answers, or give index `{}` another \
         one: `embedder: none` in anabranch.yaml (`--embedder none` for `anabranch index`) does without vectors",
        index.name
    ))
}

/// An indexing error as the command line tells it.
pub(crate) fn failed(index: &str, error: &indexing::Error) -> Error {
    match error {
        indexing::Error::Flow(problems) => {
            print::complain(diagnostic::render(problems, true).trim_end());
            let summary = diagnostic::summary(problems);
            Error::new(Exit::Invalid, format!("the indexing flow is invalid: {summary}"))
        }
        indexing::Error::Read { .. } | indexing::Error::NoIndexer { .. } => {
            Error::new(Exit::Invalid, exit::chain(error))
        }
        indexing::Error::OtherVectors { .. } => {
            Error::new(Exit::Invalid, format!("index `{index}`: {error}")).hint(
                "give all of its paths to make all vectors anew, name the embedder that it was made with, or index \
                 into another name",
            )
        }
        indexing::Error::Index(error) => store_error(error),
        indexing::Error::Broken(_) => Error::new(Exit::Failed, exit::chain(error)),
    }
}

/// An error of an index as the command line tells it.
pub(crate) fn store_error(error: &StoreError) -> Error {
    Error::new(Exit::Unavailable, exit::chain(error))
}

/// Says what an update before a run did, if it did anything.
fn tell(name: &str, summary: &Summary, is_new: bool) {
    for (id, why) in &summary.failed {
        print::remark(&format!("index `{name}`: `{id}` is left as it was: {why}"));
    }
    if summary.has_changes() {
        let verb = if is_new { "built" } else { "updated" };
        print::remark(&format!(
            "index `{name}` {verb}: {} added, {} changed, {} removed",
            print::count(summary.added, "document"),
            summary.changed,
            summary.removed
        ));
    } else if summary.unchanged == 0 {
        print::remark(&format!("index `{name}` is empty: its paths hold no documents"));
    }
}
