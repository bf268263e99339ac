//! Hooks of a deployment in words: which ran, which runs, how they ended.
//!
//! Pure: values in, lines out. Shown by `deployment`.

use ark_model::api::DeploymentView;
use ark_model::hook::{HookRun, HookStage, HookState, HookWhat};
use jiff::Timestamp;

use super::rollout::{Mark, StepLine};
use super::times::{age, between_ms, length};

/// The hooks of one stage.
pub(crate) fn lines(view: &DeploymentView, stage: HookStage, now: Timestamp) -> Vec<StepLine> {
    view.hooks.iter().filter(|run| run.stage == stage).map(|run| line_of(run, now)).collect()
}

fn line_of(run: &HookRun, now: Timestamp) -> StepLine {
    let mark = match run.state {
        HookState::Succeeded => Mark::Done,
        HookState::Running | HookState::Stopping => Mark::Current,
        HookState::Waiting | HookState::Cancelled => Mark::Ahead,
        HookState::Failed => Mark::Bad,
    };
    let note = run.note.clone().unwrap_or_default();
    let since = run.begun_at.map_or_else(String::new, |at| age(between_ms(at, now)));
    let how = match (run.state, run.begun_at.zip(run.ended_at)) {
        (HookState::Succeeded, Some((begun, ended))) => length(between_ms(begun, ended)),
        (HookState::Running, _) => match (&run.what, note.is_empty()) {
            (HookWhat::Webhook { .. }, false) => {
                format!("for {since}, asked {} times, last: {note}", run.attempts)
            }
            (HookWhat::Webhook { .. } | HookWhat::Command { .. }, _) => format!("for {since}"),
        },
        (HookState::Stopping, _) => "is being ended".to_owned(),
        (HookState::Failed | HookState::Cancelled, _) => note,
        (HookState::Succeeded, None) => String::new(),
        (HookState::Waiting, _) => "to come".to_owned(),
    };
    StepLine { mark, words: run.name.clone(), facts: format!("{}   {how}", run.what.words()) }
}

/// `hook pre_deploy (./migrate)`, of the one under way.
pub(crate) fn line(view: &DeploymentView) -> Option<String> {
    let run = view.hooks.iter().find(|run| run.state.is_active())?;
    Some(format!("hook {}", run.words()))
}

#[cfg(test)]
mod tests {
    use ark_model::definition::Hooks;

    use super::*;

    #[test]
    fn each_end_has_its_words() {
        let at = |second| Timestamp::from_second(second).expect("a small number");
        let hooks =
            Hooks { pre_deploy: Some(vec!["./migrate".into(), "up".into()]), ..Hooks::default() };
        let run = HookRun::all(&hooks).remove(0);
        let begun = HookRun { begun_at: Some(at(10)), ..run.clone() };
        let with = |state, note: Option<&str>| HookRun {
            state,
            ended_at: Some(at(13)),
            note: note.map(str::to_owned),
            ..begun.clone()
        };
        for (run, facts) in [
            (run, "./migrate up   to come"),
            (with(HookState::Running, None), "./migrate up   for 10 s"),
            (with(HookState::Succeeded, None), "./migrate up   3 s"),
            (with(HookState::Failed, Some("exit 1")), "./migrate up   exit 1"),
        ] {
            let line = line_of(&run, at(20));
            assert_eq!((line.words.as_str(), line.facts.as_str()), ("pre_deploy", facts));
        }
    }
}
