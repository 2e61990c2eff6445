//! A response as a stream of typed events, numbered.

use std::convert::Infallible;

use axum::response::sse::Event;
use futures::{Stream, StreamExt as _};
use serde_json::{Value as Json, json};

use super::answer::{Answer, Gives};
use super::follow::Piece;
use super::resource::{OutputText, ResponseObject, message, message_id, text};
use super::{call, error};
use crate::job::{Job, Status};

/// Writes the events of one response.
pub(super) struct Events {
    gives: Gives,
    job: String,
    /// The number of the next event.
    next: u64,
    /// Whether the caller had the beginning before: then there are no pieces, only the end.
    is_resumed: bool,
}

impl Events {
    /// The events of a response from its beginning.
    pub(super) fn new(job: &str, gives: Gives) -> Self {
        Self { gives, job: job.to_owned(), next: 0, is_resumed: false }
    }

    /// The events after number `after`. Pieces of the text are not sent again: the end has all of it.
    pub(super) fn resumed(job: &str, gives: Gives, after: u64) -> Self {
        Self { gives, job: job.to_owned(), next: after.saturating_add(1), is_resumed: true }
    }

    /// The stream of a job that is, so far, as `job` has it.
    pub(super) fn stream(
        mut self,
        job: &Job,
        pieces: impl Stream<Item = Piece> + Send + 'static,
    ) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static {
        let mut first = Vec::new();
        if !self.is_resumed {
            // As it was at the beginning, whatever became of it meanwhile.
            let begun = Job { status: Status::Running, ..job.clone() };
            let response = ResponseObject::of(&begun, &self.gives);
            first.push(self.event("response.created", json!({ "response": response })));
            first.push(self.event("response.in_progress", json!({ "response": response })));
            let item = json!({
                "id": message_id(&self.job), "type": "message", "role": "assistant", "status": "in_progress", "content": [],
            });
            first.push(self.event("response.output_item.added", json!({ "output_index": 0, "item": item })));
            let part = text(&Answer::default());
            first.push(self.event("response.content_part.added", self.within(json!({ "part": part }))));
        }
        let first = futures::stream::iter(first.into_iter().map(Ok));
        let rest = pieces.flat_map(move |piece| futures::stream::iter(self.piece(piece).into_iter().map(Ok)));
        first.chain(rest)
    }

    fn piece(&mut self, piece: Piece) -> Vec<Event> {
        match piece {
            Piece::Text(_) if self.is_resumed => Vec::new(),
            Piece::Text(delta) => {
                let data = self.within(json!({ "delta": delta, "logprobs": [] }));
                vec![self.event("response.output_text.delta", data)]
            }
            Piece::Broken(problem) => {
                let body = error::body(&problem).error;
                let data = json!({ "code": body.code, "message": body.message, "param": body.param });
                vec![self.event("error", data)]
            }
            Piece::End(job, answer, is_whole) => self.end(&job, &answer, is_whole),
        }
    }

    fn end(&mut self, job: &Job, answer: &Answer, is_whole: bool) -> Vec<Event> {
        let mut response = ResponseObject::of(job, &self.gives);
        response.anabranch.text = (!is_whole).then(|| answer.text.clone());
        match job.status {
            Status::Succeeded => {}
            Status::Failed | Status::TimedOut => {
                return vec![self.event("response.failed", json!({ "response": response }))];
            }
            _ => {
                let message = call::failure(job).map(|problem| problem.detail).unwrap_or_default();
                let word = if job.status == Status::Cancelled { "cancelled" } else { "waiting" };
                return vec![self.event("error", json!({ "code": word, "message": message, "param": null }))];
            }
        }
        let part = text(answer);
        let mut events = Vec::new();
        for (index, annotation) in part.annotations.iter().enumerate() {
            let data = self.within(json!({ "annotation_index": index, "annotation": annotation }));
            events.push(self.event("response.output_text.annotation.added", data));
        }
        let OutputText { text, .. } = &part;
        let data = self.within(json!({ "text": text, "logprobs": [] }));
        events.push(self.event("response.output_text.done", data));
        let data = self.within(json!({ "part": part }));
        events.push(self.event("response.content_part.done", data));
        let data = json!({ "output_index": 0, "item": message(&job.id, answer) });
        events.push(self.event("response.output_item.done", data));
        events.push(self.event("response.completed", json!({ "response": response })));
        events
    }

    /// With the place of the one text that there is.
    fn within(&self, mut data: Json) -> Json {
        if let Some(object) = data.as_object_mut() {
            object.insert("item_id".to_owned(), json!(message_id(&self.job)));
            object.insert("output_index".to_owned(), json!(0));
            object.insert("content_index".to_owned(), json!(0));
        }
        data
    }

    fn event(&mut self, kind: &str, mut data: Json) -> Event {
        if let Some(object) = data.as_object_mut() {
            object.insert("type".to_owned(), json!(kind));
            object.insert("sequence_number".to_owned(), json!(self.next));
        }
        self.next = self.next.saturating_add(1);
        Event::default().event(kind).data(data.to_string())
    }
}
