//! Signatures of webhooks, as the specification "Standard Webhooks" has them, and the secrets that make them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

/// Bytes of randomness in a secret.
const SECRET_BYTES: usize = 32;
/// Begins every secret, so that people and scanners know it for one.
const PREFIX: &str = "whsec_";

/// Why there is no signature.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The secret cannot be one.
    #[error("the secret of the webhook is none: {0}")]
    Secret(String),
    /// The system gives no randomness.
    #[error("the system gives no random bytes")]
    Random,
}

/// A new secret: `whsec_` and random bytes as base64.
pub fn new_secret() -> Result<String, Error> {
    let mut bytes = [0; SECRET_BYTES];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// The headers of a message: its id, when it was sent (unix seconds), and a signature for each secret, newest first.
/// While a secret is being replaced there are two, and a receiver that knows either is content.
pub fn headers(
    id: &str,
    sent_at: i64,
    body: &str,
    secrets: &[&str],
) -> Result<[(&'static str, String); 3], Error> {
    let mut signatures = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let signed = Webhook::new(secret).and_then(|key| key.sign(id, sent_at, body.as_bytes()));
        signatures.push(signed.map_err(|error| Error::Secret(error.to_string()))?);
    }
    Ok([
        (HEADER_WEBHOOK_ID, id.to_owned()),
        (HEADER_WEBHOOK_TIMESTAMP, sent_at.to_string()),
        (HEADER_WEBHOOK_SIGNATURE, signatures.join(" ")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderMap, HeaderName};

    fn map(headers: &[(&'static str, String)]) -> HeaderMap {
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_receiver_with_either_secret_verifies_and_any_other_does_not() {
        let (old, new, other) = (new_secret().unwrap(), new_secret().unwrap(), new_secret().unwrap());
        let now = jiff::Timestamp::now().as_second();
        let headers = map(&headers("dlv_1", now, "{\"a\":1}", &[&new, &old]).unwrap());
        for secret in [&old, &new] {
            Webhook::new(secret).unwrap().verify(b"{\"a\":1}", &headers).unwrap();
        }
        assert!(Webhook::new(&other).unwrap().verify(b"{\"a\":1}", &headers).is_err());
        assert!(Webhook::new(&new).unwrap().verify(b"{\"a\":2}", &headers).is_err());
    }

    #[test]
    fn the_example_of_the_specification_is_signed_as_it_says() {
        let body = r#"{"test": 2432232314}"#;
        let [_, at, signature] = headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
            &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        )
        .unwrap();
        assert_eq!(at.1, "1614265330");
        assert_eq!(signature.1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let secret = new_secret().unwrap();
        assert_eq!(STANDARD.decode(secret.strip_prefix(PREFIX).unwrap()).unwrap().len(), SECRET_BYTES);
        assert_ne!(secret, new_secret().unwrap());
        assert!(headers("dlv_1", 0, "{}", &["whsec_ not base64"]).is_err());
    }
}
