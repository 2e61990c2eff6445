//! The tests that a flow carries must speak of things that it has.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span, Spanned, suggest};
use crate::flow::{Flow, TestDecl};
use crate::plan::{Body, Kind, Node};
use crate::value::Value;

/// Checks the names in `tests:` of `flow`.
pub(crate) fn tests(flow: &Flow, body: &Body, problems: &mut Diagnostics) {
    for test in &flow.tests {
        Checker { file: &flow.file, body, test, problems }.check();
    }
}

struct Checker<'a> {
    file: &'a Arc<SourceFile>,
    body: &'a Body,
    test: &'a TestDecl,
    problems: &'a mut Diagnostics,
}

impl<'a> Checker<'a> {
    fn check(&mut self) {
        let (body, test) = (self.body, self.test);
        for entry in &test.inputs {
            let found = body.inputs.iter().find(|input| *input.port.name == entry.key.value);
            let Some(input) = found else {
                let names = body.inputs.iter().map(|input| &*input.port.name);
                self.unknown(
                    &entry.key,
                    "gives the input",
                    "which the flow does not have",
                    suggest(&entry.key.value, names, "its inputs are"),
                );
                continue;
            };
            if let Err(mismatch) = Value::from_json(entry.value.value.clone()).into_type(&input.port.ty) {
                let message = format!(
                    "test `{}` gives the input `{}` a value that it cannot have: {mismatch}",
                    test.name.value, entry.key.value
                );
                self.push(entry.value.span, message, None);
            }
        }
        for entry in &test.stub {
            let Some(node) = self.node(&entry.key, "stubs the node") else { continue };
            let Some(outputs) = entry.value.value.as_object() else { continue };
            if outputs.contains_key("error") || node.outputs.is_empty() {
                continue;
            }
            for name in outputs.keys() {
                if node.outputs.iter().all(|port| *port.name != **name) {
                    let message = format!(
                        "test `{}` stubs `{}` with `{name}`, which is no output of it",
                        test.name.value, entry.key.value
                    );
                    let names = node.outputs.iter().map(|port| &*port.name);
                    self.push(entry.value.span, message, suggest(name, names, "its outputs are"));
                }
            }
        }
        let outputs = test.expect.outputs.iter().map(|entry| &entry.key);
        for name in outputs.chain(&test.expect.absent) {
            let names = || body.outputs.iter().map(|output| &*output.port.name);
            if names().all(|known| known != name.value) {
                self.unknown(
                    name,
                    "expects the output",
                    "which the flow does not have",
                    suggest(&name.value, names(), "its outputs are"),
                );
            }
        }
        for path in test.expect.ran.iter().flatten().chain(&test.expect.skipped) {
            self.node(path, "names the node");
        }
    }

    /// The node at a path such as `hop/search`; indexes (`hop[2]/search`) say nothing about the plan.
    fn node(&mut self, path: &Spanned<String>, does: &str) -> Option<&'a Node> {
        let mut body = self.body;
        let mut found = None;
        let mut segments = path.value.split('/').peekable();
        while let Some(segment) = segments.next() {
            let name = segment.split('[').next().unwrap_or_default();
            let Some(node) = body.nodes.iter().find(|node| &*node.name == name) else {
                let names = body.nodes.iter().map(|node| &*node.name);
                let hint = suggest(name, names, "the nodes there are");
                self.unknown(path, does, "which is not there", hint);
                return None;
            };
            found = Some(node);
            body = match &node.kind {
                // A node that is wrong itself has nothing inside to compare with.
                Kind::Flow { body, .. } if body.nodes.is_empty() => return Some(node),
                Kind::Flow { body, .. } => body,
                Kind::Loop(inner) => &inner.body,
                Kind::Each(inner) => &inner.body,
                Kind::Op(_) if segments.peek().is_some() => {
                    let hint = format!("`{name}` has no nodes inside");
                    self.unknown(path, does, "which is not there", Some(hint));
                    return None;
                }
                Kind::Op(_) => return found,
            };
        }
        found
    }

    fn unknown(&mut self, name: &Spanned<String>, does: &str, but: &str, hint: Option<String>) {
        let message = format!("test `{}` {does} `{}`, {but}", self.test.name.value, name.value);
        self.push(name.span, message, hint);
    }

    fn push(&mut self, span: Span, message: String, hint: Option<String>) {
        self.problems.push(Diagnostic::new(Code::TEST, self.file, span, message).maybe_hint(hint));
    }
}
