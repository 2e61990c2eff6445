//! HTTP clients of the service itself: their cryptography, and certificates only where an address needs them.

use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore};

/// A client for addresses of `scheme`.
///
/// Over plain http, no certificates are loaded: a slim container has none, and reading them would fail.
pub(crate) fn client_builder(scheme: &str) -> ClientBuilder {
    // An error means that the process has chosen a provider already, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    if scheme == "https" {
        return Client::builder();
    }
    let no_roots =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Client::builder().tls_backend_preconfigured(no_roots)
}
