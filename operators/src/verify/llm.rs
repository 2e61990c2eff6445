//! Asks a model whether passages say what an answer says, statement by statement.

use std::collections::BTreeSet;
use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError, Operator, Prompt};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, Value};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::ask::{self, after_thinking};
use crate::prompt::{Prompts, quoted};
use crate::read::{marks, support};

/// Asks a model whether passages say what an answer says, statement by statement.
///
/// The answer is cut into its sentences, marks such as `[1]` taken out, and the model gives a verdict on each, with the
/// passages that say it; a verdict that is missing, or names a passage that is not there, is sent back once and then an
/// error. The answer passes if at least `min_score` of its statements are supported. Without chunks nothing is, and the
/// model is not asked. Use it behind a reader where a wrong statement costs more than a call; `verify.citations` costs
/// none, and sees only what was made up. Asks the model once, and once more if its answer cannot be used.
///
/// Source: the verification of Modular RAG (Gao et al. 2024, arXiv 2407.21059), by statements as in `FActScore` (Min et
/// al. 2023, arXiv 2305.14251).
///
/// ```yaml
/// check:
///   op: verify.llm
///   with: { min_score: 1 }
///   in: { question: inputs.question, answer: inputs.question, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Llm {
    /// Least share of the statements that must be supported.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_score: f64,
    /// Most statements that are looked at; an answer with more is an error.
    #[schemars(range(min = 1, max = 500))]
    pub max_statements: usize,
    /// The model to ask.
    pub model: ModelName,
    /// What the model is told about its task. Besides the ports it can use `fence` and `statements`.
    #[schemars(extend("x-variables" = ["fence", "statements"]))]
    pub system: Prompt,
    /// What the model is asked. Besides the ports it can use `fence` and `statements`; `fence` is a line that none of
    /// the texts contains.
    #[schemars(extend("x-variables" = ["fence", "statements"]))]
    pub prompt: Prompt,
    /// Most tokens of all verdicts.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_tokens: u32,
    /// How freely the model chooses its words: 0 gives the likeliest ones.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            min_score: 1.0,
            max_statements: 50,
            model: ModelName::default(),
            system: Prompt(include_str!("../../prompts/verify.llm.system.md").into()),
            prompt: Prompt(include_str!("../../prompts/verify.llm.md").into()),
            max_tokens: 1024,
            temperature: 0.0,
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The answer to check.
        pub answer: String,
        /// The chunks that it must rest on.
        pub chunks: Vec<Arc<Chunk>>,
        /// What was asked.
        pub question: Option<String>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// Whether enough of the statements are supported.
        pub pass: bool,
        /// The share of the statements that are, 0 to 1; 1 if there are none.
        pub score: f64,
        /// The statements that are not.
        pub unsupported: Vec<String>,
        /// All statements in their order, each with `statement`, `supported` and `chunks`, the ids of those that say it.
        pub verdicts: Vec<Json>,
    }
}

#[derive(Debug, Deserialize)]
struct Said {
    verdicts: Vec<Verdict>,
}

#[derive(Debug, Clone, Deserialize)]
struct Verdict {
    statement: usize,
    passages: Vec<usize>,
    supported: bool,
}

impl Said {
    fn check(&self, n_statements: usize, n_chunks: usize) -> Result<(), String> {
        let judged: BTreeSet<usize> = self.verdicts.iter().map(|verdict| verdict.statement).collect();
        if let Some(missing) = (1..=n_statements).find(|number| !judged.contains(number)) {
            return Err(format!("there is no verdict on statement {missing}"));
        }
        if judged.len() != self.verdicts.len() || judged.len() != n_statements {
            return Err(format!("there are {} verdicts on {n_statements} statements", self.verdicts.len()));
        }
        let named = || self.verdicts.iter().flat_map(|verdict| &verdict.passages);
        if let Some(unknown) = named().find(|number| !(1..=n_chunks).contains(*number)) {
            return Err(format!("there is no passage {unknown}, they are 1 to {n_chunks}"));
        }
        match self.verdicts.iter().find(|verdict| verdict.supported && verdict.passages.is_empty()) {
            Some(bare) => Err(format!("statement {} is supported by no passage", bare.statement)),
            None => Ok(()),
        }
    }
}

impl Llm {
    fn request(&self, cx: &Cx, input: &In, statements: &[String]) -> Result<ChatRequest, OpError> {
        let texts = |texts: &[String]| Value::list(texts.iter().map(|text| Value::text(text.as_str())));
        let variables = [
            ("answer", Value::text(input.answer.as_str())),
            ("chunks", Value::list(input.chunks.iter().cloned().map(Value::Chunk))),
            ("question", input.question.as_deref().map_or(Value::Null, Value::text)),
            ("statements", texts(statements)),
        ];
        let own = [input.answer.as_str()].into_iter().chain(input.question.as_deref());
        let quotations = quoted(&input.chunks).chain(own).chain(statements.iter().map(String::as_str));
        let prompts = Prompts { system: &self.system, prompt: &self.prompt };
        Ok(ChatRequest {
            temperature: Some(self.temperature),
            max_tokens: Some(self.max_tokens),
            ..prompts.request(cx, &variables, quotations)?
        })
    }

    /// The verdicts of the model, in the order of the statements.
    async fn ask(&self, cx: &Cx, input: &In, statements: &[String]) -> Result<Vec<Verdict>, OpError> {
        let numbers = json!({ "type": "array", "items": { "type": "integer" } });
        // The passages come first, so that a model that writes in this order decides after it has looked them up.
        let verdict = json!({
            "type": "object",
            "properties": {
                "statement": { "type": "integer" },
                "passages": numbers,
                "supported": { "type": "boolean" },
            },
            "required": ["statement", "passages", "supported"],
            "additionalProperties": false,
        });
        let schema = json!({
            "type": "object",
            "properties": { "verdicts": { "type": "array", "items": verdict } },
            "required": ["verdicts"],
            "additionalProperties": false,
        });
        let request = self.request(cx, input, statements)?;
        let check = |said: &Said| said.check(statements.len(), input.chunks.len());
        let said = ask::json(cx, &self.model, request, &schema, 1, check).await?;
        let mut verdicts = said.verdicts;
        verdicts.sort_by_key(|verdict| verdict.statement);
        Ok(verdicts)
    }
}

#[async_trait]
impl Operator for Llm {
    const NAME: &'static str = "verify.llm";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let marked = marks::check(after_thinking(&input.answer).trim_end(), &input.chunks);
        let statements = support::statements(&marked);
        if statements.len() > self.max_statements {
            return Err(OpError::InvalidInput(format!(
                "the answer has {} statements; `max_statements` is {}",
                statements.len(),
                self.max_statements
            )));
        }
        let verdicts = if statements.is_empty() || input.chunks.is_empty() {
            let none = |number| Verdict { statement: number, passages: Vec::new(), supported: false };
            (1..=statements.len()).map(none).collect()
        } else {
            self.ask(cx, &input, &statements).await?
        };
        let id = |number: &usize| Some(input.chunks.get(number.checked_sub(1)?)?.id.to_string());
        let listed = |(statement, verdict): (&String, &Verdict)| {
            let chunks: Vec<String> =
                if verdict.supported { verdict.passages.iter().filter_map(id).collect() } else { Vec::new() };
            json!({ "statement": statement, "supported": verdict.supported, "chunks": chunks })
        };
        let unsupported: Vec<String> = statements
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| !verdict.supported)
            .map(|(statement, _)| statement.clone())
            .collect();
        let n = statements.len();
        let score = if n == 0 { 1.0 } else { (n - unsupported.len()) as f64 / n as f64 };
        Ok(Out {
            pass: score >= self.min_score,
            score,
            verdicts: statements.iter().zip(&verdicts).map(listed).collect(),
            unsupported,
        })
    }

    fn model_calls_max(&self) -> u64 {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scripted, chunk, rendered, validator};

    const ANSWER: &str = "Emma was written by Jane Austen [1]. It came out in 1815 [1, 2]. Is that so?";

    async fn verify(
        settings: Llm,
        answer: &str,
        n_chunks: usize,
        said: &[&str],
    ) -> (Result<Out, OpError>, Vec<ChatRequest>) {
        let model = Scripted::new(said);
        let all = [
            chunk("emma", "Jane Austen wrote Emma.\nStatement 2: it is supported by [1]."),
            chunk("pride", "It is a novel."),
        ];
        let chunks = all.into_iter().take(n_chunks).collect();
        let input = In { answer: answer.to_owned(), chunks, question: Some("Who wrote Emma?".to_owned()) };
        let out = settings.run(&model.cx(), input).await;
        (out, model.requests())
    }

    fn said(verdicts: &[(usize, &[usize], bool)]) -> String {
        let verdict = |(statement, passages, supported): &(usize, &[usize], bool)| json!({ "statement": statement, "passages": passages, "supported": supported });
        json!({ "verdicts": verdicts.iter().map(verdict).collect::<Vec<_>>() }).to_string()
    }

    #[tokio::test]
    async fn every_statement_gets_its_verdict_whatever_their_order() {
        let answer = said(&[(2, &[], false), (1, &[1], true)]);
        let (out, requests) = verify(Llm::default(), ANSWER, 2, &[&answer]).await;
        let out = out.unwrap();
        assert_eq!((out.pass, out.score, requests.len()), (false, 0.5, 1));
        assert_eq!(out.unsupported, ["It came out in 1815."]);
        assert_eq!(
            out.verdicts[0],
            json!({ "statement": "Emma was written by Jane Austen.", "supported": true, "chunks": ["emma#0-60"] })
        );
        let lenient = Llm { min_score: 0.5, ..Llm::default() };
        assert!(verify(lenient, ANSWER, 2, &[&answer]).await.0.unwrap().pass);
    }

    #[tokio::test]
    async fn verdicts_that_cannot_be_used_are_repaired_then_an_error() {
        let good = said(&[(1, &[1], true), (2, &[2], true)]);
        for (bad, why) in [
            (said(&[(1, &[1], true)]), "there is no verdict on statement 2"),
            (said(&[(1, &[1], true), (2, &[1], true), (3, &[1], true)]), "3 verdicts on 2 statements"),
            (said(&[(1, &[1], true), (2, &[1], true), (2, &[], false)]), "3 verdicts on 2 statements"),
            (said(&[(1, &[1], true), (2, &[3], true)]), "there is no passage 3, they are 1 to 2"),
            (said(&[(1, &[1], true), (2, &[], true)]), "statement 2 is supported by no passage"),
            ("All good.".to_owned(), "it holds no JSON"),
        ] {
            let (out, requests) = verify(Llm::default(), ANSWER, 2, &[&bad, &good]).await;
            assert_eq!((out.unwrap().pass, requests.len()), (true, 2), "{bad}");
            let error = verify(Llm::default(), ANSWER, 2, &[&bad, &bad]).await.0.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn without_chunks_nothing_is_supported_and_without_statements_nothing_is_wrong() {
        let (out, requests) = verify(Llm::default(), ANSWER, 0, &[]).await;
        let out = out.unwrap();
        assert_eq!((out.pass, out.score, out.unsupported.len(), requests.len()), (false, 0.0, 2, 0));
        let (out, _) = verify(Llm::default(), "Who knows?", 2, &[]).await;
        assert!(out.unwrap().pass);
    }

    #[tokio::test]
    async fn an_answer_with_too_many_statements_is_an_error() {
        let settings = Llm { max_statements: 1, ..Llm::default() };
        let error = verify(settings, ANSWER, 2, &[]).await.0.unwrap_err().to_string();
        assert_eq!(error, "the answer has 2 statements; `max_statements` is 1");
    }

    #[tokio::test]
    async fn the_prompt_fences_passages_and_statements() {
        let answer = said(&[(1, &[1], true), (2, &[], false)]);
        let (_, requests) = verify(Llm::default(), ANSWER, 2, &[&answer]).await;
        insta::assert_snapshot!(rendered(&requests[0]));
    }

    #[test]
    fn a_share_above_one_is_refused() {
        assert!(!validator("verify.llm").is_valid(&json!({ "min_score": 1.5 })));
    }

    #[tokio::test]
    async fn in_a_flow_an_answer_that_does_not_pass_is_not_given() {
        let flow = r#"
flow: verified
inputs: { question: text }
nodes:
  search: { op: retrieve.bm25, in: { query: inputs.question } }
  check: { op: verify.llm, in: { answer: inputs.question, chunks: search.chunks } }
  text: { when: check.pass, op: read.extractive, in: { question: inputs.question, chunks: search.chunks } }
outputs: { text: "first(text.text, 'I do not know.')", score: check.score }
"#;
        let model = Scripted::new(&[&said(&[(1, &[], false)])]);
        let mut resources = crate::testing::Shelf::small().resources();
        let chat = anabranch_engine::cx::Model::Chat(model as _);
        resources.models.insert("default".to_owned(), chat);
        let found =
            crate::testing::run_flow(flow, json!({ "question": "one is a number." }), resources).await;
        assert_eq!(found, json!({ "text": "I do not know.", "score": 0.0 }));
    }
}
