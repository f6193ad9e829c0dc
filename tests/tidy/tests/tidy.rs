//! The rules that keep the house as crates/README.md draws it.
#![expect(
    clippy::unwrap_used,
    reason = "a rule that cannot be checked has failed"
)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a source file.
const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The files that git knows or would take.
fn files(ending: &str) -> Vec<PathBuf> {
    let listing = run(
        "git",
        &["ls-files", "--cached", "--others", "--exclude-standard"],
    );
    let names = listing
        .lines()
        .filter(|name| name.ends_with(ending) && !name.contains("/vendor/"));
    names
        .map(|name| root().join(name))
        .filter(|path| path.exists())
        .collect()
}

#[test]
fn arrows_between_crates_are_those_of_the_design() {
    let allowed: BTreeMap<&str, &[&str]> = [
        ("sluice-model", &[][..]),
        ("sluice-admin-client", &["sluice-model"]),
        ("sluice-service", &["sluice-model"]),
        ("sluice-ui", &["sluice-model"]),
        (
            "sluice-admin-api",
            &["sluice-model", "sluice-service", "sluice-ui"],
        ),
        (
            "sluice-producer",
            &["sluice-model", "sluice-admin-client", "sluice-service"],
        ),
        (
            "sluice-consumer-api",
            &[
                "sluice-model",
                "sluice-admin-client",
                "sluice-service",
                "sluice-ui",
            ],
        ),
        ("sluice-cli", &["sluice-model", "sluice-admin-client"]),
    ]
    .into();
    let text = run("cargo", &["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = allowed.get(name) else {
            continue;
        };
        let normal = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["kind"].is_null());
        let ours: BTreeSet<&str> = normal
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|dependency| dependency.starts_with("sluice-"))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        let wrong: Vec<_> = ours.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

fn tree(package: &str) -> String {
    run(
        "cargo",
        &[
            "tree",
            "--package",
            package,
            "--edges",
            "normal",
            "--prefix",
            "none",
        ],
    )
}

#[test]
fn the_cli_links_no_kafka_no_sqlite_and_no_server() {
    let tree = tree("sluice-cli");
    for heavy in ["rdkafka ", "rusqlite ", "actix-web ", "axum "] {
        assert!(!tree.contains(heavy), "sluice-cli links {heavy}");
    }
}

#[test]
fn the_model_has_no_io_and_no_framework() {
    let tree = tree("sluice-model");
    for foreign in [
        "tokio ",
        "actix-web ",
        "reqwest ",
        "rdkafka ",
        "rusqlite ",
        "tracing ",
    ] {
        assert!(!tree.contains(foreign), "sluice-model links {foreign}");
    }
    for path in files(".rs")
        .iter()
        .filter(|path| path.starts_with(root().join("crates/model/src")))
    {
        let text = std::fs::read_to_string(path).unwrap();
        for io in [
            "std::fs",
            "std::net",
            "SystemTime",
            "Instant::now",
            "Timestamp::now()",
        ] {
            assert!(!text.contains(io), "{} uses {io}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    let long: Vec<_> = files(".rs")
        .into_iter()
        .map(|path| {
            (
                std::fs::read_to_string(&path).unwrap().lines().count(),
                path,
            )
        })
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .collect();
    assert!(
        long.is_empty(),
        "longer than {FILE_LINES_MAX} lines: {long:?}"
    );
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = ["todo!(", "unimplemented!(", "#[ignore", "FIXME", "XXX"];
    for path in files(".rs")
        .iter()
        .filter(|path| !path.ends_with("tidy.rs"))
    {
        let text = std::fs::read_to_string(path).unwrap();
        for mark in marks {
            assert!(!text.contains(mark), "{} has {mark}", path.display());
        }
    }
}

#[test]
fn unsafe_code_is_only_in_the_ffi_module() {
    for path in files(".rs")
        .iter()
        .filter(|path| !path.ends_with("tidy.rs"))
    {
        let text = std::fs::read_to_string(path).unwrap();
        let allowed = path.starts_with(root().join("crates/service/src/kafka"));
        assert!(
            allowed || !text.contains("unsafe {"),
            "{} has unsafe code",
            path.display()
        );
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in files(".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let found = path.parent().unwrap().join(target);
            assert!(found.exists(), "{} links to {target}", path.display());
        }
    }
}

#[test]
fn the_documented_lifecycle_is_the_real_one() {
    let page = std::fs::read_to_string(root().join("crates/README.md")).unwrap();
    let drawn = sluice_model::lifecycle::mermaid();
    assert!(
        page.contains(&drawn),
        "crates/README.md does not show:\n{drawn}"
    );
}

#[test]
fn every_configuration_key_has_a_comment() {
    for path in files(".toml")
        .iter()
        .filter(|p| p.starts_with(root().join("config")))
    {
        let text = std::fs::read_to_string(path).unwrap();
        let mut documented = false;
        for line in text.lines() {
            let starts_group = line.trim().is_empty();
            documented = (documented && !starts_group) || line.starts_with('#');
            let key = line
                .split_once(" = ")
                .is_some_and(|(key, _)| !key.starts_with([' ', '#']));
            let figures = line.starts_with("min = ")
                || line.starts_with("max = ")
                || line.starts_with("default = ");
            assert!(
                !key || documented || figures,
                "{}: {line:?} has no comment",
                path.display()
            );
        }
    }
}
