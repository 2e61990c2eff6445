//! The keys of a mapping as they arrive: each once, merge keys resolved.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Kind, Node, syntax};
use crate::diagnostic::{Code, Diagnostic, SourceFile, Span};

/// A mapping that is still open.
#[derive(Default)]
pub(super) struct Entries {
    taken: Vec<(Node, Node)>,
    /// Where each key stands first.
    seen: HashMap<String, Span>,
    key: Key,
    /// What `<<` brings in; keys of the mapping itself come before it.
    merged: Vec<Node>,
}

/// What the next value of a mapping is.
#[derive(Default)]
enum Key {
    /// A key.
    #[default]
    Wanted,
    /// The value of this key.
    Given(Node),
    /// The value of `<<`.
    Merge,
    /// The value of a key that was refused.
    Refused,
}

impl Entries {
    /// The last entry.
    pub(super) fn last(&self) -> Option<&(Node, Node)> {
        self.taken.last()
    }

    /// Takes the next key or value; gives back what is wrong with it.
    pub(super) fn take(&mut self, node: Node, file: &Arc<SourceFile>) -> Option<Diagnostic> {
        match std::mem::take(&mut self.key) {
            Key::Wanted => return self.take_key(node, file),
            Key::Given(key) => {
                let mut value = node;
                if value.is_null() && value.span.start == value.span.end {
                    // Nothing has no place; the key that it belongs to does.
                    value = Node { span: key.span, kind: Kind::Scalar { text: String::new(), plain: true } };
                }
                self.taken.push((key, value));
            }
            Key::Merge => return self.take_merge(node, file),
            Key::Refused => {}
        }
        None
    }

    fn take_key(&mut self, key: Node, file: &Arc<SourceFile>) -> Option<Diagnostic> {
        let Kind::Scalar { text, plain } = &key.kind else {
            let message = format!("a key is a text, and this is {}", key.kind_name());
            self.key = Key::Refused;
            return Some(
                Diagnostic::new(Code::WRONG_KIND, file, syntax::first_line(file, key.span), message)
                    .hint("a text that begins with `{` or `[` needs quotes: `\"{{ question }}\"`"),
            );
        };
        if *plain && text == "<<" {
            self.key = Key::Merge;
            return None;
        }
        if let Some(first) = self.seen.get(text) {
            let problem = Diagnostic::new(
                Code::DUPLICATE_KEY,
                file,
                key.span,
                format!("the key `{text}` stands twice"),
            )
            .label(*first, "it stands here first")
            .hint("keep one of the two, or give one another name");
            self.key = Key::Refused;
            return Some(problem);
        }
        self.seen.insert(text.clone(), key.span);
        self.key = Key::Given(key);
        None
    }

    fn take_merge(&mut self, node: Node, file: &Arc<SourceFile>) -> Option<Diagnostic> {
        let span = node.span;
        let sources = match node.kind {
            Kind::List(items) => items,
            kind => vec![Node { span, kind }],
        };
        let refused = sources.iter().find(|source| source.as_map().is_none()).map(|source| {
            let message =
                format!("`<<` takes a mapping, or a list of mappings, and this is {}", source.kind_name());
            Diagnostic::new(Code::WRONG_KIND, file, syntax::first_line(file, source.span), message)
        });
        self.merged.extend(sources);
        refused
    }

    /// The entries, with those that `<<` brings in and the mapping does not have itself.
    pub(super) fn merge(self) -> Vec<(Node, Node)> {
        let Self { taken: mut entries, mut seen, merged, .. } = self;
        for source in merged {
            let Kind::Map(source) = source.kind else { continue };
            for (key, value) in source {
                let name = key.raw().unwrap_or_default();
                if !seen.contains_key(name) {
                    seen.insert(name.to_owned(), key.span);
                    entries.push((key, value));
                }
            }
        }
        entries
    }
}
