//! The stages: map, collapse, reduce. Each makes no prompt that does not fit.

use std::sync::Arc;

use anabranch_engine::backend::{ChatRequest, ChatResponse, FinishReason};
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{OpError, Prompt};
use anabranch_engine::value::{Chunk, Value};
use futures::{StreamExt as _, stream};
use serde_json::{Value as Json, json};

use super::notes::{self, CONFIDENCE_MAX, Evidence, Failed, Note, Stats, Stop};
use super::way::Way;
use super::{Confidence, Layout, MapReduce, OnMapError};
use crate::ask;
use crate::prompt::{Prompts, quoted};
use crate::read::source::check_portions;
use crate::read::window::{Portion, Window};

/// What a portion said.
#[derive(Debug, Clone)]
pub(super) struct Mapped {
    pub(super) note: Note,
    pub(super) evidence: Evidence,
    /// In the tree.
    branch: usize,
}

/// A note, and the portions that it comes from.
#[derive(Debug, Clone)]
pub(super) struct Combined {
    pub(super) note: Note,
    pub(super) from: Vec<usize>,
    /// In the tree.
    pub(super) branch: usize,
}

/// What became of a group of notes.
enum Collapsed {
    /// One note of these.
    Made(Note, Vec<Combined>),
    /// What it was: it was only one.
    Single(Vec<Combined>),
    /// What it was: the model's answer could not be read.
    Failed(Vec<Combined>),
}

/// One reading of one text.
pub(super) struct Reader<'a> {
    settings: &'a MapReduce,
    cx: &'a Cx,
    question: &'a str,
    layout: &'static str,
    window: Window,
    /// The chunks of each portion.
    pub(super) portions: Vec<Vec<Arc<Chunk>>>,
    pub(super) stats: Stats,
    pub(super) way: Way,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        settings: &'a MapReduce,
        cx: &'a Cx,
        question: &'a str,
        n_questions: usize,
    ) -> Result<Self, OpError> {
        let window = Window::of(cx, &settings.model, settings.context_tokens, settings.reserve_output)?;
        let is_document_first = match settings.layout {
            Layout::DocumentFirst => true,
            Layout::QuestionFirst => false,
            Layout::Auto => n_questions > 1,
        };
        let layout = if is_document_first { "document_first" } else { "question_first" };
        let (portions, stats, way) = (Vec::new(), Stats::default(), Way::default());
        Ok(Self { settings, cx, question, layout, window, portions, stats, way })
    }

    /// What the portions say, in their order, those left out that say nothing.
    pub(super) async fn map(&mut self, chunks: &[Arc<Chunk>]) -> Result<Vec<Mapped>, OpError> {
        let render = |chunks: &[Arc<Chunk>]| self.map_request(chunks);
        let portions = self.window.portions(chunks, self.settings.portion_tokens, &render)?;
        check_portions(portions.len(), self.settings.max_portions)?;
        let mut mapped = Vec::new();
        let mut stats = Stats { portions: portions.len(), ..Stats::default() };
        let mut way = Way::default();
        let calls: Vec<_> = portions.iter().map(|portion| self.map_call(portion)).collect();
        let mut answers = stream::iter(calls).buffered(self.settings.concurrency);
        let (mut n_portion, mut last_failure) = (0, None);
        // In the order of the text, so that the end does not depend on which answer comes first.
        while let Some(answer) = answers.next().await {
            let Some(portion) = portions.get(n_portion) else { break };
            stats.map_calls += 1;
            stats.prompt_tokens += self.window.tokens(&portion.request.messages);
            match answer {
                Ok(note) if note.found => {
                    let branch = way.portion(&note);
                    mapped.push(Self::mapped(n_portion, portion, note, branch));
                }
                Ok(_) => {
                    stats.dropped += 1;
                    way.lost("says nothing to this");
                }
                Err(error) => {
                    let failed = Failed { portion: n_portion, error: error.to_string() };
                    way.lost(&failed.error);
                    stats.failed.push(failed);
                    last_failure = Some(self.check_failures(error, &stats)?);
                }
            }
            n_portion += 1;
            if self.may_end(&mapped) {
                break;
            }
        }
        drop(answers);
        // Of nothing that was read nothing can be said, however many portions may fail.
        if let Some(error) = last_failure.filter(|_| stats.failed.len() == stats.map_calls) {
            return Err(error);
        }
        self.portions = portions.into_iter().map(|portion| portion.chunks).collect();
        (self.stats, self.way) = (stats, way);
        Ok(mapped)
    }

    fn map_request(&self, chunks: &[Arc<Chunk>]) -> Result<ChatRequest, OpError> {
        let variables = [
            ("question", Value::text(self.question)),
            ("chunks", Value::list(chunks.iter().cloned().map(Value::Chunk))),
            ("layout", Value::text(self.layout)),
        ];
        let texts = quoted(chunks).chain([self.question]);
        self.request((&self.settings.map_system, &self.settings.map_prompt), &variables, texts)
    }

    fn request<'t>(
        &self,
        (system, prompt): (&Prompt, &Prompt),
        variables: &[(&str, Value)],
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<ChatRequest, OpError> {
        let common = [
            ("task", Value::text(self.settings.task.name())),
            ("confidence", Value::text(self.settings.confidence.name())),
        ];
        let variables: Vec<(&str, Value)> = variables.iter().cloned().chain(common).collect();
        Prompts { system, prompt }.request(self.cx, &variables, texts)
    }

    async fn map_call(&self, portion: &Portion) -> Result<Note, OpError> {
        self.note(portion.request.clone()).await
    }

    /// Asks for a note.
    async fn note(&self, request: ChatRequest) -> Result<Note, OpError> {
        let response = self.ask(request, notes::schema()).await?;
        Note::read(&response.text).ok_or_else(|| {
            let why = match response.finish_reason {
                FinishReason::Length => ask::CUT,
                _ => "it is neither JSON with the fields asked for nor text under their headings",
            };
            ask::garbled(&response, why.to_owned())
        })
    }

    async fn ask(&self, rendered: ChatRequest, schema: Json) -> Result<ChatResponse, OpError> {
        let request = ChatRequest {
            temperature: Some(self.settings.temperature),
            max_tokens: Some(self.settings.reserve_output),
            response_schema: Some(schema),
            ..rendered
        };
        ask::text(self.cx, &self.settings.model, &request).await
    }

    fn mapped(n_portion: usize, portion: &Portion, note: Note, branch: usize) -> Mapped {
        let evidence = Evidence {
            portion: n_portion,
            chunk_ids: portion.chunks.iter().map(|chunk| chunk.id.clone()).collect(),
            extracted: note.extracted.clone(),
            rationale: note.rationale.clone(),
            answer: note.answer.clone(),
            confidence: note.confidence,
        };
        Mapped { note, evidence, branch }
    }

    /// The failure of a portion again if it may go on after it.
    fn check_failures(&self, error: OpError, stats: &Stats) -> Result<OpError, OpError> {
        let most = (1.0 - self.settings.min_success) * stats.portions as f64 + 1e-9;
        let may_go_on = self.may_skip(&error) && stats.failed.len() as f64 <= most;
        if may_go_on { Ok(error) } else { Err(error) }
    }

    /// Whether a failure is one of a single call, and such may be passed over.
    fn may_skip(&self, error: &OpError) -> bool {
        // What stands in the way of every portion is no failure of one.
        matches!(error, OpError::Backend(_)) && self.settings.on_map_error == OnMapError::Skip
    }

    /// Whether what was read so far is enough.
    fn may_end(&self, mapped: &[Mapped]) -> bool {
        let (Some(exit), Some(last)) = (self.settings.early_exit, mapped.last()) else { return false };
        let same = |one: &Mapped| normalised(&one.note.answer) == normalised(&last.note.answer);
        last.note.confidence >= exit.confidence && (!exit.unanimous || mapped.iter().all(same))
    }

    /// Notes that fit the last prompt together.
    pub(super) async fn collapse(&mut self, mapped: &[Mapped]) -> Result<Vec<Combined>, OpError> {
        let combined = |mapped: &Mapped| Combined {
            note: mapped.note.clone(),
            from: vec![mapped.evidence.portion],
            branch: mapped.branch,
        };
        let mut notes: Vec<Combined> = mapped.iter().map(combined).collect();
        if self.settings.confidence == Confidence::Capped
            && notes.iter().any(|note| note.note.confidence >= CONFIDENCE_MAX)
        {
            // What stands there word for word makes everything else count for nothing.
            notes.retain(|note| note.note.confidence >= CONFIDENCE_MAX);
        }
        if let Some(most) = self.settings.keep_at_most {
            self.leave_out(&mut notes, |notes| Ok(notes.len() <= most))?;
        }
        self.stats.stop = Stop::Fits;
        while !self.window.fits(&self.reduce_request(&notes)?.messages) {
            if self.stats.collapse_rounds == self.settings.max_collapse_rounds {
                self.stats.stop = Stop::MaxCollapseRounds;
                break;
            }
            let before = self.tokens_of(&notes);
            let groups = self.groups(&notes)?;
            if groups.iter().all(|group| group.len() < 2) {
                self.stats.stop = Stop::CollapseStalled;
                break;
            }
            let collapsed = self.collapse_round(groups).await?;
            self.stats.collapse_rounds += 1;
            if collapsed.is_empty() || self.tokens_of(&collapsed) >= before {
                self.stats.stop = Stop::CollapseStalled;
                break;
            }
            notes = collapsed;
            self.stats.stop = Stop::Collapsed;
        }
        self.make_fit(notes)
    }

    /// Notes in groups of which each fits a prompt of the collapse, as many in one as there is room for.
    fn groups(&self, notes: &[Combined]) -> Result<Vec<Vec<Combined>>, OpError> {
        let mut groups: Vec<Vec<Combined>> = Vec::new();
        for note in notes {
            if let Some(group) = groups.last_mut() {
                group.push(note.clone());
                if self.window.fits(&self.collapse_request(group)?.messages) {
                    continue;
                }
                group.pop();
            }
            groups.push(vec![note.clone()]);
        }
        Ok(groups)
    }

    /// Makes one note of each group. A group of one stays as it is; a note that says nothing any more is dropped.
    async fn collapse_round(&mut self, groups: Vec<Vec<Combined>>) -> Result<Vec<Combined>, OpError> {
        let (mut calls, mut n_calls, mut prompt_tokens) = (Vec::new(), 0, 0);
        for group in groups {
            let request = if group.len() > 1 { Some(self.collapse_request(&group)?) } else { None };
            n_calls += usize::from(request.is_some());
            prompt_tokens += request.as_ref().map_or(0, |request| self.window.tokens(&request.messages));
            calls.push(self.collapse_call(group, request));
        }
        let answers: Vec<Result<Collapsed, OpError>> =
            stream::iter(calls).buffered(self.settings.concurrency).collect().await;
        self.stats.collapse_calls += n_calls;
        self.stats.prompt_tokens += prompt_tokens;
        let mut notes = Vec::new();
        for answer in answers {
            match answer? {
                Collapsed::Made(note, group) if note.found => {
                    let parts: Vec<usize> = group.iter().map(|note| note.branch).collect();
                    let branch = self.way.collapse(&note, &parts);
                    let from = group.into_iter().flat_map(|note| note.from).collect();
                    notes.push(Combined { note, from, branch });
                }
                // Together they say nothing any more, and are dropped.
                Collapsed::Made(..) => {}
                Collapsed::Single(group) => notes.extend(group),
                Collapsed::Failed(group) => {
                    self.stats.collapse_failed += 1;
                    notes.extend(group);
                }
            }
        }
        Ok(notes)
    }

    async fn collapse_call(
        &self,
        group: Vec<Combined>,
        request: Option<ChatRequest>,
    ) -> Result<Collapsed, OpError> {
        let Some(request) = request else { return Ok(Collapsed::Single(group)) };
        match self.note(request).await {
            Ok(note) => Ok(Collapsed::Made(note, group)),
            // What the map read is paid for: the next round may manage, and what has no room at the end is left out.
            Err(error) if self.may_skip(&error) => Ok(Collapsed::Failed(group)),
            Err(error) => Err(error),
        }
    }

    /// Leaves notes out until the rest fits; the last one is cut.
    fn make_fit(&mut self, mut notes: Vec<Combined>) -> Result<Vec<Combined>, OpError> {
        let mut stats = std::mem::take(&mut self.stats);
        let n_before = notes.len();
        leave_out(&mut notes, |notes| Ok(self.window.fits(&self.reduce_request(notes)?.messages)))?;
        stats.left_out += n_before - notes.len();
        self.stats = stats;
        if let [only] = notes.as_mut_slice() {
            let fields: [fn(&mut Note) -> &mut String; 2] =
                [|note| &mut note.rationale, |note| &mut note.extracted];
            for field in fields {
                while !self.window.fits(&self.reduce_request(std::slice::from_ref(only))?.messages)
                    && !field(&mut only.note).is_empty()
                {
                    let half = field(&mut only.note).chars().count() / 2;
                    *field(&mut only.note) = field(&mut only.note).chars().take(half).collect();
                }
            }
        }
        let messages = self.reduce_request(&notes)?.messages;
        if self.window.fits(&messages) {
            Ok(notes)
        } else {
            Err(self.window.too_small(self.window.tokens(&messages)))
        }
    }

    fn leave_out(
        &mut self,
        notes: &mut Vec<Combined>,
        is_enough: impl Fn(&[Combined]) -> Result<bool, OpError>,
    ) -> Result<(), OpError> {
        let n_before = notes.len();
        leave_out(notes, is_enough)?;
        self.stats.left_out += n_before - notes.len();
        Ok(())
    }

    /// The answer, and who gave it.
    pub(super) async fn reduce(&mut self, notes: &[Combined]) -> Result<(String, String), OpError> {
        let request = self.reduce_request(notes)?;
        self.stats.prompt_tokens += self.window.tokens(&request.messages);
        let schema = json!({
            "type": "object",
            "properties": { "rationale": { "type": "string" }, "answer": { "type": "string" } },
            "required": ["rationale", "answer"],
            "additionalProperties": false,
        });
        let response = self.ask(request, schema).await?;
        // Words without form are an answer too: this is the last call, and nothing has to be told apart.
        let text = ask::answer(&response)?;
        let of_headings =
            Note::of_headings(&text).map(|note| note.answer).filter(|answer| !answer.is_empty());
        Ok((of_headings.unwrap_or(text).trim().to_owned(), response.model))
    }

    fn collapse_request(&self, notes: &[Combined]) -> Result<ChatRequest, OpError> {
        self.notes_request((&self.settings.collapse_system, &self.settings.collapse_prompt), notes)
    }

    fn reduce_request(&self, notes: &[Combined]) -> Result<ChatRequest, OpError> {
        self.notes_request((&self.settings.reduce_system, &self.settings.reduce_prompt), notes)
    }

    fn notes_request(&self, prompts: (&Prompt, &Prompt), notes: &[Combined]) -> Result<ChatRequest, OpError> {
        let variables = [
            ("question", Value::text(self.question)),
            ("notes", Value::list(notes.iter().map(|note| note.note.value()))),
        ];
        let texts = notes.iter().flat_map(|note| note.note.texts()).chain([self.question]);
        self.request(prompts, &variables, texts)
    }

    fn tokens_of(&self, notes: &[Combined]) -> usize {
        let count = |text: &str| self.window.counter().count(text);
        notes.iter().flat_map(|note| note.note.texts()).map(count).sum()
    }
}

/// Leaves out the note of least confidence, of equal ones the last, until the rest is enough or one is left.
fn leave_out(
    notes: &mut Vec<Combined>,
    is_enough: impl Fn(&[Combined]) -> Result<bool, OpError>,
) -> Result<(), OpError> {
    while notes.len() > 1 && !is_enough(notes)? {
        let least = notes
            .iter()
            .enumerate()
            .rev()
            .min_by(|(_, a), (_, b)| a.note.confidence.total_cmp(&b.note.confidence));
        let Some((at, _)) = least else { break };
        notes.remove(at);
    }
    Ok(())
}

/// An answer without what makes no difference.
fn normalised(answer: &str) -> String {
    crate::words::words(answer).map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
