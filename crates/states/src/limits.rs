//! Limits and quotas of the language, as AWS sets them.

/// Input, output and result of a task, state or execution, in UTF-8 bytes.
pub const PAYLOAD_BYTES_MAX: usize = 262_144;
/// Events of one execution's history.
pub const HISTORY_EVENTS_MAX: u64 = 25_000;
/// A definition, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 1_048_576;
/// Names of states and variables, in characters.
pub const NAME_CHARS_MAX: usize = 80;
/// An error name given by a worker, in characters.
pub const ERROR_CHARS_MAX: usize = 256;
/// A cause given by a worker, in characters.
pub const CAUSE_CHARS_MAX: usize = 32_768;
/// The longest a Wait, a timeout or a retry interval may last, in seconds.
pub const SECONDS_MAX: i64 = 99_999_999;
/// Iterations of an inline Map that run at once.
pub const INLINE_CONCURRENCY_MAX: usize = 40;
/// Child executions of a distributed Map that run at once, when nothing else is said.
pub const DISTRIBUTED_CONCURRENCY: u32 = 10_000;
/// One variable, or all of one Assign, in bytes.
pub const ASSIGN_BYTES_MAX: usize = 262_144;
/// All variables of an execution, in bytes.
pub const VARIABLES_BYTES_MAX: usize = 10 * 1_048_576;
/// States entered within one call of `next`, after which it yields so that an endless loop of Pass
/// states does not hold a thread.
pub const STATES_PER_STEP_MAX: usize = 500;
/// Units of [`crate::fuel`] burnt within one call of `next`, after which it yields, too: as much as
/// one JSONata expression may take in steps.
pub const FUEL_PER_STEP_MAX: u64 = 5_000_000;
/// Units of [`crate::fuel`] that one call of `next` may burn at all, in a state of many expressions:
/// about ten seconds. The expression that is to come then fails its state.
pub const FUEL_SPENT_MAX: u64 = 100_000_000;
