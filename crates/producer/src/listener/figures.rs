//! The figures of `/metrics`, all from one snapshot of the publisher, so that they add up.

use crate::budget::Budget;
use sluice_model::producer::ProducerStatus;

/// Topics that get their own series at one time.
const TOPIC_SERIES_MAX: usize = 1000;

/// Puts a status into the metrics.
pub(super) fn export(status: &ProducerStatus, budget: &Budget) {
    let counters = [
        ("producer_accepted_records_total", status.accepted),
        ("producer_recovered_records_total", status.recovered),
        ("producer_delivered_records_total", status.delivered),
        ("producer_dead_lettered_records_total", status.dead_lettered),
        ("producer_discarded_records_total", status.discarded),
        ("producer_refused_total", status.refused),
    ];
    for (name, value) in counters {
        metrics::counter!(name).absolute(value);
    }
    let gauges = [
        ("producer_held_records", status.held as f64),
        ("producer_in_flight_records", status.in_flight as f64),
        ("producer_unaccounted_records", status.unaccounted() as f64),
        ("producer_spool_held_bytes", status.spool.held_bytes as f64),
        ("producer_spool_disk_bytes", status.spool.disk_bytes as f64),
        (
            "producer_spool_quarantined_blocks",
            status.spool.quarantined_blocks as f64,
        ),
        (
            "producer_routes_age_seconds",
            status.routes_age_ms as f64 / 1000.0,
        ),
        ("producer_memory_used_bytes", budget.used() as f64),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name).set(value);
    }
    for topic in status.topics.iter().take(TOPIC_SERIES_MAX) {
        let label = topic.topic_name.clone();
        metrics::gauge!("producer_topic_held_records", "topic" => label.clone())
            .set(topic.held_records as f64);
        metrics::gauge!("producer_topic_oldest_held_seconds", "topic" => label.clone())
            .set(topic.oldest_held_ms as f64 / 1000.0);
        metrics::gauge!("producer_topic_in_flight_records", "topic" => label.clone())
            .set(topic.in_flight as f64);
        metrics::gauge!("producer_topic_held_bytes", "topic" => label.clone())
            .set(topic.held_bytes as f64);
        // Not a number while nothing flows out.
        let eta = topic.drain_eta_s.map_or(f64::NAN, |seconds| seconds as f64);
        metrics::gauge!("producer_topic_drain_eta_seconds", "topic" => label.clone()).set(eta);
        if let Some(millis) = topic.approve_to_first_delivery_ms {
            metrics::gauge!("producer_topic_approve_to_first_delivery_seconds", "topic" => label.clone())
                .set(millis as f64 / 1000.0);
        }
        let counters = [
            ("producer_topic_delivered_records_total", topic.delivered),
            ("producer_topic_refused_records_total", topic.refused),
            (
                "producer_topic_dead_lettered_records_total",
                topic.dead_lettered,
            ),
            ("producer_topic_discarded_records_total", topic.discarded),
        ];
        for (name, value) in counters {
            metrics::counter!(name, "topic" => label.clone()).absolute(value);
        }
    }
}
