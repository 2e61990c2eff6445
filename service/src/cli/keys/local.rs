//! Keys in the store itself, without a server: where the first key of one comes from that others can reach.

use std::collections::BTreeSet;

use anabranch_engine::diagnostic;
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::super::{print, world};
use crate::access::{DEFAULT_TENANT, Key, Scope, is_tenant_name};
use crate::api::keys::{KeyInfo, NAME_BYTES, NewKey};
use crate::exit::{self, Error, Exit};
use crate::job::new_id;
use crate::process::store_options;
use crate::store::{KeyRecord, Store, StoreError};

/// A key to be made.
pub(super) struct Wanted<'a> {
    /// What it is for.
    pub(super) name: &'a str,
    /// What it may do.
    pub(super) scopes: &'a [String],
    /// Until when it is good.
    pub(super) expires: Option<Timestamp>,
    /// Whose it is to be.
    pub(super) tenant: Option<&'a str>,
}

/// Makes a key; the same JSON as the API's, with the key itself.
pub(super) async fn create(place: &world::Args, wanted: Wanted<'_>, now: Timestamp) -> Result<Json, Error> {
    let key = Key::new().map_err(|error| Error::new(Exit::Failed, error.to_string()))?;
    let record = record(&wanted, &key, now)?;
    let store = open(place).await?;
    store.put_key(&record).await.map_err(|error| failed(&error))?;
    store.close().await;
    Ok(json!(NewKey { info: record.into(), key: key.expose().to_owned() }))
}

/// Keys of a tenant, of all if none is named; the same JSON as the API's.
pub(super) async fn list(place: &world::Args, tenant: Option<&str>, limit: u32) -> Result<Json, Error> {
    let store = open(place).await?;
    let keys = store.keys(tenant, None, limit).await.map_err(|error| failed(&error))?;
    store.close().await;
    let items: Vec<KeyInfo> = keys.into_iter().map(KeyInfo::from).collect();
    Ok(json!({ "items": items }))
}

/// Revokes keys, and says so of each.
pub(super) async fn revoke(place: &world::Args, ids: &[String]) -> Result<(), Error> {
    let store = open(place).await?;
    for id in ids {
        if !store.revoke_key(None, id).await.map_err(|error| failed(&error))? {
            return Err(Error::usage(format!("there is no key `{id}`")));
        }
        print::remark(&format!("revoked {id}"));
    }
    store.close().await;
    Ok(())
}

fn record(wanted: &Wanted<'_>, key: &Key, now: Timestamp) -> Result<KeyRecord, Error> {
    let name = wanted.name.trim();
    if name.is_empty() || name.len() > NAME_BYTES {
        return Err(Error::usage(format!("a name has 1 to {NAME_BYTES} bytes")));
    }
    let tenant = wanted.tenant.unwrap_or(DEFAULT_TENANT);
    if !is_tenant_name(tenant) {
        return Err(Error::usage(format!("`{tenant}` is no name for a tenant")).hint(
            "a name has at most 40 small letters, digits, `_` and `-`, and begins with a letter or digit",
        ));
    }
    if wanted.expires.is_some_and(|expires| expires <= now) {
        return Err(Error::usage("the key would have expired already"));
    }
    Ok(KeyRecord {
        id: new_id("key"),
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        hash: key.hash().as_str().to_owned(),
        scopes: wanted.scopes.iter().map(|word| scope(word)).collect::<Result<BTreeSet<_>, _>>()?,
        created_ms: now.as_millisecond(),
        expires_ms: wanted.expires.map(Timestamp::as_millisecond),
        revoked_ms: None,
        used_ms: None,
        ceiling: crate::store::Ceiling::default(),
    })
}

fn scope(word: &str) -> Result<Scope, Error> {
    Scope::parse(word).ok_or_else(|| {
        let known = Scope::ALL.map(Scope::as_str);
        Error::usage(format!("there is no scope `{word}`")).maybe_hint(diagnostic::suggest(
            word,
            known,
            "there are",
        ))
    })
}

/// The store that the configuration names, with its tables made if there are none.
async fn open(place: &world::Args) -> Result<Store, Error> {
    let world = world::World::new(place)?;
    let env = |name: &str| std::env::var(name).ok();
    let options =
        store_options(&world.config, &env).map_err(|error| Error::new(Exit::Invalid, exit::chain(&error)))?;
    if matches!(options.at, crate::store::At::Memory) {
        return Err(Error::new(Exit::Invalid, "the store is `memory`: a key in it would be gone at once")
            .hint("name a file or a database in `store.url`, or a key in `server.root_key`"));
    }
    Store::open(options, true).await.map_err(|error| failed(&error))
}

fn failed(error: &StoreError) -> Error {
    Error::new(Exit::Unavailable, format!("the store cannot be used: {}", exit::chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_makes_no_sense_is_refused_with_what_would() {
        let now = "2027-01-01T00:00:00Z".parse().unwrap();
        let scopes = ["run".to_owned()];
        let good = || Wanted { name: "ci", scopes: &scopes, expires: None, tenant: None };
        let key = Key::new().unwrap();
        let made = record(&good(), &key, now).unwrap();
        assert_eq!((made.tenant.as_str(), made.created_ms), ("default", 1_798_761_600_000));
        let refused = |wanted: Wanted<'_>| record(&wanted, &key, now).unwrap_err();
        assert!(refused(Wanted { name: " ", ..good() }).message.contains("a name has"));
        assert!(refused(Wanted { tenant: Some("A B"), ..good() }).message.contains("`A B`"));
        assert!(refused(Wanted { expires: Some(now), ..good() }).message.contains("expired"));
        let wrong = refused(Wanted { scopes: &["rum".to_owned()], ..good() });
        assert_eq!(wrong.hint.as_deref(), Some("did you mean `run`?"));
    }
}
