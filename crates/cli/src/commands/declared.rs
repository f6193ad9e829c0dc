//! `sluice apply` and `sluice diff`: topics that a file declares.

use crate::args::{Apply, Declared};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{Column, Format, write};
use crate::text::printable;
use serde_json::Value;
use sluice_admin_client::call;
use sluice_model::apply::{Plan, PlanItem, Step};
use sluice_model::topic::TopicSpec;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

/// The largest file that is read; the admin API takes no more by default.
const FILE_BYTES_MAX: u64 = 1 << 20;

const COLUMNS: [Column; 4] = [
    ("TOPIC", "topic_name"),
    ("STEP", "step"),
    ("REQUEST", "request_id"),
    ("DETAIL", "detail"),
];

pub(crate) fn apply(context: &Context, command: &Apply) -> Result<(), Failure> {
    let topics = read(&command.declared.file)?;
    let answer = context.admin(call::apply(&topics, command.dry_run).raw())?;
    context
        .output
        .listing_of(&answer, "topics", &COLUMNS, "topic_name")?;
    match answer["refused"].as_u64() {
        None | Some(0) => Ok(()),
        Some(count) => Err(Failure::new(
            Exit::Rejected,
            format!("{count} of the declared topics cannot be asked for"),
        )),
    }
}

pub(crate) fn diff(context: &Context, declared: &Declared) -> Result<(), Failure> {
    let topics = read(&declared.file)?;
    let answer = context.admin(call::apply(&topics, true).raw())?;
    let plan: Plan = serde_json::from_value(answer.clone())
        .map_err(|error| Failure::new(Exit::Failed, format!("the plan cannot be read: {error}")))?;
    match context.output.format {
        Format::Json => context.output.object(&answer, "dry_run")?,
        Format::Name => {
            let names = otherwise(&plan).map(|item| printable(&item.topic_name, false) + "\n");
            write(&names.collect::<String>())?;
        }
        Format::Table => write(&otherwise(&plan).map(lines).collect::<String>())?,
    }
    if otherwise(&plan).next().is_none() {
        return Ok(());
    }
    // As diff(1): the exit code says that there are differences; they are told already.
    Err(Failure {
        exit: Exit::NotFound,
        lines: Vec::new(),
    })
}

fn otherwise(plan: &Plan) -> impl Iterator<Item = &PlanItem> {
    plan.topics
        .iter()
        .filter(|item| item.step != Step::Unchanged)
}

fn lines(item: &PlanItem) -> String {
    let mark = match item.step {
        Step::Create => '+',
        Step::Change => '~',
        Step::Unchanged => ' ',
        Step::Refused => '!',
    };
    let mut text = format!("{mark} {}\n", printable(&item.topic_name, false));
    let empty = TopicSpec {
        partitions: 0,
        replication_factor: 0,
        configs: std::collections::BTreeMap::new(),
    };
    if let Some(after) = &item.after {
        let before = item.before.as_ref().unwrap_or(&empty);
        text += &member("partitions", before.partitions, after.partitions);
        let (old, new) = (before.replication_factor, after.replication_factor);
        text += &member("replication_factor", old, new);
        let names: std::collections::BTreeSet<_> =
            before.configs.keys().chain(after.configs.keys()).collect();
        for name in names {
            let value = |spec: &TopicSpec| {
                let value = spec.configs.get(name).map_or("(default)", String::as_str);
                printable(value, false)
            };
            text += &member(&printable(name, false), value(before), value(after));
        }
    }
    for finding in &item.findings {
        let message = printable(&finding.message, false);
        let _infallible = writeln!(
            text,
            "    {}: {message}",
            printable(&finding.pointer, false)
        );
    }
    text
}

fn member<T: PartialEq + std::fmt::Display>(name: &str, before: T, after: T) -> String {
    if before == after {
        return String::new();
    }
    format!("    {name}: {before} -> {after}\n")
}

/// The topics of a file: the array `topics` of a TOML or JSON document, or a JSON array as it is.
fn read(path: &Path) -> Result<Value, Failure> {
    let shown = path.display();
    let usage =
        |error: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("{shown}: {error}"));
    let mut text = String::new();
    let source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| usage(&error))?)
    };
    let mut source = source.take(FILE_BYTES_MAX + 1);
    source
        .read_to_string(&mut text)
        .map_err(|error| usage(&error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(usage(&format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    let json = text.trim_start().starts_with(['{', '[']) && !text.trim_start().starts_with("[[");
    let document: Value = if json {
        serde_json::from_str(&text).map_err(|error| usage(&error))?
    } else {
        toml::from_str(&text).map_err(|error| usage(&error))?
    };
    let topics = match document {
        Value::Array(_) => document,
        Value::Object(mut members) => members.remove("topics").unwrap_or_default(),
        _ => Value::Null,
    };
    if topics.is_array() {
        return Ok(topics);
    }
    Err(usage(&"has no array of topics").hint("TOML: [[topics]] tables; JSON: {\"topics\": [...]}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let dir = std::env::temp_dir().join(format!("sluice-declared-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let read_text = |text: &str| {
            let path = dir.join("topics");
            std::fs::write(&path, text).unwrap();
            read(&path).map_err(|failure| failure.exit)
        };
        let want =
            serde_json::json!([{"name": "a", "partitions": 3, "configs": {"retention.ms": 5}}]);
        for text in [
            "[[topics]]\nname = \"a\"\npartitions = 3\nconfigs = {\"retention.ms\" = 5}\n",
            "{\"topics\": [{\"name\": \"a\", \"partitions\": 3, \"configs\": {\"retention.ms\": 5}}]}",
            " [{\"name\": \"a\", \"partitions\": 3, \"configs\": {\"retention.ms\": 5}}]",
        ] {
            assert_eq!(read_text(text).unwrap(), want, "{text}");
        }
        for text in ["", "name = 1", "{\"topics\": 1}", "[[topics"] {
            assert_eq!(read_text(text), Err(Exit::Usage), "{text}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_difference_is_told_member_by_member() {
        let spec = |partitions, value: Option<&str>| TopicSpec {
            partitions,
            replication_factor: 1,
            configs: value
                .map(|v| ("retention.ms".to_owned(), v.to_owned()))
                .into_iter()
                .collect(),
        };
        let item = PlanItem {
            topic_name: "a".to_owned(),
            step: Step::Change,
            detail: String::new(),
            request_id: None,
            before: Some(spec(3, None)),
            after: Some(spec(6, Some("5"))),
            findings: Vec::new(),
        };
        assert_eq!(
            lines(&item),
            "~ a\n    partitions: 3 -> 6\n    retention.ms: (default) -> 5\n"
        );
    }
}
