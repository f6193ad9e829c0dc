//! Secrets that processors' configurations refer to: files of one directory, or environment variables
//! with one prefix. The configurations themselves never hold them.

use crate::confine::{Fault, Roots};
use sluice_model::body::Body;
use sluice_service::secret::Secret;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Environment variables that may be referred to begin with this; others are none of a user's business.
pub const ENV_PREFIX: &str = "SLUICE_SECRET_";
/// The largest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// The longest name of a variable.
const ENV_NAME_MAX: usize = 200;

/// Where secrets are. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    dir: Option<Roots>,
}

/// A reference to a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file under the directory.
    File(String),
    /// An environment variable.
    Env(String),
}

impl Secrets {
    /// The secrets under a directory; an empty path means that no file may be referred to.
    ///
    /// # Errors
    /// When the directory cannot be made or resolved.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let dir = if dir.as_os_str().is_empty() {
            None
        } else {
            Some(Roots::open(&[dir.to_owned()])?)
        };
        Ok(Self { dir })
    }

    /// Checks a reference as a user wrote it: the secret is there and may be used.
    ///
    /// # Errors
    /// What is wrong with it, without the secret.
    pub fn check(&self, reference: &Reference) -> Result<(), String> {
        self.read(reference).map(drop)
    }

    /// The secret itself. Read it when it is used, so that a new one counts from then on.
    ///
    /// # Errors
    /// What is wrong with the reference, without the secret.
    pub fn read(&self, reference: &Reference) -> Result<Secret, String> {
        match reference {
            Reference::File(name) => self.read_file(name),
            Reference::Env(name) => read_env(name),
        }
    }

    /// Where a file of the directory is, for libraries that read it themselves.
    ///
    /// # Errors
    /// What is wrong with its name.
    pub fn path(&self, name: &str) -> Result<PathBuf, String> {
        let Some(dir) = &self.dir else {
            return Err("refers to a file, but the configuration sets no secrets_dir".to_owned());
        };
        dir.resolve(name).map_err(|fault| match fault {
            Fault::Invalid(message) => message,
            Fault::Outside(_) => "leads out of secrets_dir".to_owned(),
        })
    }

    fn read_file(&self, name: &str) -> Result<Secret, String> {
        let path = self.path(name)?;
        let bad =
            |error: io::Error| format!("names {name}, which cannot be read: {}", error.kind());
        let file = fs_err::File::open(&path).map_err(bad)?;
        if !file.metadata().map_err(bad)?.is_file() {
            return Err(format!("names {name}, which is no file"));
        }
        let mut text = String::new();
        file.take(SECRET_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(bad)?;
        if text.len() as u64 > SECRET_BYTES_MAX {
            return Err(format!(
                "names {name}, which has more than {SECRET_BYTES_MAX} bytes"
            ));
        }
        match text.trim() {
            "" => Err(format!("names {name}, which is empty")),
            text => Ok(Secret::new(text.to_owned())),
        }
    }
}

fn read_env(name: &str) -> Result<Secret, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.len() > ENV_NAME_MAX || !name.starts_with(ENV_PREFIX) || !name.chars().all(known) {
        return Err(format!(
            "is the name of a variable that begins with {ENV_PREFIX}"
        ));
    }
    match std::env::var(name) {
        Ok(text) if !text.trim().is_empty() => Ok(Secret::new(text.trim().to_owned())),
        _ => Err(format!("names {name}, which the service does not have")),
    }
}

/// Reads the members `file` (such as `password_file`) and `env` of a configuration, of which at most one
/// may be there, and checks what they refer to.
pub fn reference(
    body: &mut Body,
    secrets: &Secrets,
    file: &'static str,
    env: &'static str,
) -> Option<Reference> {
    let (name, found) = match (body.text(file), body.text(env)) {
        (Some(_), Some(_)) => {
            body.invalid(env, format!("stands beside {file}; give one of them"));
            return None;
        }
        (Some(path), None) => (file, Reference::File(path)),
        (None, Some(variable)) => (env, Reference::Env(variable)),
        (None, None) => return None,
    };
    if let Err(message) = secrets.check(&found) {
        body.invalid(name, message);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_under_the_directory_are_read_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(&dir.path().join("s")).unwrap();
        std::fs::write(dir.path().join("outside"), "x").unwrap();
        std::fs::write(dir.path().join("s/hook"), " k3y\n").unwrap();
        std::fs::write(dir.path().join("s/empty"), "\n").unwrap();
        std::fs::create_dir(dir.path().join("s/d")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("s/link")).unwrap();
        let read = |name: &str| secrets.read(&Reference::File(name.to_owned()));
        assert_eq!(read("hook").unwrap().expose(), "k3y");
        for name in [
            "../outside",
            "/etc/passwd",
            "link",
            "d/../../outside",
            "d",
            "empty",
            "none",
            "",
            "hook/",
            "a\0b",
        ] {
            let error = read(name).unwrap_err();
            assert!(!error.contains("root:"), "{name:?}: {error}");
        }
        assert!(
            Secrets::default()
                .read(&Reference::File("hook".into()))
                .is_err()
        );
    }

    #[test]
    fn only_variables_with_the_prefix_can_be_named() {
        for name in [
            "PATH",
            "HOME",
            "CONSUMER_API__KAFKA__SASL_PASSWORD",
            "SLUICE_SECRET_NOT_SET",
            "SLUICE_SECRET_=x",
        ] {
            assert!(
                Secrets::default()
                    .read(&Reference::Env(name.to_owned()))
                    .is_err(),
                "{name}"
            );
        }
    }
}
