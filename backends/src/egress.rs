//! Where webhooks and tools may go: nowhere inside, whatever a name resolves to, unless the configuration lists it.
//!
//! A name is resolved by the client itself, at the moment of the connection, and only addresses that were checked are
//! connected to: a name that changes between a check and the connection gains nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Longest address that is taken, in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Why nothing is sent to an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no address.
    #[error("`{url}` is no address: {why}")]
    NoUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is not encrypted.
    #[error("`{0}` is not https")]
    Plain(String),
    /// It has a name and password in it.
    #[error("the address has a user name or password in it")]
    Credentials,
    /// It leads inside.
    #[error("`{host}` is {what}, not a public address")]
    Inside {
        /// The host, as it was given.
        host: String,
        /// What kind of address it has.
        what: &'static str,
    },
}

impl Refused {
    /// What would be right; `setting` is where hosts inside are listed.
    pub fn hint(&self, setting: &str) -> String {
        match self {
            Self::NoUrl { .. } => "write it as `https://example.com/hook`".to_owned(),
            Self::Plain(_) => format!("use https; plain http only goes to hosts listed in `{setting}`"),
            Self::Credentials => "leave them out".to_owned(),
            Self::Inside { .. } => format!("an address inside must be listed in `{setting}`"),
        }
    }
}

/// A host or network that requests may go to although it is inside: `localhost`, `hooks.internal`, `10.2.0.0/16`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A host, by the name that addresses give it.
    Host(String),
    /// A network: its address and the number of leading bits that count.
    Network(IpAddr, u8),
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let bare = address.trim_matches(['[', ']']);
        match (bare.parse::<IpAddr>(), bits) {
            (Ok(address), None) => Ok(Self::Network(address, width(address))),
            (Ok(address), Some(bits)) => match bits.parse() {
                Ok(bits) if bits <= width(address) => Ok(Self::Network(address, bits)),
                _ => Err(format!("`{text}` is no network: `/{bits}` is too much")),
            },
            (Err(_), None) if is_host(text) => Ok(Self::Host(text.to_ascii_lowercase())),
            _ => Err(format!("`{text}` is neither a host nor a network such as `10.2.0.0/16`")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Allowed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Says where requests may go. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Guard(Arc<[Allowed]>);

impl Guard {
    /// A guard that lets requests go outside and to what is listed.
    pub fn new(allowed: impl IntoIterator<Item = Allowed>) -> Self {
        Self(allowed.into_iter().collect())
    }

    /// The address `text`, if something may be sent there as far as it says itself; names are resolved later, when
    /// something is sent.
    pub fn url(&self, text: &str) -> Result<Url, Refused> {
        let no_url = |why: String| Refused::NoUrl { url: text.chars().take(200).collect(), why };
        if text.len() > URL_BYTES_MAX {
            return Err(no_url(format!("it has more than {URL_BYTES_MAX} bytes")));
        }
        let url = Url::parse(text).map_err(|error| no_url(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(no_url("it is neither http nor https".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let is_encrypted = url.scheme() == "https";
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.address(&host, address, is_encrypted).map(|()| url);
        }
        if self.lists_host(&host) {
            return Ok(url);
        }
        // Names that by themselves lead inside are refused at once rather than when something is sent.
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            return Err(Refused::Inside { host, what: "this machine" });
        }
        // A listed network may hold what a name resolves to: that is seen when something is sent.
        let may_be_listed = self.0.iter().any(|a| matches!(a, Allowed::Network(..)));
        if !is_encrypted && !may_be_listed {
            return Err(Refused::Plain(host));
        }
        Ok(url)
    }

    /// Whether `address`, which `host` stands for, may be connected to: in the clear only if it is listed.
    fn address(&self, host: &str, address: IpAddr, is_encrypted: bool) -> Result<(), Refused> {
        if self.lists_host(host) || self.lists_address(address) {
            return Ok(());
        }
        match inside(address) {
            Some(what) => Err(Refused::Inside { host: host.to_owned(), what }),
            None if is_encrypted => Ok(()),
            None => Err(Refused::Plain(host.to_owned())),
        }
    }

    /// Resolves the names of addresses of `scheme`, to what may be connected to.
    pub fn resolver(&self, scheme: &str) -> impl Resolve + use<> {
        Resolver { guard: self.clone(), is_encrypted: scheme == "https" }
    }

    /// Those of the addresses of `host` that may be connected to.
    fn addresses(
        &self,
        host: &str,
        found: Vec<SocketAddr>,
        is_encrypted: bool,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let mut refused = None;
        let mut kept = found;
        kept.retain(|address| match self.address(host, address.ip(), is_encrypted) {
            Ok(()) => true,
            Err(why) => {
                refused = Some(why);
                false
            }
        });
        match refused {
            Some(why) if kept.is_empty() => Err(why),
            _ => Ok(kept),
        }
    }

    fn lists_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.0.iter().any(|allowed| matches!(allowed, Allowed::Host(name) if name.eq_ignore_ascii_case(host)))
    }

    fn lists_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|allowed| match allowed {
            Allowed::Network(network, bits) => is_in(address, *network, *bits),
            Allowed::Host(_) => false,
        })
    }
}

/// Resolves names for a client of one scheme.
#[derive(Debug, Clone)]
struct Resolver {
    guard: Guard,
    is_encrypted: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { guard, is_encrypted } = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            // The port is the client's business: it puts its own in.
            let found = tokio::net::lookup_host((host, 0)).await?.collect();
            let kept = guard.addresses(host, found, is_encrypted)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Network(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let leading =
        |value: u128, width: u8| value.checked_shr(u32::from(width.saturating_sub(bits))).unwrap_or(0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => leading(a.to_bits().into(), 32) == leading(n.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => leading(a.to_bits(), 128) == leading(n.to_bits(), 128),
        _ => false,
    }
}

/// What kind of inside an address is in; `None` for one that anybody can reach.
pub fn inside(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => inside_v4(address),
        IpAddr::V6(address) => inside_v6(address),
    }
}

fn inside_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (0, ..) => "this network",
        (127, ..) => "this machine",
        (169, 254, _) => "link-local, where clouds keep their metadata",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "a private address",
        (100, 64..=127, _) => "shared address space",
        (192, 0, 0)
        | (192, 0 | 88, 2 | 99)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113)
        | (240..=255, ..) => "a reserved address",
        (224..=239, ..) => "a multicast address",
        _ => return None,
    })
}

fn inside_v6(address: Ipv6Addr) -> Option<&'static str> {
    // Addresses that carry an IPv4 address lead where that one leads.
    if let Some(v4) = embedded(address) {
        return inside_v4(v4);
    }
    let [first, second, ..] = address.segments();
    Some(match first {
        _ if address.is_unspecified() => "this network",
        _ if address.is_loopback() => "this machine",
        0xfe80..=0xfebf => "link-local",
        0xfec0..=0xfeff | 0xfc00..=0xfdff => "a private address",
        0xff00..=0xffff => "a multicast address",
        0x2001 if second < 0x200 || second == 0xdb8 => "a reserved address",
        0x3fff => "a reserved address",
        // All that is given out for use lies in 2000::/3.
        0x2000..=0x3fff => return None,
        _ => "a reserved address",
    })
}

/// The IPv4 address that an IPv6 address carries: mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // `::` and `::1` are no carriers.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_writing_an_address_inside_gets_past() {
        let guard = Guard::default();
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://0/",
            "https://localhost:8080/hook",
            "https://LOCALHOST./",
            "https://a.localhost/",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://172.31.255.255/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://100.100.100.200/",
            "https://198.18.0.1/",
            "https://192.0.0.192/",
            "https://192.0.2.1/",
            "https://203.0.113.9/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::]/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[2002:7f00:1::]/",
            "https://[fe80::1]/",
            "https://[fc00::1]/",
            "https://[fd00:ec2::254]/",
            "https://[fec0::1]/",
            "https://[ff02::1]/",
            "https://[2001::1]/",
            "https://[2001:db8::1]/",
            "https://[100::1]/",
        ] {
            assert!(matches!(guard.url(url), Err(Refused::Inside { .. })), "{url}: {:?}", guard.url(url));
        }
    }

    #[test]
    fn in_the_clear_nothing_goes_outside() {
        let guard = Guard::new(["10.2.0.0/16".parse().unwrap(), "hooks.example".parse().unwrap()]);
        // A name may turn out to be of the network that is listed.
        assert!(guard.url("http://api.example/").is_ok());
        let at = |text: &str| vec![text.parse::<SocketAddr>().unwrap()];
        let (outside, listed) = (at("93.184.216.34:0"), at("10.2.3.4:0"));
        let refused = guard.addresses("api.example", outside.clone(), false).unwrap_err();
        assert_eq!(refused, Refused::Plain("api.example".to_owned()));
        assert!(guard.addresses("api.example", outside.clone(), true).is_ok());
        assert!(guard.addresses("api.example", listed, false).is_ok());
        assert!(guard.addresses("hooks.example", outside, false).is_ok());
    }

    #[test]
    fn addresses_outside_are_let_through() {
        let guard = Guard::default();
        for url in [
            "https://example.com/hook?x=1",
            "https://example.com:8443/",
            "https://93.184.216.34/",
            "https://172.32.0.1/",
            "https://[2606:2800:220:1:248:1893:25c8:1946]/",
            "https://[64:ff9b::5db8:d822]/",
        ] {
            assert!(guard.url(url).is_ok(), "{url}: {:?}", guard.url(url));
        }
    }

    #[test]
    fn what_is_no_safe_address_is_refused_with_the_reason() {
        let guard = Guard::default();
        let refused = |url: &str| guard.url(url).unwrap_err().to_string();
        assert_eq!(refused("http://example.com/"), "`example.com` is not https");
        assert_eq!(
            refused("https://me:secret@example.com/"),
            "the address has a user name or password in it"
        );
        assert_eq!(
            refused("ftp://example.com/"),
            "`ftp://example.com/` is no address: it is neither http nor https"
        );
        assert!(refused("example.com/hook").contains("is no address"));
        assert!(
            refused(&format!("https://example.com/{}", "x".repeat(3000))).contains("more than 2048 bytes")
        );
    }

    #[test]
    fn a_listed_host_or_network_may_be_reached_in_any_way() {
        let guard = Guard::new(["localhost", "10.2.0.0/16", "fd00::/8"].map(|text| text.parse().unwrap()));
        for url in
            ["http://localhost:9/", "http://10.2.3.4/", "http://[::ffff:10.2.3.4]/", "https://[fd12::1]/"]
        {
            assert!(guard.url(url).is_ok(), "{url}: {:?}", guard.url(url));
        }
        for url in ["https://10.3.0.1/", "https://127.0.0.1/", "https://[fc00::1]/"] {
            assert!(guard.url(url).is_err(), "{url}");
        }
        for wrong in ["10.2.0.0/33", "a b", "", "host/8", "10.0.0.0/x"] {
            assert!(wrong.parse::<Allowed>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_outside_are_connected_to() {
        let guard = Guard::new(["inside.example".parse().unwrap()]);
        let addresses =
            |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = addresses(&["127.0.0.1:0", "93.184.216.34:0", "[::1]:0"]);
        assert_eq!(guard.addresses("a.example", mixed, true).unwrap(), addresses(&["93.184.216.34:0"]));
        let rebound = addresses(&["169.254.169.254:0"]);
        assert!(guard.addresses("a.example", rebound.clone(), true).is_err());
        assert_eq!(guard.addresses("inside.example", rebound.clone(), true).unwrap(), rebound);
    }

    #[tokio::test]
    async fn a_name_is_checked_when_it_is_resolved() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        // Resolved without a network: it stands in the hosts file of every machine.
        let refused =
            Guard::default().resolver("https").resolve(name("localhost")).await.err().unwrap().to_string();
        assert_eq!(refused, "`localhost` is this machine, not a public address");
        let guard = Guard::new(["localhost".parse().unwrap()]);
        assert!(guard.resolver("http").resolve(name("localhost")).await.unwrap().count() > 0);
    }
}
