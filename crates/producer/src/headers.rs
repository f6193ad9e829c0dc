//! Record headers as bytes: `u16` length and name, `i32` length (-1 is null) and value, little-endian,
//! one after the other. The same form stands in batches and in the spool.

/// Most headers of one record.
pub const HEADERS_MAX: usize = 64;

/// Appends one header.
pub fn push(into: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    into.extend_from_slice(&(name.len() as u16).to_le_bytes());
    into.extend_from_slice(name.as_bytes());
    let length = value.map_or(-1, |value| value.len() as i32);
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(value.unwrap_or_default());
}

/// Reads encoded headers; stops at the first that is damaged.
pub fn read(mut bytes: &[u8]) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
    std::iter::from_fn(move || {
        let (name_len, rest) = bytes.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*name_len)))?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = match usize::try_from(i32::from_le_bytes(*value_len)) {
            Ok(length) => {
                let (value, rest) = rest.split_at_checked(length)?;
                (Some(value), rest)
            }
            Err(_) => (None, rest),
        };
        bytes = rest;
        Some((std::str::from_utf8(name).ok()?, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_with_order_repeats_null_and_empty() {
        let headers: [(&str, Option<&[u8]>); 4] = [
            ("a", Some(b"1")),
            ("a", None),
            ("ä", Some(b"")),
            ("", Some(&[0xff])),
        ];
        let mut bytes = Vec::new();
        for (name, value) in headers {
            push(&mut bytes, name, value);
        }
        assert_eq!(read(&bytes).collect::<Vec<_>>(), headers);
        assert_eq!(read(&bytes[..bytes.len() - 1]).count(), 3);
    }
}
