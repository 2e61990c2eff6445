//! Metrics over OTLP, as a collector gets them.

use std::collections::{BTreeMap, BTreeSet};

use anabranch::config::{OtlpProtocol, TelemetrySection};
use anabranch::metrics::names;
use anabranch::telemetry::MetricsPush;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

use super::{Collector, Fake, Step, answer, response, routed, service};

/// What was counted, by name; of times, how many.
fn counts(request: &ExportMetricsServiceRequest) -> BTreeMap<String, f64> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let mut counts = BTreeMap::new();
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        let numbers = match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => &sum.data_points,
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Histogram(times) => {
                let count = times.data_points.iter().map(|point| point.count as f64).sum();
                counts.insert(metric.name.clone(), count);
                continue;
            }
            other => panic!("{other:?}"),
        };
        let value = |number: &Number| match number {
            Number::AsDouble(value) => *value,
            Number::AsInt(value) => *value as f64,
        };
        let sum = numbers.iter().map(|point| value(point.value.as_ref().unwrap())).sum();
        counts.insert(metric.name.clone(), sum);
    }
    counts
}

#[tokio::test]
async fn a_collector_gets_what_prometheus_gets() {
    for protocol in ["grpc", "http"] {
        let (collector, url) =
            if protocol == "grpc" { Collector::grpc().await } else { Collector::http().await };
        let model = Fake::start(|_| vec![Step::Send(answer())]).await;
        let section = format!(
            "telemetry: {{ endpoint: '{url}', protocol: {protocol}, metrics_every: 20ms, sample: 0.0, service: ours, \
             headers: {{ Authorization: '${{env:KEY}}' }} }}\n"
        );
        let (service, key) = service(&model, &section).await;
        routed(&service, &key, None).await;
        // A job may be over before its submission is counted.
        let is_all = |request: &ExportMetricsServiceRequest| {
            let counted = counts(request);
            ["anabranch_jobs_submitted_total", "anabranch_jobs_finished_total"]
                .iter()
                .all(|name| counted.get(*name).is_some_and(|jobs| *jobs > 0.0))
        };
        let got = collector.metrics(is_all).await;
        let counted = counts(&got);
        for (name, count) in [
            ("anabranch_jobs_submitted_total", 1.0),
            ("anabranch_model_calls_total", 1.0),
            ("anabranch_node_attempts_total", 1.0),
            ("anabranch_run_duration_seconds", 1.0),
            ("gen_ai_client_operation_duration_seconds", 1.0),
            ("anabranch_store_up", 1.0),
        ] {
            assert_eq!(counted.get(name), Some(&count), "{protocol}: {name}");
        }
        let known: BTreeSet<String> = names::ALL.iter().map(names::Metric::shown).collect();
        assert!(counted.keys().all(|name| known.contains(name)), "{counted:?}");
        let shown = service.ask("GET", "/metrics").send().await.text;
        for name in counted.keys() {
            assert!(shown.contains(&format!("# TYPE {name} ")), "{name} is at `/metrics` as well");
        }
        let about = &got.resource_metrics[0].resource.as_ref().unwrap().attributes;
        assert!(about.iter().any(|one| one.key == "service.name" && format!("{one:?}").contains("\"ours\"")));
        assert!(
            collector.keys().iter().all(|key| key == "a root key that is long enough to be one"),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn only_a_collector_that_takes_none_is_asked_no_more() {
    let section = |url: &str| TelemetrySection {
        endpoint: Some(url.to_owned()),
        protocol: Some(OtlpProtocol::Http),
        ..TelemetrySection::default()
    };
    let env = |_: &str| None;
    for (status, is_worth_it) in [
        ("200 OK", true),
        ("404 Not Found", false),
        ("501 Not Implemented", false),
        ("503 Service Unavailable", true),
    ] {
        let collector = Fake::start(move |_| vec![Step::Send(response(status, &[], b""))]).await;
        let push = MetricsPush::of(&section(&collector.url), &env).unwrap().unwrap();
        assert_eq!(push.send(Vec::new()).await, is_worth_it, "{status}");
        assert_eq!(collector.requests().len(), 1, "{status}");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = MetricsPush::of(&section(&format!("http://127.0.0.1:{port}")), &env).unwrap().unwrap();
    assert!(away.send(Vec::new()).await, "it may come back");
    let off = TelemetrySection { metrics: false, ..section("http://127.0.0.1:1") };
    assert!(MetricsPush::of(&off, &env).unwrap().is_none());
    let wrong = |name: &str| (name == "OTEL_METRIC_EXPORT_INTERVAL").then(|| "often".to_owned());
    let error = MetricsPush::of(&section("http://127.0.0.1:1"), &wrong).unwrap_err();
    assert!(error.to_string().contains("is `often`; it can be a whole number of milliseconds"), "{error}");
}
