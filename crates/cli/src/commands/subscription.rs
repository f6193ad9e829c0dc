//! `sluice subscribe`, `unsubscribe` and `subscriptions`.

use super::{Outcome, each};
use crate::args::Subscribe;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Column;
use sluice_admin_client::call;

/// The columns of a listing of subscriptions.
pub(crate) const COLUMNS: [Column; 4] = [
    ("USER", "user_id"),
    ("TOPIC", "topic_name"),
    ("STATUS", "status"),
    ("SUBSCRIBED", "subscribed_at"),
];

pub(crate) fn subscribe(context: &Context, command: &Subscribe) -> Result<(), Failure> {
    each(context, &command.topics, |topic| {
        let answer = context.admin(call::subscribe(command.user.as_deref(), topic))?;
        Ok(Outcome {
            answer,
            name: topic.clone(),
            sentence: format!("{topic}: subscribed"),
        })
    })
}

pub(crate) fn unsubscribe(context: &Context, command: &Subscribe) -> Result<(), Failure> {
    each(context, &command.topics, |topic| {
        let answer = context.admin(call::unsubscribe(command.user.as_deref(), topic))?;
        Ok(Outcome {
            answer,
            name: topic.clone(),
            sentence: format!("{topic}: unsubscribed"),
        })
    })
}

pub(crate) fn list(context: &Context, user: Option<String>, all: bool) -> Result<(), Failure> {
    let user = match user {
        None if !all => Some(context.admin(call::whoami())?.account),
        given => given,
    };
    let subscriptions = context.admin(call::subscriptions(user.as_deref()).raw())?;
    context
        .output
        .listing(&subscriptions, &COLUMNS, "topic_name")
}
