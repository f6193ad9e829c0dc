//! The program as a script sees it: exit codes, and what goes to which output.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs the program against addresses where nothing listens.
fn sluice(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(args)
        .env_clear()
        .env("SLUICE_ADMIN_URL", "http://127.0.0.1:1")
        .env("SLUICE_PRODUCER_URL", "http://127.0.0.1:1")
        .env("SLUICE_CONSUMER_URL", "http://127.0.0.1:1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_service_that_does_not_answer_is_8_with_a_hint_on_standard_error() {
    for args in [
        &["stats"][..],
        &["topic", "list"],
        &["topic", "fence", "t"],
        &["deletions"],
        &["notice", "list"],
        &["audit", "list"],
        &["audit", "export"],
        &["send", "t", "m"],
        &["tail", "t"],
        &["consumer", "list"],
        &["user", "list"],
        &["token", "revoke", "7"],
        &["team", "delete", "core"],
    ] {
        let output = sluice(args, "");
        assert_eq!(output.status.code(), Some(8), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.starts_with("error: "), "{errors}");
        assert!(errors.contains("hint: is it running"), "{errors}");
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    for args in [
        &["dance"][..],
        &["topic", "reject", "t"],
        &["deletions", "perhaps"],
        &["audit", "export", "--format", "xml"],
        &["--stack", "/nowhere", "stats"],
        &["--token-file", "/nowhere", "stats"],
        &["--account", "admin", "stats"],
        &["--producer-url", "ftp://x", "stats"],
    ] {
        assert_eq!(sluice(args, "").status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_password_is_a_line_of_input_and_a_missing_one_is_2() {
    for args in [
        &["login", "ana"][..],
        &["user", "create", "ana", "--password"],
        &["user", "set", "ana", "--password"],
        &["user", "password"],
    ] {
        let output = sluice(args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("is missing"), "{errors}");
        let lines = "a fine password\na finer password\n";
        let output = sluice(args, lines);
        assert_eq!(output.status.code(), Some(8), "{args:?}: nothing listens");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("fine password"), "{errors}");
    }
    assert_eq!(sluice(&["user", "set", "ana"], "").status.code(), Some(2));
}

#[test]
fn a_piped_shell_ends_with_its_input_shows_no_prompt_and_reports_the_first_failure() {
    let output = sluice(&["shell", "admin"], "help\nnonsense\n1\n");
    assert_eq!(
        output.status.code(),
        Some(2),
        "the first failure was an unknown word"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("approve"), "{text}");
    assert!(!text.contains("Choose option"), "{text}");
    assert_eq!(
        sluice(&["shell", "producer"], "help\n").status.code(),
        Some(0)
    );
    assert_eq!(sluice(&["shell", "producer"], "").status.code(), Some(0));
}

#[test]
fn an_export_that_fails_leaves_no_file_behind() {
    let path = std::env::temp_dir().join(format!("sluice-export-{}", std::process::id()));
    let args = ["audit", "export", "--to-file", path.to_str().unwrap()];
    assert_eq!(sluice(&args, "").status.code(), Some(8));
    assert!(!path.exists());
    std::fs::write(&path, "the only copy").unwrap();
    assert_eq!(sluice(&args, "").status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the only copy");
    std::fs::remove_file(&path).unwrap();
}
