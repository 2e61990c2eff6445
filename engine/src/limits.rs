//! Every bound of the engine, by name. What reaches one gets a typed answer, never a hang or a crash.

use std::time::Duration;

/// Largest flow file, in bytes.
pub const FLOW_BYTES: usize = 1 << 20;
/// Deepest nesting of YAML collections.
pub const YAML_DEPTH: usize = 64;
/// Most YAML nodes of a file, after aliases are expanded.
pub const YAML_NODES: usize = 10_000;
/// Most aliases in a file.
pub const YAML_ALIASES: usize = 100;
/// Most nodes of a flow with its sub-flows, loops and each bodies counted once.
pub const FLOW_NODES: usize = 2_000;
/// Deepest nesting of sub-flows, loops and eaches.
pub const SCOPE_DEPTH: usize = 8;
/// Steps that a plan made at run time may have, unless its node says otherwise.
pub const PLAN_NODES: u32 = 12;
/// Most steps that a node may allow such a plan.
pub const PLAN_NODES_MAX: u32 = 100;
/// Largest such plan, in bytes of its JSON.
pub const PLAN_BYTES: usize = 64 << 10;
/// How often a planner may be asked to repair a plan that cannot be used, unless the plan's node says otherwise.
pub const PLAN_REPAIRS: u32 = 1;
/// Most repairs that a node may allow.
pub const PLAN_REPAIRS_MAX: u32 = 3;
/// Most turns that a loop may ask for.
pub const MAX_TURNS: u32 = 1_000;
/// Most items of an each, and its default.
pub const EACH_ITEMS: usize = 10_000;
/// Items of an each that run at once, unless it says otherwise.
pub const EACH_CONCURRENCY: u32 = 8;
/// Most items of an each that may run at once.
pub const EACH_CONCURRENCY_MAX: u32 = 64;
/// Longest expression, in bytes.
pub const EXPRESSION_BYTES: usize = 16 << 10;
/// Deepest nesting of brackets and choices (`? :`) in an expression.
pub const EXPRESSION_DEPTH: usize = 64;
/// Most operators in an expression, dots among them: what reads and evaluates it goes one deeper for each.
pub const EXPRESSION_OPERATORS: usize = 256;
/// What an expression may have of operators, a level of nesting counted as four, before it gets a stack of its own.
pub const EXPRESSION_SHALLOW: usize = 16;
/// That stack, in bytes: unoptimised code takes less than half of it for what is most deeply nested.
pub const EXPRESSION_STACK: usize = 64 << 20;
/// Deepest nesting of comprehensions (`map`, `filter`, `all`, …) in an expression.
pub const EXPRESSION_COMPREHENSION_DEPTH: usize = 3;
/// Most items that one level of a comprehension may go over, taken together: the product over nested levels.
pub const EXPRESSION_STEPS: usize = 100_000;
/// Largest value that an expression may make, in bytes of its JSON.
pub const EXPRESSION_OUTPUT_BYTES: usize = 64 << 10;
/// Most bytes that evaluating an expression may look through and write.
pub const EXPRESSION_WORK_BYTES: usize = 32 << 20;
/// Steps of a template before it is stopped.
pub const TEMPLATE_FUEL: u64 = 1_000_000;
/// Largest text that a template may render, in bytes.
pub const TEMPLATE_OUTPUT_BYTES: usize = 2 << 20;
/// Longest time of a run that sets no `wall` budget.
pub const RUN_WALL: Duration = Duration::from_mins(15);
/// Longest time that a run may ask for.
pub const RUN_WALL_MAX: Duration = Duration::from_hours(24);
/// Node executions of a run that are in flight at once, unless its options say otherwise.
pub const RUN_CONCURRENCY: usize = 64;
/// Most events of a run.
pub const RUN_EVENTS: usize = 50_000;
/// Most turns, items and sub-flows that a run opens: those in which no node runs leave no event.
pub const RUN_SCOPES: u64 = 200_000;
/// Records of a run that its journal may have taken and not yet made safe; nothing begins while there are more.
pub const JOURNAL_BEHIND: usize = 1_024;
/// How long a wait waits that sets no `deadline`.
pub const WAIT_DEADLINE: Duration = Duration::from_hours(24);
/// Longest `deadline` of a wait.
pub const WAIT_DEADLINE_MAX: Duration = Duration::from_hours(30 * 24);
/// Answers that the inbox of a run holds until the run looks at them.
pub const INBOX_ANSWERS: usize = 1_024;
/// Most attempts of a node.
pub const RETRY_ATTEMPTS: u32 = 20;
/// Longest wait that a backend's `Retry-After` can impose between two attempts.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);
/// Completion tokens that a call reserves when its request sets no `max_tokens`.
pub const COMPLETION_TOKENS: u32 = 1_024;
/// Longest call of a tool, whatever its own bounds are.
pub const TOOL_CALL: Duration = Duration::from_mins(2);
/// Largest answer of a tool, in bytes of its JSON or text.
pub const TOOL_ANSWER_BYTES: usize = 2 << 20;
/// Most calls of a tool that can be called twice without harm, the first included, when it fails in a way that may pass.
pub const TOOL_ATTEMPTS: u32 = 3;
/// How long it is left alone before the second of these calls; before the third, twice as long.
pub const TOOL_BACKOFF: Duration = Duration::from_millis(200);
/// Longest that a tool can ask to be left alone: whoever asks for more has failed.
pub const TOOL_BACKOFF_MAX: Duration = Duration::from_secs(20);
