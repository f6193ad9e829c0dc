//! What one request to a webhook is, and what its answer means: without IO.

use crate::batch::Entry;
use crate::processors::SinkError;
pub(super) use sluice_service::outgoing::{SIGNATURE, signature};
use std::fmt::Write as _;
use std::time::Duration;

/// The longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The key of records of one partition: the same place is the same key, however often it is sent. Where
/// lanes share a range of offsets, it names the lane.
pub(super) fn key(
    consumer: &str,
    topic_id: i64,
    (lane, lanes): (u32, u32),
    group: &[&Entry<'_>],
) -> String {
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return String::new();
    };
    let mut key = format!(
        "{consumer}/{}/{topic_id}/{}/{}",
        first.topic, first.partition, first.offset
    );
    if group.len() > 1 {
        let _in_memory = write!(key, "-{}", last.offset);
        if lanes > 1 {
            let _in_memory = write!(key, "~{lane}.{lanes}");
        }
    }
    key
}

/// What an answer's status means.
///
/// # Errors
/// When the records are not safe.
pub(super) fn judge(status: u16, retry_after: Option<&str>) -> Result<(), SinkError> {
    let words = format!("the endpoint answered {status}");
    match status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => {
            let error = SinkError::transient(words);
            let wait = retry_after.and_then(|text| text.trim().parse().ok());
            Err(match wait.map(Duration::from_secs) {
                Some(wait) => error.after(wait.min(RETRY_AFTER_MAX)),
                None => error,
            })
        }
        // Too large, too: half of it may be taken.
        400 | 413 | 422 => Err(SinkError::poison(words)),
        300..=399 => Err(SinkError::environment(format!(
            "{words}, and redirects are not followed; give the URL that it leads to"
        ))),
        _ => Err(SinkError::environment(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::conformance::entries;
    use sluice_model::consumer::FailureClass::{Environment, Poison, Transient};
    use sluice_service::secret::Secret;

    #[test]
    fn keys_name_the_place_of_the_records() {
        let batch = entries(3..6);
        let group: Vec<_> = batch.iter().collect();
        assert_eq!(key("c", 7, (0, 1), &group), "c/t/7/0/3-5");
        assert_eq!(key("c", 7, (0, 1), &group[..1]), "c/t/7/0/3");
        assert_eq!(key("c", 7, (2, 8), &group), "c/t/7/0/3-5~2.8");
    }

    #[test]
    fn signatures_are_over_the_instant_a_dot_and_the_body() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let text = signature(&[secret("Jefe")], 5, b"what do ya want for nothing?");
        let expected = "t=5,v1=da64fe9169c3da540d53d6c26071fda4fb814ff6cb086bb8462fc941dc745fcd";
        assert_eq!(text, expected);
        let two = signature(&[secret("new"), secret("old")], 5, b"x");
        assert_eq!(two.matches(",v1=").count(), 2);
        assert!(
            two.ends_with(
                signature(&[secret("old")], 5, b"x")
                    .split_once(',')
                    .unwrap()
                    .1
            )
        );
    }

    #[test]
    fn answers_have_the_class_that_helps() {
        for (status, class) in [
            (408, Transient),
            (429, Transient),
            (500, Transient),
            (503, Transient),
            (301, Environment),
            (401, Environment),
            (403, Environment),
            (404, Environment),
            (410, Environment),
            (400, Poison),
            (413, Poison),
            (422, Poison),
        ] {
            assert_eq!(judge(status, None).unwrap_err().class, class, "{status}");
        }
        assert!(judge(204, None).is_ok());
        let asked = |text| judge(429, Some(text)).unwrap_err().retry_after;
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(asked("soon"), None);
    }
}
