//! What goes into the runtime and what comes out of it.

use ark_model::workflow::{ExecutionStatus, MachineType};
use jiff::Timestamp;

use super::error::{Refusal, WorkflowError};

/// What to start. The target is found and judged within the transaction of the start.
#[derive(Debug, Clone, Default)]
pub struct StartExecution {
    /// ARN of a machine, a version of it, or an alias.
    pub machine_arn: String,
    /// Its name; a fresh UUID without.
    pub name: Option<String>,
    /// Its input's text, exactly as sent; `{}` without.
    pub input: Option<String>,
    /// Passed through to whoever describes it.
    pub trace_header: Option<String>,
    /// Higher is handed to workers first; 0 unless somebody says otherwise.
    pub priority: i64,
    /// Namespace of activities that are named without one: bare name `x` is `<namespace>--x`.
    pub namespace: Option<String>,
}

/// What a machine's ARN leads to: answered by `machines::resolve` for the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartTarget {
    /// The machine's number.
    pub machine: u64,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Standard or Express.
    pub machine_type: MachineType,
    /// The revision to run.
    pub revision: u64,
    /// The version's ARN, when one was named or an alias chose it.
    pub version_arn: Option<String>,
    /// The alias's ARN, when one was named.
    pub alias_arn: Option<String>,
}

/// An execution that was started, or found to be the same as one started before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its ARN.
    pub execution_arn: String,
    /// When it was started.
    pub started_at: Timestamp,
}

/// How an execution somebody waited for ended. For Express started synchronously.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The execution as it stood at its end.
    pub execution: ExecutionView,
}

/// An execution, as it is described.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionView {
    /// Its number.
    pub id: u64,
    /// Its ARN.
    pub arn: String,
    /// ARN of its machine.
    pub machine_arn: String,
    /// The revision it runs.
    pub revision: u64,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Its input's text.
    pub input: String,
    /// Its output's text, once it succeeded.
    pub output: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Why it failed, in words.
    pub cause: Option<String>,
    /// As given at its start.
    pub trace_header: Option<String>,
    /// The version it was started by.
    pub version_arn: Option<String>,
    /// The alias it was started by.
    pub alias_arn: Option<String>,
    /// The map run whose child it is.
    pub map_run_arn: Option<String>,
    /// Items it works on, for children of a map run.
    pub item_count: Option<u64>,
    /// How often it was redriven.
    pub redrive_count: u64,
    /// When it was redriven last.
    pub redriven_at: Option<Timestamp>,
    /// Whether it may be redriven; else why not, for people.
    pub redrivable: Redrivable,
}

/// Whether an execution may be redriven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redrivable {
    /// It may.
    Yes,
    /// With its map run, by redriving the run's parent.
    ByMapRun,
    /// It may not, for this reason.
    No(String),
}

/// Which page of a list.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// The most rows; 0 is 100, more than 1,000 is refused by the caller.
    pub max_results: usize,
    /// Where the page before ended.
    pub next_token: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins, when there is one.
    pub next_token: Option<String>,
}

/// Which executions to list, newest first. Of a machine, version or alias, or of a map run: name
/// exactly one.
#[derive(Debug, Clone, Default)]
pub struct ListExecutions {
    /// ARN of a machine, version or alias.
    pub machine_arn: Option<String>,
    /// ARN of a map run.
    pub map_run_arn: Option<String>,
    /// Only in this status.
    pub status: Option<ExecutionStatus>,
    /// Only redriven ones, or only others.
    pub redrive: Option<RedriveFilter>,
    /// Which page.
    pub page: PageRequest,
}

/// Whether listed executions were redriven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedriveFilter {
    /// At least once.
    Redriven,
    /// Never.
    NotRedriven,
}

/// A page of a history. Each event is a JSON object in the wire's shape: `id`, `previousEventId`,
/// `timestamp` (seconds since 1970 with a fraction), `type`, and `<type>EventDetails`.
pub type HistoryPage = Page<serde_json::Value>;

/// A task handed to a worker. Say [`HandedTask::delivered`] once the answer was written to the
/// worker; a task dropped without it is offered to the next worker, with the same token.
#[derive(Debug)]
pub struct HandedTask {
    /// The worker's token.
    pub token: String,
    /// The input's text.
    pub input: String,
    pub(crate) delivery: super::tasks::Delivery,
}

impl HandedTask {
    /// The worker has it.
    pub fn delivered(self) {
        self.delivery.confirm();
    }
}

/// A map run, as it is described.
#[derive(Debug, Clone, PartialEq)]
pub struct MapRunView {
    /// Its ARN.
    pub arn: String,
    /// ARN of the execution it belongs to.
    pub execution_arn: String,
    /// ARN of the machine with the Map state's label.
    pub machine_arn: String,
    /// Where it stands: RUNNING, SUCCEEDED, FAILED or ABORTED.
    pub status: ExecutionStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Children at once; 0 is no limit of its own.
    pub max_concurrency: u64,
    /// Share of failed items, in percent, above which it fails.
    pub tolerated_failure_percentage: f64,
    /// Number of failed items above which it fails.
    pub tolerated_failure_count: u64,
    /// Items by what became of them.
    pub items: MapRunCounts,
    /// Children by what became of them.
    pub executions: MapRunCounts,
    /// How often it was redriven.
    pub redrive_count: u64,
    /// When it was redriven last.
    pub redriven_at: Option<Timestamp>,
}

/// Items or children of a map run, by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the names are the wire's own")]
pub struct MapRunCounts {
    pub pending: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub aborted: u64,
    pub total: u64,
    pub results_written: u64,
    pub failures_not_redrivable: u64,
    pub pending_redrive: u64,
}

/// What to change of a running map run; `None` leaves it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UpdateMapRun {
    /// Children at once.
    pub max_concurrency: Option<u64>,
    /// Share of failed items, in percent.
    pub tolerated_failure_percentage: Option<f64>,
    /// Number of failed items.
    pub tolerated_failure_count: Option<u64>,
}

/// Rows of a page when `max_results` is 0.
const PAGE_DEFAULT: usize = 100;
/// The most rows of a page: the store reads a thousand at once, and the row after the page is read
/// with it. A page may be shorter than was asked for.
const PAGE_MAX: usize = 999;

impl PageRequest {
    /// How many rows.
    pub(crate) fn limit(&self) -> usize {
        match self.max_results {
            0 => PAGE_DEFAULT,
            wanted => wanted.min(PAGE_MAX),
        }
    }

    /// For lists by growing number: the number before the page (0 for the first page), and how many
    /// rows to read, which is one more than the page has.
    ///
    /// # Errors
    /// `InvalidToken`.
    pub(crate) fn after_number(&self) -> Result<(u64, usize), WorkflowError> {
        Ok((self.number()?.unwrap_or(0), self.limit() + 1))
    }

    /// For lists by falling number.
    ///
    /// # Errors
    /// `InvalidToken`.
    pub(crate) fn before_number(&self) -> Result<(u64, usize), WorkflowError> {
        Ok((self.number()?.unwrap_or(u64::MAX), self.limit() + 1))
    }

    /// For lists by name.
    pub(crate) fn after_name(self) -> (String, usize) {
        let limit = self.limit() + 1;
        (self.next_token.unwrap_or_default(), limit)
    }

    fn number(&self) -> Result<Option<u64>, WorkflowError> {
        let token = self.next_token.as_deref();
        let invalid = |_| Refusal::InvalidToken.with("Invalid Token: 'Invalid token'");
        token.map(|token| token.parse().map_err(invalid)).transpose()
    }
}

impl<T> Page<T> {
    /// A page of rows that were read up to `limit`, one more than the page has: with that one there
    /// is a next page, which begins after the row that `key` names.
    pub(crate) fn of<R>(
        mut rows: Vec<R>,
        limit: usize,
        key: impl Fn(&R) -> String,
        view: impl Fn(R) -> T,
    ) -> Self {
        let more = rows.len() >= limit;
        rows.truncate(limit.saturating_sub(1));
        let next_token = rows.last().filter(|_| more).map(key);
        Self { items: rows.into_iter().map(view).collect(), next_token }
    }
}
