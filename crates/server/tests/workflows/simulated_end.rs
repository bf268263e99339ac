//! The end of a simulation: nothing breaks any more, all that is open is done, what did not succeed is
//! redriven, and what there is then is held against what was acknowledged.

use std::task::{Context, Waker};

use ark_model::workflow::ExecutionStatus;
use ark_server::workflows::{ExecutionView, ListExecutions, PageRequest};
use ark_server::world::Clock as _;
use jiff::SignedDuration;

use crate::replay;
use crate::simulated_maps;
use crate::simulation::{MACHINES, Simulation, block, life, machine_arn};

/// How often a redrive is asked for again that children of the last try hold up.
const REDRIVE_TRIES: u32 = 50;

impl Simulation {
    /// Nothing breaks any more: workers do all there is.
    pub(crate) fn settle(&mut self) {
        self.calls.clear();
        self.objects.heal();
        self.lives += 1;
        let (wf, driver) = life(&self.store, &self.clock, &self.objects, self.lives, self.fuel);
        (self.wf, self.driver) = (wf, driver);
        self.work_until_all_ended();
    }

    fn work_until_all_ended(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..400 {
            for _ in 0..60 {
                let _ = self.driver.as_mut().poll(&mut context);
            }
            let held = std::mem::take(&mut self.ledger.lock().unwrap().held);
            for (token, input) in held {
                if block(self.wf.task_succeeded(&token, input)).is_ok() {
                    *self.ledger.lock().unwrap().results.entry(token).or_default() += 1;
                }
            }
            self.work_all(&self.express);
            self.work_all(&self.activity);
            let left = block(self.store.read(|tx| {
                let busy = tx.busy_map_runs(0, 1)?.len() as u64;
                Ok::<_, ark_store::StoreError>(tx.open_execution_count()? + busy)
            }));
            if left.unwrap() == 0 {
                break;
            }
            self.clock.advance(SignedDuration::from_secs(2));
        }
    }

    /// All that ended and did not succeed goes on, and nothing breaks any more: it must succeed.
    pub(crate) fn redrive_all(&mut self, found: &mut Vec<String>) {
        let mut redriven = Vec::new();
        for seen in self.executions() {
            if matches!(seen.status, ExecutionStatus::Succeeded) || seen.map_run_arn.is_some() {
                continue;
            }
            let arn = seen.arn;
            let mut asked = 0;
            loop {
                match block(self.wf.redrive_execution(&arn, None)) {
                    Ok(_) => break redriven.push(arn),
                    Err(error) if asked == REDRIVE_TRIES => {
                        break found.push(format!("{arn} cannot be redriven: {error}"));
                    }
                    Err(_) => {}
                }
                asked += 1;
                self.work_until_all_ended();
            }
        }
        self.work_until_all_ended();
        for arn in redriven {
            self.cover("all redriven and ended well");
            let seen = block(self.wf.describe_execution(&arn)).unwrap();
            if seen.status != ExecutionStatus::Succeeded {
                found.push(format!("{arn} was redriven, and then: {seen:?}"));
            }
        }
    }

    /// Does all the tasks that an activity has now.
    fn work_all(&self, activity: &str) {
        let now = self.clock.now();
        while let Ok(Some(task)) = block(self.wf.poll_activity(activity, None, now)) {
            let (token, input) = (task.token.clone(), task.input.clone());
            task.delivered();
            let done = block(self.wf.task_succeeded(&token, input)).is_ok();
            let mut ledger = self.ledger.lock().unwrap();
            if activity == self.express {
                ledger.express.insert(token.clone());
            }
            if done {
                *ledger.results.entry(token).or_default() += 1;
            }
        }
    }

    pub(crate) fn judge(&mut self) -> Vec<String> {
        let mut found = std::mem::take(&mut self.ledger.lock().unwrap().violations);
        let ledger = self.ledger.clone();
        let ledger = ledger.lock().unwrap();
        for (arn, input) in &ledger.started {
            match block(self.wf.describe_execution(arn)) {
                Ok(seen) if seen.input == *input => {}
                Ok(seen) => found.push(format!("{arn} has the input {}", seen.input)),
                Err(error) => found.push(format!("{arn} was acknowledged and is lost: {error}")),
            }
        }
        for arn in &ledger.stopped {
            let seen = block(self.wf.describe_execution(arn)).unwrap();
            if !seen.status.is_ended() {
                found.push(format!("{arn} was stopped and runs"));
            }
        }
        if let Some((token, times)) = ledger.results.iter().find(|(_, times)| **times > 1) {
            found.push(format!("task {token} was completed {times} times"));
        }
        let mut completed = 0;
        for seen in self.executions() {
            completed += self.judge_one(&seen, &mut found);
            if seen.status.is_ended() {
                let judged = simulated_maps::judge(&self.wf, &self.objects, &seen, &mut found);
                block(judged).unwrap();
            }
        }
        // Every acknowledged result is in a history, and every result in a history was given once.
        let kept = ledger.results.iter().filter(|(token, _)| !ledger.express.contains(*token));
        let acknowledged: u32 = kept.map(|(_, times)| times).sum();
        if block(self.store.read(ark_store::ReadTx::open_execution_count)).unwrap() > 0 {
            found.push("an execution never ended".to_owned());
        }
        // What waits in an inbox behind that which ends its execution counts for nothing, though it goes on later.
        let well =
            |e: &ExecutionView| e.status == ExecutionStatus::Succeeded && e.redrive_count == 0;
        let all_well = || ledger.stopped.is_empty() && self.executions().iter().all(well);
        if completed < acknowledged && (self.fuel > 0 || all_well()) {
            found.push(format!("{acknowledged} results acknowledged, {completed} in histories"));
        }
        found
    }

    /// All executions, children of map runs and theirs, too.
    fn executions(&self) -> Vec<ExecutionView> {
        let mut all = self.started_executions();
        let mut at = 0;
        while let Some(arn) = all.get(at).map(|seen| seen.arn.clone()) {
            for run in block(simulated_maps::runs_of(&self.wf, &arn)).unwrap() {
                all.extend(block(simulated_maps::children_of(&self.wf, &run)).unwrap());
            }
            at += 1;
        }
        all
    }

    fn started_executions(&self) -> Vec<ExecutionView> {
        let of = |name: &str| {
            let list = ListExecutions {
                machine_arn: Some(machine_arn(name)),
                page: PageRequest { max_results: 1_000, next_token: None },
                ..ListExecutions::default()
            };
            block(self.wf.list_executions(list)).unwrap().items
        };
        MACHINES.into_iter().flat_map(of).collect()
    }

    /// Every row is the fold of its history, running or ended.
    pub(crate) fn replay_all(&self, found: &mut Vec<String>) {
        let waiting = block(self.store.read(|tx| tx.executions_with_events(0, 1))).unwrap();
        if !waiting.is_empty() {
            self.cover("event waits in an inbox");
        }
        for seen in self.started_executions() {
            let arn = &seen.arn;
            let seen = block(self.wf.describe_execution(arn)).unwrap();
            let Some(definition) = self.definitions.get(&seen.machine_arn) else { continue };
            let page = PageRequest { max_results: 1_000, next_token: None };
            let events = block(self.wf.events(arn, page, false)).unwrap().items;
            let id = seen.id;
            let row = block(self.store.read(move |tx| tx.execution(id))).unwrap().unwrap();
            match replay::agrees(definition, &seen, &row, &events) {
                Ok(()) if row.status.is_ended() => self.cover("ended row replayed"),
                Ok(()) => self.cover("running row replayed"),
                Err(why) => found.push(format!("{arn}: {why}")),
            }
        }
    }

    /// Notes what became of map runs.
    pub(crate) fn cover_maps(&self) {
        for failure in self.objects.failures() {
            self.cover(failure);
        }
        for seen in self.executions() {
            for run in block(simulated_maps::runs_of(&self.wf, &seen.arn)).unwrap() {
                self.cover("map run ended");
                if run.redrive_count > 0 {
                    self.cover("map run redriven");
                }
                if run.executions.failed > 0 {
                    self.cover("failed child tolerated");
                }
            }
            if seen.map_run_arn.is_some() {
                self.cover(match seen.status {
                    ExecutionStatus::Succeeded => "child of a map run succeeded",
                    ExecutionStatus::Aborted => "child of a map run aborted",
                    ExecutionStatus::TimedOut => "child of a map run timed out",
                    _ => "child of a map run failed",
                });
            }
        }
    }

    /// Answers how many results its history holds.
    fn judge_one(&self, seen: &ExecutionView, found: &mut Vec<String>) -> u32 {
        let page = PageRequest { max_results: 1_000, next_token: None };
        let events = block(self.wf.events(&seen.arn, page, false)).unwrap().items;
        let arn = &seen.arn;
        if !seen.status.is_ended() {
            found.push(format!("{arn} never ended"));
        }
        for (event, id) in events.iter().zip(1..) {
            if event.id != id || event.previous_event_id >= id {
                found.push(format!("{arn}: event {} where {id} belongs", event.id));
            }
        }
        // It ended as its last event says, and once for its start and for each redrive.
        let last = events.last().map(|event| event.kind.name());
        let expected = match seen.status {
            ExecutionStatus::Succeeded => "ExecutionSucceeded",
            ExecutionStatus::Failed => "ExecutionFailed",
            ExecutionStatus::TimedOut => "ExecutionTimedOut",
            ExecutionStatus::Aborted => "ExecutionAborted",
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive => return 0,
        };
        if last != Some(expected) {
            found.push(format!("{arn} is {:?} and its history ends with {last:?}", seen.status));
        }
        let all = |names: &[&str]| events.iter().filter(|e| names.contains(&e.kind.name())).count();
        let ends = all(&[
            "ExecutionSucceeded",
            "ExecutionFailed",
            "ExecutionTimedOut",
            "ExecutionAborted",
        ]);
        if ends != 1 + all(&["ExecutionRedriven"]) {
            found.push(format!("{arn} ended {ends} times"));
        }
        let output = events.last().and_then(|e| e.details.output.as_deref().map(str::to_owned));
        if output != seen.output {
            found.push(format!("{arn}: output {:?}, history {output:?}", seen.output));
        }
        // No task is scheduled, started or ended more often than once per attempt.
        let count = |names: &[&str]| u32::try_from(all(names)).unwrap();
        let scheduled = count(&["ActivityScheduled"]);
        let over = count(&["ActivitySucceeded", "ActivityFailed", "ActivityTimedOut"]);
        if over > scheduled || count(&["ActivityStarted"]) > scheduled {
            found.push(format!("{arn}: {scheduled} tasks scheduled, {over} ended"));
        }
        count(&["ActivitySucceeded", "ActivityFailed"])
    }
}
