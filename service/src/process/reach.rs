//! Where other processes hear what happens in the jobs of this one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;

use super::{StartError, bind};
use crate::config::Advertise;
use crate::store::Store;

/// Where a process is reached by others.
#[derive(Default)]
pub(super) struct Reach {
    /// As others write it; `None` if they do not reach it.
    pub(super) address: Option<String>,
    /// Where it listens for them alone, if it listens for nobody else.
    pub(super) listener: Option<TcpListener>,
}

impl Reach {
    /// Of a process that listens at `listens`, if it does at all.
    ///
    /// Unless the configuration says it, others reach it where it listens; one that listens everywhere, or nowhere,
    /// at its address on the way to the database, which they share.
    pub(super) async fn find(
        store: &Store,
        advertise: Option<&Advertise>,
        listens: Option<SocketAddr>,
    ) -> Result<Self, StartError> {
        // Without an address there are no others.
        let Some(here) = store.address_here().await else { return Ok(Self::default()) };
        let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let (listener, listens) = match (advertise, listens) {
            (Some(Advertise::Nowhere), _) => return Ok(Self::default()),
            (_, Some(listens)) => (None, listens),
            (Some(Advertise::At { port, .. }), None) => {
                own(SocketAddr::new(everywhere, port.unwrap_or(0))).await?
            }
            (None, None) => own(SocketAddr::new(here, 0)).await?,
        };
        let at = match advertise {
            Some(at) => at.clone(),
            None if listens.ip().is_unspecified() => Advertise::ip(here, None),
            None => Advertise::ip(listens.ip(), None),
        };
        let address = match at {
            Advertise::Nowhere => None,
            Advertise::At { host, port } => Some(format!("{host}:{}", port.unwrap_or(listens.port()))),
        };
        Ok(Self { address, listener })
    }
}

/// A listener for other processes alone.
async fn own(address: SocketAddr) -> Result<(Option<TcpListener>, SocketAddr), StartError> {
    let listener = bind(address).await?;
    let bound = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
    Ok((Some(listener), bound))
}
