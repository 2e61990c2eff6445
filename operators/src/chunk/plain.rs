//! Where texts without markup may be cut: before paragraphs, before top-level blocks of source code.

/// Where the paragraphs of `text` begin: the first line, and every line after a blank one.
pub(crate) fn paragraphs(text: &str) -> Vec<usize> {
    starts(text, |_| true)
}

/// Where the top-level blocks of source code begin: as [`paragraphs`], but only lines that are not indented and do
/// not close what was opened before.
pub(crate) fn code_blocks(text: &str) -> Vec<usize> {
    starts(text, |line| line.starts_with(|c: char| !c.is_whitespace() && !matches!(c, '}' | ')' | ']')))
}

fn starts(text: &str, begins: impl Fn(&str) -> bool) -> Vec<usize> {
    let mut starts = Vec::new();
    let (mut at, mut after_blank) = (0, true);
    for line in text.split_inclusive('\n') {
        let blank = line.trim().is_empty();
        if after_blank && !blank && begins(line) {
            starts.push(at);
        }
        after_blank = blank;
        at += line.len();
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_begins_after_a_blank_line_however_it_ends() {
        assert_eq!(paragraphs("a\nb\r\n\r\nc\n \nd"), [0, 7, 11]);
    }

    #[test]
    fn a_blank_line_within_a_function_begins_no_block() {
        assert_eq!(code_blocks("use a;\n\nfn f() {\n    x();\n\n    y();\n\n}\n\nfn g() {}\n"), [0, 8, 40]);
    }
}
