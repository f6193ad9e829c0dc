//! Failures: what is told and with which exit code.

use sluice_admin_client::Error;
use sluice_model::problem::{CODES, Problem};
use std::io;
use std::io::Write as _;
use std::process::ExitCode;

/// The exit codes beside 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Denied = 4,
    Conflict = 5,
    Rejected = 6,
    Timeout = 7,
    Unreachable = 8,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Lines for the person: the first says what happened. None when it was told already, or when
    /// nobody reads our output any more.
    pub(crate) lines: Vec<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            lines: vec![message.into()],
        }
    }

    pub(crate) fn hint(mut self, hint: impl AsRef<str>) -> Self {
        self.lines.push(format!("  hint: {}", hint.as_ref()));
        self
    }

    /// From a problem that a service answered with.
    pub(crate) fn problem(problem: &Problem) -> Self {
        let mut lines = vec![format!("{}: {}", problem.title, problem.detail)];
        if problem.errors.len() > 1 {
            lines.extend(
                problem
                    .errors
                    .iter()
                    .map(|e| format!("  rule: {}: {}", e.pointer, e.message)),
            );
        }
        if let Some(allowed) = &problem.allowed {
            let words: Vec<_> = allowed.iter().map(|event| event.as_str()).collect();
            let words = if words.is_empty() {
                "nothing".to_owned()
            } else {
                words.join(", ")
            };
            lines.push(format!("  hint: allowed now: {words}"));
        }
        lines.extend(hint_for(problem).map(|hint| format!("  hint: {hint}")));
        lines.extend(
            problem
                .request_id
                .as_ref()
                .map(|id| format!("  request: {id}")),
        );
        Self {
            exit: exit_of(problem.status),
            lines,
        }
    }

    /// Tells it on standard error and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        self.tell();
        ExitCode::from(self.exit as u8)
    }

    /// Tells it on standard error.
    pub(crate) fn tell(&self) {
        if !self.lines.is_empty() {
            let _nobody_reads_it = writeln!(io::stderr(), "{}", self.text());
        }
    }

    /// The same failure, once it was told.
    pub(crate) fn told(exit: Exit) -> Self {
        Self {
            exit,
            lines: Vec::new(),
        }
    }

    pub(crate) fn text(&self) -> String {
        format!("error: {}", self.lines.join("\n"))
    }
}

/// A remark on standard error, beside an answer.
pub(crate) fn note(text: &str) {
    let _nobody_reads_it = writeln!(io::stderr(), "note: {text}");
}

/// The exit code of an HTTP status.
pub(crate) const fn exit_of(status: u16) -> Exit {
    match status {
        404 => Exit::NotFound,
        401 | 403 => Exit::Denied,
        409 | 412 => Exit::Conflict,
        422 => Exit::Rejected,
        408 | 504 => Exit::Timeout,
        502 | 503 => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

/// The exit code of a problem's code, as the answers about single records carry it.
pub(crate) fn exit_of_code(code: &str) -> Exit {
    let known = CODES.iter().find(|known| known.as_str() == code);
    known.map_or(Exit::Failed, |known| exit_of(known.status()))
}

fn hint_for(problem: &Problem) -> Option<String> {
    if let Some(seconds) = problem.retry_after_s {
        return Some(format!("try again in {seconds} s"));
    }
    let hint = match problem.code.as_str() {
        "unauthenticated" => "set SLUICE_TOKEN, or use --token-file FILE or --stack DIR",
        "forbidden" => "`sluice whoami` shows the roles of this token",
        "self_approval" => "somebody else with the role approver decides",
        "unknown_topic" => "ask for it: sluice topic request NAME",
        _ => return None,
    };
    Some(hint.to_owned())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Problem(problem) => Self::problem(problem),
            Error::Unreachable(_) => Self::new(Exit::Unreachable, error.to_string())
                .hint("is it running, and is --admin-url (SLUICE_ADMIN_URL) right?"),
            Error::Unexpected(_) => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::told(Exit::Failed);
        }
        Self::new(Exit::Failed, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_model::problem::{Code, field};

    #[test]
    fn every_problem_code_has_the_exit_code_of_its_kind() {
        let exit = |code: Code| Failure::problem(&Problem::new(code, "d")).exit;
        assert_eq!(exit(Code::NotFound), Exit::NotFound);
        assert_eq!(exit(Code::UnknownTopic), Exit::NotFound);
        assert_eq!(exit(Code::SelfApproval), Exit::Denied);
        assert_eq!(exit(Code::Unauthenticated), Exit::Denied);
        assert_eq!(exit(Code::Duplicate), Exit::Conflict);
        assert_eq!(exit(Code::StaleVersion), Exit::Conflict);
        assert_eq!(exit(Code::Invalid), Exit::Rejected);
        assert_eq!(exit(Code::Unavailable), Exit::Unreachable);
        assert_eq!(exit(Code::RequestTimeout), Exit::Timeout);
        assert_eq!(exit(Code::Internal), Exit::Failed);
    }

    #[test]
    fn an_error_tells_message_rules_hint_and_request_id() {
        let errors = vec![
            field("/name", "is missing"),
            field("/partitions", "is 1 to 8"),
        ];
        let mut problem = Problem::from_errors(Code::Invalid, errors);
        problem.request_id = Some("r-1".into());
        let text = Failure::problem(&problem).text();
        assert!(text.starts_with("error: A rule is broken: /name"), "{text}");
        assert!(text.contains("rule: /partitions: is 1 to 8"), "{text}");
        assert!(text.contains("request: r-1"), "{text}");
        let text = Failure::problem(&Problem::new(Code::Unauthenticated, "d")).text();
        assert!(text.contains("SLUICE_TOKEN"), "{text}");
    }
}
