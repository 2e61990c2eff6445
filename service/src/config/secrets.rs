//! Every secret that the configuration refers to: what must not leave in telemetry.

use secrecy::ExposeSecret as _;

use super::{
    Config, EmbedderConfig, ModelConfig, PostgresUrl, RerankerConfig, SecretRef, ServerConfig, StoreConfig,
    StoreUrl,
};

impl Config {
    /// The secrets that are there; `env` looks up environment variables.
    pub fn secrets(&self, env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
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
            .chain(self.telemetry.headers.values().cloned());
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
