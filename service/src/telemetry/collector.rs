//! Where a collector is and how it is spoken to: the section `telemetry`, and beneath it the standard variables.

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use secrecy::ExposeSecret as _;

use super::TelemetryError;
use crate::config::{OtlpProtocol, TelemetrySection};
use crate::resources::Env;

/// Names this process, whatever it sends.
static INSTANCE: LazyLock<String> = LazyLock::new(|| uuid::Uuid::now_v7().to_string());

/// What is sent to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Spans.
    Traces,
    /// Counts and times.
    Metrics,
}

impl Signal {
    /// Where it is taken over HTTP, below the collector's address.
    const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// How the standard variables that are about it alone call it.
    const fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// A collector of one signal.
pub(super) struct Address {
    pub(super) protocol: OtlpProtocol,
    pub(super) endpoint: String,
    /// By lower-case name.
    pub(super) headers: Vec<(String, String)>,
}

impl Address {
    /// The headers, as HTTP has them.
    pub(super) fn fields(&self) -> Result<HeaderMap, TelemetryError> {
        let mut fields = HeaderMap::new();
        for (name, value) in &self.headers {
            let wrong = || TelemetryError::Exporter(format!("`{name}` is no header, or its value is none"));
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            fields.insert(key, value.parse().map_err(|_| wrong())?);
        }
        Ok(fields)
    }

    /// A client that goes nowhere else, and gives each export `timeout`.
    pub(super) fn client(&self, timeout: Duration) -> Result<reqwest::Client, TelemetryError> {
        let scheme = self.endpoint.split(':').next().unwrap_or_default();
        crate::tls::client_builder(scheme)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| TelemetryError::Exporter(error.to_string()))
    }
}

/// A standard variable that says something.
pub(super) fn var(env: Env<'_>, name: &str) -> Option<String> {
    env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// The collector that `section` and the standard variables name for `signal`, if any.
pub(super) fn of(
    section: &TelemetrySection,
    env: Env<'_>,
    signal: Signal,
) -> Result<Option<Address>, TelemetryError> {
    let var = |name: &str| var(env, name);
    let of_signal = |what: &str| var(&format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.word()));
    let is_off = var("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || var(&format!("OTEL_{}_EXPORTER", signal.word())).is_some_and(|value| value == "none");
    if is_off {
        return Ok(None);
    }
    let said = || of_signal("PROTOCOL").or_else(|| var("OTEL_EXPORTER_OTLP_PROTOCOL"));
    let protocol = match (section.protocol, said()) {
        (Some(protocol), _) => protocol,
        (None, None) => OtlpProtocol::Grpc,
        (None, Some(said)) => match said.as_str() {
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
    };
    let own = of_signal("ENDPOINT");
    let base = section
        .endpoint
        .clone()
        .or_else(|| own.is_none().then(|| var("OTEL_EXPORTER_OTLP_ENDPOINT")).flatten());
    let endpoint = match (base, own, protocol) {
        (Some(base), _, OtlpProtocol::Http) => {
            let base = base.trim_end_matches('/');
            let is_of = |signal: &Signal| base.ends_with(signal.path());
            match [Signal::Traces, Signal::Metrics].iter().find(|signal| is_of(signal)) {
                Some(of) if *of == signal => base.to_owned(),
                // It is said to be for the other signal alone.
                Some(_) => return Ok(None),
                None => format!("{base}{}", signal.path()),
            }
        }
        (Some(base), ..) | (None, Some(base), _) => base,
        (None, None, _) => return Ok(None),
    };
    let mut headers = Vec::new();
    for (name, secret) in &section.headers {
        headers.push((name.to_lowercase(), secret.resolve(env)?.expose_secret().to_owned()));
    }
    Ok(Some(Address { protocol, endpoint, headers }))
}

/// What this process is called.
pub(super) fn resource(section: &TelemetrySection, env: Env<'_>) -> Resource {
    let named = section.service.clone().or_else(|| var(env, "OTEL_SERVICE_NAME"));
    // Reads `OTEL_RESOURCE_ATTRIBUTES` as well.
    Resource::builder()
        .with_service_name(named.filter(|name| !name.is_empty()).unwrap_or_else(|| "anabranch".to_owned()))
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", INSTANCE.as_str()),
        ])
        .build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Where `signal` goes by these variables, and by `endpoint` of the section.
    fn goes(signal: Signal, endpoint: Option<&str>, variables: &[(&str, &str)]) -> Option<String> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let env = |name: &str| variables.get(name).map(|value| (*value).to_owned());
        let section =
            TelemetrySection { endpoint: endpoint.map(str::to_owned), ..TelemetrySection::default() };
        of(&section, &env, signal).unwrap().map(|address| address.endpoint)
    }

    #[test]
    fn each_signal_goes_to_its_own_path_or_address() {
        use Signal::{Metrics, Traces};
        let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        for (signal, path) in [(Traces, "http://c:4318/v1/traces"), (Metrics, "http://c:4318/v1/metrics")] {
            assert_eq!(goes(signal, Some("http://c:4318/"), &[http]).unwrap(), path);
            let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
            assert_eq!(goes(signal, None, &[http, all]).unwrap(), path);
            assert_eq!(goes(signal, None, &[all]).unwrap(), "http://c:4318", "gRPC has no paths");
            assert_eq!(goes(signal, None, &[all, ("OTEL_SDK_DISABLED", "TRUE")]), None);
            assert_eq!(goes(signal, None, &[]), None);
        }
        let whole = Some("http://c:4318/v1/traces");
        assert_eq!(goes(Traces, whole, &[http]).as_deref(), whole);
        assert_eq!(goes(Metrics, whole, &[http]), None, "an address of traces alone");
        let metrics = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/x");
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        assert_eq!(goes(Metrics, None, &[http, metrics, all]).unwrap(), "http://m:1/x", "taken as it is");
        assert_eq!(goes(Traces, None, &[metrics]), None);
        assert_eq!(goes(Metrics, None, &[all, ("OTEL_METRICS_EXPORTER", "none")]), None);
        assert!(goes(Traces, None, &[all, ("OTEL_METRICS_EXPORTER", "none")]).is_some());
    }
}
