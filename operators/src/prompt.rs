//! Renders prompts: what stays the same for long before what does not, and what was retrieved fenced off from what
//! instructs.

use std::sync::Arc;

use anabranch_engine::backend::ChatRequest;
use anabranch_engine::cx::Cx;
use anabranch_engine::flow::prompt::{Stability, segments};
use anabranch_engine::flow::template::Template;
use anabranch_engine::operator::{OpError, Prompt};
use anabranch_engine::value::{Chunk, Message, Role, Value};

/// A system prompt and a user prompt, as an operator's settings have them.
pub(crate) struct Prompts<'a> {
    /// The setting `system`: the task. The same for every call, so that servers can keep it in their prefix cache.
    pub(crate) system: &'a Prompt,
    /// The setting `prompt`: what is asked.
    pub(crate) prompt: &'a Prompt,
}

impl Prompts<'_> {
    /// A request for these variables, that says how long the parts of its messages stay the same. `quoted` are the texts
    /// that come from elsewhere: the variable `fence`, which both prompts can use, is a line that stands in none of them,
    /// nor in any variable.
    pub(crate) fn request<'a>(
        &self,
        cx: &Cx,
        variables: &[(&str, Value)],
        quoted: impl Iterator<Item = &'a str>,
    ) -> Result<ChatRequest, OpError> {
        let fence = ("fence", Value::text(fence_around(cx, variables, quoted)));
        let variables: Vec<(&str, Value)> = variables.iter().cloned().chain([fence]).collect();
        let mut request = ChatRequest::default();
        for (role, setting, prompt) in
            [(Role::System, "system", self.system), (Role::User, "prompt", self.prompt)]
        {
            push(&mut request, role, render(setting, prompt, &variables)?);
        }
        Ok(request)
    }
}

/// Every text of the chunks that a prompt can show: none of them may contain the fence.
pub(crate) fn quoted(chunks: &[Arc<Chunk>]) -> impl Iterator<Item = &str> {
    chunks.iter().flat_map(|chunk| {
        let around = chunk.title.iter().chain(&chunk.headings).map(|text| &**text);
        [&*chunk.text, &*chunk.doc.0].into_iter().chain(around)
    })
}

/// A prompt as a model reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// The parts of the text, in their order: how long each stays the same, and its bytes.
    parts: Vec<(Stability, usize)>,
}

impl Rendered {
    /// This one, and `next` right behind it.
    pub(crate) fn then(mut self, next: &Self) -> Self {
        self.text.push_str(&next.text);
        self.parts.extend(&next.parts);
        self
    }
}

/// Adds a message to a request, unless nothing stands in it.
pub(crate) fn push(request: &mut ChatRequest, role: Role, rendered: Rendered) {
    let content = rendered.text.trim_end();
    if content.trim().is_empty() {
        return;
    }
    for (stability, bytes) in rendered.parts {
        request.layout.push(stability, bytes);
    }
    request.messages.push(Message { role, content: content.into() });
}

/// One prompt with its variables filled in; `setting` names it in errors.
pub(crate) fn render(
    setting: &str,
    prompt: &Prompt,
    variables: &[(&str, Value)],
) -> Result<Rendered, OpError> {
    let invalid = |problem: String| OpError::InvalidSetting(format!("`{setting}`: {problem}"));
    let unreadable = |problems: Vec<anabranch_engine::flow::expression::Problem>| {
        invalid(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
    };
    let segments = segments(&prompt.0, Stability::of_setting(setting)).map_err(unreadable)?;
    let mut all = Rendered { text: String::new(), parts: Vec::with_capacity(segments.len()) };
    let n_segments = segments.len();
    for (position, segment) in segments.into_iter().enumerate() {
        // A template drops the last end of a line, which is the end of the text only in the last segment.
        let is_last = position + 1 == n_segments;
        let kept = if is_last || !segment.text.ends_with('\n') {
            segment.text.to_owned()
        } else {
            format!("{}\n", segment.text)
        };
        let template = Template::compile(&kept).map_err(unreadable)?;
        let rendered = template.render(variables).map_err(|error| invalid(error.to_string()))?;
        all.parts.push((segment.stability, rendered.len()));
        all.text.push_str(&rendered);
    }
    Ok(all)
}

/// The fence of every prompt whose texts do not contain it: always the same, so that prompts which begin alike can share
/// what a server has read of them.
const FENCE: &str = "==6a0b9c4e12d7f358==";

/// A line that stands in none of the texts, so that none can pretend to end before it does.
pub(crate) fn fence<'a>(cx: &Cx, quoted: impl Iterator<Item = &'a str>) -> String {
    fence_around(cx, &[], quoted)
}

/// [`fence`], that stands in none of the variables either. A text that brings the usual
/// one along gets another, which depends on the run.
fn fence_around<'a>(cx: &Cx, variables: &[(&str, Value)], quoted: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<&str> = quoted.collect();
    let is_in_none = |fence: &str| {
        !quoted.iter().any(|text| text.contains(fence))
            && !variables.iter().any(|(_, value)| contains(value, fence))
    };
    if is_in_none(FENCE) {
        return FENCE.to_owned();
    }
    let mut rng = cx.rng();
    loop {
        let fence = format!("=={:016x}==", rng.u64(..));
        if is_in_none(&fence) {
            return fence;
        }
    }
}

/// Whether a text within `value` contains `fence`.
fn contains(value: &Value, fence: &str) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => false,
        Value::Text(text) => text.contains(fence),
        Value::List(items) => items.iter().any(|item| contains(item, fence)),
        Value::Message(message) => message.content.contains(fence),
        // What such records hold beside `quoted` is short.
        Value::Chunk(chunk) => chunk.text.contains(fence) || chunk.doc.0.contains(fence),
        // Nothing in a fence is written in another way in JSON.
        other => other.to_json().to_string().contains(fence),
    }
}

#[cfg(test)]
mod tests {
    use anabranch_engine::testing::cx;

    use super::*;
    use crate::testing::chunk;

    const PROMPT: &str = "{# segment: item #}\nAsked: {{ question }}\n{# segment: static #}\nFence: {{ fence }}\n\n\
                          {# segment: document #}\n{% for c in chunks %}\n{{ c.text }}\n{% endfor %}\n";

    fn request(system: &str, prompt: &str, question: &str, chunks: &[Arc<Chunk>]) -> ChatRequest {
        let (system, prompt) = (Prompt(system.into()), Prompt(prompt.into()));
        let variables = [
            ("question", Value::text(question)),
            ("chunks", Value::list(chunks.iter().cloned().map(Value::Chunk))),
        ];
        Prompts { system: &system, prompt: &prompt }.request(&cx(), &variables, quoted(chunks)).unwrap()
    }

    #[test]
    fn segments_are_rendered_in_order_and_the_stable_ones_counted() {
        let request = request("Be brief.", PROMPT, "who?", &[chunk("a", "one"), chunk("b", "two")]);
        let asked = &*request.messages[1].content;
        assert_eq!(asked, format!("Fence: {FENCE}\n\none\ntwo\nAsked: who?"));
        let stable = "Be brief.".len() + asked.find("Asked").unwrap();
        assert_eq!(request.layout.shareable_bytes(), stable);
        assert_eq!(request.shareable_tokens(asked.len() as u64 + 9), stable as u64);
    }

    #[test]
    fn a_prompt_without_marks_shares_its_system_prompt_alone() {
        let request = request("Be brief.", "{{ question }}", "who?", &[]);
        assert_eq!(request.layout.shareable_bytes(), "Be brief.".len());
    }

    #[test]
    fn appended_evidence_leaves_what_was_there_as_it_was() {
        let shared = |chunks: &[Arc<Chunk>]| {
            let request = request("", PROMPT, "who?", chunks);
            let content = request.messages[0].content.to_string();
            content.get(..request.layout.shareable_bytes()).unwrap().to_owned()
        };
        let (one, two) = (shared(&[chunk("a", "one")]), shared(&[chunk("a", "one"), chunk("b", "two")]));
        assert!(two.starts_with(&one), "{one:?} {two:?}");
        assert!(!shared(&[chunk("b", "two"), chunk("a", "one")]).starts_with(&one));
    }

    #[test]
    fn whoever_brings_the_fence_along_gets_another() {
        let fence = |question: &str, text: &str| {
            let request = request("", PROMPT, question, &[chunk("a", text)]);
            request.messages[0].content.lines().next().unwrap().to_owned()
        };
        let usual = format!("Fence: {FENCE}");
        assert_eq!(fence("who?", "one"), usual);
        assert_ne!(fence("who?", FENCE), usual);
        assert_ne!(fence(FENCE, "one"), usual, "a question is no more to be trusted");
    }

    #[test]
    fn a_segment_of_no_kind_is_a_setting_that_cannot_be_used() {
        let prompt = Prompt("{# segment: documents #}\nx".into());
        let error = render("prompt", &prompt, &[]).unwrap_err().to_string();
        assert_eq!(error, "`prompt`: there are no segments of the kind `documents`");
    }
}
