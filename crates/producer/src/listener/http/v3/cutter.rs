//! Cutting a stream of concatenated JSON objects into objects, however its bytes arrive.

/// Where the objects of a block stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    /// Start and end of each whole object.
    pub objects: Vec<(usize, usize)>,
    /// Bytes that are done with: whole objects and what stands between them.
    pub consumed: usize,
    /// What stands where an object should begin; nothing can be read behind it.
    pub broken: Option<&'static str>,
}

/// What was seen of an object that is not whole yet, so that no byte is looked at twice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cutter {
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Cutter {
    /// The whole objects of a buffer that begins where the last cut's `consumed` ended.
    pub(super) fn cut(&mut self, buffer: &[u8], ended: bool) -> Cut {
        let mut cut = Cut::default();
        let mut start = 0;
        let mut at = std::mem::take(&mut self.seen);
        while let Some(byte) = buffer.get(at) {
            at += 1;
            if self.depth == 0 {
                match byte {
                    b'{' => {
                        (start, self.depth) = (at - 1, 1);
                    }
                    b' ' | b'\t' | b'\n' | b'\r' => cut.consumed = at,
                    _ => {
                        cut.broken = Some("a record must be a JSON object");
                        return cut;
                    }
                }
            } else if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth -= 1,
                    _ => {}
                }
                if self.depth == 0 {
                    cut.objects.push((start, at));
                    cut.consumed = at;
                }
            }
        }
        self.seen = at - cut.consumed;
        if ended && self.depth > 0 {
            cut.broken = Some("the body ends within a record");
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(text: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
        let (mut cutter, mut buffer, mut objects) = (Cutter::default(), Vec::new(), Vec::new());
        let mut rest = text;
        for size in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*size).clamp(0, rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            let cut = cutter.cut(&buffer, rest.is_empty());
            objects.extend(
                cut.objects
                    .iter()
                    .map(|(start, end)| buffer[*start..*end].to_vec()),
            );
            if cut.broken.is_some() {
                return (objects, true);
            }
            buffer.drain(..cut.consumed);
            if rest.is_empty() {
                break;
            }
        }
        (objects, false)
    }

    #[test]
    fn objects_are_found_whatever_is_in_their_strings() {
        let text = br#" {"a":"}{\"\\"}{"b":[{},[1]]}
            {} "#;
        let (objects, broken) = feed(text, &[1000]);
        let want: [&[u8]; 3] = [br#"{"a":"}{\"\\"}"#, br#"{"b":[{},[1]]}"#, b"{}"];
        assert_eq!(objects, want);
        assert!(!broken);
        assert_eq!(feed(b"{}[1]{}", &[2]), (vec![b"{}".to_vec()], true));
        assert_eq!(feed(b"{}{\"a\":", &[3]), (vec![b"{}".to_vec()], true));
        assert_eq!(feed(b"", &[3]), (vec![], false));
    }

    proptest! {
        /// However the bytes arrive, the objects are the same.
        #[test]
        fn cuts_do_not_matter(
            text in proptest::collection::vec(prop_oneof![
                Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\'), Just(b'['), Just(b']'), Just(b' '), any::<u8>()
            ], 0..200),
            cuts in proptest::collection::vec(1_usize..9, 1..10),
        ) {
            prop_assert_eq!(feed(&text, &cuts), feed(&text, &[1000]));
        }
    }
}
