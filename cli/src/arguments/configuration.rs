//! `althing config` and `althing acl`.

use crate::exit::exit_codes_help;
use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;

/// `althing config`
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Read the configuration and every file that it names, as the broker would, and tell what is wrong
    #[command(after_help = exit_codes_help())]
    Check(ConfigArguments),
    /// Print every key with what holds, where that was written, and what it is by default; the text loads again
    #[command(after_help = exit_codes_help())]
    Show {
        #[command(flatten)]
        config: ConfigArguments,
        /// Print secrets as well
        #[arg(long)]
        secrets: bool,
    },
    /// Say what a key means, what it takes, and how it is written; without a key, list all
    #[command(after_help = exit_codes_help())]
    Explain {
        /// The key, or the section
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// Print JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Print a mosquitto.conf as our configuration
    ///
    /// What cannot be carried over is told on stderr, a line each with the reason; the exit code is 7 then.
    #[command(after_help = exit_codes_help())]
    Import {
        /// The mosquitto.conf
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What the broker would be given.
#[derive(Args, Debug, Default)]
pub struct ConfigArguments {
    /// The configuration file, in TOML [default: none, as for the broker]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub settings: SettingArguments,
}

/// What the broker would be given besides its file.
#[derive(Args, Clone, Debug, Default)]
pub struct SettingArguments {
    /// The broker's --data
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The broker's --port-offset
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    /// The broker's --set, repeatable
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// `althing acl`
#[derive(Subcommand, Debug)]
pub enum AclCommand {
    /// Say whether somebody may do something, and which rule decides
    ///
    /// It is decided from the configuration and its files, as the broker would; no broker is asked. The exit code is 0 when it may
    /// be, and 4 when not.
    #[command(after_help = exit_codes_help())]
    Explain(ExplainArguments),
}

/// `althing acl explain`
#[derive(Args, Debug)]
pub struct ExplainArguments {
    /// The user; - for somebody without credentials
    pub user: String,
    /// What for
    #[arg(value_enum)]
    pub action: AclAction,
    /// The topic, or the filter of a subscription
    pub topic: String,
    /// A group that the user's credentials name, repeatable
    #[arg(long, value_name = "GROUP")]
    pub group: Vec<String>,
    /// The client id
    #[arg(long, value_name = "ID", default_value = "")]
    pub client: String,
    /// The protocol
    #[arg(long, value_name = "NAME", default_value = "mqtt")]
    pub protocol: String,
    /// The listener [default: that of the protocol]
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// Where the client comes from
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// The quality of service of what is published
    #[arg(long, value_name = "QOS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub settings: SettingArguments,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AclAction {
    /// Publish a message
    Publish,
    /// Publish one that stays as the topic's last value
    Retain,
    /// Leave one that is published when the connection is lost
    Will,
    /// Subscribe
    Subscribe,
    /// Get a message of this topic
    Receive,
}
