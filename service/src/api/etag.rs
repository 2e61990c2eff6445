//! Entity tags: what the caller has seen, and what may be overwritten.

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::{Code, Problem};
use crate::store::Expected;

/// The tag of something with this hash.
pub fn tag(hash: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether the caller has this very thing already (`If-None-Match`): 304.
pub fn is_known(headers: &HeaderMap, hash: &str) -> Result<bool, Problem> {
    // Weak tags name the same thing here: what is compared is all of it.
    Ok(match listed(headers, &IF_NONE_MATCH)? {
        None => false,
        Some(Listed::Any) => true,
        Some(Listed::Tags(tags)) => tags.iter().any(|tag| tag.hash == hash),
    })
}

/// What the caller expects to be there (`If-Match`, `If-None-Match: *`), where `now` is there.
pub fn expected(headers: &HeaderMap, now: Option<&str>) -> Result<Expected, Problem> {
    if let Some(Listed::Any) = listed(headers, &IF_NONE_MATCH)? {
        return Ok(Expected::Nothing);
    }
    match (listed(headers, &IF_MATCH)?, now) {
        (None, _) => Ok(Expected::Anything),
        (Some(_), None) => Err(changed(None)),
        // What is there by then must be what is there now: nobody comes between.
        (Some(Listed::Any), Some(now)) => Ok(Expected::Etag(now.to_owned())),
        (Some(Listed::Tags(tags)), Some(now)) => {
            if tags.iter().any(|tag| !tag.is_weak && tag.hash == now) {
                Ok(Expected::Etag(now.to_owned()))
            } else {
                Err(changed(Some(now)))
            }
        }
    }
}

/// Something else is there than the caller expects.
pub fn changed(now: Option<&str>) -> Problem {
    let detail = match now {
        Some(now) => format!("what is there has the tag `\"{now}\"`"),
        None => "there is nothing of this name".to_owned(),
    };
    Problem::new(Code::Changed, detail).hint("read it again, and send its `ETag` as `If-Match`")
}

enum Listed {
    Any,
    Tags(Vec<Tag>),
}

struct Tag {
    is_weak: bool,
    hash: String,
}

fn listed(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Listed>, Problem> {
    let mut tags = Vec::new();
    let mut is_there = false;
    for value in headers.get_all(name) {
        is_there = true;
        for part in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "*" {
                return Ok(Some(Listed::Any));
            }
            let (is_weak, quoted) = part.strip_prefix("W/").map_or((false, part), |rest| (true, rest));
            let hash = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(|| {
                Problem::new(Code::BadHeader, format!("`{name}` holds `{part}`, which is no entity tag"))
                    .hint("send the `ETag` as it was given, with its quotes")
            })?;
            tags.push(Tag { is_weak, hash: hash.to_owned() });
        }
    }
    Ok(is_there.then_some(Listed::Tags(tags)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn what_the_caller_has_is_not_sent_again() {
        for (value, known) in
            [("\"a\"", true), ("W/\"a\"", true), ("\"b\", \"a\"", true), ("\"b\"", false), ("*", true)]
        {
            assert_eq!(is_known(&headers(IF_NONE_MATCH, value), "a").unwrap(), known, "{value}");
        }
        assert!(!is_known(&HeaderMap::new(), "a").unwrap());
        assert_eq!(is_known(&headers(IF_NONE_MATCH, "a"), "a").unwrap_err().code, Code::BadHeader);
    }

    #[test]
    fn only_what_the_caller_has_seen_is_overwritten() {
        let ask = |value: &str, now| expected(&headers(IF_MATCH, value), now);
        assert_eq!(ask("\"a\"", Some("a")).unwrap(), Expected::Etag("a".into()));
        assert_eq!(ask("\"b\", \"a\"", Some("a")).unwrap(), Expected::Etag("a".into()));
        assert_eq!(ask("*", Some("a")).unwrap(), Expected::Etag("a".into()));
        for (value, now) in [("\"b\"", Some("a")), ("W/\"a\"", Some("a")), ("\"a\"", None), ("*", None)] {
            assert_eq!(ask(value, now).unwrap_err().code, Code::Changed, "{value}");
        }
        assert_eq!(expected(&HeaderMap::new(), Some("a")).unwrap(), Expected::Anything);
        assert_eq!(expected(&headers(IF_NONE_MATCH, "*"), Some("a")).unwrap(), Expected::Nothing);
    }
}
