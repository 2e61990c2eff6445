//! Templates: prompts with variables, bounded in steps and size.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

use crate::diagnostic::Code;
use crate::flow::expression::Problem;
use crate::limits;
use crate::value::Value;

mod convert;
mod words;

/// The one template of an environment.
const NAME: &str = "template";

/// Deepest recursion of a template's macros.
const RECURSION: usize = 50;

/// A template that can be read; rendering it is bounded by [`crate::limits`].
#[derive(Debug, Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    source: Arc<str>,
}

/// Why a template gave no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template: {0}")]
pub struct RenderError(pub String);

/// Filters, tests and bounds, the same for all templates.
static BASE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    // A tag on a line of its own leaves no empty line in the prompt. The builder fails only for odd delimiters.
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(limits::TEMPLATE_FUEL));
    environment.set_recursion_limit(RECURSION);
    // For the ranges of errors.
    environment.set_debug(true);
    environment.add_filter("json", convert::json);
    environment
});

impl Template {
    /// Reads a template.
    pub fn compile(source: &str) -> Result<Self, Vec<Problem>> {
        if let Some(range) = words::too_deep(source) {
            let (links, elifs) = (words::LINKS, words::ELIFS);
            return Err(vec![Problem {
                code: Code::TEMPLATE_SYNTAX,
                range,
                message: format!(
                    "the template is too much to read: at most {links} operators a tag, and {elifs} `elif`"
                ),
                hint: Some("give what it works out as a variable".to_owned()),
            }]);
        }
        let mut environment = BASE.clone();
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| vec![unreadable(source, &error)])?;
        let problems = unknown_words(&environment, source);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { environment: Arc::new(environment), source: source.into() })
    }

    /// The top-level variables that it reads, each with the place where it is first read.
    pub fn variables(&self) -> Vec<(String, Range<usize>)> {
        let Ok(template) = self.environment.get_template(NAME) else { return Vec::new() };
        let mut names = template.undeclared_variables(false);
        for (global, _) in self.environment.globals() {
            names.remove(global);
        }
        let mut places: BTreeMap<&str, Range<usize>> = BTreeMap::new();
        for word in words::words(&self.source) {
            if word.is_variable() && names.contains(word.text) {
                places.entry(word.text).or_insert(word.range);
            }
        }
        let whole = 0..self.source.len();
        let mut variables: Vec<_> = names
            .iter()
            .map(|name| (name.clone(), places.get(name.as_str()).unwrap_or(&whole).clone()))
            .collect();
        variables.sort_by(|(a, a_place), (b, b_place)| (a_place.start, a).cmp(&(b_place.start, b)));
        variables
    }

    /// The text, with `variables` filled in. An undefined variable is an error.
    pub fn render(&self, variables: &[(&str, Value)]) -> Result<String, RenderError> {
        let template = self.environment.get_template(NAME).map_err(|error| self.failed(&error))?;
        let context = minijinja::Value::from_pairs(
            variables.iter().map(|(name, value)| ((*name).to_owned(), convert::value(value.clone()))),
        );
        let mut output = Bounded::default();
        let rendered = template.render_captured_to(context, &mut output).map(drop);
        if output.full {
            return Err(RenderError(format!("the text grows past {} bytes", limits::TEMPLATE_OUTPUT_BYTES)));
        }
        rendered.map_err(|error| self.failed(&error))?;
        String::from_utf8(output.text).map_err(|_| RenderError("the text is not UTF-8".to_owned()))
    }

    fn failed(&self, error: &Error) -> RenderError {
        let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
        let place = error.range().and_then(|range| self.source.get(range)).map(str::trim);
        let message = match (error.kind(), place) {
            (ErrorKind::OutOfFuel, _) => format!("it takes more than {} steps", limits::TEMPLATE_FUEL),
            (ErrorKind::UndefinedError, Some(place)) => format!("`{place}` has no value"),
            (_, Some(place)) => format!("`{place}`: {}", humane(error)),
            (_, None) => humane(error),
        };
        RenderError(format!("{line}{message}"))
    }
}

/// The names that `source` reads within its tags, of variables and of their fields, in order.
pub(crate) fn names(source: &str) -> impl Iterator<Item = (&str, Range<usize>)> {
    let is_read = |word: &words::Word<'_>| word.is_variable() || word.is_field();
    words::words(source).into_iter().filter(is_read).map(|word| (word.text, word.range))
}

/// Takes text up to the bound, then refuses.
#[derive(Default)]
struct Bounded {
    text: Vec<u8>,
    full: bool,
}

impl io::Write for &mut Bounded {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.text.len() + text.len() > limits::TEMPLATE_OUTPUT_BYTES {
            self.full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What went wrong, without the kind of error before it.
fn humane(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

fn unreadable(source: &str, error: &Error) -> Problem {
    let clip =
        |at: usize| (0..=at.min(source.len())).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0);
    let range = match error.range() {
        Some(range) => clip(range.start)..clip(range.end.max(range.start)),
        None => error.line().map_or(0..source.len(), |line| line_range(source, line)),
    };
    let message = humane(error);
    let hint = if message.contains("unknown statement include")
        || message.contains("unknown statement import")
    {
        Some("a template stands alone: give its text as a variable".to_owned())
    } else if message.contains("unexpected end of template") || message.contains("unexpected end of input") {
        Some("close what was opened: `{% endif %}`, `{% endfor %}`, `}}`".to_owned())
    } else {
        None
    };
    Problem { code: Code::TEMPLATE_SYNTAX, range, message, hint }
}

fn line_range(source: &str, line: usize) -> Range<usize> {
    let start = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let length = source.get(start..).and_then(|rest| rest.lines().next()).map_or(0, str::len);
    start..start + length
}

/// Filters and tests that do not exist; the template engine would tell only when it renders.
fn unknown_words(environment: &Environment<'static>, source: &str) -> Vec<Problem> {
    let mut state = environment.empty_state();
    let mut problems = Vec::new();
    for word in words::words(source) {
        let (what, missing) = if word.is_filter() {
            let outcome = state.apply_filter(word.text, &[]);
            ("filter", matches!(outcome, Err(error) if error.kind() == ErrorKind::UnknownFilter))
        } else if word.is_test() {
            let outcome = state.perform_test(word.text, &[]);
            ("test", matches!(outcome, Err(error) if error.kind() == ErrorKind::UnknownTest))
        } else {
            continue;
        };
        if missing {
            problems.push(Problem {
                code: Code::TEMPLATE_SYNTAX,
                range: word.range,
                message: format!("there is no {what} `{}`", word.text),
                hint: crate::diagnostic::nearest(word.text, FILTERS.iter().copied())
                    .filter(|_| what == "filter")
                    .map(|near| format!("did you mean `{near}`?")),
            });
        }
    }
    problems
}

/// Filters that prompts use, to suggest.
const FILTERS: &[&str] = &[
    "abs",
    "batch",
    "capitalize",
    "count",
    "default",
    "dictsort",
    "first",
    "float",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "json",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Chunk, Message, Role};
    use proptest::prelude::*;

    fn render(source: &str, variables: &[(&str, Value)]) -> String {
        let template = Template::compile(source).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        template.render(variables).unwrap_or_else(|error| panic!("{source}: {error}"))
    }

    fn fails(source: &str, variables: &[(&str, Value)]) -> String {
        Template::compile(source).unwrap().render(variables).unwrap_err().to_string()
    }

    fn problem(source: &str) -> String {
        let problem = Template::compile(source).unwrap_err().remove(0);
        format!("{} at `{}`: {}", problem.code, &source[problem.range.clone()], problem.message)
    }

    fn chunks() -> Value {
        let chunk = serde_json::from_value::<Chunk>(serde_json::json!({
            "id": "a", "doc": "d", "text": "one <b>", "tokens": 1,
            "range": {"start": 0, "end": 1}, "lines": {"first": 1, "last": 2},
        }));
        Value::list([Value::from(chunk.unwrap())])
    }

    #[test]
    fn a_tag_on_its_own_line_leaves_none_in_the_prompt() {
        let source = "Answer from these:\n{% for c in chunks %}\n  [{{ loop.index }}] {{ c.text }}\n{% endfor %}\nNow.";
        assert_eq!(render(source, &[("chunks", chunks())]), "Answer from these:\n  [1] one <b>\nNow.");
    }

    #[test]
    fn records_are_read_by_field_and_their_empty_fields_are_none() {
        let source = "{{ c[0].title or 'untitled' }} {{ c[0].lines.first }} {{ c | length }} {% if c[0].score %}x{% endif %}";
        assert_eq!(render(source, &[("c", chunks())]), "untitled 1 1 ");
        let turn = Value::Message(Arc::new(Message { role: Role::User, content: "hi".into() }));
        assert_eq!(render("{{ m.role }}: {{ m.content }}", &[("m", turn)]), "user: hi");
        assert_eq!(
            render(
                "{% for k, v in m | items %}{{ k }}={{ v }};{% endfor %}",
                &[("m", Value::map([("a", Value::Int(1))]))]
            ),
            "a=1;"
        );
    }

    #[test]
    fn values_print_as_json_and_json_escapes_nothing() {
        let list = Value::list([Value::text("<π>"), Value::Int(1), Value::Null]);
        assert_eq!(render("{{ x }} {{ x | json }}", &[("x", list)]), "[\"<π>\",1,null] [\"<π>\",1,null]");
        assert_eq!(render("{{ {'a': [x, 1.5]} | json }}", &[("x", Value::Bool(true))]), "{\"a\":[true,1.5]}");
    }

    #[test]
    fn an_undefined_variable_is_named_with_its_line() {
        assert_eq!(fails("a\n{{ nothing }}", &[]), "template: line 2: `nothing` has no value");
        assert_eq!(
            fails("{{ m.nothing }}", &[("m", Value::map([("a", Value::Null)]))]),
            "template: line 1: `m.nothing` has no value"
        );
    }

    #[test]
    fn variables_come_with_their_first_place() {
        let source = "{# q #} 'q' {{ 'q' }}{{ x.q | default(q=1) }}{% for c in chunks %}{{ c.text ~ q }}{{ range(3) }}{% endfor %}{{ q }}";
        let variables = Template::compile(source).unwrap().variables();
        let found: Vec<_> =
            variables.iter().map(|(name, at)| (name.as_str(), at.start, &source[at.clone()])).collect();
        let first = source.find("~ q").unwrap() + 2;
        assert_eq!(
            found,
            [
                ("x", source.find("x.q").unwrap(), "x"),
                ("chunks", source.find("chunks").unwrap(), "chunks"),
                ("q", first, "q")
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_shown_where_it_is() {
        assert_eq!(
            problem("a {{ b c }}"),
            "FLOW0035 at `c`: unexpected identifier, expected end of variable block"
        );
        assert_eq!(problem("{{ x | trimm }}"), "FLOW0035 at `trimm`: there is no filter `trimm`");
        assert_eq!(problem("{{ x is odder }}"), "FLOW0035 at `odder`: there is no test `odder`");
        assert!(problem("{% include 'x' %}").starts_with("FLOW0035 at `include`: unknown statement include"));
        assert!(problem("{% if x %}\nno end").starts_with("FLOW0035"));
        assert!(Template::compile("{{ x is not defined }}{{ 'a|b is c' }}").is_ok());
    }

    #[test]
    fn a_template_without_end_is_stopped() {
        let long = "{% for a in range(10000) %}{% for b in range(10000) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(fails(long, &[]).contains("it takes more than 1000000 steps"));
        let large = "{% for a in range(1000) %}{{ x }}{% endfor %}";
        let error = fails(large, &[("x", Value::text("x".repeat(10_000)))]);
        assert_eq!(error, "template: the text grows past 2097152 bytes");
        let doubled = format!("{{% set a = x %}}{}{{{{ a | length }}}}", "{% set a = a ~ a %}".repeat(60));
        assert!(fails(&doubled, &[("x", Value::text("x"))]).contains("it takes more than 1000000 steps"));
        let macros = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
        assert!(fails(macros, &[]).contains("recursion"));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let n = 5_000;
        for source in [
            format!("{{{{ {}1 }}}}", "1+".repeat(n)),
            format!("{{{{ {{'a':{{}}}} {} }}}}", "+1".repeat(n)),
            format!("{{{{ {}", "(".repeat(n)),
            format!("{{{{ {}", "[".repeat(n)),
            "{% if x %}".repeat(n),
            format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(n)),
            format!("{{{{ x{} }}}}", "|upper".repeat(n)),
            format!("{{{{ x{} }}}}", ".a".repeat(n)),
            format!("{{{{ x{} }}}}", "[0]".repeat(n)),
            format!("{{{{ {}x }}}}", "not ".repeat(n)),
            format!("{{{{ {}1 }}}}", "1 if x else ".repeat(n)),
            format!("{{{{ {}x }}}}", "-".repeat(n)),
            format!("{{{{ x{} }}}}", " is odd".repeat(n)),
        ] {
            assert!(Template::compile(&source).is_err(), "{source:.40}");
        }
        let list = format!("{{% set x = [{}] %}}{{{{ x | length }}}}", "'a', ".repeat(n));
        assert_eq!(render(&list, &[]), "5000");
    }

    proptest! {
        #[test]
        fn no_text_whatever_brings_the_reader_down(source in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|x|\\||'| |\\PC){0,40}") {
            match Template::compile(&source) {
                Ok(template) => {
                    for (_, range) in template.variables() {
                        prop_assert!(source.get(range).is_some());
                    }
                    drop(template.render(&[("x", Value::Int(1))]));
                }
                Err(problems) => {
                    for problem in problems {
                        prop_assert!(source.get(problem.range.clone()).is_some(), "{:?}", problem);
                    }
                }
            }
        }
    }
}
