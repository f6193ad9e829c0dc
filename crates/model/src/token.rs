//! API tokens as admins see them: never the secret, which is shown once.

use crate::access::Role;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TokenInfo {
    /// Identity.
    pub token_id: i64,
    /// Its first characters, to recognise it by.
    pub prefix: String,
    /// What it is for.
    #[serde(default)]
    pub label: Option<String>,
    /// Whose it is.
    pub account: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Narrower limits; empty means all that the roles allow.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// `bootstrap` (of the configuration), `api` (of an admin), `personal` (of the user itself) or `session`
    /// (of a sign-in).
    pub source: String,
    /// Who made it.
    #[serde(default)]
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
}

/// The body of `POST /api/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewToken {
    /// Whose it will be; your own account when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What it may do; all that you may when absent and it is for your own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// Narrower limits, see [`crate::scope`]: `records:send`, `topic:line.*`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it ends; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The answer of `POST /api/tokens`: the only time that the token is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CreatedToken {
    /// The token itself.
    pub token: String,
    /// What is known of it from now on.
    #[serde(flatten)]
    pub info: TokenInfo,
}
