//! The OpenAPI document.

use crate::routes::{
    apply, audit, decisions, deletion, drift, events, notices, petitions, policy, poll, producers,
    requests, service, subscriptions, topics,
};
use crate::routes::{sessions, teams, tokens, users};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
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
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", scheme);
        openapi.security = Some(vec![SecurityRequirement::new(
            "token",
            Vec::<String>::new(),
        )]);
    }
}

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
