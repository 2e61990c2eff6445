//! Marks such as `[2, 3]` in an answer: where they stand, and how they are numbered while the answer is still written.

/// Longest mark.
const MARK_BYTES: usize = 48;
/// A range as long as this is no list of passages.
const RANGE_MAX: usize = 100;
/// Between these, a model may think aloud.
const THINKING: (&str, &str) = ("<think>", "</think>");

/// A mark in a text, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) numbers: Vec<usize>,
}

/// The marks of a finished answer, but for those within code.
pub(super) fn find(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let (mut rest, mut at, mut in_code) = (text, 0, false);
    while let Some(found) = rest.find(['[', '`']) {
        let (before, from) = rest.split_at(found);
        at += before.chars().count();
        let mark = if in_code { None } else { numbers(from) };
        let len = if let Some((numbers, len)) = mark {
            let chars = from.get(..len).unwrap_or_default().chars().count();
            marks.push(Mark { start: at, end: at + chars, numbers });
            at += chars;
            len
        } else {
            if from.starts_with('`') {
                in_code = !in_code;
            }
            at += 1;
            1
        };
        rest = from.get(len..).unwrap_or_default();
    }
    marks
}

/// The numbers of the mark that `text` begins with, and its length in bytes; by the rules of `read.answer`.
fn numbers(text: &str) -> Option<(Vec<usize>, usize)> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(']').filter(|end| *end < MARK_BYTES)?;
    // `[1](url)` is a link.
    if text.get(end + 2..).is_some_and(|after| after.starts_with('(')) {
        return None;
    }
    let mut numbers = Vec::new();
    for part in inner.get(..end)?.split([',', ';']) {
        match part.trim().split_once(['-', '–']) {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last && last - first < RANGE_MAX).then_some(())?;
                numbers.extend(first..=last);
            }
            None => numbers.push(number(part)?),
        }
    }
    Some((numbers, end + 2))
}

/// A number of at most three digits: `[2024]` is a year.
fn number(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Passes a model's words on as they come, the way that `read.answer` will have them in the end: without its thinking,
/// without spaces at the beginning, and with its marks numbered in the order in which they appear.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// What cannot be passed on before more is known.
    held: String,
    /// Numbers of passages in the order in which they were cited.
    cited: Vec<usize>,
    in_code: bool,
    has_begun: bool,
}

impl Live {
    /// Takes a piece in; gives what can be passed on.
    pub(super) fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        let mut out = String::new();
        if !self.has_begun && !self.begin() {
            return out;
        }
        while let Some(found) = self.held.find(['[', '`']) {
            out.push_str(self.held.get(..found).unwrap_or_default());
            self.held.drain(..found);
            if self.held.starts_with('`') {
                self.in_code = !self.in_code;
                self.pass(1, &mut out);
            } else if self.in_code {
                self.pass(1, &mut out);
            } else if self.may_become_a_mark() {
                return out;
            } else if let Some((numbers, len)) = numbers(&self.held) {
                let renumbered: Vec<String> =
                    numbers.iter().map(|number| self.place(*number).to_string()).collect();
                out.push_str(&format!("[{}]", renumbered.join(", ")));
                self.held.drain(..len);
            } else {
                self.pass(1, &mut out);
            }
        }
        // Spaces at the end may be the end of the answer, which has none.
        let kept = self.held.trim_end().len();
        out.push_str(self.held.get(..kept).unwrap_or_default());
        self.held.drain(..kept);
        out
    }

    /// Whether the answer itself has begun; drops what comes before it.
    fn begin(&mut self) -> bool {
        let begun = self.held.trim_start();
        let (open, close) = THINKING;
        if begun.is_empty() || (begun.len() < open.len() && open.starts_with(begun)) {
            return false;
        }
        let answer = if begun.starts_with(open) {
            let Some((_, answer)) = begun.split_once(close) else { return false };
            answer.trim_start()
        } else {
            begun
        };
        if answer.is_empty() {
            return false;
        }
        self.held = answer.to_owned();
        self.has_begun = true;
        true
    }

    /// Whether what is held may be a mark, but it takes more to tell: what comes after it says if it is a link.
    fn may_become_a_mark(&self) -> bool {
        let is_of_marks = |c: char| c.is_ascii_digit() || ",;-– ".contains(c);
        let inner = self.held.get(1..).unwrap_or_default();
        let inner = inner.strip_suffix(']').unwrap_or(inner);
        self.held.len() <= MARK_BYTES && inner.chars().all(is_of_marks)
    }

    fn place(&mut self, number: usize) -> usize {
        if number == 0 {
            return 0;
        }
        let known = self.cited.iter().position(|other| *other == number);
        known.unwrap_or_else(|| {
            self.cited.push(number);
            self.cited.len() - 1
        }) + 1
    }

    fn pass(&mut self, len: usize, out: &mut String) {
        out.push_str(self.held.get(..len).unwrap_or_default());
        self.held.drain(..len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of `text`, whatever the pieces that it comes in.
    fn live(text: &str) -> String {
        let mut results: Vec<String> = [1, 2, 3, 5, 8, 1_000]
            .into_iter()
            .map(|size| {
                let chars: Vec<char> = text.chars().collect();
                let mut live = Live::default();
                chars.chunks(size).map(|piece| live.push(&piece.iter().collect::<String>())).collect()
            })
            .collect();
        results.dedup();
        assert_eq!(results.len(), 1, "{results:?}");
        results.remove(0)
    }

    #[test]
    fn marks_are_numbered_in_the_order_in_which_they_appear() {
        assert_eq!(live("Three [3]. Not one [1, 3]."), "Three [1]. Not one [2, 1].");
        assert_eq!(live("a[0] is `x[3]` but [7]"), "a[0] is `x[3]` but ");
        assert_eq!(live("a [b] c [12"), "a [b] c ");
        assert_eq!(live("x [2;3] y [1–3]. z"), "x [1, 2] y [3, 1, 2]. z");
        assert_eq!(live("See [2](u), [2024] and [0], not [4]. z"), "See [2](u), [2024] and [0], not [1]. z");
    }

    #[test]
    fn what_a_model_thinks_and_spaces_at_both_ends_are_not_passed_on() {
        assert_eq!(live("<think>Two [9]?</think>\n\nOne [4].\n"), "One [1].");
        assert_eq!(live("  <b> One"), "<b> One");
        assert_eq!(live("<think>never ends"), "");
    }

    #[test]
    fn marks_are_found_in_characters_and_not_within_code() {
        let mark = |start, end, numbers: &[usize]| Mark { start, end, numbers: numbers.to_vec() };
        assert_eq!(find("ä [1] `[2]` [3,4] [x]"), [mark(2, 5, &[1]), mark(12, 17, &[3, 4])]);
    }
}
