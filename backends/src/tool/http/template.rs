//! Addresses with places for arguments: `https://api.example.com/weather/{city}`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::SettingsError;

/// All but letters, digits and `-_.~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An address with places for arguments, none of them before the path: who is called is never up to the arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Argument { name: String, is_query: bool },
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, SettingsError> {
        let wrong = |why: &str| SettingsError::Url { url: text.to_owned(), why: why.to_owned() };
        let authority = text.find("://").map(|at| at + 3).ok_or_else(|| wrong("it has no scheme"))?;
        let path = text
            .get(authority..)
            .and_then(|rest| rest.find(['/', '?']))
            .map_or(text.len(), |at| authority + at);
        if text.get(..path).is_some_and(|start| start.contains(['{', '}'])) {
            return Err(wrong("an argument stands before its path"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| wrong("a `{` without its `}`"))?;
            if name.is_empty() || name.contains('{') {
                return Err(wrong("`{}` names no argument"));
            }
            let is_query =
                text.get(..text.len() - rest.len() + before.len()).is_some_and(|start| start.contains('?'));
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Argument { name: name.to_owned(), is_query });
            rest = after;
        }
        if rest.contains('}') {
            return Err(wrong("a `}` without its `{`"));
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The address without its arguments, for checks and messages.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The address up to its path.
    pub(super) fn origin(&self) -> &str {
        let authority = self.text.find("://").map_or(0, |at| at + 3);
        let end = self.text.get(authority..).and_then(|rest| rest.find(['/', '?', '#']));
        self.text.get(..end.map_or(self.text.len(), |end| authority + end)).unwrap_or_default()
    }

    /// The names of the arguments in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Argument { name, .. } => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The names of those without which there is no address.
    pub(super) fn names_in_path(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Argument { name, is_query: false } => Some(name.as_str()),
            _ => None,
        })
    }

    /// The address with its arguments; or what is wrong with one of them.
    pub(super) fn fill(&self, argument: impl Fn(&str) -> Option<Value>) -> Result<String, String> {
        let mut url = String::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => url.push_str(text),
                Part::Argument { name, is_query } => {
                    let value = argument(name).map(|value| plain(&value)).unwrap_or_default();
                    // A path with an empty part, or one that leads up, would be another address.
                    if !is_query && matches!(value.as_str(), "" | "." | "..") {
                        return Err(format!("`{name}` cannot be `{value}`: it is a part of the address"));
                    }
                    url.extend(utf8_percent_encode(&value, ENCODED));
                }
            }
        }
        Ok(url)
    }
}

/// A value in an address: a text as it is, anything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(template: &str, arguments: impl Into<Value>) -> Result<String, String> {
        let arguments = arguments.into();
        Template::parse(template).unwrap().fill(|name| arguments.get(name).cloned())
    }

    #[test]
    fn arguments_are_encoded_so_that_they_stay_what_they_are() {
        let template = "https://h/v1/{city}/days?units={units}";
        let got = filled(template, json!({ "city": "São Paulo/../x?y#z", "units": "a&b=c" })).unwrap();
        assert_eq!(got, "https://h/v1/S%C3%A3o%20Paulo%2F..%2Fx%3Fy%23z/days?units=a%26b%3Dc");
        assert_eq!(filled(template, json!({ "city": 3 })).unwrap(), "https://h/v1/3/days?units=");
        for city in ["..", ".", ""] {
            let problem = filled(template, json!({ "city": city })).unwrap_err();
            assert!(problem.contains("it is a part of the address"), "{problem}");
        }
    }

    #[test]
    fn who_is_called_is_never_up_to_the_arguments() {
        for url in [
            "https://{host}/x",
            "{scheme}://h/x",
            "https://h{x}.example/",
            "https://h:{port}/",
            "h/{x}",
            "https://h/{x",
            "https://h/x}",
            "https://h/{}",
        ] {
            assert!(Template::parse(url).is_err(), "{url}");
        }
        let template = Template::parse("https://h:8/v/{a}?b={b}&c={a}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["a", "b", "a"]);
        assert_eq!(
            (template.names_in_path().collect::<Vec<_>>(), template.origin()),
            (vec!["a"], "https://h:8")
        );
    }
}
