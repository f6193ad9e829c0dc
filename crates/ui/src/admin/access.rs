//! Users, teams and tokens, and the page of the first admin.

use crate::bits::When;
use crate::form::Fault;
use crate::page::{Service, Shell, Viewer, render};
use askama::Template;
use sluice_model::access::{ROLES, Role};
use sluice_model::problem::Problem;
use sluice_model::scope::SCOPES;
use sluice_model::token::TokenInfo;
use sluice_model::user::{PASSWORD_CHARS_MIN, Team, User};

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub struct AccessPage<'a> {
    /// Users, newest first; none for viewers who do not manage them.
    pub users: &'a [User],
    /// Teams, newest first.
    pub teams: &'a [Team],
    /// Tokens that the viewer may see, newest first.
    pub tokens: &'a [TokenInfo],
    /// The viewer as a user, if it is one.
    pub own: Option<&'a User>,
    /// What was wrong with a form.
    pub problem: Option<&'a Problem>,
    /// A token that was made right now.
    pub token: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "admin/access.html")]
struct Page<'a> {
    shell: Shell<'a>,
    account: &'a str,
    admin: bool,
    users: Vec<UserLine<'a>>,
    teams: Vec<TeamLine<'a>>,
    tokens: Vec<TokenLine<'a>>,
    own: Option<&'a User>,
    may_make: bool,
    roles: Vec<&'static str>,
    all_roles: Vec<&'static str>,
    scopes: &'static [(&'static str, &'static str)],
    password_min: usize,
    fault: Fault<'a>,
    token: Option<&'a str>,
}

#[derive(Debug)]
struct UserLine<'a> {
    user: &'a User,
    roles: Vec<(&'static str, bool)>,
    role_words: String,
    teams: String,
    signed_in: When,
}

#[derive(Debug)]
struct TeamLine<'a> {
    team: &'a Team,
    members: String,
}

#[derive(Debug)]
struct TokenLine<'a> {
    token: &'a TokenInfo,
    roles: String,
    scopes: String,
    used: When,
    ends: When,
    revocable: bool,
}

fn words(roles: &[Role]) -> String {
    let words: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
    words.join(", ")
}

/// The page at `/ui/access`.
pub fn access(viewer: &Viewer, data: &AccessPage<'_>) -> String {
    let admin = viewer.may(Role::Admin);
    let users = data.users.iter().map(|user| UserLine {
        user,
        roles: ROLES
            .iter()
            .map(|role| (role.as_str(), user.roles.contains(role)))
            .collect(),
        role_words: words(&user.roles),
        teams: user.teams.join(", "),
        signed_in: When::ago(user.signed_in_at, viewer.now),
    });
    let tokens = data.tokens.iter().map(|token| TokenLine {
        token,
        roles: words(&token.roles),
        scopes: token.scopes.join(", "),
        used: When::ago(token.last_used_at, viewer.now),
        ends: When::exact(token.expires_at),
        revocable: token.source != "bootstrap",
    });
    let teams = data.teams.iter().map(|team| TeamLine {
        team,
        members: team.members.join(", "),
    });
    let held = ROLES.iter().filter(|role| viewer.may(**role));
    render(&Page {
        shell: Shell::new(viewer, "/ui/access", "Access"),
        account: &viewer.actor.account,
        admin,
        users: users.collect(),
        teams: teams.collect(),
        tokens: tokens.collect(),
        own: data.own,
        may_make: admin || data.own.is_some(),
        roles: held.map(|role| role.as_str()).collect(),
        all_roles: ROLES.iter().map(|role| role.as_str()).collect(),
        scopes: &SCOPES,
        password_min: PASSWORD_CHARS_MIN,
        fault: Fault(data.problem),
        token: data.token,
    })
}

#[derive(Debug, Template)]
#[template(path = "admin/setup.html")]
struct SetupPage<'a> {
    shell: Shell<'a>,
    secret: &'a str,
    account: &'a str,
    fault: Fault<'a>,
    password_min: usize,
    token: Option<&'a str>,
}

/// The page at `/ui/setup`: who will be the first admin.
pub fn setup(secret: &str, account: &str, problem: Option<&Problem>) -> String {
    render(&SetupPage {
        shell: Shell::bare(Service::Admin, "Set up"),
        secret,
        account,
        fault: Fault(problem),
        password_min: PASSWORD_CHARS_MIN,
        token: None,
    })
}

/// The page that shows the first admin's token, once.
pub fn first_token(account: &str, token: &str) -> String {
    render(&SetupPage {
        shell: Shell::bare(Service::Admin, "Set up"),
        secret: "",
        account,
        fault: Fault(None),
        password_min: PASSWORD_CHARS_MIN,
        token: Some(token),
    })
}
