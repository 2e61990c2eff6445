//! `wait:` of a node.

use std::time::Duration;

use crate::diagnostic::{Code, Span, Spanned};
use crate::flow::WaitDecl;
use crate::flow::yaml::Node;
use crate::limits;
use crate::types::Type;
use crate::value::Value;

use super::duration::written;
use super::{Reader, fields};

impl Reader<'_> {
    pub(super) fn wait_decl(&mut self, name: &Spanned<String>, span: Span, node: &Node) -> Option<WaitDecl> {
        let mut fields = self.fields(node, &fields::WAIT, span)?;
        let ty = self.required(&mut fields, "for", "for: bool").and_then(|node| self.ty(node));
        let about = fields.take("about").and_then(|node| self.text(node)).map(|about| about.value);
        let deadline = fields.take("deadline").and_then(|node| self.deadline(node));
        let default = fields.take("default");
        fields.done();
        // A type that could not be read is anything, so that its uses are no problems of their own.
        let Some(ty) = ty else {
            return Some(WaitDecl { span, ty: Type::Any, about, deadline, default: None });
        };
        if ty.value.is_optional() {
            let message = format!("`{}` waits for `{}`, and an answer is always there", name.value, ty.value);
            let hint =
                format!("`for: {}`; without an answer its `default` is the value", ty.value.required());
            self.report(Code::INVALID_WAIT, ty.span, message, Some(hint));
        }
        let ty = ty.value.required().clone();
        let default = default.and_then(|node| {
            let given = Value::from_json(node.to_json()).into_type(&ty);
            given
                .map_err(|mismatch| {
                    let message =
                        format!("`{}` waits for `{ty}`, and its default is not: {mismatch}", name.value);
                    let hint = "leave `default` out, and the node fails when nobody has answered in time";
                    self.report(Code::INVALID_WAIT, self.place(node), message, Some(hint.to_owned()));
                })
                .ok()
        });
        Some(WaitDecl { span, ty, about, deadline, default })
    }

    fn deadline(&mut self, node: &Node) -> Option<Spanned<Duration>> {
        let deadline = self.bound(node, "deadline")?;
        if deadline.value > limits::WAIT_DEADLINE_MAX {
            let most = written(limits::WAIT_DEADLINE_MAX);
            let message = format!("`deadline` is {}, at most {most} is allowed", written(deadline.value));
            let hint = "end the flow here and start a second one with the answer".to_owned();
            self.report(Code::OUT_OF_RANGE, deadline.span, message, Some(hint));
            return None;
        }
        Some(deadline)
    }
}
