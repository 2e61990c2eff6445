//! Every secret that the configuration refers to: what must not leave in traces, in errors or in the log.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::{
    Config, EmbedderConfig, ModelConfig, PostgresUrl, RerankerConfig, SecretRef, ServerConfig, StoreConfig,
    StoreUrl, ToolConfig,
};
use crate::redact::Redactor;

impl Config {
    /// What takes the configuration's secrets out of texts; `env` looks up environment variables.
    pub fn redactor(&self, env: &dyn Fn(&str) -> Option<String>) -> Arc<Redactor> {
        Arc::new(Redactor::new(self.secrets(env)))
    }

    /// The secrets that are there.
    fn secrets(&self, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
        let key = |server: &ServerConfig| server.api_key.clone();
        let models = self.models.values().flat_map(|model| match model {
            ModelConfig::Server(chat) => {
                let replicas = chat.replicas.iter().filter_map(|replica| replica.api_key.clone());
                replicas.chain(key(&chat.server)).collect()
            }
            _ => Vec::new(),
        });
        let embedders = self.embedders.values().filter_map(|embedder| match embedder {
            EmbedderConfig::Server(embedder) => key(&embedder.server),
            _ => None,
        });
        let rerankers = self.rerankers.values().filter_map(|reranker| match reranker {
            RerankerConfig::Server(reranker) => key(&reranker.server),
            RerankerConfig::Lexical => None,
        });
        let indexes = self.indexes.values().filter_map(|index| match &index.store {
            StoreConfig::Postgres(store) => of_url(&store.url),
            StoreConfig::Qdrant(store) => key(&store.server),
            StoreConfig::Embedded => None,
        });
        let store = match &self.store.url {
            Some(StoreUrl::Postgres(url)) => of_url(url),
            _ => None,
        };
        let others = store
            .into_iter()
            .chain(self.server.root_key.clone())
            .chain(self.telemetry.headers.values().cloned())
            .chain(self.tools.values().flat_map(ToolConfig::secrets).cloned());
        models
            .chain(embedders)
            .chain(rerankers)
            .chain(indexes)
            .chain(others)
            // What is not there is no secret; whoever needs it says so.
            .filter_map(|secret| secret.resolve(env).ok())
            .map(|secret| secret.expose_secret().to_owned())
            .collect()
    }
}

fn of_url(url: &PostgresUrl) -> Option<SecretRef> {
    match url {
        PostgresUrl::Secret(secret) => Some(secret.clone()),
        PostgresUrl::Plain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_place_that_takes_a_secret_is_looked_at() {
        let text = "\
models: { default: { url: 'http://m', model: m, api_key: '${env:MODEL}' } }
embedders: { default: { url: 'http://e', model: e, api_key: '${env:EMBEDDER}' } }
store: { url: '${env:STORE}' }
server: { root_key: '${env:ROOT}' }
telemetry: { headers: { k: '${env:COLLECTOR}' } }
tools:
  a: { about: A., url: 'https://h.example/x', headers: { K: 'Bearer ${env:ADDRESS}' } }
  b: { openapi: b.yaml, headers: { K: '${env:API}' } }
  c: { mcp: 'https://h.example/mcp', headers: { K: '${env:SERVER}' } }
  d: { command: [x], env: { K: '${env:PROGRAM}' } }
";
        let config = Config::parse("anabranch.yaml", text).unwrap();
        let known: BTreeSet<String> =
            config.secrets(&|name| Some(format!("the {name}"))).into_iter().collect();
        let names =
            ["MODEL", "EMBEDDER", "STORE", "ROOT", "COLLECTOR", "ADDRESS", "API", "SERVER", "PROGRAM"];
        assert_eq!(known, names.map(|name| format!("the {name}")).into());
    }
}
