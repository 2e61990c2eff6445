//! Makes the vectors of chunks from one reading of their document.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::ops::Range;
use std::sync::Arc;

use anabranch_engine::backend::TokenVector;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{EmbedderName, OpError, Operator};
use anabranch_engine::ports;
use anabranch_engine::value::{Chunk, Document, Text};
use async_trait::async_trait;
use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::tokens;

/// Makes the vectors of chunks from one reading of their document (late chunking).
///
/// The embedder reads the document as a whole, and the vector of a chunk is the mean of the vectors of its tokens: a chunk
/// that says "the city" knows which. A document that is longer than the model reads goes through it in windows, each
/// beginning with what was before; a chunk is never parted. Use it in an indexing flow, with its `vectors` as an output beside
/// the chunks; the embedder must be the one of the index, since questions are embedded by that. It needs the vectors of
/// single tokens and so an embedder of kind `tei` or `local` with mean pooling; `/v1/embeddings` has none, and `hashed`,
/// whose words know nothing of one another, only stands in. With `separator`, the chunks themselves are read one after the
/// other with that between them, as models are trained that know it. With `phrases`, tokens in one of these weigh more than
/// others. Asks no chat model; calls the embedder once a window.
///
/// Source: late chunking (arXiv 2409.04701), separators as in `ConTEB` (arXiv 2505.24782), weights as in `ChuLo` (arXiv
/// 2410.11119); against contextual retrieval it is cheaper and may lose relevance
/// ("Reconstructing Context", arXiv 2504.19754).
///
/// ```yaml
/// vectors:
///   op: enrich.late_embed
///   with: { window_tokens: 2000 }
///   in: { document: inputs.document, chunks: search.chunks }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LateEmbed {
    /// The embedder: that of the index.
    pub embedder: EmbedderName,
    /// Most tokens (cl100k) of a window. A model that turns out to read less gets smaller ones.
    #[schemars(range(min = 16, max = 1_000_000))]
    pub window_tokens: usize,
    /// Most tokens (cl100k) before a window that are read again, so that its first chunks know what was before.
    #[schemars(range(min = 0, max = 100_000))]
    pub overlap_tokens: usize,
    /// Whether the first chunk of a window takes the mark at its beginning, and the last the one at its end.
    pub include_special: bool,
    /// What stands between two chunks, such as `[SEP]`; empty: the document is read as it is.
    #[schemars(length(max = 100))]
    pub separator: String,
    /// What a token within one of the `phrases` weighs.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub phrase_weight: f64,
    /// What any other token weighs where there are `phrases`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub other_weight: f64,
}

impl Default for LateEmbed {
    fn default() -> Self {
        Self {
            embedder: EmbedderName::default(),
            window_tokens: 8192,
            overlap_tokens: 256,
            include_special: true,
            separator: String::new(),
            phrase_weight: 0.8,
            other_weight: 0.1,
        }
    }
}

ports! {
    /// What it reads.
    pub struct In {
        /// The document that the chunks are part of.
        pub document: Arc<Document>,
        /// The chunks, in the order of the document.
        pub chunks: Vec<Arc<Chunk>>,
        /// What matters most in the document, in its own words; case counts for nothing.
        pub phrases: Option<Vec<String>>,
    }
}

ports! {
    /// What it gives.
    pub struct Out {
        /// The chunks as they came.
        pub chunks: Vec<Arc<Chunk>>,
        /// The vector of each, of unit length.
        pub vectors: Vec<Vec<f64>>,
    }
}

/// What is read, where each chunk stands in it, and where in it what matters stands.
struct Reading<'a> {
    text: Cow<'a, str>,
    spans: Vec<Range<usize>>,
    /// None where all tokens weigh the same.
    marked: Option<Vec<Range<usize>>>,
}

/// The chunks with `separator` between them.
fn joined(chunks: &[Arc<Chunk>], separator: &str) -> (String, Vec<Range<usize>>) {
    let mut text = String::new();
    let mut spans = Vec::with_capacity(chunks.len());
    for (at, chunk) in chunks.iter().enumerate() {
        if at > 0 {
            text.push_str(separator);
        }
        spans.push(text.len()..text.len() + chunk.text.len());
        text.push_str(&chunk.text);
    }
    (text, spans)
}

/// Where `phrases` stand in `text` as whole words.
fn occurrences(text: &str, phrases: &[String]) -> Result<Vec<Range<usize>>, OpError> {
    let mut phrases: Vec<&str> =
        phrases.iter().map(|phrase| phrase.trim()).filter(|phrase| !phrase.is_empty()).collect();
    if phrases.is_empty() {
        return Ok(Vec::new());
    }
    // Of two that begin alike the longer is meant.
    phrases.sort_by_key(|phrase| Reverse(phrase.len()));
    let phrases: Vec<String> = phrases.into_iter().map(regex::escape).collect();
    // `C++` ends before the mark of a word's end does: what counts is that no word goes on.
    let pattern = format!(r"\b{{start-half}}(?:{})\b{{end-half}}", phrases.join("|"));
    let any = RegexBuilder::new(&pattern).case_insensitive(true).build();
    let any =
        any.map_err(|error| OpError::InvalidInput(format!("`phrases` cannot be looked for: {error}")))?;
    Ok(any.find_iter(text).map(|found| found.range()).collect())
}

/// Where each chunk stands in the document's text.
fn spans(text: &str, chunks: &[Arc<Chunk>]) -> Result<Vec<Range<usize>>, OpError> {
    let mut from = 0;
    let mut span = |chunk: &Arc<Chunk>| {
        let found = text.get(from..).and_then(|rest| rest.find(&*chunk.text));
        let start = from + found.ok_or_else(|| {
            OpError::InvalidInput(format!(
                "chunk `{}` is not in `document`, or not in its order; give the chunks as the chunker gave them",
                chunk.id
            ))
        })?;
        from = start;
        Ok(start..start + chunk.text.len())
    };
    chunks.iter().map(&mut span).collect()
}

impl LateEmbed {
    /// The vectors of the spans of a window, and how many of its spans, from the first on, they are.
    async fn window(&self, cx: &Cx, reading: &Reading<'_>, first: usize) -> Result<Vec<Vec<f64>>, OpError> {
        let Reading { text, spans, marked } = reading;
        let mut most = self.window_tokens;
        let mut overlap = self.overlap_tokens;
        loop {
            let until = fitting(text, spans, first, most);
            let start = overlapping(text, spans, first, overlap.min(most / 2));
            let (Some(from), Some(to)) = (spans.get(start), spans.get(until - 1)) else {
                return Ok(Vec::new());
            };
            // Chunks can overlap, so that the last one need not end last.
            let end = spans.get(first..until).unwrap_or_default().iter().map(|span| span.end).max();
            let window = from.start..end.unwrap_or(to.end);
            let seen = text.get(window.clone()).unwrap_or_default();
            let tokens = cx.embed_tokens(&self.embedder, &Text::from(seen)).await?;
            let read = tokens.iter().map(|token| &token.range).filter(|range| !range.is_empty());
            let n_read = read.map(|range| range.end).max().unwrap_or_default();
            let is_whole = seen.get(n_read..).is_none_or(|rest| rest.trim().is_empty());
            // Of a single chunk that is too long, what the model has read must do.
            if !is_whole && (until - first > 1 || start < first) {
                if until - first == 1 {
                    overlap = 0;
                }
                most = (tokens::count(seen.get(..n_read).unwrap_or_default())).min(most / 2).max(1);
                continue;
            }
            let weight = |token: &TokenVector| {
                let Some(marked) = marked else { return 1.0 };
                let place = token.range.start + window.start..token.range.end + window.start;
                let after = marked.partition_point(|range| range.end <= place.start);
                let is_marked = marked.get(after).is_some_and(|range| range.start < place.end);
                if is_marked { self.phrase_weight } else { self.other_weight }
            };
            let within = spans.get(first..until).unwrap_or_default();
            return within
                .iter()
                .enumerate()
                .map(|(at, span)| {
                    let local = span.start - window.start..span.end - window.start;
                    let ends = (at == 0 && start == first, at + 1 == within.len());
                    pooled(&tokens, &local, if self.include_special { ends } else { (false, false) }, weight)
                })
                .collect();
        }
    }
}

/// One past the last span that fits a window of `most` tokens; at least one does.
fn fitting(text: &str, spans: &[Range<usize>], first: usize, most: usize) -> usize {
    let mut total = 0;
    let rest = spans.iter().skip(first);
    let fits = rest.take_while(|span| {
        total += tokens::count(text.get((*span).clone()).unwrap_or_default());
        total <= most
    });
    first + fits.count().max(1)
}

/// The first of the spans before `first` that are read again.
fn overlapping(text: &str, spans: &[Range<usize>], first: usize, most: usize) -> usize {
    let mut total = 0;
    let before = spans.iter().take(first).rev();
    let fits = before.take_while(|span| {
        total += tokens::count(text.get((*span).clone()).unwrap_or_default());
        total <= most
    });
    first - fits.count()
}

/// The weighted mean of the tokens that touch the span, at unit length; with the marks at the beginning and the end where
/// asked for.
fn pooled(
    tokens: &[TokenVector],
    span: &Range<usize>,
    (first, last): (bool, bool),
    weight: impl Fn(&TokenVector) -> f64,
) -> Result<Vec<f64>, OpError> {
    let is_mark = |token: &TokenVector| token.range.is_empty();
    let n_before = tokens.iter().take_while(|token| is_mark(token)).count();
    let n_after = tokens.iter().rev().take_while(|token| is_mark(token)).count();
    let touches = |token: &TokenVector| token.range.start < span.end && token.range.end > span.start;
    let is_taken = |(at, token): &(usize, &TokenVector)| {
        if is_mark(token) {
            first && *at < n_before || last && *at >= tokens.len() - n_after
        } else {
            touches(token)
        }
    };
    let taken: Vec<&TokenVector> =
        tokens.iter().enumerate().filter(is_taken).map(|(_, token)| token).collect();
    // A chunk behind what the model reads: the mean of all that it has read is nearer than nothing.
    let taken = if taken.is_empty() { tokens.iter().collect() } else { taken };
    let mut sum = vec![0.0_f64; taken.first().map_or(0, |token| token.vector.len())];
    // Of tokens that all weigh nothing, all count alike.
    let is_weighed = taken.iter().any(|token| weight(token) > 0.0);
    for token in taken {
        let weight = if is_weighed { weight(token) } else { 1.0 };
        sum.iter_mut().zip(&token.vector).for_each(|(sum, number)| *sum += weight * f64::from(*number));
    }
    let norm = sum.iter().map(|number| number * number).sum::<f64>().sqrt();
    if norm == 0.0 || !norm.is_finite() {
        return Err(OpError::InvalidInput("a chunk has a vector without a direction".to_owned()));
    }
    Ok(sum.into_iter().map(|number| number / norm).collect())
}

#[async_trait]
impl Operator for LateEmbed {
    const NAME: &'static str = "enrich.late_embed";
    type In = In;
    type Out = Out;

    async fn run(&self, cx: &Cx, input: In) -> Result<Out, OpError> {
        let (text, spans) = if self.separator.is_empty() {
            let text = &*input.document.text;
            (Cow::Borrowed(text), spans(text, &input.chunks)?)
        } else {
            let (text, spans) = joined(&input.chunks, &self.separator);
            (Cow::Owned(text), spans)
        };
        let marked = input.phrases.as_deref().map(|phrases| occurrences(&text, phrases)).transpose()?;
        let reading = Reading { text, spans, marked };
        let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(reading.spans.len());
        while vectors.len() < reading.spans.len() {
            let found = self.window(cx, &reading, vectors.len()).await?;
            if found.is_empty() {
                break;
            }
            vectors.extend(found);
        }
        Ok(Out { chunks: input.chunks, vectors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{chunk_at, document, encoders, letters, validator};
    use anabranch_engine::testing::cx_with;
    use serde_json::json;

    const TEXT: &str = "aaa bb. cc aab. zz zzy.";

    fn input(text: &str, parts: &[&str]) -> In {
        let mut from = 0;
        let chunks = parts
            .iter()
            .map(|part| {
                from += text[from..].find(part).unwrap();
                chunk_at("a.md", from as u64, 1, part)
            })
            .collect();
        In { document: Arc::new(document("a.md", "markdown", text)), chunks, phrases: None }
    }

    async fn vectors(settings: serde_json::Value, input: In) -> Result<Vec<Vec<f64>>, OpError> {
        let settings: LateEmbed = serde_json::from_value(settings).unwrap();
        Ok(settings.run(&cx_with(encoders()), input).await?.vectors)
    }

    fn near(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    #[tokio::test]
    async fn a_chunk_has_the_mean_of_its_own_tokens() {
        let found =
            vectors(json!({ "include_special": false }), input(TEXT, &["cc aab.", "zz zzy."])).await.unwrap();
        // Words of the test's embedder are at unit length: cc, and aab.
        let (cc, aab) = (letters("cc").await, letters("aab").await);
        let sum: Vec<f64> = cc.iter().zip(aab.iter()).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect();
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(near(&found[0], &sum.iter().map(|x| x / norm).collect::<Vec<_>>()));
        assert!(found.iter().all(|one| (one.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-9));
    }

    #[tokio::test]
    async fn the_first_and_the_last_chunk_take_the_marks() {
        let parts = ["aaa bb.", "cc aab.", "zz zzy."];
        let with = vectors(json!({}), input(TEXT, &parts)).await.unwrap();
        let without = vectors(json!({ "include_special": false }), input(TEXT, &parts)).await.unwrap();
        let differ: Vec<bool> = with.iter().zip(&without).map(|(a, b)| !near(a, b)).collect();
        assert_eq!(differ, [true, false, true]);
    }

    #[tokio::test]
    async fn windows_give_what_one_reading_gives_where_words_know_nothing_of_one_another() {
        let parts = ["aaa bb.", "cc aab.", "zz zzy."];
        let whole = vectors(json!({ "include_special": false }), input(TEXT, &parts)).await.unwrap();
        for (window_tokens, overlap_tokens) in [(16, 0), (16, 4), (16, 16)] {
            let settings = json!({
                "include_special": false, "window_tokens": window_tokens, "overlap_tokens": overlap_tokens
            });
            let found = vectors(settings, input(TEXT, &parts)).await.unwrap();
            assert!(found.len() == 3 && found.iter().zip(&whole).all(|(a, b)| near(a, b)), "{window_tokens}");
        }
    }

    #[tokio::test]
    async fn a_model_that_reads_less_gets_smaller_windows() {
        // The test's embedder reads forty words.
        let lines: Vec<String> = (0..30).map(|n| format!("word{n} one two three.\n")).collect();
        let text = lines.concat();
        let parts: Vec<&str> = text.lines().collect();
        let found = vectors(json!({ "include_special": false }), input(&text, &parts)).await.unwrap();
        assert_eq!(found.len(), 30);
        let alone =
            vectors(json!({ "include_special": false }), input(parts[29], &[parts[29]])).await.unwrap();
        assert!(near(&found[29], &alone[0]));
        // A single chunk that is longer than that has the vector of what was read.
        assert_eq!(vectors(json!({}), input(&text, &[&text])).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn chunks_of_another_document_are_refused_and_none_are_none() {
        let mut other = input(TEXT, &["zz zzy."]);
        other.document = Arc::new(document("b.md", "markdown", "Something else."));
        let error = vectors(json!({}), other).await.unwrap_err().to_string();
        assert!(error.contains("is not in `document`"), "{error}");
        assert!(vectors(json!({}), input(TEXT, &[])).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn with_a_separator_the_chunks_alone_are_read() {
        // They are of no document: nothing is looked up there.
        let mut apart = input(TEXT, &["cc aab.", "zz zzy."]);
        apart.document = Arc::new(document("b.md", "markdown", "Something else."));
        let settings = json!({ "include_special": false, "separator": " qqq " });
        let found = vectors(settings, apart).await.unwrap();
        let plain =
            vectors(json!({ "include_special": false }), input(TEXT, &["cc aab.", "zz zzy."])).await.unwrap();
        // The test's embedder reads words by themselves: what stands between them is in no chunk.
        assert!(found.iter().zip(&plain).all(|(a, b)| near(a, b)));
        let (text, spans) = joined(&input(TEXT, &["cc aab.", "zz zzy."]).chunks, " [SEP] ");
        assert_eq!(text, "cc aab. [SEP] zz zzy.");
        assert_eq!(spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["cc aab.", "zz zzy."]);
    }

    #[tokio::test]
    async fn tokens_of_phrases_weigh_more() {
        let with = |phrases: &[&str]| In {
            phrases: Some(phrases.iter().map(|phrase| (*phrase).to_owned()).collect()),
            ..input(TEXT, &["cc aab.", "zz zzy."])
        };
        let settings = |phrase: f64, other: f64| json!({ "include_special": false, "phrase_weight": phrase, "other_weight": other });
        let plain =
            vectors(json!({ "include_special": false }), input(TEXT, &["cc aab.", "zz zzy."])).await.unwrap();
        let found = vectors(settings(1.0, 0.0), with(&["AAB", "nowhere", " "])).await.unwrap();
        let aab: Vec<f64> = letters("aab").await.iter().map(|x| f64::from(*x)).collect();
        assert!(near(&found[0], &aab), "only that counts");
        assert!(near(&found[1], &plain[1]), "none of it stands there: all count alike");
        let found = vectors(settings(0.8, 0.1), with(&["aab"])).await.unwrap();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!(dot(&found[0], &aab) > dot(&plain[0], &aab));
        let phrases = ["New", "New York", "C++"].map(str::to_owned);
        let text = "In new york they write C++, not C++x, and Newton.";
        let places = occurrences(text, &phrases).unwrap();
        let places: Vec<&str> = places.into_iter().map(|range| &text[range]).collect();
        assert_eq!(places, ["new york", "C++"]);
        let found = vectors(settings(0.8, 0.1), with(&["aa"])).await.unwrap();
        assert!(near(&found[0], &plain[0]), "a part of a word is no phrase");
    }

    #[test]
    fn a_window_of_nothing_is_refused() {
        assert!(!validator("enrich.late_embed").is_valid(&json!({ "window_tokens": 0 })));
    }
}
