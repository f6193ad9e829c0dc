//! Sample records of six kinds, each to its own topic `sample_<kind>`.

use super::inlet::Inlet;
use super::own::send;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Sends records of one kind at a rate, until the wish to stop.
pub(super) async fn run(inlet: Rc<Inlet>, kind: String, rate: u32) {
    let topic = format!("sample_{kind}");
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut dice = Dice::new();
    loop {
        tokio::select! {
            () = inlet.shutdown.wait() => return,
            _ = ticks.tick() => {}
        }
        let (key, payload) = sample(&kind, &mut dice);
        let envelope = json!({
            "topic": topic,
            "data_type": kind,
            "payload": payload,
            "timestamp": sluice_service::now(),
        });
        send(&inlet, "generator", &topic, &key, envelope.to_string()).await;
    }
}

/// A small generator of numbers (SplitMix64): samples need variety, not secrecy.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let mut seed = [0; 8];
        // Without entropy the samples only repeat themselves.
        let _no_entropy = getrandom::fill(&mut seed);
        Self(u64::from_le_bytes(seed))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from `low` to `high`, both included.
    fn whole(&mut self, low: i64, high: i64) -> i64 {
        let span = (high - low + 1).max(1) as u64;
        low + (self.next() % span) as i64
    }

    /// A number with two decimals.
    fn decimal(&mut self, low: i64, high: i64) -> f64 {
        self.whole(low * 100, high * 100) as f64 / 100.0
    }

    fn one_of(&mut self, words: &[&'static str]) -> &'static str {
        let index = self.next() % words.len().max(1) as u64;
        words.get(index as usize).copied().unwrap_or_default()
    }
}

/// The key and the payload of a sample.
fn sample(kind: &str, dice: &mut Dice) -> (String, Value) {
    match kind {
        "sensor" => {
            let id = format!("sensor_{}", dice.whole(1, 100));
            let payload = json!({
                "sensor_id": id,
                "temperature": dice.decimal(20, 40),
                "humidity": dice.whole(30, 90),
                "pressure": dice.decimal(950, 1050),
                "timestamp": sluice_service::now(),
            });
            (id, payload)
        }
        "user_activity" => {
            let id = format!("user_{}", dice.whole(1, 1000));
            let payload = json!({
                "user_id": id,
                "action": dice.one_of(&["login", "logout", "click", "purchase"]),
                "page": format!("/page/{}", dice.whole(1, 50)),
                "duration": dice.whole(1, 300),
            });
            (id, payload)
        }
        "logs" => {
            let service = dice.one_of(&["auth", "api", "db", "cache"]);
            let payload = json!({
                "service": service,
                "level": dice.one_of(&["INFO", "WARN", "ERROR"]),
                "message": format!("Log entry #{}", dice.whole(100, 999)),
                "response_time_ms": dice.whole(10, 500),
            });
            (service.to_owned(), payload)
        }
        "payments" => {
            let id = uuid::Uuid::new_v4().to_string();
            let payload = json!({
                "transaction_id": id,
                "amount": dice.decimal(5, 500),
                "currency": dice.one_of(&["USD", "EUR", "INR"]),
                "method": dice.one_of(&["card", "upi", "wallet"]),
            });
            (id, payload)
        }
        "weather" => {
            let city = dice.one_of(&["Bangalore", "NYC", "London", "Tokyo"]);
            let payload = json!({
                "city": city,
                "temperature": dice.whole(-5, 45),
                "condition": dice.one_of(&["sunny", "rainy", "cloudy"]),
            });
            (city.to_owned(), payload)
        }
        _ => {
            let id = uuid::Uuid::new_v4().to_string();
            let payload = json!({
                "id": id,
                "value": dice.whole(1, 1000),
                "timestamp": sluice_service::now(),
            });
            (id, payload)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SAMPLE_KINDS;

    #[test]
    fn every_kind_has_its_fields_and_stays_in_its_ranges() {
        let mut dice = Dice(1);
        for _ in 0..500 {
            for (kind, fields) in SAMPLE_KINDS.iter().zip([5, 4, 4, 4, 3, 3]) {
                let (key, payload) = sample(kind, &mut dice);
                assert!(!key.is_empty());
                assert_eq!(payload.as_object().unwrap().len(), fields, "{kind}");
            }
            let (_, sensor) = sample("sensor", &mut dice);
            assert!((20.0..=40.0).contains(&sensor["temperature"].as_f64().unwrap()));
            assert!((30..=90).contains(&sensor["humidity"].as_i64().unwrap()));
            let (_, weather) = sample("weather", &mut dice);
            assert!((-5..=45).contains(&weather["temperature"].as_i64().unwrap()));
        }
    }
}
