//! The first line of a stream, when it is a greeting: how the client wants its answers.

use serde::Deserialize;

/// Longest greeting.
pub(super) const HELLO_BYTES_MAX: usize = 4096;

/// What a greeting says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Send `{"acked": N}` and `{"refused": ...}` lines; otherwise nothing before the end.
    pub cumulative: bool,
    /// The credential.
    pub token: Option<String>,
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
    token: Option<String>,
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
        Ok(Greeting { hello }) => {
            let cumulative = match hello.acks.as_deref() {
                Some("cumulative") => Ok(true),
                Some("none") | None => Ok(false),
                Some(other) => Err(format!("acks {other:?} is none of cumulative, none")),
            };
            cumulative.map(|cumulative| Hello {
                cumulative,
                token: hello.token,
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_greeting_is_told_from_data() {
        let hello = |cumulative, token: Option<&str>| {
            Some(Ok(Hello {
                cumulative,
                token: token.map(str::to_owned),
            }))
        };
        assert_eq!(
            read(br#"{"hello": {"acks": "cumulative"}}"#),
            hello(true, None)
        );
        assert_eq!(
            read(br#"{"hello":{"acks":"cumulative","token":"x"}}"#),
            hello(true, Some("x"))
        );
        assert_eq!(read(br#"{"hello": {}}"#), hello(false, None));
        assert_eq!(read(br#"{"topic":"t","hello":1}"#), None);
        assert_eq!(read(b"plain"), None);
        assert!(read(br#"{"hello": {"acks": "each"}}"#).unwrap().is_err());
        assert!(
            read(br#"{"hello": {"akcs": "cumulative"}}"#)
                .unwrap()
                .is_err()
        );
    }

    proptest! {
        /// Any first line, and any greeting that was tampered with: no panic.
        #[test]
        fn any_first_line_is_read(
            mut line in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                Just(br#"{"hello": {"acks": "cumulative", "token": "t"}}"#.to_vec()),
            ],
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            if !line.is_empty() {
                let at = at.index(line.len());
                line[at] = byte;
            }
            let _read = read(&line);
        }
    }
}
