//! The small parts of pages: badges, times, amounts. Each renders itself, escaped.

use askama::Template;
use askama::filters::HtmlSafe;
use sluice_model::consumer::{Observed, Status};
use sluice_model::lifecycle::State;
use sluice_model::notice::NoticeStatus;
use sluice_model::request::{Kind, RequestStatus};
use sluice_model::subscription::SubscriptionStatus;
use sluice_model::time::Timestamp;
use std::fmt::Write as _;

/// A state as icon, word and colour, in this order of importance.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"<span class="badge {{ tone }}"><svg class="i" aria-hidden="true"><use href="/ui/assets/icons.svg#{{ icon }}"></use></svg>{{ word }}</span>"#,
    ext = "html"
)]
pub struct Badge {
    /// The colour's class.
    pub tone: &'static str,
    /// The icon's id in `icons.svg`.
    pub icon: &'static str,
    /// The word.
    pub word: &'static str,
}

impl HtmlSafe for Badge {}

const fn badge(tone: &'static str, icon: &'static str, word: &'static str) -> Badge {
    Badge { tone, icon, word }
}

impl From<State> for Badge {
    fn from(state: State) -> Self {
        let (tone, icon) = match state {
            State::Pending => ("wait", "clock"),
            State::Approved => ("info", "cog"),
            State::Active => ("ok", "check"),
            State::Inactive => ("off", "pause"),
            State::Deleted => ("off", "trash"),
            State::Rejected => ("bad", "cross"),
            State::Withdrawn | State::Expired => ("off", "undo"),
        };
        badge(tone, icon, state.as_str())
    }
}

impl From<RequestStatus> for Badge {
    fn from(status: RequestStatus) -> Self {
        let (tone, icon) = match status {
            RequestStatus::Pending => ("wait", "clock"),
            RequestStatus::Approved => ("ok", "check"),
            RequestStatus::Rejected => ("bad", "cross"),
            RequestStatus::Withdrawn | RequestStatus::Expired | RequestStatus::Cancelled => {
                ("off", "undo")
            }
        };
        badge(tone, icon, status.as_str())
    }
}

impl From<Kind> for Badge {
    fn from(kind: Kind) -> Self {
        let (tone, icon) = match kind {
            Kind::Create => ("plain", "plus"),
            Kind::Change => ("plain", "cog"),
            Kind::Delete => ("danger", "trash"),
            Kind::Reactivate => ("plain", "play"),
        };
        badge(tone, icon, kind.as_str())
    }
}

impl From<NoticeStatus> for Badge {
    fn from(status: NoticeStatus) -> Self {
        let (tone, icon) = match status {
            NoticeStatus::Waiting => ("wait", "clock"),
            NoticeStatus::Delivered => ("ok", "check"),
            NoticeStatus::Failed => ("bad", "cross"),
        };
        badge(tone, icon, status.as_str())
    }
}

impl From<SubscriptionStatus> for Badge {
    fn from(status: SubscriptionStatus) -> Self {
        let (tone, icon) = match status {
            SubscriptionStatus::Active => ("ok", "check"),
            SubscriptionStatus::Inactive => ("off", "pause"),
        };
        badge(tone, icon, status.as_str())
    }
}

impl From<Status> for Badge {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => badge("ok", "check", "ACTIVE"),
            Status::Inactive => badge("off", "pause", "INACTIVE"),
            Status::Error => badge("bad", "alert", "ERROR"),
        }
    }
}

/// The word for what a consumer is doing.
pub const fn observed(observed: Observed) -> &'static str {
    match observed {
        Observed::Stopped => "stopped",
        Observed::Starting => "starting",
        Observed::Running => "running",
        Observed::Paused => "paused",
        Observed::Stopping => "stopping",
        Observed::Retrying => "retrying",
    }
}

/// A badge for whether a producer was heard lately.
pub fn heard(seen: Timestamp, now: Timestamp) -> Badge {
    /// A daemon beats every few seconds; several missed ones are worth a colour.
    const LATE_MS: i64 = 30_000;
    if now.as_millis() - seen.as_millis() > LATE_MS {
        badge("wait", "alert", "silent")
    } else {
        badge("ok", "check", "heard")
    }
}

/// An instant: how long ago (or ahead), with the exact one for machines and on hover. None is a dash.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(
    source = r#"{% if iso.is_empty() %}<span class="none">–</span>{% else %}<time datetime="{{ iso }}" title="{{ iso }}">{{ words }}</time>{% endif %}"#,
    ext = "html"
)]
pub struct When {
    iso: String,
    words: String,
}

impl HtmlSafe for When {}

impl When {
    /// The words alone.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// In relation to now: `4 min ago`.
    pub fn ago(at: impl Into<Option<Timestamp>>, now: Timestamp) -> Self {
        Self::of(at.into(), |at| distance(at.as_millis() - now.as_millis()))
    }

    /// As a date and time in UTC: `2026-11-21 14:02:11`.
    pub fn exact(at: impl Into<Option<Timestamp>>) -> Self {
        Self::of(at.into(), |at| {
            at.to_string().replace('T', " ").chars().take(19).collect()
        })
    }

    fn of(at: Option<Timestamp>, words: impl Fn(Timestamp) -> String) -> Self {
        match at {
            None => Self {
                iso: String::new(),
                words: String::new(),
            },
            Some(at) => Self {
                iso: at.to_string(),
                words: words(at),
            },
        }
    }
}

/// A span to or from now in words.
fn distance(ms: i64) -> String {
    let seconds = ms.saturating_abs() / 1000;
    if seconds < 1 {
        return "just now".to_owned();
    }
    let span = span(seconds);
    if ms > 0 {
        format!("in {span}")
    } else {
        format!("{span} ago")
    }
}

/// A length of time in words: its largest unit, two of them where one is too coarse.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..36_000 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        36_000..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A whole number in groups of three digits, apart by narrow spaces.
pub fn count(number: impl TryInto<i128>) -> String {
    let number: i128 = number.try_into().unwrap_or_default();
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 {
        "−".to_owned()
    } else {
        String::new()
    };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes with its unit.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut amount = number as f64;
    let mut unit = 0;
    while amount >= 1000.0 && unit < UNITS.len() - 1 {
        amount /= 1000.0;
        unit += 1;
    }
    let mut text = String::new();
    let digits = usize::from(unit > 0 && amount < 100.0);
    let _infallible = write!(text, "{amount:.digits$}\u{202f}{}", UNITS[unit]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::lifecycle::STATES;

    #[test]
    fn amounts_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(-1_234_567), "−1\u{202f}234\u{202f}567");
        assert_eq!(bytes(999), "999\u{202f}B");
        assert_eq!(bytes(41_200_000), "41.2\u{202f}MB");
        assert_eq!(bytes(u64::MAX), "18446744\u{202f}TB");
    }

    #[test]
    fn times_say_how_far_away_they_are() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let ago = |ms: i64| When::ago(now.plus_millis(ms), now).words;
        assert_eq!(ago(-500), "just now");
        assert_eq!(ago(-59_000), "59 s ago");
        assert_eq!(ago(-240_000), "4 min ago");
        assert_eq!(ago(-8_040_000), "2 h 14 min ago");
        assert_eq!(ago(86_400_000), "in 24 h");
        assert_eq!(ago(-10 * 86_400_000), "10 days ago");
        assert_eq!(When::exact(now).words, "2023-11-14 22:13:20");
        assert_eq!(
            When::ago(None, now).to_string(),
            "<span class=\"none\">–</span>"
        );
    }

    #[test]
    fn every_badge_has_a_word_and_an_icon_that_exists() {
        let sprite = crate::asset("icons.svg").unwrap();
        let sprite = String::from_utf8(sprite.bytes.into_owned()).unwrap();
        let states = STATES.into_iter().map(Badge::from);
        let requests = RequestStatus::ALL.into_iter().map(Badge::from);
        let kinds = Kind::ALL.into_iter().map(Badge::from);
        let statuses = [Status::Active, Status::Inactive, Status::Error]
            .into_iter()
            .map(Badge::from);
        for badge in states.chain(requests).chain(kinds).chain(statuses) {
            assert!(!badge.word.is_empty());
            assert!(
                sprite.contains(&format!("id=\"{}\"", badge.icon)),
                "{}",
                badge.icon
            );
        }
    }
}
