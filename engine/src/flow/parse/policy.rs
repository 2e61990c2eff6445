//! What a node does about time, money and failure: `retry`, `on_error`, `cache`, `join`, `budget`.

use std::time::Duration;

use crate::budget::Budget;
use crate::diagnostic::{Code, Spanned, nearest};
use crate::event::FailureKind;
use crate::flow::yaml::Node;
use crate::flow::{JoinDecl, Need, OnErrorDecl, RetryDecl};
use crate::limits;

use super::Reader;
use super::fields;

/// How long `cache: true` keeps a result.
const CACHE_DEFAULT: Duration = Duration::from_hours(1);

impl Reader<'_> {
    pub(super) fn retry(&mut self, node: &Node) -> Option<RetryDecl> {
        if let Some(attempts) = node.as_i64() {
            let hint = format!("`retry: {{attempts: {attempts}}}`");
            self.wrong_kind(node, "a mapping", Some(&hint));
            return None;
        }
        let mut fields = self.fields(node, &fields::RETRY, node.span)?;
        let retry = RetryDecl {
            span: self.place(node),
            attempts: fields
                .take("attempts")
                .and_then(|node| self.count(node, "attempts", 1..=limits::RETRY_ATTEMPTS)),
            backoff: fields.take("backoff").and_then(|node| self.duration(node)),
            max_backoff: fields.take("max_backoff").and_then(|node| self.duration(node)),
            on: fields.take("on").map(|node| self.failure_kinds(node)),
        };
        fields.done();
        Some(retry)
    }

    fn failure_kinds(&mut self, node: &Node) -> Vec<Spanned<FailureKind>> {
        let words = FailureKind::ALL.map(|kind| (kind.as_str(), kind));
        let Some(items) = node.as_list() else {
            self.wrong_kind(node, "a list of kinds of failure", Some("`on: [overloaded, timed_out]`"));
            return Vec::new();
        };
        items.iter().filter_map(|item| Some(Spanned::new(self.word(item, &words)?, item.span))).collect()
    }

    pub(super) fn on_error(&mut self, node: &Node) -> Option<Spanned<OnErrorDecl>> {
        let span = self.place(node);
        if node.as_map().is_none() {
            let hint = "`fail`, `skip`, `{value: {...}}` or `{flow: name}`";
            let decl = match node.raw() {
                Some("fail") => OnErrorDecl::Fail,
                Some("skip") => OnErrorDecl::Skip,
                Some(word) if !node.is_null() => {
                    let message = format!("`on_error` cannot be `{word}`");
                    self.report(Code::WRONG_KIND, span, message, Some(format!("it is {hint}")));
                    return None;
                }
                _ => {
                    self.wrong_kind(node, hint, None);
                    return None;
                }
            };
            return Some(Spanned::new(decl, span));
        }
        let mut fields = self.fields(node, &fields::ON_ERROR, span)?;
        let lacks_both = fields.lacks("value") && fields.lacks("flow");
        let value = fields.take("value").map(|node| OnErrorDecl::Value(self.literals(node)));
        let has_flow = fields.key("flow").is_some();
        let flow = fields.take("flow").and_then(|node| self.text(node)).map(OnErrorDecl::Flow);
        fields.done();
        match (value, has_flow) {
            (Some(value), false) => Some(Spanned::new(value, span)),
            (None, true) => flow.map(|flow| Spanned::new(flow, span)),
            (Some(_), true) => {
                self.report(
                    Code::WRONG_KIND,
                    span,
                    "`on_error` has both `value` and `flow`",
                    Some("keep one".into()),
                );
                None
            }
            (None, false) if !lacks_both => None,
            (None, false) => {
                let hint = "`{value: {text: \"no answer\"}}` or `{flow: name}`".to_owned();
                self.report(
                    Code::MISSING_KEY,
                    span,
                    "`on_error` needs the key `value` or `flow`",
                    Some(hint),
                );
                None
            }
        }
    }

    pub(super) fn cache(&mut self, node: &Node) -> Option<Spanned<Duration>> {
        if let Some(on) = node.as_bool() {
            return on.then(|| Spanned::new(CACHE_DEFAULT, node.span));
        }
        if node.as_map().is_none() {
            if node.raw().is_none() || node.is_null() {
                self.wrong_kind(node, "`true`, a duration, or `{ttl: 10m}`", None);
                return None;
            }
            return self.bound(node, "cache");
        }
        let mut fields = self.fields(node, &fields::CACHE, self.place(node))?;
        let ttl = self.required(&mut fields, "ttl", "ttl: 10m").and_then(|node| self.bound(node, "ttl"));
        fields.done();
        ttl
    }

    pub(super) fn join(&mut self, node: &Node) -> Option<Spanned<JoinDecl>> {
        let span = self.place(node);
        let words = [("all", Need::All), ("any", Need::Any)];
        if node.as_map().is_none() {
            let Some("all" | "any") = node.raw() else {
                let near = node.raw().and_then(|raw| nearest(raw, ["all", "any"]));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                self.wrong_kind(node, "`all`, `any` or `{at_least: 2}`", hint.as_deref());
                return None;
            };
            let need = self.word(node, &words)?;
            return Some(Spanned::new(JoinDecl { need, deadline: None, cancel_losers: false }, span));
        }
        let mut fields = self.fields(node, &fields::JOIN, span)?;
        let places: Vec<_> = ["all", "any", "at_least"].iter().filter_map(|key| fields.key(key)).collect();
        let mut need = Need::All;
        for (key, meaning) in words {
            if let Some(node) = fields.take(key) {
                match self.boolean(node) {
                    Some(true) => need = meaning,
                    Some(false) => {
                        let message = format!("`{key}: false` says nothing");
                        let hint = "leave it out, or write `at_least`".to_owned();
                        self.report(Code::WRONG_KIND, node.span, message, Some(hint));
                    }
                    None => {}
                }
            }
        }
        let at_least = fields.take("at_least").and_then(|node| self.count(node, "at_least", 1..=u32::MAX));
        if let Some(number) = at_least {
            need = Need::AtLeast(number.value);
        }
        if let [_, second, ..] = places.as_slice() {
            let hint = Some("keep one".to_owned());
            self.report(Code::WRONG_KIND, *second, "a join is one of `all`, `any` and `at_least`", hint);
        }
        let deadline = fields.take("deadline").and_then(|node| self.bound(node, "deadline"));
        let cancel_losers = fields.take("cancel_losers").and_then(|node| self.boolean(node)).unwrap_or(false);
        fields.done();
        Some(Spanned::new(JoinDecl { need, deadline, cancel_losers }, span))
    }

    pub(super) fn budget(&mut self, node: &Node) -> Option<Spanned<Budget>> {
        let mut fields = self.fields(node, &fields::BUDGET, node.span)?;
        let whole = |reader: &mut Self, key: &str, fields: &mut fields::Fields<'_>| {
            fields.take(key).and_then(|node| reader.whole(node, key, 0..=u64::MAX)).map(|number| number.value)
        };
        let budget = Budget {
            model_calls: whole(self, "model_calls", &mut fields),
            model_tokens: whole(self, "model_tokens", &mut fields),
            cost: fields
                .take("cost")
                .and_then(|node| self.number(node, "cost", 0.0..=f64::INFINITY))
                .map(|number| number.value),
            wall: fields.take("wall").and_then(|node| self.wall(node)),
        };
        fields.done();
        Some(Spanned::new(budget, self.place(node)))
    }

    fn wall(&mut self, node: &Node) -> Option<Duration> {
        let wall = self.bound(node, "wall")?.value;
        if wall > limits::RUN_WALL_MAX {
            let most = limits::RUN_WALL_MAX.as_secs() / 3600;
            let message = format!("`wall` can be at most {most}h");
            self.report(Code::OUT_OF_RANGE, node.span, message, None);
            return None;
        }
        Some(wall)
    }
}
