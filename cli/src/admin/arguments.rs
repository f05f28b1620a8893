//! The commands for administrators and their options.

use crate::connection::parse_duration;
use crate::exit::exit_codes_help;
use crate::tls::TlsArguments;
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What an administrator may want to see or to do, of a running broker.
#[derive(Subcommand, Debug)]
pub enum AdminCommand {
    /// Watch a running broker: rates, clients, queues, and what is wrong, in words
    #[command(after_help = exit_codes_help())]
    Top(TopArguments),
    /// List the clients that are connected, or show one
    #[command(after_help = exit_codes_help())]
    Clients(ListArguments),
    /// List the sessions, connected or not, or show one
    #[command(after_help = exit_codes_help())]
    Sessions(ListArguments),
    /// List the subscriptions, all or those of one client
    #[command(after_help = exit_codes_help())]
    Subscriptions(ListArguments),
    /// List the queues: those of shared subscriptions, and $queue/NAME
    ///
    /// What waits for one session alone is in `althing sessions`.
    #[command(after_help = exit_codes_help())]
    Queues(ListArguments),
    /// List or remove last values
    #[command(subcommand, after_help = exit_codes_help())]
    Retained(RetainedCommand),
    /// End a client's connection, or its session
    #[command(after_help = exit_codes_help())]
    Kick(KickArguments),
    /// Print what comes and goes of one client, topic or address, for a while
    #[command(after_help = exit_codes_help())]
    Trace(TraceArguments),
    /// Say what went wrong lately for a client, an address, or anybody
    #[command(after_help = exit_codes_help())]
    Why(WhyArguments),
    /// Ask a broker how it is; the exit code is 0 when it serves
    ///
    /// Needs no token. It is meant for containers and scripts, as curl on /readyz is.
    #[command(after_help = exit_codes_help())]
    Health(HealthArguments),
    /// Print an address of the console that lets a browser in, once and within an hour
    #[command(after_help = exit_codes_help())]
    Console(AdminArguments),
    /// Have a broker read its configuration, users, rules and certificates anew, as SIGHUP does
    #[command(after_help = exit_codes_help())]
    Reload(AdminArguments),
}

/// How to reach the broker as its administrator.
#[derive(Args, Clone, Debug, Default)]
pub struct AdminArguments {
    /// The broker's data directory: whoever owns it may do everything [default: ./althing-data]
    #[arg(long, value_name = "DIR", conflicts_with = "url", help_heading = "Broker")]
    pub data: Option<PathBuf>,
    /// The broker's admin interface instead, as in http://127.0.0.1:8080; wants a token
    #[arg(long, help_heading = "Broker")]
    pub url: Option<String>,
    /// The token; other users of this machine can see it in the process list
    /// [default: $ALTHING_TOKEN, or the first line of the file $ALTHING_TOKEN_FILE]
    #[arg(long, help_heading = "Broker")]
    pub token: Option<String>,
    #[command(flatten, next_help_heading = "TLS, with https://")]
    pub tls: TlsArguments,
    /// Print JSON, one object a line
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Lists.
#[derive(Args, Debug)]
pub struct ListArguments {
    /// The one to show; of subscriptions, whose
    pub id: Option<String>,
    /// Sort by this field, as --json names it; with - before it the largest come first
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Print so many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: u64,
    #[command(flatten)]
    pub admin: AdminArguments,
}

/// `althing retained`
#[derive(Subcommand, Debug)]
pub enum RetainedCommand {
    /// List last values
    #[command(after_help = exit_codes_help())]
    Ls {
        /// The topics, wildcards included [default: all but those under $]
        filter: Option<String>,
        /// Sort by topic, payload_bytes or size_bytes; with - before it the largest come first
        #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
        sort: Option<String>,
        /// Print so many at most
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        #[command(flatten)]
        admin: AdminArguments,
    },
    /// Remove last values
    ///
    /// What the broker says of itself, under $, stays.
    #[command(after_help = exit_codes_help())]
    Rm {
        /// The topics, wildcards included
        filter: String,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        admin: AdminArguments,
    },
}

/// `althing kick`
#[derive(Args, Debug)]
pub struct KickArguments {
    /// The client id
    pub client: String,
    /// End the session as well, with its subscriptions and everything that waits for it
    #[arg(long)]
    pub session: bool,
    #[command(flatten)]
    pub admin: AdminArguments,
}

/// `althing trace`
#[derive(Args, Debug)]
pub struct TraceArguments {
    /// The client id
    #[arg(long, required_unless_present_any = ["topic", "address"])]
    pub client: Option<String>,
    /// Messages on these topics; a filter
    #[arg(long, value_name = "FILTER")]
    pub topic: Option<String>,
    /// Whoever comes from this address
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub duration: Duration,
    #[command(flatten)]
    pub admin: AdminArguments,
}

/// `althing why`
#[derive(Args, Debug)]
pub struct WhyArguments {
    /// The client id [default: anybody, the last 50]
    pub client: Option<String>,
    /// Those at this address who did not come to have a client id
    #[arg(long, value_name = "IP", conflicts_with = "client")]
    pub address: Option<IpAddr>,
    #[command(flatten)]
    pub admin: AdminArguments,
}

/// `althing health`
#[derive(Args, Debug)]
pub struct HealthArguments {
    /// Only ask whether it lives, not whether it takes messages
    #[arg(long)]
    pub live: bool,
    #[command(flatten)]
    pub admin: AdminArguments,
}

/// `althing top`
#[derive(Args, Debug)]
pub struct TopArguments {
    /// Print one screen, with the rates of one interval, and end
    #[arg(long)]
    pub once: bool,
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub interval: Duration,
    #[command(flatten)]
    pub admin: AdminArguments,
}
