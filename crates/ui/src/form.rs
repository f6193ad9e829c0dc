//! What forms say, and how their faults come back to their fields.

use sluice_model::consumer::{ConsumerSpec, ProcessorSpec};
use sluice_model::problem::{Code, FieldError, Problem, field};
use sluice_model::topic::{NewTopic, TopicChange};
use std::collections::BTreeMap;
use std::str::FromStr;

/// The problem that a form ran into, told field by field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault<'a>(pub(crate) Option<&'a Problem>);

impl<'a> Fault<'a> {
    /// What is wrong with a field (a JSON pointer) or with something below it: which part of it, and
    /// what.
    pub(crate) fn at(self, pointer: &str) -> Vec<(&'a str, &'a str)> {
        let errors = self
            .0
            .map(|problem| problem.errors.as_slice())
            .unwrap_or_default();
        let within = errors
            .iter()
            .filter(|error| covers(pointer, &error.pointer));
        let part = |error: &'a FieldError| error.pointer[pointer.len()..].trim_start_matches('/');
        within
            .map(|error| (part(error), error.message.as_str()))
            .collect()
    }

    /// `aria-invalid` and the link to the message, for a field with a fault.
    pub(crate) fn mark(self, pointer: &str) -> &'static str {
        if self.at(pointer).is_empty() {
            "false"
        } else {
            "true"
        }
    }

    /// The problem itself, when its messages have no field of their own.
    pub(crate) fn whole(self) -> Option<&'a Problem> {
        self.0.filter(|problem| problem.errors.is_empty())
    }

    /// Messages about anything but the given fields.
    pub(crate) fn elsewhere<'p>(self, pointers: impl AsRef<[&'p str]>) -> Vec<&'a FieldError> {
        let errors = self
            .0
            .map(|problem| problem.errors.as_slice())
            .unwrap_or_default();
        let known =
            |error: &&FieldError| pointers.as_ref().iter().any(|p| covers(p, &error.pointer));
        errors.iter().filter(|error| !known(error)).collect()
    }

    /// How many faults there are.
    pub(crate) fn count(self) -> usize {
        self.0.map_or(0, |problem| problem.errors.len())
    }
}

fn covers(pointer: &str, error: &str) -> bool {
    error
        .strip_prefix(pointer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The form that asks for a topic, as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicForm {
    /// The name.
    pub name: String,
    /// Partitions; empty for the policy's default.
    pub partitions: String,
    /// Copies; empty for the policy's default.
    pub replication_factor: String,
    /// What it is for.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
    /// A free label.
    pub created_by: String,
    /// `key=value` lines.
    pub configs: String,
}

impl TopicForm {
    /// Reads the fields of a form; unknown ones are left alone.
    pub fn read<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut form = Self::default();
        for (name, value) in fields {
            let place = match name {
                "name" => &mut form.name,
                "partitions" => &mut form.partitions,
                "replication_factor" => &mut form.replication_factor,
                "description" => &mut form.description,
                "owner" => &mut form.owner,
                "created_by" => &mut form.created_by,
                "configs" => &mut form.configs,
                _ => continue,
            };
            value.clone_into(place);
        }
        form
    }

    /// The request that the form stands for; what is empty was not asked.
    ///
    /// # Errors
    /// 422 with every field that cannot be read.
    pub fn topic(&self) -> Result<NewTopic, Box<Problem>> {
        let mut faults = Vec::new();
        let topic = NewTopic {
            name: self.name.trim().to_owned(),
            created_by: filled(&self.created_by),
            partitions: number(&self.partitions, "/partitions", &mut faults),
            replication_factor: number(
                &self.replication_factor,
                "/replication_factor",
                &mut faults,
            ),
            description: filled(&self.description),
            configs: configs(&self.configs, &mut faults),
            owner: filled(&self.owner),
            on_stop: None,
            subscribe: Vec::new(),
        };
        whole(topic, faults)
    }
}

/// The change that the fields of a topic's form stand for; an empty value takes a config back.
///
/// # Errors
/// 422 with every field that cannot be read.
pub fn topic_change<'a>(
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<TopicChange, Box<Problem>> {
    let (mut change, mut faults) = (TopicChange::default(), Vec::new());
    for (name, value) in fields {
        match name {
            "partitions" => change.partitions = number(value, "/partitions", &mut faults),
            "reason" => change.reason = filled(value),
            "configs" => {
                let pairs = configs(value, &mut faults).into_iter();
                change.configs = pairs.map(|(key, value)| (key, filled(&value))).collect();
            }
            _ => {}
        }
    }
    whole(change, faults)
}

/// The form that creates a managed consumer, as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerForm {
    /// Topics, apart by commas or spaces.
    pub topics: String,
    /// The consumer group.
    pub consumer_group: String,
    /// The cluster's configured name; empty for the governed one.
    pub cluster: String,
    /// Where a file sink writes; empty for none.
    pub file_path: String,
    /// `envelope` or `value`.
    pub file_format: String,
    /// Whether rows go to the embedded database.
    pub database: bool,
    /// The table's name; empty for the default.
    pub table: String,
    /// Whether it starts at once.
    pub auto_start: bool,
}

impl ConsumerForm {
    /// Reads the fields of a form; unknown ones are left alone.
    pub fn read<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut form = Self::default();
        for (name, value) in fields {
            let place = match name {
                "topics" => &mut form.topics,
                "consumer_group" => &mut form.consumer_group,
                "cluster" => &mut form.cluster,
                "file_path" => &mut form.file_path,
                "file_format" => &mut form.file_format,
                "table" => &mut form.table,
                "database" => {
                    form.database = true;
                    continue;
                }
                "auto_start" => {
                    form.auto_start = true;
                    continue;
                }
                _ => continue,
            };
            value.clone_into(place);
        }
        form
    }

    /// The body of `POST /consumers/` that the form stands for.
    pub fn spec(&self) -> ConsumerSpec {
        let text = |value: &str| serde_json::Value::from(value.trim());
        let mut processors = Vec::new();
        if !self.file_path.trim().is_empty() {
            let mut config =
                serde_json::Map::from_iter([("file_path".to_owned(), text(&self.file_path))]);
            if let Some(format) = filled(&self.file_format) {
                config.insert("format".to_owned(), text(&format));
            }
            processors.push(ProcessorSpec {
                processor_type: "file_sink".to_owned(),
                config,
            });
        }
        if self.database {
            let table = filled(&self.table).map(|table| ("table".to_owned(), text(&table)));
            processors.push(ProcessorSpec {
                processor_type: "database_sync".to_owned(),
                config: table.into_iter().collect(),
            });
        }
        ConsumerSpec {
            cluster: filled(&self.cluster),
            topics: words(&self.topics),
            consumer_group: self.consumer_group.trim().to_owned(),
            auto_start: self.auto_start,
            downstream_processors: processors,
            ..ConsumerSpec::default()
        }
    }
}

/// The words of a list that is apart by commas or white space.
pub fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| c == ',' || c.is_whitespace());
    parts
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn filled(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number<T: FromStr>(text: &str, pointer: &str, faults: &mut Vec<FieldError>) -> Option<T> {
    let text = filled(text)?;
    let number = text.parse().ok();
    if number.is_none() {
        faults.push(field(pointer, format!("is a whole number, not {text:?}")));
    }
    number
}

fn configs(text: &str, faults: &mut Vec<FieldError>) -> BTreeMap<String, String> {
    let mut configs = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            faults.push(field("/configs", format!("write name=value, not {line:?}")));
            continue;
        };
        let name = name.trim().to_owned();
        let twice = configs
            .insert(name.clone(), value.trim().to_owned())
            .is_some();
        if twice {
            faults.push(field("/configs", format!("{name} is there twice")));
        }
    }
    configs
}

fn whole<T>(value: T, faults: Vec<FieldError>) -> Result<T, Box<Problem>> {
    if faults.is_empty() {
        return Ok(value);
    }
    Err(Box::new(Problem::from_errors(Code::Invalid, faults)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_not_asked_and_lines_become_configs() {
        let form = TopicForm::read([
            ("name", " orders "),
            ("partitions", "3"),
            ("replication_factor", ""),
            (
                "configs",
                "retention.ms = 1000\r\n\n# why\ncleanup.policy=compact,delete",
            ),
            ("version", "1"),
        ]);
        let topic = form.topic().unwrap();
        assert_eq!(topic.name, "orders");
        assert_eq!(
            (topic.partitions, topic.replication_factor),
            (Some(3), None)
        );
        assert_eq!(topic.configs["retention.ms"], "1000");
        assert_eq!(topic.configs["cleanup.policy"], "compact,delete");
        assert!(topic.owner.is_none() && topic.description.is_none());
    }

    #[test]
    fn a_change_takes_configs_back_by_an_empty_value() {
        let change = topic_change([
            ("partitions", "6"),
            ("configs", "retention.ms=\nsegment.ms = 5"),
            ("reason", " "),
        ])
        .unwrap();
        assert_eq!((change.partitions, change.reason), (Some(6), None));
        assert_eq!(change.configs["retention.ms"], None);
        assert_eq!(change.configs["segment.ms"].as_deref(), Some("5"));
        assert!(topic_change([("partitions", "six")]).is_err());
    }

    #[test]
    fn every_unreadable_field_is_told() {
        let form = TopicForm::read([
            ("partitions", "three"),
            ("replication_factor", "99999"),
            ("configs", "a=1\na=2\nnonsense"),
        ]);
        let problem = form.topic().unwrap_err();
        let fault = Fault(Some(&problem));
        assert_eq!(fault.count(), 4);
        assert_eq!(fault.at("/configs").len(), 2);
        assert_eq!(fault.at("/partitions").len(), 1);
        assert_eq!(fault.elsewhere(["/configs", "/partitions"]).len(), 1);
        assert!(fault.whole().is_none());
    }

    #[test]
    fn a_fault_belongs_to_its_own_field_only() {
        assert!(covers("/configs", "/configs/retention.ms"));
        assert!(covers("/name", "/name"));
        assert!(!covers("/name", "/names"));
        assert!(!covers("/topics", "/topic"));
    }

    #[test]
    fn a_consumer_form_becomes_processors() {
        let form = ConsumerForm::read([
            ("topics", "a, b c"),
            ("consumer_group", "g"),
            ("file_path", "out.jsonl"),
            ("file_format", "value"),
            ("database", "on"),
            ("auto_start", "on"),
        ]);
        let spec = form.spec();
        assert_eq!(spec.topics, ["a", "b", "c"]);
        assert!(spec.auto_start && spec.cluster.is_none());
        let types: Vec<_> = spec
            .downstream_processors
            .iter()
            .map(|p| p.processor_type.as_str())
            .collect();
        assert_eq!(types, ["file_sink", "database_sync"]);
        assert_eq!(spec.downstream_processors[0].config["format"], "value");
        assert!(spec.downstream_processors[1].config.is_empty());
    }
}
