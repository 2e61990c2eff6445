//! What a plain scalar means, after the core schema of YAML 1.2: `yes` is a text, `true` is not.

use serde_json::Value as Json;

/// The meaning of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    /// `null`, `~`, or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Anything else, and everything quoted.
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// The meaning of `text`, which was written without quotes if `plain`.
    ///
    /// `.inf` and `.nan` stay texts: no port and no setting takes a number that is not finite.
    pub fn of(text: &'a str, plain: bool) -> Self {
        if !plain {
            return Self::Text(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            _ => {
                int(text).map(Self::Int).or_else(|| float(text).map(Self::Float)).unwrap_or(Self::Text(text))
            }
        }
    }

    /// The scalar as JSON.
    pub fn to_json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => value.into(),
            Self::Int(value) => value.into(),
            Self::Float(value) => value.into(),
            Self::Text(text) => text.into(),
        }
    }

    /// What it is, for messages.
    pub fn kind_name(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "`true` or `false`",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
        }
    }
}

fn int(text: &str) -> Option<i64> {
    let radix = |digits: &str, radix| {
        // `from_str_radix` alone would take a sign after the prefix.
        digits.chars().all(|c| c.is_digit(radix)).then(|| i64::from_str_radix(digits, radix).ok())?
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    text.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    // Rust also reads `inf`, `nan` and the like; a YAML number starts with a digit or a point.
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let starts = digits.strip_prefix('.').unwrap_or(digits).starts_with(|c: char| c.is_ascii_digit());
    text.parse().ok().filter(|number: &f64| starts && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let of = |text| Scalar::of(text, true);
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(of(text), Scalar::Null, "{text:?}");
        }
        assert_eq!(of("True"), Scalar::Bool(true));
        assert_eq!(of("-12"), Scalar::Int(-12));
        assert_eq!(of("+012"), Scalar::Int(12), "a leading zero is no octal sign");
        assert_eq!(of("0o17"), Scalar::Int(15));
        assert_eq!(of("0xfF"), Scalar::Int(255));
        assert_eq!(of("1e3"), Scalar::Float(1000.0));
        assert_eq!(of(".5"), Scalar::Float(0.5));
        assert_eq!(of("1."), Scalar::Float(1.0));
        assert_eq!(of("9223372036854775808"), Scalar::Float(9_223_372_036_854_775_808.0));
    }

    #[test]
    fn what_other_yamls_take_for_something_else_stays_a_text() {
        for text in ["yes", "off", "inf", ".inf", "nan", "-", ".", "1_000", "0x", "0x-1", "12:30", "1e999"] {
            assert_eq!(Scalar::of(text, true), Scalar::Text(text));
        }
        assert_eq!(Scalar::of("12", false), Scalar::Text("12"));
    }
}
