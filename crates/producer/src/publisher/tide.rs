//! How much of the backlog librdkafka is given while live records flow.
//!
//! A connection to a broker is a queue: a live record waits behind the requests that are on it already,
//! and a backlog that is read from disk fills them to the brim. So while live topics send, what is read
//! from the spool shares a window in bytes, which shrinks when live records wait and grows when they do
//! not. Without live records there is no such window.

use super::topic::Room;
use std::time::{Duration, Instant};

/// The window when live records appear.
const WINDOW_FIRST: usize = 2 * 1024 * 1024;
/// Its bounds: the lower one still lets a backlog flow, the upper one is the share of any topic.
const WINDOW_MIN: usize = 256 * 1024;
const WINDOW_MAX: usize = 32 * 1024 * 1024;
/// Live records flow as long as the last one is not older.
const LIVE_FOR: Duration = Duration::from_secs(1);
/// Time between two changes of the window: what was done last must have shown.
const CHANGE_EVERY: Duration = Duration::from_millis(100);
/// The part of `spill_after` that a live record may take without the window becoming smaller, and the
/// part of that under which it becomes larger.
const WAIT_PART: u32 = 8;
const CALM_PART: u32 = 4;

/// The window and what is in it.
#[derive(Debug)]
pub(super) struct Tide {
    wait: Duration,
    window: usize,
    flying: usize,
    live_at: Option<Instant>,
    worst: Option<Duration>,
    changed: Instant,
}

impl Tide {
    /// A window by the time that a live record may wait for Kafka at all.
    pub(super) fn new(spill_after: Duration, now: Instant) -> Self {
        Self {
            wait: spill_after / WAIT_PART,
            window: WINDOW_FIRST,
            flying: 0,
            live_at: None,
            worst: None,
            changed: now,
        }
    }

    /// Records of the backlog were handed over.
    pub(super) fn took(&mut self, bytes: usize) {
        self.flying += bytes;
    }

    /// One of them came back.
    pub(super) fn gave_back(&mut self, bytes: usize) {
        self.flying = self.flying.saturating_sub(bytes);
    }

    /// Nothing is out there any more.
    pub(super) fn ground(&mut self) {
        self.flying = 0;
    }

    /// Live records were handed over.
    pub(super) fn live(&mut self, now: Instant) {
        if !self.is_live(now) {
            self.window = WINDOW_FIRST;
            self.worst = None;
            self.changed = now;
        }
        self.live_at = Some(now);
    }

    fn is_live(&self, now: Instant) -> bool {
        self.live_at
            .is_some_and(|at| now.saturating_duration_since(at) < LIVE_FOR)
    }

    /// A live record was acknowledged after so long.
    pub(super) fn waited(&mut self, time: Duration) {
        self.worst = Some(self.worst.map_or(time, |worst| worst.max(time)));
    }

    /// Fits the window to how long live records waited since the last time.
    pub(super) fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.changed) < CHANGE_EVERY {
            return;
        }
        let Some(worst) = self.worst.take() else {
            return;
        };
        self.changed = now;
        if worst > self.wait {
            self.window = (self.window / 2).max(WINDOW_MIN);
        } else if worst < self.wait / CALM_PART {
            self.window = (self.window + self.window / 4).min(WINDOW_MAX);
        }
    }

    /// What is free for the backlog, of what is free in librdkafka.
    pub(super) fn room(&self, room: Room, now: Instant) -> Room {
        if !self.is_live(now) {
            return room;
        }
        Room {
            bytes: room.bytes.min(self.window.saturating_sub(self.flying)),
            ..room
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Room = Room {
        records: 1000,
        bytes: 1 << 30,
    };

    fn tide() -> (Tide, Instant) {
        let now = Instant::now();
        (Tide::new(Duration::from_millis(800), now), now)
    }

    #[test]
    fn a_backlog_alone_has_all_the_room() {
        let (mut tide, now) = tide();
        tide.took(100 << 20);
        assert_eq!(tide.room(ALL, now).bytes, ALL.bytes);
        tide.live(now);
        assert_eq!(tide.room(ALL, now).bytes, 0);
        tide.gave_back(99 << 20);
        assert_eq!(tide.room(ALL, now).bytes, WINDOW_FIRST - (1 << 20));
        assert_eq!(tide.room(ALL, now + LIVE_FOR).bytes, ALL.bytes);
    }

    #[test]
    fn the_window_shrinks_while_live_records_wait_and_grows_again() {
        let (mut tide, mut now) = tide();
        tide.live(now);
        let mut step = |tide: &mut Tide, millis: u64| {
            now += CHANGE_EVERY;
            tide.live(now);
            tide.waited(Duration::from_millis(millis));
            tide.waited(Duration::from_millis(1));
            tide.turn(now);
            tide.room(ALL, now).bytes
        };
        assert_eq!(step(&mut tide, 101), WINDOW_FIRST / 2);
        assert_eq!(step(&mut tide, 60), WINDOW_FIRST / 2, "neither nor");
        for _ in 0..10 {
            step(&mut tide, 500);
        }
        assert_eq!(step(&mut tide, 500), WINDOW_MIN);
        for _ in 0..40 {
            step(&mut tide, 5);
        }
        assert_eq!(step(&mut tide, 5), WINDOW_MAX);
    }

    #[test]
    fn one_slow_record_counts_once() {
        let (mut tide, now) = tide();
        tide.live(now);
        tide.waited(Duration::from_secs(1));
        tide.turn(now + CHANGE_EVERY / 2);
        assert_eq!(tide.room(ALL, now).bytes, WINDOW_FIRST);
        tide.turn(now + CHANGE_EVERY);
        tide.turn(now + CHANGE_EVERY * 2);
        assert_eq!(tide.room(ALL, now).bytes, WINDOW_FIRST / 2);
    }
}
