//! Starting an execution: whether its name is taken, its row, its first step. Part of the step: it
//! runs on the store's writer and must not wait for anything.

use std::sync::atomic::Ordering;

use ark_model::workflow::ExecutionStatus;
use ark_states::definition::ScopeId;
use ark_states::machine::{Event, ExecutionState};
use ark_store::{ExecutionKind, ExecutionRow, StoreError};

use super::{Begun, EXPRESS_MAX, Loaded, StartSpec, Stepper, after, info, timers};
use crate::workflows::error::{Refusal, WorkflowError};
use crate::workflows::facts::{Facts, Parent};
use crate::workflows::names as machine_names;

impl Stepper<'_> {
    /// Starts an execution and takes its first step.
    ///
    /// # Errors
    /// `ExecutionAlreadyExists`, `InvalidName`, `ExecutionLimitExceeded`.
    pub(in crate::workflows) fn start(&mut self, spec: StartSpec) -> Result<Begun, WorkflowError> {
        let begun = self.begin(spec)?;
        if begun.fresh {
            self.apply(begun.id, &Event::Start)?;
        }
        Ok(begun)
    }

    /// As [`Self::start`], but leaves the first step to the caller.
    pub(in crate::workflows) fn begin(&mut self, spec: StartSpec) -> Result<Begun, WorkflowError> {
        if let Some(name) = &spec.name {
            machine_names::check(name)?;
            if spec.kind == ExecutionKind::Standard
                && let Some(begun) = self.started_before(&spec, name)?
            {
                return Ok(begun);
            }
        }
        if self.shared.full.load(Ordering::Relaxed) {
            return Err(Refusal::ExecutionLimitExceeded
                .with("The limit of open executions is reached: wait until some have ended."));
        }
        let entropy = &self.shared.entropy;
        let program = self.shared.programs.get(self.tx, spec.target.revision)?;
        let name = spec.name.unwrap_or_else(|| entropy.uuid().to_string());
        let name = match spec.kind {
            ExecutionKind::Standard => name,
            // Names of Express executions are not unique; `:` is in no name.
            ExecutionKind::Express | ExecutionKind::Sync => format!("{name}:{}", entropy.uuid()),
        };
        let secret = format!("{:016x}{:016x}", entropy.bits(), entropy.bits());
        let id = self.next_id()?;
        let (map_run, scope) = match &spec.parent {
            Some(Parent::Item { map_run, scope, .. }) => (Some(*map_run), ScopeId(*scope)),
            Some(Parent::Task { .. }) | None => (None, ScopeId(0)),
        };
        let facts = Facts {
            secret,
            input: self.keep_text(id, &spec.input)?,
            trace_header: spec.trace_header,
            version_arn: spec.target.version_arn,
            alias_arn: spec.target.alias_arn,
            priority: spec.priority,
            namespace: spec.namespace,
            parent: spec.parent,
            ..Facts::default()
        };
        let row = ExecutionRow {
            id,
            machine: spec.target.machine,
            revision: spec.target.revision,
            name: name.clone(),
            kind: spec.kind,
            status: ExecutionStatus::Running,
            started_at: self.now,
            stopped_at: None,
            map_run,
            rev: 0,
            events: 0,
            body: String::new(),
            state: None,
        };
        let info = info(&program, &row, &facts, spec.input);
        let arn = info.arn.to_string();
        let begun = Begun { id, arn, started_at: self.now, fresh: true };
        self.named.insert((row.machine, name), id);
        let express = spec.kind != ExecutionKind::Standard
            || matches!(&facts.parent, Some(Parent::Item { express: true, .. }));
        let loaded = Loaded {
            row,
            facts,
            program,
            info,
            state: ExecutionState::new_child(scope),
            history: Vec::new(),
            fresh: true,
            touched: true,
        };
        self.loaded.insert(id, Box::new(loaded));
        if express {
            self.set_timer(id, timers::EXECUTION, 0, after(self.now, EXPRESS_MAX))?;
        }
        Ok(begun)
    }

    fn started_before(
        &mut self,
        spec: &StartSpec,
        name: &str,
    ) -> Result<Option<Begun>, WorkflowError> {
        let known = match self.named.get(&(spec.target.machine, name.to_owned())) {
            Some(id) => Some(*id),
            None => {
                // Those of a deleted machine of that name, too: their ARN would be the same.
                let program = self.shared.programs.get(self.tx, spec.target.revision)?;
                self.tx.execution_by_names(&program.name, name)?.map(|row| row.id)
            }
        };
        let Some(id) = known else { return Ok(None) };
        let Some(before) = self.load(id)? else { return Ok(None) };
        let arn = before.info.arn.to_string();
        if before.row.status == ExecutionStatus::Running && before.info.input == spec.input {
            let started_at = before.row.started_at;
            return Ok(Some(Begun { id, arn, started_at, fresh: false }));
        }
        Err(Refusal::ExecutionAlreadyExists.with(format!("Execution Already Exists: '{arn}'")))
    }

    /// Closures run one after the other under the fencing token, so one counter in memory is
    /// enough; a transaction that is undone leaves a gap.
    fn next_id(&self) -> Result<u64, StoreError> {
        let last = &self.shared.last_execution;
        if last.load(Ordering::Relaxed) == 0 {
            last.store(self.tx.last_execution_id()?, Ordering::Relaxed);
        }
        Ok(last.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
