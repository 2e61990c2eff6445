//! The growing prompt: all segments so far, and behind them what is asked.

use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::{Cx, Progress};
use anabranch_engine::operator::{OpError, Prompt};
use anabranch_engine::value::{Chunk, Citation, Role, Value};
use serde_json::{Value as Json, json};

use super::margin::{Margin, Stats};
use super::{Context, Keep, Margins};
use crate::ask::{self, after_thinking, whole_json};
use crate::prompt::{Rendered, fence, push, quoted, render};
use crate::read::source::cite;
use crate::read::window::Window;

/// One reading of one text.
pub(super) struct Desk<'a> {
    settings: &'a Margins,
    cx: &'a Cx,
    question: &'a str,
    /// The same in every prompt, or none would begin as another does.
    fence: String,
    system: Rendered,
    window: Window,
    segments: Vec<Vec<Arc<Chunk>>>,
    /// What the prompt of each segment begins with.
    contexts: Vec<Rendered>,
    pub(super) margins: Vec<Margin>,
    pub(super) stats: Stats,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        settings: &'a Margins,
        cx: &'a Cx,
        question: &'a str,
        chunks: &[Arc<Chunk>],
    ) -> Result<Self, OpError> {
        let window = Window::of(cx, &settings.model, settings.context_tokens, settings.reserve_output)?;
        let fence = fence(cx, quoted(chunks).chain([question]));
        let mut desk = Self {
            settings,
            cx,
            question,
            system: Rendered::default(),
            fence,
            window,
            segments: Vec::new(),
            contexts: Vec::new(),
            margins: Vec::new(),
            stats: Stats::default(),
        };
        desk.system = desk.render("system", &settings.system, &[])?;
        let with_one = |chunks: &[Arc<Chunk>]| {
            let context = desk.context(chunks)?;
            desk.request(context, "margin_prompt", &settings.margin_prompt, &[])
        };
        let portions = desk.window.portions(chunks, Some(settings.segment_tokens), &with_one)?;
        if portions.len() > settings.max_segments {
            return Err(OpError::InvalidInput(format!(
                "the text makes {} segments, more than `max_segments` ({}); set that higher, or `segment_tokens`",
                portions.len(),
                settings.max_segments
            )));
        }
        desk.segments = portions.into_iter().map(|portion| portion.chunks).collect();
        desk.stats.segments = desk.segments.len();
        Ok(desk)
    }

    pub(super) fn n_segments(&self) -> usize {
        self.segments.len()
    }

    fn render(&self, setting: &str, prompt: &Prompt, more: &[(&str, Value)]) -> Result<Rendered, OpError> {
        let common = [("question", Value::text(self.question)), ("fence", Value::text(self.fence.as_str()))];
        render(setting, prompt, &common.into_iter().chain(more.iter().cloned()).collect::<Vec<_>>())
    }

    fn context(&self, chunks: &[Arc<Chunk>]) -> Result<Rendered, OpError> {
        let chunks = Value::list(chunks.iter().cloned().map(Value::Chunk));
        self.render("context_prompt", &self.settings.context_prompt, &[("chunks", chunks)])
    }

    fn request(
        &self,
        context: Rendered,
        setting: &str,
        prompt: &Prompt,
        more: &[(&str, Value)],
    ) -> Result<ChatRequest, OpError> {
        let asked = context.then(&self.render(setting, prompt, more)?);
        let mut request = ChatRequest::default();
        push(&mut request, Role::System, self.system.clone());
        push(&mut request, Role::User, asked);
        Ok(request)
    }

    /// Makes all contexts, and refuses a text that does not fit with everything that will be asked.
    pub(super) fn check_room(&mut self) -> Result<(), OpError> {
        let mut read: Vec<Arc<Chunk>> = Vec::new();
        let mut contexts: Vec<Rendered> = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            read.extend(segment.iter().cloned());
            let context = self.context(&read)?;
            if contexts.last().is_some_and(|before| !context.text.starts_with(&before.text)) {
                let message = "`context_prompt` does not begin as before when a segment is added: put what stands \
                               behind the segments into `margin_prompt` and `answer_prompt`";
                return Err(OpError::InvalidSetting(message.to_owned()));
            }
            contexts.push(context);
        }
        let all = contexts.last().cloned().unwrap_or_default();
        let longest = "x ".repeat(self.settings.margin_tokens as usize);
        let margins = Value::list(self.segments.iter().map(|_| Value::text(longest.as_str())));
        let asks = [
            self.request(all.clone(), "margin_prompt", &self.settings.margin_prompt, &[])?,
            self.request(
                if self.settings.include_context == Context::Full { all } else { Rendered::default() },
                "answer_prompt",
                &self.settings.answer_prompt,
                &[("margins", margins)],
            )?,
        ];
        let needs =
            asks.iter().map(|request| self.window.tokens(&request.messages)).max().unwrap_or_default();
        if needs > self.window.limit() {
            return Err(OpError::InvalidInput(format!(
                "the text with its margins takes {needs} tokens, more than the {} that `context_tokens` less \
                 `reserve_output` leaves; `read.map_reduce` reads texts of any length",
                self.window.limit()
            )));
        }
        self.contexts = contexts;
        Ok(())
    }

    /// What a segment says, and whether that is of use.
    pub(super) async fn margin(&mut self, segment: usize) -> Result<Margin, OpError> {
        let context = self.contexts.get(segment).cloned().unwrap_or_default();
        let request = self.request(context, "margin_prompt", &self.settings.margin_prompt, &[])?;
        self.count(&request, segment.checked_sub(1));
        let text = self.ask(request, self.settings.margin_tokens, None).await?.0;
        let relevant = match self.settings.keep {
            Keep::All => true,
            Keep::Classifier => self.is_relevant(&text).await?,
        };
        self.stats.read += 1;
        self.stats.relevant += usize::from(relevant);
        let (n, of) = (segment + 1, self.segments.len());
        let mark = if relevant { "" } else { " (not of use)" };
        self.cx.progress(Progress::Note(format!("margin {n} of {of}{mark}: {text}")));
        let chunks = self.segments.get(segment).into_iter().flatten();
        Ok(Margin { segment, chunk_ids: chunks.map(|chunk| chunk.id.clone()).collect(), text, relevant })
    }

    async fn is_relevant(&mut self, margin: &str) -> Result<bool, OpError> {
        // The model may have taken over anything from the text: it gets a fence of its own.
        let fence = fence(self.cx, [margin, self.question].into_iter());
        let variables = [
            ("question", Value::text(self.question)),
            ("margin", Value::text(margin)),
            ("fence", Value::text(fence)),
        ];
        let asked = render("classify_prompt", &self.settings.classify_prompt, &variables)?;
        let mut request = ChatRequest::default();
        push(&mut request, Role::User, asked);
        self.count(&request, None);
        let schema = json!({
            "type": "object",
            "properties": { "relevant": { "type": "boolean" } },
            "required": ["relevant"],
            "additionalProperties": false,
        });
        let said = self.ask(request, self.settings.margin_tokens, Some(schema)).await?.0;
        Ok(is_yes(&said))
    }

    /// The answer, and who gave it.
    pub(super) async fn answer(&mut self) -> Result<(String, String), OpError> {
        let read = self.stats.read.checked_sub(1);
        let is_full = self.settings.include_context == Context::Full;
        let context =
            read.filter(|_| is_full).and_then(|last| self.contexts.get(last)).cloned().unwrap_or_default();
        let of_use = self.margins.iter().filter(|margin| margin.relevant);
        // A line that a margin took over from the prompt must not end it.
        let lines = |margin: &Margin| margin.text.replace(&self.fence, "");
        let margins = Value::list(of_use.map(|margin| Value::text(lines(margin))));
        let request =
            self.request(context, "answer_prompt", &self.settings.answer_prompt, &[("margins", margins)])?;
        if !self.window.fits(&request.messages) {
            return Err(self.window.too_small(self.window.tokens(&request.messages)));
        }
        self.count(&request, read.filter(|_| is_full));
        self.ask(request, self.settings.reserve_output, None).await
    }

    /// The segments whose margins the answer was made with.
    pub(super) fn citations(&self) -> Vec<Citation> {
        let of_use = self.margins.iter().filter(|margin| margin.relevant);
        let chunks = of_use.filter_map(|margin| self.segments.get(margin.segment)).flatten();
        chunks.map(|chunk| cite(chunk)).collect()
    }

    /// Counts a prompt that begins as that of segment `known` did.
    fn count(&mut self, request: &ChatRequest, known: Option<usize>) {
        let tokens = self.window.tokens(&request.messages);
        let known = known.and_then(|segment| self.contexts.get(segment));
        let known = known.map_or(0, |context| {
            self.window.counter().count(self.system.text.trim_end())
                + self.window.counter().count(&context.text)
        });
        self.stats.prompt_tokens += tokens;
        self.stats.new_tokens += tokens.saturating_sub(known);
    }

    async fn ask(
        &self,
        rendered: ChatRequest,
        max_tokens: u32,
        response_schema: Option<Json>,
    ) -> Result<(String, String), OpError> {
        let request = ChatRequest {
            temperature: Some(self.settings.temperature),
            max_tokens: Some(max_tokens),
            response_schema,
            ..rendered
        };
        let response = ask::text(self.cx, &self.settings.model, &request).await?;
        Ok((after_thinking(&response.text).trim().to_owned(), response.model))
    }
}

/// Whether a model said yes: as JSON, or in a word.
fn is_yes(said: &str) -> bool {
    let of_json = whole_json(said).into_iter().find_map(|json| json.get("relevant")?.as_bool());
    of_json.unwrap_or_else(|| {
        let first = crate::words::words(said).next().unwrap_or_default().to_lowercase();
        first == "yes" || first == "true"
    })
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn yes_is_read_as_json_and_as_a_word() {
        for yes in
            [r#"{"relevant": true}"#, "YES", "Yes, it names the year.", "```json\n{\"relevant\": true}\n```"]
        {
            assert!(is_yes(yes), "{yes}");
        }
        for no in [r#"{"relevant": false}"#, "NO", "", "Not yes", "{\"relevant\": \"yes\"}"] {
            assert!(!is_yes(no), "{no}");
        }
    }
}
