//! Server-sent events, read piece by piece, with their names and ids.

use std::collections::VecDeque;
use std::time::Duration;

use reqwest::Response;

use super::{Client, Error};

/// Most bytes of one message.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Longest silence: the server says `: ping` every 15 s.
const SILENCE: Duration = Duration::from_mins(1);

/// An event that a server sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// What happened.
    pub event: String,
    /// Where to go on after it.
    pub id: Option<String>,
    /// The data.
    pub data: String,
}

/// The events of an answer.
#[derive(Debug)]
pub struct Messages {
    response: Response,
    lines: Lines,
}

/// Why there is no next event.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The server closed the stream.
    Closed,
    /// The connection broke off.
    Broken,
    /// A message had no end.
    TooLong,
}

impl Messages {
    pub(super) fn new(response: Response) -> Self {
        Self { response, lines: Lines::default() }
    }

    /// The next event.
    pub(super) async fn next(&mut self) -> Result<Message, Stopped> {
        loop {
            if let Some(message) = self.lines.messages.pop_front() {
                return Ok(message);
            }
            match tokio::time::timeout(SILENCE, self.response.chunk()).await {
                Ok(Ok(Some(piece))) => self.lines.add(&piece),
                Ok(Ok(None)) => return Err(Stopped::Closed),
                Ok(Err(_)) | Err(_) => return Err(Stopped::Broken),
            }
            if self.lines.n_bytes > MESSAGE_BYTES_MAX {
                return Err(Stopped::TooLong);
            }
        }
    }

    /// How long the server wants one to wait before the next connection.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.lines.retry
    }
}

impl Client {
    /// The error for a message without an end.
    pub(super) fn too_long(&self) -> Error {
        self.garbled(format!("an event has more than {MESSAGE_BYTES_MAX} bytes"))
    }
}

/// What has come in so far.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    message: Message,
    has_data: bool,
    /// Whole messages that nobody took yet: no more than one piece of the body holds.
    messages: VecDeque<Message>,
    /// Bytes of the message that is not complete yet.
    n_bytes: usize,
    /// Whether the last byte was a carriage return, whose line feed may still come.
    after_return: bool,
    retry: Option<Duration>,
}

impl Lines {
    fn add(&mut self, piece: &[u8]) {
        for &byte in piece {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    self.end_line(&String::from_utf8_lossy(&line));
                }
                _ => {
                    self.after_return = false;
                    self.n_bytes = self.n_bytes.saturating_add(1);
                    self.line.push(byte);
                }
            }
        }
    }

    fn end_line(&mut self, line: &str) {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            if std::mem::take(&mut self.has_data) {
                self.messages.push_back(message);
            }
            self.n_bytes = 0;
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.message.event),
            "id" if !value.contains('\0') => self.message.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
            }
            // A comment: the server is still there. It is not part of a message that grows.
            "" => self.n_bytes = self.n_bytes.saturating_sub(line.len()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, id: Option<&str>, data: &str) -> Message {
        Message { event: event.into(), id: id.map(Into::into), data: data.into() }
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut_and_whatever_ends_a_line() {
        let text = "\u{feff}retry: 250\n\n: ping\n\nid: 7\nevent: ended\ndata: {\"a\":\ndata: \"\u{e9}\"}\n\n\
                    event: empty\n\ndata:tight\nunknown: x\n\ndata\n\ndata: cut";
        let expected = [
            message("ended", Some("7"), "{\"a\":\n\"\u{e9}\"}"),
            message("", None, "tight"),
            message("", None, ""),
        ];
        for end in ["\n", "\r\n", "\r"] {
            for n_bytes in [1, 2, 3, 7, 1000] {
                let mut lines = Lines::default();
                text.replace('\n', end).as_bytes().chunks(n_bytes).for_each(|piece| lines.add(piece));
                assert_eq!(lines.messages, expected, "{end:?} {n_bytes}");
                assert_eq!(lines.retry, Some(Duration::from_millis(250)));
            }
        }
    }
}
