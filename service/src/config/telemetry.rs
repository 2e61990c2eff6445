//! Where traces and metrics go and what is in them: the section `telemetry`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};

use super::limits::some_duration;
use super::secret::SecretRef;

/// Where traces and metrics go, what is in them, and how the log is written.
///
/// What is not set here is taken from the standard variables: `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin,
/// `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_METRIC_EXPORT_INTERVAL`,
/// `OTEL_SDK_DISABLED`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// Address of an OTLP collector: `http://localhost:4317` for gRPC, `http://localhost:4318` for HTTP. Without it, and
    /// without `OTEL_EXPORTER_OTLP_ENDPOINT`, nothing is exported.
    pub endpoint: Option<String>,
    /// How the collector is spoken to; `grpc` if it is set nowhere.
    pub protocol: Option<OtlpProtocol>,
    /// Headers that go along, such as keys of the collector: `authorization: "${env:OTLP_KEY}"`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, SecretRef>,
    /// Longest time for one export; 10s if unset.
    #[serde(deserialize_with = "some_duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
    /// What the service is called in traces; `anabranch` if it is set nowhere.
    pub service: Option<String>,
    /// Which share of the runs is traced, 0 to 1. A run whose caller has decided (`traceparent`) does as the caller does.
    /// 1 if it is set nowhere.
    #[serde(deserialize_with = "share")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: Option<f64>,
    /// How much of prompts, answers, documents and values goes into traces; `none` if unset. Known secrets never do.
    pub content: ContentLevel,
    /// Spans that may wait for the collector; what comes when it is full is lost and counted. 16384 if unset.
    #[serde(deserialize_with = "queue")]
    #[schemars(range(min = 1))]
    pub queue: usize,
    /// Whether metrics go to the collector as well; they are at `/metrics` in any case. Not with
    /// `OTEL_METRICS_EXPORTER=none`.
    pub metrics: bool,
    /// How often they do; 60s if it is set nowhere.
    #[serde(deserialize_with = "some_time")]
    #[schemars(with = "Option<String>")]
    pub metrics_every: Option<Duration>,
    /// How the log is written; `auto` if unset.
    pub log: LogFormat,
}

/// How an OTLP collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

/// How much of what runs read and write goes into traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContentLevel {
    /// None of it: names, numbers, ids and scores alone.
    #[default]
    None,
    /// The beginning of each value: 1 KiB.
    Truncated,
    /// Each value, up to 32 KiB.
    Full,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For reading on a terminal, as JSON for everything else.
    #[default]
    Auto,
    /// An object a line.
    Json,
    /// For reading.
    Pretty,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(10),
            service: None,
            sample: None,
            content: ContentLevel::default(),
            queue: 16_384,
            metrics: true,
            metrics_every: None,
            log: LogFormat::default(),
        }
    }
}

impl TelemetrySection {
    /// How often metrics are sent if nobody says so.
    pub const METRICS_EVERY: Duration = Duration::from_mins(1);

    /// The paths in it, which start from the folder of the configuration.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.headers.values_mut().filter_map(|secret| match secret {
            SecretRef::File(path) => Some(path),
            SecretRef::Env(_) => None,
        })
    }
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    some_duration(deserializer).map(Some)
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match f64::deserialize(deserializer)? {
        share if (0.0..=1.0).contains(&share) => Ok(Some(share)),
        _ => Err(D::Error::custom("expected a share, from 0 to 1")),
    }
}

fn queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("expected a whole number, at least 1")),
        count => Ok(count),
    }
}
