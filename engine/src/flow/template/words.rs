//! The names within the tags of a template, with their places.

use std::ops::Range;

/// A name within `{{ }}` or `{% %}`.
#[derive(Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) range: Range<usize>,
    /// The sign or word before it, within the tag.
    before: Option<&'a str>,
    /// Whether `=` follows, but not `==`: a named argument or an assignment.
    names_argument: bool,
}

impl Word<'_> {
    /// Whether it may be the name of a variable.
    pub(super) fn is_variable(&self) -> bool {
        !self.names_argument && !matches!(self.before, Some("." | "|" | "is"))
    }

    /// Whether it names a field of a variable.
    pub(super) fn is_field(&self) -> bool {
        self.before == Some(".")
    }

    /// Whether it names a filter.
    pub(super) fn is_filter(&self) -> bool {
        matches!(self.before, Some("|" | "%filter"))
    }

    /// Whether it names a test.
    pub(super) fn is_test(&self) -> bool {
        self.before == Some("is") && self.text != "not"
    }
}

/// Most operators of one tag. The template engine recurses over each, and a tag without bound would end the process.
pub(super) const LINKS: usize = 256;

/// Most `elif` of a template, for the same reason.
pub(super) const ELIFS: usize = 128;

/// The first tag that is too much for the template engine to read.
pub(super) fn too_deep(source: &str) -> Option<Range<usize>> {
    read(source).1
}

/// All names of `source`, in order. Texts, comments and raw blocks have none.
pub(super) fn words(source: &str) -> Vec<Word<'_>> {
    read(source).0
}

fn read(source: &str) -> (Vec<Word<'_>>, Option<Range<usize>>) {
    let mut words = Vec::new();
    let mut long = None;
    let mut elifs = 0;
    let mut at = 0;
    while let Some((open, close)) = next_tag(source, at) {
        let end = if source.get(open..).is_some_and(|tag| tag.starts_with("{#")) {
            find(source, open + 2, "#}").map_or(source.len(), |end| end + 2)
        } else {
            let first = words.len();
            let (end, links) = scan(source, open + 2, close, &mut words);
            let tag = words.get(first).filter(|_| close == "%}");
            elifs += usize::from(tag.is_some_and(|word| word.text == "elif"));
            if long.is_none() && (links > LINKS || elifs > ELIFS) {
                long = Some(open..end);
            }
            if tag.is_some_and(|word| word.text == "raw") { after_raw(source, end) } else { end }
        };
        at = end.max(open + 2);
    }
    (words, long)
}

fn find(source: &str, from: usize, what: &str) -> Option<usize> {
    source.get(from..)?.find(what).map(|at| from + at)
}

/// The next tag at or after `from`, and what closes it.
fn next_tag(source: &str, from: usize) -> Option<(usize, &'static str)> {
    // One look at each byte: a search for each of the three would read the rest of the source again and again.
    let mut at = from;
    loop {
        at = find(source, at, "{")?;
        let close = match source.as_bytes().get(at + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => "#}",
            _ => {
                at += 1;
                continue;
            }
        };
        return Some((at, close));
    }
}

fn after_raw(source: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(open) = find(source, at, "{%") {
        let rest = source.get(open + 2..).unwrap_or_default();
        if rest.trim_start_matches(['-', '+']).trim_start().starts_with("endraw") {
            return open;
        }
        at = open + 2;
    }
    source.len()
}

/// Collects the names of one tag; the end of the tag and how many operators it has.
fn scan<'a>(source: &'a str, from: usize, close: &str, words: &mut Vec<Word<'a>>) -> (usize, usize) {
    let mut at = from;
    let mut links = 0;
    // As in the template engine, a tag closes only outside of brackets.
    let mut balance = 0_isize;
    let mut before: Option<&'a str> = None;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(rest) = source.get(at..) {
        let Some(c) = rest.chars().next() else { break };
        if balance == 0 && rest.starts_with(close) {
            return (at + 2, links);
        }
        if c == '"' || c == '\'' {
            at += text_length(rest, c);
            before = Some("'");
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let text = rest.get(..length).unwrap_or_default();
            let range = at..at + length;
            at += length;
            let after = source.get(at..).unwrap_or_default().trim_start();
            let names_argument = after.starts_with('=') && !after.starts_with("==");
            if !c.is_ascii_digit() {
                words.push(Word { text, range, before, names_argument });
            }
            links += usize::from(matches!(text, "not" | "and" | "or" | "if" | "else" | "is" | "in"));
            // `is not x` tests as `is x` does; `{% filter x %}` filters as `| x` does.
            before = match (before, text) {
                (Some("is"), "not") => Some("is"),
                (None, "filter") if close == "%}" => Some("%filter"),
                _ => Some(text),
            };
        } else {
            let length = c.len_utf8();
            balance += isize::from(matches!(c, '(' | '[' | '{')) - isize::from(matches!(c, ')' | ']' | '}'));
            links += usize::from(!c.is_whitespace() && !matches!(c, ',' | ':' | ')' | ']' | '}'));
            // `{%-` and `{{-` only strip blanks.
            let strips = before.is_none() && matches!(c, '-' | '+');
            if !c.is_whitespace() && !strips {
                before = rest.get(..length);
            }
            at += length;
        }
    }
    (source.len(), links)
}

/// The length of a quoted text, its quotes included.
fn text_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}
