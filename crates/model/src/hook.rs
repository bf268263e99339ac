//! Hooks of one deployment: commands and calls around it, and what became of each. Recorded with the
//! deployment, so that a restarted server goes on where it stood. Moved by `ark-planner`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::definition::HookStage;
use crate::definition::{Hooks, Webhook};
use crate::ids::{DeploymentId, InstanceId};

/// The most log lines, and the longest note in characters, that are recorded with a hook.
pub const LOG_LINES_MAX: usize = 20;
/// The longest note, in characters.
pub const NOTE_CHARS_MAX: usize = 500;

/// One hook of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookRun {
    /// As people see it: `pre_deploy`, `webhook 2`.
    pub name: String,
    /// When it runs.
    pub stage: HookStage,
    /// What it does.
    pub what: HookWhat,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// Where it stands.
    pub state: HookState,
    /// How often it was begun or asked: from 1, since it may happen more than once.
    pub attempts: u32,
    /// The instance that the engine runs the command as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Whether the engine was seen to run it: when it vanishes then, it is begun anew.
    #[serde(default)]
    pub seen: bool,
    /// When it began.
    pub begun_at: Option<Timestamp>,
    /// When a webhook is asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_at: Option<Timestamp>,
    /// When it was told to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How it ended, or what it said last.
    pub note: Option<String>,
    /// The last lines of its log, when it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HookWhat {
    /// Runs a command with the new release.
    Command {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Asks an address.
    Webhook {
        /// Where.
        url: String,
        /// The variable that holds its token.
        token: Option<String>,
    },
}

/// Where a hook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// Its turn has not come.
    Waiting,
    /// It runs, or is asked.
    Running,
    /// It was told to stop.
    Stopping,
    /// It ended well.
    Succeeded,
    /// It failed, or took too long.
    Failed,
    /// Its deployment no longer wants it.
    Cancelled,
}

impl HookState {
    /// Whether something of it may be under way.
    pub fn is_active(self) -> bool {
        match self {
            Self::Running | Self::Stopping => true,
            Self::Waiting | Self::Succeeded | Self::Failed | Self::Cancelled => false,
        }
    }
}

impl HookRun {
    /// The hooks of a deployment, in the order in which they run.
    pub fn all(hooks: &Hooks) -> Vec<Self> {
        let timeout = hooks.timeout.unwrap_or(Hooks::TIMEOUT).get();
        let command = |stage: HookStage, command: &Option<Vec<String>>| {
            let command = command.clone()?;
            Some(Self::new(
                stage.as_str().to_owned(),
                stage,
                HookWhat::Command { command },
                timeout,
            ))
        };
        let webhook = |(index, hook): (usize, &Webhook)| {
            let what = HookWhat::Webhook { url: hook.url.clone(), token: hook.token.clone() };
            let timeout = hook.timeout.unwrap_or(Hooks::TIMEOUT).get();
            Self::new(format!("webhook {}", index + 1), hook.at, what, timeout)
        };
        let mut all: Vec<Self> = command(HookStage::PreDeploy, &hooks.pre_deploy)
            .into_iter()
            .chain(command(HookStage::PostDeploy, &hooks.post_deploy))
            .chain(hooks.webhooks.iter().enumerate().map(webhook))
            .collect();
        all.sort_by_key(|run| run.stage == HookStage::PostDeploy);
        all
    }

    fn new(name: String, stage: HookStage, what: HookWhat, timeout: std::time::Duration) -> Self {
        Self {
            name,
            stage,
            what,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            state: HookState::Waiting,
            attempts: 0,
            instance: None,
            seen: false,
            begun_at: None,
            ask_at: None,
            stopping_at: None,
            ended_at: None,
            note: None,
            log: Vec::new(),
        }
    }

    /// `pre_deploy (./migrate up)`.
    pub fn words(&self) -> String {
        format!("{} ({})", self.name, self.what.words())
    }

    /// As readers of the deployment see it: without the address's query, which may hold a secret.
    #[must_use]
    pub fn shown(mut self) -> Self {
        if let HookWhat::Webhook { url, .. } = &mut self.what
            && let Some(query) = url.find('?')
        {
            url.truncate(query);
        }
        self
    }

    /// The same for every attempt of this hook in this deployment, and for no other: by it whoever
    /// is called twice knows that it is the same call.
    pub fn key(&self, deployment: DeploymentId) -> String {
        format!("{deployment}/{}", self.name.replace(' ', "-"))
    }
}

impl HookWhat {
    /// The command line, or the address without its query, which may hold a secret.
    pub fn words(&self) -> String {
        let text = match self {
            Self::Command { command } => command.join(" "),
            Self::Webhook { url, .. } => url.split('?').next().unwrap_or_default().to_owned(),
        };
        match text.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_run_in_the_order_of_their_stages() {
        let hook = |at| Webhook {
            url: "https://gate.example.test/ask?key=1".into(),
            at,
            timeout: None,
            token: None,
        };
        let hooks = Hooks {
            pre_deploy: Some(vec!["./migrate".into(), "up".into()]),
            post_deploy: Some(vec!["./smoke".into()]),
            timeout: None,
            webhooks: vec![hook(HookStage::PostDeploy), hook(HookStage::PreDeploy)],
        };
        let words: Vec<String> = HookRun::all(&hooks).iter().map(HookRun::words).collect();
        assert_eq!(
            words,
            [
                "pre_deploy (./migrate up)",
                "webhook 2 (https://gate.example.test/ask)",
                "post_deploy (./smoke)",
                "webhook 1 (https://gate.example.test/ask)",
            ]
        );
        assert_eq!(HookRun::all(&Hooks::default()), []);
    }
}
