//! `sluice shell`: the interactive menus of the systems that Sluice takes the place of.
//!
//! Every line shows the plain command that does the same, so that the menu teaches the command line.
//! Without a terminal there are no prompts, the end of the input ends the shell, and the exit code is
//! that of the first line that failed.

mod admin;
mod consumer;
mod producer;

use crate::args::{Menu, Shell};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Column, table};
use crate::printer::Printer;
use crate::text::shell_word;
use serde_json::Value;

/// Runs a menu until it is left.
pub(crate) fn run(context: &Context, command: &Shell) -> Result<(), Failure> {
    let mut session = Session {
        context,
        printer: Printer::new(),
        first_failure: None,
    };
    match command.menu {
        Menu::Producer => producer::run(&mut session)?,
        Menu::Consumer => consumer::run(&mut session, command.user.as_deref())?,
        Menu::Admin => admin::run(&mut session)?,
    }
    match session.first_failure {
        Some(exit) if !session.printer.is_terminal() => Err(Failure::told(exit)),
        _ => Ok(()),
    }
}

/// What every menu needs.
struct Session<'a> {
    context: &'a Context,
    printer: Printer,
    first_failure: Option<crate::failure::Exit>,
}

impl Session<'_> {
    /// Shows the plain command that does the same.
    fn same_as(&self, words: &[&str]) -> Result<(), Failure> {
        let words: Vec<_> = words.iter().map(|word| shell_word(word)).collect();
        self.printer.print(&format!("$ sluice {}", words.join(" ")))
    }

    /// Tells a failure and goes on.
    fn told(&mut self, outcome: Result<(), Failure>) {
        if let Err(failure) = outcome {
            failure.tell();
            self.first_failure.get_or_insert(failure.exit);
        }
    }

    /// Prints a listing, or a sentence when it is empty.
    fn listing(&self, rows: &Value, columns: &[Column], empty: &str) -> Result<(), Failure> {
        match rows.as_array() {
            Some(rows) if !rows.is_empty() => self.printer.print(&table(rows, columns, false)),
            _ => self.printer.print(empty),
        }
    }

    /// Asks for something that the line did not say; an empty answer or the end of the input is none.
    fn ask(&self, prompt: &str) -> Result<Option<String>, Failure> {
        Ok(self
            .printer
            .ask(prompt)?
            .filter(|answer| !answer.trim().is_empty()))
    }
}

/// The first word of a line, and what follows the one separator after it, exactly as it was typed.
fn split_word(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    line.split_once(char::is_whitespace).unwrap_or((line, ""))
}

/// Names in a list: separated by commas or white space.
fn names(text: &str) -> Vec<String> {
    let split = text.split(|c: char| c == ',' || c.is_whitespace());
    split
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// How many rows have which value of a member, such as `3 active, 1 pending`.
fn summary(rows: &Value, member: &str) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for row in rows.as_array().into_iter().flatten() {
        *counts.entry(crate::output::cell(row, member)).or_insert(0) += 1;
    }
    let counts: Vec<_> = counts
        .iter()
        .map(|(value, count)| format!("{count} {value}"))
        .collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_once_and_the_rest_is_untouched() {
        assert_eq!(split_word("send  a  b "), ("send", " a  b "));
        assert_eq!(split_word("  quit"), ("quit", ""));
        assert_eq!(split_word(""), ("", ""));
    }

    #[test]
    fn lists_have_commas_or_spaces() {
        assert_eq!(names(" a, b,c  d,"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_summary_counts_by_value() {
        let rows = serde_json::json!([{"s": "b"}, {"s": "a"}, {"s": "b"}]);
        assert_eq!(summary(&rows, "s"), "1 a, 2 b");
    }
}
