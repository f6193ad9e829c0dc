//! Which of the two Kafka clients a topic uses: one that sends at once, or one that lets records wait for
//! company.
//!
//! librdkafka has one linger per client. Without linger a lone record is acknowledged in a seventh of the
//! time; under load its threads then send what little is there at once, and bulk costs twice the processor
//! time of client and broker. So there are two clients for the whole life of the process, and each topic
//! is in one gear: quick until much waits, bulk until its load has been small for a while.
//!
//! Order holds across a shift because a topic shifts only while nothing of it is in librdkafka: what came
//! before is in Kafka (or back in the spool) when the other client gets its first record. No partition
//! ever has records of both under way, so each client's sequence numbers see only its own.

use std::time::Duration;

/// The two clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gear {
    /// Records leave at once.
    Quick,
    /// Records wait for company.
    Bulk,
}

impl Gear {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Bulk => "bulk",
        }
    }
}

/// Records of a topic, waiting and in librdkafka, up to which sending at once is the better way.
pub const QUICK_RECORDS_MAX: usize = 2_000;
/// Their bytes in librdkafka.
pub const QUICK_BYTES_MAX: usize = 512 * 1024;
/// Time without such a load after which a topic is quick again: gaps in bulk are no reason to shift.
pub const CALM: Duration = Duration::from_millis(20);

/// What a topic has to send now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Records that wait or are in librdkafka.
    pub records: usize,
    /// Bytes in librdkafka.
    pub bytes: usize,
}

impl Load {
    /// Whether it is more than what leaves at once.
    pub fn is_heavy(self) -> bool {
        self.records > QUICK_RECORDS_MAX || self.bytes > QUICK_BYTES_MAX
    }
}

/// What becomes of a topic's gear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// It stays, and records go on.
    Stay,
    /// Nothing is under way: the other client gets the next record.
    Now(Gear),
    /// Records wait until nothing is under way.
    Rest,
}

/// Decides about the gear, by the load, what is in librdkafka, and the time since the load was heavy.
pub fn shift(gear: Gear, load: Load, flying: u32, calm: Duration) -> Shift {
    match gear {
        Gear::Quick if load.is_heavy() => {
            if flying == 0 {
                Shift::Now(Gear::Bulk)
            } else {
                Shift::Rest
            }
        }
        Gear::Bulk if flying == 0 && calm >= CALM && !load.is_heavy() => Shift::Now(Gear::Quick),
        Gear::Quick | Gear::Bulk => Shift::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIGHT: Load = Load {
        records: QUICK_RECORDS_MAX,
        bytes: QUICK_BYTES_MAX,
    };

    #[test]
    fn a_topic_shifts_only_while_nothing_of_it_is_under_way() {
        let (many, large) = (QUICK_RECORDS_MAX + 1, QUICK_BYTES_MAX + 1);
        let heavy = [
            Load {
                records: many,
                bytes: 0,
            },
            Load {
                records: 1,
                bytes: large,
            },
        ];
        for load in heavy {
            let zero = Duration::ZERO;
            assert_eq!(shift(Gear::Quick, load, 0, zero), Shift::Now(Gear::Bulk));
            assert_eq!(shift(Gear::Quick, load, 1, zero), Shift::Rest);
            for flying in [0, 1, 100_000] {
                assert_eq!(shift(Gear::Bulk, load, flying, CALM), Shift::Stay);
            }
        }
        assert_eq!(shift(Gear::Bulk, LIGHT, 1, CALM * 2), Shift::Stay);
        assert_eq!(shift(Gear::Bulk, LIGHT, 0, CALM), Shift::Now(Gear::Quick));
    }

    #[test]
    fn a_gap_in_bulk_and_a_light_load_shift_nothing() {
        assert_eq!(shift(Gear::Bulk, LIGHT, 0, CALM / 2), Shift::Stay);
        for flying in [0, 1, 1000] {
            assert_eq!(shift(Gear::Quick, LIGHT, flying, CALM), Shift::Stay);
        }
    }
}
