//! The OpenAPI document.

pub mod bodies;

use crate::routes::{
    apply, audit, decisions, deletion, drift, events, notices, petitions, policy, poll, producers,
    requests, service, subscriptions, topics,
};
use crate::routes::{sessions, teams, tokens, users};
use sluice_service::http::openapi::Common;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};

#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Sluice admin API", description = "Governance of Kafka topics: ask, decide, follow."),
    paths(
        service::health, service::whoami, service::stats, drift::list, drift::remedy,
        policy::get, policy::put, policy::try_out,
        apply::apply, topics::list, topics::create, topics::get, topics::by_name, topics::change,
        deletion::fence, deletion::protect, deletion::unprotect, deletion::deletions, deletion::turn_deletions,
        decisions::decide_topic, decisions::request_delete, decisions::activate_by_name,
        requests::list, requests::get, requests::decide,
        petitions::change, petitions::comments, petitions::comment, petitions::decide_many,
        notices::webhooks, notices::list,
        poll::routes, poll::active, poll::changes, events::events,
        subscriptions::list, subscriptions::add, subscriptions::remove,
        producers::list, producers::heartbeat,
        audit::list, audit::export, audit::verify,
        tokens::list, tokens::create, tokens::revoke,
        teams::list, teams::get, teams::create, teams::change, teams::remove,
        teams::add_member, teams::remove_member,
        users::list, users::get, users::create, users::change, users::change_password,
        sessions::start, sessions::end, sessions::set_up,
    ),
    modifiers(&Common, &Open)
)]
struct Document;

/// What GET answers of the policy has its version beside its rules: a schema that is closed cannot be a part.
struct Open;

impl Modify for Open {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let schemas = openapi.components.as_mut().map(|all| &mut all.schemas);
        if let Some(RefOr::T(Schema::Object(policy))) =
            schemas.and_then(|all| all.get_mut("Policy"))
        {
            policy.additional_properties = None;
        }
    }
}

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
