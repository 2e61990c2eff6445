//! Sub-flows and prompts out of a bundle: found by name, noted when read.
//!
//! Keys are paths relative to the flow, without `.yaml` for flows. A flow `b` of the service that another flow calls is
//! put on the shelf in a folder of its own, `b/b`, with its sub-flows and prompts beside it: it does there what it
//! does by itself, whatever its caller calls its own parts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::flow::Library;

use super::Bundle;
use crate::library::Files;

/// Flows and prompts by key, with a list of what was read of them.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Name of the file of the flow itself.
    root: String,
    flows: BTreeMap<String, String>,
    prompts: BTreeMap<String, String>,
    /// Keys that are the flow itself, pinned inside a flow that it calls: whoever reads one goes round in a circle.
    circular: BTreeSet<String>,
    /// Flows that could be put on the shelf, for suggestions.
    others: Vec<String>,
    read: Mutex<Read>,
}

/// What was looked for.
#[derive(Debug, Default, Clone)]
pub(super) struct Read {
    /// Flows that were there, by key.
    pub(super) flows: BTreeMap<String, String>,
    /// Prompts that were there, by key.
    pub(super) prompts: BTreeMap<String, String>,
    /// Flows of the top folder that were not there.
    pub(super) missing: BTreeSet<String>,
}

/// The name that the file of flow `name` has in diagnostics.
pub(super) fn file_of(name: &str) -> String {
    format!("{name}.yaml")
}

impl Shelf {
    /// What was given with the flow called `name`; flows called `others` exist besides.
    pub(super) fn new(
        name: &str,
        flows: &BTreeMap<String, String>,
        prompts: &BTreeMap<String, String>,
        others: Vec<String>,
    ) -> Self {
        Self {
            root: file_of(name),
            flows: flows.clone(),
            prompts: prompts.clone(),
            others,
            ..Self::default()
        }
    }

    /// Everything that `bundle` is made of.
    pub(super) fn of(bundle: &Bundle) -> Self {
        Self::new(&bundle.name, &bundle.flows, &bundle.prompts, Vec::new())
    }

    /// Puts a flow of the service on the shelf, in a folder of its own.
    pub(super) fn mount(&mut self, bundle: &Bundle) {
        let name = &bundle.name;
        self.flows.insert(format!("{name}/{name}"), bundle.flow.clone());
        for (key, text) in &bundle.flows {
            let key = format!("{name}/{key}");
            if file_of(key.rsplit('/').next().unwrap_or_default()) == self.root {
                self.circular.insert(key.clone());
            }
            self.flows.insert(key, text.clone());
        }
        for (key, text) in &bundle.prompts {
            self.prompts.insert(format!("{name}/{key}"), text.clone());
        }
    }

    /// What was read until now.
    pub(super) fn read(&self) -> Read {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut Read)) {
        note(&mut self.read.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Library for Shelf {
    fn flow(&self, name: &str, from: &SourceFile) -> Option<Arc<SourceFile>> {
        let beside = key(name, &from.name).ok()?;
        let own = format!("{beside}/{}", beside.rsplit('/').next().unwrap_or_default());
        if file_of(&beside) == self.root || [&beside, &own].iter().any(|key| self.circular.contains(*key)) {
            return Some(SourceFile::new(self.root.as_str(), ""));
        }
        for key in [&beside, &own] {
            if let Some(text) = self.flows.get(key) {
                self.note(|read| {
                    read.flows.insert(key.clone(), text.clone());
                });
                return Some(SourceFile::new(file_of(key), text.as_str()));
            }
        }
        if !beside.contains('/') {
            self.note(|read| {
                read.missing.insert(beside);
            });
        }
        None
    }

    fn prompt(&self, path: &str, from: &SourceFile) -> Result<String, String> {
        let key = key(path, &from.name)?;
        let text =
            self.prompts.get(&key).ok_or_else(|| format!("no prompt `{key}` was given with the flow"))?;
        self.note(|read| {
            read.prompts.insert(key, text.clone());
        });
        Ok(text.clone())
    }

    fn flows(&self) -> Vec<String> {
        let given = self.flows.keys().filter(|key| !key.contains('/')).cloned();
        let known: BTreeSet<String> = given.chain(self.others.iter().cloned()).collect();
        known.into_iter().collect()
    }
}

/// The files beside a flow, with a list of what was read of them under the keys of a bundle.
#[derive(Debug)]
pub(super) struct Recorded {
    files: Files,
    /// Folder of the flow, as it begins the names of files.
    folder: String,
    read: Mutex<Read>,
}

impl Recorded {
    /// The files beside the flow at `path`.
    pub(super) fn beside(path: &std::path::Path) -> Self {
        let folder = path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        Self { files: Files::beside(path), folder, read: Mutex::default() }
    }

    /// What was read.
    pub(super) fn into_read(self) -> Read {
        self.read.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn within<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(&self.folder).unwrap_or(name).trim_start_matches('/')
    }
}

impl Library for Recorded {
    fn flow(&self, name: &str, from: &SourceFile) -> Option<Arc<SourceFile>> {
        let found = self.files.flow(name, from)?;
        if let Ok(key) = key(name, self.within(&from.name)) {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.flows.insert(key, found.text.clone());
        }
        Some(found)
    }

    fn prompt(&self, path: &str, from: &SourceFile) -> Result<String, String> {
        let text = self.files.prompt(path, from)?;
        if let Ok(key) = key(path, self.within(&from.name)) {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.prompts.insert(key, text.clone());
        }
        Ok(text)
    }

    fn flows(&self) -> Vec<String> {
        self.files.flows()
    }
}

/// The key of what the file `from` calls `relative`, or why it can have none.
fn key(relative: &str, from: &str) -> Result<String, String> {
    if relative.starts_with('/') || relative.contains('\\') {
        return Err(format!("`{relative}` is no path relative to the flow"));
    }
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(relative.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(format!("`{relative}` leads out of the flow's folder"));
                }
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return Err(format!("`{relative}` names no file"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_relative_to_the_flow_and_never_leave_its_folder() {
        assert_eq!(key("b", "a.yaml").unwrap(), "b");
        assert_eq!(key("p.md", "b/b.yaml").unwrap(), "b/p.md");
        assert_eq!(key("../p.md", "b/b.yaml").unwrap(), "p.md");
        assert!(key("../p.md", "a.yaml").unwrap_err().contains("leads out"));
        assert!(key("/etc/passwd", "a.yaml").is_err() && key("..\\p", "a.yaml").is_err());
        assert!(key(".", "a.yaml").is_err());
    }
}
