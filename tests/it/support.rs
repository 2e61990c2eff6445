//! What several tests need: where the repository is, the world that flows are compiled in, expected files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::flow::Library;
use anabranch_engine::operator::Names;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_owned()
}

/// The text of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths of the files in a folder of the repository that end in `.extension`, sorted, relative to the root.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<String> {
    let listing = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<String> = listing
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| format!("{folder}/{}", path.file_name().unwrap().to_string_lossy()))
        .collect();
    paths.sort();
    paths
}

/// All files below a folder of the repository, sorted, relative to the root.
pub(crate) fn files_below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap_or_else(|error| panic!("{folder}: {error}")) {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// A client for services of this machine.
pub(crate) fn client() -> reqwest::Client {
    // An error means that another test of this process was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let no_roots = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(no_roots).no_proxy().build().unwrap()
}

/// A flow file of the repository, named by its path from the root.
pub(crate) fn source(path: &str) -> Arc<SourceFile> {
    SourceFile::new(path, read(path))
}

/// The models and indexes that flows of the repository may name.
pub(crate) fn names() -> Names {
    Names::defaults(["docs"])
}

/// Finds sub-flows and prompts beside the flow that names them, and the flows of `flows/` from anywhere.
pub(crate) struct Repository;

impl Library for Repository {
    fn flow(&self, name: &str, from: &SourceFile) -> Option<Arc<SourceFile>> {
        [format!("{}/{name}.yaml", folder(from)), format!("flows/{name}.yaml")]
            .iter()
            .find_map(|path| Some(SourceFile::new(path, fs::read_to_string(root().join(path)).ok()?)))
    }

    fn prompt(&self, path: &str, from: &SourceFile) -> Result<String, String> {
        let path = format!("{}/{path}", folder(from));
        fs::read_to_string(root().join(&path)).map_err(|_| format!("there is no file `{path}`"))
    }

    fn flows(&self) -> Vec<String> {
        files("flows", "yaml").iter().map(|path| stem(path).to_owned()).collect()
    }
}

fn folder(file: &SourceFile) -> &str {
    file.name.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

/// The flows of the repository: those that answer, and those that describe an index.
pub(crate) fn flow_files() -> Vec<String> {
    ["flows", "flows/index"].iter().flat_map(|folder| files(folder, "yaml")).collect()
}

/// `a` of `flows/a.yaml`.
pub(crate) fn stem(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// Files whose text is expected to be just so; with `UPDATE=1` they are written instead.
#[derive(Default)]
pub(crate) struct Expected(BTreeMap<String, String>);

impl Expected {
    /// Expects `path` to hold `text`.
    pub(crate) fn file(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.0.insert(path.into(), text.into());
    }

    /// Compares them all, and says which differ and where first.
    pub(crate) fn compare(self) {
        let update = std::env::var_os("UPDATE").is_some();
        let mut wrong = Vec::new();
        for (path, text) in self.0 {
            let found = fs::read_to_string(root().join(&path)).unwrap_or_default();
            if found == text {
                continue;
            }
            if update {
                fs::write(root().join(&path), text).unwrap();
                continue;
            }
            let line = found.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
            let at = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
            wrong.push(format!("{path}:{}\n  expected: {}\n  found:    {}", line + 1, at(&found), at(&text)));
        }
        assert!(
            wrong.is_empty(),
            "{} files differ; read the changes, then accept them with UPDATE=1 cargo nextest run -p anabranch-tests\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}
