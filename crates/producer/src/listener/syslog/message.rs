//! One syslog message, read into its parts and written as JSON.

use crate::batch::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use sluice_model::problem::Code;
use sluice_model::time::Timestamp;
use std::borrow::Cow;
use syslog_loose::{Message, ProcId, StructuredElement, SyslogFacility, SyslogSeverity, Variant};

/// The highest priority: facility 23, severity 7.
const PRIORITY_MAX: u8 = 191;

/// The year and month in which messages arrive; RFC 3164 leaves the year out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    year: i32,
    month: u32,
}

impl Arrival {
    /// From a clock.
    pub(super) fn at(now: Timestamp) -> Self {
        let text = now.to_string();
        let part = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse().ok());
        Self {
            year: part(0, 4).unwrap_or(1970),
            month: part(5, 7).unwrap_or(1) as u32,
        }
    }

    /// The year of a message of some month: the nearest one.
    fn year_of(self, month: u32) -> i32 {
        match (self.month, month) {
            (1, 12) => self.year - 1,
            (12, 1) => self.year + 1,
            _ => self.year,
        }
    }
}

/// A message that was read.
#[derive(Debug)]
pub(super) struct Read<'a> {
    /// Its parts.
    pub message: Message<&'a str>,
    /// The bytes, when they are not UTF-8: the parts have U+FFFD in their place.
    pub bytes: Option<&'a [u8]>,
}

/// Text of a message: without what senders put behind it, and as UTF-8.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0 | b' '));
    String::from_utf8_lossy(
        bytes
            .get(..end.map_or(0, |end| end + 1))
            .unwrap_or_default(),
    )
}

/// Reads a message.
///
/// # Errors
/// When it does not begin with a priority.
pub(super) fn read<'a>(
    text: &'a str,
    bytes: &'a [u8],
    arrival: Arrival,
) -> Result<Read<'a>, Refusal> {
    let (priority, rest) = priority(text).ok_or_else(|| {
        let detail = "the message does not begin with a priority such as <13>";
        Refusal::new(Code::Invalid, detail)
    })?;
    let year = move |(month, ..): (u32, u32, u32, u32, u32)| arrival.year_of(month);
    let mut message = syslog_loose::parse_message_with_year(text, year, Variant::Either);
    if message.facility.is_none() && message.severity.is_none() {
        // Nothing but the priority could be read: the rest is the message, as RFC 3164 has it.
        (message.facility, message.severity) = syslog_loose::decompose_pri(priority);
        message.msg = rest;
    }
    let exact = std::str::from_utf8(bytes).is_ok();
    Ok(Read {
        message,
        bytes: (!exact).then_some(bytes),
    })
}

/// The priority of a message, and what stands behind it.
fn priority(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.strip_prefix('<')?.split_once('>')?;
    let fits = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let priority = fits.then(|| digits.parse().ok()).flatten()?;
    (priority <= PRIORITY_MAX).then_some((priority, rest))
}

#[derive(Serialize)]
struct Document<'a> {
    timestamp: Option<String>,
    hostname: Option<&'a str>,
    appname: Option<&'a str>,
    procid: Option<Cow<'a, str>>,
    msgid: Option<&'a str>,
    facility: Option<&'static str>,
    severity: Option<&'static str>,
    structured_data: Elements<'a>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_base64: Option<String>,
}

/// Writes a message as a JSON object.
pub(super) fn write(read: &Read<'_>, into: &mut Vec<u8>) {
    let message = &read.message;
    let procid = message.procid.as_ref().map(|procid| match procid {
        ProcId::Name(name) => Cow::Borrowed(*name),
        ProcId::PID(number) => Cow::Owned(number.to_string()),
    });
    let document = Document {
        timestamp: message
            .timestamp
            .map(|time| time.to_utc().to_rfc3339().replace("+00:00", "Z")),
        hostname: message.hostname,
        appname: message.appname,
        procid,
        msgid: message.msgid,
        facility: message.facility.map(SyslogFacility::as_str),
        severity: message.severity.map(SyslogSeverity::as_str),
        structured_data: Elements(&message.structured_data),
        // RFC 5424 marks UTF-8 by a byte order mark.
        message: message.msg.strip_prefix('\u{feff}').unwrap_or(message.msg),
        raw_base64: read.bytes.map(|bytes| STANDARD.encode(bytes)),
    };
    // Writing strings into memory does not fail.
    let _written = document.serialize(&mut serde_json::Serializer::new(into));
}

/// Structured data as an object of objects; what stands twice becomes a list.
struct Elements<'a>(&'a [StructuredElement<&'a str>]);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let elements: Vec<_> = self.0.iter().map(|element| (element.id, element)).collect();
        let mut map = serializer.serialize_map(None)?;
        for (id, same) in grouped(&elements) {
            let parameters: Vec<_> = same.iter().map(|element| Parameters(element)).collect();
            match parameters.as_slice() {
                [one] => map.serialize_entry(id, one)?,
                many => map.serialize_entry(id, many)?,
            }
        }
        map.end()
    }
}

struct Parameters<'a>(&'a StructuredElement<&'a str>);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // This iterator takes the escapes of RFC 5424 out of values.
        let pairs: Vec<_> = self
            .0
            .params()
            .map(|(name, value)| (*name, value))
            .collect();
        let mut map = serializer.serialize_map(None)?;
        for (name, same) in grouped(&pairs) {
            match same.as_slice() {
                [one] => map.serialize_entry(name, one)?,
                many => map.serialize_entry(name, many)?,
            }
        }
        map.end()
    }
}

/// Pairs by name, in the order in which the names first stand.
fn grouped<'a, T>(pairs: &'a [(&'a str, T)]) -> Vec<(&'a str, Vec<&'a T>)> {
    let mut groups: Vec<(&str, Vec<&T>)> = Vec::new();
    for (name, value) in pairs {
        match groups.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => groups.push((name, vec![value])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const NOW: Arrival = Arrival {
        year: 2026,
        month: 1,
    };

    fn json(bytes: &[u8]) -> Value {
        let text = text(bytes);
        let mut into = Vec::new();
        write(&read(&text, bytes, NOW).unwrap(), &mut into);
        serde_json::from_slice(&into).unwrap()
    }

    #[test]
    fn rfc_5424_is_read() {
        let line = "<165>1 2003-10-11T22:14:15.003+02:00 mymachine.example.com evntslog 111 ID47 \
            [exampleSDID@32473 iut=\"3\" a=\"x \\\"y\\\" \\] \\\\\" ip=\"1\" ip=\"2\"][b@1 c=\"\"] \u{feff}An application event\n";
        assert_eq!(
            json(line.as_bytes()),
            json!({
                "timestamp": "2003-10-11T20:14:15.003Z",
                "hostname": "mymachine.example.com",
                "appname": "evntslog",
                "procid": "111",
                "msgid": "ID47",
                "facility": "local4",
                "severity": "notice",
                "structured_data": {
                    "exampleSDID@32473": {"iut": "3", "a": "x \"y\" ] \\", "ip": ["1", "2"]},
                    "b@1": {"c": ""},
                },
                "message": "An application event",
            })
        );
    }

    #[test]
    fn rfc_3164_is_read_and_gets_the_nearest_year() {
        let read = json(b"<34>Dec 31 23:59:59 mymachine su[77]: 'su root' failed\0");
        assert_eq!(read["hostname"], "mymachine");
        assert_eq!(read["appname"], "su");
        assert_eq!(read["procid"], "77");
        assert_eq!(read["facility"], "auth");
        assert_eq!(read["severity"], "crit");
        assert_eq!(read["message"], "'su root' failed");
        assert!(read["timestamp"].as_str().unwrap().starts_with("202"));
        assert!(!read["timestamp"].as_str().unwrap().starts_with("2026-12"));
        let read = json(b"<13>just words");
        assert_eq!(
            (&read["message"], &read["facility"]),
            (&json!("just words"), &json!("user"))
        );
    }

    #[test]
    fn nil_values_are_null() {
        let read = json(b"<14>1 - - - - - - -");
        for name in ["timestamp", "hostname", "appname", "procid", "msgid"] {
            assert_eq!(read[name], Value::Null, "{name}");
        }
        assert_eq!(read["structured_data"], json!({}));
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_not_lost() {
        let read = json(b"<13>Jan  2 03:04:05 h app: caf\xe9");
        assert_eq!(read["message"], "caf\u{fffd}");
        let raw = STANDARD
            .decode(read["raw_base64"].as_str().unwrap())
            .unwrap();
        assert!(raw.ends_with(b"caf\xe9"));
    }

    #[test]
    fn without_a_priority_it_is_no_message() {
        for text in [
            "", "hello", "<>x", "<192>x", "<1234>x", "<-1>x", "13>x", "<1x>y",
        ] {
            assert_eq!(
                read(text, text.as_bytes(), NOW).unwrap_err().code,
                Code::Invalid,
                "{text}"
            );
        }
    }

    proptest! {
        /// Any bytes: read to JSON or refused, never a panic.
        #[test]
        fn any_bytes_are_read_or_refused(
            head in prop_oneof![Just(""), Just("<13>"), Just("<13>1 "), Just("<13>Jan  1 00:00:00 "), Just("<13>1 2003-10-11T22:14:15Z h a p m [")],
            bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'"'), Just(b']'), Just(b'\\'), Just(b'='), Just(b'-'), any::<u8>()], 0..100),
        ) {
            let bytes = [head.as_bytes(), &bytes].concat();
            let text = text(&bytes);
            if let Ok(read) = read(&text, &bytes, NOW) {
                let mut into = Vec::new();
                write(&read, &mut into);
                prop_assert!(serde_json::from_slice::<Value>(&into).is_ok());
            }
        }
    }
}
