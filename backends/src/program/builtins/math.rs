//! The module `math`.

use super::super::error::{Step, raise, type_error, value_error};
use super::super::machine::{Args, Machine};
use super::super::number::{Number, truncated};
use super::super::value::Value;

const FUNCTIONS: [&str; 29] = [
    "acos",
    "asin",
    "atan",
    "atan2",
    "ceil",
    "comb",
    "cos",
    "degrees",
    "exp",
    "fabs",
    "factorial",
    "floor",
    "fsum",
    "gcd",
    "hypot",
    "isclose",
    "isnan",
    "lcm",
    "log",
    "log10",
    "log2",
    "perm",
    "pow",
    "prod",
    "radians",
    "sin",
    "sqrt",
    "tan",
    "trunc",
];

/// What `math.name` is.
pub(in super::super) fn member(name: &str) -> Step<Value> {
    match name {
        "pi" => return Ok(Value::Float(std::f64::consts::PI)),
        "e" => return Ok(Value::Float(std::f64::consts::E)),
        "tau" => return Ok(Value::Float(std::f64::consts::TAU)),
        "inf" => return Ok(Value::Float(f64::INFINITY)),
        "nan" => return Ok(Value::Float(f64::NAN)),
        _ => {}
    }
    match FUNCTIONS.iter().find(|known| **known == name) {
        Some(name) => Ok(Value::Math(name)),
        None => raise("AttributeError", format!("module 'math' has no attribute '{name}'")),
    }
}

/// Calls a function of `math`.
pub(in super::super) fn call(machine: &mut Machine, name: &'static str, args: &Args) -> Step<Value> {
    match name {
        "fsum" | "prod" => {
            let items = machine.items(args.between(name, 1, 1)?.first().unwrap_or(&Value::None))?;
            let op = if name == "fsum" {
                super::super::ast::BinaryOp::Add
            } else {
                super::super::ast::BinaryOp::Mul
            };
            let mut total = if name == "fsum" { Value::Float(0.0) } else { Value::Int(1) };
            for item in items {
                total = machine.heap.binary(op, &total, &item)?;
            }
            return Ok(total);
        }
        "gcd" | "lcm" | "factorial" | "comb" | "perm" => {
            let numbers =
                args.between(name, 1, 64)?.iter().map(Value::as_int).collect::<Step<Vec<i128>>>()?;
            return whole(name, &numbers);
        }
        _ => {}
    }
    let most = if matches!(name, "atan2" | "hypot" | "log" | "pow" | "isclose") { 2 } else { 1 };
    let least = if matches!(name, "log" | "hypot") { 1 } else { most };
    let list = args.between(name, least, most)?;
    let mut numbers = [0.0; 2];
    for (number, value) in numbers.iter_mut().zip(list) {
        let Some(given) = Number::of(value) else {
            return type_error(format!("must be real number, not {}", value.type_name()));
        };
        // A whole number stays as it is, however large.
        if let (Number::Int(n), "floor" | "ceil" | "trunc") = (given, name) {
            return Ok(Value::Int(n));
        }
        *number = given.to_float();
    }
    let [x, y] = numbers;
    let is_out = match name {
        "sqrt" => x < 0.0,
        "log" => x <= 0.0 || (list.len() > 1 && y <= 0.0),
        "log2" | "log10" => x <= 0.0,
        "acos" | "asin" => x.abs() > 1.0,
        "sin" | "cos" | "tan" => x.is_infinite(),
        _ => false,
    };
    if is_out {
        return value_error("math domain error");
    }
    let value = match name {
        "floor" => return truncated(x.floor()),
        "ceil" => return truncated(x.ceil()),
        "trunc" => return truncated(x),
        "isnan" => return Ok(Value::Bool(x.is_nan())),
        "isclose" => return Ok(Value::Bool((x - y).abs() <= 1e-9 * x.abs().max(y.abs()))),
        "pow" => {
            return machine.heap.binary(
                super::super::ast::BinaryOp::Power,
                &Value::Float(x),
                &Value::Float(y),
            );
        }
        "sqrt" => x.sqrt(),
        "fabs" => x.abs(),
        "exp" => x.exp(),
        "log" if list.len() > 1 => x.ln() / y.ln(),
        "log" => x.ln(),
        "log2" => x.log2(),
        "log10" => x.log10(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tan" => x.tan(),
        "asin" => x.asin(),
        "acos" => x.acos(),
        "atan" => x.atan(),
        "atan2" => x.atan2(y),
        "hypot" => x.hypot(y),
        "degrees" => x.to_degrees(),
        _ => x.to_radians(),
    };
    if value.is_infinite() && x.is_finite() {
        return raise("OverflowError", "math range error");
    }
    Ok(Value::Float(value))
}

/// Functions of whole numbers.
fn whole(name: &str, numbers: &[i128]) -> Step<Value> {
    if matches!(name, "factorial" | "comb" | "perm") && numbers.iter().any(|n| *n < 0) {
        return value_error(format!("{name}() not defined for negative values"));
    }
    let too_large = || Err(super::super::error::Stop::Exceeded(super::super::Bound::Integer));
    let found = match (name, numbers) {
        ("gcd", numbers) => numbers.iter().copied().reduce(gcd).and_then(i128::checked_abs),
        ("lcm", numbers) => numbers.iter().copied().try_fold(1_i128, |all, n| {
            if n == 0 { Some(0) } else { (all / gcd(all, n)).checked_mul(n)?.checked_abs() }
        }),
        // 34! has more than 127 bits, so no loop here is long.
        ("factorial", [n]) => (1..=*n.min(&34)).try_fold(1_i128, i128::checked_mul),
        ("perm", [n, k]) if k > n => Some(0),
        ("perm", [n, k]) => (0..*k.min(&128)).try_fold(1_i128, |all, i| all.checked_mul(n - i)),
        ("comb", [n, k]) if k > n => Some(0),
        ("comb", [n, k]) => {
            // At least two to the power of `k`, so that no loop here is long either.
            (0..*k.min(&(n - k))).try_fold(1_i128, |all, i| Some(all.checked_mul(n - i)? / (i + 1)))
        }
        _ => return type_error(format!("{name}() takes another number of arguments")),
    };
    found.map_or_else(too_large, |n| Ok(Value::Int(n)))
}

fn gcd(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a.wrapping_rem(b));
    }
    a.saturating_abs()
}
