//! Values as texts: `str`, `repr`, and the little language of f-strings.

use super::error::{Step, type_error, value_error};
use super::limits::{NESTING_MAX, PRECISION_MAX};
use super::number::{Number, truncated};
use super::set_order;
use super::value::{Heap, Value, too_deep};

impl Heap {
    /// `str(value)`.
    pub(super) fn shown(&mut self, value: &Value) -> Step<String> {
        match value {
            Value::Str(text) => {
                self.meter.read(text.len())?;
                self.meter.hold(text.len())?;
                Ok(text.to_string())
            }
            _ => self.repr(value),
        }
    }

    /// `repr(value)`.
    pub(super) fn repr(&mut self, value: &Value) -> Step<String> {
        let mut out = String::new();
        self.write_repr(value, &mut out, 0)?;
        Ok(out)
    }

    fn write_repr(&mut self, value: &Value, out: &mut String, depth: u32) -> Step<()> {
        if depth > NESTING_MAX {
            return too_deep();
        }
        let before = out.len();
        match value {
            Value::None => out.push_str("None"),
            Value::Bool(true) => out.push_str("True"),
            Value::Bool(false) => out.push_str("False"),
            Value::Int(n) => out.push_str(&n.to_string()),
            Value::Float(n) => out.push_str(&float(*n)),
            Value::Str(text) => {
                self.meter.hold(text.len())?;
                quote(text, out);
            }
            Value::List(id) => {
                let items = self.items(*id).to_vec();
                self.write_items(&items, out, ["[", "]"], depth)?;
            }
            Value::Tuple(id) => {
                let items = self.items(*id).to_vec();
                let end = if items.len() == 1 { ",)" } else { ")" };
                self.write_items(&items, out, ["(", end], depth)?;
            }
            Value::Set(id) if self.entries(*id)?.is_empty() => out.push_str("set()"),
            Value::Set(id) => {
                let items = self.set_elements(*id)?;
                self.write_items(&items, out, ["{", "}"], depth)?;
            }
            Value::Dict(id) => {
                let pairs: Vec<(Value, Value)> = self.entries(*id)?.values().cloned().collect();
                out.push('{');
                for (n, (key, value)) in pairs.iter().enumerate() {
                    out.push_str(if n > 0 { ", " } else { "" });
                    self.write_repr(key, out, depth + 1)?;
                    out.push_str(": ");
                    self.write_repr(value, out, depth + 1)?;
                }
                out.push('}');
            }
            Value::Range(range) if range.step == 1 => {
                out.push_str(&format!("range({}, {})", range.start, range.stop));
            }
            Value::Range(range) => {
                out.push_str(&format!("range({}, {}, {})", range.start, range.stop, range.step));
            }
            Value::Function(id) => out.push_str(&format!("<function {}>", self.closure(*id)?.function.name)),
            Value::Builtin(name) | Value::Math(name) => out.push_str(&format!("<built-in function {name}>")),
            Value::Method(method) => out.push_str(&format!("<built-in method {}>", method.1)),
            Value::Type(name) => out.push_str(&format!("<class '{name}'>")),
            Value::MathModule => out.push_str("<module 'math' (built-in)>"),
        }
        let written = out.len() - before;
        self.meter.read(written)?;
        self.meter.hold(written)
    }

    fn write_items(&mut self, items: &[Value], out: &mut String, ends: [&str; 2], depth: u32) -> Step<()> {
        let [start, end] = ends;
        out.push_str(start);
        for (n, item) in items.iter().enumerate() {
            out.push_str(if n > 0 { ", " } else { "" });
            self.write_repr(item, out, depth + 1)?;
        }
        out.push_str(end);
        Ok(())
    }

    /// The elements of a set in their order.
    pub(super) fn set_elements(&mut self, id: usize) -> Step<Vec<Value>> {
        // The heap lends its entries and its meter at once.
        let mut meter =
            std::mem::replace(&mut self.meter, super::limits::Meter::new(super::Limits::default()));
        let elements = self.entries(id).and_then(|entries| set_order::elements(entries, &mut meter));
        self.meter = meter;
        elements
    }

    /// `format(value, spec)`.
    pub(super) fn formatted(&mut self, value: &Value, spec: &str) -> Step<String> {
        if spec.is_empty() {
            return self.shown(value);
        }
        let spec = Spec::parse(spec, value)?;
        self.meter.hold(spec.width.saturating_mul(4))?;
        self.meter.read(spec.width)?;
        let (sign, body, is_number) = match (value, Number::of(value)) {
            (_, Some(number)) => {
                let (sign, body) = spec.number(number);
                (sign.to_owned(), body, true)
            }
            (Value::Str(_), None) => {
                let mut text = self.shown(value)?;
                if let Some((end, _)) = spec.precision.and_then(|n| text.char_indices().nth(n)) {
                    text.truncate(end);
                }
                (String::new(), text, false)
            }
            _ => {
                return type_error(format!(
                    "unsupported format string passed to {}.__format__",
                    value.type_name()
                ));
            }
        };
        let missing = spec.width.saturating_sub(sign.chars().count() + body.chars().count());
        let pad = |n: usize| spec.fill.to_string().repeat(n);
        Ok(match spec.align.unwrap_or(if is_number { '>' } else { '<' }) {
            '<' => format!("{sign}{body}{}", pad(missing)),
            '^' => format!("{}{sign}{body}{}", pad(missing / 2), pad(missing - missing / 2)),
            '=' => format!("{sign}{}{body}", pad(missing)),
            _ => format!("{}{sign}{body}", pad(missing)),
        })
    }
}

/// How a value is to be written: `[[fill]align][sign][0][width][,][.precision][kind]`.
#[derive(Debug)]
struct Spec {
    fill: char,
    align: Option<char>,
    sign: char,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Spec {
    fn parse(spec: &str, value: &Value) -> Step<Self> {
        let chars: Vec<char> = spec.chars().collect();
        let at = |n: usize| chars.get(n).copied();
        let is_align = |c: Option<char>| c.is_some_and(|c| "<>^=".contains(c));
        let mut parsed =
            Self { fill: ' ', align: None, sign: '-', width: 0, grouping: None, precision: None, kind: None };
        let mut n = 0;
        if is_align(at(1)) {
            (parsed.fill, parsed.align, n) = (at(0).unwrap_or(' '), at(1), 2);
        } else if is_align(at(0)) {
            (parsed.align, n) = (at(0), 1);
        }
        if let Some(sign @ ('+' | '-' | ' ')) = at(n) {
            (parsed.sign, n) = (sign, n + 1);
        }
        if at(n) == Some('0') {
            n += 1;
            if parsed.align.is_none() {
                (parsed.fill, parsed.align) = ('0', Some('='));
            }
        }
        let digits = |n: &mut usize| -> Option<usize> {
            let from = *n;
            while at(*n).is_some_and(|c| c.is_ascii_digit()) {
                *n += 1;
            }
            let digits: String = chars.get(from..*n)?.iter().collect();
            if digits.is_empty() { None } else { Some(digits.parse().unwrap_or(usize::MAX)) }
        };
        parsed.width = digits(&mut n).unwrap_or(0);
        if let Some(grouping @ (',' | '_')) = at(n) {
            (parsed.grouping, n) = (Some(grouping), n + 1);
        }
        if at(n) == Some('.') {
            n += 1;
            let Some(precision) = digits(&mut n) else {
                return value_error("Format specifier missing precision");
            };
            if precision > PRECISION_MAX {
                return value_error(format!("a precision of more than {PRECISION_MAX} digits"));
            }
            parsed.precision = Some(precision);
        }
        if let Some(kind) = at(n) {
            (parsed.kind, n) = (Some(kind), n + 1);
        }
        let is_known = match value {
            Value::Str(_) => parsed.kind.is_none_or(|kind| kind == 's'),
            Value::Float(_) => parsed.kind.is_none_or(|kind| "fFeEgG%".contains(kind)),
            _ => parsed.kind.is_none_or(|kind| "fFeEgG%dxXob".contains(kind)),
        };
        if n < chars.len() || !is_known {
            return value_error(format!(
                "Invalid format specifier '{spec}' for object of type '{}'",
                value.type_name()
            ));
        }
        Ok(parsed)
    }

    /// The sign and the digits of a number.
    fn number(&self, number: Number) -> (&'static str, String) {
        let (is_negative, digits) = match (number, self.kind) {
            (Number::Int(n), None | Some('d' | 'x' | 'X' | 'o' | 'b')) => {
                let n_abs = n.unsigned_abs();
                let digits = match self.kind {
                    Some('x') => format!("{n_abs:x}"),
                    Some('X') => format!("{n_abs:X}"),
                    Some('o') => format!("{n_abs:o}"),
                    Some('b') => format!("{n_abs:b}"),
                    _ => n_abs.to_string(),
                };
                (n < 0, digits)
            }
            (number, kind) => {
                let n = number.to_float();
                (n.is_sign_negative() && !n.is_nan(), self.real(n.abs(), kind))
            }
        };
        let sign = match (is_negative, self.sign) {
            (true, _) => "-",
            (false, '+') => "+",
            (false, ' ') => " ",
            _ => "",
        };
        (sign, self.grouping.map_or_else(|| digits.clone(), |separator| grouped(&digits, separator)))
    }

    fn real(&self, n: f64, kind: Option<char>) -> String {
        if !n.is_finite() {
            return float(n);
        }
        let precision = self.precision.unwrap_or(6);
        match (kind, self.precision) {
            (Some('f' | 'F'), _) => format!("{n:.precision$}"),
            (Some('%'), _) => format!("{:.precision$}%", n * 100.0),
            (Some('e' | 'E'), _) => {
                let written = with_exponent(&format!("{n:.precision$e}"));
                if kind == Some('E') { written.to_uppercase() } else { written }
            }
            (Some('g' | 'G'), _) => general(n, precision, false),
            (_, Some(precision)) => general(n, precision, true),
            (_, None) => float(n),
        }
    }
}

/// `n` with so many significant digits, without zeros at the end.
fn general(n: f64, precision: usize, is_float: bool) -> String {
    let precision = precision.max(1);
    let scientific = format!("{n:.*e}", precision - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    let trimmed = |digits: &str| {
        if digits.contains('.') {
            digits.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            digits.to_owned()
        }
    };
    // Without a kind, a float keeps a digit after its point.
    if exponent < -4 || exponent >= limit - i32::from(is_float) {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return with_exponent(&format!("{}e{exponent}", trimmed(digits)));
    }
    let after = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    let written = trimmed(&format!("{n:.after$}"));
    if is_float && !written.contains('.') { written + ".0" } else { written }
}

/// `1e5` as Python writes it: `1e+05`.
fn with_exponent(written: &str) -> String {
    let (digits, exponent) = written.split_once('e').unwrap_or((written, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Puts `separator` between thousands.
fn grouped(digits: &str, separator: char) -> String {
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(end);
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (n, c) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            out.push(separator);
        }
        out.push(c);
    }
    out + rest
}

/// `repr` of a float: the shortest digits that give the same float again.
pub(super) fn float(n: f64) -> String {
    if n.is_nan() {
        return "nan".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{n:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if n.abs() > 0.0 && !(-4..16).contains(&exponent) {
        return with_exponent(&scientific);
    }
    let written = n.to_string();
    if written.contains('.') { written } else { written + ".0" }
}

/// `repr` of a text.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// `int(text)`.
pub(super) fn parse_int(text: &str) -> Step<Value> {
    let digits = text.trim();
    let bare = digits.trim_start_matches(['+', '-']);
    let is_number = !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    match digits.replace('_', "").parse() {
        Ok(n) if is_number => Ok(Value::Int(n)),
        _ if is_number => Err(super::error::Stop::Exceeded(super::Bound::Integer)),
        _ => {
            let mut shown = String::new();
            quote(start(text), &mut shown);
            value_error(format!("invalid literal for int() with base 10: {shown}"))
        }
    }
}

/// `float(text)`.
pub(super) fn parse_float(text: &str) -> Step<Value> {
    if let Ok(n) = text.trim().replace('_', "").parse() {
        return Ok(Value::Float(n));
    }
    let mut shown = String::new();
    quote(start(text), &mut shown);
    value_error(format!("could not convert string to float: {shown}"))
}

/// The beginning of a text, for a message.
fn start(text: &str) -> &str {
    text.char_indices().nth(80).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

/// `int(value)` of a number.
pub(super) fn to_int(number: Number) -> Step<Value> {
    match number {
        Number::Int(n) => Ok(Value::Int(n)),
        Number::Float(n) => truncated(n),
    }
}
