//! `tests:` that a flow carries.

use crate::diagnostic::{Code, Spanned};
use crate::flow::yaml::Node;
use crate::flow::{Entry, ExpectDecl, Scripted, ScriptedCall, TestDecl};

use super::{Reader, fields};

impl Reader<'_> {
    pub(super) fn tests(&mut self, node: &Node) -> Vec<TestDecl> {
        let Some(items) = node.as_list() else {
            self.wrong_kind(node, "a list of tests", Some("each begins with `- name: what it shows`"));
            return Vec::new();
        };
        let tests: Vec<TestDecl> = items.iter().filter_map(|item| self.test(item)).collect();
        for (index, test) in tests.iter().enumerate() {
            let same = |other: &&TestDecl| other.name.value == test.name.value;
            if tests.iter().take(index).any(|other| same(&other)) {
                let message = format!("there is a test called `{}` already", test.name.value);
                self.report(
                    Code::INVALID_NAME,
                    test.name.span,
                    message,
                    Some("give each test its own name".into()),
                );
            }
        }
        tests
    }

    fn test(&mut self, node: &Node) -> Option<TestDecl> {
        let place = self.place(node);
        let mut fields = self.fields(node, &fields::TEST, place)?;
        let name = self.required(&mut fields, "name", "name: what it shows").and_then(|node| self.text(node));
        let inputs = fields.take("inputs").map(|node| self.literals(node)).unwrap_or_default();
        let stub = fields.take("stub").map(|node| self.stubs(node)).unwrap_or_default();
        let replay = fields.take("replay").and_then(|node| self.text(node));
        let script = fields.take("script").map(|node| self.script(node)).unwrap_or_default();
        let expect = self
            .required(&mut fields, "expect", "expect: {outputs: {...}}")
            .and_then(|node| self.expect(node))
            .unwrap_or_default();
        fields.done();
        // A test without a name still has inputs and stubs to check.
        let name = name.unwrap_or_else(|| Spanned::new("unnamed".to_owned(), place));
        Some(TestDecl { name, inputs, stub, replay, script, expect })
    }

    /// `script:`, in the order in which the rules are tried.
    fn script(&mut self, node: &Node) -> Vec<Scripted> {
        let Some(rules) = node.as_list() else {
            self.wrong_kind(
                node,
                "a list of rules",
                Some("each is `{contains: text of the prompt, answer: text}`"),
            );
            return Vec::new();
        };
        rules.iter().filter_map(|rule| self.scripted(rule)).collect()
    }

    fn scripted(&mut self, node: &Node) -> Option<Scripted> {
        let mut fields = self.fields(node, &fields::SCRIPTED, self.place(node))?;
        let contains = fields.take("contains").and_then(|node| self.text(node));
        let matches = fields.take("matches").and_then(|node| self.text(node));
        let calls = fields.take("calls").map(|node| self.scripted_calls(node)).unwrap_or_default();
        let answer = if calls.is_empty() {
            let answer = self.required(&mut fields, "answer", "answer: what the model says");
            answer.and_then(|node| self.text(node))
        } else {
            let answer = fields.take("answer").and_then(|node| self.text(node));
            Some(answer.unwrap_or_else(|| Spanned::new(String::new(), self.place(node))))
        };
        fields.done();
        Some(Scripted { contains, matches, answer: answer?, calls })
    }

    fn scripted_calls(&mut self, node: &Node) -> Vec<ScriptedCall> {
        let Some(calls) = node.as_list() else {
            self.wrong_kind(node, "a list of calls", Some("each is `{tool: its name, arguments: {...}}`"));
            return Vec::new();
        };
        calls.iter().filter_map(|call| self.scripted_call(call)).collect()
    }

    fn scripted_call(&mut self, node: &Node) -> Option<ScriptedCall> {
        let mut fields = self.fields(node, &fields::SCRIPTED_CALL, self.place(node))?;
        let tool = self.required(&mut fields, "tool", "tool: its name").and_then(|node| self.text(node));
        let arguments = fields.take("arguments").map(|node| self.literals(node)).unwrap_or_default();
        fields.done();
        Some(ScriptedCall { tool: tool?, arguments })
    }

    /// `stub:`; what each node is given keeps its places.
    fn stubs(&mut self, node: &Node) -> Vec<Entry<Node>> {
        self.entries(node, "a mapping of nodes to what they give", |reader, _, value| {
            if value.as_map().is_none() {
                let hint = "for example `search: {chunks: [], scores: []}`, or `search: {error: timed_out}`";
                reader.wrong_kind(value, "a mapping of outputs to values", Some(hint));
                return None;
            }
            Some(value.clone())
        })
    }

    fn expect(&mut self, node: &Node) -> Option<ExpectDecl> {
        let mut fields = self.fields(node, &fields::EXPECT, self.place(node))?;
        let expect = ExpectDecl {
            ran: fields.take("ran").map(|node| self.texts(node)),
            skipped: fields.take("skipped").map(|node| self.texts(node)).unwrap_or_default(),
            outputs: fields.take("outputs").map(|node| self.literals(node)).unwrap_or_default(),
            absent: fields.take("absent").map(|node| self.texts(node)).unwrap_or_default(),
            fails: fields.take("fails").and_then(|node| {
                if node.as_map().is_none() {
                    self.wrong_kind(node, "a mapping", Some("`fails: {node: answer, kind: timed_out}`"));
                    return None;
                }
                Some(Spanned::new(node.to_json(), self.place(node)))
            }),
        };
        fields.done();
        Some(expect)
    }
}
