//! How the service is reached and how it stops: the section `server`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anabranch_backends::egress::Allowed;
use schemars::JsonSchema;
use serde::Deserialize;

use super::advertise::Advertise;
use super::limits::some_duration;
use super::secret::SecretRef;

/// Where the service listens, which flows it starts with, how it stops.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// Address and port; `127.0.0.1:7117` if unset. Port 0 takes a free one. An address that others can reach needs a
    /// key first: `anabranch keys create --local`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Where the other processes on the same database reach this one, to hear what its jobs write while they write it:
    /// `HOST` or `HOST:PORT`, or `none`. If unset, where it listens; if that is everywhere or nowhere, its address on the
    /// way to the database. Only with `PostgreSQL`.
    #[schemars(with = "Option<String>")]
    pub advertise: Option<Advertise>,
    /// A folder of flow files that belong to the tenant `default`: each is there under the name that it gives itself,
    /// and a changed file is a new version; one that has not changed leaves alone what was done over the API. If unset, the folder `flows` beside the configuration, if it is there.
    pub flows: Option<PathBuf>,
    /// Where others find this service, for links in answers and webhooks: `https://rag.example.org`. Links are relative
    /// if it is unset.
    pub public_url: Option<String>,
    /// Where a key stands that may do everything, for whoever runs the service: `${env:ANABRANCH_ROOT_KEY}`. It has at
    /// least 32 characters. With `anabranch keys create --local` there are keys without it.
    pub root_key: Option<SecretRef>,
    /// Hosts and networks inside that webhooks may go to all the same: `hooks.internal`, `10.2.0.0/16`. Without it, they
    /// only go to public addresses.
    #[schemars(with = "Vec<String>")]
    pub webhook_allow: Vec<Allowed>,
    /// How long running nodes may go on when the process is asked to stop; 20s if unset. What has not ended then is
    /// handed over to another process, or begins again at the next start.
    #[serde(deserialize_with = "some_duration")]
    #[schemars(with = "String")]
    pub drain: Duration,
    /// How long a process that shows no life keeps its jobs; 15s if unset.
    #[serde(deserialize_with = "some_duration")]
    #[schemars(with = "String")]
    pub lease: Duration,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7117)),
            advertise: None,
            flows: None,
            public_url: None,
            root_key: None,
            webhook_allow: Vec::new(),
            drain: Duration::from_secs(20),
            lease: Duration::from_secs(15),
        }
    }
}

impl ServerSection {
    /// The paths in it, which start from the folder of the configuration.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let key = match &mut self.root_key {
            Some(SecretRef::File(path)) => Some(path),
            _ => None,
        };
        self.flows.iter_mut().chain(key)
    }
}
