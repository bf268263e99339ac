//! Push hooks: where Git hosting services (GitHub, Gitea, GitLab and their like) send their push
//! events. An event that is signed and names the hook's branch is recorded, once per delivery;
//! `pushes` does what follows. Everything else is answered, and leads to nothing.

use ark_model::api::{
    Page, ProblemCode, PushAnswer, PushEvent, PushHookPut, PushHookView, PushState, PushView,
};
use ark_model::event::{EventKind, NewEvent};
use ark_store::{PushHookRecord, PushRecord};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request, State};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::{Json, Path, bytes_error};
use super::find::cut;
use super::guard::place;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission, is_from_sender, names_sender};
use crate::pushes;

/// The largest event, in bytes. One names up to some thousand commits.
const EVENT_BYTES_MAX: usize = 5 << 20;
/// The longest name of a hook, and of a delivery.
const NAME_BYTES_MAX: usize = 100;
/// The longest repository and branch.
const TEXT_BYTES_MAX: usize = 1_024;
/// The shortest and the longest secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=256;
/// Pushes that are shown.
const SHOWN: usize = 100;
/// Headers that name a delivery.
const DELIVERIES: [&str; 5] = [
    "x-github-delivery",
    "x-gitea-delivery",
    "x-gogs-delivery",
    "x-gitlab-event-uuid",
    "idempotency-key",
];
/// Headers that name an event, and what they call a push.
const EVENTS: [(&str, &str); 4] = [
    ("x-github-event", "push"),
    ("x-gitea-event", "push"),
    ("x-gogs-event", "push"),
    ("x-gitlab-event", "Push Hook"),
];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/push-hooks", ("listPushHooks", "Push hooks, by name"), list)
            .about("Secrets are not shown. At most 1,000, on one page.")
            .answers::<Page<PushHookView>>(200),
        Operation::put("/v1/push-hooks/{hook}", ("putPushHook", "Make or change a push hook"), put)
            .about("Replaces what was kept of it.")
            .needs(Permission::ManageServer)
            .takes::<PushHookPut>()
            .answers::<PushHookView>(200)
            .problems(&[ProblemCode::InvalidValue]),
        Operation::delete(
            "/v1/push-hooks/{hook}",
            ("deletePushHook", "Remove a push hook, its secret and its pushes"),
            delete,
        )
        .needs(Permission::ManageServer)
        .answers_nothing(204),
        Operation::get(
            "/v1/push-hooks/{hook}/pushes",
            ("listPushes", "What a hook was told, newest first"),
            pushes_of,
        )
        .about("The newest 100.")
        .answers::<Page<PushView>>(200),
        Operation::post(
            "/v1/push-hooks/{hook}/events",
            ("receivePush", "Hear of a push from a Git hosting service"),
            receive,
        )
        .about(
            "Takes no token but a signature: `X-Hub-Signature-256` (GitHub, Gitea), \
             `X-Gitea-Signature`, or GitLab's `X-Gitlab-Token`. A push to the hook's branch starts \
             what `ark ci` does; a delivery that was heard before, another event, another branch and a \
             branch that was deleted are answered with `accepted: false`.",
        )
        .public()
        .body_up_to(EVENT_BYTES_MAX)
        .takes::<PushEvent>()
        .answers::<PushAnswer>(202)
        .problems(&[ProblemCode::Unauthorized, ProblemCode::TooLarge, ProblemCode::InvalidValue]),
    ]
}

fn view(record: PushHookRecord) -> PushHookView {
    PushHookView {
        path: format!("/v1/push-hooks/{}/events", record.name),
        name: record.name,
        repository: record.repository,
        branch: record.branch,
        changed_at: record.changed_at,
        changed_by: record.changed_by,
    }
}

async fn list(State(state): State<Shared>) -> Result<Json<Page<PushHookView>>, ApiError> {
    let all = state.store.read::<_, ApiError, _>(|tx| Ok(tx.push_hooks()?)).await?;
    Ok(Json(Page { items: all.into_iter().map(view).collect(), next: None }))
}

async fn put(
    State(state): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<PushHookPut>,
) -> Result<Json<PushHookView>, ApiError> {
    check(&name, &request).map_err(|detail| ApiError::new(ProblemCode::InvalidValue, detail))?;
    let sealed = state.keyring.seal_token(&purpose(&name), request.secret);
    let secret = sealed.map_err(|error| ApiError::internal(error.to_string()))?;
    let now = Timestamp::now();
    let record = PushHookRecord {
        name,
        repository: request.repository,
        branch: request.branch,
        secret,
        changed_at: now,
        changed_by: caller.name.clone(),
    };
    let kept = record.clone();
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            tx.put_push_hook(&kept)?;
            let text = format!("push hook {} was set for {}", kept.name, kept.repository);
            tx.append_event(NewEvent::of_server(EventKind::ServerSet, caller.name, now, text))?;
            Ok(())
        })
        .await?;
    Ok(Json(view(record)))
}

async fn delete(
    State(state): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = Timestamp::now();
    let logs = pushes::logs(&state.settings.data_dir, &name);
    state
        .store
        .write::<_, ApiError, _>(move |tx| {
            if tx.delete_push_hook(&name)? {
                tx.append_event(NewEvent::of_server(
                    EventKind::ServerSet,
                    caller.name,
                    now,
                    format!("push hook {name} was removed"),
                ))?;
            }
            Ok(())
        })
        .await?;
    if let Some(logs) = logs {
        // One that cannot be removed is in nobody's way.
        let _ = tokio::fs::remove_dir_all(logs).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn pushes_of(
    State(state): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Page<PushView>>, ApiError> {
    let all = state.store.read::<_, ApiError, _>(move |tx| Ok(tx.pushes(&name, SHOWN)?)).await?;
    let shown = |push: PushRecord| PushView {
        log: pushes::log_file(&state.settings.data_dir, &push).display().to_string(),
        delivery: push.delivery,
        commit: push.commit,
        received_at: push.received_at,
        state: push.state,
        ended_at: push.ended_at,
    };
    Ok(Json(Page { items: all.into_iter().map(shown).collect(), next: None }))
}

async fn receive(
    State(state): State<Shared>,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<PushAnswer>), ApiError> {
    let hook = state.store.read::<_, ApiError, _>(move |tx| Ok(tx.push_hook(&name)?)).await?;
    // Who has not signed does not learn whether the hook exists.
    let unknown = || {
        ApiError::new(ProblemCode::Unauthorized, "the event has no signature of this push hook")
            .remedy(
                "give the hosting service the hook's secret",
                "ark hook set NAME --repo REPOSITORY",
            )
    };
    let hook = hook.ok_or_else(unknown)?;
    let headers = request.headers().clone();
    if !names_sender(&headers) {
        return Err(unknown());
    }
    // Anybody may send: few are read at a time, and beside them the API goes on.
    let reading = place(&state.pushes, "push events")?;
    let body = Bytes::from_request(request, &()).await;
    let body = body.map_err(|rejection: BytesRejection| bytes_error(&rejection))?;
    drop(reading);
    let secret = state.keyring.open_token(&purpose(&hook.name), &hook.secret);
    let secret = secret.map_err(|error| ApiError::internal(error.to_string()))?;
    if !is_from_sender(secret.expose(), &headers, &body) {
        return Err(unknown());
    }
    let told = |accepted, reason: String| {
        let status = if accepted { StatusCode::ACCEPTED } else { StatusCode::OK };
        Ok((status, Json(PushAnswer { accepted, reason })))
    };
    let commit = match heard(&hook.branch, &headers, &body)? {
        Heard::Push(commit) => commit,
        Heard::Nothing(why) => return told(false, why.to_owned()),
    };
    let delivery = delivery(&headers, &body)?;
    let now = Timestamp::now();
    let push = PushRecord {
        hook: hook.name,
        delivery,
        commit: commit.clone(),
        received_at: now,
        state: PushState::Queued,
        ended_at: None,
    };
    let new = state
        .store
        .write::<_, ApiError, _>(move |tx| {
            let new = tx.insert_push(&push)?;
            if new {
                let text = format!("{} was told of commit {}", push.hook, &push.commit[..7]);
                tx.append_event(NewEvent::of_server(
                    EventKind::ServerSet,
                    format!("hook {}", push.hook),
                    now,
                    text,
                ))?;
            }
            Ok(new)
        })
        .await?;
    match new {
        true => told(true, format!("commit {commit} is built and deployed")),
        false => told(false, "this delivery was heard before".to_owned()),
    }
}

/// What an event says.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// The branch's newest commit.
    Push(String),
    /// Nothing that this hook is for.
    Nothing(&'static str),
}

fn heard(branch: &str, headers: &HeaderMap, body: &[u8]) -> Result<Heard, ApiError> {
    let is_push = |(name, push): &(&str, &str)| headers.get(*name).is_some_and(|it| it == push);
    if !EVENTS.iter().any(is_push) {
        return Ok(Heard::Nothing("the event is no push"));
    }
    let invalid = |detail: &str| ApiError::new(ProblemCode::InvalidValue, detail);
    let event: PushEvent = serde_json::from_slice(body)
        .map_err(|_| invalid("the push event has no `ref` and `after`; send it as JSON"))?;
    if event.reference.strip_prefix("refs/heads/") != Some(branch) {
        return Ok(Heard::Nothing("another branch was pushed"));
    }
    let hex = event.after.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || !matches!(event.after.len(), 40 | 64) {
        return Err(invalid("`after` is no commit"));
    }
    if event.after.bytes().all(|byte| byte == b'0') {
        return Ok(Heard::Nothing("the branch was deleted"));
    }
    Ok(Heard::Push(event.after.to_ascii_lowercase()))
}

/// What the service calls this delivery; one that does not say is known by what it sent.
fn delivery(headers: &HeaderMap, body: &[u8]) -> Result<String, ApiError> {
    let named = DELIVERIES.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    let Some(name) = named else { return Ok(ark_model::Sha256::of(body).to_string()) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        let detail = "the delivery's id has letters, digits and - _ . only";
        return Err(ApiError::new(ProblemCode::InvalidValue, detail));
    }
    Ok(name.to_owned())
}

/// What a secret is sealed to.
fn purpose(hook: &str) -> String {
    format!("push hook {hook}")
}

fn check(name: &str, request: &PushHookPut) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(format!("`{}`: a hook's name has lower-case letters, digits and -", cut(name)));
    }
    for (what, text) in [("repository", &request.repository), ("branch", &request.branch)] {
        let odd = text.is_empty() || text.len() > TEXT_BYTES_MAX || text.starts_with('-');
        if odd || text.chars().any(char::is_control) {
            return Err(format!("`{}` is no {what}", cut(text)));
        }
    }
    // It would stand in lists and command lines. Over HTTP a user alone may be a token, too.
    let (scheme, rest) = request.repository.split_once("://").unwrap_or_default();
    let authority = rest.split('/').next().unwrap_or_default();
    let secret = match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => authority.contains('@') || rest.contains('?'),
        _ => authority.split_once('@').is_some_and(|(user, _)| user.contains(':')),
    };
    if secret {
        return Err("a password or token does not belong into the repository's address: \
                    git's credential helper or a key of the server's user keeps it"
            .to_owned());
    }
    if !SECRET_BYTES.contains(&request.secret.len()) || !request.secret.is_ascii() {
        return Err("a secret has 16 to 256 ASCII characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn a_push_to_the_branch_is_heard_and_nothing_else() {
        let (commit, zero) = ("ab".repeat(20), "0".repeat(40));
        let github = [("x-github-event", "push")];
        let body = |reference: &str, after: &str| {
            format!(r#"{{"ref":"{reference}","before":"x","after":"{after}","commits":[]}}"#)
        };
        let main = body("refs/heads/main", &commit);
        for (event, body, expected) in [
            (&github[..], main.clone(), Some(true)),
            (&[("x-gitea-event", "push"), ("x-github-event", "push")], main.clone(), Some(true)),
            (&[("x-gitlab-event", "Push Hook")], main.clone(), Some(true)),
            (&[("x-github-event", "ping")], "{}".to_owned(), Some(false)),
            (&[("x-gitlab-event", "Tag Push Hook")], main.clone(), Some(false)),
            (&[], main, Some(false)),
            (&github, body("refs/heads/topic", &commit), Some(false)),
            (&github, body("refs/tags/main", &commit), Some(false)),
            (&github, body("refs/heads/main", &zero), Some(false)),
            (&github, body("refs/heads/main", "main; rm -rf"), None),
            (&github, "payload=%7B%7D".to_owned(), None),
        ] {
            let heard = heard("main", &headers(event), body.as_bytes()).ok();
            let is_push = heard.as_ref().map(|heard| *heard == Heard::Push(commit.clone()));
            assert_eq!(is_push, expected, "{event:?} {body}: {heard:?}");
        }
    }

    #[test]
    fn a_delivery_is_known_by_its_name_or_by_what_it_says() {
        let named = headers(&[("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")]);
        assert_eq!(delivery(&named, b"a").unwrap(), "72d3162e-cc78-11e3-81ab-4c9367dc0958");
        let none = headers(&[]);
        assert_eq!(delivery(&none, b"a").unwrap(), delivery(&none, b"a").unwrap());
        assert_ne!(delivery(&none, b"a").unwrap(), delivery(&none, b"b").unwrap());
        assert!(delivery(&headers(&[("x-github-delivery", "../../etc")]), b"a").is_err());
    }

    #[test]
    fn what_a_hook_is_made_of_is_judged() {
        let put = |repository: &str, secret: &str| PushHookPut {
            repository: repository.to_owned(),
            branch: "main".to_owned(),
            secret: secret.to_owned(),
        };
        let secret = "0123456789abcdef";
        for good in [
            "/srv/git/shop.git",
            "https://git.test/shop.git",
            "git@git.test:shop.git",
            "ssh://git@git.test/shop.git",
        ] {
            assert_eq!(check("shop", &put(good, secret)), Ok(()), "{good}");
        }
        for bad in [
            "",
            "--upload-pack=x",
            "https://me:hunter2@git.test/shop.git",
            "HTTPS://hunter2@git.test/shop.git",
            "https://git.test/shop.git?private_token=hunter2",
            "ssh://me:hunter2@git.test/shop.git",
            "a\nb",
        ] {
            let why = check("shop", &put(bad, secret)).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(check("shop", &put("/a", "short")).is_err());
        assert!(check("Shop", &put("/a", secret)).is_err());
    }
}
