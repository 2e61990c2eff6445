//! Every fault that a model server can have: what it does, and which typed error that is.

use std::time::Duration;

use anabranch_engine::backend::Error;

use super::server::{GIGABYTE, Step, head, response};

/// What a backend makes of a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    TimedOut,
    Unavailable,
    Overloaded {
        retry_after: Option<Bound>,
    },
    Rejected,
    Garbled,
    /// An answer that says that it is cut.
    Cut,
    /// An answer.
    Answered,
}

/// How long a server asked to be left alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    Exactly(Duration),
    /// A date is a different time from now whenever the test runs.
    AtLeast(Duration),
}

impl Outcome {
    /// Whether `found` is this outcome.
    pub(crate) fn is(self, found: &Result<Outcome, Error>) -> bool {
        match (self, found) {
            (Self::TimedOut, Err(Error::TimedOut { .. } | Error::Unreached { is_late: true, .. }))
            | (Self::Unavailable, Err(Error::Unavailable { .. } | Error::Unreached { is_late: false, .. }))
            | (Self::Rejected, Err(Error::Rejected { .. }))
            | (Self::Garbled, Err(Error::Garbled { .. })) => true,
            (Self::Overloaded { retry_after }, Err(Error::Overloaded { retry_after: found, .. })) => {
                match (retry_after, found) {
                    (None, None) => true,
                    (Some(Bound::Exactly(expected)), Some(found)) => expected == *found,
                    (Some(Bound::AtLeast(expected)), Some(found)) => expected <= *found,
                    _ => false,
                }
            }
            (expected, Ok(found)) => expected == *found,
            _ => false,
        }
    }
}

/// How the answers of one kind of backend look.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) content_type: &'static str,
    /// A good answer of some hundred bytes.
    pub(crate) good: String,
    /// A good answer in all but its length, where there is such a thing.
    pub(crate) cut_by_length: Option<String>,
    /// Answers that are JSON, and none of the right shape.
    pub(crate) wrong: Vec<&'static str>,
    /// Wraps JSON into what the content type promises.
    pub(crate) wrap: fn(&str) -> String,
}

/// Something that a server does wrong.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) outcome: Outcome,
}

/// A wait so long that a few hundred bytes take longer than any deadline here.
const TRICKLE: Duration = Duration::from_millis(10);

type Row = (&'static str, Vec<Step>, Outcome);

fn send(bytes: Vec<u8>) -> Vec<Step> {
    vec![Step::Send(bytes)]
}

impl Shape {
    fn content_type(&self) -> (&str, &str) {
        ("content-type", self.content_type)
    }

    fn ok(&self, body: &[u8]) -> Vec<u8> {
        response("200 OK", &[self.content_type()], body)
    }
}

/// All faults, for answers of this shape; and one that is none.
pub(crate) fn faults(shape: &Shape) -> Vec<Fault> {
    let mut rows = vec![("a good answer", send(shape.ok(shape.good.as_bytes())), Outcome::Answered)];
    if let Some(cut) = &shape.cut_by_length {
        rows.push(("an answer cut by its length", send(shape.ok(cut.as_bytes())), Outcome::Cut));
    }
    let groups = [slow(shape), broken_off(shape), no_answer(shape), refused(), too_much(shape)];
    let named = |(name, steps, outcome): Row| Fault { name: name.to_owned(), steps, outcome };
    let mut faults: Vec<Fault> = rows.into_iter().chain(groups.into_iter().flatten()).map(named).collect();
    faults.extend(shape.wrong.iter().map(|wrong| Fault {
        name: format!("an answer of the wrong shape: {wrong}"),
        steps: send(shape.ok((shape.wrap)(wrong).as_bytes())),
        outcome: Outcome::Garbled,
    }));
    faults
}

fn slow(shape: &Shape) -> Vec<Row> {
    let good = shape.ok(shape.good.as_bytes());
    let (head, body) = good.split_at(good.len() - shape.good.len());
    let half = good[..head.len() + body.len() / 2].to_vec();
    let steps = [
        ("no byte ever", vec![Step::Hang]),
        ("a trickle of headers", vec![Step::Trickle(good.clone(), TRICKLE)]),
        ("a trickle of body", vec![Step::Send(head.to_vec()), Step::Trickle(body.to_vec(), TRICKLE)]),
        ("half an answer, then silence", vec![Step::Send(half), Step::Hang]),
    ];
    steps.map(|(name, steps)| (name, steps, Outcome::TimedOut)).into()
}

fn broken_off(shape: &Shape) -> Vec<Row> {
    let good = shape.ok(shape.good.as_bytes());
    let half = &shape.good.as_bytes()[..shape.good.len() / 2];
    let kind = shape.content_type();
    let chunked = head("200 OK", &[kind, ("transfer-encoding", "chunked")]);
    let bytes = [
        ("closed without a byte", Vec::new()),
        ("closed in the headers", b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        ("half-closed in the body", good[..good.len() - shape.good.len() / 2].to_vec()),
        ("closed in a body of no announced length", [&head("200 OK", &[kind]), half].concat()),
        ("closed in a chunk", [&chunked[..], b"ff\r\n{"].concat()),
        ("no HTTP at all", b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
    ];
    bytes.map(|(name, bytes)| (name, send(bytes), Outcome::Unavailable)).into()
}

fn no_answer(shape: &Shape) -> Vec<Row> {
    // 0xff is no byte of any UTF-8 text.
    let mut not_utf8 = (shape.wrap)(r#"{"a": "X"}"#).into_bytes();
    not_utf8.iter_mut().filter(|byte| **byte == b'X').for_each(|byte| *byte = 0xff);
    let page = response("200 OK", &[("content-type", "text/html")], b"<h1>It works!</h1>");
    let bytes = [
        ("garbled JSON", shape.ok((shape.wrap)(r#"{"a": ]}"#).as_bytes())),
        ("not UTF-8", shape.ok(&not_utf8)),
        ("a web page", page),
    ];
    bytes.map(|(name, bytes)| (name, send(bytes), Outcome::Garbled)).into()
}

fn refused() -> Vec<Row> {
    let left_alone = |bound| Outcome::Overloaded { retry_after: bound };
    let seconds = |n| left_alone(Some(Bound::Exactly(Duration::from_secs(n))));
    let years = left_alone(Some(Bound::AtLeast(Duration::from_hours(24 * 365))));
    let busy = "429 Too Many Requests";
    let unavailable = "503 Service Unavailable";
    let mut rows: Vec<Row> = [
        ("429", busy, None, left_alone(None)),
        ("429 for seconds", busy, Some("7"), seconds(7)),
        ("429 for no time", busy, Some("0"), seconds(0)),
        ("429 until a date", busy, Some("Fri, 01 Jan 2100 00:00:00 GMT"), years),
        ("429 until a date that has passed", busy, Some("Thu, 01 Jan 2015 00:00:00 GMT"), seconds(0)),
        ("503 for seconds", unavailable, Some("7"), seconds(7)),
        ("503", unavailable, None, Outcome::Unavailable),
        ("500", "500 Internal Server Error", None, Outcome::Unavailable),
        ("400", "400 Bad Request", None, Outcome::Rejected),
        ("401", "401 Unauthorized", None, Outcome::Rejected),
        ("404", "404 Not Found", None, Outcome::Rejected),
    ]
    .into_iter()
    .map(|(name, status, retry_after, outcome)| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(retry_after.map(|time| ("retry-after", time)));
        (name, send(response(status, &headers, br#"{"error":{"message":"no"}}"#)), outcome)
    })
    .collect();
    let redirect = response("307 Temporary Redirect", &[("location", "http://127.0.0.1:9/v1")], b"");
    rows.push(("a redirect", send(redirect), Outcome::Rejected));
    let unfinished = vec![Step::Send(head(busy, &[("retry-after", "7")])), Step::Hang];
    rows.push(("429 that never ends its sentence", unfinished, seconds(7)));
    rows
}

fn too_much(shape: &Shape) -> Vec<Row> {
    let kind = shape.content_type();
    let endless = |head: Vec<u8>, more: &[u8]| vec![Step::Send(head), Step::Endless(more.to_vec())];
    let plain = head("200 OK", &[kind]);
    let chunked = head("200 OK", &[kind, ("transfer-encoding", "chunked")]);
    let chunk = [&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat();
    let announced = head("200 OK", &[kind, ("content-length", &GIGABYTE.to_string())]);
    let failed = head("500 Internal Server Error", &[]);
    let headers = b"a: b\r\n".repeat(2000);
    vec![
        ("a gigabyte of one line", endless(plain.clone(), &[b'x'; 0x4000]), Outcome::Garbled),
        ("a gigabyte of white space", endless(plain.clone(), &[b' '; 0x4000]), Outcome::Garbled),
        ("a gigabyte of empty lines", endless(plain, &[b'\n'; 0x4000]), Outcome::Garbled),
        ("a gigabyte in chunks", endless(chunked, &chunk), Outcome::Garbled),
        ("a gigabyte, announced", endless(announced, &[b' '; 0x4000]), Outcome::Garbled),
        ("a gigabyte of headers", endless(b"HTTP/1.1 200 OK\r\n".to_vec(), &headers), Outcome::Unavailable),
        ("a gigabyte of refusal", endless(failed, &[b'x'; 0x4000]), Outcome::Unavailable),
    ]
}
