//! Cutting a stream of syslog into messages: both framings of RFC 6587, told apart message by message.
//!
//! A message is octet-counted only if it begins with digits, one space and `<`, the beginning of every
//! message. A line that merely begins with a digit is a line: taken for a count, it would swallow the
//! messages behind it.

use bytes::{Bytes, BytesMut};

/// Digits of an octet count.
const COUNT_DIGITS_MAX: usize = 7;
/// Bytes of a message that is too long that are kept for the quarantine.
const HEAD_BYTES_KEPT: usize = 1024;

/// A stretch of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole message.
    Message(usize, usize),
    /// The beginning of a message that is too long; the rest of it is skipped.
    TooLong(usize, usize),
    /// The beginning of a message that the end of the stream cut off.
    CutOff(usize, usize),
}

/// Bytes as received, and the messages in them.
#[derive(Debug)]
pub(super) struct Cut {
    /// The bytes.
    pub block: Bytes,
    /// The messages.
    pub pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug)]
enum Skip {
    Nothing,
    Octets(usize),
    Line,
}

/// Cuts a stream.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes that were received; readers append here.
    pub buffer: BytesMut,
    message_max: usize,
    skip: Skip,
}

enum Head {
    /// More bytes are needed to tell.
    Unclear,
    Line,
    Counted {
        head: usize,
        count: usize,
    },
}

impl Frames {
    /// For messages of at most `message_max` bytes.
    pub(super) fn new(message_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            message_max,
            skip: Skip::Nothing,
        }
    }

    /// The whole messages in the buffer; at the end of the stream also what is left.
    pub(super) fn cut(&mut self, ended: bool) -> Option<Cut> {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(next) = self.step(at, ended, &mut pieces) {
            at = next;
        }
        if at == 0 {
            return None;
        }
        let block = self.buffer.split_to(at).freeze();
        (!pieces.is_empty()).then_some(Cut { block, pieces })
    }

    /// One message or skipped stretch from `at` on; `None` when more bytes are needed.
    fn step(&mut self, at: usize, ended: bool, pieces: &mut Vec<Piece>) -> Option<usize> {
        let rest = self.buffer.get(at..).filter(|rest| !rest.is_empty())?;
        let end = at + rest.len();
        match self.skip {
            Skip::Nothing => {}
            Skip::Octets(left) => {
                let taken = left.min(rest.len());
                self.skip = if taken == left {
                    Skip::Nothing
                } else {
                    Skip::Octets(left - taken)
                };
                return Some(at + taken);
            }
            Skip::Line => {
                let feed = memchr::memchr(b'\n', rest);
                if feed.is_some() {
                    self.skip = Skip::Nothing;
                }
                return Some(feed.map_or(end, |feed| at + feed + 1));
            }
        }
        // Some senders put a line feed or a NUL behind an octet-counted message, too.
        let filler = rest
            .iter()
            .take_while(|byte| matches!(byte, b'\n' | b'\r' | 0));
        let filler = filler.count();
        if filler > 0 {
            return Some(at + filler);
        }
        match head(rest) {
            Head::Unclear if !ended => None,
            Head::Counted { head, count } => self.counted(at + head, count, ended, pieces),
            Head::Unclear | Head::Line => self.line(at, ended, pieces),
        }
    }

    fn counted(
        &mut self,
        start: usize,
        count: usize,
        ended: bool,
        pieces: &mut Vec<Piece>,
    ) -> Option<usize> {
        let end = self.buffer.len();
        let have = end - start;
        if count > self.message_max {
            pieces.push(Piece::TooLong(
                start,
                start + have.min(count).min(HEAD_BYTES_KEPT),
            ));
            self.skip = Skip::Octets(count);
            return Some(start);
        }
        if have >= count {
            pieces.push(Piece::Message(start, start + count));
            return Some(start + count);
        }
        ended.then(|| {
            pieces.push(Piece::CutOff(start, end));
            end
        })
    }

    fn line(&mut self, at: usize, ended: bool, pieces: &mut Vec<Piece>) -> Option<usize> {
        let end = self.buffer.len();
        let feed = memchr::memchr(b'\n', self.buffer.get(at..)?).map(|feed| at + feed);
        let stop = feed.unwrap_or(end);
        if stop - at > self.message_max {
            pieces.push(Piece::TooLong(at, at + HEAD_BYTES_KEPT.min(stop - at)));
            self.skip = Skip::Line;
            return Some(stop);
        }
        if feed.is_none() && !ended {
            return None;
        }
        pieces.push(Piece::Message(at, stop));
        Some(feed.map_or(end, |feed| feed + 1))
    }
}

fn head(rest: &[u8]) -> Head {
    let digits = rest
        .iter()
        .take(COUNT_DIGITS_MAX + 1)
        .take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    if digits == 0 || digits > COUNT_DIGITS_MAX || rest.first() == Some(&b'0') {
        return Head::Line;
    }
    match (rest.get(digits), rest.get(digits + 1)) {
        (Some(b' '), Some(b'<')) => {
            let digits_text = rest.get(..digits).unwrap_or_default();
            let count = digits_text
                .iter()
                .fold(0, |count, digit| count * 10 + usize::from(digit - b'0'));
            Head::Counted {
                head: digits + 1,
                count,
            }
        }
        (None, _) | (Some(b' '), None) => Head::Unclear,
        _ => Head::Line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(max: usize, text: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, usize) {
        let mut frames = Frames::new(max);
        let (mut messages, mut faults) = (Vec::new(), 0);
        let mut take = |cut: Option<Cut>| {
            for piece in cut.iter().flat_map(|cut| &cut.pieces) {
                let block = &cut.as_ref().unwrap().block;
                match *piece {
                    Piece::Message(start, end) => messages.push(block[start..end].to_vec()),
                    Piece::TooLong(start, end) | Piece::CutOff(start, end) => {
                        assert!(block.get(start..end).is_some());
                        faults += 1;
                    }
                }
            }
        };
        let mut rest = text;
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).clamp(1, rest.len()));
            frames.buffer.extend_from_slice(now);
            rest = later;
            take(frames.cut(false));
            assert!(frames.buffer.len() <= max + COUNT_DIGITS_MAX + 2);
        }
        take(frames.cut(true));
        assert!(frames.buffer.is_empty());
        (messages, faults)
    }

    #[test]
    fn a_line_that_begins_with_digits_is_a_line() {
        let text = b"12 monkeys\n<13>a\n7 <13>b c\n2026-11-21 x\n99999999 <1>x\n0 <1>y\n12";
        let (messages, faults) = feed(100, text, &[1000]);
        let want: [&[u8]; 7] = [
            b"12 monkeys",
            b"<13>a",
            b"<13>b c",
            b"2026-11-21 x",
            b"99999999 <1>x",
            b"0 <1>y",
            b"12",
        ];
        assert_eq!(messages, want);
        assert_eq!(faults, 0);
    }

    #[test]
    fn octet_counted_messages_may_have_line_feeds_in_and_behind_them() {
        let (messages, faults) = feed(100, b"8 <13>a\nb\n5 <13>c5 <13>d\n<13>e\n9 <13>f", &[1000]);
        let want: [&[u8]; 4] = [b"<13>a\nb", b"<13>c", b"<13>d", b"<13>e"];
        // The count of the first one takes its line feed with it.
        assert_eq!(messages[0], b"<13>a\nb\n");
        assert_eq!(messages[1..], want[1..]);
        assert_eq!(faults, 1);
    }

    #[test]
    fn what_is_too_long_is_skipped_and_nothing_behind_it() {
        let long = "x".repeat(50);
        let text = format!("<1>{long}\n<1>a\n54 <1>{long}y<1>b\n");
        let (messages, faults) = feed(20, text.as_bytes(), &[7]);
        assert_eq!(messages, [&b"<1>a"[..], b"<1>b"]);
        assert_eq!(faults, 2);
    }

    proptest! {
        /// However the bytes arrive, the messages are the same.
        #[test]
        fn cuts_do_not_matter(
            messages in proptest::collection::vec(("[ -~]{0,12}", any::<bool>()), 1..20),
            cuts in proptest::collection::vec(1_usize..9, 1..20),
        ) {
            let mut text = Vec::new();
            let mut want = Vec::new();
            for (message, counted) in &messages {
                let message = format!("<13>{message}");
                if *counted {
                    text.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
                } else {
                    text.extend_from_slice(format!("{message}\n").as_bytes());
                }
                want.push(message.into_bytes());
            }
            let (got, faults) = feed(1000, &text, &cuts);
            prop_assert_eq!(got, want);
            prop_assert_eq!(faults, 0);
        }

        /// Any bytes: no panic, no hang, bounded memory.
        #[test]
        fn any_bytes_end(
            text in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'<'), Just(b'\n'), b'0'..=b'9', any::<u8>()], 0..300),
            cuts in proptest::collection::vec(1_usize..50, 1..10),
        ) {
            feed(20, &text, &cuts);
        }
    }
}
