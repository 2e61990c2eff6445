//! Evaluates a checked expression on the engine's own values, within bounds.
//!
//! Values that pass through keep their identity: a chunk that was filtered is still the chunk, and nothing is copied.

use std::sync::Arc;

use super::functions::{self, Function};
use super::parse::Op;
use super::{Absence, Slot, values};
use crate::limits;
use crate::value::{Map, Text, Value};

/// A checked expression, names resolved to positions.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Value),
    /// Position in the references of the expression.
    Slot(usize),
    /// Position among the names that comprehensions have bound, outermost first.
    Local(usize),
    Field(Box<Node>, Text),
    Index(Box<Node>, Box<Node>),
    Has(Box<Node>, Text),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Op, Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    Call(&'static Function, Vec<Node>),
    Matches(Box<Node>, regex::Regex),
    Each(Each, Box<Node>, Box<Node>, Option<Box<Node>>),
    First(Text, Vec<Node>),
    Present(Box<Node>),
    AllPresent(Vec<Node>),
}

/// A comprehension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Each {
    Map,
    Filter,
    All,
    Exists,
    ExistsOne,
}

/// Why an evaluation gives no value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    /// A value that it needs is absent.
    Absent(Arc<Absence>),
    /// A key or item that is not there: absent for `first` and its like, an error elsewhere.
    Missing(String),
    /// It cannot be done with these values.
    Error(String),
    /// A bound is reached; nothing goes on from here.
    Bound(String),
}

impl Stop {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::Error(message.into())
    }
}

/// Counts what an evaluation does, and stops it at its bounds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    steps: usize,
    /// Looked through or written.
    bytes: usize,
    /// Written.
    made: usize,
}

impl Meter {
    /// An item of a comprehension is about to be looked at.
    fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > limits::EXPRESSION_STEPS {
            return Err(Stop::Bound(format!("goes over more than {} items", limits::EXPRESSION_STEPS)));
        }
        Ok(())
    }

    /// `bytes` are about to be looked through.
    pub(super) fn bytes(&mut self, bytes: usize) -> Result<(), Stop> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > limits::EXPRESSION_WORK_BYTES {
            return Err(Stop::Bound(format!(
                "goes through more than {} bytes",
                limits::EXPRESSION_WORK_BYTES
            )));
        }
        Ok(())
    }

    /// `bytes` are about to be written.
    pub(super) fn made(&mut self, bytes: usize) -> Result<(), Stop> {
        self.made = self.made.saturating_add(bytes);
        self.bytes(bytes)
    }

    /// Whether so little was written that the result is small, but for what passes through it untouched.
    fn is_small(&self) -> bool {
        self.made <= limits::EXPRESSION_OUTPUT_BYTES
    }
}

/// The value of `node` where its references have the values `slots`.
pub(super) fn evaluate(node: &Node, slots: &[Slot]) -> Result<Value, Stop> {
    let mut machine = Machine { slots, locals: Vec::new(), meter: Meter::default() };
    let value = machine.eval(node)?;
    if !machine.meter.is_small() && values::exceeds(&value, limits::EXPRESSION_OUTPUT_BYTES) {
        return Err(Stop::Bound(format!(
            "makes a value of more than {} bytes",
            limits::EXPRESSION_OUTPUT_BYTES
        )));
    }
    Ok(value)
}

/// The value in a slot; a value that is still to come counts as absent.
pub(super) fn settled(slot: Slot, what: &Text) -> Result<Value, Arc<Absence>> {
    match slot {
        Slot::Present(value) => Ok(value),
        Slot::Absent(absence) => Err(absence),
        Slot::Pending => Err(Arc::new(Absence { what: what.clone(), why: "not settled yet".into() })),
    }
}

struct Machine<'a> {
    slots: &'a [Slot],
    locals: Vec<Value>,
    meter: Meter,
}

impl Machine<'_> {
    fn eval(&mut self, node: &Node) -> Result<Value, Stop> {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Slot(at) => match self.slots.get(*at) {
                Some(Slot::Present(value)) => Ok(value.clone()),
                Some(Slot::Absent(absence)) => Err(Stop::Absent(absence.clone())),
                _ => Err(Stop::error("a value is not settled yet")),
            },
            Node::Local(at) => {
                self.locals.get(*at).cloned().ok_or_else(|| Stop::error("a name is not bound"))
            }
            Node::Field(of, name) => values::field(&self.eval(of)?, name),
            Node::Index(of, index) => {
                let of = self.eval(of)?;
                let index = self.eval(index)?;
                values::index(&of, &index)
            }
            Node::Has(of, name) => Ok(Value::Bool(values::has(&self.eval(of)?, name)?)),
            Node::List(items) => {
                self.meter.made(items.len() + 2)?;
                Ok(Value::List(Arc::new(items.iter().map(|item| self.eval(item)).collect::<Result<_, _>>()?)))
            }
            Node::Map(entries) => self.map(entries),
            Node::Not(of) => Ok(Value::Bool(!self.bool(of)?)),
            Node::Negate(of) => values::negate(&self.eval(of)?),
            Node::Binary(op @ (Op::And | Op::Or), left, right) => self.logic(*op, left, right),
            Node::Binary(op, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                values::binary(&mut self.meter, *op, left, right)
            }
            Node::Choice(condition, yes, no) => {
                if self.bool(condition)? {
                    self.eval(yes)
                } else {
                    self.eval(no)
                }
            }
            Node::Call(function, args) => {
                let args: Vec<Value> = args.iter().map(|arg| self.eval(arg)).collect::<Result<_, _>>()?;
                function.call(&mut self.meter, &args)
            }
            Node::Matches(text, pattern) => {
                let Value::Text(text) = self.eval(text)? else {
                    return Err(Stop::error("`matches` takes a text"));
                };
                self.meter.bytes(functions::matching(&text, pattern.as_str()))?;
                Ok(Value::Bool(pattern.is_match(&text)))
            }
            Node::Each(each, list, test, then) => self.each(*each, list, test, then.as_deref()),
            Node::First(written, args) => self.first(written, args),
            Node::Present(arg) => Ok(Value::Bool(self.maybe(arg)?.is_ok())),
            Node::AllPresent(args) => {
                self.meter.made(args.len() + 2)?;
                let mut present = Vec::new();
                for arg in args {
                    present.extend(self.maybe(arg)?.ok());
                }
                Ok(Value::List(Arc::new(present)))
            }
        }
    }

    fn bool(&mut self, node: &Node) -> Result<bool, Stop> {
        match self.eval(node)? {
            Value::Bool(value) => Ok(value),
            other => Err(Stop::error(format!("needs a `bool`, found {}", values::kind(&other)))),
        }
    }

    /// `&&` and `||`: an error on one side does not matter where the other side decides, as in CEL.
    fn logic(&mut self, op: Op, left: &Node, right: &Node) -> Result<Value, Stop> {
        let decides = op == Op::Or;
        match self.bool(left) {
            Ok(value) if value == decides => Ok(Value::Bool(decides)),
            Ok(_) => self.bool(right).map(Value::Bool),
            Err(bound @ Stop::Bound(_)) => Err(bound),
            Err(stop) => match self.bool(right) {
                Ok(value) if value == decides => Ok(Value::Bool(decides)),
                Err(bound @ Stop::Bound(_)) => Err(bound),
                _ => Err(stop),
            },
        }
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Result<Value, Stop> {
        let mut map = Map::with_capacity(entries.len());
        for (key, value) in entries {
            let Value::Text(key) = self.eval(key)? else {
                return Err(Stop::error("the key of a map must be a text"));
            };
            self.meter.made(key.len() + 4)?;
            let value = self.eval(value)?;
            if map.insert(key.clone(), value).is_some() {
                return Err(Stop::error(format!("the key `{key}` stands twice in a map")));
            }
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn each(&mut self, each: Each, list: &Node, test: &Node, then: Option<&Node>) -> Result<Value, Stop> {
        let list = self.eval(list)?;
        let keys;
        let items = match &list {
            Value::List(items) => items.as_slice(),
            Value::Map(map) => {
                self.meter.bytes(map.len())?;
                keys = map.keys().cloned().map(Value::Text).collect::<Vec<_>>();
                keys.as_slice()
            }
            other => return Err(Stop::error(format!("needs a list, found {}", values::kind(other)))),
        };
        let mut kept = Vec::new();
        let mut count = 0_usize;
        let mut failed = None;
        for item in items {
            self.meter.step()?;
            self.locals.push(item.clone());
            let outcome = self.item(each, test, then);
            let item = self.locals.pop();
            match (each, outcome) {
                (_, Err(bound @ Stop::Bound(_))) => return Err(bound),
                // As with `&&` and `||`: a later item may still decide.
                (Each::All | Each::Exists, Err(stop)) => failed = Some(stop),
                (_, Err(stop)) => return Err(stop),
                (Each::Map, Ok(made)) => kept.extend(made),
                (Each::Filter, Ok(Some(Value::Bool(true)))) => kept.extend(item),
                (Each::All, Ok(Some(Value::Bool(false)))) => return Ok(Value::Bool(false)),
                (Each::Exists, Ok(Some(Value::Bool(true)))) => return Ok(Value::Bool(true)),
                (Each::ExistsOne, Ok(Some(Value::Bool(true)))) => count += 1,
                _ => {}
            }
        }
        match each {
            Each::Map | Each::Filter => {
                self.meter.made(kept.len() + 2)?;
                Ok(Value::List(Arc::new(kept)))
            }
            Each::All | Each::Exists => failed.map_or(Ok(Value::Bool(each == Each::All)), Err),
            Each::ExistsOne => Ok(Value::Bool(count == 1)),
        }
    }

    /// One item: what `map` makes of it (`None` if its filter drops it), or the verdict of the others.
    fn item(&mut self, each: Each, test: &Node, then: Option<&Node>) -> Result<Option<Value>, Stop> {
        match (each, then) {
            (Each::Map, None) => self.eval(test).map(Some),
            (Each::Map, Some(then)) => {
                if self.bool(test)? {
                    self.eval(then).map(Some)
                } else {
                    Ok(None)
                }
            }
            _ => self.bool(test).map(|verdict| Some(Value::Bool(verdict))),
        }
    }

    /// A value, or why it is absent.
    fn maybe(&mut self, node: &Node) -> Result<Result<Value, Text>, Stop> {
        match self.eval(node) {
            Ok(value) => Ok(Ok(value)),
            Err(Stop::Absent(absence)) => Ok(Err(format!("`{}`: {}", absence.what, absence.why).into())),
            Err(Stop::Missing(why)) => Ok(Err(why.into())),
            Err(stop) => Err(stop),
        }
    }

    fn first(&mut self, written: &Text, args: &[Node]) -> Result<Value, Stop> {
        let mut reasons = Vec::new();
        for arg in args {
            match self.maybe(arg)? {
                Ok(value) => return Ok(value),
                Err(why) => reasons.push(why),
            }
        }
        let why = format!("none of its values is present ({})", reasons.join("; ")).into();
        Err(Stop::Absent(Arc::new(Absence { what: written.clone(), why })))
    }
}
