//! `sluice user`, `team`, `login` and `logout`; [`token`] has `sluice token`.

pub(crate) mod token;

use super::{Outcome, each};
use crate::args::access::{Login, Members, Team as TeamCommand, User as UserCommand};
use crate::args::access::{UserCreate, UserSet};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Column, cell};
use crate::secret;
use serde_json::{Value, json};
use sluice_admin_client::call::{self, Call};
use sluice_model::user::{NewTeam, NewUser, PasswordChange, SignIn, TeamChange, UserChange};

/// Rows of a listing: the most that the API gives.
const ROWS: &str = "1000";

const USERS: [Column; 6] = [
    ("ACCOUNT", "account"),
    ("ROLES", "roles"),
    ("TEAMS", "teams"),
    ("SOURCE", "source"),
    ("DISABLED", "disabled"),
    ("SIGNED IN", "signed_in_at"),
];

const TEAMS: [Column; 3] = [
    ("NAME", "name"),
    ("DESCRIPTION", "description"),
    ("MEMBERS", "members"),
];

fn given<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

pub(crate) fn user(context: &Context, command: UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::List => {
            let users = context.admin(call::users().with("limit", ROWS).raw())?;
            context.output.listing(&users, &USERS, "account")
        }
        UserCommand::Get { user } => context
            .output
            .object(&context.admin(call::user(&user).raw())?, "account"),
        UserCommand::Create(command) => create(context, command),
        UserCommand::Set(command) => set(context, command),
        UserCommand::Disable { accounts } => switch(context, &accounts, true),
        UserCommand::Enable { accounts } => switch(context, &accounts, false),
        UserCommand::Password => {
            let change = PasswordChange {
                current_password: secret::ask("Password until now")?,
                password: secret::ask_new("New password")?,
            };
            context.admin(call::change_password(&change))?;
            let sentence = "the password is changed; every other session has ended";
            context
                .output
                .done(&json!({"message": sentence}), "password", sentence)
        }
    }
}

fn create(context: &Context, command: UserCreate) -> Result<(), Failure> {
    let password = command.password.then(|| secret::ask_new("Password"));
    let user = NewUser {
        account: command.user,
        display_name: command.display_name,
        password: password.transpose()?,
        roles: given(command.roles),
        teams: given(command.teams),
    };
    told_of_user(context, call::create_user(&user), "created")
}

fn set(context: &Context, command: UserSet) -> Result<(), Failure> {
    let password = command.password.then(|| secret::ask_new("New password"));
    let teams = if command.no_teams {
        Some(Vec::new())
    } else {
        given(command.teams)
    };
    let change = UserChange {
        display_name: command.display_name,
        password: password.transpose()?,
        roles: given(command.roles),
        teams,
        disabled: None,
    };
    if change == UserChange::default() {
        let message =
            "nothing to change: name --role, --team, --no-teams, --display-name or --password";
        return Err(Failure::new(Exit::Usage, message));
    }
    told_of_user(
        context,
        call::change_user(&command.user, &change),
        "changed",
    )
}

fn told_of_user<T>(context: &Context, call: Call<T>, done: &str) -> Result<(), Failure> {
    let user = context.admin(call.raw())?;
    let (account, roles) = (cell(&user, "account"), cell(&user, "roles"));
    let sentence = format!(
        "{account}: {done}, roles {roles}, teams {}",
        cell(&user, "teams")
    );
    context.output.done(&user, &account, &sentence)
}

fn switch(context: &Context, accounts: &[String], disabled: bool) -> Result<(), Failure> {
    let change = UserChange {
        disabled: Some(disabled),
        ..UserChange::default()
    };
    let word = if disabled { "disabled" } else { "enabled" };
    each(context, accounts, |account| {
        let answer = context.admin(call::change_user(account, &change).raw())?;
        Ok(outcome(answer, account, word))
    })
}

fn outcome(answer: Value, name: &str, word: &str) -> Outcome {
    Outcome {
        answer,
        name: name.to_owned(),
        sentence: format!("{name}: {word}"),
    }
}

pub(crate) fn team(context: &Context, command: TeamCommand) -> Result<(), Failure> {
    match command {
        TeamCommand::List => {
            let teams = context.admin(call::teams().with("limit", ROWS).raw())?;
            context.output.listing(&teams, &TEAMS, "name")
        }
        TeamCommand::Get { name } => context
            .output
            .object(&context.admin(call::team(&name).raw())?, "name"),
        TeamCommand::Create {
            name,
            description,
            members,
        } => {
            let team = NewTeam {
                name,
                description,
                members,
            };
            told_of_team(context, call::create_team(&team), "created")
        }
        TeamCommand::Set { name, description } => {
            let change = TeamChange {
                description: Some(description),
                members: None,
            };
            told_of_team(context, call::change_team(&name, &change), "changed")
        }
        TeamCommand::Add(Members { name, accounts }) => each(context, &accounts, |account| {
            let answer = context.admin(call::add_member(&name, account).raw())?;
            Ok(outcome(answer, account, &format!("in team {name}")))
        }),
        TeamCommand::Remove(Members { name, accounts }) => each(context, &accounts, |account| {
            let answer = context.admin(call::remove_member(&name, account).raw())?;
            Ok(outcome(
                answer,
                account,
                &format!("not in team {name} any more"),
            ))
        }),
        TeamCommand::Delete { names } => each(context, &names, |name| {
            context.admin(call::remove_team(name))?;
            Ok(outcome(
                json!({"name": name, "removed": true}),
                name,
                "removed",
            ))
        }),
    }
}

fn told_of_team<T>(context: &Context, call: Call<T>, done: &str) -> Result<(), Failure> {
    let team = context.admin(call.raw())?;
    let name = cell(&team, "name");
    let sentence = format!("{name}: {done}, members {}", cell(&team, "members"));
    context.output.done(&team, &name, &sentence)
}

/// Signs in with a password.
pub(crate) fn login(context: &Context, command: &Login) -> Result<(), Failure> {
    let sign_in = SignIn {
        account: command.user.clone(),
        password: secret::ask("Password")?,
    };
    let created = context.admin(call::sign_in(&sign_in).raw())?;
    token::show(context, &created, command.save.as_deref())
}

/// Ends the session whose token is in use.
pub(crate) fn logout(context: &Context) -> Result<(), Failure> {
    context.admin(call::sign_out())?;
    let sentence = "the session has ended";
    context
        .output
        .done(&json!({"message": sentence}), "session", sentence)
}
