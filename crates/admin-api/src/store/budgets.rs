//! What the topics of a team take, and what its pending requests would take.

use super::Json;
use crate::error::Outcome;
use rusqlite::{Connection, params};
use sluice_model::policy::Amount;
use sluice_model::topic::TopicSpec;

/// What a team's topics take, and what is reserved for its pending requests; one topic, and with it the
/// requests about it, is left out (0 for none).
///
/// # Errors
/// When SQLite fails.
pub fn usage(
    connection: &Connection,
    team: Option<&str>,
    without: i64,
) -> Outcome<(Amount, Amount)> {
    // Sums of bytes may leave the integers, so they are floating.
    let mut statement = connection.prepare_cached(
        "SELECT status = 'pending', count(*), total(partitions),
             total(max(coalesce(json_extract(configs, '$.\"retention.bytes\"'), 0) + 0.0, 0.0) * partitions
                 * replication_factor)
         FROM topics WHERE owner IS ?1 AND status IN ('pending', 'approved', 'active', 'inactive')
             AND topic_id <> ?2 GROUP BY 1",
    )?;
    let rows = statement.query_map(params![team, without], |row| {
        let amount = Amount {
            topics: row.get(1)?,
            partitions: whole(row.get(2)?),
            bytes: whole(row.get(3)?),
        };
        Ok((row.get::<_, bool>(0)?, amount))
    })?;
    let (mut used, mut reserved) = (Amount::default(), Amount::default());
    for row in rows {
        let (pending, amount) = row?;
        if pending {
            reserved = amount;
        } else {
            used = amount;
        }
    }
    for growth in changes(connection, team, without)? {
        reserved = reserved.plus(growth);
    }
    Ok((used, reserved))
}

/// What pending changes would take more; what they would give back is not counted before it is given.
fn changes(connection: &Connection, team: Option<&str>, without: i64) -> Outcome<Vec<Amount>> {
    let mut statement = connection.prepare_cached(
        "SELECT r.spec, t.partitions, t.replication_factor, t.configs
         FROM requests r CROSS JOIN topics t USING (topic_id)
         WHERE r.status = 'pending' AND r.kind = 'change' AND t.owner IS ?1 AND t.topic_id <> ?2",
    )?;
    let rows = statement.query_map(params![team, without], |row| {
        let after: TopicSpec = row.get::<_, Json<_>>(0)?.0;
        let before = TopicSpec {
            partitions: row.get(1)?,
            replication_factor: row.get(2)?,
            configs: row.get::<_, Json<_>>(3)?.0,
        };
        let growth = Amount::growth(&before, &after);
        Ok(Amount {
            topics: 0,
            partitions: growth.partitions.max(0),
            bytes: growth.bytes.max(0),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A sum as a whole number; sums beyond the integers are their greatest.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a floating number saturates"
)]
fn whole(sum: f64) -> i64 {
    sum as i64
}
