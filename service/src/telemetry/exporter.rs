//! How the collector is reached: the official OTLP exporter, over gRPC or HTTP.

use std::collections::HashMap;

use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{
    Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::trace::SpanExporter as _;

use super::TelemetryError;
use super::collector::{self, Address, Signal};
use crate::config::{OtlpProtocol, TelemetrySection};
use crate::resources::Env;

/// The exporter that `section` and the standard variables describe; `None` if they name no collector.
pub(super) fn of(section: &TelemetrySection, env: Env<'_>) -> Result<Option<SpanExporter>, TelemetryError> {
    let Some(address) = collector::of(section, env, Signal::Traces)? else { return Ok(None) };
    let mut exporter = match address.protocol {
        OtlpProtocol::Grpc => grpc(section, address)?,
        OtlpProtocol::Http => http(section, address)?,
    };
    exporter.set_resource(&collector::resource(section, env));
    Ok(Some(exporter))
}

fn grpc(section: &TelemetrySection, address: Address) -> Result<SpanExporter, TelemetryError> {
    let fields = address.fields()?;
    let endpoint = address.endpoint;
    let is_secure = endpoint.starts_with("https://");
    let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(section.timeout);
    let builder =
        if fields.is_empty() { builder } else { builder.with_metadata(MetadataMap::from_headers(fields)) };
    let builder =
        if is_secure { builder.with_tls_config(ClientTlsConfig::new().with_native_roots()) } else { builder };
    builder.build().map_err(|error| TelemetryError::Exporter(error.to_string()))
}

fn http(section: &TelemetrySection, address: Address) -> Result<SpanExporter, TelemetryError> {
    let client = address.client(section.timeout)?;
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(address.endpoint)
        .with_timeout(section.timeout)
        .with_headers(address.headers.into_iter().collect::<HashMap<_, _>>())
        .with_http_client(client)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))
}
