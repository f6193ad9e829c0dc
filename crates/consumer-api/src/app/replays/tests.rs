//! Samples of replays, and tests of their rules.

use super::*;

/// A replay of one partition that has come half way.
pub(crate) fn replay() -> Replay {
    let at = Timestamp::from_millis(1_000);
    Replay {
        replay_id: "r1".to_owned(),
        consumer_id: "c".to_owned(),
        state: ReplayState::Running,
        error: None,
        from: at,
        to: at,
        processors: vec!["file_sink".to_owned()],
        records: 5,
        total: 10,
        dead_letters: 0,
        partitions: vec![ReplayPart {
            topic: "t".to_owned(),
            partition: 0,
            from: 0,
            next: 5,
            to: 10,
        }],
        created_by: "ana".to_owned(),
        created_at: at,
        updated_at: at,
        ended_at: None,
        waiting: false,
    }
}

/// What it is made from.
pub(crate) fn work() -> Work {
    Work {
        specs: Vec::new(),
        topics: vec![("t".to_owned(), 7)],
    }
}

#[test]
fn a_replay_of_an_older_version_is_read() {
    let mut old = serde_json::json!(replay());
    old.as_object_mut().unwrap().remove("waiting");
    let read: Replay = serde_json::from_value(old).unwrap();
    assert_eq!(read, replay());
}
