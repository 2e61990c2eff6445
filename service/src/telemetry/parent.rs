//! What a run belongs to: the trace of its caller, or one of its own.

use opentelemetry::trace::{SpanId, TraceId};

/// The trace of a run, read from what its job keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The caller's span; none if the trace began with the job.
    pub span: Option<SpanId>,
    /// Whether the caller traces.
    pub is_sampled: bool,
}

impl Parent {
    /// What `trace` says: a W3C `traceparent`, with a span of zeros for a trace that nobody has begun before.
    pub fn read(trace: Option<&str>) -> Self {
        Self::parse(trace.unwrap_or_default()).unwrap_or_else(|| Self {
            trace: TraceId::from_bytes(fastrand::u128(1..).to_be_bytes()),
            span: None,
            is_sampled: true,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (_, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let trace = TraceId::from_hex(trace).ok().filter(|trace| *trace != TraceId::INVALID)?;
        let span = SpanId::from_hex(span).ok()?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self {
            trace,
            span: Some(span).filter(|span| *span != SpanId::INVALID),
            is_sampled: flags & 1 == 1,
        })
    }
}

/// A W3C `traceparent`.
pub(super) fn traceparent(trace: TraceId, span: SpanId, is_sampled: bool) -> String {
    format!("00-{trace}-{span}-{:02x}", u8::from(is_sampled))
}

/// The span of a part of a job that several processes may work on one after the other: it is the same in each.
pub(super) fn span_of(job: &str, part: &str) -> SpanId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(job.as_bytes()).update(b"\0").update(part.as_bytes());
    let mut id = [0; 8];
    hasher.finalize_xof().fill(&mut id);
    // All zeros is no span.
    id[7] |= 1;
    SpanId::from_bytes(id)
}

/// A span that nobody else needs to know of.
pub(super) fn new_span() -> SpanId {
    SpanId::from_bytes(fastrand::u64(1..).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_belongs_to_its_callers_span_or_begins_the_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let called = Parent::read(Some(&format!("00-{trace}-00f067aa0ba902b7-00")));
        assert_eq!((called.trace.to_string().as_str(), called.is_sampled), (trace, false));
        assert_eq!(called.span.unwrap().to_string(), "00f067aa0ba902b7");
        let own = Parent::read(Some(&format!("00-{trace}-0000000000000000-01")));
        assert_eq!((own.trace.to_string().as_str(), own.span, own.is_sampled), (trace, None, true));
        assert_ne!(Parent::read(Some("nonsense")).trace, Parent::read(None).trace);
    }

    #[test]
    fn the_same_part_of_a_job_has_the_same_span_in_every_process() {
        assert_eq!(span_of("job_1", "hop[2]"), span_of("job_1", "hop[2]"));
        assert_ne!(span_of("job_1", "hop[2]"), span_of("job_2", "hop[2]"));
        assert_eq!(
            traceparent(TraceId::from_bytes([1; 16]), SpanId::from_bytes([2; 8]), true),
            "00-01010101010101010101010101010101-0202020202020202-01"
        );
    }
}
