//! Runs programs that models write: a part of Python, without any way out.
//!
//! A program computes with what it is given and with what it writes down itself. It has no files, no network, no
//! clock, no randomness and no way to look into the interpreter, since nothing of the kind is there: what cannot be
//! named need not be forbidden. What remains is what it can use up, and [`Limits`] bounds that by counting, so that
//! the same program ends the same way on every machine.
//!
//! The language is that of the programs recorded for `TabMWP` and of what models commonly write beside it: assignments,
//! `if`, `for`, `while`, functions and lambdas, comprehensions, f-strings, lists, tuples, dictionaries and sets, the
//! usual built-in functions and methods, and the module `math`. Whole numbers have up to 127 bits. Classes,
//! exceptions, generators and all other modules are refused by name, with the line.

use std::thread;

use serde_json::{Map, Value};

mod ast;
mod builtins;
mod error;
mod json;
mod limits;
mod machine;
mod methods;
mod number;
mod operate;
mod parse;
mod set_order;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod value;

pub use error::{Bound, Error};
pub use limits::Limits;

/// Bytes of the stack that a program runs on: four times what the deepest that the limits allow takes in an unoptimised
/// build. Only what is used is ever touched.
const STACK_BYTES: usize = 16 << 20;

/// What a program gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The value of the name that was asked for, or what it printed without it.
    pub value: Value,
    /// What it printed.
    pub output: String,
    /// Steps that it took.
    pub steps: u64,
}

/// Runs `source`, to which the fields of `inputs` are known by their names, and gives the value that it leaves in
/// `result`; what it printed, if it never sets that.
///
/// Blocks for as long as the program runs: about 50 ms for a million steps.
pub fn run(
    source: &str,
    inputs: &Map<String, Value>,
    result: &str,
    limits: Limits,
) -> Result<Outcome, Error> {
    if source.len() > limits.source_bytes {
        return Err(Error::Exceeded { line: 1, bound: Bound::Source(limits.source_bytes) });
    }
    let work = || run_here(source, inputs, result, limits);
    // The depth of a program's calls is bounded, but not by the stack of whoever calls.
    thread::scope(|scope| {
        match thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map(thread::ScopedJoinHandle::join)
        {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Raised {
                line: 1,
                kind: "MemoryError",
                message: "the machine has no thread left for a program".to_owned(),
            }),
        }
    })
}

fn run_here(
    source: &str,
    inputs: &Map<String, Value>,
    result: &str,
    limits: Limits,
) -> Result<Outcome, Error> {
    let program = parse::parse(source)?;
    let mut machine = machine::Machine::new(limits);
    for (name, value) in inputs {
        machine.provide(name, value)?;
    }
    machine.run(&program)?;
    let value = if machine.has(result) || machine.output.is_empty() {
        machine.result(result)?
    } else {
        Value::String(machine.output.trim_end().to_owned())
    };
    Ok(Outcome { value, steps: machine.heap.meter.steps(), output: machine.output })
}
