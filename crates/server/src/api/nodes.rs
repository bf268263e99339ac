//! The hosts of the cluster. What is kept is told to the engine at once; keys leave the store for
//! nobody else.

use std::collections::HashMap;
use std::time::Duration;

use ark_model::NodeName;
use ark_model::api::{NodeDraining, NodePut, NodeRemoval, NodeView, Page, ProblemCode};
use ark_model::event::{EventKind, NewEvent};
use ark_store::{NodeCredentials, NodeRecord, WriteTx};
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;

use super::error::ApiError;
use super::extract::{Json, Path, Query};
use super::operation::{Operation, Shared};
use crate::auth::{Caller, Permission};
use crate::nodes::{DaemonAddress, Nodes, purpose};

/// How long a host that was just added may take to answer before the request does.
const ASK_DEADLINE: Duration = Duration::from_secs(6);
/// The longest certificate or key, in bytes.
const PEM_BYTES_MAX: usize = 64 << 10;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/nodes", ("listNodes", "The hosts of the cluster"), list)
            .about("How they stood when they were last asked. At most 1,001, on one page.")
            .answers::<Page<NodeView>>(200),
        Operation::put("/v1/nodes/{name}", ("putNode", "Add a host, or change it"), put)
            .about("Replaces what was kept of it, except whether it drains. Kept also when it does not answer: \
                then `silent` says why.")
            .needs(Permission::ManageServer)
            .takes::<NodePut>()
            .answers::<NodeView>(200)
            .problems(&[ProblemCode::InvalidValue]),
        Operation::put(
            "/v1/nodes/{name}/draining",
            ("drainNode", "Place nothing new on a host and move what is there, or use it again"),
            drain,
        )
        .about("Ark's own host is `local`.")
        .needs(Permission::ManageServer)
        .takes::<NodeDraining>()
        .answers::<NodeView>(200)
        .problems(&[ProblemCode::NodeNotFound]),
        Operation::delete("/v1/nodes/{name}", ("deleteNode", "Forget a host"), delete)
            .about("Refused while instances are on record there, unless `force` says otherwise.")
            .needs(Permission::ManageServer)
            .query::<NodeRemoval>()
            .answers_nothing(204)
            .problems(&[ProblemCode::NodeNotFound, ProblemCode::NodeInUse]),
    ]
}

fn nodes(state: &Shared) -> Result<&Nodes, ApiError> {
    let missing =
        || ApiError::new(ProblemCode::NodeNotFound, "this server's engine joins no other hosts");
    state.nodes.as_deref().ok_or_else(missing)
}

/// All hosts, with what is on record and what was last seen of them.
async fn views(state: &Shared) -> Result<Vec<NodeView>, ApiError> {
    let (records, alive) =
        state.store.read::<_, ApiError, _>(|tx| Ok((tx.nodes()?, tx.alive_instances()?))).await?;
    let mut instances: HashMap<NodeName, u64> = HashMap::new();
    for one in alive {
        *instances.entry(one.node).or_default() += 1;
    }
    let sights = state.nodes.as_ref().map(|nodes| nodes.cluster().nodes()).unwrap_or_default();
    let mut views = Vec::new();
    if !records.iter().any(|record| record.name.is_local()) {
        views.push(NodeView {
            name: NodeName::local(),
            address: None,
            reach: None,
            draining: false,
            silent: None,
            instances: 0,
            changed_at: None,
            changed_by: None,
        });
    }
    views.extend(records.into_iter().map(|record| {
        let sight = sights.iter().find(|sight| sight.name == record.name);
        let local = record.name.is_local();
        let silent = match sight {
            Some(sight) => sight.silent.clone(),
            None if local => None,
            None => Some("it has not been asked yet".to_owned()),
        };
        NodeView {
            silent,
            address: (!local).then_some(record.address),
            reach: record.reach,
            draining: record.draining,
            instances: 0,
            changed_at: Some(record.changed_at),
            changed_by: Some(record.changed_by),
            name: record.name,
        }
    }));
    for view in &mut views {
        view.instances = instances.get(&view.name).copied().unwrap_or(0);
    }
    views.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(views)
}

async fn view(state: &Shared, name: &NodeName) -> Result<Json<NodeView>, ApiError> {
    let all = views(state).await?;
    all.into_iter().find(|view| view.name == *name).map(Json).ok_or_else(|| unknown(name))
}

fn unknown(name: &NodeName) -> ApiError {
    ApiError::new(ProblemCode::NodeNotFound, format!("there is no host {name}"))
        .remedy("see which there are", "ark node list")
}

async fn list(State(state): State<Shared>) -> Result<Json<Page<NodeView>>, ApiError> {
    Ok(Json(Page { items: views(&state).await?, next: None }))
}

async fn put(
    State(state): State<Shared>,
    caller: Caller,
    Path(name): Path<NodeName>,
    Json(request): Json<NodePut>,
) -> Result<Json<NodeView>, ApiError> {
    let now = Timestamp::now();
    let new = record(&state, &name, request, now, &caller.name)?;
    let by = caller.name;
    kept_and_told(&state, &name, move |tx| {
        let draining = tx.node(&new.name)?.is_some_and(|before| before.draining);
        let text = format!("host {} was set", new.name);
        tx.put_node(&NodeRecord { draining, ..new })?;
        tx.append_event(NewEvent::of_server(EventKind::ServerSet, by, now, text))?;
        Ok(())
    })
    .await?;
    // So that wrong certificates are told to whoever gave them.
    let asked = nodes(&state)?.cluster().ask(&name);
    let _ = tokio::time::timeout(ASK_DEADLINE, asked).await;
    view(&state, &name).await
}

/// What is to be kept of a host, checked by making an engine's way to it.
fn record(
    state: &Shared,
    name: &NodeName,
    request: NodePut,
    now: Timestamp,
    by: &str,
) -> Result<NodeRecord, ApiError> {
    let invalid = |detail: String| ApiError::new(ProblemCode::InvalidValue, detail);
    if name.is_local() {
        return Err(invalid("`local` is Ark's own host, and needs no address".to_owned()));
    }
    let place = DaemonAddress::parse(&request.address).map_err(invalid)?;
    let reach = request.reach.or_else(|| place.ip()).ok_or_else(|| {
        invalid("where are its instances reached? Say its private address".to_owned())
            .remedy("say it", format!("ark node add {name} {} --reach IP", request.address))
    })?;
    let credentials = match (place, request.authority, request.certificate, request.key) {
        (DaemonAddress::Socket(_) | DaemonAddress::Ssh(_), None, None, None) => None,
        (DaemonAddress::Socket(_) | DaemonAddress::Ssh(_), ..) => {
            return Err(invalid("certificates are for a daemon over TCP".to_owned()));
        }
        (DaemonAddress::Tcp(place), Some(authority), Some(certificate), Some(key)) => {
            if [&authority, &certificate, &key].iter().any(|pem| pem.len() > PEM_BYTES_MAX) {
                return Err(invalid(format!("a certificate has at most {PEM_BYTES_MAX} bytes")));
            }
            ark_engine::TlsDaemon::new(&place, &authority, &certificate, &key).map_err(invalid)?;
            let sealed = state.keyring.seal_token(&purpose(name), key);
            let key = sealed.map_err(|error| invalid(error.to_string()))?;
            Some(NodeCredentials { authority, certificate, key })
        }
        (DaemonAddress::Tcp(_), ..) => {
            return Err(invalid(
                "a daemon over TCP is spoken to with an authority's certificate, one of Ark's own and \
                 its key; without them whoever reaches its port rules its host"
                    .to_owned(),
            )
            .remedy("give all three", format!("ark node add {name} {} --certs DIR", request.address)));
        }
    };
    Ok(NodeRecord {
        name: name.clone(),
        address: request.address,
        reach: Some(reach),
        credentials,
        draining: false,
        changed_at: now,
        changed_by: by.to_owned(),
    })
}

async fn drain(
    State(state): State<Shared>,
    caller: Caller,
    Path(name): Path<NodeName>,
    Json(request): Json<NodeDraining>,
) -> Result<Json<NodeView>, ApiError> {
    let (now, wanted) = (Timestamp::now(), name.clone());
    kept_and_told(&state, &name, move |tx| {
        let local = |name: &NodeName| NodeRecord {
            name: name.clone(),
            address: String::new(),
            reach: None,
            credentials: None,
            draining: false,
            changed_at: now,
            changed_by: String::new(),
        };
        let known = tx.node(&wanted)?.or_else(|| wanted.is_local().then(|| local(&wanted)));
        let known = known.ok_or_else(|| unknown(&wanted))?;
        let by = caller.name;
        let text = match request.draining {
            true => format!("host {wanted} is to be empty"),
            false => format!("host {wanted} is used again"),
        };
        let draining = request.draining;
        let changed_by = by.clone();
        tx.put_node(&NodeRecord { draining, changed_at: now, changed_by, ..known })?;
        tx.append_event(NewEvent::of_server(EventKind::ServerSet, by, now, text))?;
        Ok(())
    })
    .await?;
    view(&state, &name).await
}

async fn delete(
    State(state): State<Shared>,
    caller: Caller,
    Path(name): Path<NodeName>,
    Query(removal): Query<NodeRemoval>,
) -> Result<StatusCode, ApiError> {
    let (now, gone) = (Timestamp::now(), name.clone());
    kept_and_told(&state, &name, move |tx| {
        if gone.is_local() || tx.node(&gone)?.is_none() {
            return Err(unknown(&gone));
        }
        let there = tx.alive_instances()?.into_iter().filter(|one| one.node == gone).count();
        if there > 0 && !removal.force {
            let detail = format!("{there} instances are on record on host {gone}");
            return Err(ApiError::new(ProblemCode::NodeInUse, detail)
                .remedy("move them first", format!("ark node drain {gone}")));
        }
        tx.delete_node(&gone)?;
        let text = format!("host {gone} was removed");
        tx.append_event(NewEvent::of_server(EventKind::ServerSet, caller.name, now, text))?;
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Writes, and tells the engine: beside the request, whose client may leave, and in the order in
/// which it was written.
async fn kept_and_told(
    state: &Shared,
    name: &NodeName,
    write: impl FnOnce(&mut WriteTx) -> Result<(), ApiError> + Send + 'static,
) -> Result<(), ApiError> {
    let (state, name) = (state.clone(), name.clone());
    let task = tokio::spawn(async move {
        let _in_turn = state.registries_told.lock().await;
        state.store.write(write).await?;
        let wanted = name.clone();
        let kept = state.store.read::<_, ApiError, _>(move |tx| Ok(tx.node(&wanted)?)).await?;
        let nodes = nodes(&state)?;
        match kept {
            Some(record) => nodes.put(&record, &state.keyring).map_err(ApiError::internal),
            None => {
                nodes.remove(&name);
                Ok(())
            }
        }
    });
    task.await.map_err(|error| ApiError::internal(error.to_string()))?
}
