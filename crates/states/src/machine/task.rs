//! Task states: scheduling, and the events of the three families of resources.

use std::sync::Arc;

use super::Refused;
use super::effect::{Effect, TaskId, TaskRequest};
use super::evaluate::Evaluated;
use super::event::TaskTimeout;
use super::failure::Origin;
use super::frame::{Doing, FrameId};
use super::run::{Extra, Run};
use super::states::{limited, too_large};
use crate::definition::{FieldError, StateKind, Task};
use crate::error::{Failure, names};
use crate::history::{Details, EventType};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::resource::{Pattern, Resource};
use crate::value::{DEPTH_MAX, Document, Value};

/// What happens to a task; each family of resources has its own event for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Scheduled,
    Started,
    Submitted,
    Succeeded,
    Failed,
    TimedOut,
}

fn event_type(resource: &Resource, stage: Stage) -> EventType {
    match (resource, stage) {
        (Resource::Activity(_), Stage::Scheduled) => EventType::ActivityScheduled,
        (Resource::Activity(_), Stage::Started) => EventType::ActivityStarted,
        (Resource::Activity(_), Stage::Succeeded) => EventType::ActivitySucceeded,
        (Resource::Activity(_), Stage::Failed) => EventType::ActivityFailed,
        (Resource::Activity(_), Stage::TimedOut) => EventType::ActivityTimedOut,
        (Resource::Lambda(_), Stage::Scheduled) => EventType::LambdaFunctionScheduled,
        (Resource::Lambda(_), Stage::Started) => EventType::LambdaFunctionStarted,
        (Resource::Lambda(_), Stage::Succeeded) => EventType::LambdaFunctionSucceeded,
        (Resource::Lambda(_), Stage::Failed) => EventType::LambdaFunctionFailed,
        (Resource::Lambda(_), Stage::TimedOut) => EventType::LambdaFunctionTimedOut,
        (Resource::Service { .. }, Stage::Scheduled) => EventType::TaskScheduled,
        (Resource::Service { .. }, Stage::Started) => EventType::TaskStarted,
        (_, Stage::Submitted) => EventType::TaskSubmitted,
        (Resource::Service { .. }, Stage::Succeeded) => EventType::TaskSucceeded,
        (Resource::Service { .. }, Stage::Failed) => EventType::TaskFailed,
        (Resource::Service { .. }, Stage::TimedOut) => EventType::TaskTimedOut,
    }
}

/// The details every event of a service task carries.
fn base_details(resource: &Resource) -> Details {
    match resource {
        Resource::Activity(_) | Resource::Lambda(_) => Details::default(),
        Resource::Service { service, action, .. } => Details {
            resource: Some(action.clone()),
            resource_type: Some(service.clone()),
            ..Details::default()
        },
    }
}

impl Run<'_> {
    pub(super) fn task(&mut self, id: FrameId, task: &Task) -> Evaluated<()> {
        let number = TaskId(self.new_id());
        // Recorded: only a task that waits for its token sees it.
        let sees_token =
            matches!(task.resource, Resource::Service { pattern: Pattern::WaitForTaskToken, .. });
        let extra = Extra { task: sees_token.then_some(number), item: None };
        let (input, timeout, heartbeat, credentials) = self.evaluating(id, &extra, |eval| {
            let effective = eval.effective_input()?;
            let input = eval.parameters(&effective)?;
            let timeout = eval.seconds(task.timeout.as_ref(), "TimeoutSeconds", &effective)?;
            let heartbeat =
                eval.seconds(task.heartbeat.as_ref(), "HeartbeatSeconds", &effective)?;
            let credentials = task
                .credentials
                .as_ref()
                .map(|template| eval.template(template, "Credentials", &effective))
                .transpose()?;
            Ok((input, timeout, heartbeat, credentials))
        })?;
        let frame = self.frame(id);
        let (previous, retry_count, at) = (frame.previous, frame.retry_count, frame.at);
        let Some(name) = self.definition.state(at).map(|state| state.name.clone()) else {
            return Ok(());
        };
        let input = limited(input, &name)?;
        if let Some(cause) = self.env.host.refusal(&task.resource) {
            return Err(FieldError::runtime(cause));
        }
        let role = credentials.as_ref().and_then(|value: &Value| value.get("RoleArn")?.as_str());
        let mut details = Details {
            timeout_in_seconds: timeout,
            heartbeat_in_seconds: heartbeat,
            task_credentials_role_arn: role.map(Arc::from),
            ..base_details(&task.resource)
        };
        match &task.resource {
            Resource::Activity(text) => {
                details.resource = Some(text.clone());
                details.input = Some(input.text().clone());
            }
            Resource::Lambda(text) => {
                details.resource = Some(text.clone());
                details.input = Some(input.text().clone());
                details.heartbeat_in_seconds = None;
            }
            Resource::Service { .. } => {
                details.parameters = Some(input.text().clone());
                let region =
                    self.env.execution.state_machine_arn.split(':').nth(3).unwrap_or_default();
                details.region = Some(region.into());
            }
        }
        let event = self.record(event_type(&task.resource, Stage::Scheduled), previous, details);
        let frame = self.frame(id);
        frame.previous = event;
        frame.doing = Doing::Task { task: number };
        self.step.effects.push(Effect::ScheduleTask(Box::new(TaskRequest {
            task: number,
            state: name,
            resource: task.resource.clone(),
            input,
            scheduled: event,
            timeout_seconds: timeout,
            heartbeat_seconds: heartbeat,
            credentials,
            retry_count,
        })));
        Ok(())
    }

    /// The frame that waits for a task, and the resource.
    fn waiting_for(&self, task: TaskId) -> Result<(FrameId, &Resource), Refused> {
        let waits =
            |doing: &Doing| matches!(doing, Doing::Task { task: waited } if *waited == task);
        let (id, frame) = self
            .state
            .frames
            .iter()
            .find(|(_, frame)| waits(&frame.doing))
            .ok_or(Refused::NotWaitedFor)?;
        match self.definition.state(frame.at).map(|state| &state.kind) {
            Some(StateKind::Task(task)) => Ok((*id, &task.resource)),
            _ => Err(Refused::NotWaitedFor),
        }
    }

    fn task_event(&mut self, id: FrameId, resource: &Resource, stage: Stage, details: Details) {
        let previous = self.frame(id).previous;
        let event = self.record(event_type(resource, stage), previous, details);
        self.frame(id).previous = event;
    }

    pub(super) fn task_started(
        &mut self,
        task: TaskId,
        worker: Option<String>,
    ) -> Result<(), Refused> {
        let (id, resource) = self.waiting_for(task)?;
        let resource = resource.clone();
        let mut details = base_details(&resource);
        if matches!(resource, Resource::Activity(_)) {
            details.worker_name = worker.map(Arc::from);
        }
        self.task_event(id, &resource, Stage::Started, details);
        Ok(())
    }

    pub(super) fn task_submitted(
        &mut self,
        task: TaskId,
        output: &Document,
    ) -> Result<(), Refused> {
        let (id, resource) = self.waiting_for(task)?;
        let resource = resource.clone();
        if matches!(resource, Resource::Service { .. }) {
            let details =
                Details { output: Some(output.text().clone()), ..base_details(&resource) };
            self.task_event(id, &resource, Stage::Submitted, details);
        }
        Ok(())
    }

    pub(super) fn task_succeeded(
        &mut self,
        task: TaskId,
        output: &Document,
    ) -> Result<(), Refused> {
        let (id, resource) = self.waiting_for(task)?;
        let resource = resource.clone();
        if output.size_bytes() > PAYLOAD_BYTES_MAX || output.value().depth() > DEPTH_MAX {
            let name = match &resource {
                Resource::Activity(text) | Resource::Lambda(text) => text,
                Resource::Service { service, .. } => service,
            };
            let error = too_large(name);
            return self.task_failed(task, Failure::new(error.error, error.cause));
        }
        let details = Details { output: Some(output.text().clone()), ..base_details(&resource) };
        self.task_event(id, &resource, Stage::Succeeded, details);
        if let Err(error) = self.leave_work(id, output.value()) {
            self.state_error(id, error);
        }
        Ok(())
    }

    pub(super) fn task_failed(&mut self, task: TaskId, failure: Failure) -> Result<(), Refused> {
        let (id, resource) = self.waiting_for(task)?;
        let resource = resource.clone();
        let details = Details {
            error: failure.error.clone(),
            cause: failure.cause.clone(),
            ..base_details(&resource)
        };
        self.task_event(id, &resource, Stage::Failed, details);
        self.failed(id, failure, Origin::Work);
        Ok(())
    }

    pub(super) fn task_timed_out(
        &mut self,
        task: TaskId,
        timeout: TaskTimeout,
    ) -> Result<(), Refused> {
        let (id, resource) = self.waiting_for(task)?;
        let resource = resource.clone();
        let error = match timeout {
            TaskTimeout::Total => names::TIMEOUT,
            TaskTimeout::Heartbeat => names::HEARTBEAT_TIMEOUT,
        };
        let failure = Failure { error: Some(error.into()), cause: None };
        let details = Details { error: failure.error.clone(), ..base_details(&resource) };
        self.task_event(id, &resource, Stage::TimedOut, details);
        // The worker may still hold it: its token must die.
        self.step.effects.push(Effect::CancelTask { task });
        self.failed(id, failure, Origin::Work);
        Ok(())
    }
}
