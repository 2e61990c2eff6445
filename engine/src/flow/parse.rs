//! From YAML to a [`Flow`]: the shape of the language, with every problem reported at its place.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span, Spanned};
use crate::flow::yaml::{self, Node};
use crate::flow::{Entry, Flow};

mod duration;
mod each;
pub(in crate::flow) mod fields;
mod flow_tests;
mod input;
mod looping;
pub(in crate::flow) mod node;
mod planning;
mod policy;
mod scalar;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod type_name;
mod waiting;

pub use duration::{duration, written};

/// Reads a flow. Problems go to `problems`; `None` only if there is nothing to go on with.
///
/// What can be read is given back even if something else is wrong, so that later checks can report in the same pass.
pub fn parse(file: &Arc<SourceFile>, problems: &mut Diagnostics) -> Option<Flow> {
    let root = yaml::read(file, problems)?;
    Some(Reader { file, problems }.flow(&root))
}

/// Reads constructs and reports what is wrong with them; never stops at a problem.
struct Reader<'a> {
    file: &'a Arc<SourceFile>,
    problems: &'a mut Diagnostics,
}

impl Reader<'_> {
    fn flow(&mut self, root: &Node) -> Flow {
        // What is missing at the top is shown at the first key.
        let first = root.as_map().and_then(|entries| entries.first());
        let top = first.map_or(root.span, |(key, _)| key.span);
        let mut fields = self.fields(root, &fields::FLOW, top).unwrap_or_default();
        let name = self.required(&mut fields, "flow", "flow: its_name").and_then(|node| {
            let name = self.text(node)?;
            self.check_name(&name, &[]);
            Some(name)
        });
        let nodes = self.required(&mut fields, "nodes", "nodes: {answer: {op: read.answer}}");
        let flow = Flow {
            file: self.file.clone(),
            name: name.unwrap_or_else(|| Spanned::new("flow".to_owned(), top)),
            about: fields.take("about").and_then(|node| self.text(node)).map(|about| about.value),
            inputs: fields.take("inputs").map(|node| self.inputs(node)).unwrap_or_default(),
            budget: fields.take("budget").and_then(|node| self.budget(node)),
            nodes: nodes.map(|node| self.nodes(node)).unwrap_or_default(),
            outputs: fields.take("outputs").map(|node| self.outputs(node)).unwrap_or_default(),
            tests: fields.take("tests").map(|node| self.tests(node)).unwrap_or_default(),
        };
        fields.done();
        flow
    }

    /// The entries of a mapping whose keys the writer chooses; `None` from `read` leaves an entry out.
    fn entries<T>(
        &mut self,
        node: &Node,
        expected: &str,
        mut read: impl FnMut(&mut Self, &Spanned<String>, &Node) -> Option<T>,
    ) -> Vec<Entry<T>> {
        let Some(entries) = node.as_map() else {
            self.wrong_kind(node, expected, None);
            return Vec::new();
        };
        let mut found = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = Spanned::new(key.raw().unwrap_or_default().to_owned(), key.span);
            if let Some(value) = read(self, &key, value) {
                found.push(Entry { key, value });
            }
        }
        found
    }

    fn report(&mut self, code: Code, span: Span, message: impl Into<String>, hint: Option<String>) {
        self.problems.push(Diagnostic::new(code, self.file, span, message).maybe_hint(hint));
    }

    fn wrong_kind(&mut self, node: &Node, expected: &str, hint: Option<&str>) {
        let message = format!("expected {expected}, found {}", node.kind_name());
        self.report(Code::WRONG_KIND, self.place(node), message, hint.map(str::to_owned));
    }

    /// Where to point at a value: a collection is shown by its first line.
    fn place(&self, node: &Node) -> Span {
        yaml::first_line(self.file, node.span)
    }
}
