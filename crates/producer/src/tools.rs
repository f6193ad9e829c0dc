//! The commands beside the daemon: a look into a spool without one, and the audit of a running one.
//!
//! Exit codes: 0 fine, 1 something is wrong (damage, refused records, an equation that does not come
//! out even), 2 wrong arguments.

mod audit;
mod replay;
mod send;
mod show;
mod survey;

use crate::IDENTITY;
use crate::settings::ProducerSettings;
use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use sluice_service::config::{Flags, load};
use std::path::PathBuf;
use std::process::ExitCode;

/// What `--help` of the daemon says about them.
pub const HELP: &str = "Commands:
  sluice-producer spool ls|verify|dump|replay   Look into a spool, or send it on; see spool --help
  sluice-producer audit                         Check that a running daemon accounts for every record";

#[derive(Debug, Parser)]
#[command(name = "sluice-producer", version = env!("CARGO_PKG_VERSION"))]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look into a spool without a daemon, or send what it holds
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Check that a running daemon accounts for every record that it took in
    Audit(AuditArgs),
}

#[derive(Debug, Subcommand)]
enum SpoolCommand {
    /// List what is held: records, bytes, age, segments, cursor
    Ls(Where),
    /// Check every block; exit code 1 when one is damaged
    Verify(Where),
    /// Print held records in the form that the stream inputs take
    Dump(DumpArgs),
    /// Send held records to a running daemon and mark those that it acknowledged
    Replay(ReplayArgs),
}

/// Which spool.
#[derive(Clone, Debug, Args)]
struct Where {
    /// Directory of the spool; without it the configured one
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// Configuration file of the daemon
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only this topic
    #[arg(long)]
    topic: Option<String>,
    /// One JSON document instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DumpArgs {
    #[command(flatten)]
    place: Where,
    /// Also records that are dealt with and still on disk
    #[arg(long)]
    all: bool,
    /// Instead, what still parses of the damaged blocks that were put aside: look at it, then send it
    #[arg(long, conflicts_with = "all")]
    quarantine: bool,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    #[command(flatten)]
    place: Where,
    /// HTTP address of the daemon that shall take the records
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "tcp",
        conflicts_with = "tcp"
    )]
    url: Option<String>,
    /// Its stream input instead
    #[arg(long, value_name = "HOST:PORT")]
    tcp: Option<String>,
    /// File with a token of role producer
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send the records to this topic instead of their own
    #[arg(long, value_name = "TOPIC", requires = "topic")]
    to: Option<String>,
}

#[derive(Debug, Args)]
struct AuditArgs {
    /// HTTP address of the daemon; without it the configured one
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File with a token of role viewer; without it the daemon's own
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Directory of its spool, to compare what is on disk too
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Configuration file of the daemon
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON document instead of a line
    #[arg(long)]
    json: bool,
}

/// Runs a command when the arguments name one; none when the daemon is meant.
#[expect(clippy::print_stderr, reason = "a tool speaks to its terminal")]
pub fn run() -> Option<ExitCode> {
    let first = std::env::args_os().nth(1)?;
    if first != "spool" && first != "audit" {
        return None;
    }
    sluice_service::tls::install_crypto();
    let outcome = match Cli::parse().command {
        Command::Spool(SpoolCommand::Ls(place)) => show::ls(&place),
        Command::Spool(SpoolCommand::Verify(place)) => show::verify(&place),
        Command::Spool(SpoolCommand::Dump(args)) => show::dump(&args),
        Command::Spool(SpoolCommand::Replay(args)) => replay::replay(&args),
        Command::Audit(args) => audit::audit(&args),
    };
    Some(match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Who reads only the beginning (`dump | head`) has what was wanted.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sluice-producer: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn settings(config: Option<PathBuf>) -> anyhow::Result<ProducerSettings> {
    let flags = Flags {
        config,
        ..Flags::default()
    };
    load(&IDENTITY, &flags).context("read the configuration")
}

impl Where {
    fn dir(&self) -> anyhow::Result<PathBuf> {
        let dir = match &self.dir {
            Some(dir) => dir.clone(),
            None => settings(self.config.clone())?.spool.dir,
        };
        if !dir.join("topics").is_dir() {
            bail!("{} is no spool: it has no directory topics", dir.display());
        }
        Ok(dir)
    }

    fn takes(&self, topic: &str) -> bool {
        self.topic.as_deref().is_none_or(|wanted| wanted == topic)
    }
}
