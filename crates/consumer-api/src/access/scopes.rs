//! What a token that is narrowed by scopes may do here, by method and path. What is not listed needs a
//! credential without scopes, so that a new route is closed to narrowed tokens until somebody opens it.
//!
//! Changing a consumer, or reading its dead letters, needs all of its topics, checked for every such path
//! in this one place; what a body or a query names is checked where that is read.

use super::Caller;
use crate::context::Context;
use crate::processors::target;
use actix_web::http::Method;
use actix_web::{HttpRequest, web};
use sluice_model::consumer::ProcessorSpec;
use sluice_model::problem::Problem;
use sluice_model::scope::Needed;

/// The segments of a path, without the console's prefix, and whether there was one.
fn segments(path: &str) -> (Vec<&str>, bool) {
    let mut parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let console = parts.first() == Some(&"ui");
    if console {
        parts.remove(0);
    }
    (parts, console)
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// What a call needs.
fn needed(method: &Method, path: &str) -> Needed {
    let (parts, console) = segments(path);
    let action = match (parts.as_slice(), reads(method)) {
        (["metrics"], true) => "metrics:read",
        (["audit"], true) => "audit:read",
        (
            ["consumers", _, "dead-letters"] | ["topics", _, "records"] | ["stream" | "live", ..],
            true,
        ) => "records:read",
        (["consumers" | "consumergroups" | "processors", ..], true) => "consumers:read",
        (["consumers", ..], false) => "consumers:write",
        (["topics", "active"], true) => "topics:read",
        ([], true) if console => "topics:read",
        (["subscribe" | "unsubscribe"], false) if console => "subscriptions:write",
        _ => return Needed::Whole,
    };
    Needed::Action(action)
}

/// The consumer whose topics a call needs.
fn touched<'a>(method: &Method, path: &'a str) -> Option<&'a str> {
    let (parts, _) = segments(path);
    let ["consumers", id, rest @ ..] = parts.as_slice() else {
        return None;
    };
    let touches = !reads(method) || rest.first() == Some(&"dead-letters");
    (touches && uuid::Uuid::try_parse(id).is_ok()).then_some(*id)
}

/// Lets a caller pass whose scopes leave a call open.
///
/// # Errors
/// 403 that names the scope or the topic; what the caller failed with before.
pub async fn admit(
    caller: Result<Caller, Problem>,
    context: Option<&web::Data<Context>>,
    request: &HttpRequest,
) -> Result<Caller, Problem> {
    let caller = caller?;
    let (method, path) = (request.method(), request.path());
    caller.actor.need_scope(needed(method, path))?;
    if let (false, Some(context), Some(id)) =
        (caller.actor.reaches_all(), context, touched(method, path))
    {
        let row = context.store.consumer(id).await;
        caller.need_topics(&row.map_err(|failure| *failure.0)?.topics)?;
    }
    Ok(caller)
}

impl Caller {
    /// Refuses a credential whose scopes leave out one of these topics.
    ///
    /// # Errors
    /// 403 that names the topic.
    pub fn need_topics(&self, topics: &[String]) -> Result<(), Problem> {
        topics
            .iter()
            .try_for_each(|topic| self.actor.need_topic(topic))
    }

    /// Refuses a credential whose scopes leave out what a consumer reads, or writes to.
    ///
    /// # Errors
    /// 403 that names the topic.
    pub fn need_reach(
        &self,
        topics: &[String],
        processors: &[ProcessorSpec],
    ) -> Result<(), Problem> {
        self.need_topics(topics)?;
        let mut targets = processors
            .iter()
            .filter_map(|spec| target(&spec.processor_type, &spec.config));
        targets.try_for_each(|(_, topic)| self.actor.need_topic(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sluice_model::access::{Actor, Role};
    use sluice_model::scope::SCOPES;
    use sluice_service::secret::Secret;

    const ID: &str = "6f1c2f9e-58f7-4a3e-9c55-9d1f6a0f2f11";

    #[test]
    fn calls_need_the_scope_of_what_they_do_and_unknown_ones_need_no_scopes() {
        for (method, path, wanted) in [
            ("GET", "/metrics", Some("metrics:read")),
            ("GET", "/audit/", Some("audit:read")),
            ("GET", "/topics/active", Some("topics:read")),
            ("GET", "/topics/orders/records/", Some("records:read")),
            ("GET", "/stream/ws", Some("records:read")),
            ("GET", "/consumers", Some("consumers:read")),
            ("GET", "/consumers/1/status/", Some("consumers:read")),
            ("GET", "/consumers/1/dead-letters/", Some("records:read")),
            ("GET", "/consumergroups/g/offsets", Some("consumers:read")),
            ("POST", "/consumers/", Some("consumers:write")),
            ("PATCH", "/consumers/1/offsets/", Some("consumers:write")),
            ("DELETE", "/consumers/1", Some("consumers:write")),
            ("GET", "/ui/", Some("topics:read")),
            ("GET", "/ui/live", Some("records:read")),
            ("GET", "/ui/consumers/new", Some("consumers:read")),
            ("POST", "/ui/consumers/1/stop", Some("consumers:write")),
            ("POST", "/ui/subscribe", Some("subscriptions:write")),
            ("POST", "/audit", None),
            ("GET", "/", None),
            ("GET", "/new-thing", None),
        ] {
            let found = needed(&method.parse().unwrap(), path);
            let wanted = wanted.map_or(Needed::Whole, Needed::Action);
            assert_eq!(found, wanted, "{method} {path}");
            if let Needed::Action(action) = found {
                assert!(SCOPES.iter().any(|(known, _)| *known == action), "{action}");
            }
        }
    }

    #[test]
    fn changes_of_a_consumer_and_its_dead_letters_touch_its_topics() {
        for (method, rest, wanted) in [
            ("GET", "", false),
            ("GET", "/status/", false),
            ("GET", "/dead-letters", true),
            ("PUT", "/", true),
            ("POST", "/start/", true),
            ("POST", "/a-new-verb", true),
            ("DELETE", "/replays/7", true),
        ] {
            for prefix in ["", "/ui"] {
                let path = format!("{prefix}/consumers/{ID}{rest}");
                let found = touched(&method.parse().unwrap(), &path);
                assert_eq!(found, wanted.then_some(ID), "{method} {path}");
            }
        }
        assert_eq!(touched(&Method::POST, "/consumers/"), None);
    }

    #[test]
    fn a_narrowed_caller_reads_and_writes_its_topics_only() {
        let caller = Caller {
            actor: Actor {
                account: "ana".to_owned(),
                roles: vec![Role::Admin],
                scopes: vec!["topic:line.*".to_owned()],
                teams: Vec::new(),
                expires_at: None,
            },
            token: Secret::new(String::new()),
            teams: Vec::new(),
        };
        let forwarder = |topic: &str| ProcessorSpec {
            processor_type: "streaming_forwarder".to_owned(),
            config: serde_json::from_value(json!({"cluster": "c", "topic": topic})).unwrap(),
        };
        let read = |topic: &str| vec![topic.to_owned()];
        assert_eq!(caller.need_reach(&read("line.1"), &[]), Ok(()));
        let writes = [forwarder("line.2")];
        assert_eq!(caller.need_reach(&read("line.1"), &writes), Ok(()));
        let refused = caller.need_reach(&read("orders"), &[]).unwrap_err();
        assert_eq!(refused.status, 403);
        let writes = [forwarder("orders")];
        assert!(caller.need_reach(&read("line.1"), &writes).is_err());
    }
}
