//! What `/metrics` shows, as OTLP has it: the same names, labels and buckets, so that the dashboards fit both ways.

use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyOf;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};
use prometheus_client::encoding::prometheus_protobuf::encode;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as prometheus;
use prometheus_client::registry::Registry;

/// When counting began and when it was looked at, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The start of the process.
    pub from_ns: u64,
    /// Now.
    pub to_ns: u64,
}

/// Every metric that has counted something.
pub(super) fn of(registry: &Registry, span: Span) -> Vec<Metric> {
    // Nothing that is registered here has a form that it does not take.
    let all = encode(registry).unwrap_or_default();
    all.into_iter().filter(|family| !family.metric.is_empty()).map(|family| metric(family, span)).collect()
}

fn metric(family: prometheus::MetricFamily, span: Span) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let kind = family.r#type();
    let series = family.metric.into_iter();
    let data = match kind {
        prometheus::MetricType::Counter => Data::Sum(Sum {
            data_points: series.filter_map(|one| Some(number(one.label, one.counter?.value, span))).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        prometheus::MetricType::Histogram => Data::Histogram(Histogram {
            data_points: series.filter_map(|one| Some(histogram(one.label, &one.histogram?, span))).collect(),
            aggregation_temporality: cumulative,
        }),
        _ => Data::Gauge(Gauge {
            data_points: series.filter_map(|one| Some(number(one.label, one.gauge?.value, span))).collect(),
        }),
    };
    Metric { name: family.name, description: family.help, data: Some(data), ..Metric::default() }
}

fn attributes(labels: Vec<prometheus::LabelPair>) -> Vec<KeyValue> {
    let attribute = |label: prometheus::LabelPair| {
        let value = Some(AnyValue { value: Some(AnyOf::StringValue(label.value)) });
        KeyValue { key: label.name, value, ..KeyValue::default() }
    };
    labels.into_iter().map(attribute).collect()
}

fn number(labels: Vec<prometheus::LabelPair>, value: f64, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.from_ns,
        time_unix_nano: span.to_ns,
        value: Some(Number::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(
    labels: Vec<prometheus::LabelPair>,
    counted: &prometheus::Histogram,
    span: Span,
) -> HistogramDataPoint {
    let bounds = counted.bucket.iter().map(|bucket| bucket.upper_bound);
    let cumulative: Vec<u64> = counted.bucket.iter().map(|bucket| bucket.cumulative_count).collect();
    let before = std::iter::once(0).chain(cumulative.iter().copied());
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.from_ns,
        time_unix_nano: span.to_ns,
        count: counted.sample_count,
        sum: Some(counted.sample_sum),
        // Here each bucket counts what is in it alone, and the last has no bound.
        bucket_counts: cumulative
            .iter()
            .zip(before)
            .map(|(upto, before)| upto.saturating_sub(before))
            .collect(),
        explicit_bounds: bounds.take(cumulative.len().saturating_sub(1)).collect(),
        ..HistogramDataPoint::default()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge as Level;
    use prometheus_client::metrics::histogram::Histogram as Times;

    use super::*;

    #[test]
    fn counts_levels_and_times_are_as_collectors_have_them() {
        let mut registry = Registry::default();
        let (calls, level, times) = (
            Family::<Vec<(&str, &str)>, Counter>::default(),
            Level::<i64>::default(),
            Times::new([1.0, 5.0]),
        );
        registry.register("calls", "Calls", calls.clone());
        registry.register("level", "Level", level.clone());
        registry.register("seconds", "Times", times.clone());
        let span = Span { from_ns: 7, to_ns: 9 };
        let names = |metrics: &[Metric]| metrics.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&of(&registry, span)), ["level", "seconds"], "what has no series is left out");
        calls.get_or_create(&vec![("model", "a,b=\"c\"")]).inc_by(3);
        level.set(-2);
        for seconds in [0.5, 3.0, 4.0, 60.0] {
            times.observe(seconds);
        }
        let all = of(&registry, span);
        assert_eq!(names(&all), ["calls_total", "level", "seconds"]);
        let [calls, level, times] = all.as_slice() else { panic!("{all:?}") };
        let Some(Data::Sum(sum)) = &calls.data else { panic!("{calls:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (7, 9));
        assert_eq!(point.value, Some(Number::AsDouble(3.0)));
        let label = point.attributes[0].value.clone().unwrap().value;
        assert_eq!(label, Some(AnyOf::StringValue("a,b=\"c\"".to_owned())));
        let Some(Data::Gauge(gauge)) = &level.data else { panic!("{level:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Number::AsDouble(-2.0)));
        let Some(Data::Histogram(histogram)) = &times.data else { panic!("{times:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (4, Some(67.5)));
        assert_eq!((&*point.explicit_bounds, &*point.bucket_counts), (&[1.0, 5.0][..], &[1, 2, 1][..]));
    }
}
