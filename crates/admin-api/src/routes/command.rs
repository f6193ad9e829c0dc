//! Commands over HTTP: `If-Match`, `Idempotency-Key`, one write, one answer.

use crate::app::{Context, Decision};
use crate::error::Outcome;
use crate::state::State;
use crate::store::idempotency::{self, Kept};
use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use rusqlite::Connection;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sluice_model::access::Actor;
use sluice_model::body::Body;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::Asked;
use sluice_model::topic::REASON_CHARS_MAX;
use sluice_service::failpoint;
use sluice_service::http::problem::Failure;

/// The longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 255;

/// The answer of a command, kept for repeats.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON body; its `version` becomes the ETag.
    pub body: Value,
}

impl Reply {
    /// An answer with a status and a body.
    ///
    /// # Errors
    /// When the body cannot be written as JSON.
    pub fn new(status: u16, body: &impl serde::Serialize) -> Outcome<Self> {
        Ok(Self {
            status,
            body: serde_json::to_value(body)?,
        })
    }

    /// The HTTP answer.
    pub fn respond(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut answer = HttpResponseBuilder::new(status);
        if let Some(version) = self.body["version"].as_i64() {
            answer.insert_header((header::ETAG, format!("\"{version}\"")));
        }
        if let (201, Some(id)) = (self.status, self.body["topic_id"].as_i64()) {
            answer.insert_header((header::LOCATION, format!("/api/topics/{id}")));
        }
        answer.json(&self.body)
    }
}

/// Runs a command as one write; with an `Idempotency-Key` the answer is kept in the same transaction,
/// and a repeat gets it again.
///
/// # Errors
/// The command's own; 422 when the key was used with another request.
pub async fn run(
    state: &State,
    request: &HttpRequest,
    actor: Actor,
    body: &[u8],
    command: impl FnOnce(&Connection, &Context) -> Outcome<Reply> + Send + 'static,
) -> Result<Reply, Failure> {
    let key = idempotency_key(request)?;
    let request_hash = request_hash(request, body);
    let context = state.context(actor);
    let work = move |connection: &Connection| -> Outcome<Reply> {
        let Some(key) = key else {
            return command(connection, &context);
        };
        let account = context.actor.account.clone();
        if let Some(kept) = idempotency::find(connection, &account, &key)? {
            return repeated(&kept, &request_hash);
        }
        let reply = command(connection, &context)?;
        let kept = Kept {
            request_hash,
            status: reply.status,
            body: reply.body.to_string(),
        };
        idempotency::keep(connection, &account, &key, &kept, context.now)?;
        Ok(reply)
    };
    let work = move |connection: &Connection| {
        let done = work(connection);
        failpoint::pass("command.written");
        done
    };
    let reply = state.database.write(work).await?;
    failpoint::pass("command.committed");
    state.nudge.notify_one();
    Ok(reply)
}

fn repeated(kept: &Kept, request_hash: &[u8]) -> Outcome<Reply> {
    if kept.request_hash != request_hash {
        let detail = "this Idempotency-Key was used for another request; take a new one";
        return Err(Problem::new(Code::IdempotencyMismatch, detail).into());
    }
    Ok(Reply {
        status: kept.status,
        body: serde_json::from_str(&kept.body)?,
    })
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let message = format!("has 1 to {KEY_BYTES_MAX} printable ASCII characters");
        return Err(Problem::invalid("Idempotency-Key", message));
    }
    Ok(Some(key.to_owned()))
}

fn request_hash(request: &HttpRequest, body: &[u8]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    hasher.update(request.method().as_str());
    hasher.update([0]);
    hasher.update(request.path());
    hasher.update([0]);
    hasher.update(body);
    hasher.finalize().to_vec()
}

/// Reads the body and the `If-Match` of a decision.
///
/// # Errors
/// 400 or 422 for a body with faults, 422 for an `If-Match` that is no version.
pub fn decision(request: &HttpRequest, body: &[u8]) -> Result<Decision, Problem> {
    let mut body = Body::parse(body)?;
    let reason = body.short_text("reason", REASON_CHARS_MAX);
    let confirm = body.text("confirm");
    body.finish()?;
    Ok(Decision {
        reason,
        confirm,
        if_match: if_match(request)?,
        changes: None,
    })
}

/// The same for an approval, which may change what is asked for.
///
/// # Errors
/// 400 or 422 for a body with faults, 422 for an `If-Match` that is no version.
pub fn approval(request: &HttpRequest, body: &[u8]) -> Result<Decision, Problem> {
    let mut body = Body::parse(body)?;
    let reason = body.short_text("reason", REASON_CHARS_MAX);
    let confirm = body.text("confirm");
    let changes = body.object("changes").map(|members| {
        let mut part = Body::of(members, "/changes");
        let changes = asked(&mut part);
        body.absorb(part);
        changes
    });
    body.finish()?;
    Ok(Decision {
        reason,
        if_match: if_match(request)?,
        confirm,
        changes: changes.filter(|changes| !changes.is_empty()),
    })
}

/// Reads partitions, copies and configs; null takes a config back.
pub fn asked(body: &mut Body) -> Asked {
    Asked {
        partitions: body.integer("partitions"),
        replication_factor: body.integer("replication_factor"),
        configs: body
            .nullable_scalars("configs")
            .unwrap_or_default()
            .into_iter()
            .collect(),
    }
}

/// The version in `If-Match`; `*` and absence mean the current one.
///
/// # Errors
/// 422 when it is no version of ours.
pub fn if_match(request: &HttpRequest) -> Result<Option<i64>, Problem> {
    let Some(value) = request.headers().get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.trim_start_matches("W/").trim_matches('"').parse();
    version.map(Some).map_err(|_| {
        Problem::invalid(
            "If-Match",
            "takes a version as it stands in ETag, such as \"3\"",
        )
    })
}
