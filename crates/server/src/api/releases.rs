//! Releases: what an app was and can be again.

use ark_model::api::{
    DiffQuery, Page, PageQuery, ProblemCode, ReleaseConfigEntry, ReleaseDetail, ReleaseDiff,
    ReleaseRow,
};
use ark_model::release::{PinnedValue, Release};
use ark_model::{AppName, EnvName, ReleaseNumber};
use ark_store::ReadTx;
use axum::extract::State;

use super::error::ApiError;
use super::extract::{Json, Path, Query, cursor, page, page_limit};
use super::operation::{Operation, Shared};
use super::{diff, find};

pub(super) fn operations() -> Vec<Operation> {
    const PROBLEMS: &[ProblemCode] =
        &[ProblemCode::EnvironmentNotFound, ProblemCode::AppNotFound, ProblemCode::ReleaseNotFound];
    vec![
        Operation::get(
            "/v1/environments/{env}/apps/{app}/releases",
            ("listReleases", "Releases of an app, newest first"),
            list,
        )
        .query::<PageQuery>()
        .answers::<Page<ReleaseRow>>(200)
        .problems(PROBLEMS),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/releases/{release}",
            ("getRelease", "One release with everything it pins; secrets by version only"),
            show,
        )
        .answers::<ReleaseDetail>(200)
        .problems(PROBLEMS),
        Operation::get(
            "/v1/environments/{env}/apps/{app}/diff",
            ("diffReleases", "What differs between two releases"),
            compare,
        )
        .query::<DiffQuery>()
        .answers::<ReleaseDiff>(200)
        .problems(PROBLEMS),
        Operation::get(
            "/v1/apps/{app}/releases/newest",
            ("getNewestRelease", "The newest release of an app in any environment"),
            newest,
        )
        .about("What `ark start` takes for a dependency that has no launch file beside it.")
        .answers::<ReleaseRow>(200)
        .problems(&[ProblemCode::ReleaseNotFound]),
    ]
}

async fn list(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<ReleaseRow>>, ApiError> {
    let limit = page_limit(query.limit)?;
    let before: Option<u64> = cursor(query.cursor.as_deref())?;
    let (releases, live) = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let live = find::app(tx, &env, &app)?.live;
            let before = before.map(ReleaseNumber);
            Ok((tx.releases(&env, &app, before, limit + 1)?, live))
        })
        .await?;
    let cursor = |release: &Release| release.number.0.to_string();
    Ok(Json(page(releases, limit, cursor, |release| row(&release, live))))
}

async fn show(
    State(state): State<Shared>,
    Path((env, app, number)): Path<(EnvName, AppName, String)>,
) -> Result<Json<ReleaseDetail>, ApiError> {
    let number = parse(&number)?;
    let (release, live) = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let live = find::app(tx, &env, &app)?.live;
            Ok((find::release(tx, &env, &app, number)?, live))
        })
        .await?;
    let entry = |(name, value): (&String, &PinnedValue)| match value {
        PinnedValue::Plain { value } => ReleaseConfigEntry {
            name: name.clone(),
            value: Some(value.clone()),
            secret: false,
            version: None,
        },
        PinnedValue::Secret { version } => ReleaseConfigEntry {
            name: name.clone(),
            value: None,
            secret: true,
            version: Some(*version),
        },
    };
    let definition = serde_json::to_value(&release.content.definition)
        .map_err(|error| ApiError::internal(format!("a definition as JSON: {error}")))?;
    Ok(Json(ReleaseDetail {
        row: row(&release, live),
        config: release.content.config.iter().map(entry).collect(),
        definition,
    }))
}

async fn compare(
    State(state): State<Shared>,
    Path((env, app)): Path<(EnvName, AppName)>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<ReleaseDiff>, ApiError> {
    let from = query.from.as_deref().map(parse).transpose()?;
    let to = query.to.as_deref().map(parse).transpose()?;
    let (from, to) = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let live = find::app(tx, &env, &app)?.live;
            let from = match from.or(live) {
                Some(number) => find::release(tx, &env, &app, number)?,
                None => latest(tx, &env, &app)?,
            };
            let to = match to {
                Some(number) => find::release(tx, &env, &app, number)?,
                None => latest(tx, &env, &app)?,
            };
            Ok((from, to))
        })
        .await?;
    Ok(Json(ReleaseDiff {
        from: from.number,
        to: to.number,
        changes: from.digest != to.digest,
        artifact: diff::artifact(&from.content, &to.content),
        config: diff::config(&from.content, &to.content),
        definition: diff::definition(&from.content, &to.content),
    }))
}

async fn newest(
    State(state): State<Shared>,
    Path(app): Path<AppName>,
) -> Result<Json<ReleaseRow>, ApiError> {
    let row = state
        .store
        .read::<_, ApiError, _>(move |tx| {
            let mut newest: Option<Release> = None;
            for environment in tx.environments()? {
                let found = tx.latest_release(&environment.name, &app)?;
                let newer = |found: &Release| {
                    newest.as_ref().is_none_or(|newest| found.created_at > newest.created_at)
                };
                if let Some(found) = found.filter(newer) {
                    newest = Some(found);
                }
            }
            let newest = newest.ok_or_else(|| {
                let detail = format!("no release of `{app}` is known in any environment");
                ApiError::new(ProblemCode::ReleaseNotFound, detail)
            })?;
            let live = tx.app_state(&newest.env, &newest.app)?.and_then(|state| state.live);
            Ok(row(&newest, live))
        })
        .await?;
    Ok(Json(row))
}

fn latest(tx: &ReadTx, env: &EnvName, app: &AppName) -> Result<Release, ApiError> {
    tx.latest_release(env, app)?.ok_or_else(|| {
        let detail = format!("`{app}` has no release in `{env}`");
        ApiError::new(ProblemCode::ReleaseNotFound, detail)
    })
}

fn parse(text: &str) -> Result<ReleaseNumber, ApiError> {
    text.parse().map_err(|_| {
        let detail = format!("`{}` is not the number of a release, such as v42", find::cut(text));
        ApiError::new(ProblemCode::InvalidValue, detail)
    })
}

fn row(release: &Release, live: Option<ReleaseNumber>) -> ReleaseRow {
    ReleaseRow {
        env: release.env.clone(),
        app: release.app.clone(),
        number: release.number,
        digest: release.digest,
        artifact: release.content.artifact.clone(),
        config_version: release.config_version,
        created_at: release.created_at,
        created_by: release.created_by.clone(),
        commit: release.commit.clone(),
        live: Some(release.number) == live,
    }
}
