//! On whose behalf a job calls models: what the scheduler of calls orders them by.

use anabranch_engine::backend::{Caller, Priority};
use anabranch_engine::value::Text;

use crate::store::Claimed;

/// The caller of all that the job asks models; the run adds its own name.
pub(super) fn of(job: &Claimed) -> Caller {
    let text = |text: &Option<String>| text.as_deref().map(Text::from);
    Caller {
        tenant: Some(job.tenant.as_str().into()),
        key: text(&job.created_by),
        run: None,
        session: text(&job.session_id),
        priority: priority(job),
    }
}

/// Somebody waits for a job, unless its own priority, or that it is one of a batch, says otherwise.
fn priority(job: &Claimed) -> Priority {
    match job.priority {
        0 if job.batch_id.is_some() => Priority::Batch,
        0.. => Priority::Interactive,
        _ => Priority::Batch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Request;
    use crate::store::Wanted;

    fn job(priority: i16, batch_id: Option<&str>) -> Claimed {
        Claimed {
            id: "job_1".into(),
            tenant: "acme".into(),
            flow: "ask".into(),
            hash: String::new(),
            request: Request::default(),
            epoch: 1,
            claims: 1,
            wanted: Wanted::default(),
            deadline_ms: None,
            trace: None,
            priority,
            session_id: Some("talk".into()),
            batch_id: batch_id.map(str::to_owned),
            created_by: Some("key_1".into()),
            ready_ms: 0,
            started_ms: 0,
            is_begun: false,
        }
    }

    #[test]
    fn jobs_of_batches_and_those_below_zero_stand_back() {
        assert_eq!(of(&job(0, None)).priority, Priority::Interactive);
        assert_eq!(of(&job(0, Some("batch_1"))).priority, Priority::Batch);
        assert_eq!(of(&job(1, Some("batch_1"))).priority, Priority::Interactive, "it was said of this one");
        assert_eq!(of(&job(-1, None)).priority, Priority::Batch);
    }

    #[test]
    fn a_call_is_made_for_the_tenant_the_key_and_the_conversation() {
        let caller = of(&job(0, None));
        assert_eq!(caller.tenant.as_deref(), Some("acme"));
        assert_eq!((caller.key.as_deref(), caller.session.as_deref()), (Some("key_1"), Some("talk")));
    }
}
