//! What a record looks like without what it says: for people who decide about a topic. Names of members
//! and kinds of values are shown, values never: a record may carry what only its readers should see.

use serde_json::Value;
use std::fmt::Write as _;

/// Largest record that is looked into.
const PARSED_MAX: usize = 64 * 1024;
/// Members and characters of a name that are shown.
const MEMBERS_MAX: usize = 20;
const NAME_CHARS_MAX: usize = 40;
/// Levels that are shown.
const DEPTH_MAX: usize = 2;
/// Characters of all.
const TEXT_CHARS_MAX: usize = 600;

/// The shape of a record's value.
pub fn of(value: Option<&[u8]>) -> String {
    let Some(value) = value else {
        return "no value (a tombstone)".to_owned();
    };
    let size = value.len();
    let small = (size <= PARSED_MAX).then_some(value);
    let mut text = String::new();
    match small.and_then(|value| serde_json::from_slice(value).ok()) {
        Some(json) => {
            write_shape(&mut text, &json, 0);
            if text.chars().count() > TEXT_CHARS_MAX {
                text = text.chars().take(TEXT_CHARS_MAX).chain(['…']).collect();
            }
        }
        None if std::str::from_utf8(value).is_ok() => text.push_str("text"),
        None => text.push_str("binary"),
    }
    format!("{text}, {size} bytes")
}

fn write_shape(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(_) => text.push_str("boolean"),
        Value::Number(_) => text.push_str("number"),
        Value::String(_) => text.push_str("string"),
        Value::Array(items) => {
            text.push('[');
            if let Some(first) = items.first() {
                if depth < DEPTH_MAX {
                    write_shape(text, first, depth + 1);
                }
                // Writing to a String does not fail.
                let _infallible = write!(text, " × {}", items.len());
            }
            text.push(']');
        }
        Value::Object(_) if depth >= DEPTH_MAX => text.push_str("{…}"),
        Value::Object(members) => {
            text.push('{');
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            for (place, (name, value)) in members.iter().take(MEMBERS_MAX).enumerate() {
                text.push_str(if place == 0 { "" } else { ", " });
                text.extend(name.chars().take(NAME_CHARS_MAX));
                text.push_str(": ");
                write_shape(text, value, depth + 1);
            }
            text.push_str(if members.len() > MEMBERS_MAX {
                ", …}"
            } else {
                "}"
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_tells_members_and_kinds_and_never_values() {
        let card = br#"{"card": "4111-1111", "amount": 12.5, "ok": true, "tags": ["red"], "of": {"a": {"b": {}}}}"#;
        let shape = of(Some(card));
        assert_eq!(
            shape,
            format!(
                "{{amount: number, card: string, of: {{a: {{…}}}}, ok: boolean, tags: [string × 1]}}, {} bytes",
                card.len()
            )
        );
        assert_eq!(of(Some(b"4111-1111 is a card")), "text, 19 bytes");
        assert_eq!(of(Some(&[0xff, 0xfe])), "binary, 2 bytes");
        assert_eq!(of(None), "no value (a tombstone)");
    }

    #[test]
    fn a_shape_is_bounded() {
        let members: Vec<String> = (0..500)
            .map(|n| format!("\"{}{n}\": 1", "x".repeat(100)))
            .collect();
        let shape = of(Some(format!("{{{}}}", members.join(",")).as_bytes()));
        assert!(shape.chars().count() < TEXT_CHARS_MAX + 30, "{shape}");
    }
}
