//! What a model thinks before it speaks, kept out of its answer where the server does not do that itself.

/// How models mark their thoughts: Qwen, `DeepSeek` and most others; Magistral.
const TAGS: [(&str, &str); 2] = [("<think>", "</think>"), ("[THINK]", "[/THINK]")];
/// White space before the first word that is held back until it is clear what follows, in bytes.
const HELD_BYTES: usize = 64;

/// Passes on what is said, and keeps what is thought.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    place: Place,
    held: String,
    has_thought: bool,
}

#[derive(Debug, Default)]
enum Place {
    /// Nothing said yet.
    #[default]
    Before,
    /// Among thoughts that this tag ends.
    Within(&'static str),
    /// Between the thoughts and the first word.
    After,
    /// In the answer.
    Speaking,
}

impl Thinking {
    /// The part of the next `piece` that belongs to the answer.
    pub(super) fn add(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        loop {
            match self.place {
                Place::Before => {
                    let said = self.held.trim_start();
                    if let Some((open, close)) = TAGS.iter().find(|(open, _)| said.starts_with(open)) {
                        self.held = said.get(open.len()..).unwrap_or_default().to_owned();
                        self.place = Place::Within(close);
                        self.has_thought = true;
                    } else if self.held.len() <= HELD_BYTES
                        && TAGS.iter().any(|(open, _)| open.starts_with(said))
                    {
                        return String::new();
                    } else {
                        self.place = Place::Speaking;
                    }
                }
                Place::Within(close) => {
                    let Some((_, said)) = self.held.split_once(close) else {
                        // The tag may be cut in two: its beginning has to stay.
                        let keep = (1..close.len())
                            .rev()
                            .find(|&n| close.get(..n).is_some_and(|start| self.held.ends_with(start)));
                        let start = self.held.len() - keep.unwrap_or_default();
                        self.held.drain(..start);
                        return String::new();
                    };
                    self.held = said.to_owned();
                    self.place = Place::After;
                }
                Place::After => {
                    self.held = self.held.trim_start().to_owned();
                    if self.held.is_empty() {
                        return String::new();
                    }
                    self.place = Place::Speaking;
                }
                Place::Speaking => return std::mem::take(&mut self.held),
            }
        }
    }

    /// Whether there were thoughts.
    pub(super) fn has_thought(&self) -> bool {
        self.has_thought
    }

    /// What was held back, once nothing follows.
    pub(super) fn finish(self) -> String {
        if matches!(self.place, Place::Before) { self.held } else { String::new() }
    }
}

/// `text` without thoughts whose opening tag was part of the prompt, so that only the closing one was written: on a
/// line of its own, since an answer may well speak of such tags.
pub(super) fn without_opened(text: &str) -> &str {
    let ends = TAGS.iter().filter_map(|(open, close)| {
        let (before, after) = text.split_once(close)?;
        let is_line = (before.is_empty() || before.ends_with('\n'))
            && (after.is_empty() || after.starts_with(['\n', '\r']));
        (is_line && !before.contains(open)).then(|| after.trim_start())
    });
    ends.min_by_key(|after| after.len()).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, n_chars: usize) -> String {
        let mut thinking = Thinking::default();
        let chars: Vec<char> = text.chars().collect();
        let mut said: String =
            chars.chunks(n_chars).map(|piece| thinking.add(&piece.iter().collect::<String>())).collect();
        said.push_str(&thinking.finish());
        said
    }

    #[test]
    fn thoughts_are_kept_out_however_they_are_cut() {
        for n_chars in [1, 2, 3, 5, 100] {
            for (text, answer) in [
                ("<think>h\u{e9} <asked</think>\n\nAda", "Ada"),
                ("\n<think>\n</think>Ada </think>", "Ada </think>"),
                ("[THINK]who?[/THINK]Ada", "Ada"),
                ("<think>and then the tokens ran out</thin", ""),
                ("  Ada", "  Ada"),
                ("<thin air>", "<thin air>"),
                ("<", "<"),
                ("Ada <think>", "Ada <think>"),
            ] {
                assert_eq!(said(text, n_chars), answer, "{text} in pieces of {n_chars}");
            }
        }
    }

    #[test]
    fn thoughts_that_the_prompt_opened_end_at_a_line_of_their_own() {
        assert_eq!(without_opened("They ask.\n</think>\n\nAda"), "Ada");
        assert_eq!(without_opened("</think>\n\nAda"), "Ada");
        assert_eq!(without_opened("It ends with `</think>`, always."), "It ends with `</think>`, always.");
        assert_eq!(
            without_opened("Between <think> and\n</think>\nlie thoughts."),
            "Between <think> and\n</think>\nlie thoughts."
        );
    }
}
