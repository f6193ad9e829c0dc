//! Managed consumers of the measured stack.

use crate::bench::Bench;
use serde_json::{Value, json};
use sluice_e2e::Outcome;
use sluice_e2e::http::Api;
use std::time::{Duration, Instant};

/// Time between two looks at something that is measured.
const LOOK: Duration = Duration::from_millis(5);
/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// A managed consumer; deleted when it is dropped.
#[derive(Debug)]
pub(crate) struct Managed {
    api: Api,
    /// Its id.
    pub(crate) id: String,
}

/// The consumer API for the account that owns the consumers.
pub(crate) fn api(bench: &Bench) -> Outcome<Api> {
    Api::new(
        bench.fact("/consumer_api/url"),
        bench.fact("/tokens/consumer"),
    )
}

impl Managed {
    /// Creates one that is stopped.
    pub(crate) fn create(
        bench: &Bench,
        topic: &str,
        name: &str,
        processor: &str,
        config: &Value,
    ) -> Outcome<Self> {
        let api = api(bench)?;
        let body = json!({
            "cluster": "governed", "topic": topic, "consumer_group": name, "client_id": name,
            "downstream_processors": [{"processor_type": processor, "config": config}],
        });
        let created = api.post("/consumers/", &body)?.expect(201)?;
        let id = created["id"]
            .as_str()
            .ok_or("a consumer without id")?
            .to_owned();
        Ok(Self { api, id })
    }

    /// Gives an order.
    pub(crate) fn tell(&self, verb: &str) -> Outcome {
        let answer = self
            .api
            .post_empty(&format!("/consumers/{}/{verb}/", self.id))?;
        if answer.status < 300 {
            return Ok(());
        }
        Err(format!("{verb}: {} {}", answer.status, answer.text).into())
    }

    /// Its status.
    pub(crate) fn status(&self) -> Outcome<Value> {
        self.api
            .get(&format!("/consumers/{}/status/", self.id))?
            .expect(200)
    }

    /// Waits until it has a status such as ACTIVE.
    pub(crate) fn reaches(&self, wanted: &str) -> Outcome {
        until(&format!("the consumer is {wanted}"), || {
            Ok(self.status()?["status"] == wanted)
        })
    }

    /// How many records its first processor has written.
    pub(crate) fn written(&self) -> Outcome<u64> {
        Ok(self.status()?["processors"][0]["records"]
            .as_u64()
            .unwrap_or_default())
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        self.api
            .json("DELETE", &format!("/consumers/{}/", self.id), &Value::Null)
            .ok();
    }
}

/// Looks again and again until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
