//! Server-sent events, read piece by piece: each byte is looked at once, whatever the server makes of its lines.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::body::Broken;

/// Gives the data of each event of a body.
#[derive(Debug)]
pub(crate) struct Events<S> {
    pieces: S,
    lines: Lines,
}

impl<S: Stream<Item = Result<Bytes, Broken>> + Unpin> Events<S> {
    /// The events in `pieces`.
    pub(crate) fn new(pieces: S) -> Self {
        Self { pieces, lines: Lines::default() }
    }

    /// The data of the next event. An event that the body breaks off in is none.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<u8>, Broken>> {
        loop {
            if let Some(data) = self.lines.events.pop_front() {
                return Some(Ok(data));
            }
            match self.pieces.next().await? {
                Ok(piece) => self.lines.add(&piece),
                Err(broken) => return Some(Err(broken)),
            }
        }
    }
}

/// What has come in so far.
#[derive(Debug, Default)]
struct Lines {
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// The data of the event that is not complete yet.
    data: Option<Vec<u8>>,
    /// Whole events that nobody took yet: no more than one piece of the body holds.
    events: VecDeque<Vec<u8>>,
    /// Whether the last byte was a carriage return, whose line feed may still come.
    after_return: bool,
}

impl Lines {
    fn add(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if self.after_return {
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.after_return = piece.is_empty();
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, ended) = rest.split_at(end);
            if self.line.is_empty() {
                self.end_line(line);
            } else {
                self.line.extend_from_slice(line);
                let line = std::mem::take(&mut self.line);
                self.end_line(&line);
            }
            rest = ended.strip_prefix(b"\r\n").or_else(|| ended.get(1..)).unwrap_or_default();
            self.after_return = ended == b"\r";
        }
        self.line.extend_from_slice(rest);
    }

    fn end_line(&mut self, line: &[u8]) {
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        if line.is_empty() {
            self.events.extend(self.data.take());
        } else if let Some(value) = line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            }
        }
        // Comments keep the line open; names, ids and waits of events mean nothing to us.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, n_bytes: usize) -> Vec<String> {
        let mut lines = Lines::default();
        text.as_bytes().chunks(n_bytes).for_each(|piece| lines.add(piece));
        lines.events.into_iter().map(|data| String::from_utf8(data).unwrap()).collect()
    }

    #[test]
    fn events_are_the_same_however_they_are_cut_and_whatever_ends_a_line() {
        let text = "\u{feff}: hello\n\nevent: message\ndata: {\"a\":\ndata: \"\u{e9}\"}\nid: 3\n\n\ndata:tight\n\n\
                    data\n\ndata: [DONE]\n\ndata: cut";
        for end in ["\n", "\r\n", "\r"] {
            for n_bytes in [1, 2, 3, 7, 1000] {
                assert_eq!(
                    read(&text.replace('\n', end), n_bytes),
                    ["{\"a\":\n\"\u{e9}\"}", "tight", "[DONE]"],
                    "{end:?} {n_bytes}"
                );
            }
        }
    }
}
