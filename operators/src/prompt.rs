//! Renders prompts, with what was retrieved fenced off from what instructs.

use std::sync::Arc;

use anabranch_engine::cx::Cx;
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
    /// The messages for these variables. `quoted` are the texts that come from elsewhere: the variable `fence`, which
    /// both prompts can use, is a line that stands in none of them.
    pub(crate) fn messages<'a>(
        &self,
        cx: &Cx,
        variables: &[(&str, Value)],
        quoted: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Message>, OpError> {
        let fence = ("fence", Value::text(fence(cx, quoted)));
        let variables: Vec<(&str, Value)> = variables.iter().cloned().chain([fence]).collect();
        let system = render("system", self.system, &variables)?;
        let prompt = render("prompt", self.prompt, &variables)?;
        Ok([(Role::System, system), (Role::User, prompt)]
            .into_iter()
            .filter(|(_, content)| !content.trim().is_empty())
            .map(|(role, content)| Message { role, content: content.trim_end().into() })
            .collect())
    }
}

/// Every text of the chunks that a prompt can show: none of them may contain the fence.
pub(crate) fn quoted(chunks: &[Arc<Chunk>]) -> impl Iterator<Item = &str> {
    chunks.iter().flat_map(|chunk| {
        let around = chunk.title.iter().chain(&chunk.headings).map(|text| &**text);
        [&*chunk.text, &*chunk.doc.0].into_iter().chain(around)
    })
}

/// The text of one prompt; `setting` names it in errors.
pub(crate) fn render(setting: &str, prompt: &Prompt, variables: &[(&str, Value)]) -> Result<String, OpError> {
    let invalid = |problem: String| OpError::InvalidSetting(format!("`{setting}`: {problem}"));
    let template = Template::compile(&prompt.0).map_err(|problems| {
        invalid(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
    })?;
    template.render(variables).map_err(|error| invalid(error.to_string()))
}

/// A line that stands in none of the texts, so that none can pretend to end before it does.
pub(crate) fn fence<'a>(cx: &Cx, quoted: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<&str> = quoted.collect();
    let mut rng = cx.rng();
    loop {
        let fence = format!("=={:016x}==", rng.u64(..));
        if !quoted.iter().any(|text| text.contains(&fence)) {
            return fence;
        }
    }
}
