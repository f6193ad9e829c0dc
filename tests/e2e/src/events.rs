//! A reader of server-sent events that reads only when it is asked to, so that it can be slow.

use crate::{Outcome, SOON};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its data.
    pub data: Value,
}

/// An open stream.
#[derive(Debug)]
pub struct Events {
    reader: BufReader<TcpStream>,
    /// What was received and not yet read as events.
    text: Vec<u8>,
    /// The id of the last event.
    pub last_id: String,
}

impl Events {
    /// Opens a stream at a base URL such as `http://127.0.0.1:8082`.
    ///
    /// # Errors
    /// When it is not answered by 200, with the answer's head.
    pub fn open(base: &str, path: &str, token: &str, last_id: Option<&str>) -> Outcome<Self> {
        let host = base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(SOON))?;
        let last = last_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{last}\r\n"
        )?;
        let mut this = Self {
            reader: BufReader::with_capacity(4096, stream),
            text: Vec::new(),
            last_id: String::new(),
        };
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if this.reader.read_line(&mut head)? == 0 {
                break;
            }
        }
        if head.starts_with("HTTP/1.1 200") {
            return Ok(this);
        }
        Err(format!("the stream does not open: {head}").into())
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// When nothing comes in time, or it cannot be read.
    pub fn next_event(&mut self) -> Outcome<Option<Event>> {
        loop {
            let end = self.text.windows(2).position(|two| two == b"\n\n");
            let Some(end) = end else {
                if !self.receive()? {
                    return Ok(None);
                }
                continue;
            };
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = String::from_utf8(block)?;
            let field = |name: &str| {
                let mut values = block.lines().filter_map(|line| line.strip_prefix(name));
                values.next().unwrap_or_default().to_owned()
            };
            let (name, data) = (field("event: "), field("data: "));
            if name.is_empty() {
                continue;
            }
            self.last_id = field("id: ");
            return Ok(Some(Event {
                name,
                id: self.last_id.clone(),
                data: serde_json::from_str(&data)?,
            }));
        }
    }

    /// The next event of a name; others are passed over.
    ///
    /// # Errors
    /// When the stream ends before it.
    pub fn wait_for(&mut self, name: &str) -> Outcome<Event> {
        while let Some(event) = self.next_event()? {
            if event.name == name {
                return Ok(event);
            }
        }
        Err(format!("the stream ended before {name}").into())
    }

    /// One chunk of the answer. False at its end.
    fn receive(&mut self) -> Outcome<bool> {
        let mut size = String::new();
        if self.reader.read_line(&mut size)? == 0 {
            return Ok(false);
        }
        let size = usize::from_str_radix(size.trim(), 16)?;
        let from = self.text.len();
        self.text.resize(from + size, 0);
        let place = self.text.get_mut(from..).unwrap_or_default();
        self.reader.read_exact(place)?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(size > 0)
    }
}
