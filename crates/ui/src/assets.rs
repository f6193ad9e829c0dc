//! Files that are compiled in.

use rust_embed::{EmbeddedFile, RustEmbed};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Bytes of the hash that make an ETag.
const ETAG_BYTES: usize = 12;

/// A file that is compiled in.
#[derive(Clone, Debug)]
pub struct Asset {
    /// The file.
    pub bytes: Cow<'static, [u8]>,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Changes with the file; without quotes.
    pub etag: String,
}

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Own;

#[derive(RustEmbed)]
#[folder = "vendor/"]
struct Vendored;

/// The file at a path below `/ui/assets/`, such as `console.css` or `vendor/redoc-2.5.4/LICENSE`.
pub fn asset(path: &str) -> Option<Asset> {
    let file = match path.strip_prefix("vendor/") {
        Some(rest) => Vendored::get(rest),
        None => Own::get(path),
    }?;
    Some(Asset {
        content_type: content_type(path, &file),
        etag: etag(&file),
        bytes: file.data,
    })
}

fn content_type(path: &str, file: &EmbeddedFile) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    if !name.contains('.') {
        return "text/plain; charset=utf-8".to_owned();
    }
    let kind = file.metadata.mimetype();
    if kind.starts_with("text/") {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_owned()
    }
}

fn etag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    hash.iter()
        .take(ETAG_BYTES)
        .fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn files_have_a_type_and_an_etag_and_paths_cannot_escape() {
        let script = asset("vendor/swagger-ui-5.35.0/swagger-ui-bundle.js").unwrap();
        assert_eq!(script.content_type, "text/javascript; charset=utf-8");
        assert_eq!(script.etag.len(), ETAG_BYTES * 2);
        assert_eq!(
            asset("vendor/redoc-2.5.4/LICENSE").unwrap().content_type,
            "text/plain; charset=utf-8"
        );
        assert_eq!(asset("icon.svg").unwrap().content_type, "image/svg+xml");
        for path in [
            "",
            "nothing.css",
            "../Cargo.toml",
            "vendor/../src/lib.rs",
            "/etc/passwd",
        ] {
            assert!(asset(path).is_none(), "{path}");
        }
    }

    #[test]
    fn vendored_files_are_what_vendor_toml_says() {
        let list = include_str!("../vendor/vendor.toml");
        let mut listed = Vec::new();
        for line in list.lines().filter(|line| line.starts_with('"')) {
            let (path, hash) = line.split_once(" = ").unwrap();
            let path = path.trim_matches('"');
            let file = Vendored::get(path).unwrap();
            let mut hex = String::new();
            for byte in Sha256::digest(&file.data) {
                write!(hex, "{byte:02x}").unwrap();
            }
            assert_eq!(
                hex,
                hash.trim_matches('"'),
                "{path} differs from vendor.toml"
            );
            listed.push(path.to_owned());
        }
        for path in Vendored::iter().filter(|path| path != "vendor.toml") {
            assert!(
                listed.iter().any(|known| *known == path),
                "{path} is not in vendor.toml"
            );
        }
        assert!(listed.len() >= 7);
    }
}
