//! What fits into a model's window: prompts are counted as they are sent, and long texts are cut until they fit.

use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::operator::{ModelName, OpError};
use anabranch_engine::value::{Chunk, Message};

use super::split::split;
use crate::tokens::Counter;

/// Tokens with which a chat server frames a message, and begins the answer.
const MESSAGE_TOKENS: usize = 4;
const REPLY_TOKENS: usize = 3;
/// Tokens that two parts may have more together than apart.
const SEAM_TOKENS: usize = 4;

/// The window of a model, less what is kept free for its answer.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    counter: Counter,
    /// Most tokens of a prompt.
    limit: usize,
}

/// Makes the prompt with some passages in it.
type Render<'a> = dyn Fn(&[Arc<Chunk>]) -> Result<ChatRequest, OpError> + 'a;

/// What is read in one call.
#[derive(Debug, Clone)]
pub(crate) struct Portion {
    /// The passages, in the order of the text.
    pub(crate) chunks: Vec<Arc<Chunk>>,
    /// The prompt with them in it.
    pub(crate) request: ChatRequest,
}

impl Window {
    /// The window of `model`, which holds `context_tokens`, `reserve_output` of which are for its answer.
    pub(crate) fn of(
        cx: &Cx,
        model: &ModelName,
        context_tokens: usize,
        reserve_output: u32,
    ) -> Result<Self, OpError> {
        let counter = Counter::of(cx, model)?;
        Ok(Self { counter, limit: context_tokens.saturating_sub(reserve_output as usize) })
    }

    /// The same with `tokens` less for a prompt.
    pub(crate) fn less(&self, tokens: usize) -> Self {
        Self { limit: self.limit.saturating_sub(tokens), ..self.clone() }
    }

    /// How tokens are counted.
    pub(crate) fn counter(&self) -> &Counter {
        &self.counter
    }

    /// Most tokens of a prompt.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Tokens of a prompt.
    pub(crate) fn tokens(&self, messages: &[Message]) -> usize {
        let of = |message: &Message| self.counter.count(&message.content) + MESSAGE_TOKENS;
        messages.iter().map(of).sum::<usize>() + REPLY_TOKENS
    }

    /// Whether a prompt fits.
    pub(crate) fn fits(&self, messages: &[Message]) -> bool {
        self.tokens(messages) <= self.limit
    }

    /// All of `chunks` in portions that fit, in their order: as many in one as there is room for, cut where one does not
    /// fit by itself. A portion has at most `most` tokens of text. `render` makes the prompt.
    pub(crate) fn portions(
        &self,
        chunks: &[Arc<Chunk>],
        most: Option<usize>,
        render: &Render<'_>,
    ) -> Result<Vec<Portion>, OpError> {
        let most = most.unwrap_or(usize::MAX);
        let frame = self.tokens(&render(&[])?.messages);
        let mut groups: Vec<Vec<Arc<Chunk>>> = Vec::new();
        // What is left of the last group: tokens of the prompt, and of the text.
        let (mut room, mut text_room) = (0, 0);
        for chunk in chunks {
            // Titles and headings stand in the prompt too, each time.
            let bare = Arc::new(Chunk { text: "".into(), ..Chunk::clone(chunk) });
            let around = self.tokens(&render(&[bare])?.messages).saturating_sub(frame) + SEAM_TOKENS;
            let free = self.limit.saturating_sub(frame + around).min(most);
            if free == 0 {
                return Err(self.too_small(frame + around));
            }
            for part in split(chunk, free, &self.counter) {
                let text = self.counter.count(&part.text);
                let needs = text + around;
                if let Some(group) = groups.last_mut().filter(|_| needs <= room && text <= text_room) {
                    (room, text_room) = (room - needs, text_room - text);
                    group.push(part);
                } else {
                    room = self.limit.saturating_sub(frame + needs);
                    text_room = most.saturating_sub(text);
                    groups.push(vec![part]);
                }
            }
        }
        let mut portions = Vec::new();
        for group in groups {
            self.settle(group, render, &mut portions)?;
        }
        Ok(portions)
    }

    /// The group as a portion, or, where its prompt is longer than was thought, as several.
    fn settle(
        &self,
        group: Vec<Arc<Chunk>>,
        render: &Render<'_>,
        portions: &mut Vec<Portion>,
    ) -> Result<(), OpError> {
        let request = render(&group)?;
        let tokens = self.tokens(&request.messages);
        if tokens <= self.limit {
            portions.push(Portion { chunks: group, request });
            return Ok(());
        }
        let halves: Vec<Vec<Arc<Chunk>>> = match group.as_slice() {
            [one] => {
                let half = self.counter.count(&one.text) / 2;
                split(one, half.max(1), &self.counter).into_iter().map(|part| vec![part]).collect()
            }
            several => several.chunks(several.len().div_ceil(2)).map(<[_]>::to_vec).collect(),
        };
        if halves.len() < 2 {
            return Err(self.too_small(tokens));
        }
        halves.into_iter().try_for_each(|half| self.settle(half, render, portions))
    }

    /// Why nothing can be read.
    pub(crate) fn too_small(&self, needs: usize) -> OpError {
        OpError::InvalidSetting(format!(
            "`context_tokens` less `reserve_output` leaves {} tokens for a prompt, which takes {needs} and more; \
             set `context_tokens` higher, or make the prompt or the question shorter",
            self.limit
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shelf, chunk};
    use anabranch_engine::value::Role;
    use proptest::prelude::*;

    fn window(limit: usize) -> Window {
        Window::of(&Shelf::small().cx(), &ModelName::default(), limit + 100, 100).unwrap()
    }

    #[expect(clippy::unnecessary_wraps, reason = "operators render templates, which can fail")]
    fn render(chunks: &[Arc<Chunk>]) -> Result<ChatRequest, OpError> {
        let texts: Vec<String> = chunks.iter().map(|chunk| format!("Passage: <{}>", chunk.text)).collect();
        let content = format!("Read this.\n{}\nWhat does it say?", texts.join("\n")).into();
        Ok(ChatRequest { messages: vec![Message { role: Role::User, content }], ..ChatRequest::default() })
    }

    fn words(n: usize) -> String {
        (0..n).map(|n| format!("word{n} ")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn small_chunks_are_read_together_and_long_ones_in_parts() {
        let window = window(60);
        let chunks = [chunk("a", "one two"), chunk("b", "three"), chunk("c", &words(40)), chunk("d", "four")];
        let portions = window.portions(&chunks, None, &render).unwrap();
        let docs: Vec<Vec<String>> =
            portions.iter().map(|portion| crate::testing::docs_of(&portion.chunks)).collect();
        assert_eq!(docs.first().unwrap(), &["a", "b"]);
        assert!(docs.len() > 3, "{docs:?}");
    }

    #[test]
    fn a_portion_has_no_more_text_than_it_may() {
        let portions = window(500).portions(&[chunk("a", &words(60))], Some(20), &render).unwrap();
        let count = |portion: &Portion| -> usize {
            portion.chunks.iter().map(|chunk| Counter::default().count(&chunk.text)).sum()
        };
        assert!(portions.iter().all(|portion| count(portion) <= 20) && portions.len() >= 6);
    }

    #[test]
    fn a_window_that_holds_no_text_is_an_error_that_says_how_much_it_takes() {
        let error = window(10).portions(&[chunk("a", "one")], None, &render).unwrap_err().to_string();
        assert!(error.contains("leaves 10 tokens") && error.contains("`context_tokens` higher"), "{error}");
    }

    proptest! {
        #[test]
        fn every_prompt_fits_and_all_is_read_in_order(
            texts in proptest::collection::vec("[a-z .\n漢]{1,120}", 0..6), limit in 40..120_usize,
        ) {
            let chunks: Vec<_> = texts.iter().map(|text| chunk("a", text)).collect();
            let window = window(limit);
            let portions = window.portions(&chunks, None, &render).unwrap();
            prop_assert!(portions.iter().all(|portion| window.fits(&portion.request.messages)));
            let read: String =
                portions.iter().flat_map(|portion| &portion.chunks).map(|chunk| &*chunk.text).collect();
            prop_assert_eq!(read, texts.concat());
        }
    }
}
