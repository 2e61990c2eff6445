//! Where indexes are kept, from the configuration.

use std::path::Path;
use std::sync::Arc;

use anabranch_backends::index::pgvector::{PgIndex, PgSettings};
use anabranch_backends::index::qdrant::{QdrantIndex, QdrantSettings};
use anabranch_backends::index::{EmbeddedIndex, IndexStore};
use secrecy::SecretString;

use super::{Env, Error, Named, key};
use crate::catalog;
use crate::config::{PostgresStore, PostgresUrl, QdrantStore, StoreConfig};

/// Opens the index `name`, kept as `config` says; makes an empty one where there is none.
pub fn open(
    name: &str,
    config: &StoreConfig,
    data: &Path,
    env: Env<'_>,
) -> Result<Arc<dyn IndexStore>, Error> {
    let what = Named::new("index", name);
    match config {
        StoreConfig::Embedded => {
            let index = EmbeddedIndex::open_or_create(catalog::folder(data, name));
            Ok(Arc::new(index.map_err(|error| Error::Store { what, source: error.into() })?))
        }
        StoreConfig::Postgres(postgres) => {
            let settings = postgres_settings(name, postgres, &what, env)?;
            let index = PgIndex::new(settings);
            Ok(Arc::new(index.map_err(|error| Error::Store { what, source: error.into() })?))
        }
        StoreConfig::Qdrant(qdrant) => {
            let index = QdrantIndex::new(qdrant_settings(name, qdrant, &what, env)?);
            Ok(Arc::new(index.map_err(|error| Error::Store { what, source: error.into() })?))
        }
    }
}

fn postgres_settings(
    name: &str,
    config: &PostgresStore,
    what: &Named,
    env: Env<'_>,
) -> Result<PgSettings, Error> {
    let url: SecretString = match &config.url {
        PostgresUrl::Plain(url) => url.as_str().into(),
        PostgresUrl::Secret(secret) => {
            secret.resolve(env).map_err(|source| Error::Secret { what: what.clone(), source })?
        }
    };
    let defaults = PgSettings::new(url, name);
    Ok(PgSettings {
        schema: config.schema.clone().unwrap_or_else(|| defaults.schema.clone()),
        connect_timeout: config.connect_timeout.unwrap_or(defaults.connect_timeout),
        timeout: config.timeout.unwrap_or(defaults.timeout),
        hnsw: config.hnsw,
        ..defaults
    })
}

fn qdrant_settings(
    name: &str,
    config: &QdrantStore,
    what: &Named,
    env: Env<'_>,
) -> Result<QdrantSettings, Error> {
    let server = &config.server;
    let collection = config.collection.as_deref().unwrap_or(name);
    let defaults = QdrantSettings::new(&server.url, collection);
    Ok(QdrantSettings {
        api_key: key(server, what, env)?,
        connect_timeout: server.connect_timeout.unwrap_or(defaults.connect_timeout),
        timeout: server.timeout.unwrap_or(defaults.timeout),
        max_response_bytes: server.max_response_bytes.unwrap_or(defaults.max_response_bytes),
        ..defaults
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, FILE};

    fn opened(store: &str) -> Result<Arc<dyn IndexStore>, String> {
        let data = tempfile::tempdir().unwrap();
        let config = Config::parse(FILE, &format!("indexes: {{ notes: {{ store: {store} }} }}\n")).unwrap();
        let env = |name: &str| (name == "DB").then(|| "postgres://me:secret@localhost/rag".to_owned());
        open("notes", &config.indexes["notes"].store, data.path(), &env)
            .map_err(|error| crate::exit::chain(&error))
    }

    #[tokio::test]
    async fn an_index_is_kept_where_the_configuration_says() {
        assert!(format!("{:?}", opened("embedded").unwrap()).starts_with("EmbeddedIndex"));
        let postgres = format!("{:?}", opened("{ postgres: '${env:DB}', schema: mine }").unwrap());
        assert!(postgres.starts_with("PgIndex") && postgres.contains("mine"), "{postgres}");
        assert!(!postgres.contains("secret"), "{postgres}");
        let qdrant = format!("{:?}", opened("{ qdrant: 'http://localhost:6333', collection: c }").unwrap());
        assert!(qdrant.starts_with("QdrantIndex"), "{qdrant}");
        let error = opened("{ postgres: '${env:NONE}' }").unwrap_err();
        assert_eq!(error, "index `notes` has no key: the environment variable `NONE` is not set");
    }
}
