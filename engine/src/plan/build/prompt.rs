//! Prompts: read from beside the flow where a path is given, and checked against the ports.

use std::ops::Range;

use super::schema::{Named, listed_or};
use super::settings::Given;
use super::{Builder, Place};
use crate::diagnostic::{Code, Diagnostic, Label, SourceFile, nearest};
use crate::flow::expression::Problem;
use crate::flow::prompt::{self, Segment, Stability};
use crate::flow::template::Template;

impl Builder<'_> {
    /// The text of a prompt, given inline or as a path.
    pub(crate) fn prompt(&mut self, place: Place<'_>, given: &Given<'_>, found: &Named) -> String {
        let span = given.span(&found.pointer);
        if !is_path(&found.text) {
            self.check_prompt(place, given, found, &found.text, None);
            return found.text.clone();
        }
        let path = found.text.trim();
        match self.env.library.prompt(path, place.file) {
            Ok(text) => {
                let name = format!("{}:{path}", self.open.last().map_or("", |(_, flow)| flow.as_str()));
                self.texts.insert(("prompt", name, text.clone()));
                self.check_prompt(place, given, found, &text, Some(path));
                text
            }
            Err(why) => {
                let message = format!("the prompt file `{path}` cannot be read: {why}");
                self.problems.push(
                    Diagnostic::new(Code::PROMPT_FILE, place.file, span, message)
                        .hint("the path is relative to this flow; a prompt can also stand here as text"),
                );
                found.text.clone()
            }
        }
    }

    fn check_prompt(
        &mut self,
        place: Place<'_>,
        given: &Given<'_>,
        found: &Named,
        text: &str,
        path: Option<&str>,
    ) {
        let span = given.span(&found.pointer);
        let written = place.file.text.get(span.start..span.end).unwrap_or_default();
        let inline_start = written.find(text);
        // A mistake in a prompt file is shown there, and the flow that asks for the file is a label.
        let other = path.map(|path| SourceFile::new(path, text));
        let at = |range: &Range<usize>, code, message: String| match (&other, inline_start) {
            (Some(file), _) => {
                let span = crate::diagnostic::Span::new(range.start, range.end);
                let mut diagnostic = Diagnostic::new(code, file, span, message);
                diagnostic.labels.push(Label {
                    file: place.file.clone(),
                    span: given.span(&found.pointer),
                    message: format!("used by `{}`", given.decl.name.value),
                });
                diagnostic
            }
            (None, Some(start)) => {
                Diagnostic::new(code, place.file, span.part(start + range.start, start + range.end), message)
            }
            (None, None) => Diagnostic::new(code, place.file, span, message),
        };
        let segments = match prompt::segments(text, Stability::of_setting(&found.pointer)) {
            Ok(segments) => segments,
            Err(problems) => {
                for problem in problems {
                    self.problems
                        .push(at(&problem.range, problem.code, problem.message).maybe_hint(problem.hint));
                }
                return;
            }
        };
        for segment in segments {
            for Problem { code, range, message, hint } in segment_problems(given, found, &segment) {
                let range = segment.start + range.start..segment.start + range.end;
                self.problems.push(at(&range, code, message).maybe_hint(hint));
            }
        }
    }
}

/// What is wrong with a segment, with places from its start.
fn segment_problems(given: &Given<'_>, found: &Named, segment: &Segment<'_>) -> Vec<Problem> {
    let template = match Template::compile(segment.text) {
        Ok(template) => template,
        Err(problems) => return problems,
    };
    let mut known: Vec<&str> = given.ports.iter().map(|name| &**name).collect();
    known.extend(found.variables.iter().map(String::as_str));
    let node = &given.decl.name.value;
    let unstable = prompt::unstable(segment.text, segment.stability);
    let mut problems: Vec<Problem> =
        unstable.iter().map(|(name, range)| volatile(node, segment, name, range)).collect();
    for (variable, range) in template.variables() {
        // What cannot stand here need not be known either.
        if known.contains(&variable.as_str()) || unstable.iter().any(|(name, _)| *name == variable) {
            continue;
        }
        let message =
            format!("the prompt of `{node}` reads `{variable}`, which is no input of `{}`", given.spec.name);
        let list = listed_or(known.iter().map(|name| (*name).to_owned()), "nothing");
        let hint = match nearest(&variable, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`? it can read {list}"),
            None => format!("it can read {list}"),
        };
        problems.push(Problem { code: Code::TEMPLATE_VARIABLE, range, message, hint: Some(hint) });
    }
    problems
}

fn volatile(node: &str, segment: &Segment<'_>, name: &str, range: &Range<usize>) -> Problem {
    let stability = segment.stability.as_str();
    Problem {
        code: Code::UNSTABLE_PROMPT,
        range: range.clone(),
        message: format!("the prompt of `{node}` reads `{name}` in a `{stability}` segment, which must stay the same"),
        hint: Some(
            "put it into a segment of `prompt` that is marked `{# segment: item #}`: what follows it cannot be cached"
                .to_owned(),
        ),
    }
}

/// Whether the text of a prompt is the path of a file.
fn is_path(text: &str) -> bool {
    let text = text.trim();
    !text.contains(['\n', '{']) && [".md", ".txt", ".j2"].iter().any(|ending| text.ends_with(ending))
}
