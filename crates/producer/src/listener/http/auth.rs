//! Who may send: bearer tokens and `X-Producer-Key`, verified by the admin API.

use hyper::HeaderMap;
use hyper::header;
use sluice_admin_client::verify::{Rejection, Verifier};
use sluice_model::access::Role;
use sluice_model::problem::{Code, Problem};

/// The scope that sending needs.
const SEND: &str = "records:send";
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

    /// Lets a request pass whose credential has a role.
    pub(super) async fn check(&self, headers: &HeaderMap, role: Role) -> Result<(), Box<Problem>> {
        let Some(token) = token(headers) else {
            let detail = "send Authorization: Bearer TOKEN, or X-Producer-Key";
            return Err(Box::new(Problem::new(Code::Unauthenticated, detail)));
        };
        self.check_token(token, role).await
    }

    /// Lets the holder of a token pass who has a role.
    pub(in crate::listener) async fn check_token(
        &self,
        token: &str,
        role: Role,
    ) -> Result<(), Box<Problem>> {
        match self.verifier.verify(token).await {
            Ok(actor) if role == Role::Producer && !(actor.within(SEND) && actor.reaches_all()) => {
                let detail =
                    "this token is narrowed by scopes; sending takes records:send and all topics";
                Err(Box::new(Problem::new(Code::Forbidden, detail)))
            }
            Ok(actor) if actor.may(role) => Ok(()),
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

fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim());
    }
    headers.get("x-producer-key")?.to_str().ok()
}
