//! Metrics on their way to a collector: what `/metrics` shows, sent at an interval.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use percent_encoding::percent_decode_str;
use prost::Message as _;
use reqwest::StatusCode;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::TelemetryError;
use super::collector::{self, Address, Signal, var};
use crate::config::{OtlpProtocol, TelemetrySection};
use crate::metrics::Span;
use crate::resources::Env;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Sends metrics to a collector. Nothing waits for it, and what could not be sent is in the next export.
#[derive(Debug)]
pub struct MetricsPush {
    way: Way,
    resource: Resource,
    every: Duration,
    timeout: Duration,
    from_ns: u64,
    is_failing: AtomicBool,
    is_unwanted: AtomicBool,
}

/// How the collector is spoken to.
#[derive(Debug)]
enum Way {
    Grpc { client: MetricsServiceClient<Channel>, fields: MetadataMap },
    Http { client: reqwest::Client, url: String, fields: HeaderMap },
}

/// Why metrics were not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// It will not take any: it is for traces alone, as Phoenix and Langfuse are.
    #[error("the collector takes no metrics")]
    Ever,
    /// Not this time.
    #[error("{0}")]
    Now(String),
}

impl MetricsPush {
    /// What `section` and the standard variables describe; `None` if no metrics are to be sent. Needs a tokio runtime.
    pub fn of(section: &TelemetrySection, env: Env<'_>) -> Result<Option<Self>, TelemetryError> {
        if !section.metrics {
            return Ok(None);
        }
        let Some(mut address) = collector::of(section, env, Signal::Metrics)? else { return Ok(None) };
        // Those of the section stand over the standard ones.
        address.headers.splice(..0, standard_headers(env)?);
        let fields = address.fields()?;
        let timeout = section.timeout;
        let way = match address.protocol {
            OtlpProtocol::Grpc => {
                let client = MetricsServiceClient::new(channel(&address, timeout)?);
                Way::Grpc { client, fields: MetadataMap::from_headers(fields) }
            }
            OtlpProtocol::Http => {
                Way::Http { client: address.client(timeout)?, url: address.endpoint, fields }
            }
        };
        Ok(Some(Self {
            way,
            resource: (&collector::resource(section, env)).into(),
            every: interval(section, env)?,
            timeout,
            from_ns: now_ns(),
            is_failing: AtomicBool::new(false),
            is_unwanted: AtomicBool::new(false),
        }))
    }

    /// How often.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Whether the collector has not yet said that it takes none.
    pub fn is_wanted(&self) -> bool {
        !self.is_unwanted.load(Ordering::Relaxed)
    }

    /// What an export is about that is made now.
    pub fn span(&self) -> Span {
        Span { from_ns: self.from_ns, to_ns: now_ns() }
    }

    /// Sends `metrics`; the log is told when that begins to fail and when it works again. Whether it is worth to go on.
    pub async fn send(&self, metrics: Vec<Metric>) -> bool {
        let scope = InstrumentationScope {
            name: "anabranch".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scoped = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
        let resource = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![scoped],
            ..ResourceMetrics::default()
        };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
        let sent = tokio::time::timeout(self.timeout, self.export(request)).await;
        match sent.unwrap_or_else(|_| Err(Refused::Now("the collector did not answer in time".to_owned()))) {
            Ok(()) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the collector takes metrics again");
                }
            }
            Err(why @ Refused::Ever) => {
                self.is_unwanted.store(true, Ordering::Relaxed);
                tracing::warn!(%why, "no more metrics are sent; `/metrics` has them");
                return false;
            }
            Err(why) => {
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%why, "metrics could not be sent; runs are not affected");
                }
            }
        }
        true
    }

    async fn export(&self, request: ExportMetricsServiceRequest) -> Result<(), Refused> {
        let answer = match &self.way {
            Way::Grpc { client, fields } => {
                let mut request = tonic::Request::new(request);
                *request.metadata_mut() = fields.clone();
                let answer = client.clone().max_decoding_message_size(ANSWER_BYTES).export(request).await;
                answer.map_err(|status| refused_by(&status))?.into_inner()
            }
            Way::Http { client, url, fields } => over_http(client, url, fields, &request).await?,
        };
        match answer.partial_success.filter(|partial| partial.rejected_data_points > 0) {
            Some(partial) => Err(Refused::Now(format!(
                "the collector left out {} numbers: {}",
                partial.rejected_data_points, partial.error_message
            ))),
            None => Ok(()),
        }
    }
}

async fn over_http(
    client: &reqwest::Client,
    url: &str,
    fields: &HeaderMap,
    request: &ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, Refused> {
    let asked = client.post(url).headers(fields.clone()).header("content-type", "application/x-protobuf");
    let failed = |error: reqwest::Error| Refused::Now(error.without_url().to_string());
    let mut answer = asked.body(request.encode_to_vec()).send().await.map_err(failed)?;
    match answer.status() {
        status if status.is_success() => {
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(failed)? {
                body.extend_from_slice(&piece);
                if body.len() > ANSWER_BYTES {
                    return Err(Refused::Now("the collector's answer is too long".to_owned()));
                }
            }
            // Some answer `{}` or nothing; that they have taken it is all that counts.
            Ok(ExportMetricsServiceResponse::decode(&*body).unwrap_or_default())
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            Err(Refused::Ever)
        }
        status => Err(Refused::Now(format!("the collector answered {status}"))),
    }
}

fn refused_by(status: &tonic::Status) -> Refused {
    match status.code() {
        tonic::Code::Unimplemented => Refused::Ever,
        code => Refused::Now(format!("the collector answered {code:?}: {}", status.message())),
    }
}

fn channel(address: &Address, timeout: Duration) -> Result<Channel, TelemetryError> {
    let wrong = |error: tonic::transport::Error| TelemetryError::Exporter(error.to_string());
    let mut endpoint = Endpoint::from_shared(address.endpoint.clone()).map_err(wrong)?;
    if address.endpoint.starts_with("https://") {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(wrong)?;
    }
    Ok(endpoint.connect_timeout(timeout).timeout(timeout).connect_lazy())
}

/// How often metrics are sent.
fn interval(section: &TelemetrySection, env: Env<'_>) -> Result<Duration, TelemetryError> {
    const NAME: &str = "OTEL_METRIC_EXPORT_INTERVAL";
    match (section.metrics_every, var(env, NAME)) {
        (Some(every), _) => Ok(every),
        (None, None) => Ok(TelemetrySection::METRICS_EVERY),
        (None, Some(value)) => match value.parse() {
            Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
            _ => {
                let known = "a whole number of milliseconds, at least 1";
                Err(TelemetryError::Variable { name: NAME, value, known })
            }
        },
    }
}

/// Headers of the standard variables, `name=value` with `%` for what cannot stand there, by lower-case name.
fn standard_headers(env: Env<'_>) -> Result<Vec<(String, String)>, TelemetryError> {
    const NAMES: [&str; 2] = ["OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
    let Some((name, said)) = NAMES.into_iter().find_map(|name| Some((name, var(env, name)?))) else {
        return Ok(Vec::new());
    };
    let mut headers = Vec::new();
    for pair in said.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let decoded = |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
        let header = pair.split_once('=').and_then(|(name, value)| Some((name.trim(), decoded(value)?)));
        let Some((key, value)) = header else {
            // What is there may be a key.
            return Err(TelemetryError::Variable {
                name,
                value: "…".to_owned(),
                known: "`name=value` pairs with commas between them",
            });
        };
        headers.push((key.to_lowercase(), value));
    }
    Ok(headers)
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
