//! Secrets: read from files, compared in constant time, stored as hashes, never printed.

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::Path;
use subtle::ConstantTimeEq as _;

/// A secret text that no log line or error shows.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself; for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Reads a secret from a file, without surrounding white space.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub fn from_file(path: &Path) -> std::io::Result<Self> {
        let text = fs_err::read_to_string(path)?;
        let text = text.trim();
        if text.is_empty() {
            let message = format!("{} is empty", path.display());
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                message,
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// The SHA-256 of a token: what is stored instead of it. Tokens are random, so no slow hash is needed.
pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether two hashes are equal, in time that does not depend on where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
