//! Jobs, made from an execution's history: one for each Task, Choice or Succeed state that was
//! entered; tries before the last one are its attempts. Pure.

use std::collections::HashMap;

use ark_model::api::{Job, JobAttempt, JobStatus, StateResource, StateResourceType};
use ark_states::history::{Details, EventType, HistoryEvent};
use ark_states::resource::Resource;

use super::super::arn::{Arn, DEFAULT_REGION, Resource as ArnOf};

/// Lines of a cause that a reason shows.
const REASON_LINES: usize = 3;

/// What an event says of the job it belongs to.
#[derive(Clone, Copy)]
enum Said {
    /// A state was entered that is no job: what follows belongs to none.
    OtherState,
    /// The job's state was entered.
    Entered,
    /// A try was asked for.
    Scheduled,
    /// A worker has it.
    Started,
    /// The try is done.
    Succeeded,
    /// The try failed; in words when the event has none.
    Failed(Option<&'static str>),
    /// The state was left.
    Exited,
    /// Somebody else's failure or stop ended it.
    Aborted,
    /// Nothing.
    Nothing,
}

fn said(kind: EventType) -> Said {
    use EventType as E;
    match kind {
        E::TaskStateEntered | E::ChoiceStateEntered | E::SucceedStateEntered => Said::Entered,
        E::FailStateEntered
        | E::MapStateEntered
        | E::ParallelStateEntered
        | E::PassStateEntered
        | E::WaitStateEntered => Said::OtherState,
        E::ActivityScheduled | E::LambdaFunctionScheduled | E::TaskScheduled => Said::Scheduled,
        E::ActivityStarted | E::LambdaFunctionStarted | E::TaskStarted => Said::Started,
        E::ActivitySucceeded | E::LambdaFunctionSucceeded | E::TaskSucceeded => Said::Succeeded,
        E::ActivityFailed
        | E::EvaluationFailed
        | E::LambdaFunctionFailed
        | E::LambdaFunctionStartFailed
        | E::TaskFailed
        | E::TaskStartFailed
        | E::TaskSubmitFailed => Said::Failed(None),
        E::ActivityScheduleFailed | E::LambdaFunctionScheduleFailed => {
            Said::Failed(Some("State resource does not exist"))
        }
        E::ActivityTimedOut | E::LambdaFunctionTimedOut | E::TaskTimedOut => {
            Said::Failed(Some("Job timed out"))
        }
        E::TaskStateExited | E::ChoiceStateExited | E::SucceedStateExited => Said::Exited,
        E::TaskStateAborted => Said::Aborted,
        _ => Said::Nothing,
    }
}

/// The jobs of an execution, in the order in which their states were entered. `events` is its whole
/// history, oldest first; `queue` and `namespace` are the workflow's.
pub fn of(events: &[HistoryEvent], queue: &str, namespace: Option<&str>) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    // Which job an event belongs to: that of the event it follows from.
    let mut owners: HashMap<u64, usize> = HashMap::new();
    for event in events {
        match said(event.kind) {
            Said::Entered => {
                owners.insert(event.id, jobs.len());
                jobs.push(entered(event, queue));
            }
            Said::OtherState => {}
            said => {
                let owner = owners.get(&event.previous_event_id).copied();
                if let Some(owner) = owner {
                    owners.insert(event.id, owner);
                    tell(&mut jobs[owner], said, event, namespace);
                }
                end(&mut jobs, owner, event);
            }
        }
    }
    jobs
}

fn entered(event: &HistoryEvent, queue: &str) -> Job {
    let name = event.details.name.as_deref().unwrap_or_default().to_owned();
    Job {
        id: event.id.to_string(),
        name: name.clone(),
        state: name,
        state_resource: None,
        status: JobStatus::Created,
        status_reason: None,
        input: event.details.input.as_deref().map(str::to_owned),
        output: None,
        container: None,
        queue: queue.to_owned(),
        created_at: event.timestamp,
        started_at: None,
        stopped_at: None,
        attempts: Vec::new(),
    }
}

fn tell(job: &mut Job, said: Said, event: &HistoryEvent, namespace: Option<&str>) {
    let details = &event.details;
    match said {
        Said::Scheduled => {
            if job.status == JobStatus::Failed {
                tried_before(job);
            }
            job.status = JobStatus::Queued;
            job.state_resource = details.resource.as_deref().map(|text| resource(text, namespace));
        }
        Said::Started => {
            job.status = JobStatus::Running;
            job.started_at = Some(event.timestamp);
            job.container = details.worker_name.as_deref().map(str::to_owned);
        }
        Said::Succeeded => {
            job.status = JobStatus::Succeeded;
            job.stopped_at = Some(event.timestamp);
            job.output = details.output.as_deref().map(str::to_owned);
        }
        Said::Failed(words) => {
            job.status = JobStatus::Failed;
            job.stopped_at = Some(event.timestamp);
            job.status_reason = reason(details).or(words.map(str::to_owned));
        }
        // A failure that was caught leads out of the state, too: the job failed all the same.
        Said::Exited if job.status != JobStatus::Failed => {
            job.status = JobStatus::Succeeded;
            job.stopped_at = job.stopped_at.or(Some(event.timestamp));
            job.output = details.output.as_deref().map(str::to_owned);
        }
        Said::Aborted => {
            job.status = JobStatus::AbortedDepsFailed;
            job.stopped_at = Some(event.timestamp);
        }
        Said::Exited | Said::OtherState | Said::Entered | Said::Nothing => {}
    }
}

/// The execution's end is the end of every job that has not ended.
fn end(jobs: &mut [Job], owner: Option<usize>, event: &HistoryEvent) {
    let (own, others, words) = match event.kind {
        EventType::ExecutionAborted => (JobStatus::AbortedByUser, JobStatus::AbortedByUser, None),
        EventType::ExecutionFailed => (JobStatus::Failed, JobStatus::AbortedDepsFailed, None),
        EventType::ExecutionTimedOut => {
            (JobStatus::Failed, JobStatus::Failed, Some("Workflow timed out"))
        }
        _ => return,
    };
    for (number, job) in jobs.iter_mut().enumerate().filter(|(_, job)| job.stopped_at.is_none()) {
        job.status = if owner == Some(number) { own } else { others };
        job.stopped_at = Some(event.timestamp);
        job.status_reason = reason(&event.details).or(words.map(str::to_owned));
    }
}

fn tried_before(job: &mut Job) {
    job.attempts.push(JobAttempt {
        created_at: job.attempts.last().and_then(|a| a.stopped_at).unwrap_or(job.created_at),
        started_at: job.started_at.take(),
        stopped_at: job.stopped_at.take(),
        reason: job.status_reason.take(),
        task_arn: job.container.take(),
    });
}

/// The last lines of a cause, then the error's name.
pub(super) fn reason(details: &Details) -> Option<String> {
    reason_of(details.error.as_deref(), details.cause.as_deref())
}

/// As [`reason`], of an execution's own end.
pub(super) fn reason_of(error: Option<&str>, cause: Option<&str>) -> Option<String> {
    let lines: Vec<&str> = cause.unwrap_or_default().trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(REASON_LINES)..].join("\n");
    let parts: Vec<&str> =
        [last.as_str(), error.unwrap_or_default()].into_iter().filter(|p| !p.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// Who does it, from the resource of an event: an ARN, or the bare name of an activity.
fn resource(text: &str, namespace: Option<&str>) -> StateResource {
    let (kind, uri, whole) = if let Some((_, name)) = text.split_once(":activity:") {
        (StateResourceType::ActivityARN, text.to_owned(), name.to_owned())
    } else if let Some((_, name)) = text.split_once(":function:") {
        (StateResourceType::LambdaFunctionARN, text.to_owned(), name.to_owned())
    } else if let Resource::Activity(_) = Resource::parse(text) {
        let name = namespace.map_or_else(|| text.to_owned(), |space| format!("{space}--{text}"));
        let uri = Arn::new(DEFAULT_REGION, ArnOf::Activity { name: name.clone() }).to_string();
        (StateResourceType::ActivityARN, uri, name)
    } else {
        (StateResourceType::TaskARN, text.to_owned(), text.to_owned())
    };
    let (namespace, name) = whole.split_once("--").unwrap_or(("", &whole));
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    StateResource { name, namespace, uri, last_updated: None, kind }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// `(id, previous, type, name/resource/worker/output/error)`
    fn events(rows: &[(u64, u64, EventType, &str)]) -> Vec<HistoryEvent> {
        let event = |&(id, previous_event_id, kind, word): &(u64, u64, EventType, &str)| {
            let at = i64::try_from(id).expect("small");
            let timestamp = Timestamp::from_second(at).expect("an instant");
            let mut details = Details::default();
            let word = Some(word.into());
            match said(kind) {
                Said::Entered | Said::OtherState => details.name = word,
                Said::Scheduled => details.resource = word,
                Said::Started => details.worker_name = word,
                Said::Succeeded | Said::Exited => details.output = word,
                _ => details.error = word,
            }
            HistoryEvent { id, previous_event_id, timestamp, kind, details }
        };
        rows.iter().map(event).collect()
    }

    #[test]
    fn a_retry_is_an_attempt_and_a_caught_failure_stays_one() {
        use EventType as E;
        let jobs = of(
            &events(&[
                (1, 0, E::ExecutionStarted, ""),
                (2, 0, E::ChoiceStateEntered, "Look"),
                (3, 2, E::ChoiceStateExited, "{}"),
                (4, 3, E::TaskStateEntered, "Do"),
                (5, 4, E::ActivityScheduled, "arn:aws:states:r:0:activity:prod--do"),
                (6, 5, E::ActivityStarted, "w1"),
                (7, 6, E::ActivityFailed, "E"),
                (8, 7, E::ActivityScheduled, "arn:aws:states:r:0:activity:prod--do"),
                (9, 8, E::ActivityStarted, "w2"),
                (10, 9, E::ActivityTimedOut, "States.Timeout"),
                (11, 10, E::TaskStateExited, "{}"),
                (12, 11, E::SucceedStateEntered, "End"),
                (13, 12, E::SucceedStateExited, "{}"),
                (14, 13, E::ExecutionSucceeded, ""),
            ]),
            "default",
            None,
        );
        let short: Vec<_> = jobs.iter().map(|job| (job.name.as_str(), job.status)).collect();
        let (good, bad) = (JobStatus::Succeeded, JobStatus::Failed);
        assert_eq!(short, [("Look", good), ("Do", bad), ("End", good)]);
        let job = &jobs[1];
        assert_eq!((job.container.as_deref(), job.attempts.len()), (Some("w2"), 1));
        assert_eq!(job.attempts[0].task_arn.as_deref(), Some("w1"));
        assert_eq!(job.attempts[0].reason.as_deref(), Some("E"));
        let resource = job.state_resource.as_ref().expect("a resource");
        assert_eq!((resource.namespace.as_str(), resource.name.as_str()), ("prod", "do"));
    }

    #[test]
    fn branches_keep_their_events_apart_and_the_end_is_everybodys() {
        use EventType as E;
        let jobs = of(
            &events(&[
                (1, 0, E::ExecutionStarted, ""),
                (2, 0, E::ParallelStateEntered, "P"),
                (3, 2, E::ParallelStateStarted, ""),
                (4, 3, E::TaskStateEntered, "A"),
                (5, 4, E::ActivityScheduled, "arn:aws:states:r:0:activity:a"),
                (6, 3, E::TaskStateEntered, "B"),
                (7, 6, E::ActivityScheduled, "arn:aws:states:r:0:activity:b"),
                (8, 5, E::ActivityStarted, "w"),
                (9, 7, E::ActivityStarted, "v"),
                (10, 8, E::ActivityFailed, "Broken"),
                (11, 10, E::ExecutionFailed, "Broken"),
            ]),
            "q",
            None,
        );
        assert_eq!(
            (jobs[0].status, jobs[1].status),
            (JobStatus::Failed, JobStatus::AbortedDepsFailed)
        );
        assert_eq!(jobs[0].container.as_deref(), Some("w"));
        assert!(jobs.iter().all(|job| job.queue == "q" && job.stopped_at.is_some()));
    }

    #[test]
    fn a_reason_is_the_end_of_the_cause() {
        let reason = |error, cause| reason_of(error, cause).unwrap_or_default();
        assert_eq!(reason(Some("E"), Some("a\nb\nc\nd\n")), "b\nc\nd\nE");
        assert_eq!((reason(Some("E"), None), reason(None, None)), ("E".into(), String::new()));
    }
}
