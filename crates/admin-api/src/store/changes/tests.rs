use super::*;
use crate::store::migrations;

const AT: Timestamp = Timestamp::from_millis(1_763_730_000_000);

fn feed() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations().run(&mut connection).unwrap();
    connection
}

fn change(connection: &Connection, feed: Feed, topic: &str, status: &str) {
    append(connection, AT, feed, topic, status, None).unwrap();
}

fn inactive_topic(connection: &Connection, name: &str) {
    let sql = "INSERT INTO topics (topic_name, collision_key, status, partitions, replication_factor, configs,
                 created_by, requested_by, description, on_stop, created_at, version)
               VALUES (?1, ?1, 'inactive', 1, 1, '{}', 'ana', 'ana', '', 'hold', 0, 1)";
    connection.execute(sql, [name]).unwrap();
}

fn places(connection: &Connection) -> Vec<i64> {
    let found = after(connection, 0, 1000).unwrap();
    found.into_iter().map(|change| change.seq).collect()
}

#[test]
fn the_feed_keeps_its_newest_changes_and_says_when_it_does_not_go_back_far_enough() {
    let connection = feed();
    for _ in 0..10 {
        change(&connection, Feed::Topic, "orders", "active");
    }
    assert_eq!(forget(&connection, 4, 100).unwrap(), 6);
    assert_eq!(forget(&connection, 4, 100).unwrap(), 0);
    assert_eq!(places(&connection), [7, 8, 9, 10]);
    for gone in 0..6 {
        assert_eq!(
            whole_after(&connection, gone, 100).unwrap(),
            None,
            "after {gone}"
        );
    }
    for known in 6..=10 {
        let found = whole_after(&connection, known, 100).unwrap().unwrap();
        assert_eq!(found.len() as i64, 10 - known, "after {known}");
    }
    let first = whole_after(&connection, 6, 2).unwrap().unwrap();
    assert_eq!(first.len(), 2, "a full page is whole, too");
}

#[test]
fn what_is_forgotten_at_one_time_is_bounded() {
    let connection = feed();
    for _ in 0..10 {
        change(&connection, Feed::Subscription, "orders", "active");
    }
    let forgotten = [(); 4].map(|()| forget(&connection, 1, 4).unwrap());
    assert_eq!(forgotten, [4, 4, 1, 0]);
}

#[test]
fn the_head_about_topics_and_the_fences_of_inactive_topics_outlive_the_bound() {
    let connection = feed();
    inactive_topic(&connection, "fenced");
    change(&connection, Feed::Topic, "fenced", "active");
    change(&connection, Feed::Topic, "fenced", "inactive");
    change(&connection, Feed::Topic, "lifted", "inactive");
    change(&connection, Feed::Topic, "lifted", "active");
    for _ in 0..6 {
        change(&connection, Feed::Subscription, "lifted", "active");
    }
    let before = heads(&connection).unwrap();
    forget(&connection, 2, 100).unwrap();
    assert_eq!(places(&connection), [2, 4, 9, 10]);
    assert_eq!(heads(&connection).unwrap(), before);
    assert_eq!(fence_of_topic(&connection, "fenced").unwrap(), 2);
    assert_eq!(
        whole_after(&connection, 1, 100).unwrap(),
        None,
        "what was kept does not make the feed whole"
    );
}
