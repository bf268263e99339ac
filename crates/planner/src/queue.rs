//! Which deployment waits, which gives way, and where a rollback leads. Called by the server's API
//! inside the transaction that records a deployment; the running one is moved on by
//! [`crate::rollout`] alone, which acts on the wish recorded here.
//!
//! Of one app in one environment at most one deployment runs and at most one waits, the newest
//! (I6): a newer waiting one replaces an older waiting one.

use std::collections::BTreeSet;

use ark_model::deployment::{Abort, DeploymentKind, Strategy};
use ark_model::environment::AppState;
use ark_model::{Deployment, DeploymentState, ReleaseNumber};
use jiff::Timestamp;

/// What becomes of a deployment that runs when a new one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// It goes on; the new one waits for its end.
    Finishes,
    /// It ends now, without going back first: the new one takes over from where it stands.
    GivesWay,
}

/// What a new deployment changes about those before it. Everything here is to be recorded together
/// with the new deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Queued {
    /// The app, with the new deployment as its waiting one.
    pub app: AppState,
    /// The deployment that waited until now, ended as superseded.
    pub superseded: Option<Deployment>,
    /// The running deployment with the wish that it ends, when it has to give way.
    pub giving_way: Option<Deployment>,
}

/// Puts `new` into the queue of its app. `running` and `waiting` are the deployments that `app`
/// names, when they exist and have not ended.
///
/// A new deployment also starts an app that was stopped, and forgets the backoff: what failed to
/// start before is not what is to start now.
pub fn enqueue(
    app: &AppState,
    new: &Deployment,
    running: Option<&Deployment>,
    waiting: Option<&Deployment>,
    on_running: Running,
) -> Queued {
    let now = new.created_at;
    let mut app = app.clone();
    app.waiting = Some(new.id);
    app.stopped = false;
    app.failures = 0;
    app.start_after = None;
    app.updated_at = now;
    let reason = Some(match new.kind {
        DeploymentKind::Deploy => format!("{} is deployed instead", new.release),
        DeploymentKind::Rollback => format!("rolled back to {}", new.release),
    });
    let giving_way = match (on_running, running) {
        (Running::GivesWay, Some(running)) if !running.state.is_terminal() => {
            let mut running = running.clone();
            running.abort = Some(give_way(running.abort, &new.created_by, reason));
            Some(running)
        }
        (Running::GivesWay | Running::Finishes, _) => None,
    };
    let superseded = waiting.filter(|w| w.id != new.id).map(|w| supersede(w, now));
    Queued { app, superseded, giving_way }
}

/// Who asked first, and why, stays on record; only the way back is cut short.
fn give_way(asked: Option<Abort>, by: &str, reason: Option<String>) -> Abort {
    match asked {
        Some(asked) => Abort { superseded: true, ..asked },
        None => Abort { by: by.to_owned(), reason, superseded: true },
    }
}

/// Ends a deployment that never began.
pub fn supersede(waiting: &Deployment, now: Timestamp) -> Deployment {
    let mut ended = waiting.clone();
    ended.state = DeploymentState::Superseded;
    ended.finished_at = Some(now);
    ended
}

/// Releases a rollback without a named target may lead to, best first: those that completed their
/// watch windows, the last first; then the newest that succeeded; without the one that is being
/// left and without those that were themselves rolled back from.
///
/// `history` is the app's deployments, newest first. What is being left is the release of the
/// running deployment, if one runs, else the live one: undoing a deployment half way means what
/// was live before it.
pub fn rollback_targets(
    app: &AppState,
    running: Option<&Deployment>,
    history: &[Deployment],
) -> Vec<ReleaseNumber> {
    let Known { leaving, base, rejected, mut targets } = known(app, running, history);
    // Known good, even when the deployment that made it so is no longer in the history.
    if let Some(previous) = app.previous
        && Some(previous) != leaving
        && !rejected.contains(&previous)
        && !targets.contains(&previous)
    {
        targets.push(previous);
    }
    // Of a deployment half way, what was live before it comes first whatever was seen of it.
    let first = usize::from(base.is_some());
    targets[first..].sort_by_key(|release| std::cmp::Reverse(rank(app, *release)));
    targets
}

/// Whether the first of [`rollback_targets`] is the same however much older history follows: what is
/// newer has judged every release that could rank above it. So nobody reads a long history for it.
pub fn first_target_is_settled(
    app: &AppState,
    running: Option<&Deployment>,
    history: &[Deployment],
) -> bool {
    let Known { leaving, base, rejected, targets } = known(app, running, history);
    if base.is_some() {
        return true;
    }
    let Some(best) = targets.iter().map(|release| rank(app, *release)).max() else { return false };
    let judged = |good: &ReleaseNumber| Some(*good) == leaving || rejected.contains(good);
    let above = best.map_or(0, |best| best + 1);
    app.good.iter().skip(above).all(judged)
}

/// How good a release is known to be: later in the list is better, outside of it worst.
fn rank(app: &AppState, release: ReleaseNumber) -> Option<usize> {
    app.good.iter().rposition(|good| *good == release)
}

/// What a piece of history says about where a rollback may lead.
struct Known {
    leaving: Option<ReleaseNumber>,
    /// What is live and yet to be left: a deployment runs, and this is where it started from.
    base: Option<ReleaseNumber>,
    rejected: BTreeSet<ReleaseNumber>,
    /// In the order of the history, the base first.
    targets: Vec<ReleaseNumber>,
}

fn known(app: &AppState, running: Option<&Deployment>, history: &[Deployment]) -> Known {
    let leaving = running.map(|d| d.release).or(app.live);
    let base = app.live.filter(|live| running.is_some() && Some(*live) != leaving);
    let mut rejected = BTreeSet::new();
    let mut targets: Vec<ReleaseNumber> = base.into_iter().collect();
    for d in history.iter().filter(|d| d.state == DeploymentState::Succeeded) {
        let known = targets.contains(&d.release);
        if Some(d.release) != leaving && !rejected.contains(&d.release) && !known {
            targets.push(d.release);
        }
        // Whoever rolled back from a release judged it; what succeeded with it before that does
        // not make it good again.
        if d.kind == DeploymentKind::Rollback {
            rejected.extend(d.base);
        }
    }
    Known { leaving, base, rejected, targets }
}

/// Whether a release was live not long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recent {
    /// Among the last [`RECENT_MAX`] that were live before the one that is left.
    Yes,
    /// Longer ago, or never.
    No,
}

/// So many releases back a rollback needs no steps.
pub const RECENT_MAX: usize = 3;

/// Whether `target` was live among the last few releases before the one that is left. `history` is
/// the app's deployments, newest first.
pub fn recent(app: &AppState, target: ReleaseNumber, history: &[Deployment]) -> Recent {
    let mut before: Vec<ReleaseNumber> = Vec::new();
    for d in history.iter().filter(|d| d.state == DeploymentState::Succeeded) {
        if Some(d.release) != app.live && !before.contains(&d.release) {
            before.push(d.release);
        }
    }
    let known = before.iter().take(RECENT_MAX).any(|release| *release == target);
    // What is live while a deployment runs is where that one returns to.
    if known || app.live == Some(target) { Recent::Yes } else { Recent::No }
}

/// How a rollback to a release takes over: one that says `recreate` may not run beside another; one
/// that served not long ago needs no steps.
pub fn rollback_strategy(asked: Strategy, recent: Recent) -> Strategy {
    match (asked, recent) {
        (Strategy::Recreate, _) => Strategy::Recreate,
        (Strategy::Rolling | Strategy::BlueGreen | Strategy::Canary, Recent::Yes) => {
            Strategy::Rolling
        }
        (asked, Recent::No) => asked,
    }
}

#[cfg(test)]
mod tests {

    use ark_model::DeploymentId;
    use ark_model::definition::Strategy;
    use proptest::prelude::*;
    use proptest::strategy::Strategy as _;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number")
    }

    fn deployment(n: u128, release: u64, state: DeploymentState) -> Deployment {
        Deployment {
            state,
            ..Deployment::queued(
                format!("{n:032x}").parse::<DeploymentId>().expect("32 digits"),
                ("production".parse().expect("a name"), "web".parse().expect("a name")),
                DeploymentKind::Deploy,
                ReleaseNumber(release),
                Strategy::Rolling,
                ("ana".into(), at(n as i64)),
            )
        }
    }

    fn rollback(n: u128, release: u64, base: u64, state: DeploymentState) -> Deployment {
        Deployment {
            kind: DeploymentKind::Rollback,
            base: Some(ReleaseNumber(base)),
            ..deployment(n, release, state)
        }
    }

    fn app(live: Option<u64>) -> AppState {
        let mut app =
            AppState::new("production".parse().expect("name"), "web".parse().expect("name"), at(0));
        app.live = live.map(ReleaseNumber);
        app
    }

    #[test]
    fn a_newer_waiting_deployment_replaces_an_older_one() {
        let (running, old) = (
            deployment(1, 1, DeploymentState::Replacing),
            deployment(2, 2, DeploymentState::Queued),
        );
        let new = deployment(3, 3, DeploymentState::Queued);
        let mut before = app(Some(1));
        before.running = Some(running.id);
        before.waiting = Some(old.id);
        before.stopped = true;
        before.failures = 4;
        let queued = enqueue(&before, &new, Some(&running), Some(&old), Running::Finishes);
        assert_eq!(queued.app.waiting, Some(new.id));
        assert_eq!(queued.app.running, Some(running.id), "the running one is not touched");
        assert_eq!(queued.giving_way, None);
        assert!(!queued.app.stopped && queued.app.failures == 0);
        let ended = queued.superseded.expect("the older one ends");
        assert_eq!((ended.id, ended.state), (old.id, DeploymentState::Superseded));
        assert_eq!(ended.finished_at, Some(new.created_at));
        assert_eq!(ended.receipt, None);
    }

    #[test]
    fn a_running_deployment_gives_way_once_and_keeps_who_asked_first() {
        let new = deployment(3, 3, DeploymentState::Queued);
        let mut running = deployment(1, 1, DeploymentState::Replacing);
        let give = |running: &Deployment| {
            enqueue(&app(None), &new, Some(running), None, Running::GivesWay).giving_way
        };
        let abort = give(&running).and_then(|d| d.abort).expect("it is to end");
        assert_eq!((abort.by.as_str(), abort.superseded), ("ana", true));
        running.abort =
            Some(Abort { by: "bo".into(), reason: Some("bad".into()), superseded: false });
        let abort = give(&running).and_then(|d| d.abort).expect("it is to end");
        assert_eq!((abort.by.as_str(), abort.superseded), ("bo", true));
        running.state = DeploymentState::Succeeded;
        assert_eq!(give(&running), None, "what has ended is left alone");
    }

    #[test]
    fn a_rollback_leads_to_the_last_good_release() {
        use DeploymentState::{Draining, Failed, Replacing, RolledBack, Succeeded};
        let d = deployment;
        let r = rollback;
        for (name, live, previous, running, history, expected) in [
            ("nothing before", Some(1), None, None, vec![d(1, 1, Succeeded)], vec![]),
            ("never deployed", None, None, None, vec![], vec![]),
            (
                "the one before",
                Some(2),
                None,
                None,
                vec![d(2, 2, Succeeded), d(1, 1, Succeeded)],
                vec![1],
            ),
            (
                "failed ones are skipped",
                Some(4),
                None,
                None,
                vec![d(4, 4, Succeeded), d(3, 3, RolledBack), d(2, 2, Failed), d(1, 1, Succeeded)],
                vec![1],
            ),
            (
                "half way: what was live",
                Some(2),
                Some(1),
                Some(d(3, 3, Replacing)),
                vec![d(3, 3, Replacing), d(2, 2, Succeeded), d(1, 1, Succeeded)],
                vec![2, 1],
            ),
            (
                "live already, old side draining",
                Some(3),
                Some(2),
                Some(d(3, 3, Draining)),
                vec![d(3, 3, Draining), d(2, 2, Succeeded), d(1, 1, Succeeded)],
                vec![2, 1],
            ),
            (
                "twice goes further back, not forth",
                Some(2),
                Some(3),
                None,
                vec![
                    r(4, 2, 3, Succeeded),
                    d(3, 3, Succeeded),
                    d(2, 2, Succeeded),
                    d(1, 1, Succeeded),
                ],
                vec![1],
            ),
            (
                "deployed again after a rollback is good again",
                Some(4),
                None,
                None,
                vec![
                    d(6, 4, Succeeded),
                    d(5, 3, Succeeded),
                    r(4, 2, 3, Succeeded),
                    d(3, 3, Succeeded),
                    d(2, 2, Succeeded),
                ],
                vec![3, 2],
            ),
            (
                "a failed rollback judges nothing",
                Some(3),
                None,
                None,
                vec![
                    r(4, 2, 3, RolledBack),
                    d(3, 3, Succeeded),
                    d(2, 2, Succeeded),
                    d(1, 1, Succeeded),
                ],
                vec![2, 1],
            ),
            ("the history was cut", Some(9), Some(8), None, vec![d(9, 9, Succeeded)], vec![8]),
        ] {
            let mut app = app(live);
            app.previous = previous.map(ReleaseNumber);
            app.running = running.as_ref().map(|d| d.id);
            let found = rollback_targets(&app, running.as_ref(), &history);
            let expected: Vec<_> = expected.into_iter().map(ReleaseNumber).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_rollback_to_a_recent_release_needs_no_steps() {
        use DeploymentState::{RolledBack, Succeeded};
        let history: Vec<Deployment> = [
            (9, 9, Succeeded),
            (8, 8, Succeeded),
            (7, 7, RolledBack),
            (6, 6, Succeeded),
            (5, 8, Succeeded),
            (4, 4, Succeeded),
            (3, 3, Succeeded),
        ]
        .into_iter()
        .map(|(n, release, state)| deployment(n, release, state))
        .collect();
        for (target, expected) in
            [(8, Recent::Yes), (6, Recent::Yes), (4, Recent::Yes), (3, Recent::No), (7, Recent::No)]
        {
            assert_eq!(
                recent(&app(Some(9)), ReleaseNumber(target), &history),
                expected,
                "{target}"
            );
        }
        assert_eq!(rollback_strategy(Strategy::Canary, Recent::Yes), Strategy::Rolling);
        assert_eq!(rollback_strategy(Strategy::Canary, Recent::No), Strategy::Canary);
        assert_eq!(rollback_strategy(Strategy::Recreate, Recent::Yes), Strategy::Recreate);
    }

    #[test]
    fn what_completed_its_watch_window_is_gone_back_to_first() {
        let d = deployment;
        let history = [
            d(4, 4, DeploymentState::Succeeded),
            d(3, 3, DeploymentState::Succeeded),
            d(2, 2, DeploymentState::Succeeded),
            d(1, 1, DeploymentState::Succeeded),
        ];
        let mut state = app(Some(4));
        state.good = vec![ReleaseNumber(1), ReleaseNumber(2)];
        let found = rollback_targets(&state, None, &history);
        assert_eq!(found, [2, 1, 3].map(ReleaseNumber));
        // Of a deployment half way, what was live before it comes first.
        state.live = Some(ReleaseNumber(3));
        let running = d(4, 4, DeploymentState::Stepping);
        let found = rollback_targets(&state, Some(&running), &history[1..]);
        assert_eq!(found, [3, 2, 1].map(ReleaseNumber));
    }

    /// Deployments of a release by how they ended: well, badly, or a rollback from a base that did.
    fn history(releases: &[(u64, u8, u64)]) -> Vec<Deployment> {
        let ended = |(i, (release, how, base)): (usize, &(u64, u8, u64))| match how {
            0 => deployment(i as u128, *release, DeploymentState::Succeeded),
            1 => deployment(i as u128, *release, DeploymentState::Failed),
            _ => rollback(i as u128, *release, *base, DeploymentState::Succeeded),
        };
        releases.iter().enumerate().map(ended).collect()
    }

    proptest! {
        /// Twenty queued: coalesced, none lost, none stuck.
        #[test]
        fn of_many_only_the_newest_waits_and_all_others_end(count in 1u128..40) {
            let running = deployment(1_000, 1, DeploymentState::Replacing);
            let mut state = app(Some(1));
            let mut waiting: Option<Deployment> = None;
            let mut ended = Vec::new();
            for n in 1..=count {
                let new = deployment(n, n as u64, DeploymentState::Queued);
                let queued =
                    enqueue(&state, &new, Some(&running), waiting.as_ref(), Running::Finishes);
                ended.extend(queued.superseded);
                state = queued.app;
                waiting = Some(new);
            }
            prop_assert_eq!(state.waiting, waiting.map(|d| d.id));
            prop_assert_eq!(ended.len() as u128, count - 1);
            prop_assert!(ended.iter().all(|d| d.state.is_terminal()));
        }

        #[test]
        fn a_target_is_never_what_is_being_left(
            releases in proptest::collection::vec((1u64..6, 0u8..3, 1u64..6), 0..12),
            live in 1u64..6,
        ) {
            let history = history(&releases);
            let found = rollback_targets(&app(Some(live)), None, &history);
            prop_assert!(!found.contains(&ReleaseNumber(live)));
            let distinct: BTreeSet<_> = found.iter().collect();
            prop_assert_eq!(distinct.len(), found.len());
        }

        /// Whoever reads the history page by page and stops when it is settled finds what is found
        /// by the whole of it.
        #[test]
        fn what_is_settled_is_not_changed_by_older_history(
            releases in proptest::collection::vec((1u64..6, 0u8..3, 1u64..6), 0..12),
            live in 1u64..6,
            previous in proptest::option::of(1u64..6),
            running in proptest::option::of(1u64..7),
            good in proptest::sample::subsequence(vec![1u64, 2, 3, 4, 5], 0..=5).prop_shuffle(),
        ) {
            let history = history(&releases);
            let mut state = app(Some(live));
            state.previous = previous.map(ReleaseNumber);
            state.good = good.into_iter().map(ReleaseNumber).collect();
            let running = running.map(|r| deployment(99, r, DeploymentState::Replacing));
            let whole = rollback_targets(&state, running.as_ref(), &history);
            for read in 0..=history.len() {
                let part = &history[..read];
                if first_target_is_settled(&state, running.as_ref(), part) {
                    let found = rollback_targets(&state, running.as_ref(), part);
                    prop_assert_eq!(found.first(), whole.first(), "after {} of the history", read);
                }
            }
        }
    }

    #[test]
    fn of_a_long_history_only_the_newest_is_read() {
        use DeploymentState::Succeeded;
        let history: Vec<_> = (1..=9).rev().map(|n| deployment(n.into(), n, Succeeded)).collect();
        let mut state = app(Some(9));
        state.good = (1..=9).map(ReleaseNumber).collect();
        let settled =
            |state: &AppState, read: usize| first_target_is_settled(state, None, &history[..read]);
        assert_eq!([0, 1, 2].map(|read| settled(&state, read)), [false, false, true]);
        // Nobody knows of a good one how new it is until it was met.
        state.good = vec![ReleaseNumber(2), ReleaseNumber(9)];
        assert_eq!([2, 7, 8].map(|read| settled(&state, read)), [false, false, true]);
        state.good.clear();
        assert_eq!([1, 2].map(|read| settled(&state, read)), [false, true]);
    }
}
