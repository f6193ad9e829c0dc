//! Notices to webhooks. The audit is the outbox: a row stands there if and only if its change does, and each
//! webhook has a durable place in it. Deliveries are at least once, signed, tried again with backoff, and logged.

use crate::error::Outcome;
use crate::hub::Follow;
use crate::settings::{NoticeSettings, Webhook};
use crate::state::State;
use crate::store;
use crate::store::audit::Filter;
use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream;
use rusqlite::Connection;
use sluice_model::audit::AuditRow;
use sluice_model::notice::{self, Notice, NoticeStatus};
use sluice_model::time::Timestamp;
use sluice_service::destinations::Destinations;
use sluice_service::outgoing::{Outgoing, SIGNATURE, signature};
use sluice_service::secret::Secret;
use sluice_service::{backoff, now};
use std::sync::Arc;
use std::time::Duration;

/// Rows of the audit that are looked at in one transaction.
const ROWS_MAX: u32 = 200;
/// Deliveries of one round.
const ROUND_MAX: u32 = 32;
/// Deliveries at one time.
const AT_ONCE: usize = 4;
/// Time for one delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Delay after the first failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest delay between two tries.
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Tries before a notice is given up: about half a day.
const ATTEMPTS_MAX: i64 = 24;
/// Pause while nothing happens.
const IDLE: Duration = Duration::from_secs(1);
/// Between two times of forgetting old lines of the log.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// A webhook that is ready.
#[derive(Debug)]
struct Target {
    webhook: Webhook,
    url: url::Url,
    secrets: Vec<Secret>,
}

/// Sends notices until the service stops.
#[derive(Clone, Debug)]
pub struct Notifier {
    targets: Arc<[Target]>,
    outgoing: Outgoing,
    link: String,
    keep: Duration,
}

impl Notifier {
    /// Reads the secrets of the webhooks; none when there is no webhook.
    ///
    /// # Errors
    /// When a secret cannot be read, or a URL leads where the configuration allows nothing.
    pub fn new(settings: &NoticeSettings) -> anyhow::Result<Option<Self>> {
        if settings.webhooks.is_empty() {
            return Ok(None);
        }
        let destinations = Destinations::new(&settings.destinations)
            .map_err(|faults| anyhow::anyhow!("notices.{}", faults.join("; ")))?;
        let target = |webhook: &Webhook| -> anyhow::Result<Target> {
            let of = || format!("webhook {}", webhook.name);
            let url = url::Url::parse(&webhook.url).with_context(of)?;
            let (host, port) = place(&url).with_context(of)?;
            destinations
                .check(&host, port)
                .map_err(|why| anyhow::anyhow!("webhook {}: its url {why}", webhook.name))?;
            let secrets = if webhook.secret_file.as_os_str().is_empty() {
                Vec::new()
            } else {
                vec![Secret::from_file(&webhook.secret_file).with_context(of)?]
            };
            Ok(Target {
                webhook: webhook.clone(),
                url,
                secrets,
            })
        };
        let targets: anyhow::Result<Vec<_>> = settings.webhooks.iter().map(target).collect();
        Ok(Some(Self {
            targets: targets?.into(),
            outgoing: Outgoing::new(destinations),
            link: settings.link.clone(),
            keep: settings.keep,
        }))
    }

    /// Runs until the service stops.
    pub async fn run(self, state: State) {
        let mut forgotten: Option<std::time::Instant> = None;
        loop {
            let since = state.hub.current(Follow::All);
            let more = match self.round(&state).await {
                Ok(more) => more,
                Err(error) => {
                    tracing::error!(error = %error, "send notices");
                    false
                }
            };
            if forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
                self.forget(&state).await;
                forgotten = Some(std::time::Instant::now());
            }
            if state.shutdown.requested() {
                return;
            }
            if !more {
                // What changes wakes it; the pause is for what is due again.
                state.hub.wait(Follow::All, &since, IDLE).await;
            }
        }
    }

    async fn forget(&self, state: &State) {
        let keep = i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX);
        let before = now().plus_millis(-keep);
        let forgotten = state
            .database
            .write(move |c| store::notices::forget(c, before))
            .await;
        if let Err(error) = forgotten {
            tracing::warn!(error = %error, "forget old notices");
        }
    }

    /// Puts new notices on the way and sends those that are due; says whether there may be more at once.
    async fn round(&self, state: &State) -> Outcome<bool> {
        let mut more = false;
        for index in 0..self.targets.len() {
            more |= self.fan_out(state, index).await?;
        }
        let read = |c: &Connection| -> Outcome<Vec<(Notice, Option<AuditRow>)>> {
            let due = store::notices::due(c, now(), ROUND_MAX)?;
            let with_row = |notice: Notice| {
                let row = store::audit::by_seq(c, notice.audit_seq)?;
                Ok((notice, row))
            };
            due.into_iter().map(with_row).collect()
        };
        let due = state.database.read(read).await?;
        more |= due.len() >= ROUND_MAX as usize;
        let sent = stream::iter(due)
            .map(|(notice, row)| self.deliver(notice, row))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<Notice>>()
            .await;
        if !sent.is_empty() {
            let write = move |c: &Connection| -> Outcome<()> {
                sent.iter()
                    .try_for_each(|notice| store::notices::update(c, notice))
            };
            state.database.write(write).await?;
        }
        Ok(more)
    }

    /// Looks at new rows of the audit for one webhook: notices and its place in one transaction.
    async fn fan_out(&self, state: &State, index: usize) -> Outcome<bool> {
        let Some(target) = self.targets.get(index) else {
            return Ok(false);
        };
        let name = target.webhook.name.clone();
        let look = move |c: &Connection| -> Outcome<_> {
            Ok((
                store::notices::position(c, &name)?,
                store::audit::head(c)?.0,
            ))
        };
        let (position, head) = state.database.read(look).await?;
        if position == Some(head) {
            return Ok(false);
        }
        let targets = Arc::clone(&self.targets);
        let write = move |c: &Connection| -> Outcome<bool> {
            let Some(target) = targets.get(index) else {
                return Ok(false);
            };
            enqueue(c, &target.webhook, now())
        };
        state.database.write(write).await
    }

    async fn deliver(&self, mut notice: Notice, row: Option<AuditRow>) -> Notice {
        notice.attempts += 1;
        let target = self
            .targets
            .iter()
            .find(|target| target.webhook.name == notice.webhook);
        let (Some(target), Some(row)) = (target, row) else {
            notice.status = NoticeStatus::Failed;
            notice.last_problem = Some("the webhook is not configured any more".to_owned());
            metrics::counter!("admin_api_notices_total", "outcome" => "failed").increment(1);
            return notice;
        };
        match self.post(target, &notice, &row).await {
            Ok(status) => {
                notice.last_status = Some(status);
                notice.status = NoticeStatus::Delivered;
                notice.delivered_at = Some(now());
                notice.last_problem = None;
                metrics::counter!("admin_api_notices_total", "outcome" => "delivered").increment(1);
            }
            Err((status, problem)) => failed(&mut notice, status, problem, now()),
        }
        notice
    }

    async fn post(
        &self,
        target: &Target,
        notice: &Notice,
        row: &AuditRow,
    ) -> Result<i64, (Option<i64>, String)> {
        let body = notice::body(notice.notice_id, row, target.webhook.format, &self.link);
        let body = body.to_string();
        let problem = |text: String| (None, text);
        let (_, port) = place(&target.url).map_err(|error| problem(error.to_string()))?;
        let client = self.outgoing.client(port).map_err(problem)?;
        let mut request = client
            .post(target.url.clone())
            .timeout(DELIVERY_TIMEOUT)
            .header("Content-Type", "application/json")
            .header("Sluice-Event", &notice.action)
            .header("Idempotency-Key", format!("notice-{}", notice.notice_id));
        if !target.secrets.is_empty() {
            let seconds = now().as_millis() / 1000;
            let signed = signature(&target.secrets, seconds, body.as_bytes());
            request = request.header(SIGNATURE, signed);
        }
        // The URL may carry a secret, as Slack's do: it stays out of the log.
        let answer = request.body(body).send().await;
        let status = answer
            .map_err(|error| problem(told(&error.without_url())))?
            .status()
            .as_u16();
        match status {
            200..=299 => Ok(i64::from(status)),
            _ => Err((Some(i64::from(status)), format!("it answered {status}"))),
        }
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The host and port of a URL over HTTP.
fn place(url: &url::Url) -> anyhow::Result<(String, u16)> {
    let http = matches!(url.scheme(), "http" | "https");
    let host = url.host_str().filter(|_| http).map(str::to_owned);
    host.zip(url.port_or_known_default())
        .context("its url is no http:// or https:// URL")
}

/// Puts notices about new rows of the audit on the way; a new webhook begins with what comes after it.
fn enqueue(connection: &Connection, webhook: &Webhook, now: Timestamp) -> Outcome<bool> {
    let (head, _) = store::audit::head(connection)?;
    let Some(position) = store::notices::position(connection, &webhook.name)? else {
        store::notices::advance(connection, &webhook.name, head)?;
        return Ok(false);
    };
    let span = (position, head + 1);
    let rows = store::audit::export(connection, &Filter::default(), span, ROWS_MAX)?;
    let last = rows.last().map_or(head, |(row, _)| row.seq);
    for (row, _) in rows {
        if !notice::concerns(&row, &webhook.kinds, &webhook.account) {
            continue;
        }
        let notice = Notice {
            notice_id: 0,
            webhook: webhook.name.clone(),
            audit_seq: row.seq,
            action: row.action,
            topic_name: row.topic_name,
            status: NoticeStatus::Waiting,
            created_at: now,
            attempts: 0,
            next_attempt_at: now,
            delivered_at: None,
            last_status: None,
            last_problem: None,
        };
        store::notices::insert(connection, &notice)?;
    }
    store::notices::advance(connection, &webhook.name, last)?;
    Ok(last < head)
}

/// A try failed: another one follows, or it is given up.
fn failed(notice: &mut Notice, status: Option<i64>, problem: String, now: Timestamp) {
    let attempt = u32::try_from(notice.attempts).unwrap_or(u32::MAX);
    let delay = backoff::delay(attempt, RETRY_FIRST, RETRY_MAX);
    notice.next_attempt_at = now.plus_millis(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
    notice.last_status = status;
    let outcome = if notice.attempts >= ATTEMPTS_MAX {
        notice.status = NoticeStatus::Failed;
        "failed"
    } else {
        "retried"
    };
    tracing::warn!(
        webhook = notice.webhook,
        attempts = notice.attempts,
        problem,
        "a notice was not taken"
    );
    metrics::counter!("admin_api_notices_total", "outcome" => outcome).increment(1);
    notice.last_problem = Some(problem);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::notice::Format;

    #[test]
    fn notices_are_queued_once_and_only_from_where_the_webhook_began() {
        let mut connection = Connection::open_in_memory().unwrap();
        store::migrations().run(&mut connection).unwrap();
        let row = |action: &str| AuditRow {
            seq: 0,
            at: Timestamp::from_millis(1),
            action: action.to_owned(),
            kind: None,
            topic_id: None,
            topic_name: Some("orders".to_owned()),
            requested_by: Some("ana".to_owned()),
            actor: "ben".to_owned(),
            reason: None,
            before: None,
            after: None,
            request_id: None,
            on_behalf_of: None,
            source: None,
        };
        let webhook = Webhook {
            name: "hook".to_owned(),
            url: String::new(),
            secret_file: std::path::PathBuf::new(),
            kinds: vec!["reject".to_owned()],
            format: Format::Json,
            account: String::new(),
        };
        let at = Timestamp::from_millis(5);
        store::audit::append(&connection, row("reject")).unwrap();
        enqueue(&connection, &webhook, at).unwrap();
        assert_eq!(
            store::notices::due(&connection, at, 9).unwrap(),
            [],
            "what was before it"
        );
        for action in ["reject", "approve"] {
            store::audit::append(&connection, row(action)).unwrap();
        }
        enqueue(&connection, &webhook, at).unwrap();
        enqueue(&connection, &webhook, at).unwrap();
        let mut due = store::notices::due(&connection, at, 9).unwrap();
        assert_eq!(due.iter().map(|n| n.audit_seq).collect::<Vec<_>>(), [2]);
        let notice = &mut due[0];
        notice.attempts = 1;
        failed(notice, Some(500), "it answered 500".to_owned(), at);
        store::notices::update(&connection, notice).unwrap();
        assert_eq!(
            store::notices::due(&connection, at, 9).unwrap(),
            [],
            "not due yet"
        );
        assert_eq!(notice.next_attempt_at, at.plus_millis(1000));
        notice.attempts = ATTEMPTS_MAX;
        failed(notice, None, "gone".to_owned(), at);
        assert_eq!(notice.status, NoticeStatus::Failed);
    }
}
