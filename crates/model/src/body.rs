//! Reading a JSON request body so that every fault is reported at once.
//!
//! A member of the wrong JSON type (or a number outside its integer type) makes the answer 400, a
//! missing or unknown member or a broken rule makes it 422. Unknown members name the nearest known
//! one. Derived deserialisers stop at the first fault and know no second kind of it; hence this.

use crate::problem::{Code, FieldError, Problem, field};
use serde_json::{Map, Value};

/// An object being read, member by member.
#[derive(Debug)]
pub struct Body {
    members: Map<String, Value>,
    prefix: String,
    known: Vec<&'static str>,
    wrong_type: Vec<FieldError>,
    invalid: Vec<FieldError>,
}

impl Body {
    /// Starts reading a JSON text that must be an object; an empty text counts as `{}`.
    ///
    /// # Errors
    /// 400 when the text is not JSON or not an object.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::of(Map::new(), ""));
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|e| {
            Problem::new(
                Code::MalformedJson,
                format!("the body is not valid JSON: {e}"),
            )
        })?;
        match value {
            Value::Object(members) => Ok(Self::of(members, "")),
            other => Err(Problem::from_errors(
                Code::WrongType,
                vec![field(
                    "",
                    format!("must be a JSON object, not {}", kind(&other)),
                )],
            )),
        }
    }

    /// Starts reading an object that is a part of a body; `prefix` is its JSON pointer.
    pub fn of(members: Map<String, Value>, prefix: &str) -> Self {
        Self {
            members,
            prefix: prefix.to_owned(),
            known: Vec::new(),
            wrong_type: Vec::new(),
            invalid: Vec::new(),
        }
    }

    /// The JSON pointer of a member, or of a part of it: `roles`, `roles/0`. Names that a client chose are
    /// escaped by [`escape`] before.
    pub fn pointer(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Records a broken rule about a member.
    pub fn invalid(&mut self, name: &str, message: impl Into<String>) {
        let error = field(self.pointer(name), message);
        self.invalid.push(error);
    }

    /// Records faults that were found elsewhere, such as inside a nested body.
    pub fn absorb(&mut self, other: Self) {
        let (wrong_type, invalid) = other.faults();
        self.wrong_type.extend(wrong_type);
        self.invalid.extend(invalid);
    }

    /// Records that a member has the wrong JSON type.
    pub fn mistyped(&mut self, name: &str, want: &str, got: &Value) {
        let error = field(
            self.pointer(name),
            format!("must be {want}, not {}", kind(got)),
        );
        self.wrong_type.push(error);
    }

    /// An optional string.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                self.mistyped(name, "a string", &other);
                None
            }
        }
    }

    /// A string that must be there; missing is recorded and answered by an empty string.
    pub fn required_text(&mut self, name: &'static str) -> String {
        let faults = self.wrong_type.len();
        let text = self.text(name);
        if text.is_none() && self.wrong_type.len() == faults {
            self.invalid(name, "is missing");
        }
        text.unwrap_or_default()
    }

    /// An optional string of at most `max` characters.
    pub fn short_text(&mut self, name: &'static str, max: usize) -> Option<String> {
        let text = self.text(name)?;
        let length = text.chars().count();
        if length > max {
            self.invalid(
                name,
                format!("has at most {max} characters, this one has {length}"),
            );
        }
        Some(text)
    }

    /// An optional boolean.
    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            other => {
                self.mistyped(name, "true or false", &other);
                None
            }
        }
    }

    /// An optional integer of type `T`; anything that `T` cannot hold is of the wrong type.
    pub fn integer<T: TryFrom<i64>>(&mut self, name: &'static str) -> Option<T> {
        let value = self.take(name)?;
        let parsed = value.as_i64().and_then(|number| T::try_from(number).ok());
        if parsed.is_none() {
            let bits = size_of::<T>() * 8;
            self.mistyped(
                name,
                &format!("a whole number of at most {bits} bits"),
                &value,
            );
        }
        parsed
    }

    /// An optional object.
    pub fn object(&mut self, name: &'static str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(map) => Some(map),
            other => {
                self.mistyped(name, "an object", &other);
                None
            }
        }
    }

    /// An optional array.
    pub fn array(&mut self, name: &'static str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            other => {
                self.mistyped(name, "an array", &other);
                None
            }
        }
    }

    /// An optional array of strings.
    pub fn texts(&mut self, name: &'static str) -> Option<Vec<String>> {
        let items = self.array(name)?;
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => self.mistyped(&format!("{name}/{index}"), "a string", &other),
            }
        }
        Some(texts)
    }

    /// An optional object whose values are scalars, as strings: numbers and booleans are taken as
    /// they are written.
    pub fn scalars(&mut self, name: &'static str) -> Option<Vec<(String, String)>> {
        let map = self.object(name)?;
        let mut pairs = Vec::with_capacity(map.len());
        for (key, value) in map {
            match value {
                Value::String(text) => pairs.push((key, text)),
                Value::Number(_) | Value::Bool(_) => pairs.push((key, value.to_string())),
                other => {
                    self.mistyped(
                        &format!("{name}/{}", escape(&key)),
                        "a string, number or boolean",
                        &other,
                    );
                }
            }
        }
        Some(pairs)
    }

    /// The same, where null is a value of its own.
    pub fn nullable_scalars(
        &mut self,
        name: &'static str,
    ) -> Option<Vec<(String, Option<String>)>> {
        let map = self.object(name)?;
        let mut pairs = Vec::with_capacity(map.len());
        for (key, value) in map {
            match value {
                Value::Null => pairs.push((key, None)),
                Value::String(text) => pairs.push((key, Some(text))),
                Value::Number(_) | Value::Bool(_) => pairs.push((key, Some(value.to_string()))),
                other => {
                    let want = "a string, number, boolean or null";
                    self.mistyped(&format!("{name}/{}", escape(&key)), want, &other);
                }
            }
        }
        Some(pairs)
    }

    /// An optional member of any type.
    pub fn any(&mut self, name: &'static str) -> Option<Value> {
        self.take(name)
    }

    fn faults(mut self) -> (Vec<FieldError>, Vec<FieldError>) {
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in names {
            let message = match nearest(&name, &self.known) {
                Some(known) => format!("is not known here; did you mean {known:?}?"),
                None if self.known.is_empty() => "is not known here; no members are".to_owned(),
                None => format!("is not known here; known are {}", self.known.join(", ")),
            };
            self.invalid(&escape(&name), message);
        }
        (self.wrong_type, self.invalid)
    }

    /// Ends the reading: unknown members count as faults now.
    ///
    /// # Errors
    /// 400 when a member had the wrong type, else 422 when a rule was broken, listing all of them.
    pub fn finish(self) -> Result<(), Problem> {
        let (wrong_type, invalid) = self.faults();
        let code = if wrong_type.is_empty() {
            Code::Invalid
        } else {
            Code::WrongType
        };
        let errors: Vec<_> = wrong_type.into_iter().chain(invalid).collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::from_errors(code, errors))
        }
    }
}

/// A name as a JSON pointer has it (RFC 6901, section 3).
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The known word nearest to `word`, when one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.8).then_some(best.1)
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_fault_and_prefers_400() {
        let mut body =
            Body::parse(br#"{"partitions": 1.7, "nmae": "x", "replication_factor": 40000}"#)
                .unwrap();
        assert_eq!(body.required_text("name"), "");
        assert_eq!(body.integer::<i32>("partitions"), None);
        assert_eq!(body.integer::<i16>("replication_factor"), None);
        let problem = body.finish().unwrap_err();
        assert_eq!(problem.status, 400);
        let pointers: Vec<_> = problem.errors.iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/partitions", "/replication_factor", "/name", "/nmae"]
        );
        assert!(problem.errors[3].message.contains("did you mean \"name\"?"));
    }

    #[test]
    fn missing_and_unknown_members_are_422() {
        let mut body = Body::parse(b"{\"zzz\": 1}").unwrap();
        body.required_text("name");
        assert_eq!(body.finish().unwrap_err().status, 422);
    }

    #[test]
    fn text_that_is_no_object_is_400() {
        for text in ["[1]", "1", "\"x\"", "{", "nul", "{\"a\":1}x"] {
            assert_eq!(
                Body::parse(text.as_bytes()).unwrap_err().status,
                400,
                "{text}"
            );
        }
        assert!(Body::parse(b" \n").is_ok());
    }
}
