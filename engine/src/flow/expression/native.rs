//! Evaluates with `cel`, and adds to it what it does not know: absence, and bounds.
//!
//! A parsed expression is rewritten once. What knows about absence takes its arguments unevaluated, by their number;
//! what goes over a list or through a text says so first, and is stopped where that is too much.

use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::common::types::{CelBool, CelInt, CelList, CelString};
use cel::common::value::{CowVal, Val};
use cel::{Context, Env, ExecutionError, FunctionContext, extensions};

use super::lower::{Lower, REFERENCE};
use super::meter::Meter;
use super::{Absence, Problem, Stop, read, values};
use crate::limits;
use crate::value::{Text, Value};

type Outcome<'c, 'v> = Result<CowVal<'c, 'v>, ExecutionError>;
type Function = Box<dyn for<'c, 'v> Fn(&mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> + Send + Sync>;

/// `cel` with its standard functions and the extensions for texts and lists.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    for extension in [extensions::strings, extensions::lists] {
        // It fails on a name that is taken; a function that is missing for it is an error of each call.
        drop(env.add_extension(extension));
    }
    Arc::new(env)
});

/// Begins the message of an error that stands for absence.
const ABSENT: char = '\u{1}';

/// The error that makes an expression absent. `has` takes it as `false`.
pub(super) fn absent(what: &str, why: &str) -> ExecutionError {
    ExecutionError::no_such_key(&format!("{ABSENT}{what}{ABSENT}{why}"))
}

/// A regular expression, bounded in the memory that it may take.
pub(super) fn regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(pattern)
        .size_limit(256 << 10)
        .dfa_size_limit(1 << 20)
        .nest_limit(32)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "the regular expression is too large".to_owned(),
            _ => "the text is no regular expression".to_owned(),
        })
}

/// An expression that `cel` can evaluate.
#[derive(Debug)]
pub(super) struct Program {
    root: IdedExpr,
    deep: bool,
    quoted: Arc<Vec<(IdedExpr, Text)>>,
    patterns: Arc<Vec<regex::Regex>>,
}

/// What the native functions of one evaluation share.
struct Run {
    meter: Arc<Meter>,
    quoted: Arc<Vec<(IdedExpr, Text)>>,
    patterns: Arc<Vec<regex::Regex>>,
    /// Names without a value.
    absent: Vec<(Text, Arc<Absence>)>,
}

impl Program {
    /// Reads `source`, which was checked.
    pub(super) fn new(source: &str) -> Result<Self, Problem> {
        let read = read::read(source, &ENV)?;
        let mut lower = Lower::new(&read);
        let mut root = read.root.clone();
        lower.node(&mut root);
        Ok(Self {
            root,
            deep: read.is_deep(),
            quoted: Arc::new(lower.quoted),
            patterns: Arc::new(lower.patterns),
        })
    }

    /// The value, given what each name stands for.
    pub(super) fn evaluate(&self, names: &[(&Text, Result<Value, Arc<Absence>>)]) -> Result<Value, Stop> {
        let meter = Arc::new(Meter::default());
        let absent = names.iter().filter_map(|(name, value)| Some(((*name).clone(), value.clone().err()?)));
        let run = Arc::new(Run {
            meter: Arc::clone(&meter),
            quoted: Arc::clone(&self.quoted),
            patterns: Arc::clone(&self.patterns),
            absent: absent.collect(),
        });
        let outcome = read::on_stack(self.deep, || self.run(names, &run));
        if let Some(over) = meter.over() {
            return Err(over);
        }
        outcome.map_err(|error| Stop::Error(error.to_string()))?
    }

    fn run(&self, names: &[(&Text, Result<Value, Arc<Absence>>)], run: &Arc<Run>) -> Result<Value, Stop> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        for (name, function) in NATIVE {
            let run = Arc::clone(run);
            let function: Function = Box::new(move |call| function(&run, call));
            context.add_function(name, function).map_err(|error| Stop::Error(error.to_string()))?;
        }
        for (name, value) in names {
            if let Ok(value) = value {
                let value = values::bind(value, &run.meter).map_err(|error| run.stop(&error))?;
                context.add_variable_as_val(format!("{REFERENCE}{name}"), value);
            }
        }
        let value = cel::Value::resolve_val(&self.root, &context).map_err(|error| run.stop(&error))?;
        let mut made = 0;
        let value = values::unbind(&*value, &mut made)?;
        let most = limits::EXPRESSION_OUTPUT_BYTES;
        if made > most + run.meter.passed() {
            return Err(Stop::Bound(format!("makes a value of more than {most} bytes")));
        }
        Ok(value)
    }
}

type Native = for<'c, 'v> fn(&Run, &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v>;

/// No expression can say these names.
const NATIVE: [(&str, Native); 10] = [
    ("@over", over),
    ("@weigh", weigh),
    ("@compare", compare),
    ("@pieces", pieces),
    ("@matches", matches),
    ("@replace", replace),
    ("@join", join),
    ("@first", first),
    ("@present", present),
    ("@all_present", all_present),
];

fn only<'c, 'v>(call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    call.args.pop().ok_or_else(ExecutionError::missing_argument_or_target)
}

/// Counts the items of a list that is about to be gone over.
fn over<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let range = values::ordered(only(call)?);
    let items = range.downcast_ref::<CelList<'v>>().map_or(1, |list| list.inner().len());
    run.meter.steps(items)?;
    run.meter.work(values::weight(&*range, false))?;
    Ok(range)
}

/// Counts the bytes of a value that is about to be looked through or copied.
fn weigh<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let value = only(call)?;
    run.meter.work(values::weight(&*value, false))?;
    Ok(value)
}

/// As [`weigh`], where the texts of records are looked through as well.
fn compare<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let value = only(call)?;
    run.meter.work(values::weight(&*value, true))?;
    Ok(value)
}

/// As [`weigh`], where each byte may become a text of its own.
fn pieces<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let value = only(call)?;
    run.meter.work(values::weight(&*value, false).saturating_mul(32))?;
    Ok(value)
}

fn texts<'b>(
    call: &'b FunctionContext<'_, '_>,
    args: &'b [CowVal<'_, '_>],
) -> Result<Vec<&'b str>, ExecutionError> {
    args.iter()
        .map(|arg| {
            arg.downcast_ref::<CelString<'_>>().map(CelString::inner).ok_or_else(|| {
                let found = arg.get_type().name();
                call.error(format!("`{}` takes texts, found `{found}`", call.name.trim_start_matches('@')))
            })
        })
        .collect()
}

/// Ours for the bounds: a pattern is read once, and may not be large.
fn matches<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let (text, pattern) = call.args.split_at(1);
    let text = texts(call, text)?.concat();
    let known = pattern.first().and_then(|pattern| pattern.downcast_ref::<CelInt>());
    let found = if let Some(at) = known {
        let pattern = usize::try_from(*at.inner()).ok().and_then(|at| run.patterns.get(at));
        let pattern = pattern.ok_or_else(|| call.error("`matches` takes texts"))?;
        run.meter.work(text.len().saturating_mul(1 + pattern.as_str().len() / 32))?;
        pattern.is_match(&text)
    } else {
        let pattern = texts(call, pattern)?.concat();
        // Reading a pattern costs more than its length.
        run.meter.work(4_096 + 16 * pattern.len() + text.len().saturating_mul(1 + pattern.len() / 32))?;
        regex(&pattern).map_err(|message| call.error(message))?.is_match(&text)
    };
    Ok(CowVal::owned(CelBool::from(found)))
}

/// Ours for the bounds: what comes of it can be as long as the product of what goes in.
fn replace<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let args = texts(call, &call.args)?;
    let [text, old, new] = args.as_slice() else { return Err(ExecutionError::missing_argument_or_target()) };
    run.meter.work(text.len())?;
    run.meter.work(text.matches(old).count().saturating_mul(new.len()))?;
    Ok(CowVal::owned(CelString::from(text.replace(old, new))))
}

/// Ours for the bounds, as [`replace`].
fn join<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let (list, by) = call.args.split_at(1);
    let by = texts(call, by)?.concat();
    let Some(list) = list.first().and_then(|list| list.downcast_ref::<CelList<'v>>()) else {
        return Err(call.error("`join` takes a list of texts"));
    };
    run.meter
        .work(values::weight(list, false).saturating_add(list.inner().len().saturating_mul(by.len())))?;
    let items: Vec<CowVal<'_, 'v>> =
        list.inner().iter().map(|item| CowVal::Borrowed(item.as_ref())).collect();
    let joined = texts(call, &items)?.join(&by);
    Ok(CowVal::owned(CelString::from(joined)))
}

/// The values of the quoted arguments, or why each is absent.
type Quoted<'v> = Result<Box<dyn Val + 'v>, Text>;

fn quoted<'v>(
    run: &Run,
    call: &FunctionContext<'_, 'v>,
    arg: &CowVal<'_, 'v>,
) -> Result<Quoted<'v>, ExecutionError> {
    let at = arg.downcast_ref::<CelInt>().and_then(|at| usize::try_from(*at.inner()).ok());
    let Some((ast, _)) = at.and_then(|at| run.quoted.get(at)) else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    match cel::Value::resolve_val(ast, call.ptx) {
        Ok(value) => Ok(Ok(value.into_owned())),
        Err(error) => match run.stop(&error) {
            Stop::Absent(absence) => Ok(Err(format!("`{}`: {}", absence.what, absence.why).into())),
            Stop::Missing(why) => Ok(Err(why.into())),
            Stop::Error(_) | Stop::Bound(_) => Err(error),
        },
    }
}

fn first<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let mut reasons = Vec::new();
    for arg in &call.args {
        match quoted(run, call, arg)? {
            Ok(value) => return Ok(CowVal::Owned(value)),
            Err(why) => reasons.push(why),
        }
    }
    let at = call.args.first().and_then(|arg| usize::try_from(*arg.downcast_ref::<CelInt>()?.inner()).ok());
    let written = at.and_then(|at| run.quoted.get(at)).map_or("first", |(_, written)| written);
    Err(absent(written, &format!("none of its values is present ({})", reasons.join("; "))))
}

fn present<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let arg = only(call)?;
    Ok(CowVal::owned(CelBool::from(quoted(run, call, &arg)?.is_ok())))
}

fn all_present<'c, 'v>(run: &Run, call: &mut FunctionContext<'c, 'v>) -> Outcome<'c, 'v> {
    let values: Result<Vec<_>, _> = call.args.iter().map(|arg| quoted(run, call, arg)).collect();
    let present: Vec<Box<dyn Val + 'v>> = values?.into_iter().flatten().collect();
    Ok(CowVal::owned(CelList::from(present)))
}

impl Run {
    /// What `error` means to us.
    fn stop(&self, error: &ExecutionError) -> Stop {
        match error {
            ExecutionError::NoSuchKey(key) => match key
                .strip_prefix(ABSENT)
                .and_then(|key| key.split_once(ABSENT))
            {
                Some((what, why)) => Stop::Absent(Arc::new(Absence { what: what.into(), why: why.into() })),
                None => Stop::Missing(format!("the map has no `{key}`")),
            },
            ExecutionError::UndeclaredReference(name) => {
                // The name of the error is that of the root.
                let name = name.trim_start_matches(REFERENCE);
                let known = self.absent.iter().find(|(known, _)| {
                    known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                });
                match known {
                    Some((_, absence)) => Stop::Absent(Arc::clone(absence)),
                    None => Stop::Error(format!("there is no `{name}`")),
                }
            }
            ExecutionError::IndexOutOfBounds(cel::Value::Int(at)) => {
                Stop::Missing(format!("there is no item {at} in the list"))
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                Stop::Error("division by zero".to_owned())
            }
            ExecutionError::Overflow(..) => Stop::Error("the number does not fit into 64 bits".to_owned()),
            ExecutionError::FunctionError { message, .. } => Stop::Error(message.clone()),
            ExecutionError::NoSuchOverload(call) => {
                let types: Vec<String> = call.argument_types().iter().map(|ty| format!("`{ty}`")).collect();
                let sign = call.function().trim_matches(['_', '@']);
                Stop::Error(format!("`{sign}` cannot be done with {}", types.join(" and ")))
            }
            ExecutionError::UnsupportedBinaryOperator(name, left, right) => Stop::Error(format!(
                "`{name}` cannot be done with `{}` and `{}`",
                left.type_of(),
                right.type_of()
            )),
            ExecutionError::UnexpectedType { got, want } => {
                Stop::Error(format!("needs `{want}`, found `{got}`"))
            }
            _ => Stop::Error("it cannot be done with these values".to_owned()),
        }
    }
}
