//! Answers on standard output: a table for people, the API's own JSON, or names for scripts.

use crate::failure::Failure;
use crate::text::printable;
use clap::ValueEnum;
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// The JSON of the API
    Json,
    /// Names only, one a line
    Name,
}

/// A column: its heading and the member that it shows.
pub(crate) type Column = (&'static str, &'static str);

/// Most characters of a cell in a listing.
const CELL_CHARS_MAX: usize = 60;

/// Writes answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    color: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            format,
            color: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// A listing; `name` is the member that names a row.
    pub(crate) fn listing(
        self,
        rows: &Value,
        columns: &[Column],
        name: &str,
    ) -> Result<(), Failure> {
        let empty = Vec::new();
        let items = rows.as_array().unwrap_or(&empty);
        let text = match self.format {
            Format::Json => pretty(rows),
            Format::Name => items.iter().map(|item| cell(item, name) + "\n").collect(),
            Format::Table if items.is_empty() => {
                // Not an answer that a program should read.
                writeln!(std::io::stderr(), "nothing found")?;
                return Ok(());
            }
            Format::Table => table(items, columns, self.color),
        };
        write(&text)
    }

    /// A list that is a member of the answer: JSON shows the whole answer.
    pub(crate) fn listing_of(
        self,
        value: &Value,
        member: &str,
        columns: &[Column],
        name: &str,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => write(&pretty(value)),
            _ => self.listing(&value[member], columns, name),
        }
    }

    /// One thing; `name` is the member that names it.
    pub(crate) fn object(self, value: &Value, name: &str) -> Result<(), Failure> {
        let text = match self.format {
            Format::Json => pretty(value),
            Format::Name => cell(value, name) + "\n",
            Format::Table => members(value),
        };
        write(&text)
    }

    /// The outcome of doing something, in a sentence.
    pub(crate) fn done(self, value: &Value, name: &str, sentence: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => write(&format!("{}\n", printable(sentence, false))),
            Format::Json => write(&pretty(value)),
            Format::Name => write(&format!("{}\n", printable(name, false))),
        }
    }
}

/// Writes a text as it is.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A member as one line of text.
pub(crate) fn cell(item: &Value, member: &str) -> String {
    plain(&item[member])
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text, false),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            items.iter().map(plain).collect::<Vec<_>>().join(",")
        }
        Value::Object(map) if map.is_empty() => "-".to_owned(),
        Value::Object(map) if map.values().all(|v| !v.is_object() && !v.is_array()) => map
            .iter()
            .map(|(k, v)| format!("{k}={}", plain(v)))
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    }
}

fn short(text: String) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    let mut text: String = text.chars().take(CELL_CHARS_MAX - 1).collect();
    text.push('…');
    text
}

/// Rows under headings, every column as wide as its widest cell.
pub(crate) fn table(items: &[Value], columns: &[Column], color: bool) -> String {
    let mut rows = vec![
        columns
            .iter()
            .map(|(heading, _)| (*heading).to_owned())
            .collect::<Vec<_>>(),
    ];
    rows.extend(items.iter().map(|item| {
        columns
            .iter()
            .map(|(_, member)| short(cell(item, member)))
            .collect::<Vec<_>>()
    }));
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for ((content, width), (_, member)) in row.iter().zip(&widths).zip(columns) {
            let pad = " ".repeat(width - content.chars().count() + 2);
            let status = color && number > 0 && matches!(*member, "status" | "state");
            let painted = status.then(|| paint(content)).flatten();
            line += &painted.map_or_else(
                || format!("{content}{pad}"),
                |code| format!("\x1b[{code}m{content}\x1b[0m{pad}"),
            );
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The colour of a status; the word itself says the same.
fn paint(status: &str) -> Option<u8> {
    match status {
        "active" | "ACTIVE" | "approved" | "delivered" => Some(32),
        "pending" | "held" => Some(33),
        "rejected" | "ERROR" | "refused" => Some(31),
        "inactive" | "INACTIVE" | "deleted" | "withdrawn" | "expired" | "cancelled" => Some(2),
        _ => None,
    }
}

/// The members of one thing, one a line.
fn members(value: &Value) -> String {
    let Some(map) = value.as_object() else {
        return format!("{}\n", plain(value));
    };
    let width = map.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    let line = |(key, value)| format!("{key:width$}  {}\n", plain(value));
    map.iter().map(line).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_aligns_columns_and_shows_absence_as_a_dash() {
        let items = [
            json!({"name": "a", "status": "active", "n": 1}),
            json!({"name": "longer", "status": null, "n": [1, 2]}),
        ];
        let text = table(
            &items,
            &[("NAME", "name"), ("STATUS", "status"), ("N", "n")],
            false,
        );
        assert_eq!(
            text,
            "NAME    STATUS  N\na       active  1\nlonger  -       1,2\n"
        );
    }

    #[test]
    fn colours_do_not_move_columns_and_only_mark_statuses() {
        let items = [json!({"name": "active", "status": "active", "n": 1})];
        let text = table(
            &items,
            &[("NAME", "name"), ("STATUS", "status"), ("N", "n")],
            true,
        );
        assert_eq!(
            text,
            "NAME    STATUS  N\nactive  \x1b[32mactive\x1b[0m  1\n"
        );
    }

    #[test]
    fn cells_are_one_line_short_and_free_of_escapes() {
        let item = json!({"text": "a\nb\x1b[2J", "map": {"k": "v"}, "long": "x".repeat(100)});
        assert_eq!(cell(&item, "text"), "a\\nb\\u{1b}[2J");
        assert_eq!(cell(&item, "map"), "k=v");
        assert_eq!(short(cell(&item, "long")).chars().count(), CELL_CHARS_MAX);
    }

    #[test]
    fn one_thing_is_written_member_by_member() {
        assert_eq!(members(&json!({"a": 1, "long": "x"})), "a     1\nlong  x\n");
    }
}
