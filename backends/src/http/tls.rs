//! The HTTP client's cryptography: ring, and certificates only where the address needs them.

use std::sync::Once;

use reqwest::{Client, ClientBuilder};
use rustls::{ClientConfig, RootCertStore};

static PROVIDER: Once = Once::new();

/// A client for addresses of `scheme`.
///
/// Over plain http, no certificates are loaded: a slim container has none, and reading them would fail.
pub(crate) fn client_builder(scheme: &str) -> ClientBuilder {
    PROVIDER.call_once(|| {
        // An error means that the process has chosen a provider already, which serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
    if scheme == "https" {
        return Client::builder();
    }
    let no_roots =
        ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Client::builder().tls_backend_preconfigured(no_roots)
}
