//! What is wanted of an app, and so what a request may wait for.
//!
//! Pure; [`super`] makes limits of routes of it.

use ark_model::Deployment;
use ark_model::definition::{Definition, RunKind, Strategy};
use ark_model::environment::{AppState, EnvState};

/// After more failures in a row than these the pause before the next start (up to 8 s, 16 s and so on) and the start
/// itself may take longer than a request waits.
const HELD_FAILURES_MAX: u32 = 4;

/// What is wanted of an app: no request waits for an instance that nobody starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Instances. One that has ended is started again soon.
    Instances,
    /// The same, but the first is not there yet, or they fail again and again: the next start may be further off
    /// than a request waits.
    Later,
    /// Nothing that is waited for: it is stopped, or scaled to nothing. Or its instances were replaced all at once,
    /// and that deployment goes on: who waited for it is in its receipt, and ends before it does.
    Nothing,
}

impl Wanted {
    /// By the app's state, the definition in force and the deployment that runs.
    pub fn of(
        env: EnvState,
        state: &AppState,
        definition: Option<&Definition>,
        running: Option<&Deployment>,
    ) -> Self {
        let lambda = definition.is_some_and(|d| d.run.kind == RunKind::Lambda);
        let count = state.scale.or_else(|| definition.map(Definition::count));
        match state.failures {
            _ if state.stopped || env == EnvState::Destroying => Self::Nothing,
            _ if count == Some(0) && !lambda => Self::Nothing,
            _ if running.is_some_and(|d| d.strategy == Strategy::Recreate) && !lambda => {
                Self::Nothing
            }
            // What goes before a first release's start may take minutes.
            _ if state.live.is_none() => Self::Later,
            failures if failures > HELD_FAILURES_MAX => Self::Later,
            _ => Self::Instances,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::deployment::DeploymentKind;
    use ark_model::{DeploymentId, ReleaseNumber};
    use jiff::Timestamp;
    use uuid::Uuid;

    #[test]
    fn nobody_waits_for_what_nobody_starts() {
        let name = "production".parse().expect("a name");
        let mut live = AppState::new(name, "web".parse().expect("a name"), Timestamp::UNIX_EPOCH);
        live.live = Some(ReleaseNumber(1));
        let of = |change: fn(&mut AppState)| {
            let mut state = live.clone();
            change(&mut state);
            Wanted::of(EnvState::Active, &state, Some(&Definition::default()), None)
        };
        assert_eq!(of(|_| ()), Wanted::Instances);
        // It has just ended; its next start is seconds away at most.
        assert_eq!(of(|app| app.failures = 4), Wanted::Instances);
        assert_eq!(of(|app| app.failures = 5), Wanted::Later);
        assert_eq!(of(|app| app.live = None), Wanted::Later);
        assert_eq!(of(|app| app.stopped = true), Wanted::Nothing);
        assert_eq!(of(|app| app.scale = Some(0)), Wanted::Nothing);
        assert_eq!(Wanted::of(EnvState::Destroying, &live, None, None), Wanted::Nothing);
        let under = |strategy: Strategy| {
            let d = Deployment::queued(
                DeploymentId(Uuid::from_u128(1)),
                (live.env.clone(), live.app.clone()),
                DeploymentKind::Deploy,
                ReleaseNumber(2),
                strategy,
                ("ana".into(), Timestamp::UNIX_EPOCH),
            );
            Wanted::of(EnvState::Active, &live, None, Some(&d))
        };
        assert_eq!(under(Strategy::Rolling), Wanted::Instances);
        assert_eq!(under(Strategy::Recreate), Wanted::Nothing);
    }
}
