//! The durable workflow runtime.
//!
//! [`Workflows`] is the one handle by which executions are started, steered and looked at: the AWS
//! wire API, the REST API, schedules and the command line's routes all use it. The language itself
//! is `ark_states`, which is pure; here its effects meet the store.
//!
//! One rule carries everything: **a step is one closure on the store's writer**. It reads the
//! execution's row, lets the interpreter take the step, and writes the new state, the new history
//! and the work that follows (tasks, timers, children) in one transaction, under the controller's
//! fencing token. Many steps share one commit. Nothing is answered and no worker sees a task before
//! that commit. What is kept in memory are hints that save looking; losing them costs a
//! sweep, never a task.
//!
//! Who owns what:
//!
//! | file | what |
//! | --- | --- |
//! | `machines` | state machines: `impl Workflows`, no runtime |
//! | `versions` | their versions and aliases; which revision an ARN leads to |
//! | `definitions` | whether a definition may be run |
//! | `activities`, `tags` | `impl Workflows`, no runtime |
//! | `wire` | AWS's API in front of all of it |
//! | `manager` | what the workflow manager's REST API does with it |
//! | `executions`, `lists`, `history` | start, describe, stop, redrive; list; history |
//! | `tasks`, `task_logs` | handing work to workers and taking their answers; what workers wrote last |
//! | `step`, `effects`, `map_runs` | the step: one transaction of the interpreter and its effects |
//! | `map_files`, `map_results` | items of map runs from objects, results to objects |
//! | `thinking` | steps that cost too much for the writer, taken beside it |
//! | `jobs`, `http` | tasks that are runs of apps, and calls over HTTP |
//! | `queues` | priorities of the workflow manager's workflows |
//! | `schedules` | executions that the clock starts |
//! | `driver` | what nobody calls for: timers, sweeps, pruning |
//! | `hub`, `busy` | hints in memory; how busy workers are |
//! | `arn`, `error`, `types`, `names` | words of the contract |
//!
//! Must not know HTTP requests or the wire's JSON, but for `wire`, which knows nothing else.

pub mod arn;
pub mod error;
pub mod names;
pub mod types;

mod activities;
mod busy;
mod definitions;
pub mod driver;
mod effects;
mod executions;
mod facts;
mod functions;
mod history;
pub mod http;
mod hub;
mod jobs;
mod lists;
pub mod looking;
mod machines;
pub mod manager;
mod map_children;
mod map_files;
mod map_redrives;
mod map_results;
mod map_runs;
pub mod objects;
mod program;
mod queues;
mod resources;
pub mod s3;
mod schedules;
mod step;
mod tags;
mod task_logs;
mod tasks;
mod thinking;
mod versions;
pub mod wire;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ark_store::Store;

use crate::world::{CONTROLLER_LEASE, Clock, Fence};

use step::{Shared, Stepper};

pub use activities::ActivityView;
pub use arn::{Arn, Resource};
pub use definitions::{Diagnostic, Severity};
pub use error::{Refusal, WorkflowError};
pub use machines::{
    CreateMachine, CreatedMachine, Logging, MachineSummary, MachineView, Publishing, UpdateMachine,
    UpdatedMachine,
};
pub use types::{
    Ended, ExecutionView, HandedTask, HistoryPage, ListExecutions, MapRunView, Page, PageRequest,
    Redrivable, RedriveFilter, StartExecution, StartTarget, Started, UpdateMapRun,
};
pub use versions::{AliasView, Route, VersionView};

/// Randomness, as the runtime sees it: nonces of tokens, seeds of the interpreter, names.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Sixty-four fresh bits. Of cryptographic quality in the server, seeded in the simulator.
    fn bits(&self) -> u64;

    /// A fresh version 4 UUID.
    fn uuid(&self) -> uuid::Uuid {
        let bits = (u128::from(self.bits()) << 64) | u128::from(self.bits());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

/// The operating system's randomness.
#[derive(Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn bits(&self) -> u64 {
        rand::random()
    }
}

/// What the runtime acts on: parts of the server's world, replaced by the simulator.
#[derive(Clone, Debug)]
pub struct WorkflowWorld {
    /// What is recorded.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The fencing token under which every step is written.
    pub fence: Fence,
}

/// The handle of the runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workflows {
    pub(crate) world: WorkflowWorld,
    shared: Arc<Shared>,
    objects: Arc<dyn objects::Objects>,
    calls: Option<http::Calls>,
}

impl Workflows {
    /// A runtime on a store. Nothing goes on by itself before [`Workflows::run`] is polled.
    pub fn new(world: WorkflowWorld) -> Self {
        let shared = Arc::new(Shared::new(world.entropy.clone()));
        Self { world, shared, objects: Arc::new(objects::NoObjects), calls: None }
    }

    /// Gives distributed Maps a place to read items from and to write results to.
    pub fn with_objects(mut self, objects: Arc<dyn objects::Objects>) -> Self {
        self.objects = objects;
        self
    }

    /// Lets tasks call over HTTP.
    pub fn with_calls(mut self, calls: http::Calls) -> Self {
        self.calls = Some(calls);
        self
    }

    /// The units of fuel that selecting all items of a map run may cost; 500,000,000 if nothing is
    /// said.
    #[must_use]
    pub fn with_items_fuel(self, units: u64) -> Self {
        self.shared.items_fuel.store(units, std::sync::atomic::Ordering::Relaxed);
        self
    }

    /// Does long work where it is asked for instead of on other threads: a simulation has one thread.
    #[must_use]
    pub fn with_work_inline(self) -> Self {
        self.shared.inline.store(true, std::sync::atomic::Ordering::Relaxed);
        self
    }

    /// The most executions that may be open at once, looked at each minute; 1,000,000 if nothing is
    /// said.
    #[must_use]
    pub fn with_open_max(self, executions: u64) -> Self {
        self.shared.open_max.store(executions, std::sync::atomic::Ordering::Relaxed);
        self
    }

    /// The server ends: everybody who waits is answered empty, and [`Workflows::run`] returns.
    pub fn close(&self) {
        self.shared.hub.close();
    }

    /// Runs a closure on executions in one transaction, under the fencing token.
    fn transact<T, F>(
        &self,
        closure: F,
    ) -> impl Future<Output = Result<T, WorkflowError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&mut Stepper<'_>) -> Result<T, WorkflowError> + Send + 'static,
    {
        let (shared, clock, fence) =
            (self.shared.clone(), self.world.clock.clone(), self.world.fence);
        let store = self.world.store.clone();
        let listeners = self.shared.clone();
        async move {
            let written = store.write(move |tx| {
                tx.check_lease(CONTROLLER_LEASE, fence.token)?;
                let mut stepper = Stepper::new(tx, &shared, clock.now());
                let answer = closure(&mut stepper)?;
                stepper.drain()?;
                let told = stepper.write()?;
                Ok::<_, WorkflowError>((answer, told))
            });
            let (answer, told) = written.await?;
            listeners.hub.tell(told);
            Ok(answer)
        }
    }
}
