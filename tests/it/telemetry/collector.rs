//! A collector in this process: takes spans and metrics over HTTP or gRPC, decodes them, and keeps them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;

/// A span with its attributes by name.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) span: Span,
    pub(super) attributes: BTreeMap<String, serde_json::Value>,
    pub(super) service: String,
}

impl Seen {
    /// An attribute as text; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.attributes.get(name).and_then(|value| value.as_str()).unwrap_or_default()
    }

    pub(super) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(super) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(super) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Whether it ended well: set explicitly, since some backends take nothing for a failure.
    pub(super) fn is_ok(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == 1)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _unfailing = write!(hex, "{byte:02x}");
        hex
    })
}

#[derive(Debug, Default)]
struct Inner {
    spans: Mutex<Vec<Seen>>,
    /// Headers of each export.
    keys: Mutex<Vec<String>>,
    /// The latest metrics.
    metrics: watch::Sender<ExportMetricsServiceRequest>,
}

impl Inner {
    fn take_in(&self, request: ExportTraceServiceRequest, key: String) {
        self.keys.lock().unwrap().push(key);
        for resource in request.resource_spans {
            let about = resource.resource.unwrap_or_default();
            let service = about.attributes.iter().find(|one| one.key == "service.name");
            let service = service.and_then(|one| one.value.clone()?.value).map(json_of).unwrap_or_default();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let value = |one: &opentelemetry_proto::tonic::common::v1::KeyValue| {
                    (
                        one.key.clone(),
                        one.value.clone().and_then(|any| any.value).map_or(json!(null), json_of),
                    )
                };
                let attributes = span.attributes.iter().map(value).collect();
                let service = service.as_str().unwrap_or_default().to_owned();
                self.spans.lock().unwrap().push(Seen { span, attributes, service });
            }
        }
    }
}

fn json_of(value: Value) -> serde_json::Value {
    match value {
        Value::StringValue(text) => json!(text),
        Value::BoolValue(is) => json!(is),
        Value::IntValue(number) => json!(number),
        Value::DoubleValue(number) => json!(number),
        Value::ArrayValue(items) => {
            items.values.into_iter().map(|item| item.value.map_or(json!(null), json_of)).collect()
        }
        other => json!(format!("{other:?}")),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let key = key_of(request.metadata().as_ref());
        self.0.take_in(request.into_inner(), key);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.0.keys.lock().unwrap().push(key_of(request.metadata().as_ref()));
        self.0.metrics.send_replace(request.into_inner());
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn key_of(headers: &HeaderMap) -> String {
    headers.get("authorization").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned()
}

/// A running collector. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Collector(Arc<Inner>);

impl Collector {
    /// One that is spoken to over HTTP, and its address.
    pub(super) async fn http() -> (Self, String) {
        let collector = Self::default();
        let take = async |State(collector): State<Self>, headers: HeaderMap, body: Bytes| {
            collector.0.take_in(ExportTraceServiceRequest::decode(body).unwrap(), key_of(&headers));
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let count = async |State(collector): State<Self>, headers: HeaderMap, body: Bytes| {
            collector.0.keys.lock().unwrap().push(key_of(&headers));
            collector.0.metrics.send_replace(ExportMetricsServiceRequest::decode(body).unwrap());
            ExportMetricsServiceResponse::default().encode_to_vec()
        };
        let router = Router::new().route("/v1/traces", post(take)).route("/v1/metrics", post(count));
        let router = router.with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (collector, url)
    }

    /// One that is spoken to over gRPC, and its address.
    pub(super) async fn grpc() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(async move { serving.await.unwrap() });
        (collector, url)
    }

    /// What has come so far.
    pub(super) fn spans(&self) -> Vec<Seen> {
        self.0.spans.lock().unwrap().clone()
    }

    /// The keys that came with each export.
    pub(super) fn keys(&self) -> Vec<String> {
        self.0.keys.lock().unwrap().clone()
    }

    /// Metrics, once some have come of which `is_it` is true.
    pub(super) async fn metrics(
        &self,
        is_it: impl Fn(&ExportMetricsServiceRequest) -> bool,
    ) -> ExportMetricsServiceRequest {
        let mut metrics = self.0.metrics.subscribe();
        metrics.wait_for(is_it).await.unwrap().clone()
    }
}
