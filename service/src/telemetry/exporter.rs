//! How the collector is reached: the official OTLP exporter, over gRPC or HTTP.

use std::collections::HashMap;

use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use secrecy::ExposeSecret as _;

use super::TelemetryError;
use crate::config::{OtlpProtocol, TelemetrySection};
use crate::resources::Env;

/// Where spans are taken over HTTP, below the collector's address.
const PATH: &str = "/v1/traces";

/// The exporter that `section` and the standard variables describe; `None` if they name no collector.
pub(super) fn of(section: &TelemetrySection, env: Env<'_>) -> Result<Option<SpanExporter>, TelemetryError> {
    let var = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let is_off = var("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || var("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    if is_off {
        return Ok(None);
    }
    let protocol = match (
        section.protocol,
        var("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        var("OTEL_EXPORTER_OTLP_PROTOCOL"),
    ) {
        (Some(protocol), ..) => protocol,
        (None, Some(said), _) | (None, None, Some(said)) => match said.as_str() {
            "grpc" => OtlpProtocol::Grpc,
            "http/protobuf" => OtlpProtocol::Http,
            _ => {
                return Err(TelemetryError::Variable {
                    name: "OTEL_EXPORTER_OTLP_PROTOCOL",
                    value: said,
                    known: "`grpc` or `http/protobuf`",
                });
            }
        },
        (None, None, None) => OtlpProtocol::Grpc,
    };
    let for_all = section.endpoint.clone().or_else(|| {
        if var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some() {
            None
        } else {
            var("OTEL_EXPORTER_OTLP_ENDPOINT")
        }
    });
    let endpoint = match (for_all, var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), protocol) {
        (Some(base), _, OtlpProtocol::Http) if !base.trim_end_matches('/').ends_with(PATH) => {
            format!("{}{PATH}", base.trim_end_matches('/'))
        }
        (Some(base), ..) | (None, Some(base), _) => base,
        (None, None, _) => return Ok(None),
    };
    let mut headers = Vec::new();
    for (name, secret) in &section.headers {
        headers.push((name.to_lowercase(), secret.resolve(env)?.expose_secret().to_owned()));
    }
    let mut exporter = match protocol {
        OtlpProtocol::Grpc => grpc(section, endpoint, headers)?,
        OtlpProtocol::Http => http(section, endpoint, headers)?,
    };
    exporter.set_resource(&resource(section, env));
    Ok(Some(exporter))
}

fn grpc(
    section: &TelemetrySection,
    endpoint: String,
    headers: Vec<(String, String)>,
) -> Result<SpanExporter, TelemetryError> {
    let mut fields = http::HeaderMap::new();
    for (name, value) in headers {
        let wrong = || TelemetryError::Exporter(format!("`{name}` is no header, or its value is none"));
        let key = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        fields.insert(key, value.parse().map_err(|_| wrong())?);
    }
    let is_secure = endpoint.starts_with("https://");
    let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(section.timeout);
    let builder =
        if fields.is_empty() { builder } else { builder.with_metadata(MetadataMap::from_headers(fields)) };
    let builder =
        if is_secure { builder.with_tls_config(ClientTlsConfig::new().with_native_roots()) } else { builder };
    builder.build().map_err(|error| TelemetryError::Exporter(error.to_string()))
}

fn http(
    section: &TelemetrySection,
    endpoint: String,
    headers: Vec<(String, String)>,
) -> Result<SpanExporter, TelemetryError> {
    let scheme = endpoint.split(':').next().unwrap_or_default();
    let client = crate::tls::client_builder(scheme)
        .timeout(section.timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(section.timeout)
        .with_headers(headers.into_iter().collect::<HashMap<_, _>>())
        .with_http_client(client)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))
}

/// What this process is called in traces.
fn resource(section: &TelemetrySection, env: Env<'_>) -> Resource {
    let named = section.service.clone().or_else(|| env("OTEL_SERVICE_NAME")).filter(|name| !name.is_empty());
    // Reads `OTEL_RESOURCE_ATTRIBUTES` as well.
    Resource::builder()
        .with_service_name(named.unwrap_or_else(|| "anabranch".to_owned()))
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string()),
        ])
        .build()
}
