//! Answers a question with sentences of the chunks, without a model.

use std::fmt::Write as _;
use std::sync::Arc;

use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Answer, Chunk, Citation};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{In, cite, rank};

/// Answers a question with sentences of the chunks, without a model.
///
/// Takes the sentences that share the most telling words with the question, or stand beside them; those with a name,
/// date or number come first where that is asked for, and those that repeat each other are left out. The best sentence
/// stands first, since it is often the whole answer; a sentence that goes on from another comes after it. Each is cited
/// with its exact bytes and lines. It invents nothing and needs nothing, but it cannot put two facts together or use
/// other words than the documents do; where too little of the question stands anywhere it says so. Use it to try a
/// flow out, in tests, and where every word of an answer must be a quotation. Asks no model.
///
/// Source: sentence selection by inverse document frequency, diversified by maximal marginal relevance (Carbonell and
/// Goldstein 1998), with the answer types of question answering (Li and Roth 2002) as far as question words tell.
///
/// ```yaml
/// read:
///   op: read.extractive
///   with: { max_sentences: 3 }
///   in: { question: inputs.question, chunks: select.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Extractive {
    /// Most sentences to answer with.
    #[schemars(range(min = 1, max = 50))]
    pub max_sentences: usize,
}

impl Default for Extractive {
    fn default() -> Self {
        Self { max_sentences: 3 }
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The answer with its citations, `by: extractive`.
        pub answer: Arc<Answer>,
        /// The answer in words; `[1]` marks what the first citation says.
        pub text: String,
        /// The places of the sentences, in the order of the text.
        pub citations: Vec<Citation>,
        /// The sentences, without marks.
        pub sentences: Vec<String>,
    }
}

/// What is said when nothing matches.
pub const NO_ANSWER: &str = "The given passages do not answer this.";

/// The name that stands for no model.
pub const BY: &str = "extractive";

/// The answer that sentence selection gives.
pub(crate) fn answer(question: &str, chunks: &[Arc<Chunk>], max_sentences: usize) -> Out {
    let mut text = String::new();
    let (mut citations, mut sentences) = (Vec::new(), Vec::new());
    for hit in rank::best(question, chunks, max_sentences) {
        let Some(chunk) = chunks.get(hit.chunk) else { continue };
        citations.push(cite::part(chunk, &hit.sentence.range));
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        let _written = write!(text, "{space}{} [{}]", hit.sentence.words, citations.len());
        sentences.push(hit.sentence.words);
    }
    let grounded = !citations.is_empty();
    if !grounded {
        NO_ANSWER.clone_into(&mut text);
    }
    let answer = Answer { text: text.as_str().into(), citations: citations.clone(), grounded, by: BY.into() };
    Out { answer: Arc::new(answer), text, citations, sentences }
}

#[async_trait]
impl Operator for Extractive {
    const NAME: &'static str = "read.extractive";
    type In = In;
    type Out = Out;

    async fn run(&self, _cx: &Cx, input: In) -> Result<Out, OpError> {
        Ok(answer(&input.question, &input.chunks, self.max_sentences))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::structure::Structure;
    use crate::testing;

    const LOOPS: &str = "# Loops\n\nA loop runs its nodes again and again. It ends when a condition of `until` holds.\n\n\
        ## Bounds\n\n`max_turns` is required: a loop\nwithout it does not load. The reason is in `stopped_because`.\n\n\
        ```yaml\nhop:\n  loop:\n    max_turns: 3\n```\n\n## Budgets\n\nA budget bounds calls of models. Budgets nest.\n";

    fn chunks(text: &str) -> Vec<Arc<Chunk>> {
        let settings = Structure { min_size: 0, ..Structure::default() };
        settings.cut(&testing::document("guide.md", "markdown", text))
    }

    #[test]
    fn the_sentence_that_answers_is_given_with_its_place() {
        let out = answer("What happens to a loop without max_turns?", &chunks(LOOPS), 3);
        assert_eq!(out.sentences[0], "`max_turns` is required: a loop without it does not load.");
        assert!(out.text.starts_with("`max_turns` is required: a loop without it does not load. [1]"));
        assert!(out.answer.grounded && &*out.answer.by == "extractive");
        let cited = &out.citations[0];
        assert_eq!((cited.lines.first, cited.lines.last), (7, 8));
        let bytes = usize::try_from(cited.range.start).unwrap()..usize::try_from(cited.range.end).unwrap();
        assert_eq!(&LOOPS[bytes], "`max_turns` is required: a loop\nwithout it does not load.");
        assert_eq!(
            cited.quote.as_deref(),
            Some("`max_turns` is required: a loop\nwithout it does not load.")
        );
    }

    #[test]
    fn what_the_passages_do_not_say_is_not_answered() {
        for question in ["Who wrote the Iliad?", "", "What is it?", "Which loop did Homer write in Greek?"] {
            let out = answer(question, &chunks(LOOPS), 3);
            assert_eq!((out.text.as_str(), out.citations.len()), (NO_ANSWER, 0), "{question}");
            assert!(!out.answer.grounded);
        }
    }

    #[test]
    fn the_same_sentence_is_not_given_twice() {
        let twice = "Budgets nest in flows.\n\nBudgets nest in flows.\n\nFlows are files.\n";
        let out = answer("Do budgets nest in flows?", &chunks(twice), 3);
        assert_eq!(out.sentences, ["Budgets nest in flows."]);
    }

    #[test]
    fn a_heading_helps_the_sentences_below_it() {
        let text =
            "# Retry\n\n## Backoff\n\nIt doubles after every attempt.\n\n# Cache\n\nIt is empty at first.\n";
        let out = answer("How does backoff change after an attempt?", &chunks(text), 1);
        assert_eq!(out.sentences, ["It doubles after every attempt."]);
    }

    #[test]
    fn a_question_in_chinese_is_answered() {
        let text = "# 指南\n\n熊猫吃竹子。熊猫住在四川。\n\n会议在星期五下午三点开始。\n";
        assert_eq!(answer("熊猫吃什么？", &chunks(text), 1).sentences, ["熊猫吃竹子。"]);
        assert_eq!(answer("会议什么时候开始？", &chunks(text), 1).sentences, ["会议在星期五下午三点开始。"]);
        assert_eq!(answer("谁写了这本书？", &chunks(text), 1).text, NO_ANSWER);
    }

    #[test]
    fn the_best_sentence_stands_first() {
        let text = "A run succeeds when every node has settled; outputs are listed.\n\nNodes have names.\n\n\
            Work that repeats for every item of a list is one `each`.\n";
        let out = answer("How do I run a node for every item of a list?", &chunks(text), 2);
        assert_eq!(out.sentences[0], "Work that repeats for every item of a list is one `each`.");
    }

    #[test]
    fn a_question_of_when_prefers_a_date() {
        let text = "The old bridge ended its service quietly.\n\nThe bridge ended in 1911.\n";
        let out = answer("When did the old bridge end?", &chunks(text), 1);
        assert_eq!(out.sentences, ["The bridge ended in 1911."]);
    }

    #[test]
    fn the_words_of_a_question_need_not_be_those_of_a_name() {
        let out = answer("Is there a maximum number of turns?", &chunks(LOOPS), 1);
        assert!(out.sentences[0].contains("`max_turns`"), "{:?}", out.sentences);
    }

    #[test]
    fn no_chunks_give_no_answer() {
        assert_eq!(answer("What is a loop?", &[], 3).text, NO_ANSWER);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<Extractive>(r#"{"sentences": 3}"#).is_err());
    }
}
