//! Where the other processes on the same database reach this one.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error as _};

use super::error::with_hint;

/// Where the others reach this process: `10.1.2.3`, `worker-7.internal:7118`, `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advertise {
    /// Nowhere: what happens in its jobs is told by itself alone.
    Nowhere,
    /// At a name or an address.
    At {
        /// As it stands in a URL.
        host: String,
        /// Where it listens, if that is not the port that it has anyway.
        port: Option<u16>,
    },
}

/// The text says no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address at which others reach this process")]
pub struct AdvertiseError(String);

impl Advertise {
    /// At this address, at the port where it listens.
    pub fn ip(ip: IpAddr, port: Option<u16>) -> Self {
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        Self::At { host, port }
    }
}

impl FromStr for Advertise {
    type Err = AdvertiseError;

    fn from_str(text: &str) -> Result<Self, AdvertiseError> {
        if text == "none" {
            return Ok(Self::Nowhere);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::ip(ip, None));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::ip(address.ip(), Some(address.port())));
        }
        let refused = || AdvertiseError(text.to_owned());
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| refused())?)),
            None => (text, None),
        };
        let is_name = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if is_name { Ok(Self::At { host: host.to_owned(), port }) } else { Err(refused()) }
    }
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error: AdvertiseError| {
            D::Error::custom(with_hint(
                &error.to_string(),
                "write `HOST` or `HOST:PORT` without a scheme, or `none`",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_and_without_a_port_are_taken_and_urls_are_not() {
        let at = |host: &str, port| Ok(Advertise::At { host: host.to_owned(), port });
        for (text, expected) in [
            ("10.1.2.3", at("10.1.2.3", None)),
            ("10.1.2.3:7118", at("10.1.2.3", Some(7118))),
            ("fd00::7", at("[fd00::7]", None)),
            ("[fd00::7]:7118", at("[fd00::7]", Some(7118))),
            ("worker-7.internal", at("worker-7.internal", None)),
            ("worker-7.internal:80", at("worker-7.internal", Some(80))),
            ("none", Ok(Advertise::Nowhere)),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
        for text in ["", "http://worker", "worker:port", "a b", "worker/", "user@worker"] {
            assert_eq!(text.parse::<Advertise>(), Err(AdvertiseError(text.to_owned())));
        }
    }
}
