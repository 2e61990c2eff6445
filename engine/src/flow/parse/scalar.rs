//! Scalars: names, texts, numbers, durations, expressions, and lists of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::diagnostic::{Code, Span, Spanned, nearest};
use crate::flow::yaml::Node;
use crate::flow::{Entry, ExprText, Late};
use crate::types::{self, Type};

use super::Reader;

/// Names that mean something of their own at the beginning of an expression.
pub(super) const RESERVED: &[&str] =
    &["inputs", "carry", "item", "index", "true", "false", "null", "in", "first", "present", "all_present"];
/// Names that no expression can say, not even after a dot.
pub(super) const UNSAYABLE: &[&str] = &["true", "false", "null", "in"];

const UNITS: &str = "a duration is a number with `ms`, `s`, `m` or `h` after it: `200ms`, `90s`, `1m30s`";

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

    pub(super) fn duration(&mut self, node: &Node) -> Option<Spanned<Duration>> {
        let Some(raw) = node.raw().filter(|_| !node.is_null()) else {
            self.wrong_kind(node, "a duration", Some(UNITS));
            return None;
        };
        if let Some(duration) = read_duration(raw) {
            return Some(Spanned::new(duration, node.span));
        }
        self.report(Code::INVALID_DURATION, node.span, no_duration(raw), Some(UNITS.to_owned()));
        None
    }

    /// A duration that is more than nothing.
    pub(super) fn bound(&mut self, node: &Node, what: &str) -> Option<Spanned<Duration>> {
        let duration = self.duration(node)?;
        if duration.value.is_zero() {
            let message = format!("`{what}` is 0, and nothing can be done in no time");
            self.report(Code::OUT_OF_RANGE, node.span, message, Some("leave it out for no bound".to_owned()));
            return None;
        }
        Some(duration)
    }

    pub(super) fn ty(&mut self, node: &Node) -> Option<Spanned<Type>> {
        let text = self.text(node)?;
        match text.value.parse() {
            Ok(ty) => Some(Spanned::new(ty, text.span)),
            Err(unknown) => {
                self.report(Code::INVALID_TYPE, text.span, unknown.to_string(), Some(type_hint(&text.value)));
                None
            }
        }
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

/// Reads a duration such as `90s`, `200ms` or `1m30s`; `Err` says what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    read_duration(text).ok_or_else(|| format!("{}: {UNITS}", no_duration(text)))
}

fn no_duration(text: &str) -> String {
    let what = if text.trim().parse::<f64>().is_ok() { "has no unit" } else { "is no duration" };
    format!("`{text}` {what}")
}

/// `1m30s` and the like: whole numbers with units, from the longest unit to the shortest.
fn read_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let mut longest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, tail) = tail.split_at_checked(letters)?;
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        if unit >= longest {
            return None;
        }
        longest = unit;
        let millis = number.parse::<u64>().ok()?.checked_mul(unit)?;
        total = total.checked_add(Duration::from_millis(millis))?;
        rest = tail;
    }
    (longest != u64::MAX).then_some(total)
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

fn type_hint(text: &str) -> String {
    near_type(text, 4).map_or_else(
        || {
            let all = types::NAMES.map(|name| format!("`{name}`")).join(", ");
            format!("the types are {all}, each with `?` after it if it may be absent")
        },
        |near| format!("did you mean `{near}`?"),
    )
}

/// The type that `text` was probably meant to be: other languages' names for it, other brackets, misspellings.
fn near_type(text: &str, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let text = text.trim();
    if text.parse::<Type>().is_ok() {
        return Some(text.to_owned());
    }
    if let Some(inner) = text.strip_suffix('?') {
        return Some(format!("{}?", near_type(inner, depth)?));
    }
    if let Some(item) = text.strip_suffix("[]") {
        return Some(format!("list<{}>", near_type(item, depth)?));
    }
    if let Some((outer, item)) = text.split_once(['<', '[', '(']) {
        let outer = nearest(&outer.trim().to_ascii_lowercase(), ["list", "map", "array", "dict"])?;
        let outer = if matches!(outer, "list" | "array") { "list" } else { "map" };
        return Some(format!("{outer}<{}>", near_type(item.trim_end_matches(['>', ']', ')']), depth)?));
    }
    let lower = text.to_ascii_lowercase();
    let ours = match lower.as_str() {
        "string" | "str" => "text",
        "integer" => "int",
        "number" | "double" => "float",
        "boolean" => "bool",
        "array" | "list" => "list<any>",
        "object" | "dict" | "map" => "map<any>",
        _ => nearest(&lower, types::NAMES.into_iter().filter(|name| !name.contains('<')))?,
    };
    Some(ours.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_duration_says_what_would_be_right() {
        assert_eq!(
            duration("90").unwrap_err(),
            "`90` has no unit: a duration is a number with `ms`, `s`, `m` or `h` after it: `200ms`, `90s`, `1m30s`"
        );
    }

    #[test]
    fn durations_are_whole_numbers_with_units() {
        let seconds = |text| read_duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("200ms"), Some(0.2));
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("1h"), Some(3600.0));
        for text in
            ["", "90", "s", "1 s", "-1s", "1.5s", "1d", "30s1m", "1s1s", "99999999999999999999s", "1sπ"]
        {
            assert_eq!(seconds(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_wrong_name_comes_with_a_right_one() {
        assert_eq!(snake_case("Re-Rank 2").as_deref(), Some("re_rank_2"));
        assert_eq!(snake_case("nextHop").as_deref(), Some("next_hop"));
        assert_eq!(snake_case("2π"), None);
    }
}
