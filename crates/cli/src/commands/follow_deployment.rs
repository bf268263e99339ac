//! Following a deployment to its end: `deploy`, `rollback` and `start` all wait here.
//!
//! The server does the work; this only looks. Events wake it (and are the log of a run without a
//! terminal), the deployment itself is read for what is shown. A server that is restarted in the
//! middle is waited for; ^C leaves the deployment running and says how to come back.

use std::time::Duration;

use ark_model::api::{DeploymentView, Remedy, TrafficView};
use ark_model::event::{Event, EventKind};
use ark_model::exit::ExitCode;
use ark_model::rollout::AsksFor;
use ark_model::{AppName, DeploymentState, EnvName};
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::client::follow::Follow;
use crate::client::{Client, is_passing};
use crate::context::Context;
use crate::failure::{Ended, Exit, Failure};
use crate::output::block::Block;
use crate::output::lines::wrap_remedies;
use crate::output::rollout::question;
use crate::output::{Output, deployment, times};

/// How often the deployment is read where it is drawn in place.
const LOOK_LIVE: Duration = Duration::from_millis(250);
/// How often otherwise: events say what happens in between.
const LOOK_LOG: Duration = Duration::from_secs(2);
/// After this time without news a log says where it stands, so that nobody thinks it hangs.
const STILL_THERE: Duration = Duration::from_secs(30);
/// How long the server may be away.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is shown at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The deployment as data: `deploy`, `rollback`.
    Data,
    /// Words only: `start` deploys several.
    Words,
    /// As data, and it need not be awaited while it waits for a person: `ci`.
    Begun,
    /// The deployment was to end: `abort`. Success is that it did not become live.
    Aborted,
}

/// Follows a deployment and ends with its exit code; for [`Ending::Begun`] also when it waits for a
/// person, and is not over.
pub(crate) async fn follow(context: &Context, first: DeploymentView, ending: Ending) -> Ended {
    Ok(follow_to(context, first, ending).await?.0)
}

/// The same, and whether it is over.
pub(crate) async fn follow_to(
    context: &Context,
    first: DeploymentView,
    ending: Ending,
) -> Result<(Exit, bool), Failure> {
    let id = first.id.to_string();
    let mut shown = Shown::new(context.out);
    let over = tokio::select! {
        over = watch(&context.client, first, &mut shown, ending) => over,
        signal = tokio::signal::ctrl_c() => {
            return match signal {
                Ok(()) => Ok((left(context, shown.last.as_ref(), &id), false)),
                Err(error) => Err(Failure::new(
                    ExitCode::Failed,
                    "signals",
                    format!("signals cannot be received: {error}"),
                )),
            };
        }
    };
    match over {
        Ok(view) if !view.state.is_terminal() => {
            waits(context, &view)?;
            Ok((Exit::DONE, false))
        }
        Ok(view) => Ok((finish(context, &view, ending).await?, true)),
        Err(failure) => Err(failure
            .detail("the deployment goes on in the server")
            .remedy("come back", format!("ark receipt {id}"))),
    }
}

/// Looks until it is over.
async fn watch(
    client: &Client,
    first: DeploymentView,
    shown: &mut Shown,
    ending: Ending,
) -> Result<DeploymentView, Failure> {
    let id = first.id.to_string();
    // From the first event of this deployment on: what happened before the stream began counts.
    let query = vec![("deployment".to_owned(), id.clone()), ("after".to_owned(), "0".to_owned())];
    let mut events = Follow::new(client, "/v1/events/stream".to_owned(), query, PATIENCE);
    let mut looks = interval(if shown.out.live { LOOK_LIVE } else { LOOK_LOG });
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    shown.begin(&first);
    let mut lost: Option<Instant> = None;
    loop {
        tokio::select! {
            message = events.next() => match message {
                Ok(message) => shown.event(&message.event, &message.data),
                // The stream has been patient for as long as this would be.
                Err(failure) => return Err(failure),
            },
            _ = looks.tick() => {}
        }
        match client.deployment(&id).await {
            Ok(view) => {
                lost = None;
                let traffic = shown.traffic(client, &view).await;
                shown.draw(&view, traffic.as_ref());
                if view.state.is_terminal() {
                    drain_events(&mut events, shown).await;
                    return Ok(view);
                }
                if ending == Ending::Begun
                    && let Some(asking) = asking(client, &view).await
                {
                    shown.clear();
                    return Ok(asking);
                }
            }
            Err(failure) if is_passing(&failure) => {
                let since = *lost.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE {
                    return Err(failure);
                }
                shown.lost(since, &failure);
                sleep(LOOK_LIVE).await;
                client.rediscover();
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// The deployment for which a person must speak before this one goes on: itself, or the one before it
/// in the queue of its app.
async fn asking(client: &Client, view: &DeploymentView) -> Option<DeploymentView> {
    let asks = |view: &DeploymentView| view.rollout.as_ref().is_some_and(|r| r.asks.is_some());
    if view.state != DeploymentState::Queued {
        return asks(view).then(|| view.clone());
    }
    // What cannot be told now is asked again with the next look.
    let before = client.app(&view.env, &view.app).await.ok()?.row.running_deployment?;
    let before = client.deployment(&before.id.to_string()).await.ok()?;
    (before.id != view.id && asks(&before)).then_some(before)
}

/// The last events may still be on their way when the deployment is seen to be over.
async fn drain_events(events: &mut Follow<'_>, shown: &mut Shown) {
    while !shown.finished {
        match tokio::time::timeout(Duration::from_secs(1), events.next()).await {
            Ok(Ok(message)) => shown.event(&message.event, &message.data),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// What has been shown so far.
struct Shown {
    out: Output,
    block: Option<Block>,
    last: Option<DeploymentView>,
    last_seq: u64,
    said_at: Instant,
    said_lost: bool,
    /// Whether the event of the end was seen.
    finished: bool,
}

impl Shown {
    fn new(out: Output) -> Self {
        let block = (out.live && !out.json).then(Block::default);
        Self {
            out,
            block,
            last: None,
            last_seq: 0,
            said_at: Instant::now(),
            said_lost: false,
            finished: false,
        }
    }

    fn begin(&mut self, view: &DeploymentView) {
        if self.block.is_none() {
            let facts = deployment::release_facts(view);
            self.out.event(view.created_at, &format!("{}   {facts}", deployment::title(view)));
        }
        self.last = Some(view.clone());
    }

    fn event(&mut self, kind: &str, data: &str) {
        let Ok(event) = serde_json::from_str::<Event>(data) else { return };
        if kind != "event" || event.seq <= self.last_seq {
            return;
        }
        self.last_seq = event.seq;
        self.finished |= event.kind == EventKind::DeploymentFinished;
        self.said_at = Instant::now();
        if self.out.json {
            // A value that was just read can be written.
            let _ = self.out.value(&event);
        } else if self.block.is_none() {
            self.out.event(event.at, &event.text);
        }
    }

    /// What the app serves now; only where it is shown.
    async fn traffic(&self, client: &Client, view: &DeploymentView) -> Option<TrafficView> {
        self.block.as_ref()?;
        client.app(&view.env, &view.app).await.ok()?.row.traffic
    }

    fn draw(&mut self, view: &DeploymentView, traffic: Option<&TrafficView>) {
        self.said_lost = false;
        let now = Timestamp::now();
        if let Some(block) = &mut self.block {
            if view.state.is_terminal() {
                block.draw(&[]);
            } else {
                block.draw(&deployment::block(view, traffic, now, self.out.talk_style));
            }
        } else if self.said_at.elapsed() >= STILL_THERE {
            self.said_at = Instant::now();
            self.out.event(now, &deployment::progress_line(view, now));
        }
        self.last = Some(view.clone());
    }

    /// Takes away what is drawn in place.
    fn clear(&mut self) {
        if let Some(block) = &mut self.block {
            block.draw(&[]);
        }
    }

    fn lost(&mut self, since: Instant, failure: &Failure) {
        let away = times::age(since.elapsed().as_secs() * 1_000);
        if let (Some(block), Some(view)) = (&mut self.block, &self.last) {
            let now = Timestamp::now();
            let mut lines = deployment::block(view, None, now, self.out.talk_style);
            lines.push(format!("  – the server does not answer for {away}; trying again"));
            block.draw(&lines);
        } else if !std::mem::replace(&mut self.said_lost, true) {
            self.out.event(Timestamp::now(), &format!("{}; trying again", failure.headline));
        }
    }
}

/// Prints what a person is asked.
fn waits(context: &Context, view: &DeploymentView) -> Result<(), Failure> {
    let Some(asks) = view.rollout.as_ref().and_then(|rollout| rollout.asks.as_ref()) else {
        return Ok(());
    };
    if context.out.json {
        return context.out.value(view);
    }
    let what = match asks.what {
        AsksFor::Approval => "approval",
        AsksFor::Promotion | AsksFor::Judgement | AsksFor::Resumption => "a person",
    };
    let answers = question(view, asks.what);
    context.out.text(&format!(
        "{} {} in {} waits for {what}: {answers}",
        view.app, view.release, view.env
    ));
    Ok(())
}

/// Prints how it ended.
async fn finish(context: &Context, view: &DeploymentView, ending: Ending) -> Ended {
    let out = context.out;
    let succeeded = view.state == DeploymentState::Succeeded;
    if out.json && ending != Ending::Words {
        out.value(view)?;
    }
    match (ending, succeeded) {
        (Ending::Aborted, false) => {
            if !out.json {
                out.text(&deployment::aborted(view, out.style));
            }
            Ok(Exit::DONE)
        }
        (Ending::Aborted, true) => Err(Failure::new(
            ExitCode::Conflict,
            "deployment-finished",
            format!("{} was live already and has succeeded", view.release),
        )
        .remedy("go back", format!("ark rollback {} -e {}", view.app, view.env))),
        (Ending::Data | Ending::Begun | Ending::Words, true) => {
            if !out.json {
                let urls = urls(&context.client, &view.env, &view.app).await;
                out.text(&deployment::succeeded(view, &urls, out.style));
            }
            Ok(Exit::DONE)
        }
        (Ending::Data | Ending::Begun | Ending::Words, false) => {
            if !out.json {
                out.warn(deployment::unsuccessful(view, out.talk_style));
            }
            let exit = view.state.exit_code().unwrap_or(ExitCode::Failed);
            Err(Failure::silent(exit.into()))
        }
    }
}

/// Where an app is reached; nothing when the server does not say.
pub(crate) async fn urls(client: &Client, env: &EnvName, app: &AppName) -> Vec<String> {
    let detail = client.app(env, app).await;
    detail.map(|d| d.addresses.into_iter().map(|a| a.url).collect()).unwrap_or_default()
}

/// What is said on ^C.
fn left(context: &Context, view: Option<&DeploymentView>, id: &str) -> Exit {
    let out = context.out;
    let what = view.map_or_else(
        || "the deployment".to_owned(),
        |view| format!("the deployment of {} {} to {}", view.app, view.release, view.env),
    );
    out.warn(format!("{what} goes on in the server   exit {}", ExitCode::Detached.number()));
    let remedy = |label: &str, command: String| Remedy { label: label.to_owned(), command };
    let next = [
        remedy("look", "ark deployments".to_owned()),
        remedy("result", format!("ark receipt {id}")),
        remedy("end it", format!("ark abort {id}")),
    ];
    for line in wrap_remedies(&next, out.talk_style.width) {
        out.warn(format!("  {line}"));
    }
    ExitCode::Detached.into()
}
