//! Arithmetic as Python does it: whole numbers stay exact, `//` and `%` round down.

use std::cmp::Ordering;

use super::ast::BinaryOp;
use super::error::{Bound, Step, Stop, raise, type_error};
use super::value::Value;

/// A number, of either kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    /// The number that `value` is, if it is one.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(Self::Int((*b).into())),
            Value::Int(n) => Some(Self::Int(*n)),
            Value::Float(n) => Some(Self::Float(*n)),
            _ => None,
        }
    }

    pub(super) fn to_float(self) -> f64 {
        match self {
            Self::Int(n) => n as f64,
            Self::Float(n) => n,
        }
    }

    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => compare_mixed(a, b),
            (Self::Float(a), Self::Int(b)) => compare_mixed(b, a).map(Ordering::reverse),
        }
    }
}

/// Compares without rounding the whole number.
fn compare_mixed(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    let Some(floor) = exact_int(b.floor()) else {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    };
    Some(a.cmp(&floor).then(if b.fract() > 0.0 || b.fract() < 0.0 {
        Ordering::Less
    } else {
        Ordering::Equal
    }))
}

/// The whole number that `n` is, if it is one that fits.
pub(super) fn exact_int(n: f64) -> Option<i128> {
    const LIMIT: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    let is_whole = n.is_finite() && n.fract().abs() <= 0.0 && (-LIMIT..LIMIT).contains(&n);
    #[expect(clippy::cast_possible_truncation, reason = "whole, and in the range")]
    is_whole.then_some(n as i128)
}

fn too_large<T>() -> Step<T> {
    Err(Stop::Exceeded(Bound::Integer))
}

fn checked(n: Option<i128>) -> Step<Value> {
    n.map_or_else(too_large, |n| Ok(Value::Int(n)))
}

/// `a op b`.
pub(super) fn arithmetic(op: BinaryOp, a: Number, b: Number) -> Step<Value> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => whole(op, a, b),
        _ => Ok(Value::Float(real(op, a.to_float(), b.to_float())?)),
    }
}

fn whole(op: BinaryOp, a: i128, b: i128) -> Step<Value> {
    match op {
        BinaryOp::Add => checked(a.checked_add(b)),
        BinaryOp::Sub => checked(a.checked_sub(b)),
        BinaryOp::Mul => checked(a.checked_mul(b)),
        BinaryOp::Div if b == 0 => raise("ZeroDivisionError", "division by zero"),
        BinaryOp::Div => Ok(Value::Float(a as f64 / b as f64)),
        BinaryOp::FloorDiv | BinaryOp::Mod if b == 0 => {
            raise("ZeroDivisionError", "integer division or modulo by zero")
        }
        BinaryOp::FloorDiv => {
            let Some(quotient) = a.checked_div(b) else { return too_large() };
            let is_inexact = a.wrapping_rem(b) != 0;
            checked(quotient.checked_sub(i128::from(is_inexact && (a < 0) != (b < 0))))
        }
        BinaryOp::Mod => {
            let rest = a.wrapping_rem(b);
            checked(rest.checked_add(if rest != 0 && (rest < 0) != (b < 0) { b } else { 0 }))
        }
        BinaryOp::Power => whole_power(a, b),
        BinaryOp::And => Ok(Value::Int(a & b)),
        BinaryOp::Or => Ok(Value::Int(a | b)),
        BinaryOp::Xor => Ok(Value::Int(a ^ b)),
        BinaryOp::ShiftLeft | BinaryOp::ShiftRight if b < 0 => raise("ValueError", "negative shift count"),
        BinaryOp::ShiftLeft if a == 0 => Ok(Value::Int(0)),
        BinaryOp::ShiftLeft => {
            let factor =
                u32::try_from(b).ok().and_then(|b| 1_i128.checked_shl(b)).filter(|factor| *factor > 0);
            checked(factor.and_then(|factor| a.checked_mul(factor)))
        }
        BinaryOp::ShiftRight => Ok(Value::Int(a >> b.min(127))),
    }
}

fn whole_power(a: i128, b: i128) -> Step<Value> {
    if b < 0 {
        return Ok(Value::Float(real(BinaryOp::Power, a as f64, b as f64)?));
    }
    match a {
        0 | 1 => Ok(Value::Int(if b == 0 { 1 } else { a })),
        -1 => Ok(Value::Int(if b % 2 == 0 { 1 } else { -1 })),
        _ => checked(u32::try_from(b).ok().and_then(|b| a.checked_pow(b))),
    }
}

fn real(op: BinaryOp, a: f64, b: f64) -> Step<f64> {
    let is_zero = b.abs() <= 0.0;
    match op {
        BinaryOp::Add => Ok(a + b),
        BinaryOp::Sub => Ok(a - b),
        BinaryOp::Mul => Ok(a * b),
        BinaryOp::Div if is_zero => raise("ZeroDivisionError", "float division by zero"),
        BinaryOp::Div => Ok(a / b),
        BinaryOp::FloorDiv if is_zero => raise("ZeroDivisionError", "float floor division by zero"),
        BinaryOp::Mod if is_zero => raise("ZeroDivisionError", "float modulo"),
        BinaryOp::FloorDiv => {
            let quotient = (a - modulo(a, b)) / b;
            if quotient.abs() <= 0.0 {
                return Ok(0.0_f64.copysign(a / b));
            }
            // The division may have rounded to just under the whole number.
            let floor = quotient.floor();
            Ok(if quotient - floor > 0.5 { floor + 1.0 } else { floor })
        }
        BinaryOp::Mod => Ok(modulo(a, b)),
        BinaryOp::Power => real_power(a, b),
        _ => type_error(format!("unsupported operand type(s) for {}: 'float'", op.sign())),
    }
}

fn modulo(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest.abs() <= 0.0 {
        0.0_f64.copysign(b)
    } else if (rest < 0.0) == (b < 0.0) {
        rest
    } else {
        rest + b
    }
}

fn real_power(a: f64, b: f64) -> Step<f64> {
    if a.abs() <= 0.0 && b < 0.0 {
        return raise("ZeroDivisionError", "0.0 cannot be raised to a negative power");
    }
    if a < 0.0 && a.is_finite() && b.is_finite() && b.fract().abs() > 0.0 {
        return raise("ValueError", "a root of a negative number; complex numbers are not supported");
    }
    let power = a.powf(b);
    if power.is_infinite() && a.is_finite() && b.is_finite() {
        return raise("OverflowError", "the power is too large for a float");
    }
    Ok(power)
}

/// `n` without what stands after the point.
pub(super) fn truncated(n: f64) -> Step<Value> {
    if n.is_nan() {
        return raise("ValueError", "cannot convert float NaN to integer");
    }
    if n.is_infinite() {
        return raise("OverflowError", "cannot convert float infinity to integer");
    }
    checked(exact_int(n.trunc()))
}

/// `round(n)`: to the nearest whole number, halves to the even one.
pub(super) fn rounded(n: f64) -> Step<Value> {
    truncated(n.round_ties_even())
}

/// `round(n, digits)`: the decimal number nearest to the float, as a float again.
pub(super) fn rounded_to(n: Number, digits: i128) -> Step<Value> {
    match n {
        Number::Int(n) if digits >= 0 => Ok(Value::Int(n)),
        Number::Int(n) => {
            let unit = u32::try_from(-digits).ok().and_then(|digits| 10_i128.checked_pow(digits));
            let Some(unit) = unit else { return Ok(Value::Int(0)) };
            let (floor, rest) = (n.div_euclid(unit), n.rem_euclid(unit));
            let half = rest.saturating_mul(2).cmp(&unit);
            let is_up = half == Ordering::Greater || half == Ordering::Equal && floor % 2 != 0;
            checked((floor + i128::from(is_up)).checked_mul(unit))
        }
        Number::Float(n) if !n.is_finite() => Ok(Value::Float(n)),
        // A float has no digit past the 324th, and none above the 309th.
        Number::Float(n) if digits > 323 => Ok(Value::Float(n)),
        Number::Float(n) if digits < -308 => Ok(Value::Float(0.0_f64.copysign(n))),
        Number::Float(n) => {
            let Ok(digits) = usize::try_from(digits) else {
                let unit = 10_f64.powi(i32::try_from(-digits).unwrap_or(i32::MAX));
                return Ok(Value::Float((n / unit).round_ties_even() * unit));
            };
            // The decimal form is exact before it is rounded, so that 2.675 goes to 2.67, as in Python.
            Ok(Value::Float(format!("{n:.digits$}").parse().unwrap_or(n)))
        }
    }
}
