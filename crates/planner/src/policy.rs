//! What a definition allows, in numbers: read by every plan, changed by none.

use std::time::Duration;

use ark_model::definition::{
    Definition, DeployPolicy, Hooks, Quantity, Readiness, RunKind, Step, Strategy,
};
use ark_model::environment::EnvKind;

/// How one release is rolled out, in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How the new side takes over.
    pub strategy: Strategy,
    /// Instances that the definition asks for when nobody scaled.
    pub count: u32,
    /// Whether somebody can scale.
    pub scales: bool,
    /// Instances above the wanted number while replacing; rounded up.
    pub max_surge: Quantity,
    /// Instances below the wanted number while replacing; rounded down.
    pub max_unavailable: Quantity,
    /// Whether an instance begins only when every other one has ended.
    pub alone: bool,
    /// How long an instance must have been ready before it receives traffic.
    pub min_healthy_time: Duration,
    /// How long an instance may take to become ready.
    pub ready_timeout: Duration,
    /// How long a deployment may go without a step forward.
    pub progress_deadline: Duration,
    /// How long a deployment may take in all, draining of the old side not counted.
    pub deadline: Duration,
    /// How long plain requests may go on in a draining instance.
    pub drain_requests: Duration,
    /// How long streams may go on in a draining instance.
    pub drain_streams: Duration,
    /// How long an instance may take to end after its stop signal.
    pub stop_grace: Duration,
    /// How readiness is known.
    pub readiness: ReadyBy,
    /// The steps in which the new side gets the traffic; none when instances are replaced one by
    /// one. The last gives all of it.
    pub steps: Vec<Step>,
    /// How long the old side is kept after the switch.
    pub keep_old: Duration,
    /// How long the judge watches after the end.
    pub watch: Duration,
    /// Commands and calls around it.
    pub hooks: Hooks,
    /// Whether each host has one, and no host two.
    pub one_per_host: bool,
    /// Whether its instances are containers of an image, which may have to be fetched. The definition
    /// does not say; whoever knows the release sets it.
    pub runs_image: bool,
}

/// Blue-green is a canary whose first step is its last.
fn steps(deploy: &DeployPolicy, strategy: Strategy) -> Vec<Step> {
    match strategy {
        Strategy::Rolling | Strategy::Recreate => Vec::new(),
        Strategy::BlueGreen => vec![Step::Weight(100)],
        Strategy::Canary => {
            let mut steps = match deploy.steps.is_empty() {
                true => DeployPolicy::default_steps(),
                false => deploy.steps.clone(),
            };
            // Written or not, the end is all of the traffic, and nothing waits after it.
            steps.truncate(
                steps.iter().position(|s| *s == Step::Weight(100)).unwrap_or(steps.len()),
            );
            steps.push(Step::Weight(100));
            steps
        }
    }
}

/// Waiting for an instance to count is no progress, and must not be given up on alone: should it take
/// as long as the deadline, the deadline begins after it. New launch files may not say so; releases made
/// before that was judged may, and defaults of ours next to a short deadline.
fn progress_deadline(
    deploy: &DeployPolicy,
    readiness: ReadyBy,
    min_healthy_time: Duration,
) -> Duration {
    let counts_after = match readiness {
        ReadyBy::Probe => min_healthy_time,
        ReadyBy::Running(time) => time,
    };
    match deploy.progress_deadline.get() {
        deadline if counts_after >= deadline => deadline.saturating_add(counts_after),
        deadline => deadline,
    }
}

/// How it is known that an instance is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyBy {
    /// The gateway probes it.
    Probe,
    /// It has been running for so long (work without ports).
    Running(Duration),
}

/// Time an instance must have been ready in a permanent environment when the file does not say.
const MIN_HEALTHY_PERMANENT: Duration = Duration::from_secs(5);

impl Policy {
    /// Reads the policy out of a definition.
    pub fn of(definition: &Definition, kind: EnvKind, strategy: Strategy) -> Self {
        let deploy = &definition.deploy;
        let min_healthy_time = match (deploy.min_healthy_time, kind) {
            (Some(time), _) => time.get(),
            (None, EnvKind::Permanent) => MIN_HEALTHY_PERMANENT,
            (None, EnvKind::Development) => Duration::ZERO,
        };
        let readiness = match definition.readiness() {
            Readiness::Checks(_) => ReadyBy::Probe,
            Readiness::RunsFor(time) => ReadyBy::Running(time),
        };
        // Two daemons on one node would be in each other's way: each node's goes before the new one
        // comes, one node at a time.
        let daemon = definition.run.kind == RunKind::Daemon;
        // Two servers of a data store would destroy what they share.
        let alone = definition.data_store.is_some();
        let strategy = match (alone, daemon) {
            (true, _) => Strategy::Recreate,
            (false, true) => Strategy::Rolling,
            (false, false) => strategy,
        };
        let (max_surge, max_unavailable) = match daemon || alone {
            true => (Quantity::Count(0), Quantity::Count(1)),
            false => (deploy.max_surge, deploy.max_unavailable),
        };
        Self {
            strategy,
            count: definition.count(),
            scales: definition.scales(),
            max_surge,
            max_unavailable,
            alone,
            min_healthy_time,
            ready_timeout: deploy.ready_timeout.get(),
            progress_deadline: progress_deadline(deploy, readiness, min_healthy_time),
            deadline: deploy.deadline.get(),
            drain_requests: definition.drain.requests.get(),
            drain_streams: definition.drain.streams.get(),
            stop_grace: definition.run.stop_grace.get(),
            readiness,
            steps: steps(deploy, strategy),
            keep_old: deploy.keep_old_for(strategy).get(),
            watch: deploy.watch.get(),
            hooks: deploy.hooks.clone(),
            one_per_host: daemon,
            runs_image: false,
        }
    }

    /// Instances that are wanted, when `ark scale` said so much.
    pub fn wanted(&self, scale: Option<u32>) -> u32 {
        scale.filter(|_| self.scales).unwrap_or(self.count)
    }

    /// Instances above `wanted` while replacing. Never so few that nothing could move: with no
    /// surge and nothing allowed to be missing, one above is taken.
    pub fn surge(&self, wanted: u32) -> u32 {
        let surge = self.max_surge.of_rounded_up(wanted);
        if surge == 0 && self.unavailable(wanted) == 0 { 1 } else { surge }
    }

    /// Instances that may be missing while replacing.
    pub fn unavailable(&self, wanted: u32) -> u32 {
        self.max_unavailable.of_rounded_down(wanted).min(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::definition::{DurationText, Expose, Run};

    #[test]
    fn a_daemon_goes_before_the_next_one_comes() {
        let daemon = Definition::of_run(Run::of_kind(RunKind::Daemon));
        let policy = Policy::of(&daemon, EnvKind::Permanent, Strategy::Canary);
        assert_eq!(policy.strategy, Strategy::Rolling);
        for nodes in [1, 2, 7] {
            assert_eq!((policy.surge(nodes), policy.unavailable(nodes)), (0, 1), "{nodes} nodes");
        }
        assert_eq!(policy.wanted(Some(5)), 1, "nobody scales it");
        let worker = Definition::of_run(Run::of_kind(RunKind::Worker));
        let policy = Policy::of(&worker, EnvKind::Permanent, Strategy::Rolling);
        assert_eq!((policy.surge(1), policy.wanted(Some(5))), (1, 5));
    }

    #[test]
    fn an_instance_has_time_to_count_before_the_deployment_is_given_up() {
        let of = |ports: bool, healthy: Option<u64>, progress: u64| {
            let mut definition = Definition::of_run(Run::of_kind(RunKind::Worker));
            if ports {
                definition.expose = vec![Expose::new("http", 80)];
            }
            definition.deploy.min_healthy_time = healthy.map(DurationText::from_secs);
            definition.deploy.progress_deadline = DurationText::from_secs(progress);
            let policy = Policy::of(&definition, EnvKind::Permanent, Strategy::Rolling);
            policy.progress_deadline.as_secs()
        };
        for ports in [false, true] {
            for (healthy, progress, expected) in [
                (None, 300, 300),
                (Some(299), 300, 300),
                (Some(300), 300, 600),
                (Some(360), 300, 660),
            ] {
                assert_eq!(
                    of(ports, healthy, progress),
                    expected,
                    "{ports} {healthy:?} {progress}"
                );
            }
        }
        // 10 s of running for work without ports, 5 s of being ready with them.
        assert_eq!((of(false, None, 8), of(true, None, 8), of(true, None, 5)), (18, 8, 10));
    }
}
