//! Subscribing a user to a topic, and taking it back.

use super::{Context, check_reach};
use crate::error::Outcome;
use crate::store::{changes, changes::Feed, subscriptions, topics};
use rusqlite::Connection;
use sluice_model::access::Role;
use sluice_model::lifecycle::State;
use sluice_model::problem::{Code, Problem};
use sluice_model::subscription::{Subscription, SubscriptionKey, SubscriptionStatus};

/// Subscribes a user to an active topic.
///
/// # Errors
/// 403 for another user's, 404 for an unknown topic, 409 when it is not active or subscribed already.
pub fn subscribe(
    connection: &Connection,
    context: &Context,
    key: &SubscriptionKey,
) -> Outcome<Subscription> {
    let user_id = user(context, key)?;
    let name = &key.topic_name;
    check_reach(context, name)?;
    let Some(topic) = topics::by_name(connection, name)? else {
        let detail = format!("nobody has asked for {name}; ask for it with POST /api/topics");
        return Err(Problem::new(Code::UnknownTopic, detail).into());
    };
    if topic.status != State::Active {
        let code = match topic.status {
            State::Pending | State::Approved => Code::TopicPending,
            _ => Code::TopicNotActive,
        };
        let detail = format!(
            "{name} is {}; only active topics can be subscribed to",
            topic.status
        );
        return Err(Problem::new(code, detail).into());
    }
    let inserted = subscriptions::insert(connection, &user_id, topic.topic_id, context.now)?;
    let Some(subscription_id) = inserted else {
        let detail = format!("{user_id} is subscribed to {name} already");
        return Err(Problem::new(Code::Duplicate, detail).into());
    };
    changes::append(
        connection,
        context.now,
        Feed::Subscription,
        name,
        "active",
        Some(&user_id),
    )?;
    Ok(Subscription {
        subscription_id,
        user_id,
        topic_name: name.clone(),
        status: SubscriptionStatus::Active,
        subscribed_at: context.now,
    })
}

/// Takes a subscription back.
///
/// # Errors
/// 403 for another user's, 404 when there is none.
pub fn unsubscribe(
    connection: &Connection,
    context: &Context,
    key: &SubscriptionKey,
) -> Outcome<()> {
    let user_id = user(context, key)?;
    let name = &key.topic_name;
    check_reach(context, name)?;
    let Some(found) = subscriptions::find(connection, &user_id, name)? else {
        let detail = format!("{user_id} is not subscribed to {name}");
        return Err(Problem::new(Code::NotFound, detail).into());
    };
    subscriptions::delete(connection, found.subscription_id)?;
    changes::append(
        connection,
        context.now,
        Feed::Subscription,
        name,
        "removed",
        Some(&user_id),
    )
}

fn user(context: &Context, key: &SubscriptionKey) -> Outcome<String> {
    let account = &context.actor.account;
    match &key.user_id {
        Some(user) if user != account && !context.actor.may(Role::Admin) => {
            let detail =
                format!("{account} may subscribe {account}; another user needs the role admin");
            Err(Problem::new(Code::Forbidden, detail).into())
        }
        Some(user) => Ok(user.clone()),
        None => Ok(account.clone()),
    }
}
