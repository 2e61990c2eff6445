//! Traces over OTLP: a trace a run, made of what the engine tells its observer, exported beside the work. Metrics go the
//! same way, at an interval ([`push`]).
//!
//! ```text
//!  notices and calls of a run ─► spans ─► queue ─► collector
//!                                          └ full: lost, counted, told in the log
//! ```
//! Spans are made directly as the SDK's [`SpanData`] and given to its OTLP exporter. The SDK's own pipeline between the
//! two does not tell how many spans it loses, and a run is no stack of calls: its spans begin and end wherever its
//! events do.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample, SpanData};

use crate::config::{ContentLevel, SecretError, TelemetrySection};
use crate::redact::Redactor;
use crate::resources::Env;

mod attributes;
mod call;
mod collector;
mod content;
mod documents;
mod exporter;
mod messages;
pub mod names;
mod parent;
mod push;
mod queue;
mod run;
mod sampling;
mod steps;

pub use content::Contents;
pub(crate) use documents::chunks;
pub use parent::Parent;
pub use push::MetricsPush;
pub use run::{JobOfRun, RunSpans};
pub(crate) use steps::module_of;

use queue::Queue;

/// Longest time for what is left to leave when the process ends.
const CLOSE: Duration = Duration::from_secs(5);

/// Why nothing can be sent to a collector.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A secret header is not where it should be.
    #[error("a header of `telemetry` has no value")]
    Secret(#[from] SecretError),
    /// The settings describe no collector.
    #[error("`telemetry` describes no collector: {0}")]
    Exporter(String),
    /// A standard variable says something else than it can.
    #[error("the environment variable `{name}` is `{value}`; it can be {known}")]
    Variable {
        /// Which.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it can be.
        known: &'static str,
    },
}

/// Where the spans of a process go. Cheap to clone; without a collector it does next to nothing.
#[derive(Debug, Clone, Default)]
pub struct Telemetry(Option<Arc<Pipeline>>);

/// What spans need on their way.
#[derive(Debug)]
struct Pipeline {
    sampler: Sampler,
    contents: Contents,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
}

impl Telemetry {
    /// Nothing is exported.
    pub fn off() -> Self {
        Self(None)
    }

    /// What `section` and the standard variables say; what `redactor` takes out never leaves. Needs a tokio runtime.
    pub fn start(
        section: &TelemetrySection,
        redactor: Arc<Redactor>,
        env: Env<'_>,
    ) -> Result<Self, TelemetryError> {
        let Some(exporter) = exporter::of(section, env)? else { return Ok(Self::off()) };
        let queue = Queue::start(exporter, section.queue, section.timeout);
        Ok(Self(Some(Arc::new(Pipeline {
            sampler: sampling::of(section.sample, env)?,
            contents: Contents::new(section.content, redactor),
            scope: InstrumentationScope::builder("anabranch").with_version(env!("CARGO_PKG_VERSION")).build(),
            queue,
        }))))
    }

    /// Whether spans are exported.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Spans that were lost since the start: the queue was full, or the collector did not take them.
    pub fn lost(&self) -> u64 {
        self.0.as_ref().map_or(0, |pipeline| pipeline.queue.lost())
    }

    /// Spans that the collector has taken.
    pub fn exported(&self) -> u64 {
        self.0.as_ref().map_or(0, |pipeline| pipeline.queue.exported())
    }

    /// Lets what is left leave, as far as that takes no longer than a few seconds.
    pub async fn close(&self) {
        if let Some(pipeline) = &self.0 {
            pipeline.queue.close(CLOSE).await;
        }
    }

    /// Where the spans of a run go that belongs to `parent`; `None` if it is not among those that are traced.
    fn for_run(&self, parent: &Parent, name: &str) -> Option<Arc<Pipeline>> {
        let pipeline = self.0.as_ref()?;
        let around = parent.span.map(|span| {
            let flags = TraceFlags::default().with_sampled(parent.is_sampled);
            Context::new().with_remote_span_context(SpanContext::new(
                parent.trace,
                span,
                flags,
                true,
                TraceState::default(),
            ))
        });
        let sampled = pipeline.sampler.should_sample(
            around.as_ref(),
            parent.trace,
            name,
            &SpanKind::Internal,
            &[],
            &[],
        );
        (sampled.decision == SamplingDecision::RecordAndSample).then(|| pipeline.clone())
    }
}

impl Pipeline {
    /// How much of what runs read and write goes along.
    fn level(&self) -> ContentLevel {
        self.contents.level()
    }

    fn export(&self, span: SpanData) {
        self.queue.push(span);
    }

    fn context(trace: TraceId, span: SpanId) -> SpanContext {
        SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default())
    }
}
