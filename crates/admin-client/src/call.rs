//! What can be called: one function per endpoint, without IO.

mod access;

pub use access::*;

use crate::Error;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_model::access::Actor;
use sluice_model::apply::Plan;
use sluice_model::problem::Problem;
use sluice_model::producer::{Heartbeat, ProducerSeen};
use sluice_model::request::{Asked, Comment, Request, RequestEdit};
use sluice_model::subscription::{Changes, Subscription};
use sluice_model::topic::{
    ActiveTopic, Decided, NewTopic, Requested, Routes, Stats, Topic, TopicChange,
};
use std::time::Duration;

/// Time that an ordinary call may take.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a long poll may take beyond its wait.
pub const WAIT_MARGIN: Duration = Duration::from_secs(10);

/// Time that a call over the whole audit may take.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(600);

/// The method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Does something.
    Post,
    /// Puts something in its place.
    Put,
    /// Asks for a change of something.
    Patch,
    /// Removes something.
    Delete,
}

/// One call, ready to be sent by either transport.
#[derive(Debug)]
pub struct Call<T> {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) timeout: Duration,
    decode: fn(u16, &[u8]) -> Result<T, Error>,
}

impl<T> Call<T> {
    /// Adds an `Idempotency-Key`, so that the call may be repeated without a second effect.
    pub fn idempotent(mut self, key: &str) -> Self {
        self.headers.push(("Idempotency-Key", key.to_owned()));
        self
    }

    /// Adds a parameter to the query.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// The same call, answered by the JSON as it came, with members that this version does not know.
    pub fn raw(self) -> Call<Value> {
        Call {
            method: self.method,
            path: self.path,
            query: self.query,
            body: self.body,
            headers: self.headers,
            timeout: self.timeout,
            decode: decode::<Value>,
        }
    }

    pub(crate) fn finish(&self, status: u16, body: &[u8]) -> Result<T, Error> {
        (self.decode)(status, body)
    }
}

fn decode<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, Error> {
    if (200..300).contains(&status) {
        return serde_json::from_slice(body)
            .map_err(|error| Error::Unexpected(format!("{status} with {error}")));
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Err(Error::Problem(Box::new(problem))),
        Err(_) => Err(Error::Unexpected(format!("status {status}"))),
    }
}

/// An answer that says nothing but that it was done.
fn decode_done(status: u16, body: &[u8]) -> Result<(), Error> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    decode(status, body)
}

fn decode_changed<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<Option<T>, Error> {
    if status == 304 {
        Ok(None)
    } else {
        decode(status, body).map(Some)
    }
}

fn call<T: DeserializeOwned>(method: Method, path: impl Into<String>) -> Call<T> {
    Call {
        method,
        path: path.into(),
        query: Vec::new(),
        body: None,
        headers: Vec::new(),
        timeout: TIMEOUT,
        decode: decode::<T>,
    }
}

fn poll<T: DeserializeOwned>(path: &str, since: Option<&str>, wait: Duration) -> Call<Option<T>> {
    let mut query = vec![("wait", format!("{}s", wait.as_secs()))];
    query.extend(since.map(|since| ("since", since.to_owned())));
    Call {
        method: Method::Get,
        path: path.to_owned(),
        query,
        body: None,
        headers: Vec::new(),
        timeout: wait + WAIT_MARGIN,
        decode: decode_changed::<T>,
    }
}

/// `GET /api/whoami`
pub fn whoami() -> Call<Actor> {
    call(Method::Get, "/api/whoami")
}

/// `GET /api/routes`: the table as soon as its revision differs from `since`; `None` when it does not
/// within `wait`.
pub fn routes(since: Option<&str>, wait: Duration) -> Call<Option<Routes>> {
    poll("/api/routes", since, wait)
}

/// `GET /api/changes`: what happened after `since`; `None` when nothing does within `wait`.
pub fn changes(since: Option<&str>, wait: Duration) -> Call<Option<Changes>> {
    poll("/api/changes", since, wait)
}

/// `GET /api/topics/active`
pub fn active() -> Call<Vec<ActiveTopic>> {
    call(Method::Get, "/api/topics/active")
}

/// `GET /api/topics`, of one status if given.
pub fn topics(status: Option<&str>) -> Call<Vec<Topic>> {
    let mut topics = call(Method::Get, "/api/topics");
    topics
        .query
        .extend(status.map(|status| ("status", status.to_owned())));
    topics
}

/// `GET /api/topics/{id}`
pub fn topic(topic_id: i64) -> Call<Topic> {
    call(Method::Get, format!("/api/topics/{topic_id}"))
}

/// `GET /api/topics/by-name/{name}`
pub fn topic_by_name(name: &str) -> Call<Topic> {
    call(
        Method::Get,
        format!("/api/topics/by-name/{}", segment(name)),
    )
}

/// `POST /api/topics`
pub fn request_topic(topic: &NewTopic) -> Call<Requested> {
    let mut request = call(Method::Post, "/api/topics");
    request.body = Some(json!(topic));
    request
}

/// `POST /api/topics/{id}/{verb}`; `wait` lets the answer wait for the outcome in Kafka.
pub fn decide(topic_id: i64, verb: &str, reason: Option<&str>, wait: Duration) -> Call<Decided> {
    let mut decide = call(Method::Post, format!("/api/topics/{topic_id}/{verb}"));
    decide.body = Some(reason.map_or_else(|| json!({}), |reason| json!({"reason": reason})));
    if !wait.is_zero() {
        decide.query.push(("wait", format!("{}s", wait.as_secs())));
        decide.timeout = wait + WAIT_MARGIN;
    }
    decide
}

/// `PATCH /api/topics/{id}`: files a request of kind change.
pub fn request_change(topic_id: i64, change: &TopicChange) -> Call<Value> {
    let mut patch = call(Method::Patch, format!("/api/topics/{topic_id}"));
    patch.body = Some(json!(change));
    patch
}

/// `POST /api/topics/{id}/delete`: files a request of kind delete.
pub fn request_delete(topic_id: i64, reason: Option<&str>) -> Call<Value> {
    let mut delete = call(Method::Post, format!("/api/topics/{topic_id}/delete"));
    delete.body = Some(reason.map_or_else(|| json!({}), |reason| json!({"reason": reason})));
    delete
}

/// `GET /api/topics/{id}/fence`
pub fn fence(topic_id: i64) -> Call<Value> {
    call(Method::Get, format!("/api/topics/{topic_id}/fence"))
}

/// `GET /api/deletions`
pub fn deletions() -> Call<Value> {
    call(Method::Get, "/api/deletions")
}

/// `PUT /api/deletions`
pub fn turn_deletions(enabled: bool, reason: Option<&str>) -> Call<Value> {
    let mut turn = call(Method::Put, "/api/deletions");
    turn.body = Some(match reason {
        None => json!({"enabled": enabled}),
        Some(reason) => json!({"enabled": enabled, "reason": reason}),
    });
    turn
}

/// `GET /api/notices`
pub fn notices() -> Call<Value> {
    call(Method::Get, "/api/notices")
}

/// `GET /api/webhooks`
pub fn webhooks() -> Call<Value> {
    call(Method::Get, "/api/webhooks")
}

/// `GET /api/audit`
pub fn audit() -> Call<Value> {
    call(Method::Get, "/api/audit")
}

/// `GET /api/audit/verify`
pub fn audit_verify() -> Call<Value> {
    let mut verify = call(Method::Get, "/api/audit/verify");
    verify.timeout = LONG_TIMEOUT;
    verify
}

/// `GET /api/audit/export`, for a transport that writes the answer as it comes.
pub fn audit_export(format: &str) -> Call<Value> {
    let mut export = call(Method::Get, "/api/audit/export").with("format", format);
    export.timeout = LONG_TIMEOUT;
    export
}

/// `GET /api/requests`, of one status if given.
pub fn requests(status: Option<&str>) -> Call<Vec<Request>> {
    let mut requests = call(Method::Get, "/api/requests");
    requests
        .query
        .extend(status.map(|status| ("status", status.to_owned())));
    requests
}

/// `GET /api/requests/{id}`
pub fn request(request_id: i64) -> Call<Request> {
    call(Method::Get, format!("/api/requests/{request_id}"))
}

/// `POST /api/requests/{id}/{verb}`
pub fn decide_request(request_id: i64, verb: &str, reason: Option<&str>) -> Call<Decided> {
    let mut decide = call(Method::Post, format!("/api/requests/{request_id}/{verb}"));
    decide.body = Some(reason.map_or_else(|| json!({}), |reason| json!({"reason": reason})));
    decide
}

/// `POST /api/requests/{id}/approve`, otherwise than it is asked for.
pub fn approve_with_changes(
    request_id: i64,
    changes: &Asked,
    reason: Option<&str>,
) -> Call<Decided> {
    let mut approve = call(Method::Post, format!("/api/requests/{request_id}/approve"));
    approve.body = Some(json!({"changes": changes, "reason": reason}));
    approve
}

/// `PATCH /api/requests/{id}`
pub fn edit_request(request_id: i64, edit: &RequestEdit) -> Call<Request> {
    let mut patch = call(Method::Patch, format!("/api/requests/{request_id}"));
    patch.body = Some(json!(edit));
    patch
}

/// `GET /api/requests/{id}/comments`
pub fn comments(request_id: i64) -> Call<Vec<Comment>> {
    call(Method::Get, format!("/api/requests/{request_id}/comments"))
}

/// `POST /api/requests/{id}/comments`
pub fn comment(request_id: i64, text: &str) -> Call<Comment> {
    let mut comment = call(Method::Post, format!("/api/requests/{request_id}/comments"));
    comment.body = Some(json!({"text": text}));
    comment
}

/// `POST /api/apply`: files what a set of declared topics needs, or only says what that is.
pub fn apply(topics: &Value, dry_run: bool) -> Call<Plan> {
    let mut apply = call(Method::Post, "/api/apply");
    apply.body = Some(json!({"topics": topics, "dry_run": dry_run}));
    apply
}

/// `GET /api/subscriptions`, of one user if given.
pub fn subscriptions(user_id: Option<&str>) -> Call<Vec<Subscription>> {
    let mut subscriptions = call(Method::Get, "/api/subscriptions");
    subscriptions
        .query
        .extend(user_id.map(|user| ("user_id", user.to_owned())));
    subscriptions
}

/// `POST /api/subscriptions`; the caller's own unless `user_id` says otherwise.
pub fn subscribe(user_id: Option<&str>, topic_name: &str) -> Call<Value> {
    subscription(Method::Post, user_id, topic_name)
}

/// `DELETE /api/subscriptions`; the caller's own unless `user_id` says otherwise.
pub fn unsubscribe(user_id: Option<&str>, topic_name: &str) -> Call<Value> {
    subscription(Method::Delete, user_id, topic_name)
}

fn subscription(method: Method, user_id: Option<&str>, topic_name: &str) -> Call<Value> {
    let mut key = json!({"topic_name": topic_name});
    if let Some(user) = user_id {
        key["user_id"] = json!(user);
    }
    let mut subscription = call(method, "/api/subscriptions");
    subscription.body = Some(key);
    subscription
}

/// `POST /api/producers/heartbeat`
pub fn heartbeat(heartbeat: &Heartbeat) -> Call<Value> {
    let mut beat = call(Method::Post, "/api/producers/heartbeat");
    beat.body = Some(json!(heartbeat));
    beat
}

/// `GET /api/producers`
pub fn producers() -> Call<Vec<ProducerSeen>> {
    call(Method::Get, "/api/producers")
}

/// `GET /api/stats`
pub fn stats() -> Call<Stats> {
    call(Method::Get, "/api/stats")
}

/// A text as one segment of a path.
fn segment(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_no_is_a_problem_and_anything_else_is_unexpected() {
        let body =
            br#"{"type":"t","title":"T","status":409,"detail":"d","code":"duplicate","new":1}"#;
        assert_eq!(whoami().finish(409, body).unwrap_err().status(), Some(409));
        assert!(matches!(
            whoami().finish(502, b"<html>"),
            Err(Error::Unexpected(_))
        ));
        assert!(routes(None, TIMEOUT).finish(304, b"").unwrap().is_none());
    }

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(
            topic_by_name("a/../b c").path,
            "/api/topics/by-name/a%2F..%2Fb%20c"
        );
    }
}
