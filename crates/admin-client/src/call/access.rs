//! Users, teams, tokens and sessions.

use super::{Call, Method, call, decode_done, segment};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_model::token::{CreatedToken, NewToken, TokenInfo};
use sluice_model::user::{
    NewTeam, NewUser, PasswordChange, SignIn, Team, TeamChange, User, UserChange,
};

fn with_body<T: DeserializeOwned>(method: Method, path: impl Into<String>, body: Value) -> Call<T> {
    Call {
        body: Some(body),
        ..call(method, path)
    }
}

/// A call whose answer says nothing.
fn done(method: Method, path: impl Into<String>) -> Call<()> {
    Call {
        decode: decode_done,
        ..call(method, path)
    }
}

fn user_path(account: &str) -> String {
    format!("/api/users/{}", segment(account))
}

fn team_path(name: &str) -> String {
    format!("/api/teams/{}", segment(name))
}

/// `GET /api/users`
pub fn users() -> Call<Vec<User>> {
    call(Method::Get, "/api/users")
}

/// `GET /api/users/{account}`
pub fn user(account: &str) -> Call<User> {
    call(Method::Get, user_path(account))
}

/// `POST /api/users`
pub fn create_user(user: &NewUser) -> Call<User> {
    with_body(Method::Post, "/api/users", json!(user))
}

/// `PATCH /api/users/{account}`
pub fn change_user(account: &str, change: &UserChange) -> Call<User> {
    with_body(Method::Patch, user_path(account), json!(change))
}

/// `PUT /api/whoami/password`
pub fn change_password(change: &PasswordChange) -> Call<()> {
    Call {
        body: Some(json!(change)),
        ..done(Method::Put, "/api/whoami/password")
    }
}

/// `GET /api/teams`
pub fn teams() -> Call<Vec<Team>> {
    call(Method::Get, "/api/teams")
}

/// `GET /api/teams/{name}`
pub fn team(name: &str) -> Call<Team> {
    call(Method::Get, team_path(name))
}

/// `POST /api/teams`
pub fn create_team(team: &NewTeam) -> Call<Team> {
    with_body(Method::Post, "/api/teams", json!(team))
}

/// `PATCH /api/teams/{name}`
pub fn change_team(name: &str, change: &TeamChange) -> Call<Team> {
    with_body(Method::Patch, team_path(name), json!(change))
}

/// `DELETE /api/teams/{name}`
pub fn remove_team(name: &str) -> Call<()> {
    done(Method::Delete, team_path(name))
}

/// `PUT /api/teams/{name}/members/{account}`
pub fn add_member(team: &str, account: &str) -> Call<Team> {
    call(Method::Put, member_path(team, account))
}

/// `DELETE /api/teams/{name}/members/{account}`
pub fn remove_member(team: &str, account: &str) -> Call<Team> {
    call(Method::Delete, member_path(team, account))
}

fn member_path(team: &str, account: &str) -> String {
    format!("{}/members/{}", team_path(team), segment(account))
}

/// `GET /api/tokens`
pub fn tokens() -> Call<Vec<TokenInfo>> {
    call(Method::Get, "/api/tokens")
}

/// `POST /api/tokens`
pub fn create_token(token: &NewToken) -> Call<CreatedToken> {
    with_body(Method::Post, "/api/tokens", json!(token))
}

/// `DELETE /api/tokens/{id}`
pub fn revoke_token(token_id: i64) -> Call<()> {
    done(Method::Delete, format!("/api/tokens/{token_id}"))
}

/// `POST /api/sessions`
pub fn sign_in(sign_in: &SignIn) -> Call<CreatedToken> {
    with_body(Method::Post, "/api/sessions", json!(sign_in))
}

/// `DELETE /api/sessions`
pub fn sign_out() -> Call<()> {
    done(Method::Delete, "/api/sessions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn an_empty_answer_is_done_and_a_problem_is_not() {
        assert!(revoke_token(7).finish(204, b"").is_ok());
        assert!(matches!(
            revoke_token(7).finish(502, b""),
            Err(Error::Unexpected(_))
        ));
        assert_eq!(
            add_member("a/b", "ana@x").path,
            "/api/teams/a%2Fb/members/ana%40x"
        );
    }
}
