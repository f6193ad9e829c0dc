//! Bodies for the consumer API, from a file and from flags.

use crate::args::consumer::Spec;
use crate::failure::{Exit, Failure};
use serde_json::{Map, Value, json};
use std::io::Read as _;
use std::path::Path;

/// Largest file that describes a consumer.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a consumer should be: the file, and the flags over it.
pub(super) fn spec(given: &Spec) -> Result<Map<String, Value>, Failure> {
    let mut body = match &given.file {
        Some(file) => read(file)?,
        None => Map::new(),
    };
    if !given.topics.is_empty() {
        body.remove("topic");
        body.insert("topics".to_owned(), json!(given.topics));
    }
    let texts = [
        ("consumer_group", &given.group),
        ("cluster", &given.cluster),
        ("client_id", &given.client_id),
        ("owner", &given.owner),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            body.insert(name.to_owned(), Value::from(text.as_str()));
        }
    }
    let processors = processors(given)?;
    if !processors.is_empty() {
        body.insert("downstream_processors".to_owned(), Value::from(processors));
    }
    if body.is_empty() {
        let message =
            "say what it should be: with --file, or with flags such as --topic and --to-file";
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(body)
}

fn processors(given: &Spec) -> Result<Vec<Value>, Failure> {
    let one = |kind: &str, config: Value| json!({"processor_type": kind, "config": config});
    let mut all = Vec::new();
    let files = given.to_file.iter();
    all.extend(files.map(|path| one("file_sink", json!({"file_path": path}))));
    let databases = given.to_database.iter();
    all.extend(databases.map(|dsn| one("database_sync", json!({"dsn": dsn}))));
    let urls = given.to_url.iter();
    all.extend(urls.map(|url| one("streaming_forwarder", json!({"endpoint_url": url}))));
    for (kind, config) in &given.processors {
        let config = serde_json::from_str(config).map_err(|error| {
            Failure::new(Exit::Usage, format!("--processor {kind}: no JSON: {error}"))
        })?;
        all.push(one(kind, config));
    }
    Ok(all)
}

fn read(file: &Path) -> Result<Map<String, Value>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, format!("--file {}: {error}", file.display()))
    };
    let mut body = Vec::new();
    let input: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| failed(&error))?)
    };
    input
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut body)
        .map_err(|error| failed(&error))?;
    serde_json::from_slice(&body).map_err(|error| failed(&error))
}

/// Where reading goes: a word, or an instant.
pub(super) fn place(text: &str) -> Value {
    match text {
        "earliest" | "latest" => Value::from(text),
        instant => json!({"timestamp": instant}),
    }
}

/// `TOPIC:PARTITION:OFFSET`.
pub(super) fn place_of_record(text: &str) -> Option<Value> {
    let (rest, offset) = text.rsplit_once(':')?;
    let (topic, partition) = rest.rsplit_once(':')?;
    let (partition, offset): (i32, i64) = (partition.parse().ok()?, offset.parse().ok()?);
    Some(json!({"topic": topic, "partition": partition, "offset": offset}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_over_the_file_and_make_processors() {
        let dir = std::env::temp_dir().join(format!("sluice-cli-{}", std::process::id()));
        std::fs::write(&dir, r#"{"topic": "old", "consumer_group": "g"}"#).unwrap();
        let given = Spec {
            file: Some(dir.clone()),
            topics: vec!["new".into()],
            to_file: vec!["a.jsonl".into()],
            processors: vec![("database_sync".into(), "{}".into())],
            ..Spec::default()
        };
        let body = Value::Object(spec(&given).unwrap());
        std::fs::remove_file(dir).unwrap();
        assert_eq!(
            body,
            json!({"topics": ["new"], "consumer_group": "g", "downstream_processors": [
                {"processor_type": "file_sink", "config": {"file_path": "a.jsonl"}},
                {"processor_type": "database_sync", "config": {}}]})
        );
        assert!(spec(&Spec::default()).is_err());
    }

    #[test]
    fn places_are_words_instants_or_records() {
        assert_eq!(place("earliest"), json!("earliest"));
        assert_eq!(
            place("2026-01-01T00:00:00Z"),
            json!({"timestamp": "2026-01-01T00:00:00Z"})
        );
        assert_eq!(
            place_of_record("a:0:12"),
            Some(json!({"topic": "a", "partition": 0, "offset": 12}))
        );
        assert_eq!(place_of_record("2026-01-01T00:00:00Z"), None);
    }
}
