//! Notices: what webhooks are told of requests and decisions.

use crate::audit::AuditRow;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The form of a webhook's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// All that there is to say, as members.
    #[default]
    Json,
    /// `{"text": ...}` as Slack, Mattermost and others take it.
    Slack,
}

/// Where a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeStatus {
    /// It is sent, or tried again, when it is due.
    Waiting,
    /// The webhook took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl NoticeStatus {
    /// Reads the word on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// One line of the delivery log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Notice {
    /// Identity; also the idempotency key of its delivery.
    pub notice_id: i64,
    /// To which webhook, by name.
    pub webhook: String,
    /// About which row of the audit.
    pub audit_seq: i64,
    /// What was done.
    pub action: String,
    /// To which topic.
    pub topic_name: Option<String>,
    /// Where it stands.
    pub status: NoticeStatus,
    /// Since when it waits.
    pub created_at: Timestamp,
    /// Tries so far.
    pub attempts: i64,
    /// When it is tried next, while it waits.
    pub next_attempt_at: Timestamp,
    /// When the webhook took it.
    pub delivered_at: Option<Timestamp>,
    /// What the webhook answered last.
    pub last_status: Option<i64>,
    /// Why the last try failed.
    pub last_problem: Option<String>,
}

/// Whether a webhook is told of a row: of the actions that it names, or, when it names none, of all that are about
/// topics; and of one account's requests alone, when it names an account.
pub fn concerns(row: &AuditRow, actions: &[String], account: &str) -> bool {
    let named = if actions.is_empty() {
        row.topic_name.is_some()
    } else {
        actions.contains(&row.action)
    };
    named && (account.is_empty() || row.requested_by.as_deref() == Some(account))
}

/// The notice in a sentence.
pub fn sentence(row: &AuditRow) -> String {
    let topic = row.topic_name.as_deref().unwrap_or("governance");
    let kind = row.kind.as_deref().map(|kind| format!(" ({kind})"));
    let mut text = format!(
        "{topic}: {}{} by {}",
        row.action,
        kind.unwrap_or_default(),
        row.actor
    );
    if let Some(asked) = row
        .requested_by
        .as_ref()
        .filter(|asked| **asked != row.actor)
    {
        text.push_str(", asked for by ");
        text.push_str(asked);
    }
    if let Some(reason) = row.reason.as_deref().filter(|reason| !reason.is_empty()) {
        text.push_str(". Reason: ");
        text.push_str(reason);
    }
    text
}

/// The body of a delivery. `link` is the address of the console, if it is known.
pub fn body(notice_id: i64, row: &AuditRow, format: Format, link: &str) -> Value {
    let link = match row.topic_id {
        _ if link.is_empty() => None,
        Some(id) => Some(format!("{}/ui/topics/{id}", link.trim_end_matches('/'))),
        None => Some(format!("{}/ui/audit", link.trim_end_matches('/'))),
    };
    let text = sentence(row);
    match format {
        Format::Slack => {
            let text = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;");
            json!({"text": link.map_or_else(|| text.clone(), |link| format!("{text} <{link}|open>"))})
        }
        Format::Json => json!({
            "notice_id": notice_id, "seq": row.seq, "at": row.at, "action": row.action, "kind": row.kind,
            "topic_id": row.topic_id, "topic_name": row.topic_name, "requested_by": row.requested_by,
            "actor": row.actor, "on_behalf_of": row.on_behalf_of, "reason": row.reason,
            "request_id": row.request_id, "text": text, "link": link,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> AuditRow {
        AuditRow {
            seq: 9,
            at: Timestamp::from_millis(0),
            action: "reject".into(),
            kind: Some("create".into()),
            topic_id: Some(7),
            topic_name: Some("orders".into()),
            requested_by: Some("ana".into()),
            actor: "ben".into(),
            reason: Some("use <orders.v2> & not this".into()),
            before: Some(json!({"secret": 1})),
            after: None,
            request_id: Some(3),
            on_behalf_of: None,
            source: None,
        }
    }

    #[test]
    fn a_notice_says_who_did_what_and_why_and_nothing_of_the_documents() {
        let slack = body(4, &row(), Format::Slack, "https://sluice.example/");
        assert_eq!(
            slack["text"],
            "orders: reject (create) by ben, asked for by ana. Reason: use &lt;orders.v2&gt; &amp; not this \
             <https://sluice.example/ui/topics/7|open>"
        );
        let json = body(4, &row(), Format::Json, "");
        assert_eq!(json["reason"], "use <orders.v2> & not this");
        assert!(json["link"].is_null() && json.get("before").is_none());
    }

    #[test]
    fn webhooks_are_told_of_what_they_name() {
        assert!(concerns(&row(), &[], ""));
        assert!(concerns(&row(), &["reject".to_owned()], "ana"));
        assert!(!concerns(&row(), &["approve".to_owned()], ""));
        assert!(!concerns(&row(), &[], "ben"));
        let policy = AuditRow {
            topic_name: None,
            ..row()
        };
        assert!(!concerns(&policy, &[], ""));
    }
}
