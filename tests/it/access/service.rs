//! A service in this process: everything that the real one has but the socket.

use std::sync::Arc;

use anabranch::access::{Key, Scope};
use anabranch::api::{self, App, Roles};
use anabranch::config::{self, Config, StoreConfig};
use anabranch::indexes::{Indexes, Opened, Written};
use anabranch::indexing::{Cutter, Encoder};
use anabranch::job::new_id;
use anabranch::process::{Process, Start};
use anabranch::resources::{self, Overrides};
use anabranch::store::KeyRecord;
use anabranch_engine::operator::EmbedderName;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::Value as Json;
use tower::ServiceExt as _;

/// Most bytes of an answer.
const ANSWER_BYTES: usize = 8 << 20;

/// A service in this process.
pub(crate) struct Service {
    router: axum::Router,
    pub(crate) app: App,
    _process: Process,
    data: tempfile::TempDir,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// A header, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A request that is being put together.
pub(crate) struct Asking<'a> {
    service: &'a Service,
    request: axum::http::request::Builder,
    body: Body,
}

impl Service {
    /// Starts one with an index `notes`; `config` goes on top of a store in memory.
    pub(crate) async fn start(config: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let text = format!("data: {}\nstore: {{ url: memory }}\n{config}", data.path().display());
        let config = Config::parse(config::FILE, &text).unwrap();
        let env = |name: &str| {
            let is_standard = name.starts_with("OTEL_");
            (!is_standard).then(|| "a root key that is long enough to be one".to_owned())
        };
        let none = std::collections::BTreeMap::default();
        let (resources, pools) = resources::with_pools(&config, &Overrides::default(), none, &env).unwrap();
        let registry = Arc::new(anabranch_operators::registry());
        let store = resources::open_store("notes", &StoreConfig::Embedded, data.path(), &env).unwrap();
        let encoder = Encoder::new(EmbedderName("default".into()), resources.embedders["default"].clone());
        let opened = Opened { name: "notes".into(), store, encoder: Some(encoder) };
        let process = Process::start(Start {
            config,
            resources: Arc::new(resources),
            pools,
            indexes: Indexes::new([Written {
                opened,
                cutter: Cutter::load(None, &registry).unwrap(),
                is_of_files: false,
            }]),
            registry,
            listen: None,
            roles: Roles { api: true, worker: true },
            migrate: true,
            env: &env,
        })
        .await
        .unwrap();
        let app = process.app().clone();
        Self { router: api::router(&app), app, _process: process, data }
    }

    /// The folder that it keeps its files in.
    pub(crate) fn data(&self) -> &std::path::Path {
        self.data.path()
    }

    /// A new key of a tenant.
    pub(crate) async fn key(&self, tenant: &str, scopes: &[Scope]) -> String {
        let key = Key::new().unwrap();
        let record = KeyRecord {
            id: new_id("key"),
            tenant: tenant.into(),
            name: "test".into(),
            hash: key.hash().as_str().to_owned(),
            scopes: scopes.iter().copied().collect(),
            created_ms: 0,
            expires_ms: None,
            revoked_ms: None,
            used_ms: None,
            ceiling: anabranch::store::Ceiling::default(),
        };
        self.app.store.put_key(&record).await.unwrap();
        self.app.access.changed();
        key.expose().to_owned()
    }

    /// A request.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Asking<'_> {
        let request = Request::builder().method(method).uri(path);
        Asking { service: self, request, body: Body::empty() }
    }
}

impl Asking<'_> {
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn json(self, body: &Json) -> Self {
        self.body("application/json", body.to_string())
    }

    pub(crate) fn yaml(self, body: &str) -> Self {
        self.body("application/yaml", body.to_owned())
    }

    pub(crate) fn body(self, kind: &str, body: String) -> Self {
        let mut asking = self.header("content-type", kind);
        asking.body = body.into();
        asking
    }

    /// Sends it.
    pub(crate) async fn send(self) -> Answer {
        let request = self.request.body(self.body).unwrap();
        let response = self.service.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, ANSWER_BYTES).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.into()).unwrap(),
        }
    }
}
