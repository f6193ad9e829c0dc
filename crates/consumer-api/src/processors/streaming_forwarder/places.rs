//! Source positions as text: what a forwarder commits beside its records, in the metadata of offsets.
//!
//! A text is a line `1` and then a line `topic TAB topic id TAB partition=next,partition=next,...` per
//! topic, as many as fit; topics' names hold neither tabs nor line breaks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Bytes of one text: less than what brokers take by default (4,096).
pub(super) const TEXT_BYTES_MAX: usize = 3800;
/// The first line; another one is of a later version.
const VERSION: &str = "1";
/// Bytes of one `partition=next,` at most.
const PAIR_BYTES_MAX: usize = 32;

/// The next offset that is lacking, by topic, its id, and partition.
pub(super) type Places = BTreeMap<(String, i64), BTreeMap<i32, i64>>;

/// Writes positions into as few texts as hold them.
pub(super) fn encode(places: &Places) -> Vec<String> {
    let mut texts = Vec::new();
    let mut text = String::from(VERSION);
    for ((topic, id), partitions) in places {
        let head = format!("\n{topic}\t{id}\t");
        let mut begun = false;
        for (partition, next) in partitions {
            let need = PAIR_BYTES_MAX + if begun { 0 } else { head.len() };
            if text.len() + need > TEXT_BYTES_MAX {
                texts.push(std::mem::replace(&mut text, String::from(VERSION)));
                begun = false;
            }
            text.push_str(if begun { "," } else { &head });
            begun = true;
            let _in_memory = write!(text, "{partition}={next}");
        }
    }
    texts.push(text);
    texts
}

/// Reads texts; empty ones are slots that are not used.
///
/// # Errors
/// When a text is not one that [`encode`] makes: then nothing is known, and nobody may guess.
pub(super) fn decode<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Places, String> {
    let mut places = Places::new();
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        let mut lines = text.split('\n');
        if lines.next() != Some(VERSION) {
            return Err("is of another version".to_owned());
        }
        for line in lines {
            read_line(line, &mut places).ok_or_else(|| format!("has the line {line:?}"))?;
        }
    }
    Ok(places)
}

fn read_line(line: &str, places: &mut Places) -> Option<()> {
    let mut fields = line.split('\t');
    let (topic, id, pairs) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || topic.is_empty() {
        return None;
    }
    let partitions = places
        .entry((topic.to_owned(), id.parse().ok()?))
        .or_default();
    for pair in pairs.split(',') {
        let (partition, next) = pair.split_once('=')?;
        partitions.insert(partition.parse().ok()?, next.parse().ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_short_and_readable() {
        let places = Places::from([(("orders".to_owned(), 7), BTreeMap::from([(0, 12), (3, 4)]))]);
        assert_eq!(encode(&places), ["1\norders\t7\t0=12,3=4"]);
        assert_eq!(encode(&Places::new()), ["1"]);
    }

    #[test]
    fn what_is_not_ours_is_an_error_and_not_an_empty_answer() {
        for text in [
            "2\nx",
            "x",
            "1\n",
            "1\nt\t7",
            "1\nt\t7\t0",
            "1\nt\tx\t0=1",
            "1\nt\t7\t0=1\tx",
        ] {
            assert!(decode([text]).is_err(), "{text:?}");
        }
        assert_eq!(decode(["", "1", ""]), Ok(Places::new()));
    }

    proptest! {
        #[test]
        fn positions_survive_and_every_text_fits(places in prop::collection::btree_map(
            ("[a-zA-Z0-9._-]{1,249}", 0_i64..i64::MAX),
            prop::collection::btree_map(0_i32..i32::MAX, 0_i64..i64::MAX, 1..200), 0..30)) {
            let texts = encode(&places);
            prop_assert!(texts.iter().all(|text| text.len() <= TEXT_BYTES_MAX));
            let read = decode(texts.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(read, places);
        }
    }
}
