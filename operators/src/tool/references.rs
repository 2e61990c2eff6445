//! Values that a model passes on by name, instead of writing them out again.

use serde_json::{Map, Value};

/// Most bytes that references may put into the arguments of one call.
const BYTES_MAX: usize = 4 << 20;

/// Values by name.
#[derive(Debug, Default)]
pub(crate) struct References(Map<String, Value>);

impl References {
    /// These values.
    pub(crate) fn new(values: Map<String, Value>) -> Self {
        Self(values)
    }

    /// Adds what a tool answered, under a name of its own: `weather.1`, `weather.2`.
    pub(crate) fn add(&mut self, tool: &str, value: Value) -> String {
        let n = (1..=self.0.len()).find(|n| !self.0.contains_key(&format!("{tool}.{n}")));
        let n = n.unwrap_or(self.0.len() + 1);
        let name = format!("{tool}.{n}");
        self.0.insert(name.clone(), value);
        name
    }

    /// `arguments` with a value in the place of each text that is a reference: `$weather.1`, or `$weather.1/days/0` for
    /// a part of it. A text that names nothing stays what it is.
    pub(crate) fn resolve(&self, arguments: Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut bytes_left = BYTES_MAX;
        arguments
            .into_iter()
            .map(|(name, value)| Ok((name, self.resolved(value, &mut bytes_left)?)))
            .collect()
    }

    fn resolved(&self, value: Value, bytes_left: &mut usize) -> Result<Value, String> {
        match value {
            Value::String(text) => {
                let Some(found) = self.find(&text)? else { return Ok(Value::String(text)) };
                let bytes = found.to_string().len();
                *bytes_left = bytes_left.checked_sub(bytes).ok_or_else(|| {
                    format!("the values that the arguments refer to have more than {BYTES_MAX} bytes")
                })?;
                Ok(found.clone())
            }
            Value::Array(items) => items
                .into_iter()
                .map(|item| self.resolved(item, bytes_left))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Value::Object(fields) => {
                let fields =
                    fields.into_iter().map(|(name, value)| Ok((name, self.resolved(value, bytes_left)?)));
                fields.collect::<Result<_, String>>().map(Value::Object)
            }
            scalar => Ok(scalar),
        }
    }

    fn find(&self, text: &str) -> Result<Option<&Value>, String> {
        let Some(reference) = text.strip_prefix('$') else { return Ok(None) };
        let (name, pointer) = reference.find('/').map_or((reference, ""), |at| reference.split_at(at));
        let Some(value) = self.0.get(name) else { return Ok(None) };
        value.pointer(pointer).map(Some).ok_or_else(|| format!("`${name}` has nothing at `{pointer}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("no object") };
        fields
    }

    #[test]
    fn a_reference_becomes_its_value_wherever_it_stands() {
        let mut references = References::new(object(json!({ "search.text": "long" })));
        assert_eq!(references.add("report", json!({ "rows": [1, 2] })), "report.1");
        assert_eq!(references.add("report", json!(null)), "report.2");
        let arguments = json!({
            "text": "$search.text", "row": "$report.1/rows/1", "all": ["$report.1", { "x": "$report.2" }],
            "price": "$5", "other": "$nothing", "in words": "see $report.1", "n": 3,
        });
        let expected = json!({
            "text": "long", "row": 2, "all": [{ "rows": [1, 2] }, { "x": null }],
            "price": "$5", "other": "$nothing", "in words": "see $report.1", "n": 3,
        });
        assert_eq!(references.resolve(object(arguments)).unwrap(), object(expected));
    }

    #[test]
    fn a_part_that_is_not_there_and_too_much_of_a_value_are_refused() {
        let mut references = References::default();
        references.add("report", json!("x".repeat(1 << 20)));
        let missing = references.resolve(object(json!({ "a": "$report.1/rows" }))).unwrap_err();
        assert_eq!(missing, "`$report.1` has nothing at `/rows`");
        let often = references.resolve(object(json!({ "a": vec!["$report.1"; 5] }))).unwrap_err();
        assert!(often.contains("more than 4194304 bytes"), "{often}");
    }
}
