//! Builds the tree out of the parser's events, within bounds that hold whatever the file says.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, Span as Range, StructureStyle, Tag};

use super::entries::Entries;
use super::{Kind, Node, syntax};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, SourceFile, Span};
use crate::limits;

/// Reads the one mapping that a file holds. Problems go to `problems`; `None` if there is no tree to go on with.
///
/// Nothing here recurses over the input, so no nesting in it can exhaust the stack.
pub fn read(file: &Arc<SourceFile>, problems: &mut Diagnostics) -> Option<Node> {
    if file.text.len() > limits::FLOW_BYTES {
        let message =
            format!("the file has more than {} bytes, which is the most for a flow", limits::FLOW_BYTES);
        problems.push(
            Diagnostic::new(Code::TOO_LARGE, file, Span::default(), message)
                .hint("move prompts and data into files of their own, or split the flow into sub-flows"),
        );
        return None;
    }
    if let Some(at) = file.text.find(char::REPLACEMENT_CHARACTER) {
        let place = Span::new(at, at + char::REPLACEMENT_CHARACTER.len_utf8());
        problems.push(
            Diagnostic::new(Code::SYNTAX, file, place, "the file holds something that is not UTF-8 text")
                .hint("save it as UTF-8; if it is no text at all, it is no flow"),
        );
        return None;
    }
    if let Some(at) = file.text.find('\0') {
        problems.push(
            Diagnostic::new(Code::SYNTAX, file, Span::new(at, at + 1), "the file holds the character U+0000")
                .hint("leave the character out; if it is no text at all, it is no flow"),
        );
        return None;
    }
    let mut builder = Builder::new(file, problems);
    let ended = builder.run();
    let Builder { root, literal, open, .. } = builder;
    let bracket = open.last().filter(|open| open.style == StructureStyle::Flow).map(|open| open.span);
    match ended {
        Ended::Whole => syntax::report_tabs(file, &literal, problems),
        Ended::Refused => return None,
        Ended::Broken(error) => {
            syntax::report(file, &error, bracket, &literal, problems);
            return None;
        }
    }
    match root {
        Some(node) if matches!(node.kind, Kind::Map(_)) => Some(node),
        Some(node) if !node.is_null() => {
            let message = format!("a flow is a mapping, and this is {}", node.kind_name());
            problems.push(
                Diagnostic::new(Code::NOT_A_FLOW, file, syntax::first_line(file, node.span), message)
                    .hint("a flow begins with `flow: its_name` on a line of its own"),
            );
            None
        }
        _ => {
            problems.push(
                Diagnostic::new(Code::NOT_A_FLOW, file, Span::default(), "the file is empty")
                    .hint("a flow has at least `flow: its_name` and `nodes:`"),
            );
            None
        }
    }
}

/// How the stream of events ended.
enum Ended {
    /// At its end.
    Whole,
    /// At a bound; reported.
    Refused,
    /// At a syntax error.
    Broken(serde_yaml::granit_parser::ScanError),
}

/// A finished value with what an alias of it would cost.
#[derive(Clone)]
struct Done {
    node: Node,
    /// Levels of collections in it.
    depth: usize,
    /// Values in it, itself included.
    size: usize,
}

/// A collection that is still open.
struct Open {
    content: Content,
    style: StructureStyle,
    span: Span,
    anchor: usize,
    depth: usize,
    size: usize,
}

enum Content {
    List(Vec<Node>),
    Map(Entries),
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    problems: &'a mut Diagnostics,
    open: Vec<Open>,
    anchors: HashMap<usize, Done>,
    nodes: usize,
    aliases: usize,
    documents: usize,
    root: Option<Node>,
    /// Places in which a tab at the start of a line is text or harmless.
    literal: Vec<Span>,
}

impl<'a> Builder<'a> {
    fn new(file: &'a Arc<SourceFile>, problems: &'a mut Diagnostics) -> Self {
        Self {
            file,
            problems,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            aliases: 0,
            documents: 0,
            root: None,
            literal: Vec::new(),
        }
    }

    fn run(&mut self) -> Ended {
        let mut options = Options::default();
        options.set_emit_comments(false);
        // One more than is allowed, so that the refusal comes from here, with its own words.
        options.flow_nesting_limit = limits::YAML_DEPTH + 1;
        options.block_nesting_limit = limits::YAML_DEPTH + 1;
        for event in Parser::new_from_str_with_options(&self.file.text, options) {
            match event {
                Ok((event, range)) => {
                    let span = syntax::span(self.file, &range);
                    if self.event(event, span, &range).is_break() {
                        return Ended::Refused;
                    }
                }
                Err(error) => return Ended::Broken(error),
            }
        }
        Ended::Whole
    }

    fn event(&mut self, event: Event<'_>, span: Span, range: &Range) -> ControlFlow<()> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.report(
                        Code::NOT_A_FLOW,
                        span,
                        "a second document begins here",
                        "a file holds one flow",
                    );
                    return ControlFlow::Break(());
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = self.is_plain(style == ScalarStyle::Plain, tag.as_deref(), range, span);
                if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) || self.is_multiline(span) {
                    self.literal.push(span);
                }
                self.count(span)?;
                // What a flow says of itself is kept, in databases that have no such character.
                if text.contains('\0') {
                    let message = "the text holds the character U+0000, which no text of a flow may";
                    self.report(Code::SYNTAX, span, message, "leave the character out");
                }
                let node = Node { span, kind: Kind::Scalar { text: text.into_owned(), plain } };
                self.finish(Done { node, depth: 0, size: 1 }, anchor);
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.is_plain(true, tag.as_deref(), range, span);
                self.begin(Content::List(Vec::new()), style, anchor, span)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                self.is_plain(true, tag.as_deref(), range, span);
                self.begin(Content::Map(Entries::default()), style, anchor, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Whether a scalar means what it looks like; refuses tags that would make it something else.
    fn is_plain(&mut self, plain: bool, tag: Option<&Tag>, range: &Range, span: Span) -> bool {
        let Some(tag) = tag else { return plain };
        match tag.core_suffix() {
            Some("str") => false,
            Some("null" | "bool" | "int" | "float") => true,
            Some("seq" | "map") => plain,
            _ if tag.original() == "!" => false,
            _ => {
                let place = range.tag_span().map_or(span, |range| syntax::span(self.file, &range));
                let message = format!("the tag `{}` means nothing in a flow", tag.original());
                self.report(Code::SYNTAX, place, message, "write the value without a tag");
                plain
            }
        }
    }

    fn is_multiline(&self, span: Span) -> bool {
        self.file.text.get(span.start..span.end).is_some_and(|text| text.contains('\n'))
    }

    fn begin(
        &mut self,
        content: Content,
        style: StructureStyle,
        anchor: usize,
        span: Span,
    ) -> ControlFlow<()> {
        self.count(span)?;
        if self.open.len() >= limits::YAML_DEPTH {
            return self.too_deep(span);
        }
        self.open.push(Open { content, style, span, anchor, depth: 1, size: 1 });
        ControlFlow::Continue(())
    }

    fn end(&mut self, span: Span) {
        let Some(open) = self.open.pop() else { return };
        let place = if open.style == StructureStyle::Flow {
            let place = Span::new(open.span.start, span.end);
            if self.is_multiline(place) {
                self.literal.push(place);
            }
            place
        } else {
            // The parser notices the end of a block only at what follows it.
            Span::new(open.span.start, open.content.end().unwrap_or(open.span.end))
        };
        let kind = match open.content {
            Content::List(items) => Kind::List(items),
            Content::Map(entries) => Kind::Map(entries.merge()),
        };
        let node = Node { span: place, kind };
        self.finish(Done { node, depth: open.depth, size: open.size }, open.anchor);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> ControlFlow<()> {
        self.aliases += 1;
        if self.aliases > limits::YAML_ALIASES {
            let message = format!("the file has more than {} aliases", limits::YAML_ALIASES);
            self.report(Code::ALIASES, span, message, "a sub-flow says the same thing once");
            return ControlFlow::Break(());
        }
        // An anchor of a collection that is still open holds its own alias: it would expand without end.
        let Some(done) = self.anchors.get(&anchor) else {
            self.report(
                Code::ALIASES,
                span,
                "the alias stands within the value that it repeats",
                "an alias repeats a value that ends before it",
            );
            return ControlFlow::Break(());
        };
        if self.nodes + done.size > limits::YAML_NODES {
            let message =
                format!("with this alias the file expands to more than {} values", limits::YAML_NODES);
            self.report(Code::ALIASES, span, message, "a sub-flow says the same thing once");
            return ControlFlow::Break(());
        }
        if self.open.len() + done.depth > limits::YAML_DEPTH {
            return self.too_deep(span);
        }
        self.nodes += done.size;
        // What is inside keeps the place where it is written; the value itself stands where the alias does.
        let mut done = done.clone();
        done.node.span = span;
        self.finish(done, 0);
        ControlFlow::Continue(())
    }

    /// Puts a finished value into the collection around it.
    fn finish(&mut self, done: Done, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, done.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(done.node);
            return;
        };
        open.depth = open.depth.max(done.depth + 1);
        open.size += done.size;
        match &mut open.content {
            Content::List(items) => items.push(done.node),
            Content::Map(entries) => {
                if let Some(problem) = entries.take(done.node, self.file) {
                    self.problems.push(problem);
                }
            }
        }
    }

    fn count(&mut self, span: Span) -> ControlFlow<()> {
        self.nodes += 1;
        if self.nodes <= limits::YAML_NODES {
            return ControlFlow::Continue(());
        }
        let message = format!("the file has more than {} values", limits::YAML_NODES);
        self.report(
            Code::TOO_MANY_VALUES,
            span,
            message,
            "move data into files, and parts of the flow into sub-flows",
        );
        ControlFlow::Break(())
    }

    fn too_deep(&mut self, span: Span) -> ControlFlow<()> {
        syntax::report_depth(self.file, span, self.problems);
        ControlFlow::Break(())
    }

    fn report(&mut self, code: Code, span: Span, message: impl Into<String>, hint: &str) {
        self.problems.push(Diagnostic::new(code, self.file, span, message).hint(hint));
    }
}

impl Content {
    /// Where its last value ends.
    fn end(&self) -> Option<usize> {
        match self {
            Content::List(items) => items.last().map(|item| item.span.end),
            Content::Map(entries) => entries.last().map(|(key, value)| value.span.end.max(key.span.end)),
        }
    }
}
