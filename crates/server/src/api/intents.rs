//! From a judged request to a recorded deployment: release, deployment and events are written, in one
//! transaction with everything that depends on what is recorded. Nothing here calls the engine or
//! the gateway.

use std::collections::BTreeSet;

use ark_model::api::ProblemCode;
use ark_model::artifact::Artifact;
use ark_model::definition::{Definition, Expose, Strategy};
use ark_model::deployment::DeploymentKind;
use ark_model::environment::{AppState, EnvKind, EnvState, Environment};
use ark_model::event::{EventKind, NewEvent};
use ark_model::freeze::Frozen;
use ark_model::release::ReleaseContent;
use ark_model::{AppName, Deployment, DeploymentId, DeploymentState, EnvName, ReleaseNumber};
use ark_planner::freeze::frozen;
use ark_planner::queue::{Running, enqueue};
use ark_store::{InsertedRelease, NewRelease, ReadTx, WriteTx};
use jiff::Timestamp;

use super::app_rows::place;
use super::by_name;
use super::error::ApiError;
use super::find;
use super::judge::{Wanted, strategy};
use super::needs::Needs;
use super::resolve::{missing_config, resolve};
use crate::auth::AllowedHosts;
use crate::endings::superseded_event;

/// The longest reason or commit that is recorded, in characters.
const WORDS_CHARS_MAX: usize = 500;

/// Who does something, and when.
#[derive(Debug, Clone)]
pub(super) struct Act {
    pub(super) by: String,
    pub(super) now: Timestamp,
}

impl Act {
    pub(super) fn event(
        &self,
        kind: EventKind,
        env: &EnvName,
        app: Option<&AppName>,
        text: String,
    ) -> NewEvent {
        NewEvent {
            at: self.now,
            kind,
            by: self.by.clone(),
            env: Some(env.clone()),
            app: app.cloned(),
            deployment: None,
            instance: None,
            text,
        }
    }
}

/// The environment, made on first use.
///
/// # Errors
/// `environment-destroying`.
pub(super) fn ensure_environment(
    tx: &mut WriteTx,
    env: &EnvName,
    kind: Option<EnvKind>,
    act: &Act,
) -> Result<Environment, ApiError> {
    if let Some(found) = tx.environment(env)? {
        return match found.state {
            EnvState::Active => Ok(found),
            EnvState::Destroying => Err(find::destroying(env)),
        };
    }
    let environment = Environment {
        name: env.clone(),
        kind: kind.unwrap_or_else(|| default_kind(env)),
        state: EnvState::Active,
        owner: act.by.clone(),
        created_at: act.now,
        freeze: Vec::new(),
        lease: None,
    };
    tx.insert_environment(&environment)?;
    let kind = match environment.kind {
        EnvKind::Permanent => "permanent",
        EnvKind::Development => "development",
    };
    let text = format!("environment {env} was created ({kind})");
    tx.append_event(act.event(EventKind::EnvironmentCreated, env, None, text))?;
    Ok(environment)
}

/// What an environment is unless told otherwise.
pub(super) fn default_kind(env: &EnvName) -> EnvKind {
    EnvKind::of_new(env)
}

/// What a request wants beside what is to run.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) id: DeploymentId,
    pub(super) strategy: Option<Strategy>,
    pub(super) running: Running,
    pub(super) reason: Option<String>,
    pub(super) commit: Option<String>,
    /// Why it begins although the environment is frozen.
    pub(super) override_freeze: Option<String>,
    /// What a reader of the receipt must know from the start.
    pub(super) notes: Vec<String>,
}

/// Records release and deployment.
///
/// # Errors
/// `frozen`, `missing-config`, `artifact-incomplete`, `environment-destroying`,
/// `already-exists` for a host of another app.
pub(super) fn deploy(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    wanted: &Wanted,
    terms: &Terms,
    act: &Act,
) -> Result<Deployment, ApiError> {
    let strategy = strategy(terms.strategy, &wanted.definition, env);
    let mut notes = terms.notes.clone();
    if let Some(found) = tx.environment(env)? {
        if found.state == EnvState::Destroying {
            return Err(find::destroying(env));
        }
        notes.extend(thaw(&found, app, terms, act)?);
    }
    let config = tx.config(env, app)?;
    let needs = Needs::of(tx, env, &wanted.definition)?;
    let resolved = resolve(env, app, &wanted.definition, &config, &needs)
        .map_err(|missing| missing_config(env, app, missing, &needs))?;
    let misled = by_name::words(tx, env, app, &wanted.definition, &resolved)?;
    if let Artifact::Directory { digest } = &wanted.artifact
        && tx.artifact(digest)?.is_none()
    {
        return Err(unknown_artifact(&digest.to_string()));
    }
    ensure_environment(tx, env, None, act)?;
    check_hosts(tx, env, app, &wanted.definition)?;
    let inserted = tx.insert_release(NewRelease {
        env: env.clone(),
        app: app.clone(),
        content: ReleaseContent {
            artifact: wanted.artifact.clone(),
            definition: wanted.definition.clone(),
            config: resolved,
        },
        config_version: config.version,
        created_at: act.now,
        created_by: act.by.clone(),
        commit: terms.commit.as_deref().map(words),
    })?;
    if let InsertedRelease::New(release) = &inserted {
        let text = format!("release {} of {}", release.number, place(env, app));
        tx.append_event(act.event(EventKind::ReleaseCreated, env, Some(app), text))?;
    }
    let release = inserted.into_release().number;
    notes.extend(needs.words(env, app));
    notes.extend(misled);
    let terms = Terms { notes, ..terms.clone() };
    queue(tx, env, app, DeploymentKind::Deploy, release, strategy, &terms, act)
}

/// Refuses a deployment to a frozen environment, unless it says why it is to begin nevertheless:
/// then what is recorded of that.
fn thaw(
    environment: &Environment,
    app: &AppName,
    terms: &Terms,
    act: &Act,
) -> Result<Option<String>, ApiError> {
    let Some(frozen) = frozen(&environment.freeze, act.now) else { return Ok(None) };
    let env = &environment.name;
    if let Some(reason) = terms.override_freeze.as_deref().map(str::trim).filter(|r| !r.is_empty())
    {
        let cause = frozen_cause(&frozen);
        return Ok(Some(format!("{cause}; overridden by {}: {}", act.by, words(reason))));
    }
    Err(frozen_problem(env, app, &frozen))
}

fn frozen_cause(frozen: &Frozen) -> String {
    match &frozen.window {
        Some(window) => format!("freeze window `{window}` is open"),
        None => "no window that allows deployments is open".to_owned(),
    }
}

/// Why nothing may be deployed to the environment now, and until when.
pub(super) fn frozen_problem(env: &EnvName, app: &AppName, frozen: &Frozen) -> ApiError {
    let cause = frozen_cause(frozen);
    let until = match frozen.until {
        Some(until) => format!("until {until}"),
        None => "with no end in sight".to_owned(),
    };
    ApiError::new(ProblemCode::Frozen, format!("{env} is frozen {until}: {cause}"))
        .remedy("its windows", format!("ark env freeze {env}"))
        .remedy(
            "deploy nevertheless",
            format!("ark deploy {app} -e {env} --override-freeze REASON"),
        )
        .remedy("go back, which always works", format!("ark rollback {app} -e {env}"))
}

/// Refuses hosts that lead to another app of the environment already. Other environments run the
/// same launch files: there a host is left to whoever has it, and each app has its own name beside.
fn check_hosts(
    tx: &ReadTx,
    env: &EnvName,
    app: &AppName,
    definition: &Definition,
) -> Result<(), ApiError> {
    let places = |definition: &Definition| -> BTreeSet<(String, String)> {
        let of = |e: &Expose| -> Vec<(String, String)> {
            let path = e.path.trim_end_matches('/');
            e.hosts.iter().map(|h| (h.to_ascii_lowercase(), path.to_owned())).collect()
        };
        definition.expose.iter().flat_map(of).collect()
    };
    let wanted = places(definition);
    if wanted.is_empty() {
        return Ok(());
    }
    for other in tx.app_states_of(env)? {
        if other.app == *app {
            continue;
        }
        let mut releases: BTreeSet<ReleaseNumber> = other.live.into_iter().collect();
        for id in [other.running, other.waiting].into_iter().flatten() {
            // What is damaged holds up its own app.
            let found = tx.readable_deployment(id)?.filter(|d| !d.state.is_terminal());
            releases.extend(found.map(|d| d.release));
        }
        for number in releases {
            let Some(release) = tx.release(&other.env, &other.app, number)? else { continue };
            let theirs = places(&release.content.definition);
            if let Some((host, path)) = wanted.intersection(&theirs).next() {
                let owner = place(&other.env, &other.app);
                let detail = format!("host {host}{path}/ leads to {owner} already");
                return Err(ApiError::new(ProblemCode::AlreadyExists, detail)
                    .remedy("its hosts", format!("ark status {} -e {}", other.app, other.env)));
            }
        }
    }
    Ok(())
}

/// Refuses names that belong to the console: those that the app's launch file asks for, and the one that
/// it would have by its environment.
///
/// # Errors
/// `already-exists`.
pub(super) fn check_own_names(
    own: &AllowedHosts,
    env: &EnvName,
    app: &AppName,
    definition: &Definition,
) -> Result<(), ApiError> {
    let asked = definition.expose.iter().flat_map(|expose| &expose.hosts);
    let named = format!("{app}.{env}.localhost");
    for host in asked.map(String::as_str).chain([named.as_str()]) {
        if let Some(own) = own.taken(host) {
            let detail = format!(
                "{} may not answer at `{}`: `{own}` is the console's, and browsers show its sessions there",
                place(env, app),
                find::cut(host)
            );
            return Err(ApiError::new(ProblemCode::AlreadyExists, detail)
                .remedy("take another name", "expose[].hosts in the launch file"));
        }
    }
    Ok(())
}

/// Refuses a new environment whose apps would be below a name of the console.
///
/// # Errors
/// `already-exists`.
pub(super) fn check_new_environment(
    tx: &ReadTx,
    own: &AllowedHosts,
    env: &EnvName,
) -> Result<(), ApiError> {
    if tx.environment(env)?.is_some() {
        return Ok(());
    }
    match own.taken(&format!("app.{env}.localhost")) {
        None => Ok(()),
        Some(own) => {
            let detail = format!(
                "environment `{env}` cannot be: its apps would answer below `{own}`, which is the \
                 console's"
            );
            Err(ApiError::new(ProblemCode::AlreadyExists, detail)
                .remedy("take another name", "ark env create NAME"))
        }
    }
}

/// The problem of an artifact that was never offered.
pub(super) fn unknown_artifact(digest: &str) -> ApiError {
    let detail = format!("artifact {digest} was not sent to this server");
    ApiError::new(ProblemCode::ArtifactIncomplete, detail)
        .remedy("send it first", "POST /v1/artifacts, then PUT /v1/blobs/{sha256}")
}

/// A deployment that has not ended.
pub(super) fn unfinished(
    tx: &ReadTx,
    id: Option<DeploymentId>,
) -> Result<Option<Deployment>, ApiError> {
    let found = match id {
        Some(id) => tx.deployment(id)?,
        None => None,
    };
    Ok(found.filter(|d| !d.state.is_terminal()))
}

/// Records a deployment as the newest waiting one of its app.
pub(super) fn queue(
    tx: &mut WriteTx,
    env: &EnvName,
    app: &AppName,
    kind: DeploymentKind,
    release: ReleaseNumber,
    strategy: Strategy,
    terms: &Terms,
    act: &Act,
) -> Result<Deployment, ApiError> {
    let state = match tx.app_state(env, app)? {
        Some(state) => state,
        None => AppState::new(env.clone(), app.clone(), act.now),
    };
    let deployment = Deployment {
        reason: terms.reason.as_deref().map(words),
        notes: terms.notes.clone(),
        ..Deployment::queued(
            terms.id,
            (env.clone(), app.clone()),
            kind,
            release,
            strategy,
            (act.by.clone(), act.now),
        )
    };
    let running = unfinished(tx, state.running)?;
    let waiting = unfinished(tx, state.waiting)?;
    let queued = enqueue(&state, &deployment, running.as_ref(), waiting.as_ref(), terms.running);
    let mut events = Vec::new();
    if let Some(ended) = &queued.superseded {
        tx.put_deployment(ended, DeploymentState::Queued)?;
        events.push(superseded_event(ended, (&act.by, act.now)));
    }
    if let (Some(giving_way), Some(before)) = (&queued.giving_way, &running) {
        tx.put_deployment(giving_way, before.state)?;
        let text = format!("{} gives way to {release}", giving_way.release);
        let event = act.event(EventKind::DeploymentProgress, env, Some(app), text);
        events.push(NewEvent { deployment: Some(giving_way.id), ..event });
    }
    tx.insert_deployment(&deployment)?;
    tx.put_app_state(&queued.app)?;
    let asked = match kind {
        DeploymentKind::Deploy => "deployment of",
        DeploymentKind::Rollback => "rollback to",
    };
    let because: String =
        deployment.reason.iter().chain(&terms.notes).map(|words| format!(": {words}")).collect();
    let text = format!("{asked} {release} of {} was asked for{because}", place(env, app));
    let event = act.event(EventKind::DeploymentQueued, env, Some(app), text);
    events.push(NewEvent { deployment: Some(deployment.id), ..event });
    for event in events {
        tx.append_event(event)?;
    }
    Ok(deployment)
}

/// What somebody wrote for the record, cut to a length.
pub(super) fn words(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}
