//! `with`: settings as JSON, checked against the operator's schema, with `${ expr }` left for later.

use std::sync::Arc;

use serde_json::Value as Json;

use super::late;
use super::schema::{self, Fault};
use super::wiring::Wired;
use super::{Builder, Place, Uses};
use crate::diagnostic::{Code, Diagnostic, Span, suggest};
use crate::flow::expression::Expr;
use crate::flow::prompt::{self, Stability};
use crate::flow::{ExprText, NodeDecl, yaml};
use crate::operator::{NameKind, OperatorSpec};
use crate::plan::Settings;
use crate::types::Type;
use crate::value::Text;

/// The settings of one node while they are looked at.
pub(crate) struct Given<'a> {
    pub(crate) decl: &'a NodeDecl,
    pub(crate) spec: &'a Arc<OperatorSpec>,
    /// Names of the input ports that are there.
    pub(crate) ports: &'a [Text],
    /// Place of the operator's name, for what is not written.
    pub(crate) op_span: Span,
}

impl Given<'_> {
    /// The place of the value at `pointer`, or of the operator's name.
    pub(crate) fn span(&self, pointer: &str) -> Span {
        self.decl.settings.as_ref().map_or(self.op_span, |settings| settings.at_pointer(pointer).span)
    }

    /// The place of the key `name` in the mapping at `pointer`.
    fn key_span(&self, pointer: &str, name: &str) -> Span {
        let entries = self.decl.settings.as_ref().and_then(|settings| settings.at_pointer(pointer).as_map());
        entries
            .and_then(|entries| entries.iter().find(|(key, _)| key.raw() == Some(name)))
            .map_or_else(|| self.span(pointer), |(key, _)| key.span)
    }
}

impl Builder<'_> {
    /// Checks `with` of a node and builds the operator; `None` if it cannot be built.
    pub(crate) fn settings(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        op_span: Span,
        spec: &Arc<OperatorSpec>,
        wired: &Wired,
        uses: &mut Uses,
    ) -> Option<Settings> {
        let given = Given { decl, spec, ports: &wired.names, op_span };
        let mut json = match &decl.settings {
            None => Json::Object(serde_json::Map::new()),
            Some(node) if node.is_null() => Json::Object(serde_json::Map::new()),
            Some(node) => node.to_json(),
        };
        let holes = self.late_settings(place, decl, spec, &mut json, uses);
        let n_errors = self.problems.len();
        self.named_settings(place, &given, &mut json);
        let pointers: Vec<&str> = holes.iter().map(|(pointer, _)| pointer.as_str()).collect();
        for fault in schema::faults(spec, &json, &pointers) {
            let diagnostic = describe(place, &given, fault);
            self.problems.push(diagnostic);
        }
        if !holes.is_empty() {
            return Some(Settings::Late { template: json, holes });
        }
        if self.problems.len() > n_errors {
            return None;
        }
        match spec.build(json) {
            Ok(operator) => {
                self.check_operator(place, &given, &*operator, wired);
                Some(Settings::Ready(operator))
            }
            Err(error) => {
                let message = format!("the settings of `{}` cannot be used: {error}", decl.name.value);
                self.report(place.file, Code::INVALID_SETTING, given.span(""), message);
                None
            }
        }
    }

    /// Takes `${ expr }` out of `json`.
    fn late_settings(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        spec: &OperatorSpec,
        json: &mut Json,
        uses: &mut Uses,
    ) -> Vec<(String, Expr)> {
        let Some(node) = &decl.settings else { return Vec::new() };
        let mut found = Vec::new();
        find_holes(node, String::new(), &mut found);
        let who = format!("node `{}`", decl.name.value);
        let mut holes = Vec::new();
        for (pointer, node, text) in found {
            let text = locate(&place.file.text, node.span, text);
            let expr = self.expr(place, &text, &who);
            uses.add(&expr, true);
            if let Some(must) = late::misfit(spec, &pointer, &expr.ty) {
                let setting = schema::dotted(&pointer);
                let message =
                    format!("setting `{setting}` must be {must}, but `{}` is `{}`", expr.source, expr.ty);
                self.report(place.file, Code::INVALID_SETTING, text.span, message);
            }
            self.late_prompt(place, decl, spec, &pointer, &text);
            if let Some(slot) = json.pointer_mut(&pointer) {
                *slot = Json::Null;
            }
            holes.push((pointer, expr));
        }
        holes
    }

    /// An expression that gives a prompt must not bring in what changes with every call, where the prompt is a stable one.
    fn late_prompt(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        spec: &OperatorSpec,
        pointer: &str,
        text: &ExprText,
    ) {
        const OPEN: &str = "{{ ";
        let stability = Stability::of_setting(pointer);
        if !late::is_prompt(spec, pointer) {
            return;
        }
        // Expressions and templates spell names alike.
        let source = format!("{OPEN}{} }}}}", text.text);
        for (name, range) in prompt::unstable(&source, stability) {
            let span = if text.exact {
                text.span.part(range.start - OPEN.len(), range.end - OPEN.len())
            } else {
                text.span
            };
            let (node, setting) = (&decl.name.value, schema::dotted(pointer));
            let message = format!("setting `{setting}` of `{node}` is to stay the same, and reads `{name}`");
            self.problems.push(
                Diagnostic::new(Code::UNSTABLE_PROMPT, place.file, span, message)
                    .hint("hand it in through a port, and read it in `prompt`"),
            );
        }
    }

    /// Settings that name a model, an index or a prompt.
    fn named_settings(&mut self, place: Place<'_>, given: &Given<'_>, json: &mut Json) {
        for found in schema::named(given.spec, json) {
            if let Some(kind) = NameKind::of(&found.kind) {
                self.check_name(place, given, kind, &found);
                if kind == NameKind::Index {
                    self.indexes.insert(found.text.as_str().into());
                }
            }
            match found.kind.as_str() {
                "prompt" if !found.is_default => {
                    let text = self.prompt(place, given, &found);
                    if let Some(slot) = json.pointer_mut(&found.pointer) {
                        *slot = Json::String(text);
                    }
                }
                _ => {}
            }
        }
    }

    fn check_name(&mut self, place: Place<'_>, given: &Given<'_>, kind: NameKind, found: &schema::Named) {
        let Some(names) = self.env.names else { return };
        let known = names.of(kind);
        if known.contains(&found.text) {
            return;
        }
        let noun = kind.noun();
        let code = match kind {
            NameKind::Model => Code::UNKNOWN_MODEL,
            NameKind::Index => Code::UNKNOWN_INDEX,
            NameKind::Embedder => Code::UNKNOWN_EMBEDDER,
            NameKind::Reranker => Code::UNKNOWN_RERANKER,
        };
        let setting = found.pointer.trim_start_matches('/');
        let (span, message) = if found.is_default {
            let node = &given.decl.name.value;
            let message =
                format!("there is no {noun} `{}`, which `{node}` uses unless told otherwise", found.text);
            (given.op_span, message)
        } else {
            (given.span(&found.pointer), format!("there is no {noun} `{}`", found.text))
        };
        let hint = if found.is_default {
            let known = crate::flow::reference::listed(known.iter().cloned());
            known.map(|list| format!("set `{setting}` under `with` to one of {list}"))
        } else {
            suggest(&found.text, known.iter().map(String::as_str), "there are")
        };
        let hint = hint.or_else(|| {
            Some(format!("`anabranch.yaml` names none; define one there under `{}`", kind.section()))
        });
        self.problems.push(Diagnostic::new(code, place.file, span, message).maybe_hint(hint));
    }

    /// The operator's own look at its settings.
    fn check_operator(
        &mut self,
        place: Place<'_>,
        given: &Given<'_>,
        operator: &dyn crate::operator::DynOperator,
        wired: &Wired,
    ) {
        let connected: Vec<(Text, Type)> = wired
            .names
            .iter()
            .zip(&wired.exprs)
            .filter_map(|(name, expr)| Some((name.clone(), expr.as_ref()?.ty.clone())))
            .collect();
        for problem in operator.check(&connected) {
            let span = given.span(&problem.pointer);
            self.problems.push(
                Diagnostic::new(Code::INVALID_SETTING, place.file, span, problem.message)
                    .maybe_hint(problem.hint),
            );
        }
    }
}

fn describe(place: Place<'_>, given: &Given<'_>, fault: Fault) -> Diagnostic {
    let op = given.spec.name;
    match fault {
        Fault::Unknown { pointer, name, known } => {
            let message = if pointer.is_empty() {
                format!("operator `{op}` has no setting `{name}`")
            } else {
                format!("setting `{}` of `{op}` has no `{name}`", schema::dotted(&pointer))
            };
            let hint = suggest(&name, known.iter().map(String::as_str), "its settings are")
                .or_else(|| Some("it has no settings".to_owned()));
            Diagnostic::new(Code::UNKNOWN_SETTING, place.file, given.key_span(&pointer, &name), message)
                .maybe_hint(hint)
        }
        Fault::Missing { pointer, name, what } => {
            let full = if pointer.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", schema::dotted(&pointer))
            };
            let message = format!("operator `{op}` needs the setting `{full}`");
            let span = if pointer.is_empty() { given.op_span } else { given.span(&pointer) };
            let hint = if pointer.is_empty() {
                format!("add `{name}: ...` under `with`: {what}")
            } else {
                format!("add `{name}: ...` there: {what}")
            };
            Diagnostic::new(Code::MISSING_SETTING, place.file, span, message).hint(hint)
        }
        Fault::Invalid { pointer, must, hint } => {
            let message = if pointer.is_empty() {
                format!("`with` of `{}` must be {must}", given.decl.name.value)
            } else {
                format!("setting `{}` must be {must}", schema::dotted(&pointer))
            };
            Diagnostic::new(Code::INVALID_SETTING, place.file, given.span(&pointer), message).maybe_hint(hint)
        }
    }
}

/// The expressions in the settings `node`, without places within their text.
pub(crate) fn holes(node: &yaml::Node) -> Vec<ExprText> {
    let mut found = Vec::new();
    find_holes(node, String::new(), &mut found);
    found
        .into_iter()
        .map(|(_, node, text)| ExprText { text: text.to_owned(), span: node.span, exact: false })
        .collect()
}

fn find_holes<'y>(node: &'y yaml::Node, pointer: String, found: &mut Vec<(String, &'y yaml::Node, &'y str)>) {
    match &node.kind {
        yaml::Kind::Scalar { text, .. } => {
            let inner = text.trim().strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            found.extend(inner.map(|inner| (pointer, node, inner.trim())));
        }
        yaml::Kind::List(items) => {
            for (position, item) in items.iter().enumerate() {
                find_holes(item, format!("{pointer}/{position}"), found);
            }
        }
        yaml::Kind::Map(entries) => {
            for (key, value) in entries {
                let key = key.raw().unwrap_or_default().replace('~', "~0").replace('/', "~1");
                find_holes(value, format!("{pointer}/{key}"), found);
            }
        }
    }
}

/// `text` with its place within `span`, if it stands there as it is.
fn locate(source: &str, span: Span, text: &str) -> ExprText {
    let written = source.get(span.start..span.end).unwrap_or_default();
    match written.find(text) {
        Some(start) => {
            ExprText { text: text.to_owned(), span: span.part(start, start + text.len()), exact: true }
        }
        None => ExprText { text: text.to_owned(), span, exact: false },
    }
}
