//! Registries of images. What is kept is told to the engine at once; passwords leave the store for
//! nobody else.

use ark_engine::{Registries, Registry};
use ark_model::api::{Page, ProblemCode, RegistryPut, RegistryView};
use ark_model::event::{EventKind, NewEvent};
use ark_store::{Keyring, ReadTx, RegistryRecord, SecretValue, Store, StoreError, WriteTx};
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::{Json, Path};
use super::find::cut;
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};

/// The longest host, user and path, in bytes.
const WORD_BYTES_MAX: usize = 256;
/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 4_096;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/registries", ("listRegistries", "Registries of images"), list)
            .about("Passwords are not shown. At most 100, on one page.")
            .answers::<Page<RegistryView>>(200),
        Operation::put("/v1/registries/{host}", ("putRegistry", "Use a registry of images"), put)
            .about(
                "Replaces what was kept of it. Images of this host are then fetched by digest and with \
                 these credentials. With `push` images that are built are named and sent there.",
            )
            .needs(Permission::ManageServer)
            .takes::<RegistryPut>()
            .answers::<RegistryView>(200)
            .problems(&[ProblemCode::AlreadyExists, ProblemCode::InvalidValue]),
        Operation::delete(
            "/v1/registries/{host}",
            ("deleteRegistry", "Forget a registry and its password"),
            delete,
        )
        .needs(Permission::ManageServer)
        .answers_nothing(204),
    ]
}

fn view(record: RegistryRecord) -> RegistryView {
    RegistryView {
        host: record.host,
        user: record.login.map(|(user, _)| user),
        push: record.push,
        changed_at: record.changed_at,
        changed_by: record.changed_by,
    }
}

async fn list(State(state): State<Shared>) -> Result<Json<Page<RegistryView>>, ApiError> {
    let all = state.store.read::<_, ApiError, _>(|tx| Ok(tx.registries()?)).await?;
    Ok(Json(Page { items: all.into_iter().map(view).collect(), next: None }))
}

async fn put(
    State(state): State<Shared>,
    caller: Caller,
    Path(host): Path<String>,
    Json(request): Json<RegistryPut>,
) -> Result<Json<RegistryView>, ApiError> {
    check(&host, &request)?;
    let invalid = |detail: String| ApiError::new(ProblemCode::InvalidValue, detail);
    let login = match (request.user, request.password) {
        (None, None) => None,
        (Some(user), Some(password)) => {
            Registry::check(&user, &password).map_err(invalid)?;
            let sealed = state.keyring.seal_token(&purpose(&host), password);
            Some((user, sealed.map_err(|error| invalid(error.to_string()))?))
        }
        _ => return Err(invalid("a user and a password belong together".to_owned())),
    };
    let now = Timestamp::now();
    let record = RegistryRecord {
        host,
        login,
        push: request.push,
        changed_at: now,
        changed_by: caller.name.clone(),
    };
    let kept = record.clone();
    kept_and_told(&state, move |tx| {
        let other = |one: &RegistryRecord| one.push.is_some() && one.host != kept.host;
        if kept.push.is_some()
            && let Some(other) = tx.registries()?.into_iter().find(other)
        {
            let detail = format!("images that are built are sent to {} already", other.host);
            return Err(ApiError::new(ProblemCode::AlreadyExists, detail)
                .remedy("send them there no more", "ark registry set HOST without --push"));
        }
        tx.put_registry(&kept)?;
        tx.append_event(NewEvent::of_server(
            EventKind::ServerSet,
            caller.name,
            now,
            format!("registry {} was set", kept.host),
        ))?;
        Ok(())
    })
    .await?;
    Ok(Json(view(record)))
}

async fn delete(
    State(state): State<Shared>,
    caller: Caller,
    Path(host): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = Timestamp::now();
    kept_and_told(&state, move |tx| {
        if tx.delete_registry(&host)? {
            tx.append_event(NewEvent::of_server(
                EventKind::ServerSet,
                caller.name,
                now,
                format!("registry {host} was removed"),
            ))?;
        }
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes, and tells the engine: beside the request, whose client may leave, and in the order in
/// which it was written.
async fn kept_and_told(
    state: &Shared,
    write: impl FnOnce(&mut WriteTx) -> Result<(), ApiError> + Send + 'static,
) -> Result<(), ApiError> {
    let state = state.clone();
    let task = tokio::spawn(async move {
        let _in_turn = state.registries_told.lock().await;
        state.store.write(write).await?;
        Ok(tell(&state.store, &state.keyring, &state.registries).await?)
    });
    task.await.map_err(|error| ApiError::internal(error.to_string()))?
}

/// Tells the engine which registries there are. One whose password cannot be opened is used without.
pub(crate) async fn tell(
    store: &Store,
    keyring: &Keyring,
    registries: &Registries,
) -> Result<(), StoreError> {
    let all = store.read::<_, StoreError, _>(ReadTx::registries).await?;
    let usable = |record: RegistryRecord| {
        let opened = |(user, sealed)| match keyring.open_token(&purpose(&record.host), &sealed) {
            Ok(password) => Some((user, SecretValue::expose(&password).to_owned())),
            Err(error) => {
                tracing::error!(registry = record.host, %error, "a password cannot be used");
                None
            }
        };
        let login = record.login.and_then(opened);
        (record.host, Registry { login, push: record.push.is_some() })
    };
    registries.set(all.into_iter().map(usable).collect());
    Ok(())
}

/// What a password is sealed to.
fn purpose(host: &str) -> String {
    format!("registry {host}")
}

fn check(host: &str, request: &RegistryPut) -> Result<(), ApiError> {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let invalid = |detail: String| Err(ApiError::new(ProblemCode::InvalidValue, detail));
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let named = name.bytes().any(|byte| byte.is_ascii_alphanumeric()) && name.bytes().all(plain);
    // As images name it: what has neither a point nor a port is no host in an image's name.
    let reachable = name == "localhost" || host.contains(['.', ':']);
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if !named || !reachable || !port || host.len() > WORD_BYTES_MAX {
        return invalid(format!(
            "`{}` is no registry's host such as registry.test:5000",
            cut(host)
        ));
    }
    let path = request.push.as_deref().unwrap_or_default();
    if path.len() > WORD_BYTES_MAX || !path.bytes().all(|byte| plain(byte) || byte == b'/') {
        return invalid("a path has lower-case letters, digits and . - _ /".to_owned());
    }
    let long = |text: &Option<String>, max| text.as_ref().is_some_and(|text| text.len() > max);
    if long(&request.user, WORD_BYTES_MAX) || long(&request.password, PASSWORD_BYTES_MAX) {
        return invalid("the user or the password is too long".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_as_images_name_it() {
        let put = RegistryPut { user: None, password: None, push: Some("shop/eu".to_owned()) };
        for good in ["registry.test", "registry.test:5000", "localhost", "127.0.0.1:5000", "r:80"] {
            assert!(check(good, &put).is_ok(), "{good}");
        }
        for bad in
            ["", "..", "registry", "Registry.test", "r.test:0", "r.test:x", "r.test/a", "a b.test"]
        {
            assert!(check(bad, &put).is_err(), "{bad}");
        }
        let bad = RegistryPut { push: Some("a b".to_owned()), ..put };
        assert!(check("r.test", &bad).is_err());
    }
}
