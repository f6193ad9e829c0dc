//! What is shown.

use super::frame::{Visitor, show, viewer};
use crate::app;
use crate::error::Outcome;
use crate::routes::deletion::fence_of;
use crate::routes::{id, query};
use crate::state::State;
use crate::store;
use crate::store::audit::Filter;
use actix_web::{HttpRequest, HttpResponse, web};
use rusqlite::Connection;
use sluice_model::lifecycle::State as TopicState;
use sluice_model::page::{Page, encode};
use sluice_model::policy::Policy;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{Kind, Request, RequestStatus};
use sluice_model::topic::Topic;
use sluice_service::http::problem::Failure;
use sluice_service::now;
use sluice_ui::admin::{
    self, Audit, Deletions, Inbox, Notices, Overview, Subscriptions, Surroundings, Tab, TopicPage,
    Topics, WebhookLine,
};
use sluice_ui::form::TopicForm;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows on one page of a list.
const ROWS: u32 = 100;
/// Requests and audit rows on the overview.
const OVERVIEW_ROWS: u32 = 6;
/// Topics in trouble that the overview looks through, of each state.
const TROUBLED_ROWS: u32 = 200;
/// Comments that a request shows.
const COMMENTS: u32 = 50;
/// Mappings on the page of the subscriptions.
const SUBSCRIPTIONS: u32 = 1000;

type Answer = Result<HttpResponse, Failure>;

/// The page of a list that a request asks for.
fn rows(request: &HttpRequest) -> Result<Page, Problem> {
    let page = Page::parse(None, query(request, "cursor").as_deref())?;
    Ok(Page {
        limit: ROWS,
        ..page
    })
}

/// The cursor of the next page, when this one is full.
fn next<T>(items: &[T], id: impl Fn(&T) -> i64) -> Option<String> {
    let last = items.last().filter(|_| items.len() >= ROWS as usize)?;
    Some(encode(id(last)))
}

/// `GET /ui/`
pub(super) async fn overview(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let viewer = viewer(&request, &state, visitor.0).await;
    let read = |c: &Connection| -> Outcome<_> {
        let recent = Page {
            limit: OVERVIEW_ROWS,
            before: None,
        };
        Ok((
            store::topics::stats(c, now())?,
            store::requests::waiting(c, 0, OVERVIEW_ROWS)?,
            troubled(c)?,
            store::audit::list(c, &Filter::default(), recent)?,
            store::switches::deletions(c)?,
        ))
    };
    let (stats, pending, troubled, recent, switch) = state.database.read(read).await?;
    let producers = state.producers.all();
    let data = Overview {
        stats: &stats,
        pending: &pending,
        troubled: &troubled,
        producers: &producers,
        recent: &recent,
        deletions: Deletions {
            enabled: switch.enabled,
            configured: state.settings.lifecycle.deletions,
            by: switch.by.as_deref(),
            at: switch.at,
            reason: switch.reason.as_deref(),
        },
    };
    Ok(show(admin::overview(&viewer, &data)))
}

/// Topics whose last try failed.
fn troubled(connection: &Connection) -> Outcome<Vec<Topic>> {
    let page = Page {
        limit: TROUBLED_ROWS,
        before: None,
    };
    let mut troubled = Vec::new();
    for state in [TopicState::Approved, TopicState::Inactive] {
        let topics = store::topics::list(connection, Some(state), None, page)?;
        troubled.extend(
            topics
                .into_iter()
                .filter(|topic| topic.last_problem.is_some()),
        );
    }
    Ok(troubled)
}

/// `GET /ui/topics`
pub(super) async fn topics(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let page = rows(&request)?;
    let status = query(&request, "status").unwrap_or_default();
    let q = query(&request, "q").unwrap_or_default();
    let wanted = if status.is_empty() {
        Ok(None)
    } else {
        status.parse::<TopicState>().map(Some)
    };
    let wanted = wanted.map_err(|error| Problem::invalid("status", error.to_string()))?;
    let text = Some(q.clone()).filter(|text| !text.is_empty());
    let read = move |c: &Connection| store::topics::list(c, wanted, text.as_deref(), page);
    let topics = state.database.read(read).await?;
    let next = next(&topics, |topic| topic.topic_id);
    let viewer = viewer(&request, &state, visitor.0).await;
    let data = Topics {
        topics: &topics,
        status: &status,
        q: &q,
        next: next.as_deref(),
    };
    Ok(show(admin::topics(&viewer, &data)))
}

/// `GET /ui/topics/{id}`
pub(super) async fn topic(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let topic_id = id(&request)?;
    let read = move |c: &Connection| -> Outcome<_> {
        let Some(topic) = store::topics::by_id(c, topic_id)? else {
            return Ok(None);
        };
        let page = Page {
            limit: ROWS,
            before: None,
        };
        let mut audit = store::audit::list(c, &Filter::of_topic(&topic.topic_name), page)?;
        // A name that was asked for again is another topic.
        audit.retain(|row| row.topic_id.is_none_or(|id| id == topic_id));
        let open = store::requests::open_of_topic(c, topic_id)?;
        Ok(Some((topic, audit, open)))
    };
    let found = state.database.read(read).await?;
    let missing = || {
        Problem::new(
            Code::NotFound,
            format!("there is no topic with id {topic_id}"),
        )
    };
    let (topic, audit, open) = found.ok_or_else(missing)?;
    let fence = if topic.status == TopicState::Inactive {
        Some(fence_of(&state, &topic).await?)
    } else {
        None
    };
    let viewer = viewer(&request, &state, visitor.0).await;
    let producers = state.producers.all();
    let data = TopicPage {
        topic: &topic,
        audit: &audit,
        producers: &producers,
        request: open.as_ref(),
        fence: fence.as_ref(),
    };
    Ok(show(admin::topic(&viewer, &data)))
}

/// `GET /ui/request`
pub(super) async fn request(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let name = query(&request, "name").unwrap_or_default();
    let form = TopicForm {
        name,
        ..TopicForm::default()
    };
    let viewer = viewer(&request, &state, visitor.0).await;
    Ok(show(admin::request(
        &viewer,
        &form,
        &state.rules().policy,
        None,
    )))
}

/// `GET /ui/requests`
pub(super) async fn requests(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let page = rows(&request)?;
    let tab = Tab::of(query(&request, "tab").as_deref());
    let account = visitor.0.account.clone();
    let policy = state.rules().policy;
    let rules = Arc::clone(&policy);
    let read = move |c: &Connection| -> Outcome<_> {
        let requests = match tab {
            Tab::Pending => store::requests::waiting(c, page.before.unwrap_or(0), page.limit)?,
            Tab::Decided => store::requests::decided(c, page)?,
            Tab::Mine => store::requests::of_account(c, &account, page)?,
        };
        let mut evidence = BTreeMap::new();
        for request in requests
            .iter()
            .filter(|request| request.kind == Kind::Delete)
        {
            let found = store::evidence::of_request(c, request.request_id)?;
            evidence.extend(found.map(|found| (request.request_id, found)));
        }
        let around = requests
            .iter()
            .map(|request| surroundings(c, &rules, request));
        let around = around.collect::<Outcome<BTreeMap<_, _>>>()?;
        Ok((requests, evidence, around))
    };
    let (requests, evidence, around) = state.database.read(read).await?;
    let next = next(&requests, |request| request.request_id);
    let viewer = viewer(&request, &state, visitor.0).await;
    let producers = state.producers.all();
    let data = Inbox {
        tab,
        requests: &requests,
        evidence: &evidence,
        producers: &producers,
        policy: &policy,
        around: &around,
        next: next.as_deref(),
    };
    Ok(show(admin::inbox(&viewer, &data)))
}

/// What is shown beside a request.
fn surroundings(
    connection: &Connection,
    policy: &Policy,
    request: &Request,
) -> Outcome<(i64, Surroundings)> {
    let page = Page {
        limit: COMMENTS,
        before: None,
    };
    let mut around = Surroundings {
        comments: store::comments::list(connection, request.request_id, page)?,
        ..Surroundings::default()
    };
    let topic = store::topics::by_id(connection, request.topic_id)?;
    if let Some(topic) = topic.filter(|_| request.status == RequestStatus::Pending) {
        around.budget = app::budget::of_request(connection, policy, request, &topic)?;
        around.findings = app::policy::findings(policy, request, &topic);
    }
    Ok((request.request_id, around))
}

/// `GET /ui/subscriptions`
pub(super) async fn subscriptions(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    Ok(show(
        subscriptions_page(&request, &state, visitor, "", None).await?,
    ))
}

/// The page of the subscriptions, with what was wrong with its form.
pub(super) async fn subscriptions_page(
    request: &HttpRequest,
    state: &State,
    visitor: Visitor,
    topic_name: &str,
    problem: Option<&Problem>,
) -> Result<String, Failure> {
    let user = query(request, "user_id").unwrap_or_default();
    let of = Some(user.clone()).filter(|user| !user.is_empty());
    let read = move |c: &Connection| -> Outcome<_> {
        let page = Page {
            limit: SUBSCRIPTIONS,
            before: None,
        };
        let active = store::topics::active(c)?;
        let names: Vec<_> = active.into_iter().map(|topic| topic.topic_name).collect();
        Ok((store::subscriptions::list(c, of.as_deref(), page)?, names))
    };
    let (subscriptions, names) = state.database.read(read).await?;
    let viewer = viewer(request, state, visitor.0).await;
    let data = Subscriptions {
        subscriptions: &subscriptions,
        topics: &names,
        user: &user,
        topic_name,
        problem,
    };
    Ok(admin::subscriptions(&viewer, &data))
}

/// `GET /ui/producers`
pub(super) async fn producers(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let viewer = viewer(&request, &state, visitor.0).await;
    Ok(show(admin::producers(&viewer, &state.producers.all())))
}

/// `GET /ui/drift`
pub(super) async fn drift(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let found = crate::routes::drift::known(&state, true).await?;
    let viewer = viewer(&request, &state, visitor.0).await;
    Ok(show(admin::drift(&viewer, &found)))
}

/// `GET /ui/audit`
pub(super) async fn audit(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let page = rows(&request)?;
    let filter = crate::routes::audit::filter(&request)?;
    let rows = state
        .database
        .read(move |c| store::audit::list(c, &filter, page))
        .await?;
    let next = next(&rows, |row| row.seq);
    let viewer = viewer(&request, &state, visitor.0).await;
    Ok(show(admin::audit(
        &viewer,
        &Audit {
            rows: &rows,
            next: next.as_deref(),
            query: &filter_query(&request),
            wanted: admin::AuditWanted {
                q: query(&request, "q").unwrap_or_default(),
                actor: query(&request, "actor").unwrap_or_default(),
                action: query(&request, "action").unwrap_or_default(),
                topic: query(&request, "topic").unwrap_or_default(),
                from: query(&request, "from").unwrap_or_default(),
                to: query(&request, "to").unwrap_or_default(),
            },
        },
    )))
}

/// `GET /ui/notices`
pub(super) async fn notices(
    request: HttpRequest,
    state: web::Data<State>,
    visitor: Visitor,
) -> Answer {
    let page = rows(&request)?;
    let status = crate::routes::notices::status(&request)?;
    let webhook = query(&request, "webhook");
    let of = webhook.clone();
    let read = move |c: &Connection| store::notices::list(c, of.as_deref(), status, page);
    let log = state.database.read(read).await?;
    let configured = state.settings.notices.webhooks.iter();
    let webhooks: Vec<_> = configured
        .map(|webhook| WebhookLine {
            name: &webhook.name,
            kinds: &webhook.kinds,
            format: webhook.format,
            account: &webhook.account,
            signed: !webhook.secret_file.as_os_str().is_empty(),
        })
        .collect();
    let next = next(&log, |notice| notice.notice_id);
    let viewer = viewer(&request, &state, visitor.0).await;
    let data = Notices {
        webhooks: &webhooks,
        notices: &log,
        webhook: webhook.as_deref().unwrap_or_default(),
        status,
        next: next.as_deref(),
    };
    Ok(show(admin::notices(&viewer, &data)))
}

/// `GET /ui/audit/export`
pub(super) async fn audit_export(
    request: HttpRequest,
    state: web::Data<State>,
    _visitor: Visitor,
) -> Answer {
    crate::routes::audit::begin_export(&request, &state).await
}

/// The query without its cursor, for the next page and the exports.
fn filter_query(request: &HttpRequest) -> String {
    let pairs = request.query_string().split('&');
    let kept = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    kept.flat_map(|pair| ["&", pair]).collect()
}
