//! Standard output that several threads share with a prompt.

use crate::failure::Failure;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

/// Writes whole texts, one at a time. On a terminal, what arrives while somebody is being asked takes the
/// place of the prompt, and the prompt is written again below.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    terminal: bool,
    prompt: Arc<Mutex<Option<String>>>,
}

impl Printer {
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
        Self {
            terminal,
            prompt: Arc::default(),
        }
    }

    /// Whether a person sits there: only then there are prompts and menus.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes a text of whole lines.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let prompt = self.prompt.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        match &*prompt {
            Some(prompt) => write!(out, "\r\x1b[K{text}{end}{prompt}")?,
            None => write!(out, "{text}{end}")?,
        }
        Ok(out.flush()?)
    }

    /// Reads a line from standard input, without its end; `None` at the end of the input.
    pub(crate) fn ask(&self, prompt: &str) -> Result<Option<String>, Failure> {
        if self.terminal {
            let mut shown = self.prompt.lock().unwrap_or_else(PoisonError::into_inner);
            write!(std::io::stdout(), "{prompt}")?;
            std::io::stdout().flush()?;
            *shown = Some(prompt.to_owned());
        }
        let mut line = Vec::new();
        let read = std::io::BufRead::read_until(&mut std::io::stdin().lock(), b'\n', &mut line);
        *self.prompt.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if read? == 0 {
            if self.terminal {
                self.print("")?;
            }
            return Ok(None);
        }
        Ok(Some(
            without_end(&String::from_utf8_lossy(&line)).to_owned(),
        ))
    }
}

fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_line_is_taken_off() {
        assert_eq!(without_end("  a  \r\n"), "  a  ");
        assert_eq!(without_end(" a "), " a ");
    }
}
