//! Reading how a consumer meets trouble.

use crate::worker::breaker::WINDOW_MAX;
use serde_json::{Value, json};
use sluice_model::body::{Body, nearest};
use sluice_model::consumer::Policies;

/// Takes the policies out of a body; those that it leaves out stay. Faults are recorded.
pub fn read(body: &mut Body, policies: &mut Policies) {
    if let Some(word) = word(body, "on_poison", &["dead_letter", "stop"]) {
        policies.on_poison = word;
    }
    if let Some(word) = word(body, "auto_offset_reset", &["earliest", "latest", "none"]) {
        policies.auto_offset_reset = word;
    }
    let number = |body: &mut Body, name: &'static str, min: u64| {
        let number: u64 = body.integer(name)?;
        if (min..=WINDOW_MAX).contains(&number) {
            return Some(number);
        }
        body.invalid(name, format!("is from {min} to {WINDOW_MAX}"));
        None
    };
    if let Some(window) = number(body, "poison_window", 1) {
        policies.poison_window = window;
    }
    if let Some(max) = number(body, "poison_max", 0) {
        policies.poison_max = max;
    }
}

/// One of the words that a member takes.
fn word<T: serde::de::DeserializeOwned>(
    body: &mut Body,
    name: &'static str,
    words: &[&'static str],
) -> Option<T> {
    match body.any(name)? {
        Value::String(text) if words.contains(&text.as_str()) => {
            serde_json::from_value(json!(text)).ok()
        }
        Value::String(text) => {
            let near = nearest(&text, words).map(|near| format!("; did you mean {near:?}?"));
            let near = near.unwrap_or_default();
            body.invalid(name, format!("is one of {}{near}", words.join(", ")));
            None
        }
        other => {
            body.mistyped(name, "a string", &other);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::consumer::{AutoOffsetReset, OnPoison};

    fn read_text(text: &str) -> Result<Policies, u16> {
        let mut body = Body::parse(text.as_bytes()).unwrap();
        let mut policies = Policies::default();
        read(&mut body, &mut policies);
        match body.finish() {
            Ok(()) => Ok(policies),
            Err(problem) => Err(problem.status),
        }
    }

    #[test]
    fn policies_are_read_and_refused() {
        assert_eq!(read_text("{}"), Ok(Policies::default()));
        let all = r#"{"on_poison": "stop", "auto_offset_reset": "none", "poison_max": 0, "poison_window": 5}"#;
        let want = Policies {
            on_poison: OnPoison::Stop,
            poison_max: 0,
            poison_window: 5,
            auto_offset_reset: AutoOffsetReset::None,
        };
        assert_eq!(read_text(all), Ok(want));
        for (text, status) in [
            (r#"{"on_poison": "ignore"}"#, 422),
            (r#"{"on_poison": 1}"#, 400),
            (r#"{"poison_window": 0}"#, 422),
            (r#"{"poison_max": -1}"#, 400),
            (r#"{"auto_offset_reset": "Latest"}"#, 422),
        ] {
            assert_eq!(read_text(text), Err(status), "{text}");
        }
    }
}
