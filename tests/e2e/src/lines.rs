//! A sender of lines over TCP or a Unix socket, with cumulative acks.

use crate::{Outcome, SOON};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// A connection to a producer daemon.
pub struct Lines {
    writer: Box<dyn Write + Send>,
    reader: BufReader<Box<dyn Read + Send>>,
    close: Box<dyn Fn() -> std::io::Result<()> + Send>,
    last: u64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    /// Connects over TCP and asks for acks.
    ///
    /// # Errors
    /// When nothing listens, or the hello is not answered.
    pub fn tcp(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SOON))?;
        let (reader, closer) = (stream.try_clone()?, stream.try_clone()?);
        let close = Box::new(move || closer.shutdown(Shutdown::Write));
        Self::hello(Box::new(stream), Box::new(reader), close)
    }

    /// Connects over a Unix socket and asks for acks.
    ///
    /// # Errors
    /// When nothing listens, or the hello is not answered.
    pub fn unix(path: &str) -> Outcome<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(SOON))?;
        let (reader, closer) = (stream.try_clone()?, stream.try_clone()?);
        let close = Box::new(move || closer.shutdown(Shutdown::Write));
        Self::hello(Box::new(stream), Box::new(reader), close)
    }

    fn hello(
        writer: Box<dyn Write + Send>,
        reader: Box<dyn Read + Send>,
        close: Box<dyn Fn() -> std::io::Result<()> + Send>,
    ) -> Outcome<Self> {
        let mut lines = Self {
            writer,
            reader: BufReader::new(reader),
            close,
            last: 0,
        };
        lines.send("{\"hello\": {\"acks\": \"cumulative\"}}\n")?;
        let answer = lines.answer()?;
        match answer {
            Some(answer) if answer["acked"] == 0 => Ok(lines),
            other => Err(format!("the hello was answered by {other:?}").into()),
        }
    }

    /// Sends text as it is.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, text: &str) -> Outcome {
        self.writer.write_all(text.as_bytes())?;
        Ok(self.writer.flush()?)
    }

    /// The next answer; `None` when the daemon closed the connection.
    ///
    /// # Errors
    /// When nothing comes in time.
    pub fn answer(&mut self) -> Outcome<Option<Value>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let answer: Value = serde_json::from_str(&line)?;
        self.last = answer["acked"].as_u64().unwrap_or(self.last);
        Ok(Some(answer))
    }

    /// Waits until the first `count` lines are acknowledged; answers the refusals that came meanwhile.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn acked(&mut self, count: u64) -> Outcome<Vec<Value>> {
        let mut refused = Vec::new();
        while let Some(answer) = self.answer()? {
            if answer["refused"].is_number() {
                refused.push(answer);
            } else if answer["acked"].as_u64().is_some_and(|acked| acked >= count) {
                return Ok(refused);
            }
        }
        Err(format!("closed before {count} lines were acknowledged").into())
    }

    /// Says that no more lines come, and waits until the daemon has closed; answers the last ack.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn finish(mut self) -> Outcome<u64> {
        (self.close)()?;
        while self.answer()?.is_some() {}
        Ok(self.last)
    }
}
