//! Users and teams: who may sign in, and who owns topics together.

use crate::access::Role;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The longest name of an account or a team.
pub const NAME_CHARS_MAX: usize = 128;
/// The shortest password.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password; what is longer would only make hashing slow.
pub const PASSWORD_BYTES_MAX: usize = 512;
/// Members that one team may have.
pub const MEMBERS_MAX: usize = 1000;
/// Teams that one account may be in.
pub const TEAMS_MAX: usize = 100;

/// Names under which Sluice itself acts; nobody else may.
const RESERVED: [&str; 4] = ["anonymous", "policy", "reconciler", "setup"];

/// A user, as everybody may see it who manages users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct User {
    /// The account's name.
    pub account: String,
    /// How the user is called.
    #[serde(default)]
    pub display_name: Option<String>,
    /// What the account may do.
    pub roles: Vec<Role>,
    /// The teams that it is in.
    pub teams: Vec<String>,
    /// `local`, or `oidc` for users of the identity provider.
    pub source: String,
    /// Whether nothing of this account is accepted any more.
    pub disabled: bool,
    /// Whether there is a password to sign in with.
    pub has_password: bool,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When the password was set.
    #[serde(default)]
    pub password_at: Option<Timestamp>,
    /// When the user last signed in.
    #[serde(default)]
    pub signed_in_at: Option<Timestamp>,
    /// Counts changes.
    pub version: i64,
}

/// The body of `POST /api/users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewUser {
    /// The account's name: letters, digits and `. _ - @ +`.
    pub account: String,
    /// How the user is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The password to sign in with; without one only tokens work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What the account may do; viewer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// The teams that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<Vec<String>>,
}

/// The body of `PATCH /api/users/{account}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UserChange {
    /// How the user is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// A new password; every session of the user ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What the account may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// The teams that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teams: Option<Vec<String>>,
    /// Whether nothing of this account is accepted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// The body of `PUT /api/whoami/password`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PasswordChange {
    /// The password until now.
    pub current_password: String,
    /// The password from now on.
    pub password: String,
}

/// The body of `POST /api/sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignIn {
    /// The user's account.
    pub account: String,
    /// The user's password.
    pub password: String,
}

/// The body of `POST /api/setup`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SetUp {
    /// The one-time secret.
    pub secret: String,
    /// The first admin's account.
    pub account: String,
    /// Its password; without one the answer has a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// A team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Team {
    /// Its name; topics name it as their owner.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The accounts in it, by name.
    pub members: Vec<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes.
    pub version: i64,
}

/// The body of `POST /api/teams`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NewTeam {
    /// Its name: letters, digits and `. _ - @ +`.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The accounts in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// The body of `PATCH /api/teams/{name}`: what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TeamChange {
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The accounts in it, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<String>>,
}

/// Whether a text can be the name of a user's account or of a team.
///
/// # Errors
/// Says which rule it breaks.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(format!("has at most {NAME_CHARS_MAX} characters"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
    if !name.chars().all(allowed) || name.chars().all(|c| c == '.') {
        return Err("has letters, digits and . _ - @ + only".to_owned());
    }
    check_reserved(name)
}

/// Whether Sluice itself acts under a name.
///
/// # Errors
/// Says so.
pub fn check_reserved(name: &str) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err(format!("{name} is what Sluice itself acts as"));
    }
    Ok(())
}

/// Whether a text can be the password of an account.
///
/// # Errors
/// Says which rule it breaks, never what the password is.
pub fn check_password(account: &str, password: &str) -> Result<(), String> {
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(format!("has at least {PASSWORD_CHARS_MIN} characters"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("has at most {PASSWORD_BYTES_MAX} bytes"));
    }
    if password.eq_ignore_ascii_case(account) {
        return Err("is not the account's name".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_path_and_are_nobody_elses() {
        for name in ["ana", "ana.b@example.org", "team-1", "a+b_c"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "a b", "a/b", "..", "policy", "reconciler", "é", "a\n"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(check_name(&"a".repeat(NAME_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn a_password_is_long_enough_and_not_the_name() {
        assert_eq!(check_password("ana", "correct horse"), Ok(()));
        assert!(check_password("ana", "short").is_err());
        assert!(check_password("anastasia", "Anastasia").is_err());
        assert!(check_password("ana", &"x".repeat(PASSWORD_BYTES_MAX + 1)).is_err());
    }
}
