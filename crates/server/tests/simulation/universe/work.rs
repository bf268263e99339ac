//! Hooks and work that ends: how it behaves, and that none of it runs twice at once.

use std::collections::{BTreeMap, BTreeSet};

use ark_engine::StartSpec;
use ark_model::instance::EngineState;
use ark_model::{AppName, InstanceId, ReleaseNumber};

use super::{Behaviour, Universe};

/// What of an app must not run twice at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Once {
    /// Its instances, all of them.
    App,
    /// Those with the same command.
    Command,
    /// Nothing.
    Nothing,
}

/// Work that ends: what of it runs, and how it ended by itself.
#[derive(Debug, Default)]
pub(crate) struct SimJobs {
    /// Apps of such work.
    pub apps: BTreeMap<AppName, Once>,
    /// Of each instance what must not run twice at once.
    pub keys: BTreeMap<InstanceId, String>,
    /// Exit codes of those that were not told to end.
    pub exits: BTreeMap<InstanceId, i32>,
}

/// What runs or asks hooks, and what they did.
#[derive(Debug, Default)]
pub(crate) struct SimHooks {
    /// Releases that have a command before they may begin.
    pub guarded: BTreeSet<(AppName, ReleaseNumber)>,
    /// Of these, those whose command ended well.
    pub passed: BTreeSet<(AppName, ReleaseNumber)>,
    /// Instances that run a hook, each with its key.
    pub keys: BTreeMap<InstanceId, String>,
}

impl Universe {
    /// A hook's instance vanishes without a trace, as after a restart of the host.
    pub(crate) fn lose_hook(&mut self) {
        let runs = |id: &&InstanceId| {
            let state = self.instances.get(*id).map(|i| &i.state);
            matches!(state, Some(EngineState::Running { .. }))
        };
        if let Some(id) = self.hooks.keys.keys().find(runs).copied() {
            self.instances.remove(&id);
            self.removed.insert(id);
            self.cover("hook lost by the engine");
        }
    }

    /// How a command of a hook behaves; the same hook may behave otherwise when it is run again.
    pub(super) fn hook_behaviour(&mut self) -> Behaviour {
        match self.dice.below(8) {
            0 => Behaviour::HookHangs,
            1 => Behaviour::HookEnds(1),
            2 => Behaviour::CannotStart,
            _ => Behaviour::HookEnds(0),
        }
    }

    /// How a job behaves; the next attempt may behave otherwise.
    pub(super) fn job_behaviour(&mut self) -> Behaviour {
        match self.dice.below(8) {
            0 => Behaviour::NeverReady,
            1 => Behaviour::IgnoresStop,
            2 => Behaviour::CannotStart,
            3 => Behaviour::JobEnds(1),
            _ => Behaviour::JobEnds(0),
        }
    }

    /// No run has two attempts at once, and no app that forbids it two runs.
    pub(super) fn check_job(&mut self, spec: &StartSpec, once: Once) {
        let key = match once {
            Once::App => spec.app.to_string(),
            Once::Command => format!("{} {}", spec.app, spec.command.join(" ")),
            Once::Nothing => format!("{} {}", spec.app, spec.id),
        };
        let twice = self.jobs.keys.iter().any(|(id, other)| {
            *other == key
                && self.instances.get(id).is_some_and(|i| {
                    !matches!(
                        i.state,
                        EngineState::Exited { .. }
                            | EngineState::StartFailed { .. }
                            | EngineState::Gone
                    )
                })
        });
        if twice {
            self.violate(&format!("runs: {key} runs twice at once"));
        }
        self.jobs.keys.insert(spec.id, key);
    }

    /// A hook is never run beside itself, and nothing of a release starts before its hook passed.
    pub(super) fn check_start(&mut self, spec: &StartSpec, key: Option<&String>) {
        let of = (spec.app.clone(), spec.release);
        match key {
            Some(key) => {
                let twice = self.hooks.keys.iter().any(|(id, other)| {
                    other == key
                        && matches!(
                            self.instances.get(id).map(|i| &i.state),
                            Some(EngineState::Running { .. } | EngineState::Preparing)
                        )
                });
                if twice {
                    self.violate(&format!("hooks: {key} runs twice at once"));
                }
            }
            None if self.hooks.guarded.contains(&of) && !self.hooks.passed.contains(&of) => {
                self.violate(&format!("hooks: {} of {} starts before its hook passed", of.1, of.0));
            }
            None => {}
        }
    }
}
