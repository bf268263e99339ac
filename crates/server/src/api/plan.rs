//! What a deployment would do, in words. Reads; changes nothing.

use std::collections::BTreeMap;

use ark_engine::Engine;
use ark_model::api::{PlanView, Remedy};
use ark_model::definition::{Definition, Strategy};
use ark_model::environment::EnvKind;
use ark_model::hook::{HookRun, HookStage, HookWhat};
use ark_model::release::{PinnedValue, ReleaseContent};
use ark_model::{AppName, EnvName, ReleaseNumber};
use ark_planner::Policy;
use ark_planner::freeze::frozen;
use ark_planner::policy::ReadyBy;
use ark_store::{ConfigVersion, ReadTx};
use jiff::Timestamp;

use super::error::ApiError;
use super::intents::{default_kind, frozen_problem};
use super::judge::{Wanted, check_rights, strategy};
use super::resolve::{missing_config, resolve};
use super::unenforced::Asked;
use super::{data_store, diff, find};

/// Releases among which one of the same content is looked for.
const RELEASES_COMPARED: usize = 200;

pub(super) fn plan(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
    asked: Option<Strategy>,
    engine: &dyn Engine,
    now: Timestamp,
) -> Result<PlanView, ApiError> {
    let kind = match tx.environment(env)? {
        Some(_) => find::active_environment(tx, env)?.kind,
        None => default_kind(env),
    };
    let state = tx.app_state(env, app)?;
    let live_number = state.as_ref().and_then(|state| state.live);
    let live = match live_number {
        Some(number) => tx.release(env, app, number)?,
        None => None,
    };
    let config = tx.config(env, app)?;
    let mut remedy = Vec::new();
    let mut refused = |error: ApiError| {
        let problem = error.into_problem();
        remedy.extend(problem.remedy);
        problem.detail
    };
    let mut refusals = Vec::new();
    if let Some(environment) = tx.environment(env)?
        && let Some(frozen) = frozen(&environment.freeze, now)
    {
        refusals.push(refused(frozen_problem(env, app, &frozen)));
    }
    if let Err(error) = data_store::check_place(tx, env, app, wanted) {
        refusals.push(refused(error));
    }
    if let Err(error) = check_rights(engine, env, app, wanted) {
        refusals.push(refused(error));
    }
    let strategy = strategy(asked, &wanted.definition, env);
    let (resolved, missing) = match resolve(env, app, &wanted.definition, &config) {
        Ok(resolved) => (resolved, Vec::new()),
        Err(missing) => {
            refused(missing_config(env, app, missing.clone()));
            (known_values(&wanted.definition, &config), missing)
        }
    };
    let content = ReleaseContent {
        artifact: wanted.artifact.clone(),
        definition: wanted.definition.clone(),
        config: resolved,
    };
    let (release, release_exists) = number(tx, env, app, &content)?;
    let before = live.map(|release| release.content);
    let scale = state.as_ref().and_then(|state| state.scale);
    let instances = scale.unwrap_or_else(|| wanted.definition.count());
    let changes = before.as_ref() != Some(&content);
    let compared = before.as_ref();
    let mut view = PlanView {
        env: env.clone(),
        app: app.clone(),
        changes,
        live: live_number,
        release,
        release_exists,
        strategy,
        instances,
        artifact: compared.and_then(|before| diff::artifact(before, &content)),
        config: compared.map(|before| diff::config(before, &content)).unwrap_or_default(),
        definition: compared.map(|before| diff::definition(before, &content)).unwrap_or_default(),
        steps: Vec::new(),
        not_enforced: Asked::of(&wanted.definition)
            .unenforced(engine.kind_for(&wanted.artifact), &engine.capabilities()),
        missing,
        refusals,
        remedy,
        warnings: wanted.warnings.clone(),
    };
    if changes || state.is_some_and(|state| state.stopped) {
        view.steps = steps(&view, &wanted.definition, kind);
    }
    dedup(&mut view.remedy);
    Ok(view)
}

fn dedup(remedy: &mut Vec<Remedy>) {
    let mut seen: Vec<Remedy> = Vec::new();
    remedy.retain(|one| {
        let new = !seen.contains(one);
        seen.push(one.clone());
        new
    });
}

/// What is configured of the declared names, when others are missing: enough for a comparison.
fn known_values(definition: &Definition, config: &ConfigVersion) -> BTreeMap<String, PinnedValue> {
    let value = |name: &String| match config.values.get(name) {
        Some(ark_store::ConfigValue::Plain { value }) => {
            Some(PinnedValue::Plain { value: value.clone() })
        }
        Some(ark_store::ConfigValue::Secret { version, .. }) => {
            Some(PinnedValue::Secret { version: *version })
        }
        None => {
            let default = definition.env_defaults.get(name)?;
            Some(PinnedValue::Plain { value: default.clone() })
        }
    };
    let names = definition.env.iter().chain(definition.env_defaults.keys());
    names.filter_map(|name| Some((name.clone(), value(name)?))).collect()
}

/// The number that a release of this content has, or would get.
fn number(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    content: &ReleaseContent,
) -> Result<(ReleaseNumber, bool), ApiError> {
    let digest = content.digest();
    let releases = tx.releases(env, app, None, RELEASES_COMPARED)?;
    if let Some(same) = releases.iter().find(|release| release.digest == digest) {
        return Ok((same.number, true));
    }
    let next = releases.first().map_or(1, |newest| newest.number.0 + 1);
    Ok((ReleaseNumber(next), false))
}

fn steps(view: &PlanView, definition: &Definition, kind: EnvKind) -> Vec<String> {
    let policy = Policy::of(definition, kind, view.strategy);
    let (new, wanted) = (view.release, view.instances);
    let mut steps = Vec::new();
    steps.push(match view.release_exists {
        true => format!("use release {new}, which has this content already"),
        false => format!("make release {new}"),
    });
    hooks(&mut steps, &policy, HookStage::PreDeploy);
    if wanted == 0 {
        steps.push("start nothing: 0 instances are wanted".to_owned());
    }
    let ready = match policy.readiness {
        ReadyBy::Probe if policy.min_healthy_time.is_zero() => "once it is ready".to_owned(),
        ReadyBy::Probe => {
            format!("once it has been ready for {}", seconds(policy.min_healthy_time))
        }
        ReadyBy::Running(time) => format!("once it has run for {}", seconds(time)),
    };
    let takes = match definition.expose.is_empty() {
        true => "counts",
        false => "gets traffic",
    };
    match view.live {
        None if wanted > 0 => {
            steps.push(format!("start {}; each {takes} {ready}", instances(wanted, new)));
        }
        Some(live) if wanted > 0 => {
            replacement(&mut steps, &policy, definition, (live, new), wanted, (takes, &ready));
        }
        None | Some(_) => {}
    }
    hooks(&mut steps, &policy, HookStage::PostDeploy);
    steps.push(format!(
        "give up and go back when an instance is not ready within {}, nothing moves for {}, or \
         after {} in all",
        seconds(policy.ready_timeout),
        seconds(policy.progress_deadline),
        seconds(policy.deadline),
    ));
    if !policy.watch.is_zero() && view.live.is_some_and(|live| live != new) {
        steps.push(format!(
            "watch it for {} after the end; go back when the judge turns bad",
            seconds(policy.watch)
        ));
    }
    steps
}

/// What is run and asked before it, or after it.
fn hooks(steps: &mut Vec<String>, policy: &Policy, stage: HookStage) {
    let own = HookRun::all(&policy.hooks).into_iter().filter(|run| run.stage == stage);
    steps.extend(own.map(|run| {
        let time = seconds(std::time::Duration::from_millis(run.timeout_ms));
        let (what, name) = (run.what.words(), &run.name);
        match (&run.what, stage) {
            (HookWhat::Command { .. }, HookStage::PreDeploy) => {
                format!("run {what} ({name}) before anything is touched, for at most {time}")
            }
            (HookWhat::Command { .. }, HookStage::PostDeploy) => {
                format!(
                    "run {what} ({name}) when it is live, for at most {time}; go back when it fails"
                )
            }
            (HookWhat::Webhook { .. }, HookStage::PreDeploy) => {
                format!("ask {what} ({name}) before anything is touched, for at most {time}")
            }
            (HookWhat::Webhook { .. }, HookStage::PostDeploy) => {
                format!(
                    "ask {what} ({name}) when it is live, for at most {time}; go back when it fails"
                )
            }
        }
    }));
}

/// How one release takes the other's place.
fn replacement(
    steps: &mut Vec<String>,
    policy: &Policy,
    definition: &Definition,
    (live, new): (ReleaseNumber, ReleaseNumber),
    wanted: u32,
    (takes, ready): (&str, &str),
) {
    match policy.strategy {
        Strategy::Rolling => {
            let at_once = policy.surge(wanted).min(wanted);
            let missing = policy.unavailable(wanted);
            steps.push(format!(
                "replace {} of {live} by {new}: up to {at_once} more at a time, at most {missing} \
                 fewer; each {takes} {ready}",
                plural(wanted, "instance"),
            ));
        }
        Strategy::Recreate => {
            let streams = policy.drain_streams.min(policy.drain_requests);
            steps.push(format!(
                "stop all of {live} first: two versions never run beside each other; new requests \
                 wait in the gateway, streams are closed after {}",
                seconds(streams),
            ));
            steps.push(format!("start {}; each {takes} {ready}", instances(wanted, new)));
            return;
        }
        Strategy::BlueGreen => {
            steps.push(format!(
                "start {} beside {live}, without traffic; each counts {ready}",
                instances(wanted, new)
            ));
            steps.push(format!("when all of them are ready: all of the traffic to {new} at once"));
            steps.push(format!(
                "keep {live} without traffic for {}, for an instant way back",
                seconds(policy.keep_old)
            ));
        }
        Strategy::Canary => {
            steps.push(format!("run {new} beside the whole of {live}; each {takes} {ready}"));
            let all = policy.steps.len();
            let numbered = policy.steps.iter().enumerate();
            steps.extend(numbered.map(|(i, s)| format!("step {} of {all}: {}", i + 1, s.words())));
            if definition.expose.is_empty() {
                let words =
                    "without ports, a weight is only approximated by the number of instances";
                steps.push(words.to_owned());
            }
        }
    }
    steps.push(drain_words(policy, definition, live));
}

fn drain_words(policy: &Policy, definition: &Definition, live: ReleaseNumber) -> String {
    let stop = format!(
        "{}, then SIGKILL after {}",
        definition.run.stop_signal,
        seconds(policy.stop_grace)
    );
    match definition.expose.is_empty() {
        true => format!("stop {live}: {stop}"),
        false => format!(
            "let the requests in {live} end (at most {}, streams {}), then stop it: {stop}",
            seconds(policy.drain_requests),
            seconds(policy.drain_streams),
        ),
    }
}

fn instances(count: u32, release: ReleaseNumber) -> String {
    format!("{} of {release}", plural(count, "instance"))
}

fn plural(count: u32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn seconds(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 120 && seconds % 60 == 0 => format!("{} m", seconds / 60),
        0 if !time.is_zero() => format!("{} ms", time.as_millis()),
        seconds => format!("{seconds} s"),
    }
}
