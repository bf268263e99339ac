//! What a person sees of a deployment, as text.

use ark_model::api::DeploymentProgress;
use ark_model::definition::Strategy;
use ark_model::deployment::Abort;
use ark_model::instance::Exit;
use ark_model::receipt::{Receipt, Side};
use ark_model::{DeploymentId, ReleaseNumber};

use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-05-01T{text}Z").parse().unwrap()
}

fn view(state: DeploymentState) -> DeploymentView {
    DeploymentView {
        id: DeploymentId(uuid::Uuid::from_u128(7)),
        env: "production".parse().unwrap(),
        app: "web".parse().unwrap(),
        kind: DeploymentKind::Deploy,
        release: ReleaseNumber(42),
        base: Some(ReleaseNumber(41)),
        strategy: Strategy::Rolling,
        state,
        exit_code: state.exit_code().map(ark_model::exit::ExitCode::number),
        created_at: at("12:00:00"),
        created_by: "ana".into(),
        reason: None,
        commit: Some("9f2c1ab0123456789".into()),
        started_at: Some(at("12:00:00")),
        live_at: None,
        returning_at: None,
        finished_at: None,
        diagnosis: None,
        diagnosis_words: None,
        failures: Vec::new(),
        abort: None,
        receipt: None,
        notes: Vec::new(),
        artifact: Some("directory 3fa1b2c4d5e6".into()),
        image: None,
        config_version: Some(7),
        config_changed: vec!["LOG_LEVEL".into(), "CACHE_TTL".into()],
        progress: None,
        rollout: None,
        hooks: Vec::new(),
        watch: None,
    }
}

fn served(served: u64) -> Receipt {
    let total = Side { served, retried: 2, longest_stall_ms: 6, ..Side::default() };
    Receipt { total, ..Receipt::default() }
}

#[test]
fn the_block_shows_both_sides() {
    let mut view = view(DeploymentState::Replacing);
    view.progress = Some(DeploymentProgress {
        wanted: 3,
        new: SideProgress { active: 2, starting: 1, ..SideProgress::default() },
        old: SideProgress {
            active: 1,
            draining: 1,
            draining_in_flight: 3,
            draining_since: Some(at("12:00:07")),
            ..SideProgress::default()
        },
    });
    let traffic =
        TrafficView { requests_per_s: 412.2, served_1h: 9_000, failed_1h: 0, p99_ms: Some(38) };
    let lines = block(&view, Some(&traffic), at("12:00:19.4"), Style::plain(120));
    insta::assert_snapshot!(lines.join("\n"), @r"
    web → production   v41 → v42   rolling, 3 instances   commit 9f2c1ab by ana

      ✓ release v42            directory 3fa1b2c4d5e6, as a process · config 7 · 2 keys changed (LOG_LEVEL, CACHE_TTL)
      ▸ replacing              v42 ███░ 2 ready, 1 starting   v41 ██░░ 1 serving, 1 draining (3 requests, 12 s)

      requests 412/s   failed in the last hour 0   p99 38 ms   elapsed 19 s
    ");
    for width in [40, 60, 80] {
        let lines = block(&view, Some(&traffic), at("12:00:19.4"), Style::plain(width));
        for line in lines {
            assert!(line.chars().count() <= width, "{line:?} is wider than {width}");
        }
    }
    insta::assert_snapshot!(block(&view, None, at("12:00:19.4"), Style::plain(80)).join("\n"), @r"
    web → production   v41 → v42   rolling, 3 instances   commit 9f2c1ab by ana

      ✓ release v42            directory 3fa1b2c4d5e6, as a process · config 7 · 2
                               keys changed (LOG_LEVEL, CACHE_TTL)
      ▸ replacing              v42 ███░ 2 ready, 1 starting
                               v41 ██░░ 1 serving, 1 draining (3 requests, 12 s)

      elapsed 19 s
    ");
    // Where there is no room for that, each has one line.
    let low = Style { height: 6, ..Style::plain(80) };
    assert_eq!(block(&view, None, at("12:00:19.4"), low).len(), 6);
}

#[test]
fn a_success_ends_with_its_receipt_and_how_to_undo_it() {
    let mut view = view(DeploymentState::Succeeded);
    view.live_at = Some(at("12:00:31"));
    view.finished_at = Some(at("12:00:44"));
    view.receipt = Some(served(12_884));
    let urls = ["http://web.production.localhost:8080".to_owned()];
    insta::assert_snapshot!(succeeded(&view, &urls, Style::plain(120)), @r"
    ✓ v42 is live on production   31 s    finished after 44 s, when the last instance of v41 had ended
      runs directory 3fa1b2c4d5e6, as a process of the host
      served 12,884 during the change · failed 0 · cut 0 · retried 2 · longest stall 6 ms
      http://web.production.localhost:8080
      undo: ark rollback web -e production
    ");
}

#[test]
fn a_failure_says_what_why_and_what_next() {
    let mut view = view(DeploymentState::RolledBack);
    view.receipt = Some(served(9_310));
    view.diagnosis = Some(Diagnosis::NeverReady {
        instance: "web-7f3a9c".into(),
        last: "GET /_health answered 500".into(),
        waited_ms: 120_000,
        log: vec!["connecting to db.internal:5432".into(), "error: refused\x1b[2J".into()],
    });
    insta::assert_snapshot!(unsuccessful(&view, Style::plain(120)), @r"
    ✗ v42 did not become healthy; production is back on v41   exit 3
      never ready: instance web-7f3a9c, GET /_health answered 500, for 2 m
      last lines of web-7f3a9c (2026-05-01, UTC):
        connecting to db.internal:5432
        error: refused [2J
      v41 kept serving: 0 of 9,310 requests failed
      look closer: ark logs web -e production --instance web-7f3a9c     try again: ark deploy web -e production
    ");
}

#[test]
fn who_deployed_an_image_is_told_to_try_that_image_again() {
    let mut view = view(DeploymentState::Failed);
    view.artifact = Some("image r.test/web:7@sha256:61ab".into());
    view.image = Some("r.test/web:7".into());
    let again = "try again: ark deploy web -e production --image r.test/web:7";
    let told = unsuccessful(&view, Style::plain(200));
    assert!(told.contains(again), "{told}");
}

#[test]
fn a_verdict_is_told_whole_and_failures_are_of_the_side_that_had_them() {
    let mut view = view(DeploymentState::RolledBack);
    let side = |served, failed| Side { served, failed, ..Side::default() };
    view.receipt = Some(Receipt {
        total: side(8_600, 400),
        old: side(7_600, 0),
        new: side(1_000, 400),
        notes: vec![],
    });
    let reasons = vec![
        "more answers of 500 and above: 400 of 1,400 (28.6 %) beside 0 of 7,600".to_owned(),
        "slower".to_owned(),
    ];
    view.diagnosis = Some(Diagnosis::Judged { reasons });
    insta::assert_snapshot!(unsuccessful(&view, Style::plain(60)), @r"
    ✗ v42 is worse; production is back on v41   exit 3
      the judge:
      - more answers of 500 and above: 400 of 1,400 (28.6 %)
        beside 0 of 7,600
      - slower
      v41 kept serving: 0 of 7,600 requests failed, and 400 of
        1,400 of v42
      look closer: ark events -e production --app web
      try again: ark deploy web -e production
    ");
}

/// It had the traffic until the way back: nobody kept serving beside it.
#[test]
fn of_a_release_that_was_live_each_side_has_its_own_numbers() {
    let mut view = view(DeploymentState::RolledBack);
    let side = |served, failed| Side { served, failed, ..Side::default() };
    let (old, new) = (side(7_600, 0), side(1_000, 400));
    view.receipt = Some(Receipt { total: side(8_600, 400), old, new, notes: vec![] });
    view.diagnosis = Some(Diagnosis::Judged { reasons: vec!["slower".to_owned()] });
    view.live_at = Some(view.created_at);
    let told = unsuccessful(&view, Style::plain(120));
    let expected = "v42 was live: 400 of 1,400 requests failed; v41, before and after: 0 of 7,600 requests failed";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn what_was_down_is_said_beside_what_failed() {
    let mut view = view(DeploymentState::RolledBack);
    let crashed = Diagnosis::Crashed {
        instance: "web-7f3a9c".into(),
        exit: Exit {
            began: None,
            code: Some(1),
            signal: None,
            out_of_memory: false,
            requested: false,
            at: view.created_at,
        },
        log: vec!["no api".into()],
    };
    view.diagnosis = Some(crashed.while_down(vec![
        Down::App {
            app: "api".parse().expect("a name"),
            data_store: false,
            seen: "its last instance ended with exit 2".into(),
            since: Some(view.created_at),
        },
        Down::Address {
            variable: "DATABASE_URL".into(),
            address: None,
            seen: "connection refused".into(),
        },
    ]));
    insta::assert_snapshot!(unsuccessful(&view, Style::plain(120)), @r"
    ✗ v42 crashed; production is back on v41   exit 3
      crashed: instance web-7f3a9c ended with exit 1
      dependency down: api (its last instance ended with exit 2; nothing of it serves since 2026-05-01 12:00:00 UTC)
      dependency down: the address in DATABASE_URL (connection refused)
      last lines of web-7f3a9c (2026-05-01, UTC):
        no api
      look closer: ark logs web -e production --instance web-7f3a9c     look at api: ark ps api -e production --all
      try again: ark deploy web -e production
    ");
}

#[test]
fn every_end_has_words() {
    for (state, base, expect) in [
        (
            DeploymentState::Failed,
            None,
            "✗ v42 was not deployed; nothing of web was running on production before   exit 1",
        ),
        (
            DeploymentState::Failed,
            Some(41),
            "✗ v42 was not deployed; production could not be brought back to v41   exit 1",
        ),
        (
            DeploymentState::TimedOut,
            None,
            "✗ v42 was not deployed; nothing of web was running on production before   exit 4",
        ),
        (
            DeploymentState::Superseded,
            Some(41),
            "✗ v42 was not deployed; a newer deployment took its place   exit 5",
        ),
    ] {
        let mut view = view(state);
        view.base = base.map(ReleaseNumber);
        let text = unsuccessful(&view, Style::plain(120));
        assert_eq!(text.lines().next(), Some(expect));
    }
    let mut view = view(DeploymentState::RolledBack);
    view.diagnosis = Some(Diagnosis::Aborted { by: "ben".into(), reason: Some("wrong".into()) });
    view.abort = Some(Abort { by: "ben".into(), reason: None, superseded: false });
    let text = unsuccessful(&view, Style::plain(120));
    assert!(text.starts_with("✗ v42 was aborted; production is back on v41"), "{text}");
}
