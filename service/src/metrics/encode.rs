//! Writes numbers that are looked up when they are asked for, each under its name.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::names::{Kind, Metric};

/// The labels of a series, in the order of [`Metric::labels`].
pub(super) type Values<'a, const N: usize> = [&'a str; N];

/// One number without labels.
pub(super) fn gauge(to: &mut DescriptorEncoder<'_>, metric: &Metric, value: f64) -> Result<(), fmt::Error> {
    begin(to, metric)?.encode_gauge(&value)
}

/// One number without labels that only grows.
pub(super) fn counter(to: &mut DescriptorEncoder<'_>, metric: &Metric, value: f64) -> Result<(), fmt::Error> {
    begin(to, metric)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

/// A number for each of these labels.
pub(super) fn family<'a, const N: usize>(
    to: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    series: impl IntoIterator<Item = (Values<'a, N>, f64)>,
) -> Result<(), fmt::Error> {
    let mut all = begin(to, metric)?;
    for (values, number) in series {
        let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(values).collect();
        let mut one = all.encode_family(&labels)?;
        match metric.kind {
            Kind::Counter => one.encode_counter::<NoLabelSet, _, f64>(&number, None)?,
            _ => one.encode_gauge(&number)?,
        }
    }
    Ok(())
}

/// What a histogram has counted: the sum, and the counts by upper bound, not added up.
pub(super) struct Counted {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) buckets: Vec<(f64, u64)>,
}

/// A histogram for each of these labels.
pub(super) fn histograms<'a, const N: usize>(
    to: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    series: impl IntoIterator<Item = (Values<'a, N>, Counted)>,
) -> Result<(), fmt::Error> {
    let mut all = begin(to, metric)?;
    for (values, Counted { sum, count, buckets }) in series {
        let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(values).collect();
        all.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn begin<'a>(to: &'a mut DescriptorEncoder<'_>, metric: &Metric) -> Result<MetricEncoder<'a>, fmt::Error> {
    let kind = match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    to.encode_descriptor(metric.name, metric.help, None, kind)
}
