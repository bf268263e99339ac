//! Which role has which permission: one table.

use ark_model::api::Role;

/// What an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Read everything but secret values.
    Read,
    /// Send artifacts, deploy, roll back, abort.
    Deploy,
    /// Change configuration.
    Configure,
    /// Scale, restart, stop, start, and run commands beside an instance.
    Operate,
    /// Read secret values of development environments, to run an app locally.
    ReadDevelopmentSecrets,
    /// Read secret values of permanent environments.
    ReadPermanentSecrets,
    /// Create environments.
    CreateEnvironment,
    /// Destroy environments.
    DestroyEnvironment,
    /// Change the freeze windows of environments.
    FreezeEnvironment,
    /// List, make and revoke tokens.
    ManageTokens,
    /// End the server, remove what is not needed any more.
    ManageServer,
}

impl Permission {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Deploy,
        Self::Configure,
        Self::Operate,
        Self::ReadDevelopmentSecrets,
        Self::ReadPermanentSecrets,
        Self::CreateEnvironment,
        Self::DestroyEnvironment,
        Self::FreezeEnvironment,
        Self::ManageTokens,
        Self::ManageServer,
    ];

    /// What it allows, in words: completes "may not ...".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Configure => "change configuration",
            Self::Operate => "operate apps",
            Self::ReadDevelopmentSecrets => "read values of development environments",
            Self::ReadPermanentSecrets => "read secret values of permanent environments",
            Self::CreateEnvironment => "create environments",
            Self::DestroyEnvironment => "destroy environments",
            Self::FreezeEnvironment => "change freeze windows",
            Self::ManageTokens => "manage tokens",
            Self::ManageServer => "manage the server",
        }
    }

    /// The weakest role that has it.
    pub const fn weakest(self) -> Role {
        match self {
            Self::Read => Role::Reader,
            Self::Deploy
            | Self::Configure
            | Self::Operate
            | Self::ReadDevelopmentSecrets
            | Self::CreateEnvironment => Role::Deployer,
            Self::ReadPermanentSecrets
            | Self::DestroyEnvironment
            | Self::FreezeEnvironment
            | Self::ManageTokens
            | Self::ManageServer => Role::Admin,
        }
    }
}

/// Whether a role has a permission.
pub fn allows(role: Role, permission: Permission) -> bool {
    role >= permission.weakest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_weaker_one_may() {
        for permission in Permission::ALL {
            assert!(allows(Role::Admin, permission), "{permission:?}");
            for pair in Role::ALL.windows(2) {
                assert!(allows(pair[1], permission) >= allows(pair[0], permission));
            }
        }
        let reader: Vec<_> =
            Permission::ALL.into_iter().filter(|p| allows(Role::Reader, *p)).collect();
        assert_eq!(reader, [Permission::Read]);
    }
}
