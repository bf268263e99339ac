//! `ark status`: the apps of an environment at a glance.

use ark_model::AppName;
use ark_model::api::{AppRow, CronView, DeploymentSummary};
use ark_model::definition::RunKind;
use ark_model::deployment::{DeploymentKind, DeploymentState};
use ark_model::exit::ExitCode;
use jiff::Timestamp;

use super::cron::next;
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::{Ended, Exit, Failure};
use crate::output::deployment::release_or_dash;
use crate::output::numbers::{count, failures, rate};
use crate::output::table::{Table, or_dash};
use crate::output::times::{ago, length};
use crate::output::{Shown, Style};

/// What `status` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark status -e production\n  ark status web -e production\n  ark status -e production --json"
)]
pub(crate) struct Args {
    /// Only this app
    app: Option<AppName>,
    #[command(flatten)]
    env: EnvArg,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let env = args.env.get()?;
    block_on(async {
        let mut rows = context.client.apps(&env).await?;
        if let Some(app) = &args.app {
            rows.retain(|row| row.app == *app);
            if rows.is_empty() {
                let words = format!("{app} was never deployed to {env}");
                return Err(Failure::new(ExitCode::NotFound, "app-not-found", words)
                    .remedy("what is there", format!("ark status -e {env}")));
            }
        }
        let style = context.out.style;
        let scheduled = rows.iter().any(|row| row.kind == Some(RunKind::Cron));
        let crons = match scheduled && !context.out.json {
            true => context.client.crons(Some(env.clone())).await?,
            false => Vec::new(),
        };
        context.out.list(&rows, |rows| render(rows, &crons, Timestamp::now(), style))?;
        if rows.is_empty() {
            context.out.say(format!("no app on {env} yet; deploy one: ark deploy APP -e {env}"));
        }
        Ok(Exit::DONE)
    })
}

fn render(rows: &[AppRow], crons: &[CronView], now: Timestamp, style: Style) -> String {
    let mut table = Table::new([
        "app",
        "live",
        "age",
        "instances",
        "requests/s",
        "failed 1 h",
        "p99",
        "last deployment",
    ]);
    for row in rows {
        let traffic = row.traffic.as_ref();
        table.row([
            row.app.to_string(),
            release_or_dash(row.live),
            or_dash(row.live_since.map(|since| ago(since, now, style))),
            instances(row, crons, now, style),
            or_dash(traffic.map(|t| rate(t.requests_per_s))),
            or_dash(traffic.map(|t| failures(t.failed_1h, t.served_1h + t.failed_1h))),
            or_dash(traffic.and_then(|t| t.p99_ms).map(length)),
            last_deployment(row),
        ]);
    }
    let mut text = table.render(style);
    for row in rows {
        for limit in &row.not_enforced {
            text.push_str(&format!(
                "\n{}: {} is not enforced here: {}",
                row.app, limit.path, limit.reason
            ));
        }
    }
    text
}

/// What there is of an app: so many of so many where it is always there, else what is true of its kind.
fn instances(row: &AppRow, crons: &[CronView], now: Timestamp, style: Style) -> String {
    if row.stopped {
        return if row.alive == 0 { "stopped".into() } else { format!("stopping, {}", row.alive) };
    }
    let lost = match row.lost_1h {
        0 => String::new(),
        lost => format!(", {lost} lost in 1 h"),
    };
    let standing = match row.kind {
        Some(RunKind::Cron) => match crons.iter().find(|cron| cron.app == row.app) {
            Some(cron) if cron.next_at.is_some() && cron.paused_by.is_none() => {
                format!("next {}", next(cron, now, style))
            }
            Some(cron) => next(cron, now, style),
            None => "cron".to_owned(),
        },
        Some(RunKind::Job) => "on demand".to_owned(),
        Some(RunKind::Lambda) if row.wanted == 0 && row.ready == 0 => "idle".to_owned(),
        Some(RunKind::Lambda) if row.ready >= row.wanted => format!("{} warm", row.ready),
        Some(RunKind::Lambda | RunKind::Service | RunKind::Worker | RunKind::Daemon) | None => {
            format!("{}/{}", row.ready, row.wanted)
        }
    };
    format!("{standing}{lost}")
}

fn last_deployment(row: &AppRow) -> String {
    if let Some(running) = &row.running_deployment {
        let waiting = match &row.waiting_deployment {
            Some(waiting) => format!(", {} waits", waiting.release),
            None => String::new(),
        };
        let doing = match running.state {
            DeploymentState::Returning => "returning from",
            _ => "deploying",
        };
        let hook = match &running.hook {
            Some(hook) => format!(", {hook}"),
            None => String::new(),
        };
        return format!("▸ {doing} {}{hook}{waiting}", running.release);
    }
    row.last_deployment.as_ref().map_or_else(|| "–".to_owned(), |last| ended(last, row))
}

fn ended(last: &DeploymentSummary, row: &AppRow) -> String {
    let words = |(lost, all)| format!(", {} of {} failed", count(lost), count(all));
    let traffic = last.lost().map(words).unwrap_or_default();
    let by = &last.created_by;
    let rollback = match last.kind {
        DeploymentKind::Rollback => "rollback, ",
        DeploymentKind::Deploy => "",
    };
    match last.state {
        DeploymentState::Succeeded => {
            let took = last.live_after_ms.map_or_else(|| "–".to_owned(), length);
            format!("✓ {rollback}{took}{traffic}, {by}")
        }
        DeploymentState::RolledBack => {
            let why = last.diagnosis.as_deref().unwrap_or("failed");
            let base = release_or_dash(last.base.or(row.live));
            format!("✗ {} {why}, back on {base}", last.release)
        }
        DeploymentState::Superseded => format!("– {} superseded", last.release),
        _ => {
            let why = last.diagnosis.as_deref().unwrap_or("failed");
            format!("✗ {} {why}", last.release)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::api::TrafficView;
    use ark_model::{DeploymentId, ReleaseNumber};

    fn row(app: &str) -> AppRow {
        AppRow {
            env: "production".parse().unwrap(),
            app: app.parse().unwrap(),
            kind: Some(RunKind::Service),
            data_store: None,
            live: Some(ReleaseNumber(42)),
            live_since: Some("2026-05-01T11:58:00Z".parse().unwrap()),
            wanted: 3,
            ready: 3,
            alive: 3,
            stopped: false,
            lost_1h: 0,
            traffic: None,
            last_deployment: None,
            running_deployment: None,
            waiting_deployment: None,
            not_enforced: Vec::new(),
        }
    }

    fn summary(state: DeploymentState) -> DeploymentSummary {
        DeploymentSummary {
            id: DeploymentId(uuid::Uuid::nil()),
            kind: DeploymentKind::Deploy,
            release: ReleaseNumber(42),
            base: Some(ReleaseNumber(41)),
            state,
            created_at: "2026-05-01T11:57:00Z".parse().unwrap(),
            created_by: "ana".into(),
            live_after_ms: Some(31_400),
            hook: None,
            finished_at: None,
            diagnosis: Some("crashed: exit 1".into()),
            served: Some(12_884),
            failed: Some(0),
            cut: Some(0),
        }
    }

    #[test]
    fn an_environment_at_a_glance() {
        let mut web = row("web");
        web.traffic = Some(TrafficView {
            requests_per_s: 412.3,
            served_1h: 40_000,
            failed_1h: 0,
            p99_ms: Some(38),
        });
        web.last_deployment = Some(summary(DeploymentState::Succeeded));
        let mut mailer = row("mailer");
        mailer.ready = 2;
        mailer.lost_1h = 1;
        mailer.last_deployment = Some(summary(DeploymentState::RolledBack));
        let mut search = row("search");
        search.running_deployment = Some(summary(DeploymentState::Replacing));
        let mut old = row("old");
        (old.stopped, old.ready, old.wanted, old.alive) = (true, 0, 0, 0);
        let now = "2026-05-01T12:00:00Z".parse().unwrap();
        insta::assert_snapshot!(render(&[web, mailer, search, old], &[], now, Style::plain(120)), @r"
        app     live  age  instances           requests/s  failed 1 h  p99    last deployment
        web     v42   2 m  3/3                 412         0           38 ms  ✓ 31 s, 0 of 12,884 failed, ana
        mailer  v42   2 m  2/3, 1 lost in 1 h  –           –           –      ✗ v42 crashed: exit 1, back on v41
        search  v42   2 m  3/3                 –           –           –      ▸ deploying v42
        old     v42   2 m  stopped             –           –           –      –
        ");
    }

    /// Of what comes and goes `0/0` would read as a failure.
    #[test]
    fn each_kind_says_what_is_true_of_it() {
        let now: Timestamp = "2026-05-01T12:00:00Z".parse().unwrap();
        let cron = CronView {
            env: "production".parse().unwrap(),
            app: "nightly".parse().unwrap(),
            schedule: "30 3 * * *".into(),
            timezone: "UTC".into(),
            overlap: Default::default(),
            missed: Default::default(),
            next_at: Some("2026-05-01T15:30:00Z".parse().unwrap()),
            paused_by: None,
            paused_at: None,
            stopped: false,
            running: 0,
            last: None,
        };
        let paused = CronView {
            app: "weekly".parse().unwrap(),
            paused_by: Some("ana".into()),
            ..cron.clone()
        };
        let crons = [cron, paused];
        let told = |kind, app: &str, (ready, wanted)| {
            let row = AppRow { kind: Some(kind), ready, wanted, alive: ready, ..row(app) };
            instances(&row, &crons, now, Style::plain(120))
        };
        for (kind, app, count, words) in [
            (RunKind::Lambda, "resize", (0, 0), "idle"),
            (RunKind::Lambda, "resize", (2, 2), "2 warm"),
            (RunKind::Lambda, "resize", (2, 1), "2 warm"),
            (RunKind::Lambda, "resize", (0, 1), "0/1"),
            (RunKind::Job, "import", (0, 0), "on demand"),
            (RunKind::Cron, "nightly", (0, 0), "next in 3 h"),
            (RunKind::Cron, "weekly", (0, 0), "paused by ana"),
            (RunKind::Cron, "unseen", (0, 0), "cron"),
            (RunKind::Worker, "mailer", (0, 0), "0/0"),
        ] {
            assert_eq!(told(kind, app, count), words, "{app}");
        }
    }
}
