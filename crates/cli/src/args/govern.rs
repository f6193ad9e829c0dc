//! Labels, deletions, notices and the audit.

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Most rows that a listing shows.
const LIMIT_MAX: i64 = 1000;

#[derive(Debug, ClapArgs)]
pub(crate) struct Label {
    /// Names, or ids when they are numbers
    #[arg(required = true, value_name = "NAME|ID")]
    pub(crate) topics: Vec<String>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Deletions {
    /// Turn it; without, say how it stands
    #[arg(value_enum)]
    pub(crate) switch: Option<Switch>,
    /// Why it is turned
    #[arg(long, requires = "switch")]
    pub(crate) reason: Option<String>,
}

/// How a switch shall stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Carry deletions out
    On,
    /// Delete nothing, also what was approved
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Notice {
    /// List what was sent to webhooks, newest first
    List {
        /// Only to this webhook
        #[arg(long, value_name = "NAME")]
        webhook: Option<String>,
        /// waiting, delivered or failed
        #[arg(long)]
        status: Option<String>,
        /// At most this many
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: Option<u32>,
    },
    /// List the webhooks of the configuration
    Webhooks,
}

/// Which rows of the audit.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Rows {
    /// Beginnings of words, all of which stand in the row
    #[arg(long, value_name = "WORDS")]
    pub(crate) q: Option<String>,
    /// Who did it
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) actor: Option<String>,
    /// What was done, such as approve
    #[arg(long, value_name = "VERB")]
    pub(crate) action: Option<String>,
    /// To which topic
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// Not before this instant or day (UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Before this instant or day (UTC)
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
}

/// The form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A line of JSON a row
    #[default]
    Ndjson,
    /// A spreadsheet's lines
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List rows, newest first
    List {
        #[command(flatten)]
        rows: Rows,
        /// At most this many
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
        limit: Option<u32>,
    },
    /// Write all rows with their hashes, oldest first
    Export {
        #[command(flatten)]
        rows: Rows,
        /// In which form
        #[arg(long, value_enum, default_value_t)]
        format: ExportFormat,
        /// Into a new file instead of standard output
        #[arg(long, value_name = "FILE")]
        to_file: Option<PathBuf>,
    },
    /// Check that no row was changed or taken away
    Verify,
}

#[cfg(test)]
mod tests {
    use crate::args::Args;
    use clap::Parser as _;

    #[test]
    fn deletions_are_asked_about_or_turned_and_only_turning_has_a_reason() {
        let parse = |line: &str| Args::try_parse_from(line.split_whitespace());
        for line in [
            "sluice deletions",
            "sluice deletions off --reason incident",
            "sluice deletions on",
            "sluice topic fence orders",
            "sluice topic protect orders clicks --reason ledger",
            "sluice topic unprotect 7",
            "sluice notice list --webhook ops --status failed --limit 5",
            "sluice notice webhooks",
            "sluice audit list --q orders --actor ana --from 2026-01-31 --limit 10",
            "sluice audit export --format csv --topic orders --to-file a.csv",
            "sluice audit verify",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "sluice deletions perhaps",
            "sluice deletions --reason incident",
            "sluice topic fence",
            "sluice topic protect",
            "sluice notice list --limit 0",
            "sluice audit export --format xml",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
