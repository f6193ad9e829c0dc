//! A keep-alive connection that says what it must and no more, so that the client is little of what is measured.

use sluice_e2e::{Outcome, ensure};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// A connection to a service, for the holder of a token.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// The headers that every request has.
    head: String,
}

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The target of the Link header.
    pub(crate) next: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// To a service at a URL such as `http://127.0.0.1:8080`.
    pub(crate) fn open(url: &str, token: &str) -> Outcome<Self> {
        let address: SocketAddr = url.trim_start_matches("http://").parse()?;
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(stream.try_clone()?),
            stream,
            head: format!("Host: bench\r\nAuthorization: Bearer {token}\r\n"),
        })
    }

    /// GET.
    pub(crate) fn get(&mut self, path: &str) -> Outcome<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", self.head);
        self.stream.write_all(request.as_bytes())?;
        self.answer()
    }

    /// POST of JSON; nothing at all when it is empty.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Outcome<Answer> {
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let request = format!(
            "POST {path} HTTP/1.1\r\n{}{kind}Content-Length: {}\r\n\r\n{body}",
            self.head,
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> Outcome<Answer> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut answer = Answer {
            status: status.ok_or_else(|| format!("no answer: {line:?}"))?,
            ..Answer::default()
        };
        let mut length = 0;
        loop {
            line.clear();
            ensure!(self.reader.read_line(&mut line)? > 0, "cut off");
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            } else if name.eq_ignore_ascii_case("link") {
                let target = value.split(['<', '>']).nth(1);
                answer.next = target.map(str::to_owned);
            }
        }
        answer.body.resize(length, 0);
        self.reader.read_exact(&mut answer.body)?;
        Ok(answer)
    }
}

impl Answer {
    /// The same, if it has the expected status.
    pub(crate) fn expect(self, status: u16) -> Outcome<Self> {
        let words = String::from_utf8_lossy(&self.body);
        ensure!(self.status == status, "answered {}: {words}", self.status);
        Ok(self)
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Outcome<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}
