//! `ark plan`: what a deployment would do. Changes nothing (except that files are sent).

use ark_model::api::{DiagnosticSeverity, PlanView};
use ark_model::exit::ExitCode;

use super::deploy::{What, judge};
use super::diff::changes;
use crate::cli::block_on;
use crate::context::{Asking, Context, EnvArg};
use crate::failure::{Ended, Exit, Failure};
use crate::output::deployment::runs_as;
use crate::output::lines::wrap_remedies;
use crate::output::numbers::counted;
use crate::output::{Shown, Style};

/// What `plan` takes.
#[derive(Debug, clap::Args)]
#[command(
    before_help = "Examples:\n  ark plan web -e production\n  ark plan web -e production --release staging:v7\n  ark plan web -e production --json",
    after_help = "Exit codes: 0 nothing to do, 10 changes, 1 error or the deployment would be refused."
)]
pub(crate) struct Args {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    env: EnvArg,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn shown(args: &Args) -> Shown {
    args.asking.shown
}

pub(crate) fn run(args: Args) -> Ended {
    plan(args).map_err(unanswered)
}

/// Whatever goes wrong, a plan has one code for it: 10 and 0 are answers, 1 is none.
pub(super) fn unanswered(failure: Failure) -> Failure {
    Failure { exit: ExitCode::Failed.into(), ..failure }
}

fn plan(args: Args) -> Ended {
    let context = Context::new(&args.asking)?;
    let launch = match args.what.is_known() {
        true => None,
        false => {
            let launch = args.what.launch()?;
            let definition = judge(&launch, context.out)?;
            Some((launch, definition))
        }
    };
    let env = args.env.get()?;
    block_on(async {
        let (app, request) = match launch {
            Some((launch, definition)) => {
                let request = args.what.request(&context, &env, &launch, &definition).await?;
                (launch.app, request)
            }
            None => args.what.known(&env)?,
        };
        let plan = context.client.plan(&env, &app, &request).await?;
        say(&context, &plan)
    })
}

/// Prints a plan; the exit code says whether anything would change.
pub(super) fn say(context: &Context, plan: &PlanView) -> Ended {
    let style = context.out.style;
    context.out.one(plan, |plan| render(plan, style))?;
    Ok(verdict(plan))
}

fn verdict(plan: &PlanView) -> Exit {
    if !plan.missing.is_empty() || !plan.refusals.is_empty() {
        ExitCode::Failed.into()
    } else if plan.changes {
        ExitCode::Changes.into()
    } else {
        Exit::DONE
    }
}

fn render(plan: &PlanView, style: Style) -> String {
    let releases = match plan.live {
        Some(live) if live != plan.release => format!("{live} → {}", plan.release),
        Some(_) | None => plan.release.to_string(),
    };
    let instances = counted(u64::from(plan.instances), "instance");
    let mut lines =
        vec![format!("{} → {}   {releases}   {}, {instances}", plan.app, plan.env, plan.strategy)];
    // A server of an older version does not say it.
    if !plan.runs.is_empty() {
        lines.push(format!("  runs {}", runs_as(&plan.runs)));
    }
    if !plan.changes {
        lines.push("  nothing would change".to_owned());
    }
    lines.extend(changes(plan.artifact.as_ref(), &plan.config, &plan.definition, style));
    lines.extend(
        plan.steps.iter().enumerate().map(|(index, step)| format!("  {}. {step}", index + 1)),
    );
    for limit in &plan.not_enforced {
        lines.push(format!("  not enforced here: {}: {}", limit.path, limit.reason));
    }
    lines.extend(plan.notes.iter().map(|note| format!("  note: {note}")));
    for warning in &plan.warnings {
        let severity = match warning.severity {
            DiagnosticSeverity::Error => "error",
            DiagnosticSeverity::Warning => "warning",
        };
        lines.push(format!("  {severity} {}: {}", warning.code, warning.message));
    }
    if !plan.missing.is_empty() {
        let values = counted(plan.missing.len() as u64, "value");
        let names = plan.missing.join(", ");
        lines.push(format!("{} would be refused: {values} missing: {names}", style.bad("✗")));
    }
    for refusal in &plan.refusals {
        lines.push(format!("{} would be refused: {refusal}", style.bad("✗")));
    }
    lines.extend(wrap_remedies(&plan.remedy, style.width).into_iter().map(|l| format!("  {l}")));
    lines.join("\n")
}
