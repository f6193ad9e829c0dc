//! Webhooks, and the log of what was sent to them.

use crate::bits::{Badge, When};
use crate::page::{Shell, Viewer, render};
use askama::Template;
use sluice_model::notice::{Format, Notice, NoticeStatus};

/// A webhook of the configuration, without its URL and its secret.
#[derive(Clone, Copy, Debug)]
pub struct WebhookLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// The actions that it is told of; empty means all about topics.
    pub kinds: &'a [String],
    /// The form of its bodies.
    pub format: Format,
    /// Told only of this account's requests, if not empty.
    pub account: &'a str,
    /// Whether bodies are signed.
    pub signed: bool,
}

impl WebhookLine<'_> {
    fn told(&self) -> String {
        let what = if self.kinds.is_empty() {
            "everything about topics".to_owned()
        } else {
            self.kinds.join(", ")
        };
        if self.account.is_empty() {
            return what;
        }
        format!("{what}; only requests of {}", self.account)
    }

    const fn form(&self) -> &'static str {
        match self.format {
            Format::Json => "JSON",
            Format::Slack => "chat message",
        }
    }
}

/// What the page of the notices shows.
#[derive(Clone, Copy, Debug)]
pub struct Notices<'a> {
    /// The webhooks.
    pub webhooks: &'a [WebhookLine<'a>],
    /// The delivery log, newest first.
    pub notices: &'a [Notice],
    /// Only of this webhook, if not empty.
    pub webhook: &'a str,
    /// Only with this status.
    pub status: Option<NoticeStatus>,
    /// The cursor of the next page.
    pub next: Option<&'a str>,
}

#[derive(Debug, Template)]
#[template(path = "admin/notices.html")]
struct Page<'a> {
    shell: Shell<'a>,
    webhooks: &'a [WebhookLine<'a>],
    rows: Vec<Row<'a>>,
    webhook: &'a str,
    status: &'static str,
    filtered: bool,
    next: Option<&'a str>,
}

#[derive(Debug)]
struct Row<'a> {
    notice: &'a Notice,
    badge: Badge,
    when: When,
    next: When,
    topic: &'a str,
    outcome: String,
}

/// The page at `/ui/notices`.
pub fn notices(viewer: &Viewer, data: &Notices<'_>) -> String {
    let row = |notice| row(viewer, notice);
    render(&Page {
        shell: Shell::new(viewer, "/ui/notices", "Notices"),
        webhooks: data.webhooks,
        rows: data.notices.iter().map(row).collect(),
        webhook: data.webhook,
        status: data.status.map_or("", NoticeStatus::as_str),
        filtered: !data.webhook.is_empty() || data.status.is_some(),
        next: data.next,
    })
}

fn row<'a>(viewer: &Viewer, notice: &'a Notice) -> Row<'a> {
    let answer = notice
        .last_status
        .map(|status| format!("answered {status}"));
    let parts = [answer, notice.last_problem.clone()];
    Row {
        notice,
        badge: notice.status.into(),
        when: When::exact(notice.delivered_at.unwrap_or(notice.created_at)),
        next: When::ago(
            (notice.status == NoticeStatus::Waiting).then_some(notice.next_attempt_at),
            viewer.now,
        ),
        topic: notice.topic_name.as_deref().unwrap_or("–"),
        outcome: parts.into_iter().flatten().collect::<Vec<_>>().join(": "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::{NOW, viewer};
    use crate::tests::{assert_page, nasty};
    use sluice_model::access::Role;

    #[test]
    fn the_log_shows_what_failed_and_when_it_is_tried_again() {
        let viewer = viewer(&[Role::Viewer]);
        let kinds = [nasty().to_owned()];
        let webhook = WebhookLine {
            name: nasty(),
            kinds: &kinds,
            format: Format::Slack,
            account: nasty(),
            signed: true,
        };
        let notice = |status| Notice {
            notice_id: 1,
            webhook: nasty().to_owned(),
            audit_seq: 7,
            action: nasty().to_owned(),
            topic_name: Some(nasty().to_owned()),
            status,
            created_at: NOW,
            attempts: 3,
            next_attempt_at: NOW.plus_millis(240_000),
            delivered_at: None,
            last_status: Some(503),
            last_problem: Some(nasty().to_owned()),
        };
        let log = [
            notice(NoticeStatus::Waiting),
            notice(NoticeStatus::Delivered),
            notice(NoticeStatus::Failed),
        ];
        let all = Notices {
            webhooks: &[webhook],
            notices: &log,
            webhook: "",
            status: None,
            next: Some("b1"),
        };
        let page = notices(&viewer, &all);
        assert_page(&page);
        assert_eq!(page.matches("in 4 min").count(), 1, "only what waits");
        assert!(page.contains("answered 503") && page.contains("failed"));
        let failed = Notices {
            notices: &log[2..],
            webhook: nasty(),
            status: Some(NoticeStatus::Failed),
            ..all
        };
        let page = notices(&viewer, &failed);
        assert_page(&page);
        assert!(page.contains("value=\"failed\" selected"), "{page}");
        assert!(page.contains("&amp;status=failed"));
        for webhooks in [&[webhook][..], &[]] {
            let none = Notices {
                webhooks,
                notices: &[],
                next: None,
                ..all
            };
            assert_page(&notices(&viewer, &none));
        }
    }
}
