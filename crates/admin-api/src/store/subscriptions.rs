//! User-topic mappings. Their status is not stored: it is the topic's.

use super::Millis;
use crate::error::Outcome;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use sluice_model::page::Page;
use sluice_model::subscription::{Subscription, SubscriptionStatus};
use sluice_model::time::Timestamp;

const SELECT: &str = "SELECT s.subscription_id, s.user_id, t.topic_name, t.status = 'active' AS active, \
    s.subscribed_at FROM subscriptions s JOIN topics t USING (topic_id)";

fn subscription(row: &Row<'_>) -> rusqlite::Result<Subscription> {
    let active: bool = row.get("active")?;
    Ok(Subscription {
        subscription_id: row.get("subscription_id")?,
        user_id: row.get("user_id")?,
        topic_name: row.get("topic_name")?,
        status: if active {
            SubscriptionStatus::Active
        } else {
            SubscriptionStatus::Inactive
        },
        subscribed_at: row.get::<_, Millis>("subscribed_at")?.0,
    })
}

/// Inserts a mapping unless it exists; says whether it did.
///
/// # Errors
/// When SQLite fails.
pub fn insert(
    connection: &Connection,
    user_id: &str,
    topic_id: i64,
    now: Timestamp,
) -> Outcome<Option<i64>> {
    let inserted = connection.execute(
        "INSERT INTO subscriptions (user_id, topic_id, subscribed_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (user_id, topic_id) DO NOTHING",
        params![user_id, topic_id, now.as_millis()],
    )?;
    Ok((inserted > 0).then(|| connection.last_insert_rowid()))
}

/// One mapping by user and topic name.
///
/// # Errors
/// When SQLite fails.
pub fn find(connection: &Connection, user_id: &str, name: &str) -> Outcome<Option<Subscription>> {
    let sql =
        format!("{SELECT} WHERE s.user_id = ?1 AND t.topic_name = ?2 ORDER BY t.topic_id DESC");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement
        .query_row(params![user_id, name], subscription)
        .optional()?)
}

/// How many users are subscribed to a topic.
///
/// # Errors
/// When SQLite fails.
pub fn count_of_topic(connection: &Connection, name: &str) -> Outcome<i64> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*) FROM subscriptions s JOIN topics t USING (topic_id) WHERE t.topic_name = ?1",
    )?;
    Ok(statement.query_row([name], |row| row.get(0))?)
}

/// Removes one mapping.
///
/// # Errors
/// When SQLite fails.
pub fn delete(connection: &Connection, subscription_id: i64) -> Outcome<()> {
    connection.execute(
        "DELETE FROM subscriptions WHERE subscription_id = ?1",
        [subscription_id],
    )?;
    Ok(())
}

/// Removes all mappings of a topic.
///
/// # Errors
/// When SQLite fails.
pub fn delete_of_topic(connection: &Connection, topic_id: i64) -> Outcome<()> {
    connection.execute("DELETE FROM subscriptions WHERE topic_id = ?1", [topic_id])?;
    Ok(())
}

/// A page of mappings, newest first, of one user if given.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, user: Option<&str>, page: Page) -> Outcome<Vec<Subscription>> {
    let sql = format!(
        "{SELECT} WHERE (:user IS NULL OR s.user_id = :user)
           AND (:before IS NULL OR s.subscription_id < :before) ORDER BY s.subscription_id DESC LIMIT :limit"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let values = named_params! {":user": user, ":before": page.before, ":limit": page.limit};
    Ok(statement
        .query_map(values, subscription)?
        .collect::<Result<_, _>>()?)
}
