//! A `PostgreSQL` of one test alone: made in a folder of its own, reached through a socket in it, gone with the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anabranch_backends::index::pgvector::PgSettings;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

use crate::support::root;

/// Where the tests look for `bin/postgres`; `.ci/test` sets it.
const FOLDER: &str = "ANABRANCH_TEST_POSTGRES";
/// Longest time that a server may take to begin.
const START: Duration = Duration::from_secs(30);
/// The user and group `nobody`: `PostgreSQL` does not run as root.
const NOBODY: u32 = 65534;

pub(crate) struct Postgres {
    folder: TempDir,
    bin: PathBuf,
    server: Child,
}

impl Postgres {
    /// A server that has just been made, with the user `anabranch` who may do everything.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").unwrap();
        if is_root() {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let bin = programs(folder.path()).join("bin");
        let data = folder.path().join("data");
        let made = command(&bin, "initdb", folder.path())
            .args([
                "--username=anabranch",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        // Whoever is called `locked` needs a password, everybody else is let in.
        let rules = "local all locked scram-sha-256\nlocal all all trust\n";
        fs::write(data.join("pg_hba.conf"), rules).unwrap();
        let server = serve(&bin, folder.path());
        let this = Self { folder, bin, server };
        this.is_up().await;
        this
    }

    /// Begins again after [`Self::stop`], with what was on the disk.
    pub(crate) async fn begin(&mut self) {
        self.server = serve(&self.bin, self.folder.path());
        self.is_up().await;
    }

    async fn is_up(&self) {
        let begun = Instant::now();
        loop {
            match PgConnection::connect(&self.url("anabranch")).await {
                Ok(connection) => break connection.close().await.unwrap(),
                Err(error) => assert!(begun.elapsed() < START, "{error}\n{}", self.log()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes an empty database.
    pub(crate) async fn create(&self, name: &str) {
        let mut connection = self.connection().await;
        let sql = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }

    pub(crate) fn database_url(&self, name: &str) -> String {
        self.url("anabranch").replace("/postgres?", &format!("/{name}?"))
    }

    pub(crate) fn url(&self, user: &str) -> String {
        format!("postgres:///postgres?host={}&user={user}", self.folder.path().display())
    }

    /// How an index in it is reached, with waits that a test can sit through.
    pub(crate) fn settings(&self, index: &str) -> PgSettings {
        PgSettings {
            lock_timeout: Duration::from_millis(300),
            ..PgSettings::new(self.url("anabranch"), index)
        }
    }

    /// Runs statements as the user who may do everything.
    pub(crate) async fn run(&self, sql: &'static str) {
        let mut connection = self.connection().await;
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url("anabranch")).await.unwrap()
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        let stopped = command(&self.bin, "pg_ctl", self.folder.path())
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.folder.path().join("data"))
            .output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            drop(self.server.kill());
        }
        drop(self.server.wait());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if matches!(self.server.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

fn serve(bin: &Path, folder: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    command(bin, "postgres", folder)
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=60", "-k"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn is_root() -> bool {
    // Who owns a file that we have made is who we are.
    use std::os::unix::fs::MetadataExt as _;
    tempfile::tempfile().unwrap().metadata().unwrap().uid() == 0
}

/// A program of `PostgreSQL`, run by somebody who is not root, in a folder that is theirs.
fn command(bin: &Path, program: &str, folder: &Path) -> Command {
    let mut command = Command::new(bin.join(program));
    command.current_dir(folder).env("LC_ALL", "C").stdin(Stdio::null());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// The folder of `PostgreSQL`'s programs; a copy in `folder` if nobody but root can reach it.
fn programs(folder: &Path) -> PathBuf {
    let named = std::env::var_os(FOLDER).map(PathBuf::from);
    let installed = named.unwrap_or_else(|| root().join("target/ci/postgres-16.2/pgserver/pginstall"));
    assert!(
        installed.join("bin/postgres").exists(),
        "no PostgreSQL in `{}`: run `.ci/postgres`, which fetches one and prints its folder, or set {FOLDER} to the \
         folder of another whose `bin` holds `postgres` and which has pgvector",
        installed.display()
    );
    let is_open = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o1 != 0);
    if !is_root() || installed.ancestors().all(is_open) {
        return installed;
    }
    // With what lies beside it: some programs find their libraries from where they are.
    let copy = folder.join("copy");
    let (from, name) = (
        installed.ancestors().nth(2).unwrap(),
        installed.strip_prefix(installed.ancestors().nth(2).unwrap()),
    );
    let copied = Command::new("cp").arg("-r").arg(from).arg(&copy).status().unwrap();
    assert!(copied.success(), "cp -r {}", from.display());
    copy.join(name.unwrap())
}
