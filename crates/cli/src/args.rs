//! What can be asked on the command line.

pub(crate) mod access;
pub(crate) mod consumer;
pub(crate) mod govern;

use crate::output::Format;
use crate::text::duration;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// A governed gate for Apache Kafka: ask for topics, approve them, send and read records
#[derive(Debug, Parser)]
#[command(
    name = "sluice",
    version,
    propagate_version = true,
    after_help = "Environment: SLUICE_ADMIN_URL, SLUICE_PRODUCER_URL, SLUICE_CONSUMER_URL, SLUICE_TOKEN, NO_COLOR.\n\
                  Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 denied, 5 conflict, 6 rejected, \
                  7 timeout, 8 unreachable; diff: 3 when something differs."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the services are, who asks, and how the answer is written.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct Global {
    /// Admin API [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) admin_url: Option<String>,
    /// Producer daemon [default: http://127.0.0.1:8081]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) producer_url: Option<String>,
    /// Consumer API [default: http://127.0.0.1:8082]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) consumer_url: Option<String>,
    /// File with the token (else SLUICE_TOKEN)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Take addresses and tokens from a development stack (see scripts/stack)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) stack: Option<PathBuf>,
    /// With --stack: whose token [default: an account that may do the command]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// How to write the answer
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for topics, decide about them, look at them
    #[command(subcommand)]
    Topic(Topic),
    /// Look at requests and decide about them
    #[command(subcommand)]
    Request(Request),
    /// Ask for what a file declares: a request for each topic that is not so
    Apply(Apply),
    /// What a file declares and is not so; exit code 3 when there is something
    Diff(Declared),
    /// Whether anything is deleted from Kafka; `off` stops all deletions at once
    Deletions(govern::Deletions),
    /// What was sent to webhooks
    #[command(subcommand, visible_alias = "notices")]
    Notice(govern::Notice),
    /// Who did what, when and why
    #[command(subcommand)]
    Audit(govern::Audit),
    /// Subscribe to topics
    Subscribe(Subscribe),
    /// End subscriptions
    Unsubscribe(Subscribe),
    /// List subscriptions: your own, one user's, or all
    Subscriptions {
        /// Another user's (needs the role admin)
        #[arg(long = "as", value_name = "USER")]
        user: Option<String>,
        /// Everybody's
        #[arg(long, conflicts_with = "user")]
        all: bool,
    },
    /// Send records through the producer: held until their topic is active
    Send(Send),
    /// Print records as they arrive
    Tail(Tail),
    /// Managed consumers
    #[command(subcommand, visible_alias = "consumers")]
    Consumer(consumer::Consumer),
    /// What the producer holds and delivers, topic by topic
    Flow,
    /// Figures of the whole system
    Stats,
    /// Whose token this is
    Whoami,
    /// Users: who may sign in, and what they may do
    #[command(subcommand)]
    User(access::User),
    /// Teams: who owns topics together
    #[command(subcommand)]
    Team(access::Team),
    /// Tokens of programs and people
    #[command(subcommand)]
    Token(access::Token),
    /// Sign in with a password; prints the token of the session
    Login(access::Login),
    /// End the session whose token this is
    Logout,
    /// Interactive menus
    Shell(Shell),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// Ask for a topic
    Request(TopicRequest),
    /// Say yes
    Approve(Decision),
    /// Say no, with a reason
    Reject(ReasonedDecision),
    /// Take a request of your own back
    Withdraw(Decision),
    /// Stop an approved topic before it exists
    Cancel(Decision),
    /// Fence an active topic: producers hold, consumers drain
    Deactivate(Decision),
    /// Lift the fence
    Reactivate(Decision),
    /// Show the fence of an inactive topic: who has let go of it, and who still reads
    Fence {
        /// Name, or id when it is a number
        #[arg(value_name = "NAME|ID")]
        topic: String,
    },
    /// Never delete it, until it is unprotected
    Protect(govern::Label),
    /// Let it be deleted again
    Unprotect(govern::Label),
    /// Ask for more partitions or other configs
    Change(TopicChange),
    /// Ask for the end of an inactive topic, data included
    Delete(Decision),
    /// List topics
    List {
        /// pending, approved, active, inactive, deleted, rejected, withdrawn or expired
        #[arg(long)]
        status: Option<String>,
        /// A part of the name
        #[arg(long)]
        q: Option<String>,
        /// At most this many
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: Option<u32>,
    },
    /// Show one topic
    Get {
        /// Name, or id when it is a number
        #[arg(value_name = "NAME|ID")]
        topic: String,
    },
}

#[derive(Debug, Default, ClapArgs)]
pub(crate) struct TopicRequest {
    /// The name in Kafka
    pub(crate) name: String,
    /// Partitions [default: the policy's]
    #[arg(long)]
    pub(crate) partitions: Option<i32>,
    /// Copies of each partition [default: the policy's]
    #[arg(long)]
    pub(crate) replication: Option<i16>,
    /// A topic config by Kafka's name; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = crate::text::pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// What it is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Who answers for it
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// Subscribe this user when it becomes active; may be repeated
    #[arg(long, value_name = "USER")]
    pub(crate) subscribe: Vec<String>,
    /// A free label [default: the account]
    #[arg(long)]
    pub(crate) created_by: Option<String>,
    /// Wait until it is active
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TopicChange {
    /// Name, or id when it is a number
    #[arg(value_name = "NAME|ID")]
    pub(crate) topic: String,
    /// Partitions; they can only grow
    #[arg(long)]
    pub(crate) partitions: Option<i32>,
    /// A topic config by Kafka's name; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = crate::text::pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// A config to take back to the brokers' default; may be repeated
    #[arg(long = "unset", value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Decision {
    /// Names, or ids when they are numbers
    #[arg(required = true, value_name = "NAME|ID")]
    pub(crate) topics: Vec<String>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Wait for the outcome in Kafka, such as 10s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReasonedDecision {
    /// Names, or ids when they are numbers
    #[arg(required = true, value_name = "NAME|ID")]
    pub(crate) topics: Vec<String>,
    /// Why; the requester reads it
    #[arg(long, required = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// List requests
    List {
        /// pending, approved, rejected, withdrawn, expired, cancelled or all
        #[arg(long, default_value = "pending")]
        status: String,
        /// create, change, delete or reactivate
        #[arg(long)]
        kind: Option<String>,
    },
    /// Show one request
    Get {
        /// Its number
        id: i64,
    },
    /// Say yes, with changes if some are named
    Approve(RequestApproval),
    /// Say no, with a reason
    Reject {
        /// Their numbers
        #[arg(required = true)]
        ids: Vec<i64>,
        /// Why; the requester reads it
        #[arg(long, required = true)]
        reason: String,
    },
    /// Take requests of your own back
    Withdraw(RequestDecision),
    /// Change a pending request of your own
    Edit(RequestEdit),
    /// Write a remark about a request
    Comment {
        /// Its number
        id: i64,
        /// The remark
        text: String,
    },
    /// List the remarks about a request
    Comments {
        /// Its number
        id: i64,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Declared {
    /// TOML ([[topics]]) or JSON ({"topics": [...]}) with members as for a request; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) declared: Declared,
    /// Only say what would be asked for
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What a request shall ask for otherwise.
#[derive(Debug, ClapArgs)]
pub(crate) struct Wish {
    /// Partitions
    #[arg(long)]
    pub(crate) partitions: Option<i32>,
    /// Copies of each partition
    #[arg(long)]
    pub(crate) replication: Option<i16>,
    /// A topic config by Kafka's name; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = crate::text::pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// A config to leave out; may be repeated
    #[arg(long = "unset", value_name = "KEY")]
    pub(crate) unset: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RequestEdit {
    /// Its number
    pub(crate) id: i64,
    #[command(flatten)]
    pub(crate) wish: Wish,
    /// What the topic is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Who answers for it
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// Why it is asked for
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RequestApproval {
    #[command(flatten)]
    pub(crate) decision: RequestDecision,
    #[command(flatten)]
    pub(crate) changes: Wish,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RequestDecision {
    /// Their numbers
    #[arg(required = true)]
    pub(crate) ids: Vec<i64>,
    /// Why
    #[arg(long)]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Subscribe {
    /// Topics
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// For another user (needs the role admin)
    #[arg(long = "as", value_name = "USER")]
    pub(crate) user: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Send {
    /// The topic
    pub(crate) topic: String,
    /// The record; `-` or none takes each line of standard input as one
    pub(crate) message: Option<String>,
    /// Its key
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// A header; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = crate::text::pair)]
    pub(crate) headers: Vec<(String, String)>,
}

/// Where reading starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// With what arrives from now on
    #[default]
    Latest,
    /// With the oldest record that Kafka keeps
    Earliest,
}

#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Tail {
    /// Topics
    #[arg(required_unless_present = "mine", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// What you subscribe to, followed while it changes
    #[arg(long, conflicts_with = "topics")]
    pub(crate) mine: bool,
    /// With --mine: another user's (needs the role admin)
    #[arg(long = "as", value_name = "USER", requires = "mine")]
    pub(crate) user: Option<String>,
    /// Where to start
    #[arg(long, value_enum, default_value_t)]
    pub(crate) from: From,
    /// End after this many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max: Option<u64>,
    /// End after this time; exit code 7 if --max was not reached by then
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Print the values only, one a line
    #[arg(long)]
    pub(crate) raw: bool,
}

/// Which menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Menu {
    /// create, send, list, active, help, quit
    Producer,
    /// list, subscribed, subscribe, unsubscribe, refresh, help, quit, or the numbers 0 to 7
    Consumer,
    /// Decide by the numbers 1 to 7 or by words
    Admin,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Shell {
    /// Which menu
    #[arg(value_enum)]
    pub(crate) menu: Menu,
    /// Consumer menu: for another user (needs the role admin)
    #[arg(long = "as", value_name = "USER")]
    pub(crate) user: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_names_every_command_environment_and_exit_code() {
        let help = Args::command().render_long_help().to_string();
        for word in [
            "topic",
            "request",
            "subscribe",
            "unsubscribe",
            "subscriptions",
            "send",
            "tail",
            "consumer",
            "flow",
            "stats",
            "whoami",
            "user",
            "team",
            "token",
            "login",
            "logout",
            "shell",
            "apply",
            "diff",
            "deletions",
            "notice",
            "audit",
            "SLUICE_ADMIN_URL",
            "SLUICE_PRODUCER_URL",
            "SLUICE_CONSUMER_URL",
            "SLUICE_TOKEN",
            "NO_COLOR",
            "--stack",
            "5 conflict",
        ] {
            assert!(help.contains(word), "{word} in\n{help}");
        }
    }

    #[test]
    fn a_rejection_needs_a_reason_and_a_tail_needs_topics_or_mine() {
        let parse = |line: &str| Args::try_parse_from(line.split_whitespace());
        assert!(parse("sluice topic reject orders").is_err());
        assert!(parse("sluice topic reject orders --reason no").is_ok());
        assert!(parse("sluice tail").is_err());
        assert!(parse("sluice tail --mine").is_ok());
        assert!(parse("sluice tail a b --from earliest --max 3").is_ok());
        assert!(parse("sluice topic request t --config retention.ms=5 --wait 10s").is_ok());
        assert!(parse("sluice topic request t --config retention.ms").is_err());
    }
}
