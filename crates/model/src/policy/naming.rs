//! The grammar of names: parts between separators, each with the words or the form that it may have.

use super::pattern_matches;
use crate::problem::{FieldError, field};
use serde::{Deserialize, Serialize};

/// One part of a name, such as the domain in `sales.orders.created`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamePart {
    /// What the part is called.
    pub part: String,
    /// The words that it may be; empty for any.
    #[serde(default)]
    pub words: Vec<String>,
    /// A regular expression that it matches as a whole; empty for any.
    #[serde(default)]
    pub pattern: String,
    /// Whether it is the owner of the topic.
    #[serde(default)]
    pub owner: bool,
    /// Whether it may stand several times, or not at all; for the last part.
    #[serde(default)]
    pub repeats: bool,
}

impl NamePart {
    fn fault(&self, text: &str, owner: Option<&str>) -> Option<String> {
        let part = &self.part;
        if !self.words.is_empty() && !self.words.iter().any(|word| word == text) {
            let words = self.words.join(", ");
            return Some(format!("{part} is one of {words} by policy, not {text:?}"));
        }
        if !pattern_matches(&self.pattern, text) {
            let pattern = &self.pattern;
            return Some(format!(
                "{part} matches {pattern:?} by policy; {text:?} does not"
            ));
        }
        match owner {
            Some(owner) if self.owner && owner != text => Some(format!(
                "{part} is the owner by policy: {owner:?}, not {text:?}"
            )),
            None if self.owner => Some(format!("{part} is the owner by policy, and none is named")),
            _ => None,
        }
    }
}

/// Faults of a name under a grammar; without parts there are none.
pub(super) fn name_faults(
    parts: &[NamePart],
    separator: &str,
    name: &str,
    owner: Option<&str>,
) -> Vec<FieldError> {
    let Some(last) = parts.last() else {
        return Vec::new();
    };
    let texts: Vec<&str> = name.split(separator).collect();
    let fixed = if last.repeats {
        parts.len() - 1
    } else {
        parts.len()
    };
    if texts.len() < fixed || (texts.len() > fixed && !last.repeats) {
        let grammar: Vec<String> = parts
            .iter()
            .map(|part| format!("<{}>", part.part))
            .collect();
        let message = format!(
            "names are {}{} by policy: {} parts, not {}",
            grammar.join(separator),
            if last.repeats { "…" } else { "" },
            fixed,
            texts.len()
        );
        return vec![field("/name", message)];
    }
    let rules = parts.iter().chain(std::iter::repeat(last));
    let faults = rules
        .zip(texts)
        .filter_map(|(part, text)| part.fault(text, owner));
    faults.map(|message| field("/name", message)).collect()
}

/// Faults of a grammar itself.
pub(super) fn grammar_faults(parts: &[NamePart], separator: &str) -> Vec<FieldError> {
    let mut faults = Vec::new();
    if !parts.is_empty() && ![".", "-", "_"].contains(&separator) {
        faults.push(field("name_separator", "is one of \".\", \"-\" and \"_\""));
    }
    for (index, part) in parts.iter().enumerate() {
        if let Err(error) = regex_lite::Regex::new(&format!("^(?:{})$", part.pattern)) {
            let pointer = format!("name_parts/{index}/pattern");
            faults.push(field(pointer, format!("is no regular expression: {error}")));
        }
        if part.repeats && index + 1 < parts.len() {
            let pointer = format!("name_parts/{index}/repeats");
            faults.push(field(pointer, "is for the last part"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str) -> NamePart {
        NamePart {
            part: name.to_owned(),
            words: Vec::new(),
            pattern: String::new(),
            owner: false,
            repeats: false,
        }
    }

    #[test]
    fn a_grammar_names_the_part_that_breaks_it() {
        let domain = NamePart {
            words: vec!["sales".into(), "ops".into()],
            ..part("domain")
        };
        let team = NamePart {
            owner: true,
            ..part("team")
        };
        let event = NamePart {
            pattern: "[a-z]+".into(),
            repeats: true,
            ..part("event")
        };
        let parts = [domain, team, event];
        for (name, owner, wrong) in [
            ("sales.red.paid", Some("red"), ""),
            ("sales.red.paid.again", Some("red"), ""),
            ("sales.red", Some("red"), ""),
            ("sales", Some("red"), "names are <domain>.<team>.<event>…"),
            ("hr.red.paid", Some("red"), "domain is one of sales, ops"),
            ("ops.blue.paid", Some("red"), "team is the owner"),
            ("ops.blue.paid", None, "none is named"),
            ("ops.red.Paid", Some("red"), "event matches"),
        ] {
            let faults = name_faults(&parts, ".", name, owner);
            let message = faults.first().map_or("", |fault| fault.message.as_str());
            assert_eq!(faults.is_empty(), wrong.is_empty(), "{name}: {message}");
            assert!(message.contains(wrong), "{name}: {message}");
        }
        assert!(grammar_faults(&parts, ".").is_empty());
        assert_eq!(grammar_faults(&parts, "/").len(), 1);
    }
}
