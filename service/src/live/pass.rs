//! What lets a process hear of a job of another: a pass for this job of this worker, made of a secret that all who have
//! the database share. The secret itself is never sent, so whoever listens at a stale address learns nothing of use.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::access::{Key, NoRandomness};
use crate::store::{Store, StoreError};

/// The name of the secret in the store.
const NAME: &str = "live";
/// Separates these hashes from all others.
const CONTEXT: &str = "anabranch 2026 live pass";

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The store does not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// None can be made.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// The secret of an installation.
pub struct Secret([u8; blake3::KEY_LEN]);

impl Secret {
    /// That of the processes on this database; made if there is none yet.
    pub async fn of(store: &Store) -> Result<Self, PassError> {
        let new = SecretString::from(Key::new()?.expose());
        let secret = store.shared_secret(NAME, &new).await?;
        Ok(Self(blake3::derive_key(CONTEXT, secret.expose_secret().as_bytes())))
    }

    /// The pass to a job of a worker.
    pub fn pass(&self, worker: &str, job: &str) -> String {
        self.hash(worker, job).to_hex().to_string()
    }

    /// Whether `pass` is that to a job of a worker. Takes the same time for every wrong one.
    pub fn admits(&self, pass: &str, worker: &str, job: &str) -> bool {
        blake3::Hash::from_hex(pass).is_ok_and(|pass| pass == self.hash(worker, job))
    }

    fn hash(&self, worker: &str, job: &str) -> blake3::Hash {
        // Ids have no line breaks.
        blake3::keyed_hash(&self.0, format!("{worker}\n{job}").as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{At, Options};

    #[tokio::test]
    async fn a_pass_is_good_for_one_job_of_one_worker_and_for_all_who_share_the_store() {
        let store = Store::open(Options::new(At::Memory), true).await.unwrap();
        let (one, other) = (Secret::of(&store).await.unwrap(), Secret::of(&store).await.unwrap());
        let pass = one.pass("wkr_1", "job_1");
        assert!(other.admits(&pass, "wkr_1", "job_1"));
        assert!(!other.admits(&pass, "wkr_2", "job_1") && !other.admits(&pass, "wkr_1", "job_2"));
        assert!(!other.admits("", "wkr_1", "job_1") && !other.admits("no pass", "wkr_1", "job_1"));
        let foreign = Store::open(Options::new(At::Memory), true).await.unwrap();
        assert!(!Secret::of(&foreign).await.unwrap().admits(&pass, "wkr_1", "job_1"));
        assert_eq!(format!("{one:?}"), "Secret(…)");
    }
}
