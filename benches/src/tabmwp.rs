//! The recorded answers to `TabMWP`'s questions, and how they are scored.
//!
//! Programs are scored as Chameleon's code scores what they leave in `ans`; the other three models carry the verdict of
//! `PromptPG`, which recorded them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::Outcome;
use anabranch_evaluation::set::read_lines;
use serde::Deserialize;
use serde_json::Value;

/// A question with the program that a model wrote for it.
#[derive(Debug, Deserialize)]
pub struct Problem {
    /// Its name.
    pub id: String,
    /// The program.
    pub generated: String,
    /// What it gave when it was recorded; null where it failed.
    pub executed: Value,
    /// What is right: a number, or one of the choices.
    pub answer: Value,
    /// What there is to choose from, if anything.
    pub choices: Option<Vec<String>>,
}

/// What another model answered.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// The answer, in the form in which it was compared.
    pub prediction_norm: String,
    /// Whether it is right.
    pub true_false: bool,
}

/// What a model says, in a form in which two models can agree.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A number, to three digits after the point.
    Number(f64),
    /// Yes or no.
    Bool(bool),
    /// Anything else, in lower case.
    Text(String),
}

/// The questions with their programs, in the order of the file.
pub fn problems(folder: &Path) -> Outcome<Vec<Problem>> {
    Ok(read_lines(&folder.join("programs_codex.jsonl"))?)
}

/// What the model of a file answered to each question.
pub fn recorded(folder: &Path, name: &str) -> Outcome<BTreeMap<String, Recorded>> {
    #[derive(Deserialize)]
    struct Whole {
        results: BTreeMap<String, Recorded>,
    }
    let path = folder.join(format!("{name}.json"));
    let file = File::open(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    Ok(serde_json::from_reader::<_, Whole>(BufReader::new(file))?.results)
}

impl Recorded {
    /// What the model says.
    pub fn said(&self) -> Said {
        Said::Text(self.prediction_norm.clone()).comparable()
    }
}

impl Said {
    /// The same in a form in which equal answers are equal: what can be read as a number is one.
    #[must_use]
    pub fn comparable(self) -> Self {
        let text = match self {
            Self::Number(_) => return self,
            Self::Bool(said) => return Self::Text(if said { "yes" } else { "no" }.to_owned()),
            Self::Text(text) => plain(&text),
        };
        let number = match text.split_once('/') {
            Some((over, under)) => parse(over).zip(parse(under)).map(|(over, under)| over / under),
            None => parse(&text.replace(',', "")),
        };
        number.map_or(Self::Text(text), |number| Self::Number(rounded(number, 3)))
    }
}

impl Problem {
    /// What a program's value says; none if the program failed. What is no choice becomes the one most like it.
    pub fn said(&self, value: Option<&Value>) -> Option<Said> {
        let said = match value {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => items.first().map(scalar),
            Some(Value::Object(fields)) => fields.values().next().map(scalar),
            Some(value) => Some(scalar(value)),
        };
        let said = match said? {
            Said::Text(text) => Said::Text(plain(&text)),
            said => return Some(said),
        };
        let Said::Text(text) = &said else { return Some(said) };
        Some(match &self.choices {
            Some(choices) => Said::Text(most_alike(text, choices)),
            None => number_in(text).map_or(said.clone(), Said::Number),
        })
    }

    /// Whether it is right; a failed program takes the first choice, if there are any.
    pub fn is_right(&self, said: Option<&Said>) -> bool {
        let first = || self.choices.as_ref().and_then(|choices| choices.first()).map(|c| c.to_lowercase());
        match (said.cloned().or_else(|| first().map(Said::Text)), &self.answer) {
            (Some(Said::Bool(said)), answer) => answer.as_str() == Some(if said { "yes" } else { "no" }),
            (Some(Said::Text(said)), Value::String(answer)) => said.trim() == answer.trim().to_lowercase(),
            (Some(Said::Number(said)), Value::Number(answer)) => {
                let answer = answer.as_f64().unwrap_or(f64::NAN);
                let digits = digits_of(said).min(digits_of(answer));
                (rounded(said, digits) - rounded(answer, digits)).abs() <= 0.0
            }
            _ => false,
        }
    }
}

/// What most models say, the first of those on which equally many agree. Who says nothing has no vote.
pub fn most_said(said: &[Option<Said>]) -> Option<&Said> {
    let votes = |one: &Said| said.iter().flatten().filter(|other| *other == one).count();
    let mut best: Option<(&Said, usize)> = None;
    for one in said.iter().flatten() {
        if best.is_none_or(|(_, most)| votes(one) > most) {
            best = Some((one, votes(one)));
        }
    }
    best.map(|(one, _)| one)
}

fn scalar(value: &Value) -> Said {
    match value {
        Value::Bool(b) => Said::Bool(*b),
        Value::Number(number) => Said::Number(rounded(number.as_f64().unwrap_or(f64::NAN), 3)),
        Value::String(text) => {
            parse(text).map_or_else(|| Said::Text(text.clone()), |n| Said::Number(rounded(n, 3)))
        }
        other => Said::Text(other.to_string()),
    }
}

fn plain(text: &str) -> String {
    text.replace('$', "").trim().to_lowercase()
}

fn parse(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// The number that a free answer is: a fraction, one with thousands, a share, or a plain one.
fn number_in(text: &str) -> Option<f64> {
    if let Some((over, under)) = text.split_once('/') {
        let under = under.split('/').next()?;
        let whole = |part: &str| part.trim().parse::<i64>().ok().map(|n| n as f64);
        return Some(whole(over)? / whole(under)?);
    }
    if text.contains(',') {
        return parse(&text.replace(',', ""));
    }
    text.split_once('%').map_or_else(|| parse(text), |(number, _)| parse(number).map(|number| number / 100.0))
}

/// The choice that shares most words with `text`, in lower case.
fn most_alike(text: &str, choices: &[String]) -> String {
    let choices: Vec<String> = choices.iter().map(|choice| choice.to_lowercase()).collect();
    let likeness = |choice: &str| {
        if !choice.contains(' ') && !text.contains(' ') {
            return f64::from(u8::from(choice == text));
        }
        let words =
            |text: &str| text.split(' ').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
        let shared = words(choice).intersection(&words(text)).count();
        shared as f64 / choice.split(' ').count().max(text.split(' ').count()) as f64
    };
    let mut best = (String::new(), -1.0);
    for choice in choices {
        if choice == text {
            return choice;
        }
        let likeness = likeness(&choice);
        if likeness > best.1 {
            best = (choice, likeness);
        }
    }
    best.0
}

/// Digits after the point, as they are written.
fn digits_of(number: f64) -> usize {
    format!("{number:?}").split_once('.').map_or(5, |(_, digits)| digits.len())
}

fn rounded(number: f64, digits: usize) -> f64 {
    format!("{number:.digits$}").parse().unwrap_or(number)
}
