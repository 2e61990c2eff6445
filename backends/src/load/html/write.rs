//! Writes the text of a page: shortens white space, puts in the marks of its structure, notes where it all stands.

use super::decode::Piece;

/// What separates two pieces of text; the wider one wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Gap {
    /// Nothing.
    #[default]
    None,
    /// A space.
    Space,
    /// A new line.
    Line,
    /// An empty line.
    Paragraph,
}

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
    segments: Vec<(usize, usize, usize)>,
    gap: Gap,
    /// A lone space of the page that may yet turn out to be the gap, so that it need not break a segment.
    space_at: Option<usize>,
    /// A mark that is written only if something follows: an empty heading is no heading.
    mark: Option<String>,
    in_heading: bool,
    pre: Pre,
    n_cells: usize,
}

/// Preformatted text: outside it, begun without text, or with text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pre {
    #[default]
    Outside,
    Begun,
    Inside,
}

impl Writer {
    /// Asks for a gap before the next text.
    pub(super) fn gap(&mut self, gap: Gap) {
        if self.pre == Pre::Inside {
            if gap >= Gap::Line && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            return;
        }
        // A heading is one line, whatever stands in it.
        let gap = if self.in_heading { Gap::Space } else { gap };
        if gap > Gap::Space || self.gap != Gap::None {
            self.space_at = None;
        }
        self.gap = self.gap.max(gap);
    }

    /// The next text is a heading.
    pub(super) fn begin_heading(&mut self, level: usize) {
        self.end_pre();
        self.mark = Some(format!("{} ", "#".repeat(level)));
        self.in_heading = true;
    }

    /// The heading has ended.
    pub(super) fn end_heading(&mut self) {
        self.in_heading = false;
        self.mark = None;
    }

    /// The next text is a list item.
    pub(super) fn begin_item(&mut self) {
        if !self.in_heading {
            self.mark = Some("- ".to_owned());
        }
    }

    /// White space counts from here on.
    pub(super) fn begin_pre(&mut self) {
        if self.pre == Pre::Outside && !self.in_heading {
            self.pre = Pre::Begun;
        }
    }

    /// White space counts no more.
    pub(super) fn end_pre(&mut self) {
        if self.pre == Pre::Inside {
            if !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            // Fences keep a comment such as `# this` from being taken for a heading.
            self.text.push_str("```");
        }
        self.pre = Pre::Outside;
        self.gap(Gap::Paragraph);
    }

    /// A row of a table begins.
    pub(super) fn begin_row(&mut self) {
        self.n_cells = 0;
    }

    /// A cell of a row begins.
    pub(super) fn begin_cell(&mut self) {
        self.n_cells += 1;
        if self.n_cells > 1 && !self.in_heading && self.pre == Pre::Outside {
            self.mark = Some("| ".to_owned());
            self.gap(Gap::Space);
        }
    }

    /// Writes a piece of the page's text.
    pub(super) fn piece(&mut self, piece: &Piece<'_>) {
        if !piece.is_verbatim {
            return self.reference(piece);
        }
        for (offset, c) in piece.text.char_indices() {
            let at = piece.start.map(|start| start + offset);
            self.char(c, at);
        }
    }

    /// A character reference: never white space to be shortened, but for those of line ends.
    fn reference(&mut self, piece: &Piece<'_>) {
        if piece.text.chars().all(|c| matches!(c, ' ' | '\n' | '\t' | '\r')) || piece.start.is_none() {
            for c in piece.text.chars() {
                self.char(c, None);
            }
            return;
        }
        self.begin_text();
        let text_start = self.text.len();
        self.text.push_str(&piece.text);
        if let Some(start) = piece.start {
            self.segments.push((text_start, start, piece.text.len()));
        }
    }

    fn char(&mut self, c: char, at: Option<usize>) {
        let is_space = matches!(c, ' ' | '\n' | '\t' | '\r' | '\u{c}');
        match self.pre {
            Pre::Outside if is_space => {
                self.space_at = at.filter(|_| c == ' ' && self.gap == Gap::None);
                self.gap = self.gap.max(Gap::Space);
            }
            // The first line end after `<pre>` does not count.
            Pre::Begun if c == '\n' && self.gap != Gap::None => self.gap = Gap::Paragraph,
            Pre::Outside | Pre::Begun | Pre::Inside => {
                self.begin_text();
                self.mapped(c, at);
            }
        }
    }

    /// Writes the gap and the marks that stand before the next text.
    fn begin_text(&mut self) {
        if self.pre == Pre::Inside {
            return;
        }
        let gap = if self.pre == Pre::Begun { Gap::Paragraph } else { self.gap };
        if !self.text.is_empty() {
            match gap {
                Gap::None => {}
                Gap::Space => match self.space_at.filter(|_| self.mark.is_none()) {
                    Some(at) => self.mapped(' ', Some(at)),
                    None => self.text.push(' '),
                },
                Gap::Line => self.text.push('\n'),
                Gap::Paragraph => self.text.push_str("\n\n"),
            }
        }
        self.gap = Gap::None;
        self.space_at = None;
        if let Some(mark) = self.mark.take() {
            self.text.push_str(&mark);
        }
        if self.pre == Pre::Begun {
            if !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            self.text.push_str("```\n");
            self.pre = Pre::Inside;
        }
    }

    /// Writes a character that the page has at `at`.
    fn mapped(&mut self, c: char, at: Option<usize>) {
        let text_start = self.text.len();
        self.text.push(c);
        let Some(at) = at else { return };
        match self.segments.last_mut() {
            Some((text, source, len)) if *text + *len == text_start && *source + *len == at => {
                *len += c.len_utf8();
            }
            _ => self.segments.push((text_start, at, c.len_utf8())),
        }
    }

    /// The text and where it stands.
    pub(super) fn finish(mut self) -> (String, Vec<(usize, usize, usize)>) {
        self.end_pre();
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        (self.text, self.segments)
    }
}
