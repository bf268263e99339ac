//! Commands and calls around a deployment, as an app asks for them. What becomes of each in one
//! deployment is a [`crate::hook::HookRun`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationText;

/// Commands and calls around a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Program and arguments run once with the new release before its first instance starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<Vec<String>>,
    /// Program and arguments run once with the new release when it has all of the traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_deploy: Option<Vec<String>>,
    /// How long each command may take; [`Hooks::TIMEOUT`] when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// Addresses that are asked, one after the other, after the command of their stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<Webhook>,
}

impl Hooks {
    /// How long a command or a webhook may take when nothing is said.
    pub const TIMEOUT: DurationText = DurationText::from_secs(10 * 60);

    /// Whether nothing is to be run.
    pub fn is_empty(&self) -> bool {
        self.pre_deploy.is_none() && self.post_deploy.is_none() && self.webhooks.is_empty()
    }
}

/// An address that says whether a deployment may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it is asked: `http://` or `https://`.
    pub url: String,
    /// When.
    #[serde(default)]
    pub at: HookStage,
    /// How long it may take to say `SUCCEEDED`; [`Hooks::TIMEOUT`] when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// Name of a variable of the app whose value is sent as bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HookStage {
    /// Before any instance of the new release starts.
    #[default]
    PreDeploy,
    /// When the new release has all of the traffic, before the deployment ends.
    PostDeploy,
}

impl HookStage {
    /// The word used in files and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreDeploy => "pre_deploy",
            Self::PostDeploy => "post_deploy",
        }
    }
}
