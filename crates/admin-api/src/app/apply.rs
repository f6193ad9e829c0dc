//! Declared topics: requests for what is not as declared. Approval is never passed by, and what the set does
//! not name is left alone.

use super::bulk::apart;
use super::{Context, change, edit, request_topic};
use crate::error::{AppError, Outcome};
use crate::store::{requests, topics};
use rusqlite::Connection;
use sluice_model::apply::{Plan, PlanItem, Step};
use sluice_model::lifecycle::State;
use sluice_model::problem::{Problem, field};
use sluice_model::request::{Asked, Kind, Request, RequestEdit};
use sluice_model::topic::{NewTopic, Topic, TopicChange, TopicSpec};

/// Files the requests that a set of declared topics needs, or only says which.
///
/// # Errors
/// Only when the store fails. Refusals stand in the plan, and none stops the others.
pub fn apply(
    connection: &Connection,
    context: &Context,
    wanted: &[NewTopic],
    dry_run: bool,
) -> Outcome<Plan> {
    if !dry_run {
        return Ok(Plan::new(false, items(connection, context, wanted)?));
    }
    // A trial is the real thing taken back: it sees its own reservations and collisions.
    connection.execute_batch("SAVEPOINT trial")?;
    let items = items(connection, context, wanted);
    connection.execute_batch("ROLLBACK TO trial; RELEASE trial")?;
    let mut plan = Plan::new(true, items?);
    for item in &mut plan.topics {
        if matches!(item.step, Step::Create | Step::Change) {
            item.request_id = None;
        }
    }
    Ok(plan)
}

fn items(
    connection: &Connection,
    context: &Context,
    wanted: &[NewTopic],
) -> Outcome<Vec<PlanItem>> {
    let mut items = Vec::with_capacity(wanted.len());
    for topic in wanted {
        items.push(match apart(connection, |c| one(c, context, topic)) {
            Ok(item) => item,
            Err(AppError::Problem(problem)) => refused(&topic.name, &problem),
            Err(error) => return Err(error),
        });
    }
    Ok(items)
}

fn item(name: &str, step: Step, detail: impl Into<String>) -> PlanItem {
    PlanItem {
        topic_name: name.to_owned(),
        step,
        detail: detail.into(),
        request_id: None,
        before: None,
        after: None,
        findings: Vec::new(),
    }
}

fn refused(name: &str, problem: &Problem) -> PlanItem {
    let mut item = item(name, Step::Refused, problem.detail.clone());
    item.findings.clone_from(&problem.errors);
    if item.findings.is_empty() {
        item.findings.push(field("", problem.detail.clone()));
    }
    item
}

fn one(connection: &Connection, context: &Context, wanted: &NewTopic) -> Outcome<PlanItem> {
    let name = &wanted.name;
    let found = topics::by_name(connection, name)?;
    let Some(topic) = found.filter(|topic| !topic.status.is_ended()) else {
        let filed = request_topic::request_topic(connection, context, wanted)?;
        let mut created = item(
            name,
            Step::Create,
            format!("asked for; it is {}", filed.status),
        );
        created.request_id = Some(filed.request_id);
        created.after = topics::by_id(connection, filed.topic_id)?.map(|topic| topic.spec());
        return Ok(created);
    };
    let mut planned = match requests::open_of_topic(connection, topic.topic_id)? {
        Some(open) => waiting(connection, context, &open, wanted)?,
        None => existing(connection, context, &topic, wanted)?,
    };
    let pending = topic.status == State::Pending;
    planned
        .findings
        .extend(labels(&topic, wanted).filter(|_| !pending));
    Ok(planned)
}

/// Whether a spec is otherwise than declared; what is not named counts as it is.
fn differs(spec: &TopicSpec, asked: &Asked) -> bool {
    asked
        .partitions
        .is_some_and(|wanted| wanted != spec.partitions)
        || asked
            .replication_factor
            .is_some_and(|wanted| wanted != spec.replication_factor)
        || asked
            .configs
            .iter()
            .any(|(name, value)| spec.configs.get(name) != value.as_ref())
}

/// A topic about which a request waits: the request is edited when it is one's own.
fn waiting(
    connection: &Connection,
    context: &Context,
    open: &Request,
    wanted: &NewTopic,
) -> Outcome<PlanItem> {
    let (name, id) = (&wanted.name, open.request_id);
    let asked = Asked::from(wanted);
    let same = matches!(open.kind, Kind::Create | Kind::Change) && !differs(&open.spec, &asked);
    let mut planned = if same {
        item(
            name,
            Step::Unchanged,
            format!("request {id} waits for a decision"),
        )
    } else {
        let wish = RequestEdit {
            asked,
            description: wanted
                .description
                .clone()
                .filter(|_| open.kind == Kind::Create),
            owner: wanted.owner.clone().filter(|_| open.kind == Kind::Create),
            ..RequestEdit::default()
        };
        let edited = edit::edit(connection, context, id, None, &wish)?;
        let mut planned = item(name, Step::Change, format!("request {id} is edited"));
        planned.after = Some(edited.spec);
        planned
    };
    planned.request_id = Some(id);
    planned.before = Some(open.spec.clone());
    Ok(planned)
}

/// A topic that is approved or exists.
fn existing(
    connection: &Connection,
    context: &Context,
    topic: &Topic,
    wanted: &NewTopic,
) -> Outcome<PlanItem> {
    let (spec, asked, name) = (topic.spec(), Asked::from(wanted), &wanted.name);
    let mut planned = if differs(&spec, &asked) {
        if wanted
            .replication_factor
            .is_some_and(|copies| copies != topic.replication_factor)
        {
            let message = format!(
                "cannot be changed for a topic that exists; this one has {}",
                topic.replication_factor
            );
            return Err(Problem::invalid("/replication_factor", message).into());
        }
        let change = TopicChange {
            partitions: asked.partitions,
            configs: asked.configs,
            reason: Some("declared".to_owned()),
        };
        let filed = change::request_change(connection, context, topic.topic_id, None, &change)?;
        let detail = format!(
            "asked for by request {}; it is {}",
            filed.request_id, filed.status
        );
        let mut planned = item(name, Step::Change, detail);
        planned.request_id = Some(filed.request_id);
        planned.after = Some(filed.spec);
        planned
    } else {
        item(
            name,
            Step::Unchanged,
            format!("is as declared; it is {}", topic.status),
        )
    };
    planned.before = Some(spec);
    Ok(planned)
}

/// What is declared otherwise and stays, because no request changes it.
fn labels(
    topic: &Topic,
    wanted: &NewTopic,
) -> impl Iterator<Item = sluice_model::problem::FieldError> {
    let described = wanted
        .description
        .as_ref()
        .is_some_and(|text| *text != topic.description);
    let owned = wanted.owner.is_some() && wanted.owner != topic.owner;
    let stays = "stays as it is: requests change partitions and configs of a topic that exists";
    [("/description", described), ("/owner", owned)]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(move |(pointer, _)| field(pointer, stays))
}
