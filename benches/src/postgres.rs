//! A `PostgreSQL` of one run: with fsync, in a folder of its own, reached through a socket in it, gone with the run.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failed;

/// Longest time that a server may take to begin.
const START: Duration = Duration::from_mins(1);
/// The user and group `nobody`: `PostgreSQL` does not run as root.
const NOBODY: u32 = 65534;

/// A running server.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    child: Child,
}

impl Server {
    /// Makes a server in `folder` with the programs of `installed`, whose `bin` holds `initdb` and `postgres`. It keeps
    /// what it acknowledges: fsync is on, everything else as it comes.
    pub fn start(installed: &Path, folder: &Path) -> Result<Self, Failed> {
        let installed = fs::canonicalize(installed)?;
        fs::create_dir_all(folder)?;
        let is_root = fs::metadata(folder)?.uid() == 0;
        if is_root {
            chown(folder, Some(NOBODY), Some(NOBODY))?;
            // Whoever is not root goes through the folder above.
            if let Some(above) = folder.parent() {
                fs::set_permissions(above, fs::Permissions::from_mode(0o755))?;
            }
        }
        let command = |program: &str| {
            let mut command = Command::new(installed.join("bin").join(program));
            command.current_dir(folder).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        let made = command("initdb")
            .args(["--username=anabranch", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(folder.join("data"))
            .output()?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        let child = command("postgres")
            .arg("-D")
            .arg(folder.join("data"))
            .args(["-c", "listen_addresses=", "-c", "fsync=on", "-c", "synchronous_commit=on", "-k"])
            .arg(folder)
            .stderr(fs::File::create(folder.join("log"))?)
            .spawn()?;
        let this = Self { folder: folder.to_owned(), child };
        let begun = Instant::now();
        while !fs::read_to_string(folder.join("log"))?.contains("ready to accept connections") {
            if begun.elapsed() > START {
                return Err(format!("it does not begin: {}", fs::read_to_string(folder.join("log"))?).into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(this)
    }

    /// The address of its database.
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=anabranch", self.folder.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Lets go of its clients and ends in good order; what is killed leaves its shared memory behind.
        let told = Command::new("kill").arg("-INT").arg(self.child.id().to_string()).status();
        if !told.is_ok_and(|status| status.success()) {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
