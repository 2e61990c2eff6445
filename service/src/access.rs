//! Who may call: keys with scopes, of one tenant each; how often; and how much a tenant may have in the queue.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::{Config, SecretError};
use crate::resources::Env;
use crate::store::{Ceiling, KeyRecord, Store, StoreError, Tenant};

mod key;
mod rates;
#[cfg(test)]
mod tests;

pub use key::{Key, KeyHash, NoRandomness};
pub use rates::{Counted, Left, Rates, seconds};

/// The tenant of an installation that has no other; its admins manage all tenants.
pub const DEFAULT_TENANT: &str = "default";
/// The id of the key that stands in the configuration.
pub const ROOT: &str = "root";
/// How long a process may not notice that a key was revoked in another, or that a tenant's limits have changed.
pub const NOTICED_WITHIN: Duration = Duration::from_secs(5);
/// Keys, and tenants, that are kept in mind.
const KNOWN_MAX: u64 = 10_000;
/// How exact the time of a key's last use is.
const USED_EVERY: Duration = Duration::from_mins(1);
/// Fewest characters of the root key.
pub const ROOT_CHARS_MIN: usize = 32;

/// What a key may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at everything of the tenant.
    Read,
    /// Submit, cancel, answer and retry jobs; give feedback.
    Run,
    /// Change flows, webhooks, schedules and indexes.
    Edit,
    /// Make and revoke keys; of the tenant `default`, also tenants and their limits.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Read, Self::Run, Self::Edit, Self::Admin];

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Edit => "edit",
            Self::Admin => "admin",
        }
    }

    /// The scope that is written so.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// Whoever calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose things are seen.
    pub tenant: String,
    /// The key; `None` for a caller without one, on loopback.
    pub key_id: Option<String>,
    /// What the caller may do.
    pub scopes: BTreeSet<Scope>,
}

impl Identity {
    /// Somebody who may do everything.
    pub fn all(key_id: Option<&str>) -> Self {
        Self {
            tenant: DEFAULT_TENANT.to_owned(),
            key_id: key_id.map(str::to_owned),
            scopes: Scope::ALL.into(),
        }
    }

    /// Whether the caller manages the installation: keys and limits of every tenant.
    pub fn is_operator(&self) -> bool {
        self.tenant == DEFAULT_TENANT && self.scopes.contains(&Scope::Admin)
    }
}

/// Why a caller is not let in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    /// It is no key, none of ours, or was revoked.
    #[error("the key is not known")]
    Unknown,
    /// Its time is over.
    #[error("the key has expired")]
    Expired,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the root key of the configuration is none.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// It is not there.
    #[error("`server.root_key` cannot be found")]
    Secret(#[from] SecretError),
    /// It could be guessed.
    #[error(
        "`server.root_key` has fewer than {ROOT_CHARS_MIN} characters; take a random one: `openssl rand -hex 32`"
    )]
    Short,
}

/// What holds where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Requests a minute of a key.
    pub key_rate: Option<NonZeroU32>,
    /// Requests a minute of a tenant.
    pub tenant_rate: Option<NonZeroU32>,
    /// Jobs of a tenant that may wait in the queue.
    pub queued: u32,
    /// What a key may spend in a day.
    pub key_ceiling: Ceiling,
    /// What a tenant may spend in a day.
    pub tenant_ceiling: Ceiling,
}

/// Lets callers in. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    store: Store,
    root: Option<KeyHash>,
    /// Whether callers without a key are let in as long as there is none.
    is_local: bool,
    defaults: Defaults,
    rates: Rates,
    keys: Cache<String, Arc<KeyRecord>>,
    tenants: Cache<String, Arc<Tenant>>,
    /// What keys may spend, by their ids.
    ceilings: Cache<String, Ceiling>,
    /// Whether there is a key.
    any: Cache<(), bool>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("defaults", &self.defaults).finish_non_exhaustive()
    }
}

impl Access {
    /// As the configuration says, for a process that listens there; `env` looks up environment variables.
    pub fn configured(
        store: Store,
        config: &Config,
        listen: IpAddr,
        env: Env<'_>,
    ) -> Result<Self, RootKeyError> {
        let root = config.server.root_key.as_ref().map(|key| key.resolve(env)).transpose()?;
        if root.as_ref().is_some_and(|root| root.expose_secret().chars().count() < ROOT_CHARS_MIN) {
            return Err(RootKeyError::Short);
        }
        let rate = |count: usize| NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX));
        let defaults = Defaults {
            key_rate: rate(config.limits.requests_per_minute),
            tenant_rate: rate(config.limits.tenant_requests_per_minute),
            queued: u32::try_from(config.limits.queued).unwrap_or(u32::MAX),
            key_ceiling: config.limits.ceiling(),
            tenant_ceiling: config.limits.tenant_ceiling(),
        };
        Ok(Self::new(store, root.as_ref(), listen, defaults))
    }

    /// Lets callers in who have a key of `store`, or `root`; and everyone on loopback, as long as there is no key.
    pub fn new(store: Store, root: Option<&SecretString>, listen: IpAddr, defaults: Defaults) -> Self {
        let short = || Cache::builder().max_capacity(KNOWN_MAX).time_to_live(NOTICED_WITHIN);
        Self {
            store,
            root: root.map(|root| KeyHash::of(root.expose_secret())),
            is_local: listen.is_loopback(),
            defaults,
            rates: Rates::default(),
            keys: short().build(),
            tenants: Cache::builder().max_capacity(KNOWN_MAX).time_to_live(NOTICED_WITHIN).build(),
            ceilings: Cache::builder().max_capacity(KNOWN_MAX).time_to_live(NOTICED_WITHIN).build(),
            any: Cache::builder().max_capacity(1).time_to_live(NOTICED_WITHIN).build(),
        }
    }

    /// Whose key this is.
    pub async fn by_key(&self, token: &str) -> Result<Identity, Denied> {
        if let Some(root) = &self.root
            && root.is(KeyHash::of(token).as_str())
        {
            return Ok(Identity::all(Some(ROOT)));
        }
        if !Key::is_one(token) {
            return Err(Denied::Unknown);
        }
        identity(&*self.find(&KeyHash::of(token)).await?.ok_or(Denied::Unknown)?)
    }

    /// Whose key has this id: for what goes on in its name without anybody showing it, such as a schedule.
    pub async fn by_id(&self, tenant: &str, id: &str) -> Result<Identity, Denied> {
        if id == ROOT && self.root.is_some() {
            return Ok(Identity::all(Some(ROOT)));
        }
        identity(&self.store.key(Some(tenant), id).await?.ok_or(Denied::Unknown)?)
    }

    /// Whether a caller needs a key: not on loopback, while none was ever made.
    pub async fn is_closed(&self) -> Result<bool, StoreError> {
        if !self.is_local || self.root.is_some() {
            return Ok(true);
        }
        if let Some(any) = self.any.get(&()) {
            return Ok(any);
        }
        let any = self.store.has_keys().await?;
        self.any.insert((), any);
        Ok(any)
    }

    async fn find(&self, hash: &KeyHash) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        if let Some(known) = self.keys.get(hash.as_str()) {
            return Ok(Some(known));
        }
        let Some(record) = self.store.key_by_hash(hash.as_str()).await? else { return Ok(None) };
        // The database compares texts in its own way; this does not tell by its time how much of two is the same.
        if !hash.is(&record.hash) {
            return Ok(None);
        }
        let record = Arc::new(record);
        self.keys.insert(hash.as_str().to_owned(), record.clone());
        let now = now_ms();
        let before = now.saturating_sub(millis(USED_EVERY));
        if record.used_ms.is_none_or(|used| used < before) {
            let (store, id) = (self.store.clone(), record.id.clone());
            // Nobody waits for it: if it fails, the next look-up tries again.
            tokio::spawn(async move { store.key_used(&id, now).await });
        }
        Ok(Some(record))
    }

    /// Counts a request of a key.
    pub async fn count(&self, tenant: &str, key: &str) -> Result<Counted, StoreError> {
        let of_tenant = self.tenant(tenant).await?.requests_per_minute.or(self.defaults.tenant_rate);
        Ok(self.rates.count((key, self.defaults.key_rate), (tenant, of_tenant)))
    }

    /// The limits of a tenant.
    pub async fn tenant(&self, name: &str) -> Result<Arc<Tenant>, StoreError> {
        if let Some(known) = self.tenants.get(name) {
            return Ok(known);
        }
        let tenant = Arc::new(self.store.tenant(name).await?.unwrap_or_else(|| Tenant::named(name)));
        self.tenants.insert(name.to_owned(), tenant.clone());
        Ok(tenant)
    }

    /// How many jobs of a tenant may wait in the queue.
    pub fn max_queued(&self, tenant: &Tenant) -> u32 {
        tenant.max_queued.unwrap_or(self.defaults.queued)
    }

    /// Whether it is known here that nothing was said about how many jobs of a tenant may run at once. Asks nobody, and
    /// knows of the tenants that [`Self::tenant`] was asked for just before.
    pub fn is_unbounded(&self, name: &str) -> bool {
        self.tenants.get(name).is_some_and(|tenant| tenant.max_running.is_none())
    }

    /// What a tenant may spend in a day, all of its keys together.
    pub async fn tenant_ceiling(&self, tenant: &str) -> Result<Ceiling, StoreError> {
        Ok(self.tenant(tenant).await?.ceiling.or(self.defaults.tenant_ceiling))
    }

    /// What a key of a tenant may spend in a day. What needs no key and the root key are bounded by the tenant alone.
    pub async fn key_ceiling(&self, tenant: &str, id: &str) -> Result<Ceiling, StoreError> {
        if id.is_empty() || id == ROOT {
            return Ok(Ceiling::default());
        }
        if let Some(known) = self.ceilings.get(id) {
            return Ok(known);
        }
        let key = self.store.key(Some(tenant), id).await?;
        let ceiling = key.map(|key| key.ceiling.or(self.defaults.key_ceiling)).unwrap_or_default();
        self.ceilings.insert(id.to_owned(), ceiling);
        Ok(ceiling)
    }

    /// Forgets what is kept in mind: something was changed here.
    pub fn changed(&self) {
        self.keys.invalidate_all();
        self.tenants.invalidate_all();
        self.ceilings.invalidate_all();
        self.any.invalidate_all();
    }
}

/// Who has this key, if it is still good.
fn identity(record: &KeyRecord) -> Result<Identity, Denied> {
    if record.revoked_ms.is_some() {
        return Err(Denied::Unknown);
    }
    if record.expires_ms.is_some_and(|expires| expires <= now_ms()) {
        return Err(Denied::Expired);
    }
    Ok(Identity {
        tenant: record.tenant.clone(),
        key_id: Some(record.id.clone()),
        scopes: record.scopes.clone(),
    })
}

/// Whether a tenant can be called `name`: `[a-z0-9][a-z0-9_-]*`, at most 40 characters, since it names namespaces.
pub fn is_tenant_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 40 && name.starts_with(is_word) && name.chars().all(|c| is_word(c) || c == '_' || c == '-')
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Now (unix ms).
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
}
