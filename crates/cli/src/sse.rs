//! Server-sent events: bytes in, events out.

/// Most bytes of one event: a record has at most some megabytes.
pub(crate) const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its kind; `message` when the stream names none.
    pub(crate) kind: String,
    /// Its lines of data.
    pub(crate) data: String,
    /// The last id that the stream named: where to go on after an interruption.
    pub(crate) id: Option<String>,
}

/// An event that is too long to keep.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Puts events together from pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    kind: String,
    data: String,
    has_data: bool,
    id: Option<String>,
}

impl Parser {
    /// Takes a piece and gives the events that it completes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            // A line ends with CR, LF or both.
            if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                continue;
            }
            self.after_cr = byte == b'\r';
            if matches!(byte, b'\n' | b'\r') {
                let line = std::mem::take(&mut self.line);
                events.extend(self.end_line(&String::from_utf8_lossy(&line)));
            } else {
                self.line.push(byte);
                if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                    return Err(TooLong);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" => self.id = Some(value.to_owned()),
            // Comments have an empty name; `retry` and unknown names are nothing to us.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let kind = if kind.is_empty() {
            "message".to_owned()
        } else {
            kind
        };
        Some(Event {
            kind,
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str, id: Option<&str>) -> Event {
        Event {
            kind: kind.into(),
            data: data.into(),
            id: id.map(Into::into),
        }
    }

    const STREAM: &[u8] = "\
: hello\n\nevent: record\nid: 7\ndata: {\"a\":\"ä\"}\n\n\
data: one\r\ndata:two\r\n\r\nretry: 5\n\nevent: heartbeat\ndata\n\nid: 8\n\ndata: last\n\n"
        .as_bytes();

    fn expected() -> Vec<Event> {
        vec![
            event("record", "{\"a\":\"ä\"}", Some("7")),
            event("message", "one\ntwo", Some("7")),
            event("heartbeat", "", Some("7")),
            event("message", "last", Some("8")),
        ]
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        assert_eq!(Parser::default().feed(STREAM).unwrap(), expected());
        for size in 1..9 {
            let mut parser = Parser::default();
            let events: Vec<_> = STREAM
                .chunks(size)
                .flat_map(|piece| parser.feed(piece).unwrap())
                .collect();
            assert_eq!(events, expected(), "pieces of {size}");
        }
    }

    #[test]
    fn an_unfinished_event_is_not_given() {
        assert_eq!(Parser::default().feed(b"data: x\n").unwrap(), []);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX / 4];
        let outcome: Result<Vec<_>, _> = (0..5).map(|_| parser.feed(&piece)).collect();
        assert_eq!(outcome.unwrap_err(), TooLong);
    }
}
