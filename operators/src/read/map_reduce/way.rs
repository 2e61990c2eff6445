//! The way from the portions of a text to the answer, as a tree.

use super::notes::{Branch, Kind, Note};

/// Most parts of the way that are shown.
const BRANCHES_MAX: usize = 200;
/// Longest label, in characters.
const LABEL_CHARS: usize = 80;
/// The answer, at the root.
const ROOT: usize = 0;

/// What went into what.
#[derive(Debug)]
pub(super) struct Way(Vec<Branch>);

impl Default for Way {
    fn default() -> Self {
        Self(vec![Branch {
            id: ROOT,
            parent: None,
            kind: Kind::Answer,
            label: String::new(),
            confidence: None,
            dropped: false,
        }])
    }
}

impl Way {
    /// A portion that says something. Its name.
    pub(super) fn portion(&mut self, note: &Note) -> usize {
        self.add(Kind::Portion, short(&note.answer, &note.extracted), Some(note.confidence))
    }

    /// A portion that says nothing, or could not be read.
    pub(super) fn lost(&mut self, why: &str) {
        self.add(Kind::Portion, short(why, ""), None);
    }

    /// A note made of those of `from`. Its name.
    pub(super) fn collapse(&mut self, note: &Note, from: &[usize]) -> usize {
        let id = self.add(Kind::Collapse, short(&note.answer, &note.extracted), Some(note.confidence));
        for branch in self.0.iter_mut().filter(|branch| from.contains(&branch.id)) {
            branch.parent = Some(id);
        }
        id
    }

    /// The tree, the root first, each in front of what went into it; what the answer is made of, before the rest.
    pub(super) fn finish(mut self, answer: &str, last: &[usize]) -> Vec<Branch> {
        for branch in self.0.iter_mut().filter(|branch| branch.parent == Some(ROOT)) {
            branch.dropped |= !last.contains(&branch.id);
        }
        if let Some(root) = self.0.get_mut(ROOT) {
            root.label = short(answer, "");
        }
        let mut shown: Vec<Branch> = Vec::new();
        let mut level: Vec<Option<usize>> = vec![None];
        while !level.is_empty() && shown.len() < BRANCHES_MAX {
            let mut next: Vec<&Branch> =
                self.0.iter().filter(|branch| level.contains(&branch.parent)).collect();
            next.sort_by_key(|branch| branch.dropped);
            next.truncate(BRANCHES_MAX - shown.len());
            level = next.iter().map(|branch| Some(branch.id)).collect();
            shown.extend(next.into_iter().cloned());
        }
        shown
    }

    fn add(&mut self, kind: Kind, label: String, confidence: Option<f64>) -> usize {
        let id = self.0.len();
        self.0.push(Branch { id, parent: Some(ROOT), kind, label, confidence, dropped: false });
        id
    }
}

fn short(text: &str, otherwise: &str) -> String {
    let text = if text.trim().is_empty() { otherwise } else { text }.trim();
    match text.char_indices().nth(LABEL_CHARS) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text.to_owned(),
    }
}
