//! Reads an HTML page as text with Markdown structure, and keeps track of where each piece of it stands.

use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};

mod decode;
mod write;

use decode::pieces;
use write::{Gap, Writer};

/// A page as text.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// What its `<title>` says.
    pub(super) title: Option<String>,
    /// What a reader sees: headings as `#` lines, list items as `- `, preformatted text between fences.
    pub(super) text: String,
    /// Start in the text, start in the page, length in the text. A piece of length that the page wrote as a
    /// character reference (`&amp;`) begins where that begins.
    pub(super) segments: Vec<(usize, usize, usize)>,
}

/// Reads a page.
pub(super) fn read(source: &str) -> Page {
    // An element that is skipped and never closed would swallow the rest of the page.
    read_skipping(source, true).or_else(|| read_skipping(source, false)).unwrap_or_default()
}

/// Elements whose content is no text of the page.
fn is_unread(name: &[u8]) -> bool {
    matches!(name, b"script" | b"style" | b"noscript" | b"iframe" | b"noembed")
}

/// Elements that the reader of a page passes over.
fn is_passed_over(name: &[u8]) -> bool {
    matches!(name, b"nav" | b"svg" | b"template" | b"select" | b"object" | b"canvas" | b"audio" | b"video")
}

/// The page; `None` if an element that was passed over was still open at the end.
fn read_skipping(source: &str, is_passing: bool) -> Option<Page> {
    let mut emitter = DefaultEmitter::<usize>::new_with_span();
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    let mut out = Writer::default();
    // The element that is skipped, and how often it has been opened within itself.
    let mut skipped: Option<(Vec<u8>, usize)> = None;
    let mut in_title = false;
    for Ok(token) in Tokenizer::new_with_emitter(source, emitter) {
        match token {
            Token::StartTag(tag) => {
                let name = tag.name.0.as_slice();
                match &mut skipped {
                    Some((open, depth)) if open == name => *depth += usize::from(!tag.self_closing),
                    Some(_) => {}
                    None if is_unread(name) || (is_passing && is_passed_over(name)) => {
                        if !tag.self_closing || is_unread(name) {
                            skipped = Some((name.to_vec(), 1));
                        }
                    }
                    None if name == b"title" => in_title = true,
                    None => open(&mut out, name),
                }
            }
            Token::EndTag(tag) => {
                let name = tag.name.0.as_slice();
                match &mut skipped {
                    Some((open, depth)) if open == name => {
                        *depth -= 1;
                        if *depth == 0 {
                            skipped = None;
                        }
                    }
                    Some(_) => {}
                    None if name == b"title" => in_title = false,
                    None => close(&mut out, name),
                }
            }
            Token::String(string) if skipped.is_none() => {
                if in_title {
                    let words: Vec<_> = String::from_utf8_lossy(&string.value.0)
                        .split_whitespace()
                        .map(str::to_owned)
                        .collect();
                    page.title = page.title.or(Some(words.join(" "))).filter(|title| !title.is_empty());
                } else {
                    for piece in pieces(source, string.span.start, string.span.end, &string.value.0) {
                        out.piece(&piece);
                    }
                }
            }
            Token::String(_) | Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    let is_cut = skipped.is_some_and(|(name, _)| is_passed_over(&name));
    (page.text, page.segments) = out.finish();
    (!is_cut).then_some(page)
}

fn heading_level(name: &[u8]) -> Option<usize> {
    match name {
        [b'h', digit @ b'1'..=b'6'] => Some(usize::from(digit - b'0')),
        _ => None,
    }
}

/// The gap that an element leaves before and after itself.
fn gap(name: &[u8]) -> Option<Gap> {
    match name {
        b"p" | b"ul" | b"ol" | b"dl" | b"table" | b"blockquote" | b"section" | b"article" | b"main"
        | b"header" | b"footer" | b"aside" | b"figure" | b"hr" | b"form" | b"details" | b"pre" | b"body" => {
            Some(Gap::Paragraph)
        }
        b"br" | b"div" | b"li" | b"tr" | b"dt" | b"dd" | b"figcaption" | b"summary" | b"caption"
        | b"address" | b"option" | b"legend" | b"thead" | b"tbody" => Some(Gap::Line),
        _ => heading_level(name).map(|_| Gap::Paragraph),
    }
}

fn open(out: &mut Writer, name: &[u8]) {
    if let Some(gap) = gap(name) {
        out.gap(gap);
    }
    match name {
        b"li" => out.begin_item(),
        b"pre" => out.begin_pre(),
        b"tr" => out.begin_row(),
        b"td" | b"th" => out.begin_cell(),
        _ => {
            if let Some(level) = heading_level(name) {
                out.begin_heading(level);
            }
        }
    }
}

fn close(out: &mut Writer, name: &[u8]) {
    if heading_level(name).is_some() {
        out.end_heading();
    }
    if name == b"pre" {
        out.end_pre();
    }
    // `</br>` and `</p>` alone stand for the element itself; every other end only ends.
    if let Some(gap) = gap(name) {
        out.gap(gap);
    }
}
