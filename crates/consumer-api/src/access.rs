//! Who is calling, and what they may do here.

pub mod scopes;

use crate::context::Context;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use sluice_admin_client::verify::Rejection;
use sluice_model::access::{Actor, Role};
use sluice_model::problem::{Code, Problem};
use sluice_service::http::cookie::same_origin;
use sluice_service::http::credential;
use sluice_service::http::problem::{Failure, respond};
use sluice_service::secret::Secret;
use std::collections::BTreeSet;
use std::future::{Ready, ready};

/// The verified caller of a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub actor: Actor,
    /// The token that said so.
    pub token: Secret,
    /// The teams that the account is in: those that the admin API knows, and those of the configuration.
    pub teams: Vec<String>,
}

impl Caller {
    /// Refuses a caller without a role.
    ///
    /// # Errors
    /// 403 that names the role.
    pub fn need(&self, role: Role) -> Result<(), Failure> {
        if self.actor.may(role) {
            return Ok(());
        }
        let account = &self.actor.account;
        let detail = format!("{account} needs the role {role} for this");
        Err(Problem::new(Code::Forbidden, detail).into())
    }

    /// Refuses a caller that may not change the consumers of an owner.
    ///
    /// # Errors
    /// 403 that names the owner.
    pub fn need_owner(&self, owner: &str) -> Result<(), Failure> {
        self.need(Role::Consumer)?;
        if self.stands_for(owner) {
            return Ok(());
        }
        let detail = format!("this consumer belongs to {owner}; only {owner} and admins change it");
        Err(Problem::new(Code::Forbidden, detail).into())
    }

    /// Refuses to give a consumer to somebody whom the caller does not stand for.
    ///
    /// # Errors
    /// 403 that names whom it may belong to.
    pub fn may_own(&self, owner: &str) -> Result<(), Failure> {
        if self.stands_for(owner) {
            return Ok(());
        }
        let account = &self.actor.account;
        let names = std::iter::once(account).chain(&self.teams);
        let names: Vec<_> = names.map(String::as_str).collect();
        let detail = format!(
            "a consumer of yours belongs to {}, not to {owner}",
            names.join(" or ")
        );
        Err(Problem::new(Code::Forbidden, detail).into())
    }

    fn stands_for(&self, owner: &str) -> bool {
        let own = owner == self.actor.account || self.teams.iter().any(|team| team == owner);
        own || self.actor.may(Role::Admin)
    }
}

impl FromRequest for Caller {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or_else(|| unauthenticated().into()))
    }
}

fn unauthenticated() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "send Authorization: Bearer with a token of the admin API",
    )
}

/// The token of a request: its header, or the console session of its cookie. A cookie goes along by
/// itself, so a change by cookie must come from our own pages.
///
/// # Errors
/// 401 without a token, 403 for a change that another site sent.
pub fn token(context: &Context, request: &HttpRequest) -> Result<Secret, Problem> {
    if let Some(token) = credential::token(request) {
        return Ok(Secret::new(token.to_owned()));
    }
    let token = context
        .sessions
        .token(request)
        .ok_or_else(unauthenticated)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !same_origin(request) {
        return Err(Problem::new(
            Code::Forbidden,
            "this form comes from another site",
        ));
    }
    Ok(token)
}

/// The teams of the admin API and those of the configuration, each once.
fn joined(governed: &[String], configured: Vec<String>) -> Vec<String> {
    let all: BTreeSet<String> = governed.iter().cloned().chain(configured).collect();
    all.into_iter().collect()
}

/// Who a token belongs to.
///
/// # Errors
/// 401 when it is not valid, 503 when that cannot be checked now.
pub async fn verify(context: &Context, token: Secret) -> Result<Caller, Problem> {
    match context.verifier.verify(token.expose()).await {
        Ok(actor) => {
            let teams = joined(&actor.teams, context.settings.teams_of(&actor.account));
            Ok(Caller {
                actor,
                token,
                teams,
            })
        }
        Err(Rejection::Invalid) => Err(Problem::new(
            Code::Unauthenticated,
            "the admin API does not know this token",
        )),
        Err(error @ Rejection::Unavailable(_)) => {
            Err(Problem::new(Code::Unavailable, error.to_string()).retry_after(1))
        }
    }
}

/// The middleware of everything that needs a credential; reading is the least that it must allow.
///
/// # Errors
/// Passes on what the inner service fails with.
pub async fn authenticate<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, actix_web::Error> {
    let context = request.app_data::<web::Data<Context>>().cloned();
    let caller = match &context {
        None => Err(Problem::new(Code::Internal, "the service is not set up")),
        Some(context) => match token(context, request.request()) {
            Ok(token) => verify(context, token).await,
            Err(problem) => Err(problem),
        },
    };
    let caller = caller.and_then(|caller| match caller.need(Role::Viewer) {
        Ok(()) => Ok(caller),
        Err(failure) => Err(*failure.0),
    });
    let caller = scopes::admit(caller, context.as_ref(), request.request()).await;
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(next.call(request).await?.map_into_left_body())
        }
        Err(problem) => Ok(request
            .into_response(respond(&problem))
            .map_into_right_body()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(roles: &[Role], governed: &[&str], configured: &[&str]) -> Caller {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let governed: Vec<String> = owned(governed);
        Caller {
            teams: joined(&governed, owned(configured)),
            actor: Actor {
                account: "ana".to_owned(),
                roles: roles.to_vec(),
                scopes: Vec::new(),
                teams: governed,
                expires_at: None,
            },
            token: Secret::new("t".to_owned()),
        }
    }

    #[test]
    fn an_account_stands_for_itself_and_for_its_teams_wherever_they_are_named() {
        let ana = caller(&[Role::Consumer], &["payments", "both"], &["both", "ops"]);
        assert_eq!(ana.teams, ["both", "ops", "payments"]);
        for owner in ["ana", "payments", "ops", "both"] {
            assert!(ana.need_owner(owner).is_ok(), "{owner}");
            assert!(ana.may_own(owner).is_ok(), "{owner}");
        }
        assert!(ana.need_owner("bob").is_err());
        let refused = ana.may_own("bob").unwrap_err().0;
        assert!(
            refused.detail.contains("ana or both or ops or payments"),
            "{}",
            refused.detail
        );
    }

    #[test]
    fn a_team_without_the_role_is_not_enough() {
        let ana = caller(&[Role::Viewer], &["payments"], &[]);
        assert!(ana.need_owner("payments").is_err());
        let root = caller(&[Role::Admin], &[], &[]);
        assert!(root.need_owner("anybody").is_ok());
    }
}
