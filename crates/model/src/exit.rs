//! Exit codes of the command line: a contract (`rollouts.md`). Scripts depend on each number.

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitCode {
    /// 0: what was asked for is done.
    Done,
    /// 1: it failed.
    Failed,
    /// 2: the command line or an input file is wrong; nothing was changed.
    Usage,
    /// 3: the deployment failed and the old release is back.
    RolledBack,
    /// 4: a deadline passed.
    TimedOut,
    /// 5: a conflict, or a newer deployment took its place.
    Conflict,
    /// 6: the thing named does not exist.
    NotFound,
    /// 7: refused by a policy, a missing configuration value or a missing permission.
    Refused,
    /// 10: `ark plan` found changes.
    Changes,
    /// 130: left by ^C; the work goes on in the server.
    Detached,
}

impl ExitCode {
    /// The number given to the operating system.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::TimedOut => 4,
            Self::Conflict => 5,
            Self::NotFound => 6,
            Self::Refused => 7,
            Self::Changes => 10,
            Self::Detached => 130,
        }
    }
}
