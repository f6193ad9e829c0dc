//! What waits to be written to one viewer, as server-sent events or as messages of a socket.

use actix_web::web::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::VecDeque;

/// Bytes from which on nothing more is gathered before it is written.
const WRITE_BYTES: usize = 64 * 1024;
/// Bytes that are handed to the connection at once: it copies them, so this bounds what it holds.
const PIECE_BYTES: usize = 16 * 1024;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// As server-sent events.
    Events,
    /// Each as one JSON object: `{"event", "id", "data"}`.
    Socket,
}

/// An event as a message of a socket.
#[derive(Serialize)]
struct Message<'a> {
    event: &'a str,
    id: &'a str,
    data: Option<&'a RawValue>,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Out {
    style: Style,
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Small events that become one frame.
    small: Vec<u8>,
}

impl Out {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            frames: VecDeque::new(),
            bytes: 0,
            small: Vec::new(),
        }
    }

    /// Whether it should be written before more is gathered.
    pub(super) fn is_full(&self) -> bool {
        self.bytes + self.small.len() >= WRITE_BYTES
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.small.is_empty()
    }

    /// Whether events that were written for all viewers do for this one.
    pub(super) fn takes_shared(&self) -> bool {
        self.style == Style::Events
    }

    /// Adds what has its form already.
    pub(super) fn shared(&mut self, text: &Bytes) {
        if !text.is_empty() {
            self.flush();
            self.push(text.clone());
        }
    }

    /// Adds the time after which a browser connects again.
    pub(super) fn retry(&mut self, ms: u32) {
        if self.style == Style::Events {
            self.small
                .extend_from_slice(format!("retry: {ms}\n\n").as_bytes());
        }
    }

    /// Adds an event; `data` is JSON.
    pub(super) fn event(&mut self, name: &str, id: &str, data: &str) {
        match self.style {
            Style::Events => {
                for part in ["event: ", name, "\nid: ", id, "\ndata: ", data, "\n\n"] {
                    self.small.extend_from_slice(part.as_bytes());
                }
                if self.small.len() >= PIECE_BYTES {
                    self.flush();
                }
            }
            Style::Socket => {
                let data: Option<&RawValue> = serde_json::from_str(data).ok();
                let message = Message {
                    event: name,
                    id,
                    data,
                };
                // Writing to memory does not fail.
                self.push(Bytes::from(
                    serde_json::to_vec(&message).unwrap_or_default(),
                ));
            }
        }
    }

    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            let small = Bytes::from(std::mem::take(&mut self.small));
            self.push(small);
        }
    }

    /// The next piece to write: some bytes of the events, or one whole message.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        self.flush();
        let front = self.frames.front_mut()?;
        let piece = if self.style == Style::Events && front.len() > PIECE_BYTES {
            front.split_to(PIECE_BYTES)
        } else {
            self.frames.pop_front()?
        };
        self.bytes -= piece.len();
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(out: &mut Out) -> Vec<String> {
        std::iter::from_fn(|| out.pop())
            .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn events_keep_their_order_and_come_in_small_pieces() {
        let mut out = Out::new(Style::Events);
        out.retry(1000);
        out.event("a", "1", "{}");
        out.shared(&Bytes::from("x".repeat(PIECE_BYTES * 4)));
        assert!(out.is_full());
        out.event("b", "2", "{}");
        let pieces = all(&mut out);
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES) && pieces.len() == 6);
        assert_eq!(pieces[0], "retry: 1000\n\nevent: a\nid: 1\ndata: {}\n\n");
        assert_eq!(pieces[5], "event: b\nid: 2\ndata: {}\n\n");
        assert!(!out.is_full());
    }

    #[test]
    fn a_socket_gets_one_message_an_event() {
        let mut out = Out::new(Style::Socket);
        out.retry(1000);
        out.event("record", "1", "{\"value\":\"a\\nb\"}");
        out.event("heartbeat", "2", "{}");
        let messages = all(&mut out);
        assert_eq!(messages.len(), 2);
        let read: serde_json::Value = serde_json::from_str(&messages[0]).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"event": "record", "id": "1", "data": {"value": "a\nb"}})
        );
    }
}
