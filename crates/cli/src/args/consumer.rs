//! What can be asked about managed consumers.

use crate::text::duration;
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Consumer {
    /// List consumers
    List {
        /// ACTIVE, INACTIVE or ERROR
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show one consumer
    Get(ConsumerId),
    /// Create a consumer from a JSON file, from flags, or from both
    Create(Create),
    /// Change a consumer: what is not named stays
    Update(Update),
    /// Start reading
    Start(ConsumerIds),
    /// Stop reading and leave the group
    Stop(ConsumerIds),
    /// Stay in the group, read nothing
    Pause(ConsumerIds),
    /// Go on after a pause
    Resume(ConsumerIds),
    /// Stop and start
    Restart(ConsumerIds),
    /// Remove it; what its sinks wrote stays
    Delete(ConsumerIds),
    /// How it is doing
    Status(Watched),
    /// How far it is behind
    Lag(Watched),
    /// Move a stopped consumer; without --execute it only says what would move
    Offsets(Offsets),
    /// What it is and was
    Revisions(ConsumerId),
    /// Make it what it was at a revision
    Rollback {
        /// Its id
        id: String,
        /// A number of `sluice consumer revisions`
        revision: i64,
        /// Only check
        #[arg(long)]
        dry_run: bool,
    },
    /// Records that its processors refused
    DeadLetters(ConsumerId),
    /// Send dead letters to its processors again
    Redrive(Redrive),
    /// Write a range of time again, beside the live reading
    Replay(Replay),
    /// The replays of a consumer
    Replays(ConsumerId),
    /// End a replay before it is done
    CancelReplay {
        /// The consumer's id
        id: String,
        /// The replay's id
        replay: String,
    },
    /// Who changed what
    Audit {
        /// One consumer's changes
        #[arg(long, value_name = "ID")]
        id: Option<String>,
        /// One account's changes
        #[arg(long)]
        actor: Option<String>,
        /// One verb: create, update, start, ...
        #[arg(long)]
        action: Option<String>,
    },
    /// The processes that share the consumers
    Instances,
    /// The processors that there are
    Processors,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConsumerId {
    /// Its id
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConsumerIds {
    /// Their ids
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
}

/// Showing the same again and again.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct Watch {
    /// Show it again now and then until Ctrl-C
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// How often
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s", requires = "watch")]
    pub(crate) interval: Duration,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Watched {
    /// Its id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) watch: Watch,
}

/// What a consumer is; names of the API's body.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Spec {
    /// JSON file with the body; `-` for standard input. Flags come after it
    #[arg(short, long)]
    pub(crate) file: Option<PathBuf>,
    /// A topic; may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// The consumer group
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// The cluster
    #[arg(long)]
    pub(crate) cluster: Option<String>,
    /// The client id in Kafka
    #[arg(long)]
    pub(crate) client_id: Option<String>,
    /// Who owns it: you or a team of yours
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// Append records to this file; may be repeated
    #[arg(long = "to-file", value_name = "PATH")]
    pub(crate) to_file: Vec<String>,
    /// Write records to this database (a URL without password, or an SQLite path); may be repeated
    #[arg(long = "to-database", value_name = "DSN")]
    pub(crate) to_database: Vec<String>,
    /// Forward records to this URL; may be repeated
    #[arg(long = "to-url", value_name = "URL")]
    pub(crate) to_url: Vec<String>,
    /// Any other processor, with its configuration as JSON; may be repeated
    #[arg(long = "processor", value_name = "TYPE=JSON", value_parser = crate::text::pair)]
    pub(crate) processors: Vec<(String, String)>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Start it at once
    #[arg(long)]
    pub(crate) start: bool,
    /// Where a new group starts: earliest, latest, or an instant such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "PLACE")]
    pub(crate) from: Option<String>,
    /// Only check
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Update {
    /// Its id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) spec: Spec,
    /// Only if it is at this generation
    #[arg(long, value_name = "GENERATION")]
    pub(crate) if_match: Option<i64>,
    /// Only check
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Offsets {
    /// Its id
    pub(crate) id: String,
    /// earliest, latest, an instant, or TOPIC:PARTITION:OFFSET; the last form may be repeated
    #[arg(long, required = true, value_name = "PLACE")]
    pub(crate) to: Vec<String>,
    /// Do it
    #[arg(long)]
    pub(crate) execute: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Redrive {
    /// Its id
    pub(crate) id: String,
    /// Which: TOPIC:PARTITION:OFFSET
    #[arg(required_unless_present = "all", value_name = "RECORD")]
    pub(crate) records: Vec<String>,
    /// All that `sluice consumer dead-letters` lists
    #[arg(long, conflicts_with = "records")]
    pub(crate) all: bool,
    /// Only say what would be sent
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Replay {
    /// Its id
    pub(crate) id: String,
    /// The first instant, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) from: String,
    /// The instant after the last
    #[arg(long, value_name = "TIME")]
    pub(crate) to: String,
    /// One of its topics [default: all]
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Only check
    #[arg(long)]
    pub(crate) dry_run: bool,
}
