//! Held records on their way to a running daemon: as lines, over HTTP or a stream.

use crate::batch::{Rec, Records};
use crate::headers;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sluice_model::record::{Encoding, Header, text};
use sluice_service::secret::Secret;
use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Time that a daemon may take to answer a batch.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What became of one record.
pub(super) type Verdict = Result<(), String>;

/// A record as a line of the stream inputs.
pub(super) fn line(topic: &str, records: &Records, rec: &Rec) -> Value {
    let (value, value_encoding) = text(records.part(rec.value));
    let mut line = json!({"topic": topic, "value": value});
    let Some(members) = line.as_object_mut() else {
        return line;
    };
    if value_encoding == Encoding::Base64 {
        members.insert("value_encoding".into(), "base64".into());
    }
    if let (Some(key), encoding) = text(records.part(rec.key)) {
        members.insert("key".into(), key.into());
        if encoding == Encoding::Base64 {
            members.insert("key_encoding".into(), "base64".into());
        }
    }
    if rec.timestamp > 0 {
        members.insert("timestamp".into(), rec.timestamp.into());
    }
    if rec.partition >= 0 {
        members.insert("partition".into(), rec.partition.into());
    }
    let encoded = records.part(rec.headers).unwrap_or_default();
    let all: Vec<Header> = headers::read(encoded)
        .map(|(name, value)| Header::new(name, value))
        .collect();
    if !all.is_empty() {
        members.insert("headers".into(), headers_value(&all));
    }
    line
}

/// An object where that says it all, else the pairs.
fn headers_value(all: &[Header]) -> Value {
    let mut names = HashSet::new();
    let plain = all
        .iter()
        .all(|header| matches!(header, Header::Text(name, _) if names.insert(name)));
    if !plain {
        return json!(all);
    }
    let members = all.iter().filter_map(|header| match header {
        Header::Text(name, value) => Some((name.clone(), json!(value))),
        Header::Bytes(..) => None,
    });
    Value::Object(members.collect())
}

/// A way to a running daemon.
#[derive(Debug)]
pub(super) enum Way {
    /// `POST /records`.
    Http {
        /// The client.
        client: reqwest::blocking::Client,
        /// The address.
        url: String,
        /// The token.
        token: Option<Secret>,
    },
    /// A stream with cumulative acknowledgements.
    Stream {
        /// Where lines go.
        writer: TcpStream,
        /// Where answers come from.
        reader: BufReader<TcpStream>,
        /// Lines so far.
        sent: u64,
    },
}

impl Way {
    /// Over HTTP.
    pub(super) fn http(url: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let client = reqwest::blocking::Client::builder()
            .timeout(ANSWER_MAX)
            .build()?;
        Ok(Self::Http {
            client,
            url: format!("{}/records", url.trim_end_matches('/')),
            token,
        })
    }

    /// Over a stream.
    pub(super) fn stream(address: &str, token: Option<&Secret>) -> anyhow::Result<Self> {
        let mut writer = TcpStream::connect(address).with_context(|| format!("reach {address}"))?;
        writer.set_read_timeout(Some(ANSWER_MAX))?;
        writer.set_write_timeout(Some(ANSWER_MAX))?;
        let mut hello = json!({"acks": "cumulative"});
        if let (Some(token), Some(members)) = (token, hello.as_object_mut()) {
            members.insert("token".into(), token.expose().into());
        }
        writeln!(writer, "{}", json!({"hello": hello}))?;
        let reader = BufReader::new(writer.try_clone()?);
        let mut way = Self::Stream {
            writer,
            reader,
            sent: 0,
        };
        way.answers()?;
        Ok(way)
    }

    /// Sends lines; gives the verdict on each.
    pub(super) fn send(&mut self, lines: &[String]) -> anyhow::Result<Vec<Verdict>> {
        match self {
            Self::Http { client, url, token } => post(client, url, token.as_ref(), lines),
            Self::Stream { writer, sent, .. } => {
                let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
                writer.write_all(text.as_bytes())?;
                let before = *sent;
                *sent += lines.len() as u64;
                let refused = self.answers()?;
                let mut verdicts = vec![Ok(()); lines.len()];
                for (number, why) in refused {
                    let at = number.saturating_sub(before + 1) as usize;
                    if let Some(verdict) = verdicts.get_mut(at) {
                        *verdict = Err(why);
                    }
                }
                Ok(verdicts)
            }
        }
    }

    /// Reads answers until all lines so far are acknowledged.
    fn answers(&mut self) -> anyhow::Result<Vec<(u64, String)>> {
        let Self::Stream { reader, sent, .. } = self else {
            return Ok(Vec::new());
        };
        let mut refused = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).context("wait for an answer")? == 0 {
                bail!("the daemon closed the connection");
            }
            let answer: Value = serde_json::from_str(&line).context("read an answer")?;
            if let Some(number) = answer.get("refused").and_then(Value::as_u64) {
                refused.push((number, line.trim().to_owned()));
                if number == 0 {
                    bail!("the daemon refused the greeting: {}", line.trim());
                }
            }
            if answer.get("acked").and_then(Value::as_u64) == Some(*sent) {
                return Ok(refused);
            }
        }
    }
}

fn post(
    client: &reqwest::blocking::Client,
    url: &str,
    token: Option<&Secret>,
    lines: &[String],
) -> anyhow::Result<Vec<Verdict>> {
    let mut request = client
        .post(url)
        .header("content-type", "application/x-ndjson")
        .body(lines.join("\n"));
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let response = request.send().with_context(|| format!("reach {url}"))?;
    let status = response.status();
    let answer: Value = response.json().unwrap_or_default();
    let Some(records) = answer.get("records").and_then(Value::as_array) else {
        let detail = answer.get("detail").and_then(Value::as_str);
        bail!("{url} answers {status}: {}", detail.unwrap_or_default());
    };
    if records.len() != lines.len() {
        bail!(
            "{url} answered for {} of {} records",
            records.len(),
            lines.len()
        );
    }
    let verdict = |record: &Value| match record.get("state").and_then(Value::as_str) {
        Some("delivered" | "held") => Ok(()),
        _ => Err(record.to_string()),
    };
    Ok(records.iter().map(verdict).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Span;
    use crate::line::{self, Place};

    #[test]
    fn a_line_brings_back_the_record_that_it_was_made_of() {
        let mut encoded = Vec::new();
        headers::push(&mut encoded, "h", Some(b"v"));
        headers::push(&mut encoded, "n", None);
        let mut odd = encoded.clone();
        headers::push(&mut odd, "h", Some(&[0xff, 0]));
        let parts: [Option<&[u8]>; 5] = [
            None,
            Some(b""),
            Some(b"text\n\"x\""),
            Some(&[0xff, 0x80]),
            Some(b"{}"),
        ];
        for (at, value) in parts.iter().enumerate() {
            let key = parts.get((at + 1) % parts.len()).copied().flatten();
            let with = [None, Some(encoded.as_slice()), Some(odd.as_slice())];
            for headers in with {
                let mut block = Vec::new();
                let mut span = |part: Option<&[u8]>| {
                    let part = part?;
                    block.extend_from_slice(part);
                    Some(Span::block(block.len() - part.len(), block.len()))
                };
                let rec = Rec {
                    topic: 0,
                    partition: at as i32 - 1,
                    timestamp: 1_700_000_000_123 * i64::from(at > 1),
                    key: span(key),
                    value: span(*value),
                    headers: span(headers),
                };
                let records = Records {
                    block: block.into(),
                    ..Records::default()
                };
                let text = line("t", &records, &rec).to_string();
                let mut side = Vec::new();
                let place = &mut Place {
                    block: text.as_bytes(),
                    side: &mut side,
                };
                let (topic, back) = line::record(text.as_bytes(), place).unwrap();
                assert_eq!(topic, "t");
                let read = Records {
                    block: bytes::Bytes::copy_from_slice(text.as_bytes()),
                    side: side.into(),
                    ..Records::default()
                };
                for (want, got) in [
                    (rec.key, back.key),
                    (rec.value, back.value),
                    (rec.headers, back.headers),
                ] {
                    assert_eq!(records.part(want), read.part(got), "{text}");
                }
                assert_eq!(
                    (rec.partition, rec.timestamp),
                    (back.partition, back.timestamp)
                );
            }
        }
    }
}
