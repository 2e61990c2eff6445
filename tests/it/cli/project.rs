//! A folder of somebody's own, with a configuration, and the program run in it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Ran, anabranch, ran};

/// A folder with files, in which commands are run.
pub(super) struct Project(TempDir);

impl Project {
    /// A folder with this configuration.
    pub(super) fn new(config: &str) -> Self {
        let project = Self(TempDir::new().unwrap());
        project.configure(config);
        project
    }

    /// Writes another configuration.
    pub(super) fn configure(&self, config: &str) {
        self.write("anabranch.yaml", config);
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The same with a file more.
    pub(super) fn with(self, path: &str, text: &str) -> Self {
        self.write(path, text);
        self
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = anabranch(args);
        command.current_dir(self.path());
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.command(args))
    }

    /// Runs a command that must go well, and reads its JSON.
    pub(super) fn json(&self, args: &[&str]) -> Json {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
        ran.json()
    }

    /// Starts a command, and lets it run.
    pub(super) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The documents of what a search finds, best first.
    pub(super) fn search(&self, args: &[&str]) -> Vec<String> {
        let args: Vec<&str> = ["search"].iter().chain(args).chain(&["--json"]).copied().collect();
        let found = self.json(&args);
        found.as_array().unwrap().iter().map(|chunk| chunk["doc"].as_str().unwrap().to_owned()).collect()
    }
}
