//! The server itself.

use std::time::Duration;

use ark_engine::Enforcement;
use ark_model::NodeName;
use ark_model::api::{
    Capability, DoctorReport, EngineView, GatewayView, GcReport, Health, ProblemCode, ServerInfo,
    ShutdownRequest,
};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::error::ApiError;
use super::extract::Json;
use super::operation::{Operation, Shared};
use super::{doctor, gc, serve_openapi};
use crate::auth::Permission;
use crate::observations::Observations;
use crate::state::ServerState;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/healthz", ("getHealth", "Whether the server lives"), health)
            .public()
            .answers::<Health>(200),
        Operation::get("/openapi.json", ("getOpenapi", "This document"), serve_openapi)
            .public()
            .answers::<serde_json::Value>(200),
        Operation::get("/metrics", ("getMetrics", "Measurements for Prometheus"), metrics)
            .about("What the gateway measured, by route and release, since the server began.")
            .answers_text(ark_gateway::metrics::CONTENT_TYPE),
        Operation::get("/v1/server", ("getServer", "What the server is and runs"), info)
            .answers::<ServerInfo>(200),
        Operation::post("/v1/shutdown", ("shutdown", "End the server"), shutdown)
            .about("With `apps`, all apps and the gateway end, too; otherwise they go on.")
            .needs(Permission::ManageServer)
            .takes::<ShutdownRequest>()
            .answers::<ShutdownRequest>(202),
        Operation::post(
            "/v1/gateway/restart",
            ("restartGateway", "Replace the gateway's process without losing a request"),
            restart_gateway,
        )
        .about(
            "A new process takes over the listening sockets; the one before lets its connections end, \
             for at most five minutes. Answers when the new one serves.",
        )
        .needs(Permission::ManageServer)
        .answers::<GatewayView>(200)
        .problems(&[ProblemCode::Busy]),
        Operation::get("/v1/doctor", ("doctor", "What is well and what is not"), doctor::doctor)
            .answers::<DoctorReport>(200),
        Operation::post(
            "/v1/gc",
            ("collectGarbage", "Remove what nothing needs any more"),
            gc::collect,
        )
        .about(
            "Releases beyond the 50 kept (never the live one or the one to go back to), files \
                 no kept release needs, records of ended instances, old events.",
        )
        .needs(Permission::ManageServer)
        .deadline(gc::DEADLINE)
        .answers::<GcReport>(200)
        .problems(&[ProblemCode::EngineFailed]),
    ]
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

async fn metrics(State(state): State<Shared>) -> Response {
    let kind = HeaderValue::from_static(ark_gateway::metrics::CONTENT_TYPE);
    ([(header::CONTENT_TYPE, kind)], state.observations.metrics()).into_response()
}

async fn info(State(state): State<Shared>) -> Result<Json<ServerInfo>, ApiError> {
    let store_epoch = state.store.read::<_, ApiError, _>(|tx| Ok(tx.epoch()?)).await?;
    let settings = &state.settings;
    let gateway = gateway_view(&state.observations);
    Ok(Json(ServerInfo {
        version: settings.version.clone(),
        pid: std::process::id(),
        started_at: settings.started_at,
        data_dir: settings.data_dir.display().to_string(),
        api: format!("http://{}", settings.api),
        http: gateway.http.iter().map(|address| format!("http://{address}")).collect(),
        gateway,
        engine: engine_view(&state),
        silent_hosts: silent_hosts(&state),
        store_epoch,
    }))
}

pub(super) fn gateway_view(observations: &Observations) -> GatewayView {
    let seen = observations.gateway();
    GatewayView {
        connected: seen.connected,
        boot: seen.boot,
        pid: seen.pid,
        since: seen.since,
        http: seen.http,
        applied: seen.acknowledged,
        refused: seen.refused,
    }
}

fn silent_hosts(state: &ServerState) -> Vec<NodeName> {
    let hosts = state.nodes.as_ref().map(|nodes| nodes.cluster().nodes()).unwrap_or_default();
    hosts.into_iter().filter(|host| host.silent.is_some()).map(|host| host.name).collect()
}

fn engine_view(state: &ServerState) -> EngineView {
    let capabilities = state.engine.capabilities();
    let capability = |(name, enforcement): (&'static str, &Enforcement)| Capability {
        name: name.to_owned(),
        enforced: enforcement.is_enforced(),
        reason: match enforcement {
            Enforcement::Enforced => None,
            Enforcement::NotEnforced { reason } => Some(reason.clone()),
        },
    };
    EngineView {
        kind: state.engine.kind().as_str().to_owned(),
        capabilities: capabilities.rows().into_iter().map(capability).collect(),
    }
}

/// How long a new gateway is waited for; its supervisor gives up after 30 s.
const REPLACED_WITHIN: Duration = Duration::from_secs(25);

async fn restart_gateway(State(state): State<Shared>) -> Result<Json<GatewayView>, ApiError> {
    let data_dir = state.settings.data_dir.clone();
    let Some(before) = ark_gateway::role::replace(&data_dir) else {
        return Err(ApiError::new(ProblemCode::Busy, "there is no gateway that could be replaced")
            .remedy("look at it", "ark doctor"));
    };
    let began = std::time::Instant::now();
    while began.elapsed() < REPLACED_WITHIN {
        let seen = state.observations.gateway();
        if seen.connected && seen.boot.is_some_and(|boot| boot != before.boot) {
            return Ok(Json(gateway_view(&state.observations)));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(ApiError::new(
        ProblemCode::Busy,
        "the gateway was not replaced: the one before serves on, or one replaced earlier still ends",
    )
    .remedy("see why", "gateway.log in the data directory"))
}

async fn shutdown(
    State(state): State<Shared>,
    Json(request): Json<ShutdownRequest>,
) -> (StatusCode, Json<ShutdownRequest>) {
    state.shutdown.request(request);
    (StatusCode::ACCEPTED, Json(request))
}
