//! The tests that a flow carries must speak of things that it has.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span, Spanned, nearest, suggest};
use crate::expect::MATCHERS;
use crate::flow::yaml;
use crate::flow::{Entry, Flow, TestDecl};
use crate::plan::{Body, Kind, Node};
use crate::types::Type;
use crate::value::Value;

/// Checks the names in `tests:` of `flow`.
pub(crate) fn tests(flow: &Flow, body: &Body, problems: &mut Diagnostics) {
    let gaps = super::has_gaps(flow, problems);
    for test in &flow.tests {
        Checker { file: &flow.file, body, gaps, test, problems }.check();
    }
}

struct Checker<'a> {
    file: &'a Arc<SourceFile>,
    body: &'a Body,
    /// Whether nodes are missing that the writer wrote.
    gaps: bool,
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
            self.stub(entry, node);
        }
        for entry in &test.expect.outputs {
            let output = body.outputs.iter().find(|output| *output.port.name == *entry.key.value);
            if let Some(output) = output {
                self.matchers(entry, &output.port.ty);
            }
        }
        let outputs = test.expect.outputs.iter().map(|entry| &entry.key);
        for name in outputs.chain(&test.expect.absent) {
            let names = || body.outputs.iter().map(|output| &*output.port.name);
            // A flow without outputs, and a name with capitals, are reported where they stand.
            if names().len() > 0 && names().all(|known| !known.eq_ignore_ascii_case(&name.value)) {
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

    /// A stub gives outputs that the node has, as values that they can have.
    fn stub(&mut self, entry: &Entry<yaml::Node>, node: &Node) {
        let (name, outputs) = (&entry.key.value, entry.value.as_map().unwrap_or_default());
        if entry.value.get("error").is_some() || node.outputs.is_empty() {
            return;
        }
        for (key, value) in outputs {
            let given = key.raw().unwrap_or_default();
            let Some(port) = node.outputs.iter().find(|port| *port.name == *given) else {
                let message = format!(
                    "test `{}` stubs `{name}` with `{given}`, which is no output of it",
                    self.test.name.value
                );
                let names = node.outputs.iter().map(|port| &*port.name);
                self.push(key.span, message, suggest(given, names, "its outputs are"));
                continue;
            };
            if let Err(mismatch) = Value::from_json(value.to_json()).into_type(&port.ty) {
                let message = format!(
                    "test `{}` stubs `{name}.{given}` with a value that it cannot have: {mismatch}",
                    self.test.name.value
                );
                self.push(yaml::first_line(self.file, value.span), message, None);
            }
        }
    }

    /// A mapping where the output is no mapping can only be matchers.
    fn matchers(&mut self, entry: &Entry<Spanned<serde_json::Value>>, ty: &Type) {
        let Some(map) = entry.value.value.as_object() else { return };
        let fields = ty.record().unwrap_or_default();
        if matches!(ty.required(), Type::Any | Type::Json | Type::Map(_) | Type::Plan) {
            return;
        }
        for name in map.keys() {
            if MATCHERS.contains(&name.as_str()) || fields.iter().any(|field| *field.name == **name) {
                continue;
            }
            let message = format!(
                "test `{}` expects `{name}` of the output `{}`, which is no matcher",
                self.test.name.value, entry.key.value
            );
            let hint = suggest(name, MATCHERS, "there are");
            self.push(yaml::first_line(self.file, entry.value.span), message, hint);
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
                // A node whose own name is refused is reported there.
                let refused = |known: &str| known.to_ascii_lowercase().replace('-', "_") == name;
                if self.gaps && nearest(name, names.clone()).is_none() || names.clone().any(refused) {
                    return None;
                }
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
                // Which steps a plan has is known when it is there.
                Kind::Plan(_) if segments.peek().is_some() => return None,
                Kind::Op(_) | Kind::Wait(_) | Kind::Plan(_) if segments.peek().is_some() => {
                    let hint = format!("`{name}` has no nodes inside");
                    self.unknown(path, does, "which is not there", Some(hint));
                    return None;
                }
                Kind::Op(_) | Kind::Wait(_) | Kind::Plan(_) => return found,
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
