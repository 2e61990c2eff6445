//! The address of a model server, in the many ways that people write it.

use reqwest::Url;

/// What follows the host in the address of a server's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// A version as `/v1`, which is added where the address has none: `OpenAI` and all that speak like it.
    Versioned,
    /// What the address says, and nothing else: TEI.
    AsGiven,
}

/// The address under which the API lies. `paths` are those that people copy along with it, such as
/// `chat/completions`: they are taken off.
pub(crate) fn base_url(given: &str, root: Root, paths: &[&str]) -> Result<Url, String> {
    let mut url = Url::parse(given.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it does not begin with `http://` or `https://`".to_owned());
    }
    let given_path = url.path().split('/').filter(|segment| !segment.is_empty());
    let mut segments: Vec<String> = given_path.map(str::to_owned).collect();
    for path in paths {
        let tail: Vec<&str> = path.split('/').collect();
        if segments.ends_with(&tail.iter().map(|segment| (*segment).to_owned()).collect::<Vec<_>>()) {
            segments.truncate(segments.len() - tail.len());
            break;
        }
    }
    if root == Root::Versioned && !segments.iter().any(|segment| is_version(segment)) {
        segments.push("v1".to_owned());
    }
    url.set_path(&segments.join("/"));
    Ok(url)
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether `host` is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_its_version() {
        let base = |given: &str| {
            base_url(given, Root::Versioned, &["chat/completions", "embeddings"]).map(String::from)
        };
        for given in [
            "http://h:8000",
            "http://h:8000/",
            " http://h:8000/v1",
            "http://h:8000/v1/chat/completions",
            "http://h:8000/v1/embeddings/",
        ] {
            assert_eq!(base(given).unwrap(), "http://h:8000/v1");
        }
        assert_eq!(base("https://h/v1beta/openai/").unwrap(), "https://h/v1beta/openai");
        assert_eq!(base("https://h/proxy?key=1").unwrap(), "https://h/proxy/v1?key=1");
        assert!(base("localhost:8000").unwrap_err().contains("http://"));
        assert!(base("nonsense").is_err());
    }

    #[test]
    fn an_address_without_versions_stays_as_it_is() {
        let base = |given: &str| base_url(given, Root::AsGiven, &["embed", "rerank"]).map(String::from);
        assert_eq!(base("http://h:8080").unwrap(), "http://h:8080/");
        assert_eq!(base("http://h:8080/tei/embed").unwrap(), "http://h:8080/tei");
    }

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        assert!(!is_loopback("10.0.0.1") && !is_loopback("localhost.example.org"));
    }
}
