//! Which records a viewer wants to see. Every filter of a request must hold:
//!
//! - `key=TEXT`: the key is this text
//! - `header.NAME=TEXT`: some header of this name has this value
//! - `value~TEXT`: the value contains this text
//! - `/JSON/POINTER=VALUE`: the value is JSON, and what stands at this place equals VALUE. A VALUE that
//!   reads as JSON is compared as such, any other as a string; a string also equals its bare text.
//!
//! The text begins after the first `=` or `~`.

use crate::batch::Entry;
use serde_json::Value;
use sluice_model::problem::{Code, Problem, field};

/// Filters of one request.
const FILTERS_MAX: usize = 8;
/// Bytes of one filter.
const FILTER_BYTES_MAX: usize = 1024;
/// The forms, for refusals.
const FORMS: &str = "is key=TEXT, header.NAME=TEXT, value~TEXT or /json/pointer=VALUE";

/// A test of a header's name and value.
pub type HeaderTest<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> bool + 'a;

/// What a filter looks at.
pub trait View {
    /// The key.
    fn key(&self) -> Option<&[u8]>;
    /// The value.
    fn value(&self) -> Option<&[u8]>;
    /// Whether the test holds for some header.
    fn any_header(&self, test: &mut HeaderTest<'_>) -> bool;
}

impl View for Entry<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.key
    }

    fn value(&self) -> Option<&[u8]> {
        self.value
    }

    fn any_header(&self, test: &mut HeaderTest<'_>) -> bool {
        self.headers
            .iter()
            .any(|(name, value)| test(name.as_bytes(), *value))
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Key(String),
    Header(String, String),
    Contains(String),
    Pointer(String, String, Option<Value>),
}

/// The filters of a request; none lets everything pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

impl Filter {
    /// Reads the filters of a request.
    ///
    /// # Errors
    /// 422 that names the forms.
    pub fn parse(texts: &[String]) -> Result<Self, Problem> {
        if texts.len() > FILTERS_MAX {
            let message = format!("is given {} times; {FILTERS_MAX} are allowed", texts.len());
            return Err(Problem::invalid("filter", message));
        }
        let (mut terms, mut faults) = (Vec::new(), Vec::new());
        for text in texts {
            match term(text) {
                Ok(term) => terms.push(term),
                Err(message) => faults.push(field("filter", message)),
            }
        }
        if faults.is_empty() {
            Ok(Self { terms })
        } else {
            Err(Problem::from_errors(Code::Invalid, faults))
        }
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a record passes.
    pub fn passes(&self, record: &dyn View) -> bool {
        let mut json = None;
        self.terms.iter().all(|term| match term {
            Term::Key(text) => record.key() == Some(text.as_bytes()),
            Term::Header(name, text) => record.any_header(&mut |known, value| {
                known == name.as_bytes() && value == Some(text.as_bytes())
            }),
            Term::Contains(text) => record
                .value()
                .is_some_and(|value| memchr::memmem::find(value, text.as_bytes()).is_some()),
            Term::Pointer(pointer, text, wanted) => {
                let json = json.get_or_insert_with(|| {
                    let value = record.value().unwrap_or_default();
                    serde_json::from_slice::<Value>(value).unwrap_or(Value::Null)
                });
                json.pointer(pointer)
                    .is_some_and(|found| equals(found, text, wanted.as_ref()))
            }
        })
    }
}

fn term(text: &str) -> Result<Term, String> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(format!("is longer than {FILTER_BYTES_MAX} bytes"));
    }
    let Some(place) = text.find(['=', '~']) else {
        return Err(FORMS.to_owned());
    };
    let (name, rest) = text.split_at(place);
    let (sign, wanted) = rest.split_at(1);
    match (name, sign) {
        ("key", "=") => Ok(Term::Key(wanted.to_owned())),
        ("value", "~") if wanted.is_empty() => Err("value~ needs a text".to_owned()),
        ("value", "~") => Ok(Term::Contains(wanted.to_owned())),
        (pointer, "=") if pointer.starts_with('/') => {
            let json = serde_json::from_str(wanted).ok();
            Ok(Term::Pointer(pointer.to_owned(), wanted.to_owned(), json))
        }
        (header, "=") => match header
            .strip_prefix("header.")
            .filter(|name| !name.is_empty())
        {
            Some(name) => Ok(Term::Header(name.to_owned(), wanted.to_owned())),
            None => Err(FORMS.to_owned()),
        },
        _ => Err(FORMS.to_owned()),
    }
}

fn equals(found: &Value, text: &str, wanted: Option<&Value>) -> bool {
    let as_number = |value: &Value| value.as_f64();
    found.as_str() == Some(text)
        || wanted.is_some_and(|wanted| {
            found == wanted || (as_number(found).is_some() && as_number(found) == as_number(wanted))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry<'a>(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp: None,
            key: Some(key),
            value: Some(value),
            headers: vec![
                ("trace", Some(b"a")),
                ("trace", Some(b"b=c")),
                ("none", None),
            ],
        }
    }

    fn filter(texts: &[&str]) -> Result<Filter, Problem> {
        Filter::parse(
            &texts
                .iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn every_form_finds_what_it_names_and_nothing_else() {
        let record = entry(
            b"k=1",
            br#"{"user":{"id":42,"name":"ana","ok":true},"list":["x"],"price":2.0,"n":null}"#,
        );
        for (texts, passes) in [
            (vec![], true),
            (vec!["key=k=1"], true),
            (vec!["key=k"], false),
            (vec!["header.trace=b=c"], true),
            (vec!["header.trace=c"], false),
            (vec!["header.none="], false),
            (vec!["value~\"name\":\"ana\""], true),
            (vec!["value~bob"], false),
            (vec!["/user/id=42"], true),
            (vec!["/user/id=\"42\""], false),
            (vec!["/user/id=43"], false),
            (vec!["/user/name=ana"], true),
            (vec!["/user/name=\"ana\""], true),
            (vec!["/user/ok=true"], true),
            (vec!["/list/0=x"], true),
            (vec!["/list=[\"x\"]"], true),
            (vec!["/price=2"], true),
            (vec!["/n=null"], true),
            (vec!["/absent=null"], false),
            (vec!["key=k=1", "value~ana", "/user/id=42"], true),
            (vec!["key=k=1", "value~bob"], false),
        ] {
            assert_eq!(filter(&texts).unwrap().passes(&record), passes, "{texts:?}");
        }
        assert!(!filter(&["/a=1"]).unwrap().passes(&entry(b"", b"no json")));
        let tombstone = Entry {
            key: None,
            value: None,
            ..entry(b"", b"")
        };
        for text in ["key=", "value~a", "/a=1"] {
            assert!(!filter(&[text]).unwrap().passes(&tombstone), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused_all_at_once() {
        let long = format!("key={}", "x".repeat(FILTER_BYTES_MAX));
        for text in [
            "",
            "key",
            "key~a",
            "value=a",
            "value~",
            "header.=a",
            "header.a~b",
            "x=1",
            "/a~1",
            &long,
        ] {
            assert_eq!(filter(&[text]).unwrap_err().status, 422, "{text}");
        }
        assert_eq!(filter(&["a", "key=b", "c"]).unwrap_err().errors.len(), 2);
        assert_eq!(filter(&["key=a"; FILTERS_MAX + 1]).unwrap_err().status, 422);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", value in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(filter) = Filter::parse(&[text]) {
                let _any = filter.passes(&entry(b"k", &value));
            }
        }
    }
}
