//! Pages of listings: bare arrays, a bounded limit and an opaque cursor.

use crate::problem::{Code, Problem, field};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Items on a page when the caller names no limit.
pub const LIMIT_DEFAULT: u32 = 500;
/// The most items on one page.
pub const LIMIT_MAX: u32 = 1000;

/// One page of a listing that is ordered by a descending integer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// At most this many items.
    pub limit: u32,
    /// Only items with a smaller id.
    pub before: Option<i64>,
}

impl Page {
    /// Reads `limit` and `cursor` as they stand in a query.
    ///
    /// # Errors
    /// 422 for a limit out of range or of the wrong form, 400 for a cursor that is not ours.
    pub fn parse(limit: Option<&str>, cursor: Option<&str>) -> Result<Self, Problem> {
        let limit = match limit {
            None => LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or_else(|| {
                    Problem::invalid("limit", format!("is a whole number from 1 to {LIMIT_MAX}"))
                })?,
        };
        let before = match cursor {
            None => None,
            Some(text) => Some(decode(text).ok_or_else(|| {
                Problem::from_errors(
                    Code::BadCursor,
                    vec![field(
                        "cursor",
                        "take it from the Link header of the page before",
                    )],
                )
            })?),
        };
        Ok(Self { limit, before })
    }
}

/// The cursor that continues after the item with this id.
pub fn encode(id: i64) -> String {
    URL_SAFE_NO_PAD.encode(format!("b{id}"))
}

fn decode(cursor: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    std::str::from_utf8(&bytes)
        .ok()?
        .strip_prefix('b')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_limits_are_bounded() {
        let page = Page::parse(Some("7"), Some(&encode(42))).unwrap();
        assert_eq!(
            page,
            Page {
                limit: 7,
                before: Some(42)
            }
        );
        for limit in ["0", "1001", "x", "-1", "99999999999"] {
            assert_eq!(
                Page::parse(Some(limit), None).unwrap_err().status,
                422,
                "{limit}"
            );
        }
        assert_eq!(Page::parse(None, Some("%%")).unwrap_err().status, 400);
    }
}
