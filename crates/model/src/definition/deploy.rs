//! How a new release of an app takes the place of the old one, and how the old one is drained.
//!
//! These are the app's wishes; the planner reads them, the gateway obeys the drain.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, Hooks, Quantity};

/// How the new side replaces the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Instance by instance, the new one first.
    #[default]
    Rolling,
    /// The whole new side beside the old one, then one switch.
    BlueGreen,
    /// A growing share of the traffic, judged at each step.
    Canary,
    /// Stop all, then start all; requests are held meanwhile.
    Recreate,
}

impl Strategy {
    /// The word used in files, flags and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue-green",
            Self::Canary => "canary",
            Self::Recreate => "recreate",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step of a canary deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// So many percent of the traffic go to the new side, 0 to 100.
    Weight(u8),
    /// Wait for so long; without a time, until a person says go (ends by aborting after 24 hours).
    Pause(Option<DurationText>),
    /// The judge compares the new side with the old one.
    Analysis {},
    /// A person says go; ends by aborting after 24 hours.
    Approval {},
    /// So many instances of the new side, or such a share of the wanted number, instead of what
    /// its weight needs.
    Scale(Quantity),
    /// Requests with this header field or cookie go to the new side, whatever the weight.
    Header(HeaderStep),
    /// Copies of requests go to the new side; their answers are thrown away.
    Mirror(MirrorStep),
}

/// Which requests go to the new side by what they carry: exactly one of `name` and `cookie`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderStep {
    /// Name of a header field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The exact value; absent means that being there is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Copies of requests for the new side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorStep {
    /// Share of the old side's requests that are copied, 0 to 100; 0 ends it.
    pub percent: u8,
    /// Whether requests with methods other than GET, HEAD and OPTIONS are copied too.
    #[serde(default, rename = "unsafe")]
    pub unsafe_methods: bool,
}

impl Step {
    /// The step in words: `25 % of the traffic`, `pause 1 m`.
    pub fn words(&self) -> String {
        match self {
            Self::Weight(percent) => format!("{percent} % of the traffic"),
            Self::Pause(Some(time)) => format!("pause {time}"),
            Self::Pause(None) => "pause until promoted".to_owned(),
            Self::Analysis {} => "analysis".to_owned(),
            Self::Approval {} => "approval".to_owned(),
            Self::Scale(Quantity::Count(1)) => "1 instance".to_owned(),
            Self::Scale(Quantity::Count(count)) => format!("{count} instances"),
            Self::Scale(Quantity::Percent(percent)) => format!("{percent} % of the instances"),
            Self::Header(rule) => {
                let value = rule.value.as_ref().map_or(String::new(), |v| format!("={v}"));
                match (&rule.name, &rule.cookie) {
                    (Some(name), _) => format!("requests with header {name}{value}"),
                    (None, Some(name)) => format!("requests with cookie {name}{value}"),
                    (None, None) => "requests with nothing".to_owned(),
                }
            }
            Self::Mirror(MirrorStep { percent: 0, .. }) => "no more copies".to_owned(),
            Self::Mirror(mirror) => format!("copies of {} % of the requests", mirror.percent),
        }
    }

    /// Whether it is over when time, the judge or a person says so, and not when something was
    /// put in force: such time counts against no deadline.
    pub fn holds(&self) -> bool {
        match self {
            Self::Pause(_) | Self::Analysis {} | Self::Approval {} => true,
            Self::Weight(_) | Self::Scale(_) | Self::Header(_) | Self::Mirror(_) => false,
        }
    }
}

/// The `deploy` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeployPolicy {
    /// How the new side replaces the old one. Ask [`super::Definition::strategy_in`] for the
    /// strategy of an environment: `deploy_config.canaryInProd` changes it in production.
    pub strategy: Strategy,
    /// Instances beyond the wanted number while both sides run; a share is rounded up.
    pub max_surge: Quantity,
    /// Instances that may be missing from the wanted number; a share is rounded down.
    pub max_unavailable: Quantity,
    /// Steps of a canary; empty means [`DeployPolicy::default_steps`].
    pub steps: Vec<Step>,
    /// Commands and calls around the deployment.
    pub hooks: Hooks,
    /// How long the judge watches after the end; zero for not at all.
    pub watch: DurationText,
    /// How long a new instance must stay ready before it counts; when absent 5 s in permanent
    /// environments and 0 in development environments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_healthy_time: Option<DurationText>,
    /// How long one instance may take to become ready.
    pub ready_timeout: DurationText,
    /// How long a deployment may go without progress.
    pub progress_deadline: DurationText,
    /// How long a deployment may take in all, canary pauses not counted.
    pub deadline: DurationText,
    /// How long the old side is kept after the switch; when absent 10 m for blue-green, and
    /// until the end of the deployment otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_old: Option<DurationText>,
}

impl Default for DeployPolicy {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            max_surge: Quantity::Percent(25),
            max_unavailable: Quantity::Count(0),
            steps: Vec::new(),
            hooks: Hooks::default(),
            watch: DurationText::from_secs(5 * 60),
            min_healthy_time: None,
            ready_timeout: DurationText::from_secs(2 * 60),
            progress_deadline: DurationText::from_secs(5 * 60),
            deadline: DurationText::from_secs(30 * 60),
            keep_old: None,
        }
    }
}

impl DeployPolicy {
    /// Steps of a canary whose file names none: 5 %, 25 %, 50 %, each for a minute and judged.
    /// All of the traffic follows after the last step.
    pub fn default_steps() -> Vec<Step> {
        [5, 25, 50]
            .into_iter()
            .flat_map(|percent| {
                [
                    Step::Weight(percent),
                    Step::Pause(Some(DurationText::from_secs(60))),
                    Step::Analysis {},
                ]
            })
            .collect()
    }

    /// How long the old side is kept after the switch under `strategy`.
    pub fn keep_old_for(&self, strategy: Strategy) -> DurationText {
        self.keep_old.unwrap_or(match strategy {
            Strategy::BlueGreen => DurationText::from_secs(10 * 60),
            Strategy::Rolling | Strategy::Canary | Strategy::Recreate => DurationText::default(),
        })
    }
}

/// The `drain` section: how long work on the old side may go on once it gets no new requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// For ordinary requests.
    pub requests: DurationText,
    /// For long-lived streams: WebSocket, server-sent events, gRPC streams.
    pub streams: DurationText,
}

impl Default for Drain {
    fn default() -> Self {
        Self { requests: DurationText::from_secs(30), streams: DurationText::from_secs(5 * 60) }
    }
}
