//! Syslog over TCP and UDP: messages become records, what is no message goes to the quarantine.

mod frames;
mod message;
pub(super) mod tcp;
pub(super) mod udp;

use crate::assemble::{Assembler, plain};
use crate::batch::{Records, Refusal, Span};
use crate::settings::{SyslogFormat, SyslogSettings};
use bytes::Bytes;
use frames::Piece;
use message::Arrival;
use sluice_model::problem::Code;

/// Largest message. RFC 5424 asks for 2 KiB and suggests to take more.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Messages of a block as records.
#[derive(Debug)]
struct Messages {
    records: Records,
    /// Bytes of memory that they take.
    bytes: usize,
    /// What is no message, and where it stands in the block.
    faults: Vec<(Refusal, usize, usize)>,
}

/// Reads the messages of a block; `host` names the sender of those that name none.
fn assemble(
    settings: &SyslogSettings,
    block: &Bytes,
    pieces: &[Piece],
    host: impl Fn(usize) -> String,
    record_max: usize,
) -> Messages {
    let arrival = Arrival::at(sluice_service::now());
    let mut assembler = Assembler::new(block.clone(), record_max);
    let mut faults = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let (start, end, done) = match *piece {
            Piece::Message(start, end) => {
                let bytes = block.get(start..end).unwrap_or_default();
                let text = message::text(bytes);
                if text.is_empty() {
                    continue;
                }
                let done = record(
                    settings,
                    &mut assembler,
                    (start, bytes),
                    &text,
                    arrival,
                    || host(index),
                );
                (start, end, done)
            }
            Piece::TooLong(start, end) => {
                let detail = format!("the message is longer than {MESSAGE_BYTES_MAX} bytes");
                (start, end, Err(Refusal::new(Code::TooLarge, detail)))
            }
            Piece::CutOff(start, end) => {
                let detail = "the connection ended within the message";
                (
                    start,
                    end,
                    Err(Refusal::new(Code::MalformedRequest, detail)),
                )
            }
        };
        if let Err(refusal) = done {
            faults.push((refusal, start, end));
        }
    }
    let (records, bytes) = assembler.finish();
    Messages {
        records,
        bytes,
        faults,
    }
}

fn record(
    settings: &SyslogSettings,
    assembler: &mut Assembler,
    (start, bytes): (usize, &[u8]),
    text: &str,
    arrival: Arrival,
    host: impl Fn() -> String,
) -> Result<(), Refusal> {
    let read = message::read(text, bytes, arrival)?;
    let app = read.message.appname.unwrap_or_default();
    let topic = settings.topics.get(app).unwrap_or(&settings.topic);
    if topic.is_empty() {
        let detail = format!("no topic is set for the app-name {app:?}");
        return Err(Refusal::new(Code::UnknownTopic, detail));
    }
    let topic = assembler.topic(topic)?;
    let key = match read.message.hostname {
        Some(name) => assembler.written(|side| side.extend_from_slice(name.as_bytes())),
        None => assembler.written(|side| side.extend_from_slice(host().as_bytes())),
    };
    let value = match settings.format {
        SyslogFormat::Json => assembler.written(|side| message::write(&read, side)),
        // The text is a part of the bytes without what stands behind it, unless it had to be mended.
        SyslogFormat::Raw if read.bytes.is_none() => Span::block(start, start + text.len()),
        SyslogFormat::Raw => Span::block(start, start + bytes.len()),
    };
    assembler.push(crate::batch::Rec {
        key: Some(key),
        ..plain(topic, Some(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_go_by_app_name_and_what_is_no_message_is_told() {
        let settings = SyslogSettings {
            topic: "rest".to_owned(),
            topics: [("sshd".to_owned(), "auth".to_owned())].into(),
            format: SyslogFormat::Raw,
            journal: true,
        };
        let text = "<13>Jan  2 03:04:05 h sshd[1]: x\nnonsense\n<13>1 - - cron - - - y\r\n";
        let mut frames = frames::Frames::new(100);
        frames.buffer.extend_from_slice(text.as_bytes());
        let cut = frames.cut(true).unwrap();
        let messages = assemble(
            &settings,
            &cut.block,
            &cut.pieces,
            |_| "10.0.0.1".into(),
            1000,
        );
        let records = &messages.records;
        let read: Vec<_> = records
            .recs
            .iter()
            .map(|rec| {
                let part = |span| String::from_utf8(records.part(span).unwrap().to_vec()).unwrap();
                (
                    records.topics[rec.topic as usize].to_string(),
                    part(rec.key),
                    part(rec.value),
                )
            })
            .collect();
        let want = [
            ("auth", "h", "<13>Jan  2 03:04:05 h sshd[1]: x"),
            ("rest", "10.0.0.1", "<13>1 - - cron - - - y"),
        ];
        let want = want.map(|(topic, key, value)| (topic.into(), key.into(), value.into()));
        assert_eq!(read, want);
        let (refusal, start, end) = &messages.faults[0];
        assert_eq!(refusal.code, Code::Invalid);
        assert_eq!(&cut.block[*start..*end], b"nonsense");
        assert_eq!(messages.faults.len(), 1);
    }
}
