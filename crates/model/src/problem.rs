//! RFC 9457 problems: the one shape of every error that Sluice answers with.

use crate::body::escape;
use crate::lifecycle::{Event, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What went wrong, as a stable word. One variant per documented failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "`title` says it, and the catalogue prints it")]
pub enum Code {
    MalformedJson,
    WrongType,
    MalformedRequest,
    BadCursor,
    Unauthenticated,
    Forbidden,
    SelfApproval,
    UnknownCluster,
    NotFound,
    UnknownTopic,
    MethodNotAllowed,
    RequestTimeout,
    IllegalTransition,
    Duplicate,
    NameCollision,
    Conflict,
    TopicPending,
    TopicNotActive,
    TopicRejected,
    TopicWithdrawn,
    TopicExpired,
    TopicDeleted,
    /// 410: the change feed does not go back that far.
    RevisionGone,
    StaleVersion,
    TooLarge,
    UnsupportedMediaType,
    Invalid,
    IdempotencyMismatch,
    PathOutsideRoot,
    UnknownProcessor,
    HoldFull,
    Busy,
    TooManyAttempts,
    Internal,
    Unavailable,
    StorageFull,
}

/// Every code, for the catalogue.
pub const CODES: [Code; 36] = [
    Code::MalformedJson,
    Code::WrongType,
    Code::MalformedRequest,
    Code::BadCursor,
    Code::Unauthenticated,
    Code::Forbidden,
    Code::SelfApproval,
    Code::UnknownCluster,
    Code::NotFound,
    Code::UnknownTopic,
    Code::MethodNotAllowed,
    Code::RequestTimeout,
    Code::IllegalTransition,
    Code::Duplicate,
    Code::NameCollision,
    Code::Conflict,
    Code::TopicPending,
    Code::TopicNotActive,
    Code::TopicRejected,
    Code::TopicWithdrawn,
    Code::TopicExpired,
    Code::TopicDeleted,
    Code::RevisionGone,
    Code::StaleVersion,
    Code::TooLarge,
    Code::UnsupportedMediaType,
    Code::Invalid,
    Code::IdempotencyMismatch,
    Code::PathOutsideRoot,
    Code::UnknownProcessor,
    Code::HoldFull,
    Code::Busy,
    Code::TooManyAttempts,
    Code::Internal,
    Code::Unavailable,
    Code::StorageFull,
];

impl Code {
    /// The HTTP status, the word and the title of this code.
    #[expect(clippy::too_many_lines, reason = "a table, a line for a code")]
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (400, "malformed_json", "The body is not valid JSON"),
            Self::WrongType => (400, "wrong_type", "A member has the wrong JSON type"),
            Self::MalformedRequest => (400, "malformed_request", "The request cannot be read"),
            Self::BadCursor => (400, "bad_cursor", "The cursor cannot be read"),
            Self::Unauthenticated => (401, "unauthenticated", "A valid credential is needed"),
            Self::Forbidden => (403, "forbidden", "This credential may not do that"),
            Self::SelfApproval => (
                403,
                "self_approval",
                "Who asked for it does not decide about it",
            ),
            Self::UnknownCluster => (
                403,
                "unknown_cluster",
                "No configured cluster has that address",
            ),
            Self::NotFound => (404, "not_found", "There is nothing at this address"),
            Self::UnknownTopic => (404, "unknown_topic", "Nobody has asked for this topic"),
            Self::MethodNotAllowed => {
                (405, "method_not_allowed", "This address has no such method")
            }
            Self::RequestTimeout => (408, "request_timeout", "The body did not arrive in time"),
            Self::IllegalTransition => (
                409,
                "illegal_transition",
                "The state does not allow this event",
            ),
            Self::Duplicate => (409, "duplicate", "It exists already"),
            Self::NameCollision => (
                409,
                "name_collision",
                "The name collides with another one in Kafka",
            ),
            Self::Conflict => (409, "conflict", "The current state does not allow this"),
            Self::TopicPending => (409, "topic_pending", "The topic waits for its approval"),
            Self::TopicNotActive => (409, "topic_not_active", "The topic is not active"),
            Self::TopicRejected => (409, "topic_rejected", "The topic was rejected"),
            Self::TopicWithdrawn => (409, "topic_withdrawn", "The topic was withdrawn"),
            Self::TopicExpired => (409, "topic_expired", "The request for the topic expired"),
            Self::TopicDeleted => (409, "topic_deleted", "The topic was deleted"),
            Self::RevisionGone => (410, "revision_gone", "Read everything again"),
            Self::StaleVersion => (412, "stale_version", "It changed since it was read"),
            Self::TooLarge => (413, "too_large", "The body is larger than the limit"),
            Self::UnsupportedMediaType => (
                415,
                "unsupported_media_type",
                "This content type is not understood here",
            ),
            Self::Invalid => (422, "invalid", "A rule is broken"),
            Self::IdempotencyMismatch => (
                422,
                "idempotency_mismatch",
                "The idempotency key was used with another body",
            ),
            Self::PathOutsideRoot => (
                422,
                "path_outside_root",
                "The path is outside the directories that are allowed",
            ),
            Self::UnknownProcessor => (422, "unknown_processor", "There is no such processor"),
            Self::HoldFull => (429, "hold_full", "The hold of this topic is full"),
            Self::Busy => (429, "busy", "Too much is waiting already; try again"),
            Self::TooManyAttempts => (429, "too_many_attempts", "Too many attempts; wait a little"),
            Self::Internal => (500, "internal", "Something failed inside"),
            Self::Unavailable => (
                503,
                "unavailable",
                "A service that is needed is not reachable",
            ),
            Self::StorageFull => (507, "storage_full", "There is no room on disk"),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The short human title.
    pub const fn title(self) -> &'static str {
        self.row().2
    }
}

/// One broken rule of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where: a JSON pointer into the body (RFC 6901), or the name of a query parameter or header.
    pub pointer: String,
    /// Which rule, and the way out.
    pub message: String,
}

/// The body of every error answer (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// A stable name of the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and the way out.
    pub detail: String,
    /// The stable word of [`Code`].
    pub code: String,
    /// The id under which the service's log knows this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Every broken rule, not only the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// On 409: the events that would be possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<Event>>,
    /// On 429 and 503: seconds after which another try makes sense (also `Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
    /// What changed between the version that was meant and the current one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Difference>,
}

/// One member that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Difference {
    /// Where: a JSON pointer into the document.
    pub pointer: String,
    /// What it was when it was read; null when it was not there.
    pub seen: Value,
    /// What it is now; null when it is not there.
    pub now: Value,
}

/// The members in which two documents differ, objects gone through to their leaves.
pub fn differences(seen: &Value, now: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", seen, now, &mut found);
    found
}

fn compare(pointer: &str, seen: &Value, now: &Value, found: &mut Vec<Difference>) {
    if seen == now {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (seen, now) else {
        found.push(Difference {
            pointer: pointer.to_owned(),
            seen: seen.clone(),
            now: now.clone(),
        });
        return;
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let part = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
        let below = format!("{pointer}/{}", escape(name));
        compare(&below, &part(old), &part(new), found);
    }
}

impl Problem {
    /// A problem of a kind, with what happened here in words.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:sluice:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code: code.as_str().to_owned(),
            request_id: None,
            errors: Vec::new(),
            allowed: None,
            retry_after_s: None,
            diff: Vec::new(),
        }
    }

    /// A 422 about one field.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::from_errors(Code::Invalid, vec![field(pointer, message)])
    }

    /// A problem that lists field errors and says the first of them in its detail.
    pub fn from_errors(code: Code, errors: Vec<FieldError>) -> Self {
        let detail = errors.first().map(|first| {
            let more = errors.len() - 1;
            let tail = if more == 0 {
                String::new()
            } else {
                format!(" (and {more} more)")
            };
            let place = if first.pointer.is_empty() {
                "the body"
            } else {
                &first.pointer
            };
            format!("{place}: {}{tail}", first.message)
        });
        Self {
            errors,
            ..Self::new(code, detail.unwrap_or_default())
        }
    }

    /// Adds the delay after which another try makes sense.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Whether this is the problem that `code` names.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }
}

/// A field error from its two halves.
pub fn field(pointer: impl Into<String>, message: impl Into<String>) -> FieldError {
    FieldError {
        pointer: pointer.into(),
        message: message.into(),
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status, self.title, self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut allowed = refusal.allowed.clone();
        allowed.retain(|event| event.is_a_decision());
        let words: Vec<_> = allowed.iter().map(|event| event.as_str()).collect();
        let way_out = if words.is_empty() {
            "nothing can happen to it any more; the name can be asked for again".to_owned()
        } else {
            format!("it takes: {}", words.join(", "))
        };
        let mut problem = Self::new(Code::IllegalTransition, format!("{refusal}; {way_out}"));
        problem.allowed = Some(allowed);
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_match_their_serde_names_and_are_unique() {
        let mut seen = std::collections::HashSet::new();
        for code in CODES {
            let wire = serde_json::to_value(code).unwrap();
            assert_eq!(wire, code.as_str());
            assert!(seen.insert(code.as_str()));
            assert!((400..600).contains(&code.status()));
        }
    }

    #[test]
    fn differences_are_found_at_their_leaves() {
        let seen =
            serde_json::json!({"spec": {"partitions": 3, "configs": {"a/b": "1"}}, "version": 1});
        let now = serde_json::json!({"spec": {"partitions": 6, "configs": {}}, "version": 1});
        let found = differences(&seen, &now);
        let pointers: Vec<_> = found.iter().map(|d| d.pointer.as_str()).collect();
        assert_eq!(pointers, ["/spec/configs/a~1b", "/spec/partitions"]);
        assert_eq!(
            (&found[1].seen, &found[1].now),
            (&Value::from(3), &Value::from(6))
        );
        assert_eq!(found[0].now, Value::Null);
        assert!(differences(&seen, &seen).is_empty());
    }

    #[test]
    fn several_faults_are_all_listed() {
        let problem = Problem::from_errors(
            Code::Invalid,
            vec![
                field("/name", "is missing"),
                field("/partitions", "is 1 to 8"),
            ],
        );
        assert_eq!(problem.status, 422);
        assert_eq!(problem.detail, "/name: is missing (and 1 more)");
        assert_eq!(problem.errors.len(), 2);
    }
}
