//! Secrets that are typed or piped in, never part of a command line, and files that keep them.

use crate::failure::{Exit, Failure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Most bytes of a secret; more is no password.
const SECRET_BYTES_MAX: u64 = 4096;

/// Asks for a secret; without a terminal it is the next line of standard input.
pub(crate) fn ask(what: &str) -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line(what);
    }
    write!(io::stderr(), "{what}: ")?;
    let quiet = Quiet::start().map_err(io::Error::from)?;
    let secret = line(what);
    drop(quiet);
    writeln!(io::stderr())?;
    secret
}

/// Asks for a secret that will count from now on; a person types it twice.
pub(crate) fn ask_new(what: &str) -> Result<String, Failure> {
    let secret = ask(what)?;
    if io::stdin().is_terminal() && ask("The same again")? != secret {
        return Err(Failure::new(Exit::Usage, "the two are not the same"));
    }
    Ok(secret)
}

fn line(what: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let mut input = io::stdin().lock().take(SECRET_BYTES_MAX);
    input.read_line(&mut text)?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        let message = format!("{what} is missing: type it, or give it as a line of standard input");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(secret.to_owned())
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn start() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _terminal_gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Writes a secret to a file that only its owner can read, whatever was there before.
pub(crate) fn save(path: &Path, secret: &str) -> Result<(), Failure> {
    let refused = |error: io::Error| {
        Failure::new(Exit::Failed, format!("--save {}: {error}", path.display()))
    };
    // A new file beside it: an old one could have been readable, or be open elsewhere.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(refused)?;
    let written = file
        .write_all(format!("{secret}\n").as_bytes())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _already_gone = fs::remove_file(&beside);
    }
    written.map_err(refused)
}
