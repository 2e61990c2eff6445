//! Scalars: names, texts, numbers, durations, expressions, and lists of them.

use std::ops::RangeInclusive;

use crate::diagnostic::{Code, Span, Spanned, nearest};
use crate::flow::yaml::Node;
use crate::flow::{Entry, ExprText, Late};

use super::Reader;

/// Names that mean something of their own at the beginning of an expression.
pub(super) const RESERVED: &[&str] =
    &["inputs", "carry", "item", "index", "true", "false", "null", "in", "first", "present", "all_present"];
/// Names that no expression can say, not even after a dot.
pub(super) const UNSAYABLE: &[&str] = &["true", "false", "null", "in"];

impl Reader<'_> {
    pub(super) fn text(&mut self, node: &Node) -> Option<Spanned<String>> {
        if let Some(text) = node.as_str() {
            return Some(Spanned::new(text.to_owned(), node.span));
        }
        let hint =
            node.raw().filter(|raw| !raw.is_empty()).map(|raw| format!("in quotes it is a text: \"{raw}\""));
        self.wrong_kind(node, "a text", hint.as_deref());
        None
    }

    /// Reports a name that cannot be referred to. It is used all the same, so that references to it are no problems
    /// of their own.
    pub(super) fn check_name(&mut self, name: &Spanned<String>, reserved: &[&str]) {
        let text = &name.value;
        if reserved.contains(&text.as_str()) {
            let message =
                format!("`{text}` cannot be a name here: it means something of its own in expressions");
            self.report(Code::INVALID_NAME, name.span, message, Some(format!("for example `{text}_1`")));
            return;
        }
        let mut chars = text.chars();
        let fits = chars.next().is_some_and(|c| c.is_ascii_lowercase())
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !fits {
            let message =
                format!("`{text}` is no name: a name has lower-case letters, digits and `_`, a letter first");
            let near = snake_case(text);
            self.report(
                Code::INVALID_NAME,
                name.span,
                message,
                near.map(|near| format!("for example `{near}`")),
            );
        }
    }

    /// A text, or a list of texts.
    pub(super) fn text_or_texts(&mut self, node: &Node) -> Vec<Spanned<String>> {
        match node.as_list() {
            Some(_) => self.texts(node),
            None => self.text(node).into_iter().collect(),
        }
    }

    pub(super) fn texts(&mut self, node: &Node) -> Vec<Spanned<String>> {
        let Some(items) = node.as_list() else {
            self.wrong_kind(node, "a list", node.raw().map(|raw| format!("`[{raw}]`")).as_deref());
            return Vec::new();
        };
        items.iter().filter_map(|item| self.text(item)).collect()
    }

    pub(super) fn boolean(&mut self, node: &Node) -> Option<bool> {
        let value = node.as_bool();
        if value.is_none() {
            self.wrong_kind(node, "`true` or `false`", None);
        }
        value
    }

    /// A whole number within `range`.
    pub(super) fn whole(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<u64>,
    ) -> Option<Spanned<u64>> {
        let Some(number) = node.as_i64() else {
            self.wrong_kind(node, "a whole number", None);
            return None;
        };
        if let Some(number) = u64::try_from(number).ok().filter(|number| range.contains(number)) {
            return Some(Spanned::new(number, node.span));
        }
        let (least, most) = (*range.start(), *range.end());
        let bounds = if most >= u64::from(u32::MAX) {
            format!("at least {least}")
        } else {
            format!("{least} to {most}")
        };
        let message = format!("`{what}` is {number}, and can be {bounds}");
        self.report(Code::OUT_OF_RANGE, node.span, message, None);
        None
    }

    /// As [`Reader::whole`], for the numbers that are kept in 32 bits.
    pub(super) fn count(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<u32>,
    ) -> Option<Spanned<u32>> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        let number = self.whole(node, what, range)?;
        Some(Spanned::new(u32::try_from(number.value).ok()?, number.span))
    }

    /// A number within `range`.
    pub(super) fn number(
        &mut self,
        node: &Node,
        what: &str,
        range: RangeInclusive<f64>,
    ) -> Option<Spanned<f64>> {
        let Some(number) = node.as_f64() else {
            self.wrong_kind(node, "a number", None);
            return None;
        };
        if range.contains(&number) {
            return Some(Spanned::new(number, node.span));
        }
        let (least, most) = (range.start(), range.end());
        let bounds =
            if most.is_finite() { format!("{least} to {most}") } else { format!("at least {least}") };
        let message = format!("`{what}` is {number}, and can be {bounds}");
        self.report(Code::OUT_OF_RANGE, node.span, message, None);
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, words: &[(&str, T)]) -> Option<T> {
        let all = || words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        let Some(raw) = node.raw() else {
            self.wrong_kind(node, &format!("one of {}", all()), None);
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == raw) {
            return Some(*value);
        }
        let message = format!("expected one of {}, found `{raw}`", all());
        let near =
            nearest(raw, words.iter().map(|(word, _)| *word)).map(|near| format!("did you mean `{near}`?"));
        self.report(Code::WRONG_KIND, node.span, message, near);
        None
    }

    /// An expression. A plain `3` or `true` is the expression of that literal.
    pub(super) fn expression(&mut self, node: &Node) -> Option<ExprText> {
        let Some(text) = node.raw().filter(|_| !node.is_null()) else {
            let hint = match node.as_list() {
                Some(_) => {
                    "a list is written as an expression, in quotes: `\"[]\"`, `\"[search.chunks, 1]\"`"
                }
                None if node.as_map().is_some() => {
                    "a mapping is written as an expression, in quotes: `\"{'key': search.chunks}\"`"
                }
                None => "for example `inputs.question`; null is written `\"null\"`, in quotes",
            };
            self.wrong_kind(node, "an expression", Some(hint));
            return None;
        };
        Some(self.expression_text(node, text))
    }

    fn expression_text(&self, node: &Node, text: &str) -> ExprText {
        let written = self.file.text.get(node.span.start..node.span.end).unwrap_or_default();
        let inner = if written.starts_with(['"', '\'']) && written.len() >= 2 {
            Span::new(node.span.start + 1, node.span.end - 1)
        } else {
            node.span
        };
        let exact = self.file.text.get(inner.start..inner.end) == Some(text);
        if exact {
            return trimmed(text, inner);
        }
        ExprText {
            text: text.trim().to_owned(),
            span: super::yaml::first_line(self.file, node.span),
            exact: false,
        }
    }

    /// A mapping of names to expressions.
    pub(super) fn expressions(&mut self, node: &Node, reserved: &[&str]) -> Vec<Entry<ExprText>> {
        self.entries(node, "a mapping of names to expressions", |reader, key, value| {
            reader.check_name(key, reserved);
            reader.expression(value)
        })
    }

    /// `outputs:`, with a hint for who writes a single one.
    pub(super) fn outputs(&mut self, node: &Node) -> Vec<Entry<ExprText>> {
        if let Some(raw) = node.raw().filter(|_| !node.is_null()) {
            let name = raw.rsplit('.').next().and_then(snake_case).unwrap_or_else(|| "answer".to_owned());
            let hint = format!("give the output a name: `outputs: {{{name}: {raw}}}`");
            self.wrong_kind(node, "a mapping of names to expressions", Some(&hint));
            return Vec::new();
        }
        self.expressions(node, UNSAYABLE)
    }

    /// A literal, or `${ expr }`.
    pub(super) fn late<T>(
        &mut self,
        node: &Node,
        now: impl FnOnce(&mut Self, &Node) -> Option<Spanned<T>>,
    ) -> Option<Late<T>> {
        let Some(text) = node.raw().map(str::trim) else { return now(self, node).map(Late::Now) };
        let Some(open) = text.strip_prefix("${") else { return now(self, node).map(Late::Now) };
        let Some(inner) = open.strip_suffix('}') else {
            let message = format!("`{text}` begins with `${{` and does not end with `}}`");
            let hint = "`${ expr }` is the whole value; what is around it belongs into the expression";
            self.report(Code::EXPRESSION_SYNTAX, self.place(node), message, Some(hint.to_owned()));
            return None;
        };
        let whole = self.expression_text(node, text);
        let part = whole.part(2, text.len() - 1);
        if whole.exact {
            return Some(Late::Later(trimmed(inner, part)));
        }
        Some(Late::Later(ExprText { text: inner.trim().to_owned(), ..whole }))
    }

    /// A mapping of names to literals.
    pub(super) fn literals(&mut self, node: &Node) -> Vec<Entry<Spanned<serde_json::Value>>> {
        self.entries(node, "a mapping of names to values", |_, _, value| {
            Some(Spanned::new(value.to_json(), value.span))
        })
    }
}

/// `text`, which stands at `span`, without the space around it.
fn trimmed(text: &str, span: Span) -> ExprText {
    let start = text.len() - text.trim_start().len();
    let text = text.trim();
    ExprText { text: text.to_owned(), span: span.part(start, start + text.len()), exact: true }
}

/// The nearest name that is allowed: `Re-Rank 2` is `re_rank_2`.
fn snake_case(text: &str) -> Option<String> {
    if text.trim().starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut name = String::new();
    for c in text.trim().chars().filter(char::is_ascii) {
        if c.is_ascii_uppercase() && name.ends_with(|last: char| last.is_ascii_lowercase()) {
            name.push('_');
        }
        name.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('_');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_comes_with_a_right_one() {
        assert_eq!(snake_case("Re-Rank 2").as_deref(), Some("re_rank_2"));
        assert_eq!(snake_case("nextHop").as_deref(), Some("next_hop"));
        assert_eq!(snake_case("2π"), None);
    }
}
