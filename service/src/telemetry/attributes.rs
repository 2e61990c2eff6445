//! Attributes of a span, put together.

use std::time::SystemTime;

use opentelemetry::trace::{Event, SpanId, SpanKind, Status, TraceId};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{Pipeline, names};

/// Most events of a span.
const EVENTS: usize = 128;

/// Attributes in the making.
#[derive(Debug, Default, Clone)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn set(&mut self, name: impl Into<Key>, value: impl Into<Value>) {
        self.0.push(KeyValue::new(name, value));
    }

    pub(super) fn set_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    pub(super) fn count(&mut self, name: &'static str, count: u64) {
        self.set(name, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A value in both of its attributes.
    pub(super) fn value(&mut self, name: &'static str, kind: &'static str, json: Option<String>) {
        if let Some(json) = json {
            self.set(name, json);
            self.set(kind, "application/json");
        }
    }
}

/// A span that is over.
pub(super) struct Over {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) is_parent_remote: bool,
    pub(super) kind: SpanKind,
    pub(super) name: String,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) attributes: Attributes,
    pub(super) events: Vec<Event>,
    /// Kind and message of its failure.
    pub(super) error: Option<(String, String)>,
}

impl Over {
    /// Gives it to the queue.
    pub(super) fn export(mut self, pipeline: &Pipeline) {
        let status = match &self.error {
            // Backends take a status that is not set for one that is not known.
            None => Status::Ok,
            Some((kind, message)) => {
                self.attributes.set(names::ERROR, kind.clone());
                Status::error(pipeline.contents.message(message))
            }
        };
        let mut events = SpanEvents::default();
        events.dropped_count = u32::try_from(self.events.len().saturating_sub(EVENTS)).unwrap_or(u32::MAX);
        self.events.truncate(EVENTS);
        events.events = self.events;
        pipeline.export(SpanData {
            span_context: Pipeline::context(self.trace, self.span),
            parent_span_id: self.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: self.is_parent_remote,
            span_kind: self.kind,
            name: self.name.into(),
            start_time: self.start,
            end_time: self.end.max(self.start),
            attributes: self.attributes.0,
            dropped_attributes_count: 0,
            events,
            links: SpanLinks::default(),
            status,
            instrumentation_scope: pipeline.scope.clone(),
        });
    }
}
