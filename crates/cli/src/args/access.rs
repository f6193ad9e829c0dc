//! What can be asked about users, teams, tokens and sessions.

use crate::text::duration;
use clap::{Args as ClapArgs, Subcommand};
use sluice_model::access::Role;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// List users
    List,
    /// Show one user
    Get {
        /// The account
        #[arg(value_name = "ACCOUNT")]
        user: String,
    },
    /// Create a user
    Create(UserCreate),
    /// Change roles, teams, name or password of a user
    Set(UserSet),
    /// Let nothing of these accounts be accepted any more
    Disable {
        /// The accounts
        #[arg(required = true, value_name = "ACCOUNT")]
        accounts: Vec<String>,
    },
    /// Accept these accounts again
    Enable {
        /// The accounts
        #[arg(required = true, value_name = "ACCOUNT")]
        accounts: Vec<String>,
    },
    /// Change your own password: asks for the old and the new one, or reads them as two lines
    Password,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UserCreate {
    /// The account: letters, digits and . _ - @ +
    // A field of the name `account` would be the global flag's value.
    #[arg(value_name = "ACCOUNT")]
    pub(crate) user: String,
    /// viewer, producer, consumer, approver or admin; may be repeated [default: viewer]
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    /// A team; may be repeated
    #[arg(long = "team", value_name = "TEAM")]
    pub(crate) teams: Vec<String>,
    /// How the user is called
    #[arg(long, value_name = "NAME")]
    pub(crate) display_name: Option<String>,
    /// Ask for a password to sign in with (standard input when it is no terminal); else only tokens work
    #[arg(long)]
    pub(crate) password: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UserSet {
    /// The account
    #[arg(value_name = "ACCOUNT")]
    pub(crate) user: String,
    /// All roles from now on; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    /// All teams from now on; may be repeated
    #[arg(long = "team", value_name = "TEAM", conflicts_with = "no_teams")]
    pub(crate) teams: Vec<String>,
    /// In no team from now on
    #[arg(long)]
    pub(crate) no_teams: bool,
    /// How the user is called
    #[arg(long, value_name = "NAME")]
    pub(crate) display_name: Option<String>,
    /// Ask for a new password (standard input when it is no terminal); every session of the user ends
    #[arg(long)]
    pub(crate) password: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Team {
    /// List teams
    List,
    /// Show one team
    Get {
        /// Its name
        name: String,
    },
    /// Create a team
    Create {
        /// Its name: letters, digits and . _ - @ +
        name: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// An account in it; may be repeated
        #[arg(long = "member", value_name = "ACCOUNT")]
        members: Vec<String>,
    },
    /// Change what a team is for
    Set {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long, required = true)]
        description: String,
    },
    /// Take accounts into a team
    Add(Members),
    /// Take accounts out of a team
    Remove(Members),
    /// Remove teams
    Delete {
        /// Their names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Members {
    /// The team
    pub(crate) name: String,
    /// The accounts
    #[arg(required = true, value_name = "ACCOUNT")]
    pub(crate) accounts: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// List tokens: your own, or all for an admin
    List,
    /// Make a token; it is printed once
    Create(TokenCreate),
    /// Revoke tokens
    Revoke {
        /// Their numbers
        #[arg(required = true, value_name = "ID")]
        ids: Vec<i64>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TokenCreate {
    /// Whose it will be [default: your own; others need the role admin]
    #[arg(long = "for", value_name = "ACCOUNT")]
    pub(crate) owner: Option<String>,
    /// What it may do; may be repeated [default: all that you may]
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    /// A narrower limit, such as records:send or topic:line.*; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// What it is for
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// When it ends, such as 90d [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    /// Write it to this file, which only you can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Login {
    /// The account; its password is asked for, or read from standard input
    #[arg(value_name = "ACCOUNT")]
    pub(crate) user: String,
    /// Write the token to this file, which only you can read (see --token-file), instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use crate::args::Args;
    use clap::Parser as _;

    #[test]
    fn a_password_has_no_place_on_the_command_line() {
        let parse = |line: &str| Args::try_parse_from(line.split_whitespace());
        assert!(parse("sluice user create ana --role producer --team core --password").is_ok());
        assert!(parse("sluice user create ana --password secret").is_err());
        assert!(parse("sluice user set ana --password=secret").is_err());
        assert!(parse("sluice user set ana --team a --no-teams").is_err());
        assert!(parse("sluice user create ana --role king").is_err());
        assert!(parse("sluice token create --scope topic:a* --expires 90d").is_ok());
        assert!(parse("sluice token revoke").is_err());
        assert!(parse("sluice login ana --save t").is_ok());
        for line in [
            "user get ana",
            "user create ana",
            "user set ana",
            "login ana",
        ] {
            let args = parse(&format!("sluice {line}")).unwrap();
            assert_eq!(args.global.account, None, "{line} is no --account");
        }
    }
}
