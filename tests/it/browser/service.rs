//! A service for the browser: on a free port, with an index, a model that talks, and flows of every kind.

use std::net::SocketAddr;
use std::sync::Arc;

use anabranch::api::Roles;
use anabranch::config::{self, Config, StoreConfig};
use anabranch::indexes::{Indexes, Opened, Written};
use anabranch::indexing::{Cutter, Encoder};
use anabranch::process::{Process, Start};
use anabranch::resources::Pools;
use anabranch::resources::{self, Overrides};
use anabranch_engine::cx::Resources;
use anabranch_engine::operator::EmbedderName;
use anabranch_engine::testing::{Numbers, Work};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{client, files, read};

/// A running service; asked to stop when it is dropped.
pub(super) struct Service {
    pub(super) url: String,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Service {
    /// Starts it with these models; `key` is its root key, if it is to have one.
    pub(super) async fn start(models: Resources, key: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let flows = folder.path().join("flows");
        std::fs::create_dir(&flows).unwrap();
        for path in files("tests/browser/flows", "yaml") {
            std::fs::write(flows.join(path.rsplit_once('/').unwrap().1), read(&path)).unwrap();
        }
        let root_key = if key.is_some() { ", root_key: \"${env:KEY}\"" } else { "" };
        let text = format!(
            "data: {}\nserver: {{ flows: {}{root_key} }}\nlimits: {{ requests_per_minute: 1000000, \
             tenant_requests_per_minute: 1000000 }}\n",
            folder.path().join("data").display(),
            flows.display()
        );
        let config = Config::parse(config::FILE, &text).unwrap();
        let env = |name: &str| key.filter(|_| !name.starts_with("OTEL_")).map(str::to_owned);
        let none = std::collections::BTreeMap::default();
        let mut resources = resources::resources(&config, &Overrides::default(), none, &env).unwrap();
        resources.models.extend(models.models);
        let registry = Arc::new(anabranch_operators::registry().with::<Work>().with::<Numbers>());
        let store = resources::open_store("birds", &StoreConfig::Embedded, &config.data, &env).unwrap();
        let encoder = Encoder::new(EmbedderName("default".into()), resources.embedders["default"].clone());
        let opened = Opened { name: "birds".into(), store, encoder: Some(encoder) };
        let process = Process::start(Start {
            config,
            resources: Arc::new(resources),
            pools: Pools::default(),
            indexes: Indexes::new([Written {
                opened,
                cutter: Cutter::load(None, &registry).unwrap(),
                is_of_files: false,
            }]),
            registry,
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            roles: Roles { api: true, worker: true },
            migrate: true,
            env: &env,
        })
        .await
        .unwrap();
        let url = format!("http://{}", process.address().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(process.serve(stop.clone().cancelled_owned()));
        let service = Self { url, stop, _folder: folder };
        service.fill(key).await;
        service
    }

    /// Puts documents into the index.
    async fn fill(&self, key: Option<&str>) {
        let documents = files("tests/browser/birds", "md").into_iter().map(|path| {
            let text = read(&path);
            let title = text.lines().next().unwrap().trim_start_matches("# ").to_owned();
            json!({ "id": path.rsplit_once('/').unwrap().1, "title": title, "text": text })
        });
        let request = client().post(format!("{}/v1/indexes/birds/documents", self.url));
        let documents = json!({ "documents": documents.collect::<Vec<_>>() });
        let request = request.bearer_auth(key.unwrap_or("none")).json(&documents);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
