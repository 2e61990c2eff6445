//! Nodes that run an operator or another flow.

use std::time::Duration;

use super::body::BuiltKind;
use super::wiring::{Side, Wanted};
use super::{Builder, Place, Uses};
use crate::diagnostic::{Code, Diagnostic, Spanned, nearest, suggest};
use crate::flow::{self, ExprText, NodeDecl, WaitDecl};
use crate::limits;
use crate::operator::Port;
use crate::plan::{Kind, Late, Op, Wait};
use crate::retry::Retry;
use crate::types::Type;
use crate::value::Text;

impl Builder<'_> {
    /// `op: name`.
    pub(crate) fn operator(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        name: &Spanned<String>,
        uses: &mut Uses,
    ) -> BuiltKind {
        let Some(spec) = self.env.registry.get(&name.value).cloned() else {
            self.unknown_operator(place, name);
            return self.unknown_node(place, decl, uses);
        };
        let side = Side {
            what: format!("operator `{}`", spec.name),
            span: name.span,
            ports: spec.inputs.ports.iter().map(Wanted::from).collect(),
            open: spec.inputs.open.as_ref(),
        };
        let wired = self.wire(place, decl, &side, uses);
        let settings = self.settings(place, decl, name.span, &spec, &wired, uses);
        let timeout = self.duration(place, decl, "timeout", decl.timeout.as_ref(), uses);
        let idle_timeout = self.duration(place, decl, "idle_timeout", decl.idle_timeout.as_ref(), uses);
        let outputs = Some(spec.outputs.ports.clone());
        let Some(settings) = settings else {
            return BuiltKind { outputs, ..BuiltKind::broken() };
        };
        let op = Op {
            spec,
            settings,
            written: decl.settings.as_ref().map_or(serde_json::Value::Null, crate::flow::yaml::Node::to_json),
            names: wired.names.into(),
            types: wired.types,
            inputs: wired.exprs,
            retry: retry(decl),
            timeout,
            idle_timeout,
            cache: decl.cache.as_ref().map(|cache| cache.value),
            kit: None,
        };
        BuiltKind { kind: Kind::Op(op), outputs, height: 0, budget: None }
    }

    /// `flow: name`.
    pub(crate) fn flow_node(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        name: &Spanned<String>,
        uses: &mut Uses,
    ) -> BuiltKind {
        let compiled = self.sub_flow(place.file, name);
        let Some(compiled) = compiled else { return self.unknown_node(place, decl, uses) };
        let height = compiled.height + 1;
        if place.depth + height > limits::SCOPE_DEPTH {
            self.too_deep(place.file, name.span);
        }
        let side = Side {
            what: format!("flow `{}`", name.value),
            span: name.span,
            ports: compiled.body.inputs.iter().map(Wanted::from).collect(),
            open: None,
        };
        let inputs = self.wire(place, decl, &side, uses).exprs;
        BuiltKind {
            outputs: Some(compiled.body.outputs.iter().map(|output| output.port.clone()).collect()),
            kind: Kind::Flow { body: compiled.body, inputs },
            height,
            budget: Some(compiled.budget),
        }
    }

    /// `wait: {...}`.
    pub(crate) fn wait_node(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        wait: &WaitDecl,
        uses: &mut Uses,
    ) -> BuiltKind {
        let side =
            Side { what: "a wait".to_owned(), span: wait.span, ports: Vec::new(), open: Some(&Type::Any) };
        let wired = self.wire(place, decl, &side, uses);
        let shown = wired.names.into_iter().zip(wired.exprs.into_iter().flatten()).collect();
        let port = |name: &str, ty: Type, doc: &str| Port { name: name.into(), ty, doc: doc.into() };
        let outputs = vec![
            port("value", wait.ty.clone(), "The answer, or the default if nobody gave one."),
            port("answered", Type::Bool, "Whether somebody answered."),
        ];
        let wait = Wait {
            ty: wait.ty.clone(),
            about: wait.about.as_deref().map(Text::from),
            shown,
            deadline: wait.deadline.as_ref().map_or(limits::WAIT_DEADLINE, |deadline| deadline.value),
            default: wait.default.clone(),
        };
        BuiltKind { kind: Kind::Wait(wait), outputs: Some(outputs), height: 0, budget: None }
    }

    /// A node that runs nothing that is known. What it reads is read all the same: it may hold mistakes of its own.
    pub(crate) fn unknown_node(&mut self, place: Place<'_>, decl: &NodeDecl, uses: &mut Uses) -> BuiltKind {
        let who = format!("node `{}`", decl.name.value);
        for entry in &decl.inputs {
            let expr = self.expr(place, &entry.value, &who);
            uses.add(&expr, true);
        }
        BuiltKind::broken()
    }

    pub(crate) fn unknown_operator(&mut self, place: Place<'_>, name: &Spanned<String>) {
        let known = || self.env.registry.names();
        let module = name.value.split('.').next().unwrap_or_default();
        let last = name.value.rsplit('.').next().unwrap_or_default();
        let hint = nearest(&name.value, known())
            .or_else(|| known().find(|known| known.rsplit('.').next() == Some(last)))
            .map(|near| format!("did you mean `{near}`?"))
            .or_else(|| {
                let same = known().filter(|known| known.split('.').next() == Some(module));
                suggest("", same, &format!("operators of `{module}`"))
            })
            .unwrap_or_else(|| "`anabranch operators` lists them".to_owned());
        let message = format!("there is no operator `{}`", name.value);
        self.problems
            .push(Diagnostic::new(Code::UNKNOWN_OPERATOR, place.file, name.span, message).hint(hint));
    }

    fn duration(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        key: &str,
        value: Option<&flow::Late<Duration>>,
        uses: &mut Uses,
    ) -> Option<Late<Duration>> {
        Some(match value? {
            flow::Late::Now(value) => Late::Now(value.value),
            flow::Late::Later(text) => {
                let who = format!("node `{}`", decl.name.value);
                let expr = self.expr_of(place, text, &who, &Type::Text, &format!("`{key}`"));
                uses.add(&expr, true);
                Late::Later(expr)
            }
        })
    }

    /// A count that may be known only when the node starts.
    pub(crate) fn count(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        key: &str,
        value: &flow::Late<u32>,
        uses: &mut Uses,
    ) -> Late<u32> {
        match value {
            flow::Late::Now(value) => Late::Now(value.value),
            flow::Late::Later(text) => Late::Later(self.late_int(place, decl, key, text, uses)),
        }
    }

    fn late_int(
        &mut self,
        place: Place<'_>,
        decl: &NodeDecl,
        key: &str,
        text: &ExprText,
        uses: &mut Uses,
    ) -> flow::expression::Expr {
        let who = format!("node `{}`", decl.name.value);
        let expr = self.expr_of(place, text, &who, &Type::Int, &format!("`{key}`"));
        uses.add(&expr, true);
        expr
    }
}

fn retry(decl: &NodeDecl) -> Retry {
    let Some(given) = &decl.retry else { return Retry::default() };
    let default = Retry::on_transient();
    Retry {
        attempts: given.attempts.as_ref().map_or(default.attempts, |attempts| attempts.value),
        backoff: given.backoff.as_ref().map_or(default.backoff, |backoff| backoff.value),
        max_backoff: given.max_backoff.as_ref().map_or(default.max_backoff, |backoff| backoff.value),
        on: match &given.on {
            Some(kinds) => kinds.iter().map(|kind| kind.value).collect(),
            None => default.on,
        },
    }
}
