//! Runs the scripts of `tests/sdk` in the Python environment that holds other people's clients.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::root;

/// Where the tests look for the environment; `.ci/test` sets it.
const FOLDER: &str = "ANABRANCH_TEST_SDK";

/// The environment's folder.
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::var_os(FOLDER).unwrap_or_else(|| {
        panic!(
            "{FOLDER} is not set: it names the folder that `./.ci/sdk` prints (`./.ci/test` does all of it)"
        )
    });
    let folder = root().join(folder);
    assert!(
        folder.join("bin/python").exists(),
        "{FOLDER} is `{}`, which holds no bin/python",
        folder.display()
    );
    folder
}

/// A program of the environment.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(folder().join("bin").join(name));
    command.current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A script of `tests/sdk`.
pub(crate) fn script(name: &str) -> Command {
    let mut command = program("python");
    command.arg(root().join("tests/sdk").join(name));
    command
}

/// What a command that must succeed says.
pub(crate) fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?} ended with {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}
