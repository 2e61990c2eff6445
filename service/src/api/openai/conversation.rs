//! From a conversation to the inputs of a flow, by what the flow declares.

use anabranch_engine::plan::{Input, Plan};
use anabranch_engine::types::Type;
use anabranch_engine::value::{Message, Role};
use serde_json::{Map, Value as Json, json};

use crate::api::problem::{Code, Mistake, Problem};

/// Where a flow takes a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Takes {
    /// The input for what was said last.
    question: Option<String>,
    /// The input for what was said before, and whether what was said last belongs there as well.
    past: Option<(String, bool)>,
}

impl Takes {
    /// Where `plan` takes a conversation, or what it lacks.
    ///
    /// The question is the input `question`, else the only input of type `text` that must be given. The conversation is
    /// the input `messages` (all of it) or `history` (all before the question), of type `list<message>`.
    pub(super) fn of(plan: &Plan) -> Result<Self, Problem> {
        let inputs = &plan.root.inputs;
        let named = |name: &str, ty: &Type| {
            inputs.iter().find(|input| &*input.port.name == name && input.port.ty.required() == ty)
        };
        let must_be_text = |input: &&Input| is_needed(input) && *input.port.ty.required() == Type::Text;
        let only = {
            let mut texts = inputs.iter().filter(must_be_text);
            texts.next().filter(|_| texts.next().is_none())
        };
        let name = |input: &Input| input.port.name.to_string();
        let question = named("question", &Type::Text).or(only).map(name);
        let list = Type::list(Type::Message);
        let past = match (named("messages", &list), named("history", &list)) {
            (Some(messages), _) => Some((name(messages), true)),
            (None, Some(history)) => Some((name(history), question.is_none())),
            (None, None) => None,
        };
        if question.is_some() || past.is_some() {
            return Ok(Self { question, past });
        }
        let lacks = "it has no input `question` of type `text`, no other text input that is alone in being needed, and \
                     no input `messages` or `history` of type `list<message>`";
        let detail = format!("the flow `{}` cannot be called as a model: {lacks}", plan.name);
        Err(Problem::new(Code::Invalid, detail.clone())
            .hint(format!("call it with `POST /v1/flows/{}/jobs`", plan.name))
            .errors(vec![Mistake::at("/model", detail)]))
    }

    /// Whether it takes what was said before the last message.
    pub(super) fn remembers(&self) -> bool {
        self.past.is_some()
    }

    /// The inputs for a conversation; `pointer` is where the request has it, `given` are inputs given by name.
    pub(super) fn inputs(
        &self,
        messages: &[Message],
        given: &Map<String, Json>,
        pointer: &str,
    ) -> Result<Map<String, Json>, Problem> {
        let last = messages.iter().rposition(|message| message.role == Role::User);
        let Some((last, question)) = last.and_then(|last| Some((last, messages.get(last)?))) else {
            return Err(Problem::invalid(pointer, "no message of the role `user` says what is asked"));
        };
        if messages.len() > last + 1 {
            return Err(Problem::invalid(pointer, "the last message is none of the role `user`")
                .hint("a flow answers what the user says last, and continues no answer"));
        }
        let mut inputs = given.clone();
        if let Some(name) = &self.question {
            inputs.insert(name.clone(), json!(question.content));
        }
        if let Some((name, with_question)) = &self.past {
            let until = if *with_question { last + 1 } else { last };
            inputs.insert(name.clone(), json!(messages.get(..until).unwrap_or_default()));
        }
        Ok(inputs)
    }

    /// The conversation that a job had, as far as its inputs tell: for the one that goes on from it.
    pub(super) fn said(&self, inputs: &Map<String, Json>) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        if let Some((name, with_question)) = &self.past {
            let past = inputs.get(name).cloned().unwrap_or_default();
            messages = serde_json::from_value(past).unwrap_or_default();
            if *with_question {
                return messages;
            }
        }
        let question = self.question.as_ref().and_then(|name| inputs.get(name)?.as_str());
        messages.extend(question.map(|question| Message { role: Role::User, content: question.into() }));
        messages
    }
}

fn is_needed(input: &Input) -> bool {
    input.default.is_none() && !input.port.ty.is_optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openai::tests::plan;

    fn said(role: Role, content: &str) -> Message {
        Message { role, content: content.into() }
    }

    fn conversation() -> Vec<Message> {
        vec![
            said(Role::System, "Be brief."),
            said(Role::User, "a"),
            said(Role::Assistant, "b"),
            said(Role::User, "c"),
        ]
    }

    fn inputs(declared: &str) -> Result<Json, String> {
        let takes = Takes::of(&plan(declared)).map_err(|problem| problem.detail)?;
        let inputs =
            takes.inputs(&conversation(), &Map::new(), "/messages").map_err(|problem| problem.detail)?;
        Ok(Json::Object(inputs))
    }

    #[test]
    fn the_last_message_is_the_question_and_those_before_it_are_the_history() {
        assert_eq!(inputs("{ question: text }").unwrap(), json!({ "question": "c" }));
        assert_eq!(
            inputs("{ query: text, top_k: { type: int, default: 3 } }").unwrap(),
            json!({ "query": "c" })
        );
        let message = |role: &str, content: &str| json!({ "role": role, "content": content });
        let before = [message("system", "Be brief."), message("user", "a"), message("assistant", "b")];
        let with_history = "{ question: text, history: { type: \"list<message>\", default: [] } }";
        assert_eq!(inputs(with_history).unwrap(), json!({ "question": "c", "history": before }));
        let all = [&before[..], &[message("user", "c")]].concat();
        assert_eq!(inputs("{ messages: \"list<message>\" }").unwrap(), json!({ "messages": all }));
    }

    #[test]
    fn a_flow_that_takes_no_conversation_says_what_it_lacks() {
        let refused = inputs("{ first: text, second: text }").unwrap_err();
        assert!(refused.contains("no input `question` of type `text`"), "{refused}");
        assert!(inputs("{ n: int }").is_err());
    }

    #[test]
    fn the_conversation_of_a_job_is_read_back_from_its_inputs() {
        for declared in [
            "{ question: text, history: { type: \"list<message>\", default: [] } }",
            "{ messages: \"list<message>\" }",
            "{ question: text, messages: \"list<message>\" }",
        ] {
            let takes = Takes::of(&plan(declared)).unwrap();
            let inputs = takes.inputs(&conversation(), &Map::new(), "/messages").unwrap();
            assert_eq!(takes.said(&inputs), conversation(), "{declared}");
            assert!(takes.remembers());
        }
    }

    #[test]
    fn an_answer_that_is_to_be_continued_is_refused() {
        let takes = Takes::of(&plan("{ question: text }")).unwrap();
        let messages = [said(Role::User, "a"), said(Role::Assistant, "b")];
        let refused = takes.inputs(&messages, &Map::new(), "/messages").unwrap_err();
        assert_eq!(refused.detail, "the last message is none of the role `user`");
        assert!(takes.inputs(&[], &Map::new(), "/messages").is_err());
    }
}
