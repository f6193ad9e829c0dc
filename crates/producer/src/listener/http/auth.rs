//! Who may send: bearer tokens and `X-Producer-Key`, verified by the admin API.

use crate::listener::reach::Reach;
use hyper::HeaderMap;
use hyper::header;
use sluice_admin_client::verify::{Rejection, Verifier};
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_model::scope::Needed;

/// The scope that sending needs.
pub(super) const SEND: &str = "records:send";
/// The scope that looking at topics needs; who may send to them may look them up, too.
pub(super) const TOPICS: (&str, Option<&str>) = ("topics:read", Some(SEND));
/// Seconds after which a client may try again while the admin API is down.
const RETRY_S: u32 = 1;

/// The check of credentials.
#[derive(Debug)]
pub(in crate::listener) struct Auth {
    verifier: Verifier,
}

impl Auth {
    /// A check by the admin API.
    pub(super) fn new(verifier: Verifier) -> Self {
        Self { verifier }
    }

    /// Lets a request pass that may send; tells to which topics.
    pub(super) async fn sender(&self, headers: &HeaderMap) -> Result<Reach, Box<Problem>> {
        self.sender_of(required(headers)?).await
    }

    /// Lets the holder of a token pass who may send; tells to which topics.
    pub(in crate::listener) async fn sender_of(&self, token: &str) -> Result<Reach, Box<Problem>> {
        let actor = self.identify(token, Role::Producer).await?;
        actor.need_scope(Needed::Action(SEND))?;
        Ok(Reach::of(actor))
    }

    /// Lets a request pass that may look at something: one of these scopes is enough.
    pub(super) async fn reader(
        &self,
        headers: &HeaderMap,
        (scope, other): (&'static str, Option<&str>),
    ) -> Result<(), Box<Problem>> {
        let actor = self.identify(required(headers)?, Role::Viewer).await?;
        if !other.is_some_and(|other| actor.within(other)) {
            actor.need_scope(Needed::Action(scope))?;
        }
        Ok(())
    }

    /// Who has a token, if that is somebody with a role.
    async fn identify(&self, token: &str, role: Role) -> Result<Actor, Box<Problem>> {
        match self.verifier.verify(token).await {
            Ok(actor) if actor.may(role) => Ok(actor),
            Ok(actor) => {
                let detail = format!("account {} has not the role {role}", actor.account);
                Err(Box::new(Problem::new(Code::Forbidden, detail)))
            }
            Err(rejection @ Rejection::Invalid) => Err(Box::new(Problem::new(
                Code::Unauthenticated,
                rejection.to_string(),
            ))),
            Err(rejection @ Rejection::Unavailable(_)) => {
                tracing::warn!(%rejection, "a token cannot be checked");
                let detail = "the token cannot be checked: the admin API does not answer";
                Err(Box::new(
                    Problem::new(Code::Unavailable, detail).retry_after(RETRY_S),
                ))
            }
        }
    }
}

fn required(headers: &HeaderMap) -> Result<&str, Box<Problem>> {
    token(headers).ok_or_else(|| {
        let detail = "send Authorization: Bearer TOKEN, or X-Producer-Key";
        Box::new(Problem::new(Code::Unauthenticated, detail))
    })
}

fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    headers.get("x-producer-key")?.to_str().ok()
}
