//! Who may do what: accounts, roles and the two-person rule.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A role. Each includes reading; `admin` includes all of them.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May read everything that is no secret.
    Viewer,
    /// May ask for topics and send records.
    Producer,
    /// May subscribe and own consumers.
    Consumer,
    /// May decide about requests.
    Approver,
    /// May do all of it, and manage users, tokens and policy.
    Admin,
}

/// Every role.
pub const ROLES: [Role; 5] = [
    Role::Viewer,
    Role::Producer,
    Role::Consumer,
    Role::Approver,
    Role::Admin,
];

impl Role {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
            Self::Approver => "approver",
            Self::Admin => "admin",
        }
    }

    /// Whether somebody with this role may do what `needed` may do.
    pub const fn includes(self, needed: Self) -> bool {
        matches!(self, Self::Admin) || matches!(needed, Self::Viewer) || self as u8 == needed as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = ROLES.iter().find(|role| role.as_str() == text).copied();
        found.ok_or_else(|| {
            format!("{text:?} is no role: viewer, producer, consumer, approver, admin")
        })
    }
}

/// Who is calling: the answer of `GET /api/whoami`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Actor {
    /// The account that the credential belongs to.
    pub account: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// Narrower limits of this credential; empty means all that the roles allow.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The teams that the account is in.
    #[serde(default)]
    pub teams: Vec<String>,
    /// When the credential ends, if it does.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl Actor {
    /// Whether one of the roles includes `needed`.
    pub fn may(&self, needed: Role) -> bool {
        self.roles.iter().any(|role| role.includes(needed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_reads_and_only_admin_has_all() {
        for role in ROLES {
            assert!(role.includes(Role::Viewer));
            assert!(Role::Admin.includes(role));
        }
        assert!(!Role::Approver.includes(Role::Producer));
        assert!(!Role::Producer.includes(Role::Approver));
        assert!(!Role::Viewer.includes(Role::Consumer));
    }
}
