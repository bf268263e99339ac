//! What a deployment or a rollback would do, step by step, in words. Pure: told from records and
//! policies by `plan` and `rollbacks`.

use ark_model::definition::{Definition, RunKind, Step, Strategy};
use ark_model::hook::{HookRun, HookStage, HookWhat};
use ark_model::{Deployment, DeploymentState, ReleaseNumber};
use ark_planner::Policy;
use ark_planner::policy::ReadyBy;

/// A release, with its definition where that is on record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) release: ReleaseNumber,
    pub(super) definition: Option<&'a Definition>,
}

impl<'a> Side<'a> {
    pub(super) fn of(release: ReleaseNumber, definition: &'a Definition) -> Self {
        Self { release, definition: Some(definition) }
    }
}

/// What a deployment is told from.
#[derive(Debug)]
pub(super) struct Deploy<'a> {
    /// Of the release that is deployed.
    pub(super) policy: &'a Policy,
    pub(super) to: Side<'a>,
    /// Whether the release is on record already.
    pub(super) exists: bool,
    /// Instances wanted in the end.
    pub(super) wanted: u32,
    pub(super) live: Option<Side<'a>>,
    /// Whether the app was stopped: nothing runs, whatever is live.
    pub(super) stopped: bool,
}

/// What a rollback is told from.
#[derive(Debug)]
pub(super) struct Rollback<'a> {
    /// Of the release that is gone back to.
    pub(super) policy: &'a Policy,
    pub(super) to: Side<'a>,
    /// Instances wanted in the end.
    pub(super) wanted: u32,
    pub(super) live: Option<Side<'a>>,
    /// The deployment that gives way.
    pub(super) running: Option<(&'a Deployment, Side<'a>)>,
    /// The release of the deployment that waits.
    pub(super) waiting: Option<ReleaseNumber>,
    /// Whether the app was stopped: nothing runs, whatever is live.
    pub(super) stopped: bool,
}

impl Deploy<'_> {
    pub(super) fn steps(&self) -> Vec<String> {
        let new = self.to.release;
        let mut steps = Vec::new();
        steps.push(match self.exists {
            true => format!("use release {new}, which has this content already"),
            false => format!("make release {new}"),
        });
        hooks(&mut steps, self.policy, HookStage::PreDeploy);
        let old = self.live.filter(|_| !self.stopped);
        Takeover { policy: self.policy, to: self.to, wanted: self.wanted }.steps(&mut steps, old);
        hooks(&mut steps, self.policy, HookStage::PostDeploy);
        steps.push(format!("give up and go back {}", given_up(self.policy)));
        if !self.policy.watch.is_zero() && self.live.is_some_and(|live| live.release != new) {
            steps.push(format!(
                "watch it for {} after the end; go back when the judge turns bad",
                seconds(self.policy.watch)
            ));
        }
        steps
    }
}

impl Rollback<'_> {
    /// Nothing when the release is live and nothing is under way.
    pub(super) fn steps(&self) -> Vec<String> {
        let target = self.to.release;
        let is_live = self.live.is_some_and(|live| live.release == target);
        let mut steps = Vec::new();
        if let Some(waiting) = self.waiting {
            steps.push(format!("withdraw the deployment of {waiting}, which waits"));
        }
        if let Some((running, side)) = &self.running {
            steps.push(match running.state {
                DeploymentState::Draining | DeploymentState::Keeping => format!(
                    "end the deployment of {}: it is live, and nothing more is waited for",
                    side.release
                ),
                _ => format!("abort the running deployment of {}", side.release),
            });
        }
        if is_live && steps.is_empty() && !self.stopped {
            return steps;
        }
        if !is_live {
            steps.push(format!(
                "use release {target} with the artifact, the configuration and the definition it had"
            ));
        }
        if !HookRun::all(&self.policy.hooks).is_empty() {
            steps.push("run no hooks: nothing holds up the way back".to_owned());
        }
        let takeover = Takeover { policy: self.policy, to: self.to, wanted: self.wanted };
        let live = self.live.filter(|_| !self.stopped);
        let half_way = self.running.map(|(_, side)| side).filter(|side| {
            side.release != target && self.live.is_none_or(|live| live.release != side.release)
        });
        match (live, half_way) {
            (Some(live), Some(half_way)) if live.release == target => {
                takeover.restored(&mut steps, half_way);
            }
            (Some(live), None) if live.release == target => {
                steps.push(format!("keep {target}, which is live"));
                return steps;
            }
            (live, half_way) => {
                takeover.steps(&mut steps, live);
                steps.extend(half_way.map(drained));
            }
        }
        steps.push(match self.live.filter(|live| live.release != target) {
            Some(live) => {
                format!("give up and return to {} {}", live.release, given_up(self.policy))
            }
            None => format!("give up {}", given_up(self.policy)),
        });
        steps
    }
}

/// One release takes the place of another, or begins.
struct Takeover<'a> {
    policy: &'a Policy,
    to: Side<'a>,
    wanted: u32,
}

impl Takeover<'_> {
    fn steps(&self, steps: &mut Vec<String>, old: Option<Side<'_>>) {
        let counts = |side: Side<'_>| side.definition.is_none_or(|d| d.count() > 0);
        match old {
            _ if self.wanted == 0 => {
                let why = match self.to.definition.map(|d| d.run.kind) {
                    Some(RunKind::Cron) => "its schedule starts its runs",
                    Some(RunKind::Job) => "a run is started when it is asked for",
                    Some(RunKind::Lambda) => "its instances come with the requests",
                    Some(RunKind::Service | RunKind::Worker | RunKind::Daemon) | None => {
                        "0 instances are wanted"
                    }
                };
                steps.push(format!("start nothing: {why}"));
                // What ran by itself does so no longer.
                steps.extend(old.filter(|old| counts(*old) && !counts(self.to)).map(drained));
            }
            None => steps.push(self.started()),
            Some(old) => self.replacement(steps, old),
        }
    }

    /// When an instance counts, in words: `each gets traffic once it is ready`.
    fn counts(&self) -> String {
        let ready = self.ready();
        match self.has_ports() {
            true => format!("each gets traffic {ready}"),
            false => format!("each counts {ready}"),
        }
    }

    fn ready(&self) -> String {
        match self.policy.readiness {
            ReadyBy::Probe if self.policy.min_healthy_time.is_zero() => {
                "once it is ready".to_owned()
            }
            ReadyBy::Probe => {
                format!("once it has been ready for {}", seconds(self.policy.min_healthy_time))
            }
            ReadyBy::Running(time) => format!("once it has run for {}", seconds(time)),
        }
    }

    fn has_ports(&self) -> bool {
        self.to.definition.is_some_and(|definition| !definition.expose.is_empty())
    }

    fn started(&self) -> String {
        format!("start {}; {}", instances(self.wanted, self.to.release), self.counts())
    }

    fn emptied(&self, old: Side<'_>) -> String {
        let streams = match old.definition {
            Some(old) => old.drain.streams.get().min(old.drain.requests.get()),
            None => self.policy.drain_streams.min(self.policy.drain_requests),
        };
        format!(
            "stop all of {} first: two versions never run beside each other; new requests wait in \
             the gateway, streams are closed after {}",
            old.release,
            seconds(streams),
        )
    }

    /// How one release takes the other's place.
    fn replacement(&self, steps: &mut Vec<String>, old: Side<'_>) {
        let (policy, wanted) = (self.policy, self.wanted);
        let (live, new) = (old.release, self.to.release);
        match policy.strategy {
            Strategy::Rolling => {
                steps.push(format!(
                    "replace {} of {live} by {new}: {}; {}",
                    plural(wanted, "instance"),
                    self.at_a_time(),
                    self.counts(),
                ));
            }
            Strategy::Recreate => {
                steps.push(self.emptied(old));
                steps.push(self.started());
                return;
            }
            Strategy::BlueGreen => {
                steps.push(format!(
                    "start {} beside {live}, without traffic; each counts {}",
                    instances(wanted, new),
                    self.ready(),
                ));
                steps.push(format!(
                    "when all of them are ready: all of the traffic to {new} at once"
                ));
                steps.push(format!(
                    "keep {live} without traffic for {}, for an instant way back",
                    seconds(policy.keep_old)
                ));
            }
            Strategy::Canary => {
                steps.push(format!("run {new} beside the whole of {live}; {}", self.counts()));
                let all = policy.steps.len();
                let numbered = policy.steps.iter().enumerate();
                steps.extend(
                    numbered.map(|(i, s)| format!("step {} of {all}: {}", i + 1, s.words())),
                );
                if !self.has_ports() {
                    let words = "without ports, a weight is only approximated by the number of \
                                 instances";
                    steps.push(words.to_owned());
                    if policy.steps.iter().any(|step| matches!(step, Step::Analysis {})) {
                        let words = "without requests the judge has nothing to compare: each analysis \
                                     waits for a person to promote or abort, and aborts after 24 h";
                        steps.push(words.to_owned());
                    }
                }
            }
        }
        steps.push(drained(old));
    }

    /// What is live is made whole again, and what was to take its place goes.
    fn restored(&self, steps: &mut Vec<String>, half_way: Side<'_>) {
        let live = self.to.release;
        match self.policy.strategy {
            _ if self.wanted == 0 => self.steps(steps, None),
            Strategy::Recreate => {
                steps.push(self.emptied(half_way));
                steps.push(self.started());
                return;
            }
            Strategy::Rolling | Strategy::BlueGreen | Strategy::Canary => steps.push(format!(
                "start what is missing of {}: {}; {}",
                instances(self.wanted, live),
                self.at_a_time(),
                self.counts(),
            )),
        }
        steps.push(drained(half_way));
    }

    fn at_a_time(&self) -> String {
        let at_once = self.policy.surge(self.wanted).min(self.wanted);
        let missing = self.policy.unavailable(self.wanted);
        format!("up to {at_once} more at a time, at most {missing} fewer")
    }
}

/// How a release ends: by what its own definition says.
fn drained(old: Side<'_>) -> String {
    let release = old.release;
    let Some(definition) = old.definition else { return format!("stop {release}") };
    let grace = seconds(definition.run.stop_grace.get());
    let stop = format!("{}, then SIGKILL after {grace}", definition.run.stop_signal);
    match definition.expose.is_empty() {
        true => format!("stop {release}: {stop}"),
        false => format!(
            "let the requests in {release} end (at most {}, streams {}), then stop it: {stop}",
            seconds(definition.drain.requests.get()),
            seconds(definition.drain.streams.get()),
        ),
    }
}

/// When a deployment is given up.
fn given_up(policy: &Policy) -> String {
    format!(
        "when an instance is not ready within {}, nothing moves for {}, or after {} in all",
        seconds(policy.ready_timeout),
        seconds(policy.progress_deadline),
        seconds(policy.deadline),
    )
}

/// What is run and asked before it, or after it.
fn hooks(steps: &mut Vec<String>, policy: &Policy, stage: HookStage) {
    let own = HookRun::all(&policy.hooks).into_iter().filter(|run| run.stage == stage);
    steps.extend(own.map(|run| {
        let time = seconds(std::time::Duration::from_millis(run.timeout_ms));
        let (what, name) = (run.what.words(), &run.name);
        match (&run.what, stage) {
            (HookWhat::Command { .. }, HookStage::PreDeploy) => {
                format!("run {what} ({name}) before anything is touched, for at most {time}")
            }
            (HookWhat::Command { .. }, HookStage::PostDeploy) => {
                format!(
                    "run {what} ({name}) when it is live, for at most {time}; go back when it fails"
                )
            }
            (HookWhat::Webhook { .. }, HookStage::PreDeploy) => {
                format!("ask {what} ({name}) before anything is touched, for at most {time}")
            }
            (HookWhat::Webhook { .. }, HookStage::PostDeploy) => {
                format!(
                    "ask {what} ({name}) when it is live, for at most {time}; go back when it fails"
                )
            }
        }
    }));
}

fn instances(count: u32, release: ReleaseNumber) -> String {
    format!("{} of {release}", plural(count, "instance"))
}

fn plural(count: u32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn seconds(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 120 && seconds % 60 == 0 => format!("{} m", seconds / 60),
        0 if !time.is_zero() => format!("{} ms", time.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use ark_model::DeploymentId;
    use ark_model::definition::Run;
    use ark_model::definition::{DurationText, Expose};
    use ark_model::deployment::DeploymentKind;
    use ark_model::environment::EnvKind;
    use jiff::Timestamp;

    use super::*;

    fn service(drain_s: u64) -> Definition {
        let mut definition = Definition::of_run(Run::of_kind(RunKind::Service));
        definition.expose = vec![Expose::new("http", 80)];
        definition.drain.requests = DurationText::from_secs(drain_s);
        definition
    }

    fn running(release: u64, state: DeploymentState) -> Deployment {
        Deployment {
            state,
            ..Deployment::queued(
                "0".repeat(32).parse::<DeploymentId>().expect("32 digits"),
                ("production".parse().expect("a name"), "web".parse().expect("a name")),
                DeploymentKind::Deploy,
                ReleaseNumber(release),
                Strategy::Rolling,
                ("ana".into(), Timestamp::UNIX_EPOCH),
            )
        }
    }

    /// The first words of each step: enough to tell them apart.
    fn words(steps: &[String]) -> Vec<&str> {
        steps.iter().map(|step| step.split([',', ':', ';', '(']).next().unwrap_or(step)).collect()
    }

    #[test]
    fn a_rollback_says_what_becomes_of_what_is_under_way() {
        use DeploymentState::{Draining, Replacing};
        use Strategy::{Recreate, Rolling};
        let (of_one, of_two, of_three) = (service(11), service(12), service(13));
        let definitions = [&of_one, &of_two, &of_three];
        let side = |n: u64| Side::of(ReleaseNumber(n), definitions[n as usize - 1]);
        let used = |n: u64| format!("use release v{n} with the artifact");
        let (one, two) = (used(1), used(2));
        let until = "give up and return to";
        for (name, strategy, target, live, under_way, expected) in [
            (
                "plain",
                Rolling,
                1,
                2,
                None,
                vec![
                    &*one,
                    "replace 1 instance of v2 by v1",
                    "let the requests in v2 end",
                    "UNTIL v2",
                ],
            ),
            (
                "recreate goes to zero",
                Recreate,
                1,
                2,
                None,
                vec![&*one, "stop all of v2 first", "start 1 instance of v1", "UNTIL v2"],
            ),
            (
                "half way",
                Rolling,
                2,
                2,
                Some((3, Replacing)),
                vec![
                    "abort the running deployment of v3",
                    "start what is missing of 1 instance of v2",
                    "let the requests in v3 end",
                    "give up when an instance is not ready within 2 m",
                ],
            ),
            (
                "half way, recreate",
                Recreate,
                2,
                2,
                Some((3, Replacing)),
                vec![
                    "abort the running deployment of v3",
                    "stop all of v3 first",
                    "start 1 instance of v2",
                    "give up when an instance is not ready within 2 m",
                ],
            ),
            (
                "half way, to another",
                Rolling,
                1,
                2,
                Some((3, Replacing)),
                vec![
                    "abort the running deployment of v3",
                    &*one,
                    "replace 1 instance of v2 by v1",
                    "let the requests in v2 end",
                    "let the requests in v3 end",
                    "UNTIL v2",
                ],
            ),
            (
                "live already",
                Rolling,
                2,
                3,
                Some((3, Draining)),
                vec![
                    "end the deployment of v3",
                    &*two,
                    "replace 1 instance of v3 by v2",
                    "let the requests in v3 end",
                    "UNTIL v3",
                ],
            ),
            ("nothing to do", Rolling, 2, 2, None, vec![]),
        ] {
            let policy =
                Policy::of(side(target).definition.expect("it"), EnvKind::Permanent, strategy);
            let deployment = under_way.map(|(release, state)| running(release, state));
            let steps = Rollback {
                policy: &policy,
                to: side(target),
                wanted: 1,
                live: Some(side(live)),
                running: deployment.as_ref().map(|d| (d, side(d.release.0))),
                waiting: None,
                stopped: false,
            }
            .steps();
            let last =
                |live: &str| format!("{until} {live} when an instance is not ready within 2 m");
            let expected: Vec<String> = expected
                .into_iter()
                .map(|step| match step.strip_prefix("UNTIL ") {
                    Some(live) => last(live),
                    None => step.to_owned(),
                })
                .collect();
            let found: Vec<String> =
                words(&steps).into_iter().map(|s| s.trim().to_owned()).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn what_drains_does_so_by_its_own_definition() {
        let (old, new) = (service(11), service(12));
        let policy = Policy::of(&new, EnvKind::Permanent, Strategy::Rolling);
        let deploy = Deploy {
            policy: &policy,
            to: Side::of(ReleaseNumber(2), &new),
            exists: false,
            wanted: 1,
            live: Some(Side::of(ReleaseNumber(1), &old)),
            stopped: false,
        };
        let steps = deploy.steps();
        assert!(steps.iter().any(|step| step.contains("v1 end (at most 11 s")), "{steps:?}");
        // Nothing runs of an app that was stopped.
        let steps = Deploy { stopped: true, ..deploy }.steps();
        assert!(steps.iter().any(|step| step.starts_with("start 1 instance of v2")), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("requests in")), "{steps:?}");
    }

    #[test]
    fn work_that_ends_says_what_starts_it() {
        for (kind, expected) in [
            (RunKind::Cron, "start nothing: its schedule starts its runs"),
            (RunKind::Job, "start nothing: a run is started when it is asked for"),
            (RunKind::Worker, "start nothing: 0 instances are wanted"),
        ] {
            let definition = Definition::of_run(Run::of_kind(kind));
            let policy = Policy::of(&definition, EnvKind::Permanent, Strategy::Rolling);
            let to = Side::of(ReleaseNumber(1), &definition);
            let live = Some(Side::of(ReleaseNumber(2), &definition));
            let steps = Rollback {
                policy: &policy,
                to,
                wanted: 0,
                live,
                running: None,
                waiting: Some(ReleaseNumber(3)),
                stopped: false,
            }
            .steps();
            assert_eq!(steps[0], "withdraw the deployment of v3, which waits");
            assert_eq!(steps[2], expected, "{steps:?}");
        }
    }
}
