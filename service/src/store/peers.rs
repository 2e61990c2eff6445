//! Other processes on the same database: where they are reached, and what all of them know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::UdpSocket;

use super::database::{Database, reading, row, writing};
use super::{Store, StoreError};
use crate::job::Status;

row! {
    struct OwnerRow { worker: String, addr: Option<String> }
}
row! {
    struct StandingRow { status: i16, epoch: i64 }
}

/// The worker that has a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub worker: String,
    /// Where it tells what happens, if it does.
    pub address: Option<String>,
}

impl Store {
    /// Says where others hear what happens in the jobs of a worker.
    pub async fn advertise(&self, worker: &str, address: &str) -> Result<(), StoreError> {
        writing!(self.database(), |db| {
            sqlx::query("UPDATE workers SET addr = $2 WHERE worker = $1")
                .bind(worker)
                .bind(address)
                .execute(db)
                .await?;
        });
        Ok(())
    }

    /// The worker that has a job that runs.
    pub async fn owner(&self, job: &str) -> Result<Option<Owner>, StoreError> {
        let row: Option<OwnerRow> = reading!(self.database(), |db| {
            sqlx::query_as(
                "SELECT w.worker, w.addr FROM jobs j JOIN workers w ON w.worker = j.owner \
                 WHERE j.job_id = $1 AND j.status = 1",
            )
            .bind(job)
            .fetch_optional(db)
            .await?
        });
        Ok(row.map(|OwnerRow { worker, addr }| Owner { worker, address: addr }))
    }

    /// Where a job is, and how often it has changed hands.
    pub async fn standing(&self, tenant: &str, job: &str) -> Result<Option<(Status, i64)>, StoreError> {
        let row: Option<StandingRow> = reading!(self.database(), |db| {
            sqlx::query_as("SELECT status, epoch FROM jobs WHERE job_id = $1 AND tenant = $2")
                .bind(job)
                .bind(tenant)
                .fetch_optional(db)
                .await?
        });
        let status = |number: i16| Status::ALL.get(usize::try_from(number).ok()?).copied();
        Ok(row.and_then(|row| Some((status(row.status)?, row.epoch))))
    }

    /// The secret of this name that all who have this database share; `new` becomes it if there is none yet.
    pub async fn shared_secret(&self, name: &str, new: &SecretString) -> Result<SecretString, StoreError> {
        writing!(self.database(), |db| {
            sqlx::query(
                "INSERT INTO shared_secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            )
            .bind(name)
            .bind(new.expose_secret())
            .execute(db)
            .await?;
        });
        let secret: String = reading!(self.database(), |db| {
            sqlx::query_scalar("SELECT secret FROM shared_secrets WHERE name = $1")
                .bind(name)
                .fetch_one(db)
                .await?
        });
        Ok(secret.into())
    }

    /// This machine's address on the way to the database: most likely, others on the same database reach it there.
    /// `None` for a database that no others have.
    pub async fn address_here(&self) -> Option<IpAddr> {
        let Database::Postgres { read, .. } = self.database() else { return None };
        let options = read.connect_options();
        let host = options.get_host();
        let is_socket = options.get_socket().is_some() || host.starts_with('/');
        let on_the_way = if is_socket { None } else { towards((host, options.get_port())).await.ok() };
        Some(on_the_way.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }
}

/// The address from which this machine would send something there. Nothing is sent.
async fn towards(there: (&str, u16)) -> std::io::Result<IpAddr> {
    let there = tokio::net::lookup_host(there).await?.next().ok_or(std::io::ErrorKind::NotFound)?;
    let any: SocketAddr = match there {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(there).await?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_way_to_this_machine_is_this_machine() {
        assert_eq!(towards(("127.0.0.1", 5432)).await.unwrap(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
