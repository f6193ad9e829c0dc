//! What of a processor's configuration may be shown: everything but secrets. Configurations refer to
//! secrets, but people also write them into URLs and connection strings.

use serde_json::{Map, Value};
use url::Url;

/// What stands in a secret's place.
pub const MASK: &str = "***";
/// Parts of names whose values are secrets, unless the name says that it is a reference.
const SECRET_WORDS: [&str; 7] = [
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "api_key",
    "apikey",
];
/// Names of query parameters and of `key=value` strings that are secrets besides.
const SECRET_KEYS: [&str; 6] = ["key", "sig", "signature", "pwd", "code", "auth"];

/// A configuration without its secrets.
pub fn config(config: &Map<String, Value>) -> Map<String, Value> {
    config
        .iter()
        .map(|(name, value)| (name.clone(), member(name, value)))
        .collect()
}

/// A document with configurations somewhere in it, without their secrets.
pub fn document(document: &Value) -> Value {
    member("", document)
}

/// The configuration that one of `known` was shown as, if it was; else the given one. So a document that
/// was read can be sent back without its secrets.
pub fn restore<'k>(
    given: Map<String, Value>,
    mut known: impl Iterator<Item = &'k Map<String, Value>>,
) -> Map<String, Value> {
    match known.find(|known| **known != given && config(known) == given) {
        Some(known) => known.clone(),
        None => given,
    }
}

fn member(name: &str, value: &Value) -> Value {
    match value {
        Value::String(_) if secret_name(name) => Value::from(MASK),
        Value::String(text) => Value::from(masked(text)),
        Value::Object(members) => Value::Object(config(members)),
        Value::Array(items) => items.iter().map(|item| member(name, item)).collect(),
        other => other.clone(),
    }
}

fn secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let reference = name.ends_with("_file") || name.ends_with("_env");
    !reference && SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// A URL or a connection string (`host=h password=p`) without its password; other text as it is.
pub fn masked(text: &str) -> String {
    if let Ok(url) = Url::parse(text)
        && text.contains("://")
    {
        return masked_url(text, &url);
    }
    if !text.contains('=') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        out.push_str(name);
        out.push('=');
        let word = name
            .rsplit([' ', ';', '&', '?', ','])
            .next()
            .unwrap_or(name);
        let (value, next) = value_of(after);
        out.push_str(if secret_key(word) { MASK } else { value });
        rest = next;
    }
    out + rest
}

/// The value at the beginning, quoted or up to the next separator, and what follows.
fn value_of(text: &str) -> (&str, &str) {
    let end = match text.strip_prefix('\'') {
        Some(quoted) => quoted.find('\'').map_or(text.len(), |end| end + 2),
        None => text.find([' ', ';', '&', ',']).unwrap_or(text.len()),
    };
    text.split_at(end)
}

fn secret_key(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    secret_name(&name) || SECRET_KEYS.contains(&name.as_str())
}

fn masked_url(text: &str, url: &Url) -> String {
    let secret_pair = |(name, _): (std::borrow::Cow<'_, str>, _)| secret_key(&name);
    if url.password().is_none() && !url.query_pairs().any(secret_pair) {
        return text.to_owned();
    }
    let mut shown = url.clone();
    if url.password().is_some() && shown.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    if url.query_pairs().any(secret_pair) {
        let pairs: Vec<String> = url
            .query()
            .unwrap_or_default()
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if secret_key(name) => format!("{name}={MASK}"),
                _ => pair.to_owned(),
            })
            .collect();
        shown.set_query(Some(&pairs.join("&")));
    }
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_and_all_else_is_as_it_was() {
        let given = json!({
            "dsn": "postgres://u:p%40ss@h:5432/db?sslmode=require",
            "password": "p", "password_file": "db-password", "secret_env": "SLUICE_SECRET_X",
            "endpoint_url": "https://h/x?a=1&token=t0p&b=2",
            "headers": {"Authorization": "Bearer t0p", "X-Api-Key": "t0p", "X-Team": "a=b"},
            "list": ["mysql://u:p@h/d"], "n": 5, "text": "plain"
        });
        let shown = config(given.as_object().unwrap());
        let expected = json!({
            "dsn": "postgres://u:***@h:5432/db?sslmode=require",
            "password": "***", "password_file": "db-password", "secret_env": "SLUICE_SECRET_X",
            "endpoint_url": "https://h/x?a=1&token=***&b=2",
            "headers": {"Authorization": "***", "X-Api-Key": "***", "X-Team": "a=b"},
            "list": ["mysql://u:***@h/d"], "n": 5, "text": "plain"
        });
        assert_eq!(Value::Object(shown), expected);
    }

    #[test]
    fn configurations_inside_of_documents_lose_their_secrets_too() {
        let row = json!({"topics": ["a"], "processors": [{"config": {"dsn": "mysql://u:p4@h/d"}}]});
        let shown = document(&row);
        assert_eq!(shown["processors"][0]["config"]["dsn"], "mysql://u:***@h/d");
        assert_eq!(shown["topics"], row["topics"]);
    }

    #[test]
    fn what_comes_back_as_it_was_shown_is_what_it_was() {
        let stored = json!({"dsn": "mysql://u:p4@h/d", "table": "t"});
        let stored = stored.as_object().unwrap();
        let shown = config(stored);
        assert_eq!(restore(shown.clone(), [stored].into_iter()), *stored);
        let mut other = shown.clone();
        other.insert("table".to_owned(), json!("u"));
        assert_eq!(restore(other.clone(), [stored].into_iter()), other);
    }

    #[test]
    fn connection_strings_lose_their_password_only() {
        for (text, shown) in [
            (
                "host=h password=p4 dbname=d",
                "host=h password=*** dbname=d",
            ),
            (
                "host=h password='a b' dbname=d",
                "host=h password=*** dbname=d",
            ),
            ("Server=h;Pwd=x;Database=d", "Server=h;Pwd=***;Database=d"),
            ("redis://:p4@h:6379/0", "redis://:***@h:6379/0"),
            ("sqlite file.db", "sqlite file.db"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }
}
