//! API tokens and access keys. The store has hashes of tokens, and the secrets of access keys
//! encrypted; either is shown once.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the bearer of a token may do. Each role may do what the one before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read everything but secret values.
    Reader,
    /// Deploy, roll back, scale, restart, stop, configure.
    Deployer,
    /// Everything: tokens, destroying environments, ending the server.
    Admin,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 3] = [Self::Reader, Self::Deployer, Self::Admin];

    /// The word used in flags and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Deployer => "deployer",
            Self::Admin => "admin",
        }
    }
}

/// How a token proves who calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// It is sent with each request: `Authorization: Bearer <token>`.
    #[default]
    Bearer,
    /// It signs requests (AWS Signature Version 4): an access key for AWS's clients.
    Aws,
}

impl TokenKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::Bearer, Self::Aws];

    /// The word used in flags and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Aws => "aws",
        }
    }
}

/// Asks for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// Who or what bears it: `ana`, `ci`. Appears in events; unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// How it proves who calls; `bearer` when absent.
    #[serde(default)]
    pub kind: TokenKind,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its id, for `DELETE /v1/tokens/{id}`.
    pub id: String,
    /// Who or what bears it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// How it proves who calls.
    #[serde(default)]
    pub kind: TokenKind,
    /// The public half of an access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
}

/// What is shown once, when a token is made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TokenSecret {
    /// Of a bearer token.
    Bearer {
        /// The raw value: `Authorization: Bearer <token>`.
        token: String,
    },
    /// Of an access key.
    Aws {
        /// The secret half, with which requests are signed.
        secret_access_key: String,
    },
}

/// A new token, **with its raw value, which is shown this once**.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenCreated {
    /// The secret.
    #[serde(flatten)]
    pub secret: TokenSecret,
    /// Everything else.
    #[serde(flatten)]
    pub view: TokenView,
}

/// A link that signs a browser in to the console. **Whoever opens it first is the caller.**
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleLink {
    /// Its path, to be put behind the server's address.
    pub path: String,
    /// Until when it may be opened.
    pub expires_at: Timestamp,
}

impl fmt::Debug for ConsoleLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleLink").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret(hidden)")
    }
}

impl fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCreated").field("view", &self.view).finish_non_exhaustive()
    }
}
