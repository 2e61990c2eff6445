//! The last attempt of a node as it began, worked out from the journal: to be looked at, or executed again by itself.

use std::sync::Arc;

use super::Task;
use crate::backend::Caller;
use crate::event::{Event, Record, RunId};
use crate::plan::Plan;
use crate::scope::Scope;
use crate::state::{Action, IllegalEvent, RunState, Setup};

/// The last attempt of the operator at `scope` that a run has begun, by its journal; `None` if it began none: nothing runs
/// there, it was skipped, or its result was kept from another run.
///
/// It carries no budget: whoever executes it again, with [`super::execute_task`], decides what that may cost.
pub fn last_attempt(
    plan: &Arc<Plan>,
    run: &RunId,
    records: &[Record],
    scope: &Scope,
) -> Result<Option<Task>, IllegalEvent> {
    let mut state = RunState::new(plan.clone(), Setup::default());
    let (mut found, mut seed) = (None, 0);
    for record in records {
        if let Event::RunStarted { seed: of_run, .. } = &record.event {
            seed = *of_run;
        }
        for action in state.apply(record)? {
            let Action::Start(start) = action else { continue };
            if start.scope != *scope {
                continue;
            }
            found = Some(Task {
                run: run.clone(),
                plan: plan.hash.clone(),
                seed,
                scope: start.scope.clone(),
                attempt: start.attempt,
                inputs: start.inputs.clone(),
                settings: start.settings.clone(),
                timeout: start.timeout,
                idle_timeout: start.idle_timeout,
                books: Vec::new(),
                elapsed: record.at,
                caller: Caller::default(),
                left: None,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal as _, MemoryJournal};
    use crate::run::{Options, run};
    use crate::testing;
    use crate::value::Map;

    #[tokio::test]
    async fn the_last_of_several_attempts_is_found_with_what_it_read_and_was_set_to() {
        let yaml = "flow: f\ninputs: { n: { type: int, default: 3 } }\nnodes:\n  a: { op: test.work, in: { a: inputs.n }, \
                    with: { fail_times: '${ inputs.n - 2 }', fail: unavailable }, retry: { attempts: 3 } }\n  b: { op: \
                    test.work, in: { a: a.value } }\noutputs: { text: b.text }\n";
        let plan = testing::plan(yaml, &()).unwrap();
        let journal = Arc::new(MemoryJournal::default());
        let options = Options { journal: Some(journal.clone()), seed: 7, ..Options::default() };
        let id = options.id.clone();
        let resources = Arc::new(testing::resources());
        tokio::time::pause();
        run(plan.clone(), Map::new(), resources, options).await.unwrap();
        let records = journal.read(&id).await.unwrap();
        let of = |scope: &str| last_attempt(&plan, &id, &records, &Scope::from(scope)).unwrap();
        let a = of("a").unwrap();
        assert_eq!((a.attempt, a.seed, a.inputs.len()), (2, 7, 1));
        assert_eq!(a.settings.unwrap()["fail_times"], 1);
        assert_eq!(of("b").unwrap().settings, None);
        assert!(of("c").is_none());
    }
}
