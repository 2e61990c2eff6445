//! The answers to a run's waits: from `--answer`, or from whoever sits at the terminal.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use anabranch_engine::plan::Plan;
use anabranch_engine::run::{Inbox, Notice, Observer, OpenWait, wait_of, waits_of};
use anabranch_engine::types::Type;
use anabranch_engine::value::{Text, Value};

use super::super::print;
use super::inputs::read_words;
use super::progress::Shown;
use crate::exit::{Error, Exit};

/// Who gave the answers of this process, for the journal.
const BY: &str = "command line";

/// Answers by the path of the wait, with or without the index of a turn or item.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<(String, Value)>);

impl Answers {
    /// Reads `--answer PATH=VALUE`; each value must fit the wait that it is for.
    pub(super) fn read(plan: &Plan, given: &[String]) -> Result<Self, Error> {
        let mut answers: Vec<(String, Value)> = Vec::new();
        for argument in given {
            let Some((path, words)) = argument.split_once('=') else {
                return Err(Error::usage(format!(
                    "`--answer {argument}` has no `=`; write `--answer node=value`"
                )));
            };
            let Some(wait) = wait_of(plan, &path.into()) else {
                let known = waits_of(plan);
                let hint = if known.is_empty() {
                    format!("flow `{}` waits for nobody", plan.name)
                } else {
                    format!("its waits are `{}`", known.join("`, `"))
                };
                return Err(Error::usage(format!("flow `{}` has no wait `{path}`", plan.name)).hint(hint));
            };
            if answers.iter().any(|(known, _)| known == path) {
                return Err(Error::usage(format!("`{path}` is answered twice")));
            }
            let value = read_words(words.to_owned(), &wait.ty)
                .map_err(|problem| Error::usage(format!("the answer to `{path}`: {problem}")))?;
            answers.push((path.to_owned(), value));
        }
        Ok(Self(answers))
    }

    /// The answer to this very turn or item if there is one, otherwise that to all of them.
    fn to(&self, wait: &OpenWait) -> Option<Value> {
        let exact = wait.scope.to_string();
        let general = without_indexes(&exact);
        let find =
            |path: &str| self.0.iter().find(|(known, _)| known == path).map(|(_, value)| value.clone());
        find(&exact).or_else(|| find(&general))
    }
}

fn without_indexes(path: &str) -> String {
    path.split('/').map(|part| part.split('[').next().unwrap_or(part)).collect::<Vec<_>>().join("/")
}

/// Whether somebody is there to be asked.
pub(super) fn is_anybody_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Gives answers to waits as they open, and passes every notice on.
pub(super) struct Asking {
    pub(super) answers: Answers,
    pub(super) inbox: Inbox,
    pub(super) shown: Option<Arc<dyn Shown>>,
    /// Whether to ask at the terminal for what is not given.
    pub(super) asks: bool,
    /// One question at a time.
    pub(super) turn: Arc<Mutex<()>>,
}

impl Observer for Asking {
    fn notice(&self, notice: &Notice) {
        if let Some(shown) = &self.shown {
            shown.notice(notice);
        }
        let Notice::Waiting(wait) = notice else { return };
        if let Some(value) = self.answers.to(wait) {
            // It fits: that was looked at before the run.
            drop(self.inbox.answer(wait.scope.clone(), value, Some(Text::from(BY))));
        } else if self.asks {
            let (wait, inbox) = (wait.clone(), self.inbox.clone());
            let (shown, turn) = (self.shown.clone(), self.turn.clone());
            // A thread of its own: reading a terminal cannot be cancelled, and must not keep the process.
            std::thread::spawn(move || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(shown) = &shown {
                    shown.hide(true);
                }
                if let Some(value) = ask(&wait) {
                    drop(inbox.answer(wait.scope.clone(), value, Some(Text::from(BY))));
                }
                if let Some(shown) = &shown {
                    shown.hide(false);
                }
            });
        }
    }
}

/// Asks at the terminal until there is an answer of the right type; `None` once nothing more can be read.
fn ask(wait: &OpenWait) -> Option<Value> {
    let mut text = format!("\n{}", wait.scope);
    if let Some(about) = &wait.about {
        text.push_str(": ");
        text.push_str(about);
    }
    for (name, value) in &wait.shown {
        text.push_str(&format_shown(name, value));
    }
    print::complain(&text);
    loop {
        // A terminal that cannot be written to cannot be read either.
        write!(std::io::stderr(), "{} ({})> ", wait.scope, form(&wait.ty)).ok()?;
        std::io::stderr().flush().ok()?;
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).ok()? == 0 {
            return None;
        }
        match read_words(line.trim_end_matches(['\n', '\r']).to_owned(), &wait.ty) {
            Ok(value) => return Some(value),
            Err(problem) => print::complain(&problem),
        }
    }
}

fn format_shown(name: &str, value: &Value) -> String {
    let text = match value {
        Value::Text(text) => text.to_string(),
        other => other.to_json().to_string(),
    };
    format!("\n  {name}: {}", text.replace('\n', "\n    "))
}

/// What to type for an answer of this type.
fn form(ty: &Type) -> String {
    match ty {
        Type::Bool => "true or false".to_owned(),
        other => other.to_string(),
    }
}

/// The error of a run that stopped because nobody is there to answer.
pub(super) fn unanswered(waits: &[OpenWait]) -> Error {
    let mut lines = Vec::new();
    let mut options: Vec<String> = Vec::new();
    for wait in waits {
        let about = wait.about.as_deref().map(|about| format!(": {about}")).unwrap_or_default();
        lines.push(format!("`{}` waits for an answer (`{}`){about}", wait.scope, wait.ty));
        let example = match wait.ty {
            Type::Bool => "true",
            Type::Int | Type::Float => "1",
            Type::Text | Type::Label => "TEXT",
            _ => "VALUE",
        };
        options.push(format!("--answer {}={example}", wait.scope));
    }
    Error::new(Exit::Failed, lines.join("\n  "))
        .hint(format!("nobody is there to be asked; give the answer with it: {}", options.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(scope: &str, ty: Type) -> OpenWait {
        OpenWait { scope: scope.into(), ty, about: None, shown: [].into(), since_ms: 0, until_ms: 0 }
    }

    #[test]
    fn an_answer_to_one_turn_goes_before_that_to_all_of_them() {
        let answers =
            Answers(vec![("hop/pick".to_owned(), Value::Int(1)), ("hop[2]/pick".to_owned(), Value::Int(2))]);
        let to = |scope: &str| answers.to(&wait(scope, Type::Int));
        assert_eq!(to("hop[1]/pick"), Some(Value::Int(1)));
        assert_eq!(to("hop[2]/pick"), Some(Value::Int(2)));
        assert_eq!(to("pick"), None);
    }

    #[test]
    fn the_error_says_what_to_type() {
        let error = unanswered(&[wait("approve", Type::Bool), wait("hop[1]/pick", Type::Int)]);
        assert_eq!(
            error.message,
            "`approve` waits for an answer (`bool`)\n  `hop[1]/pick` waits for an answer (`int`)"
        );
        assert_eq!(
            error.hint.as_deref(),
            Some(
                "nobody is there to be asked; give the answer with it: --answer approve=true --answer hop[1]/pick=1"
            )
        );
    }
}
