//! What is shown instead of a page: not found, not allowed, refused, the server's fault. Always
//! what happened, why, and what to do.

use ark_model::api::{Problem, ProblemCode, Remedy};
use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use crate::fault::Fault;
use crate::shell::{Shell, Theme};
use crate::visit::Visit;

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage {
    shell: Shell,
    detail: String,
    code: &'static str,
    missing: Vec<String>,
    findings: Vec<String>,
    remedy: Vec<Remedy>,
    request: String,
}

/// Where there is neither a page nor anything else.
pub(crate) async fn nowhere() -> Fault {
    Fault::new(ProblemCode::NoSuchOperation, "there is no page at this address")
}

/// With the frame of the one who looks.
pub(crate) fn page(visit: &Visit, fault: &Fault) -> Response {
    let problem = &fault.0;
    let title = match fault.code() {
        ProblemCode::Forbidden => "not allowed".to_owned(),
        ProblemCode::NoSuchOperation => "no such page".to_owned(),
        _ => problem.title.clone(),
    };
    let finding = |found: &ark_model::api::DiagnosticView| {
        format!("{}, line {}: {}", found.code, found.line, found.message)
    };
    let page = FaultPage {
        shell: visit.shell(title, ""),
        detail: problem.detail.clone(),
        code: problem.code.as_str(),
        missing: problem.missing.clone(),
        findings: problem.diagnostics.iter().map(finding).collect(),
        remedy: problem.remedy.clone(),
        request: problem.request_id.clone().unwrap_or_default(),
    };
    answer(page.render(), problem)
}

#[derive(Template)]
#[template(path = "plain_fault.html")]
struct PlainFault<'a> {
    theme: &'static str,
    problem: &'a Problem,
}

/// Without a frame: nobody knows who looks.
pub(crate) fn plain(problem: &Problem, theme: Theme) -> Response {
    answer(PlainFault { theme: theme.as_str(), problem }.render(), problem)
}

fn answer(text: askama::Result<String>, problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match text {
        Ok(text) => (status, Html(text)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
