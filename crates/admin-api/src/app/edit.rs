//! Editing a pending request of one's own, and remarks about requests.

use super::approval::{self, as_asked, respec, rewrite};
use super::request_topic::with_owner;
use super::transition::record_request;
use super::{Context, Decision, check_pending, check_request_version, decide, request, topic};
use crate::error::Outcome;
use crate::store::{changes, changes::Feed, comments, requests};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::lifecycle::Event;
use sluice_model::policy::Approvals;
use sluice_model::problem::{Code, Problem};
use sluice_model::request::{COMMENTS_MAX, Comment, Kind, Request, RequestEdit};

/// Changes a pending request; approvals so far were for something else and are gone.
///
/// # Errors
/// 403 for somebody else's, 404, 409 when it is decided, 412 with what changed, 422 with every broken rule.
pub fn edit(
    connection: &Connection,
    context: &Context,
    request_id: i64,
    if_match: Option<i64>,
    edit: &RequestEdit,
) -> Outcome<Request> {
    let before = request(connection, request_id)?;
    check_request_version(connection, if_match, &before)?;
    check_pending(&before)?;
    if before.requested_by != context.actor.account {
        let detail = format!(
            "{} asked for it and may edit it; an approver approves with changes, or rejects",
            before.requested_by
        );
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    let mut topic = topic(connection, before.topic_id)?;
    let mut edited = before.clone();
    if before.kind == Kind::Create {
        topic.description = edit.description.clone().unwrap_or(topic.description);
        topic.owner = edit.owner.clone().or(topic.owner);
        edited.subscribe = edit.subscribe.clone().unwrap_or(edited.subscribe);
        if edit.description.is_some() {
            edited.reason.clone_from(&edit.description);
        }
    } else if edit.description.is_some() || edit.owner.is_some() || edit.subscribe.is_some() {
        let message = "description, owner and subscribe belong to requests for new topics";
        return Err(Problem::invalid("", message).into());
    }
    if edit.owner.is_some() {
        let named = approval::as_new_topic(&topic, &edited, &edited.asked);
        topic.owner = with_owner(context, &named)?.owner;
    }
    if edit.reason.is_some() {
        edited.reason.clone_from(&edit.reason);
    }
    if matches!(before.kind, Kind::Create | Kind::Change) {
        if edited.asked.is_empty() && before.kind == Kind::Create {
            edited.asked = as_asked(&before.spec);
        }
        edited.asked = edited.asked.overlaid(&edit.asked);
        edited.spec = respec(connection, context, &topic, &edited, &edited.asked)?;
        edited.amended = None;
    } else if !edit.asked.is_empty() {
        let message = format!("a {} request has only a reason", before.kind);
        return Err(Problem::invalid("", message).into());
    }
    edited.approved_by.clear();
    edited.approver_teams.clear();
    let approvals = approval::needed(connection, context, &edited)?;
    edited.approvals_needed = approvals.needed();
    edited.different_teams = approvals.different_teams();
    edited.version += 1;
    requests::update(connection, &edited)?;
    let topic = rewrite(connection, context, &topic, &before, &edited, "edit")?;
    feed(connection, context, &edited, "edited")?;
    if approvals == Approvals::Auto {
        let (by_policy, nothing) = (context.by_policy(), Decision::default());
        let request_id = edited.request_id;
        decide::decide_open(
            connection,
            &by_policy,
            &topic,
            edited,
            Event::Approve,
            &nothing,
        )?;
        return request(connection, request_id);
    }
    Ok(edited)
}

fn feed(connection: &Connection, context: &Context, request: &Request, word: &str) -> Outcome<()> {
    let name = &request.topic_name;
    changes::append(connection, context.now, Feed::Request, name, word, None)
}

/// Adds a remark.
///
/// # Errors
/// 403 for who may only read, 404, 409 when there are too many.
pub fn comment(
    connection: &Connection,
    context: &Context,
    request_id: i64,
    text: &str,
) -> Outcome<Comment> {
    let actor = &context.actor;
    let takes_part = [Role::Producer, Role::Consumer, Role::Approver]
        .into_iter()
        .any(|role| actor.may(role));
    if !takes_part {
        let detail = "a role that only reads writes no comments";
        return Err(Problem::new(Code::Forbidden, detail).into());
    }
    let request = request(connection, request_id)?;
    if comments::count(connection, request_id)? >= COMMENTS_MAX {
        let detail = format!("a request has at most {COMMENTS_MAX} comments");
        return Err(Problem::new(Code::Conflict, detail).into());
    }
    let mut comment = Comment {
        comment_id: 0,
        request_id,
        author: actor.account.clone(),
        created_at: context.now,
        text: text.to_owned(),
    };
    comment.comment_id = comments::insert(connection, &comment)?;
    let mut commented = request.clone();
    commented.reason = Some(text.to_owned());
    record_request(connection, context, "comment", None, &commented)?;
    feed(connection, context, &request, "commented")?;
    Ok(comment)
}
