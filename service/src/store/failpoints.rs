//! Where tests make the store fail, or end the process in the middle of a commit.
//!
//! With the feature `failpoints` the environment variable `FAILPOINTS` says what happens where, in the language of the
//! crate `fail`: `store::commit_after=2%return(exit)`, several of them with `;` between. Points: `store::commit_before`
//! (a batch is about to be written), `store::commit_sync` (it is about to reach the disk), `store::commit_after` (it is on disk, nobody knows yet), `store::commit_reply_lost`
//! (it is on disk, and the database's answer is lost), and one for each kind of entry, before its statements:
//! `store::submit`, `store::journal`, `store::end`, `store::park`; `store::batch` (some jobs of a batch are written, and
//! nothing is committed). Actions: `panic`, `sleep(ms)`, `return` (the database
//! is away), `return(exit)` (the process ends at once, as if killed), `return(refused)` (the database refuses this for
//! good), `return(full)` (the disk is full).

/// What happens at a point; nothing without the feature.
#[cfg(feature = "failpoints")]
pub(super) fn reach(point: &str) -> Result<(), sqlx::Error> {
    fail::fail_point!(point, |what| {
        match what.as_deref() {
            Some("exit") => std::process::abort(),
            Some("refused") => Err(sqlx::Error::RowNotFound),
            Some("full") => Err(sqlx::Error::Io(std::io::ErrorKind::StorageFull.into())),
            _ => Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
        }
    });
    Ok(())
}

/// What happens at a point; nothing without the feature.
#[cfg(not(feature = "failpoints"))]
#[allow(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
pub(super) fn reach(_point: &str) -> Result<(), sqlx::Error> {
    Ok(())
}

/// Reads `FAILPOINTS`, once a process.
pub(super) fn arm() {
    #[cfg(feature = "failpoints")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        // Leaving its scope would disarm the points again.
        ONCE.call_once(|| std::mem::forget(fail::FailScenario::setup()));
    }
}
