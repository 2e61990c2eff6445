//! What became of the calls of a turn, for the model and for whoever looks at the run.

use anabranch_engine::backend::{ToolCall, ToolResult};
use anabranch_engine::value::Text;
use serde_json::{Map, Value};

/// One call on its way: what it became, or why it was not made.
pub(super) struct Made {
    pub(super) result: ToolResult,
    pub(super) shown: Map<String, Value>,
    pub(super) is_sent: bool,
}

impl Made {
    fn of(call: &ToolCall, content: Text, shown: Map<String, Value>, is_sent: bool) -> Self {
        Self { result: ToolResult { id: call.id.clone(), content }, shown, is_sent }
    }

    pub(super) fn refused(call: &ToolCall, problem: &str) -> Self {
        let (tool, arguments) = (Value::from(&*call.name), Value::from(&*call.arguments));
        let shown =
            [("tool", tool), ("arguments", arguments), ("refused", true.into()), ("error", problem.into())];
        let shown = shown.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
        Self::of(call, format!("error: {problem}").into(), shown, false)
    }

    pub(super) fn failed(call: &ToolCall, mut head: Map<String, Value>, problem: &str) -> Self {
        head.insert("error".to_owned(), problem.into());
        Self::of(call, format!("error: {problem}").into(), head, true)
    }

    pub(super) fn answered(
        call: &ToolCall,
        mut head: Map<String, Value>,
        content: Text,
        value: Value,
    ) -> Self {
        head.insert("result".to_owned(), value);
        Self::of(call, content, head, true)
    }
}
