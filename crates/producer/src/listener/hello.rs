//! The first line of a stream, when it is a greeting: how the client wants its answers.

use serde::Deserialize;

/// Longest greeting.
const HELLO_BYTES_MAX: usize = 4096;

/// What a greeting says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// Send `{"acked": N}` and `{"refused": ...}` lines.
    Cumulative,
    /// Send nothing before the end.
    Quiet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeting {
    hello: Terms,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Terms {
    acks: Option<String>,
    // Streams are open on loopback only, where no token is needed; one that is sent is not looked at.
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// Reads a first line: `None` when it is no greeting but data already.
pub(super) fn read(line: &[u8]) -> Option<Result<Hello, String>> {
    #[derive(Deserialize)]
    struct Probe<'a> {
        #[serde(borrow)]
        hello: Option<&'a serde_json::value::RawValue>,
        topic: Option<serde::de::IgnoredAny>,
    }
    if line.len() > HELLO_BYTES_MAX {
        return None;
    }
    let probe: Probe<'_> = serde_json::from_slice(line).ok()?;
    if probe.topic.is_some() {
        return None;
    }
    probe.hello?;
    let greeting: Result<Greeting, _> = serde_json::from_slice(line);
    Some(match greeting {
        Err(error) => Err(format!("the hello cannot be read: {error}")),
        Ok(Greeting { hello }) => match hello.acks.as_deref() {
            Some("cumulative") => Ok(Hello::Cumulative),
            Some("none") | None => Ok(Hello::Quiet),
            Some(other) => Err(format!("acks {other:?} is none of cumulative, none")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_told_from_data() {
        assert_eq!(
            read(br#"{"hello": {"acks": "cumulative"}}"#),
            Some(Ok(Hello::Cumulative))
        );
        assert_eq!(
            read(br#"{"hello":{"acks":"cumulative","token":"x"}}"#),
            Some(Ok(Hello::Cumulative))
        );
        assert_eq!(read(br#"{"hello": {}}"#), Some(Ok(Hello::Quiet)));
        assert_eq!(read(br#"{"topic":"t","hello":1}"#), None);
        assert_eq!(read(b"plain"), None);
        assert!(read(br#"{"hello": {"acks": "each"}}"#).unwrap().is_err());
        assert!(
            read(br#"{"hello": {"akcs": "cumulative"}}"#)
                .unwrap()
                .is_err()
        );
    }
}
