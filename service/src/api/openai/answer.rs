//! The answer among a flow's outputs: its text, and its citations as annotations.

use anabranch_engine::flow::expression::Expr;
use anabranch_engine::plan::{Plan, Ref};
use anabranch_engine::types::Type;
use anabranch_engine::value::Citation;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::marks;
use crate::api::problem::{Code, Mistake, Problem};

/// Names of outputs that are taken for the answer, the first first.
const NAMES: [&str; 3] = ["answer", "text", "output"];

/// Where a flow gives its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gives {
    /// The output that is the answer.
    pub(crate) output: String,
    /// The output with the citations, where the answer is a text.
    citations: Option<String>,
    /// The nodes of which one writes it, if what it writes is the answer as it is.
    pub(super) nodes: Vec<String>,
}

/// An answer: the text, and what it rests on.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) citations: Vec<Citation>,
    /// Why there is none, if there is none.
    pub(crate) absent: Option<Json>,
}

/// A part of the answer with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct UrlCitation {
    /// The first character of the mark in the text.
    pub start_index: usize,
    /// One past the last character of the mark.
    pub end_index: usize,
    /// The document.
    pub title: String,
    /// The document with its lines: `notes/a.md#L3-L9`.
    pub url: String,
    /// The place, exactly.
    pub anabranch: Place,
}

/// Where a citation points, exactly.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Place {
    /// The chunk.
    pub chunk_id: String,
    /// The document.
    pub doc: String,
    /// First and one past the last byte of its source.
    pub bytes: [u64; 2],
    /// First and last line of its source, from 1.
    pub lines: [u32; 2],
    /// The words, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

impl Gives {
    /// Where `plan` gives its answer, or what it lacks: an output `answer`, `text` or `output`, else the only one of the
    /// type `answer`, else the only one of the type `text`.
    pub(crate) fn of(plan: &Plan) -> Result<Self, Problem> {
        let outputs = &plan.root.outputs;
        let is_words =
            |ty: &Type| matches!(ty.required(), Type::Answer | Type::Text | Type::Label | Type::Any);
        let named = NAMES.iter().find_map(|name| {
            outputs.iter().find(|output| &*output.port.name == *name && is_words(&output.port.ty))
        });
        let only = |ty: Type| {
            let mut found = outputs.iter().filter(|output| *output.port.ty.required() == ty);
            found.next().filter(|_| found.next().is_none())
        };
        let Some(found) = named.or_else(|| only(Type::Answer)).or_else(|| only(Type::Text)) else {
            let lacks = "it has no output `answer` or `text`, and no other that is alone in being a text";
            let detail = format!("the flow `{}` cannot be called as a model: {lacks}", plan.name);
            return Err(Problem::new(Code::Invalid, detail.clone())
                .hint(format!("call it with `POST /v1/flows/{}/jobs`", plan.name))
                .errors(vec![Mistake::at("/model", detail)]));
        };
        let citations = outputs.iter().find(|output| &*output.port.name == "citations");
        Ok(Self {
            output: found.port.name.to_string(),
            citations: citations.map(|output| output.port.name.to_string()),
            nodes: writers(plan, &found.value),
        })
    }

    /// The answer in the outputs of a job.
    pub(crate) fn answer(&self, outputs: &Map<String, Json>, absent: &Map<String, Json>) -> Answer {
        let cited = |json: Option<&Json>| -> Vec<Citation> {
            json.and_then(|json| serde_json::from_value(json.clone()).ok()).unwrap_or_default()
        };
        match outputs.get(&self.output) {
            Some(Json::Object(record)) if record.get("text").is_some_and(Json::is_string) => Answer {
                text: record.get("text").and_then(Json::as_str).unwrap_or_default().to_owned(),
                citations: cited(record.get("citations")),
                absent: None,
            },
            Some(Json::String(text)) => {
                let citations = cited(self.citations.as_ref().and_then(|name| outputs.get(name)));
                Answer { text: text.clone(), citations, absent: None }
            }
            Some(other) => Answer { text: other.to_string(), ..Answer::default() },
            None => Answer { absent: absent.get(&self.output).cloned(), ..Answer::default() },
        }
    }
}

impl Answer {
    /// Every mark in the text with its citation; a citation without a mark is one of the whole text.
    pub(super) fn annotations(&self) -> Vec<UrlCitation> {
        let marks = marks::find(&self.text);
        let mut annotations: Vec<UrlCitation> = marks
            .iter()
            .flat_map(|mark| mark.numbers.iter().map(move |number| (mark, number)))
            .filter_map(|(mark, number)| {
                let citation = self.citations.get(number.checked_sub(1)?)?;
                Some(annotation(citation, mark.start, mark.end))
            })
            .collect();
        let is_marked = |index: usize| marks.iter().any(|mark| mark.numbers.contains(&(index + 1)));
        let end = self.text.chars().count();
        let unmarked = self.citations.iter().enumerate().filter(|(index, _)| !is_marked(*index));
        annotations.extend(unmarked.map(|(_, citation)| annotation(citation, 0, end)));
        annotations
    }
}

/// The nodes whose output an expression passes on as it is: `answer.text`, `first(short.text, long.text)`.
fn writers(plan: &Plan, expr: &Expr) -> Vec<String> {
    let source = expr.source.trim();
    let source = source.strip_prefix("first(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(source);
    if !source.chars().all(|c| c.is_ascii_alphanumeric() || "_., ".contains(c)) {
        return Vec::new();
    }
    let nodes = expr.refs.iter().filter_map(|reference| match reference.at {
        Ref::Port { node, .. } => plan.root.nodes.get(usize::try_from(node).ok()?),
        _ => None,
    });
    nodes.map(|node| node.name.to_string()).collect()
}

fn annotation(citation: &Citation, start_index: usize, end_index: usize) -> UrlCitation {
    let (doc, lines) = (citation.doc.to_string(), citation.lines);
    UrlCitation {
        start_index,
        end_index,
        title: doc.clone(),
        url: format!("{doc}#L{}-L{}", lines.first, lines.last),
        anabranch: Place {
            chunk_id: citation.chunk_id.to_string(),
            doc,
            bytes: [citation.range.start, citation.range.end],
            lines: [lines.first, lines.last],
            quote: citation.quote.as_deref().map(str::to_owned),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::openai::tests::flow;

    fn citation(doc: &str, first: u32) -> Json {
        json!({ "chunk_id": format!("{doc}#0-9"), "doc": doc, "range": { "start": 0, "end": 9 },
                "lines": { "first": first, "last": first + 1 }, "quote": null })
    }

    #[test]
    fn the_answer_is_an_output_of_that_name_or_the_only_one_that_could_be() {
        let gives = |outputs| Gives::of(&flow("{ question: text }", outputs)).map(|gives| gives.output);
        assert_eq!(gives("{ n: size(find.chunks), answer: answer.text }").unwrap(), "answer");
        assert_eq!(gives("{ said: answer.answer, other: answer.text }").unwrap(), "said");
        assert_eq!(gives("{ said: answer.text }").unwrap(), "said");
        let refused = gives("{ n: size(find.chunks) }").unwrap_err().detail;
        assert!(refused.contains("no output `answer` or `text`"), "{refused}");
    }

    #[test]
    fn the_node_that_writes_the_answer_is_known_unless_an_expression_changes_it() {
        let nodes = |outputs| Gives::of(&flow("{ question: text }", outputs)).unwrap().nodes;
        assert_eq!(nodes("{ answer: answer.answer }"), ["answer"]);
        assert_eq!(nodes("{ answer: 'first(answer.text, answer.text)' }"), ["answer"]);
        assert!(nodes("{ answer: 'answer.text + \"!\"' }").is_empty());
    }

    #[test]
    fn every_mark_has_its_citation_in_characters_of_the_text() {
        let outputs = json!({ "answer": { "text": "Zwölf [1]. Drei [2, 1].", "citations": [citation("a.md", 3), citation("b.md", 7)] } });
        let gives = Gives::of(&flow("{ question: text }", "{ answer: answer.answer }")).unwrap();
        let answer = gives.answer(outputs.as_object().unwrap(), &Map::new());
        let found: Vec<_> =
            answer.annotations().into_iter().map(|one| (one.start_index, one.end_index, one.url)).collect();
        assert_eq!(
            found,
            [
                (6, 9, "a.md#L3-L4".to_owned()),
                (16, 22, "b.md#L7-L8".to_owned()),
                (16, 22, "a.md#L3-L4".to_owned())
            ]
        );
    }

    #[test]
    fn a_citation_without_a_mark_is_one_of_the_whole_text() {
        let outputs = json!({ "answer": "Six.", "citations": [citation("a.md", 1)] });
        let gives =
            Gives::of(&flow("{ question: text }", "{ answer: answer.text, citations: answer.citations }"))
                .unwrap();
        let annotations = gives.answer(outputs.as_object().unwrap(), &Map::new()).annotations();
        assert_eq!((annotations[0].start_index, annotations[0].end_index), (0, 4));
    }

    #[test]
    fn an_answer_that_is_absent_is_an_empty_text_with_the_reason() {
        let gives = Gives::of(&flow("{ question: text }", "{ answer: answer.answer }")).unwrap();
        let absent = json!({ "answer": "skipped" });
        let answer = gives.answer(&Map::new(), absent.as_object().unwrap());
        assert_eq!((answer.text.as_str(), answer.absent), ("", Some(json!("skipped"))));
    }
}
