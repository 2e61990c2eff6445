//! The answer of a job as it is written: live where its node streams, in pieces of the finished text where not.

use std::collections::VecDeque;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Answer, Gives};
use super::call::Begun;
use super::marks;
use crate::api::App;
use crate::api::problem::{Code, Problem};
use crate::job::{Job, Status};
use crate::live::{Ear, Told};
use crate::runner::{Live, RunningNode, Said};

/// Longest time that an answer is followed.
const FOLLOW_TIME: Duration = Duration::from_hours(24);
/// About how many characters the pieces of a finished text have.
const PIECE_CHARS: usize = 48;

/// What becomes of an answer.
#[derive(Debug)]
pub(super) enum Piece {
    /// More of its text.
    Text(String),
    /// The job has ended (or waits for somebody). Whether what was passed on is the whole answer as it came out.
    End(Box<Job>, Answer, bool),
    /// It cannot be followed any longer.
    Broken(Problem),
}

/// A place among the streams of the process; given back when the stream ends.
pub(super) fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.streams
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::new(Code::Overloaded, "too many streams are open"))
}

/// Follows a job to its end. A caller who goes away does not stop it.
pub(super) fn follow(
    app: App,
    tenant: String,
    begun: Begun,
    gives: Gives,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Piece> + Send + 'static {
    let Begun { id, ear } = begun;
    let following = Following {
        app,
        tenant,
        id,
        gives,
        ear: Some(ear),
        writer: None,
        marks: marks::Live::default(),
        passed: String::new(),
        ready: VecDeque::new(),
        is_over: false,
        _place: place,
    };
    unfold(following, async |mut following| {
        let piece = following.next().await?;
        Some((piece, following))
    })
}

struct Following {
    app: App,
    tenant: String,
    id: String,
    gives: Gives,
    /// What happens in the job, for as long as its words may be passed on.
    ear: Option<Ear>,
    /// The node whose words are passed on.
    writer: Option<String>,
    marks: marks::Live,
    /// What was passed on.
    passed: String,
    /// Pieces that wait to be passed on.
    ready: VecDeque<Piece>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Following {
    async fn next(&mut self) -> Option<Piece> {
        if let Some(piece) = self.ready.pop_front() {
            return Some(piece);
        }
        if self.is_over {
            return None;
        }
        while let Some(ear) = &mut self.ear {
            let told = tokio::select! {
                told = ear.follow(&self.tenant) => told,
                () = self.app.stopping.cancelled() => return Some(self.stopped()),
            };
            let text = match told {
                Ok(Some(told)) => self.hear(told),
                Ok(None) => self.only_end(),
                Err(error) => {
                    tracing::debug!(job = self.id, %error, "an answer waits for the store");
                    self.only_end()
                }
            };
            if !text.is_empty() {
                self.passed.push_str(&text);
                return Some(Piece::Text(text));
            }
        }
        self.end().await;
        self.is_over = true;
        self.ready.pop_front()
    }

    /// What can be passed on of what is told.
    fn hear(&mut self, told: Told) -> String {
        match told {
            Told::Live(Live::Said(Said::Delta { node, text })) => {
                if self.writer.is_none() && self.gives.nodes.contains(&node) {
                    self.writer = Some(node.clone());
                }
                if self.is_writer(&node) { self.marks.push(&text) } else { String::new() }
            }
            // What a first attempt said cannot be taken back, so a second one is only told by its end.
            Told::Live(Live::Said(Said::Started { node, attempt, .. }))
                if attempt > 1 && self.is_writer(&node) =>
            {
                self.only_end()
            }
            // Whoever missed something cannot go on in the middle of a sentence: the end has all of it.
            Told::Live(Live::Missed(_)) => self.only_end(),
            Told::Running(_) | Told::Lost if self.writer.is_some() => self.only_end(),
            Told::Running(nodes) => self.begin(nodes),
            Told::Live(_) | Told::Lost => String::new(),
        }
    }

    /// What was written before somebody began to tell.
    fn begin(&mut self, nodes: Vec<RunningNode>) -> String {
        let writes = |node: &RunningNode| !node.text.is_empty() && self.gives.nodes.contains(&node.node);
        match nodes.into_iter().find(writes) {
            Some(node) if node.left_out > 0 => self.only_end(),
            Some(node) => {
                self.writer = Some(node.node);
                self.marks.push(&node.text)
            }
            None => String::new(),
        }
    }

    /// Passes nothing more on: the end has all of it.
    fn only_end(&mut self) -> String {
        self.ear = None;
        String::new()
    }

    fn is_writer(&self, scope: &str) -> bool {
        self.writer.as_deref() == Some(scope)
    }

    /// Waits for the end, and makes pieces of what was not passed on.
    async fn end(&mut self) {
        let waited = tokio::select! {
            waited = self.app.runner.wait(&self.tenant, &self.id, FOLLOW_TIME) => waited,
            () = self.app.stopping.cancelled() => {
                let piece = self.stopped();
                self.ready.push_back(piece);
                return;
            }
        };
        let job = match waited {
            Ok(Some(job)) => job,
            Ok(None) => {
                let problem =
                    Problem::new(Code::Late, format!("the job `{}` is gone, or goes on too long", self.id));
                self.ready.push_back(Piece::Broken(problem));
                return;
            }
            Err(error) => {
                self.ready.push_back(Piece::Broken(error.into()));
                return;
            }
        };
        let mut answer = Answer::default();
        let mut is_whole = true;
        if job.status == Status::Succeeded {
            let (outputs, absent) =
                (job.outputs.clone().unwrap_or_default(), job.absent.clone().unwrap_or_default());
            answer = self.gives.answer(&outputs, &absent);
            match answer.text.strip_prefix(&self.passed) {
                Some(rest) => self.ready.extend(pieces(rest).map(Piece::Text)),
                None => is_whole = false,
            }
        }
        self.ready.push_back(Piece::End(Box::new(job), answer, is_whole));
    }

    fn stopped(&mut self) -> Piece {
        self.is_over = true;
        let detail = format!("the process is stopping; the job `{}` goes on elsewhere", self.id);
        Piece::Broken(Problem::new(Code::Stopping, detail))
    }
}

/// A text in pieces that end where words do.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut n_chars = 0;
    for word in text.split_inclusive(char::is_whitespace) {
        match pieces.last_mut() {
            Some(piece) if n_chars < PIECE_CHARS => piece.push_str(word),
            _ => {
                pieces.push(word.to_owned());
                n_chars = 0;
            }
        }
        n_chars += word.chars().count();
    }
    pieces.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_words_do_and_make_the_text_again() {
        let text = "one two  three\n".repeat(20);
        let found: Vec<String> = pieces(&text).collect();
        assert!(
            found.len() > 3 && found.iter().all(|piece| piece.ends_with(char::is_whitespace)),
            "{found:?}"
        );
        assert_eq!(found.concat(), text);
        assert_eq!(pieces("").count(), 0);
    }
}
