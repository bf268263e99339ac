//! Images: built by the engine from a directory that was sent, and looked for.

use std::time::Duration;

use ark_engine::{BuildSpec, BuildStream, Built};
use ark_model::api::{
    BuildEvent, BuildRequest, IMAGES_FIND_MAX, ImagesFind, ImagesFound, ProblemCode,
};
use ark_model::image_name::check_reference;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, header};
use jiff::Timestamp;

use super::deployments::missing_blobs;
use super::error::{ApiError, chain};
use super::extract::Json;
use super::guard::place;
use super::intents::unknown_artifact;
use super::operation::{Content, Operation, Shared, subschema};
use crate::auth::Permission;

/// How long a build waits for those before it.
const QUEUE_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// How long one build may take. Together with the wait it is less than the time for which files that
/// were sent are kept.
const BUILD_DEADLINE: Duration = Duration::from_secs(45 * 60);
/// Images looked for at the same time.
const LOOKS_AT_ONCE: usize = 16;
/// How long the engine may take to look for an image.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);
/// The longest name of an image, in bytes.
const NAME_BYTES_MAX: usize = 512;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/v1/builds", ("buildImage", "Build an image"), build)
            .about(
                "The context is an artifact that was sent. Answers newline-delimited JSON: what the \
                 builder says as it says it; the last line is `built` or `failed`. A client that \
                 leaves ends the build. One image is built at a time, for at most 45 minutes; others \
                 wait for at most ten.",
            )
            .needs(Permission::Deploy)
            .takes::<BuildRequest>()
            .streams(200, Content::Lines(subschema::<BuildEvent>))
            .problems(&[
                ProblemCode::InvalidValue,
                ProblemCode::ArtifactIncomplete,
                ProblemCode::AlreadyExists,
                ProblemCode::NotSupported,
                ProblemCode::EngineFailed,
            ]),
        Operation::post("/v1/images/find", ("findImages", "Which of these images are here"), find)
            .needs(Permission::Read)
            .takes::<ImagesFind>()
            .answers::<ImagesFound>(200)
            .problems(&[ProblemCode::InvalidValue, ProblemCode::EngineFailed]),
    ]
}

async fn build(
    State(state): State<Shared>,
    Json(request): Json<BuildRequest>,
) -> Result<Response, ApiError> {
    check(&request.image)?;
    check_path(&state, [&request.image]).await?;
    let place = place(&state.streams, "streams")?;
    let (wanted, now) = (request.context, Timestamp::now());
    let blobs_stay = state.blobs_in_use.clone().read_owned().await;
    // Recorded anew: its files are kept for as long as a build may take, and nobody has to wait for
    // the builder to have read them.
    let record = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let known = tx.artifact(&wanted)?;
            let record = known.ok_or_else(|| unknown_artifact(&wanted.to_string()))?;
            tx.put_artifact(&record.manifest, now)?;
            Ok(record)
        })
        .await?;
    let missing = missing_blobs(&state, record.manifest.blobs()).await?;
    drop(blobs_stay);
    if !missing.is_empty() {
        let detail = format!("{} files of the build's context were not sent", missing.len());
        return Err(ApiError::new(ProblemCode::ArtifactIncomplete, detail));
    }
    let dockerfile = request.dockerfile.unwrap_or_else(|| "Dockerfile".to_owned());
    if !record.manifest.entries.iter().any(|entry| entry.path == dockerfile) {
        let detail = format!("the build's context has no file {dockerfile}");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail)
            .remedy("name it", "build: {docker: {file: PATH}} in the launch file"));
    }
    let image = request.image.clone();
    let spec = BuildSpec {
        manifest: record.manifest,
        blobs: state.blobs.directory().to_owned(),
        dockerfile,
        image: request.image,
    };
    let said = tokio::time::timeout(QUEUE_DEADLINE, state.engine.build(spec)).await;
    let said = said.map_err(|_| {
        ApiError::new(
            ProblemCode::Busy,
            "the build did not begin in time: other images are being built, or the engine or its \
             registry does not answer; repeat it later",
        )
    })??;
    let lines = within(said, BUILD_DEADLINE).map(move |next| {
        let _held = &place;
        let event = match next {
            Ok(Built::Line(text)) => BuildEvent::Log { text },
            Ok(Built::Done(digest)) => BuildEvent::Built { image: image.clone(), digest },
            Ok(Built::Failed(reason)) => BuildEvent::Failed { reason },
            Err(error) => BuildEvent::Failed { reason: chain(&error) },
        };
        let mut line = serde_json::to_string(&event).unwrap_or_default();
        line.push('\n');
        Ok::<_, std::convert::Infallible>(line)
    });
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, ndjson)], Body::from_stream(lines)).into_response())
}

/// What the builder says, and that its time is over if that comes first; which ends the build.
fn within(said: BuildStream, deadline: Duration) -> BuildStream {
    let until = tokio::time::Instant::now() + deadline;
    let bounded = stream::unfold(Some(said), move |said| async move {
        let mut said = said?;
        match tokio::time::timeout_at(until, said.next()).await {
            Ok(next) => next.map(|next| (next, Some(said))),
            Err(_) => {
                let reason = format!("it had not ended after {} minutes", deadline.as_secs() / 60);
                Some((Ok(Built::Failed(reason)), None))
            }
        }
    });
    bounded.boxed()
}

async fn find(
    State(state): State<Shared>,
    Json(wanted): Json<ImagesFind>,
) -> Result<Json<ImagesFound>, ApiError> {
    if wanted.images.len() > IMAGES_FIND_MAX {
        let detail = format!("at most {IMAGES_FIND_MAX} images are looked for at once");
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    wanted.images.iter().try_for_each(|image| check(image))?;
    check_path(&state, &wanted.images).await?;
    let keep = wanted.keep;
    // A registry may be far away.
    let found: Vec<Option<(String, String)>> = stream::iter(wanted.images)
        .map(|image| digest_of(&state, image, keep))
        .buffered(LOOKS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(Json(ImagesFound { present: found.into_iter().flatten().collect() }))
}

async fn digest_of(
    state: &Shared,
    image: String,
    keep: bool,
) -> Result<Option<(String, String)>, ApiError> {
    let late = |_| ApiError::new(ProblemCode::EngineFailed, "the engine did not answer in time");
    let asked = tokio::time::timeout(LOOK_DEADLINE, state.engine.image_digest(&image)).await;
    let Some(digest) = asked.map_err(late)?? else { return Ok(None) };
    if keep {
        let kept = tokio::time::timeout(LOOK_DEADLINE, state.engine.keep_image(&image)).await;
        // One that is in its registry only is fetched from there.
        kept.map_err(late)??;
    }
    Ok(Some((image, digest)))
}

/// Of a registry that is set, only names under the path to which images are sent: whoever may look must not
/// learn with its credentials what else stands there. (What a build is made upon is fetched with them: whoever
/// may build may deploy, and so run any image of the registry.)
async fn check_path(
    state: &Shared,
    images: impl IntoIterator<Item = &String>,
) -> Result<(), ApiError> {
    let known = state.store.read::<_, ApiError, _>(|tx| Ok(tx.registries()?)).await?;
    for image in images {
        let host = image.split('/').next().unwrap_or_default();
        let Some(registry) = known.iter().find(|registry| registry.host == host) else { continue };
        let under = |path: &String| {
            let path = path.trim_matches('/');
            let place = if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") };
            image.strip_prefix(&place).is_some_and(|rest| rest.starts_with('/'))
        };
        if !registry.push.as_ref().is_some_and(under) {
            let detail = format!(
                "`{}` is not under the path that images are sent to at {host}",
                super::find::cut(image)
            );
            return Err(ApiError::new(ProblemCode::InvalidValue, detail)
                .remedy("send images there", format!("ark registry set {host} --push PATH")));
        }
    }
    Ok(())
}

/// `name:tag`.
fn check(image: &str) -> Result<(), ApiError> {
    let tagged = image.rsplit('/').next().is_some_and(|last| {
        last.split_once(':').is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty())
    });
    let detail = match check_reference(image) {
        Ok(()) if tagged && image.len() <= NAME_BYTES_MAX => return Ok(()),
        Ok(()) => format!("`{}` is no image: write NAME:TAG", super::find::cut(image)),
        Err(why) => why,
    };
    Err(ApiError::new(ProblemCode::InvalidValue, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_build_ends_by_its_deadline() {
        let line = |n: u64| Ok(Built::Line(format!("step {n}")));
        let slow = stream::unfold(0, move |n| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Some((line(n), n + 1))
        });
        let said: Vec<_> = within(slow.boxed(), Duration::from_secs(150)).collect().await;
        let said: Vec<String> = said.into_iter().map(|item| format!("{item:?}")).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[1].contains("step 1") && said[2].contains("Failed"), "{said:?}");
        let quick = stream::iter([line(0), Ok(Built::Done("sha256:1".into()))]);
        assert_eq!(within(quick.boxed(), Duration::from_secs(1)).count().await, 2);
    }

    #[test]
    fn an_image_has_a_name_and_a_tag() {
        for good in ["web:1a2b3c4", "registry.test:5000/shop/web:1", "a/b:c"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in
            ["web", "web:", ":1", "registry.test:5000/web", "a b:1", "web:1;rm", "Web:1", "web:1@x"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
