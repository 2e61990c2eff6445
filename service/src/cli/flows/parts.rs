//! What lies beside a flow file and belongs to it: its sub-flows and prompts, found by compiling it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::diagnostic::SourceFile;
use anabranch_engine::flow::Library;
use anabranch_engine::plan;

use crate::library::Files;

/// The files of a flow besides its own.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// YAML of its sub-flows, by name.
    pub(super) flows: BTreeMap<String, String>,
    /// Its prompt files, by the path that the flow gives them.
    pub(super) prompts: BTreeMap<String, String>,
}

/// The parts of the flow at `path`. What is wrong with it is not told here: the server tells it, with all else.
pub(super) fn of(path: &Path, yaml: &str) -> Parts {
    let noted = Noted { files: Files::beside(path), parts: Mutex::default() };
    let registry = anabranch_operators::registry();
    let file = SourceFile::new(path.display().to_string(), yaml.to_owned());
    drop(plan::compile(&file, &plan::Environment { registry: &registry, names: None, library: &noted }));
    noted.parts.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Reads files and keeps what it read.
struct Noted {
    files: Files,
    parts: Mutex<Parts>,
}

impl Noted {
    fn note(&self, note: impl FnOnce(&mut Parts)) {
        note(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Library for Noted {
    fn flow(&self, name: &str, from: &SourceFile) -> Option<Arc<SourceFile>> {
        let file = self.files.flow(name, from)?;
        self.note(|parts| {
            parts.flows.insert(name.to_owned(), file.text.clone());
        });
        Some(file)
    }

    fn prompt(&self, path: &str, from: &SourceFile) -> Result<String, String> {
        let text = self.files.prompt(path, from)?;
        self.note(|parts| {
            parts.prompts.insert(path.to_owned(), text.clone());
        });
        Ok(text)
    }

    fn flows(&self) -> Vec<String> {
        self.files.flows()
    }
}
