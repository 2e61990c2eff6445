//! Keys in a store: found, expired, revoked; tenants with their limits.

use super::*;
use crate::job::new_id;
use crate::store::{At, Options};

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ANYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const NO_CEILING: Ceiling = Ceiling { tokens: None, cost: None };
const DEFAULTS: Defaults = Defaults {
    key_rate: None,
    tenant_rate: None,
    queued: 100,
    key_ceiling: NO_CEILING,
    tenant_ceiling: NO_CEILING,
};

async fn store() -> Store {
    Store::open(Options::new(At::Memory), true).await.unwrap()
}

async fn add(store: &Store, tenant: &str, scopes: &[Scope], expires_ms: Option<i64>) -> (Key, KeyRecord) {
    let key = Key::new().unwrap();
    let record = KeyRecord {
        id: new_id("key"),
        tenant: tenant.into(),
        name: "test".into(),
        hash: key.hash().as_str().to_owned(),
        scopes: scopes.iter().copied().collect(),
        created_ms: now_ms(),
        expires_ms,
        revoked_ms: None,
        used_ms: None,
        ceiling: NO_CEILING,
    };
    store.put_key(&record).await.unwrap();
    (key, record)
}

#[tokio::test]
async fn a_key_says_whose_it_is_and_what_it_may() {
    let store = store().await;
    let (key, record) = add(&store, "acme", &[Scope::Read, Scope::Run], None).await;
    let access = Access::new(store, None, ANYWHERE, DEFAULTS);
    let who = access.by_key(key.expose()).await.unwrap();
    assert_eq!((&*who.tenant, who.key_id.as_deref()), ("acme", Some(&*record.id)));
    assert_eq!(who.scopes, BTreeSet::from([Scope::Read, Scope::Run]));
    assert!(!who.is_operator());
    let stranger = Key::new().unwrap();
    assert!(matches!(access.by_key(stranger.expose()).await, Err(Denied::Unknown)));
    assert!(matches!(access.by_key("anb_").await, Err(Denied::Unknown)));
}

#[tokio::test]
async fn an_expired_or_revoked_key_is_good_for_nothing() {
    let store = store().await;
    let (old, _) = add(&store, "acme", &[Scope::Read], Some(now_ms() - 1)).await;
    let (key, record) = add(&store, "acme", &[Scope::Read], Some(now_ms() + 60_000)).await;
    let access = Access::new(store.clone(), None, ANYWHERE, DEFAULTS);
    assert!(matches!(access.by_key(old.expose()).await, Err(Denied::Expired)));
    assert!(access.by_key(key.expose()).await.is_ok());
    assert!(!store.revoke_key(Some("other"), &record.id).await.unwrap(), "another tenant's key is not there");
    assert!(store.revoke_key(Some("acme"), &record.id).await.unwrap());
    access.changed();
    assert!(matches!(access.by_key(key.expose()).await, Err(Denied::Unknown)));
    assert!(access.is_closed().await.unwrap());
}

#[tokio::test]
async fn a_rotated_key_is_good_until_its_grace_is_over() {
    let store = store().await;
    let (old, before) = add(&store, "acme", &[Scope::Read], None).await;
    let new = Key::new().unwrap();
    let after = KeyRecord { id: new_id("key"), hash: new.hash().as_str().to_owned(), ..before.clone() };
    assert!(store.rotate_key(&before.id, now_ms() + 60_000, &after).await.unwrap());
    let access = Access::new(store.clone(), None, ANYWHERE, DEFAULTS);
    assert!(access.by_key(old.expose()).await.is_ok() && access.by_key(new.expose()).await.is_ok());
    let last = Key::new().unwrap();
    let next = KeyRecord { id: new_id("key"), hash: last.hash().as_str().to_owned(), ..before.clone() };
    assert!(store.rotate_key(&before.id, 0, &next).await.unwrap());
    access.changed();
    assert!(matches!(access.by_key(old.expose()).await, Err(Denied::Expired)));
    assert!(!store.rotate_key("key_none", 0, &next).await.unwrap());
    assert_eq!(store.keys(Some("acme"), None, 10).await.unwrap().len(), 3);
    assert_eq!(store.keys(Some("other"), None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn no_key_is_needed_on_loopback_until_there_is_one() {
    let store = store().await;
    let local = Access::new(store.clone(), None, LOOPBACK, DEFAULTS);
    assert!(!local.is_closed().await.unwrap());
    assert!(Access::new(store.clone(), None, ANYWHERE, DEFAULTS).is_closed().await.unwrap());
    let root = SecretString::from("a root key that is long enough to be one");
    let rooted = Access::new(store.clone(), Some(&root), LOOPBACK, DEFAULTS);
    assert!(rooted.is_closed().await.unwrap());
    let who = rooted.by_key(root.expose_secret()).await.unwrap();
    assert!(who.is_operator() && who.key_id.as_deref() == Some(ROOT));
    let (_, record) = add(&store, "default", &[Scope::Read], None).await;
    local.changed();
    assert!(local.is_closed().await.unwrap());
    store.revoke_key(None, &record.id).await.unwrap();
    local.changed();
    assert!(local.is_closed().await.unwrap(), "taking the last key away opens nothing");
}

#[tokio::test]
async fn a_tenant_has_the_limits_that_were_set_for_it() {
    let store = store().await;
    let access = Access::new(store.clone(), None, ANYWHERE, DEFAULTS);
    let unsaid = access.tenant("acme").await.unwrap();
    assert_eq!((&*unsaid, access.max_queued(&unsaid)), (&Tenant::named("acme"), 100));
    assert!(access.is_unbounded("acme") && !access.is_unbounded("never asked for"));
    let acme = Tenant {
        weight: 3,
        max_running: Some(5),
        max_queued: Some(7),
        requests_per_minute: NonZeroU32::new(1),
        ceiling: Ceiling { tokens: Some(9), cost: Some(0.5) },
        ..Tenant::named("acme")
    };
    store.put_tenant(&acme).await.unwrap();
    access.changed();
    assert_eq!(*access.tenant("acme").await.unwrap(), acme);
    assert_eq!((access.max_queued(&acme), access.is_unbounded("acme")), (7, false));
    let (key, _) = add(&store, "acme", &[Scope::Read], None).await;
    let who = access.by_key(key.expose()).await.unwrap();
    assert_eq!(access.count(&who.tenant, "key_1").await.unwrap().refused, None);
    assert!(access.count(&who.tenant, "key_1").await.unwrap().refused.is_some());
    assert_eq!(store.tenants("", 10).await.unwrap(), ["acme"]);
}

#[test]
fn names_of_tenants_are_names_of_namespaces() {
    assert!(is_tenant_name("acme-2_eu") && is_tenant_name("9"));
    for name in ["", "Acme", "a.b", "-a", "a/b", &"a".repeat(41)] {
        assert!(!is_tenant_name(name), "{name:?}");
    }
}
