//! What is shown instead of a page: not found, not allowed, refused, the server's fault. Always
//! what happened, why, and what to do. To nobody in particular: [`crate::refusal`].

use ark_model::api::{Problem, ProblemCode, Remedy};
use askama::Template;
use axum::response::{Html, IntoResponse, Response};
use http::StatusCode;

use crate::fault::Fault;
use crate::room::cut;
use crate::shell::Shell;
use crate::visit::Visit;

/// What is listed of each.
const LINES_MAX: usize = 50;
const REMEDIES_MAX: usize = 10;
/// The longest texts, in bytes.
const LINE: usize = 400;
const TEXT: usize = 8_000;

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage {
    shell: Shell,
    detail: String,
    code: &'static str,
    missing: Vec<String>,
    findings: Vec<String>,
    /// How many of those are not listed.
    more: usize,
    remedy: Vec<Remedy>,
    request: String,
}

/// Where there is neither a page nor anything else.
pub(crate) async fn nowhere() -> Fault {
    Fault::new(ProblemCode::NoSuchOperation, "there is no page at this address")
}

/// What kind of problem it is, to somebody who looks at pages.
pub(crate) fn title(problem: &Problem) -> String {
    match problem.code {
        ProblemCode::Forbidden => "not allowed".to_owned(),
        ProblemCode::NoSuchOperation => "no such page".to_owned(),
        ProblemCode::ForeignOrigin => "refused".to_owned(),
        _ => problem.title.clone(),
    }
}

/// With the frame of the one who looks.
pub(crate) fn page(visit: &Visit, fault: &Fault) -> Response {
    let problem = &fault.0;
    let finding = |found: &ark_model::api::DiagnosticView| {
        cut(&format!("{}, line {}: {}", found.code, found.line, found.message), LINE)
    };
    let page = FaultPage {
        shell: visit.shell(title(problem), ""),
        detail: cut(&problem.detail, TEXT),
        code: problem.code.as_str(),
        missing: problem.missing.iter().take(LINES_MAX).map(|name| cut(name, LINE)).collect(),
        findings: problem.diagnostics.iter().take(LINES_MAX).map(finding).collect(),
        more: problem.missing.len().max(problem.diagnostics.len()).saturating_sub(LINES_MAX),
        remedy: problem.remedy.iter().take(REMEDIES_MAX).cloned().collect(),
        request: problem.request_id.clone().unwrap_or_default(),
    };
    answer(page.render(), problem)
}

/// Its status with a page.
pub(crate) fn answer(text: askama::Result<String>, problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match text {
        Ok(text) => (status, Html(text)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
