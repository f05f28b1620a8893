//! The one table of commands and options: parsing, help, completions and man pages all derive from it.

mod configuration;

pub use configuration::{AclAction, AclCommand, ConfigArguments, ConfigCommand, ExplainArguments, SettingArguments};

use crate::admin::arguments::AdminCommand;
use crate::coap::arguments::CoapCommand;
use crate::connection::{ConnectionArguments, parse_duration};
use crate::exit::exit_codes_help;
use crate::format::FORMAT_HELP;
use crate::users::UsersCommand;
use althing_bench::{BenchArguments, CoapBenchArguments, WebVsPollingArguments};
use althing_server::issue::{AUTHORITY_DAYS, LEAF_DAYS};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One broker for the protocols of the Internet of Things, and its tools.
///
/// Without a command it is the broker: `althing` is `althing serve`.
#[derive(Parser, Debug)]
#[command(name = "althing", version, after_help = exit_codes_help())]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the broker (the default)
    #[command(after_help = exit_codes_help())]
    Serve(ServeArguments),
    /// Publish messages
    #[command(disable_help_flag = true, after_help = exit_codes_help())]
    Pub(PublishArguments),
    /// Subscribe and print what comes
    #[command(disable_help_flag = true, after_help = exit_codes_help())]
    Sub(SubscribeArguments),
    /// Publish a request and print the answer
    ///
    /// The request carries a response topic and correlation data; what comes back on that topic with the same data is the
    /// answer. MQTT 3 has neither: there the responder must know the response topic, and whatever comes on it is the answer.
    #[command(disable_help_flag = true, after_help = exit_codes_help())]
    Request(RequestArguments),
    /// Answer requests at their response topics
    #[command(disable_help_flag = true, after_help = exit_codes_help())]
    Reply(ReplyArguments),
    /// Play a collection of saved steps, as the console exports them, from top to bottom
    ///
    /// A step subscribes, publishes, requests, or expects a message that must come; the first that fails ends the command with its
    /// exit code. docs/collections.md describes the file.
    #[command(disable_help_flag = true, after_help = exit_codes_help())]
    Run(RunArguments),
    /// Fill a broker with a small house of simulated devices
    ///
    /// Temperature and humidity, doors, meters and a lamp publish in every language that the broker understands, each second a
    /// minute of their day. What they said is taken away when it ends.
    #[command(after_help = exit_codes_help())]
    Demo(DemoArguments),
    /// Load a broker and verify every message
    #[command(subcommand, after_help = exit_codes_help())]
    Bench(BenchCommand),
    /// Explain the bytes of a protocol, field by field
    ///
    /// Each line is a field: where it stands, its bytes, its name in the words of the specification, what it says and where
    /// it is specified. Bytes that are none of the protocol are shown up to the mistake, with the reason; the exit code is 5.
    #[command(after_help = exit_codes_help())]
    Decode(DecodeArguments),
    /// Make certificates for a laboratory: a CA, and what it signs for servers and clients
    ///
    /// All of them are ECDSA on P-256. Key files can be read by their owner alone; keep ca.key off the broker's machine when the
    /// laboratory grows up.
    #[command(subcommand, after_help = exit_codes_help())]
    Cert(CertCommand),
    /// Look at, repair, copy or dump what a broker has stored
    ///
    /// The directory is the one that the broker was given with --data. All but `backup` need a broker that is not running.
    #[command(subcommand, after_help = exit_codes_help())]
    Store(StoreCommand),
    /// Check, show and explain the configuration, or make one of a mosquitto.conf
    #[command(subcommand, after_help = exit_codes_help())]
    Config(ConfigCommand),
    /// Explain who may do what
    #[command(subcommand, after_help = exit_codes_help())]
    Acl(AclCommand),
    /// Say who may log in: add, remove and list the users of the users file
    #[command(subcommand, after_help = exit_codes_help())]
    Users(UsersCommand),
    #[command(flatten)]
    Admin(AdminCommand),
    #[command(flatten)]
    Coap(CoapCommand),
    /// Compare the protocols that the broker speaks
    Protocols(TableArguments),
    /// Print completions for a shell, to be sourced by it
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write one for each command
    Man {
        /// The directory to write to, made if need be [default: the main page on stdout]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Print the version
    Version(TableArguments),
}

impl Command {
    /// Whether stderr is to stay empty.
    pub fn is_quiet(&self) -> bool {
        match self {
            Self::Pub(arguments) => arguments.connection.quiet,
            Self::Sub(arguments) => arguments.connection.quiet,
            Self::Request(arguments) => arguments.connection.quiet,
            Self::Reply(arguments) => arguments.connection.quiet,
            Self::Run(arguments) => arguments.connection.quiet,
            Self::Coap(command) => command.is_quiet(),
            _ => false,
        }
    }
}

/// `althing serve`
#[derive(Args, Debug, Default)]
pub struct ServeArguments {
    /// The configuration file, in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the broker keeps sessions and messages, made if need be [default: ./althing-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Add this to every default port, so that several brokers share a machine
    ///
    /// Where that leads beyond port 65535 it goes on at 1024. The banner says where each language listens.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    /// Let other machines in, the safe way: inside TLS, with a password; what is plain stays on this machine
    ///
    /// At the first time it makes a CA, a certificate for all addresses of this machine and a user, in the data directory, and prints
    /// what the others need.
    #[arg(long)]
    pub lan: bool,
    /// Read the console's files from here at each request, instead of those that are built in
    #[arg(long, value_name = "DIR")]
    pub console_dir: Option<PathBuf>,
    /// Set a configuration key, repeatable; overrides file and environment
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}

/// `althing demo`
#[derive(Args, Debug)]
pub struct DemoArguments {
    /// A broker, once for each language: mqtt://HOST, ws://, ws://HOST/json, http://, stomp://, coap://; what has none speaks MQTT
    /// [default: every language of `althing serve` on this machine]
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// As `althing serve` was given it
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "urls")]
    pub port_offset: u16,
    /// The same seed makes the same days
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The topic of the house
    #[arg(short, long, default_value = "demo/house")]
    pub topic: String,
    /// How long a minute of the house takes
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub interval: Duration,
    /// End after so many minutes of the house
    #[arg(short = 'C', long, value_name = "N")]
    pub count: Option<u64>,
    /// Leave the last values behind
    #[arg(long)]
    pub keep: bool,
}

/// `althing bench`
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Load an MQTT broker, verify every message, and report what it cost
    #[command(after_help = exit_codes_help())]
    Mqtt(BenchArguments),
    /// Load a CoAP server over UDP, verify every response, and report what it cost
    ///
    /// By itself it reads the resource as fast as one request after the other is answered. A response of an error ends it; what is
    /// lost or wrong is counted, and makes the exit code 7.
    #[command(after_help = exit_codes_help())]
    Coap(CoapBenchArguments),
    /// Count what one message a second takes by HTTP polling and by WebSocket: the textbook's table from real sockets
    #[command(after_help = exit_codes_help())]
    WebVsPolling(WebVsPollingArguments),
}

/// `althing cert`
#[derive(Subcommand, Debug)]
pub enum CertCommand {
    /// Make a CA: DIR/ca.crt for everybody, DIR/ca.key for nobody
    #[command(after_help = exit_codes_help())]
    Ca {
        /// Where it goes, made if need be
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// What it is called
        #[arg(long, default_value = "Althing lab CA")]
        name: String,
        /// How many days it holds
        #[arg(long, value_name = "N", default_value_t = AUTHORITY_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Replace what is there: nothing that the old CA has signed is trusted any more
        #[arg(long)]
        force: bool,
    },
    /// Make a server's certificate, signed by the CA in DIR; the first name names its files
    #[command(after_help = exit_codes_help())]
    Server {
        /// Where the CA is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// A name that clients connect to, repeatable; localhost brings the loopback addresses with it
        #[arg(long, required_unless_present = "ip")]
        name: Vec<String>,
        /// An address that clients connect to, repeatable
        #[arg(long, value_name = "ADDRESS")]
        ip: Vec<IpAddr>,
        /// How many days it holds, at most as long as the CA
        #[arg(long, value_name = "N", default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Replace what is there; a broker that uses it takes the new one by itself
        #[arg(long)]
        force: bool,
    },
    /// Make a client's certificate, signed by the CA in DIR
    #[command(after_help = exit_codes_help())]
    Client {
        /// Where the CA is
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Who it is: the common name, and the name of its files
        #[arg(long)]
        name: String,
        /// How many days it holds, at most as long as the CA
        #[arg(long, value_name = "N", default_value_t = LEAF_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Replace what is there
        #[arg(long)]
        force: bool,
    },
}

/// `althing store`
#[derive(Subcommand, Debug)]
pub enum StoreCommand {
    /// Read everything and tell all damage; nothing is changed
    ///
    /// The exit code is 0 when all is well and 1 when there is damage.
    #[command(after_help = exit_codes_help())]
    Check {
        /// The data directory, or a backup
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what still holds of a damaged store into a new one, which takes its place
    ///
    /// The damaged files are kept beside it, as DIR.damaged-1. Without consent to the loss it only tells what would be lost.
    #[command(after_help = exit_codes_help())]
    Repair {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Consent to losing what is damaged
        #[arg(long)]
        accept_loss: bool,
    },
    /// Copy a store; the broker may be running on it
    ///
    /// The copy is what was stored at one moment, and is read back before it gets its name.
    #[command(after_help = exit_codes_help())]
    Backup {
        /// The data directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where the copy goes: an empty directory, or one that does not exist
        #[arg(value_name = "TARGET")]
        target: PathBuf,
    },
    /// Copy a backup to a data directory, when it is undamaged
    #[command(after_help = exit_codes_help())]
    Restore {
        /// The backup
        #[arg(value_name = "BACKUP")]
        backup: PathBuf,
        /// The data directory: an empty one, or one that does not exist
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Print everything that is stored, one JSON object a line
    ///
    /// The field `kind` is session, subscription, token, retained or entry. Times are in seconds from now on. What is damaged is
    /// told on stderr, and the exit code is 1.
    #[command(after_help = exit_codes_help())]
    Export {
        /// The data directory, or a backup
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// `althing decode`
#[derive(Args, Debug)]
pub struct DecodeArguments {
    /// The protocol
    pub protocol: Language,
    /// The bytes in hexadecimal, with or without spaces, colons, commas and 0x [default: stdin]
    #[arg(value_name = "HEX")]
    pub bytes: Vec<String>,
    /// Read the bytes from a file, as they are
    #[arg(short, long, value_name = "FILE", conflicts_with = "bytes")]
    pub file: Option<PathBuf>,
    /// The version of MQTT [default: what CONNECT says, else the newest in which all bytes are packets]
    #[arg(short = 'V', long, value_enum, value_name = "VERSION")]
    pub version: Option<MqttVersion>,
    /// Print JSON, one object a field
    #[arg(long)]
    pub json: bool,
}

/// A protocol whose bytes can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    Mqtt,
    Coap,
    Stomp,
    /// The frames; what is in them is decoded by itself
    Websocket,
}

/// The versions of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttVersion {
    #[value(name = "3", alias = "31", alias = "3.1")]
    V31,
    #[value(name = "311", alias = "3.1.1", alias = "4")]
    V311,
    #[value(name = "5", alias = "5.0")]
    V5,
}

/// Commands that print facts.
#[derive(Args, Debug)]
pub struct TableArguments {
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// `althing pub`
#[derive(Args, Debug)]
pub struct PublishArguments {
    /// The topic to publish to
    #[arg(short, long)]
    pub topic: Option<String>,
    #[command(flatten)]
    pub payload: PayloadArguments,
    /// Publish each line of stdin as a message
    #[arg(short = 'l', long, group = "payload")]
    pub stdin_line: bool,
    /// QoS: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Keep the message as the topic's last value
    #[arg(short, long)]
    pub retain: bool,
    /// Publish the message so many times
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "stdin_line",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub repeat: u64,
    /// Wait between repeats
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = parse_duration, requires = "repeat")]
    pub repeat_delay: Duration,
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Where a payload comes from; exactly one is given.
#[derive(Args, Debug)]
#[group(id = "payload", required = true, multiple = false)]
pub struct PayloadArguments {
    /// The payload
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Take the payload from a file
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Take the payload from stdin, all of it
    #[arg(short = 's', long)]
    pub stdin_file: bool,
    /// An empty payload; with -r it removes the topic's last value
    #[arg(short = 'n', long)]
    pub null_message: bool,
}

/// `althing sub`
#[derive(Args, Debug)]
pub struct SubscribeArguments {
    /// The topic filters to subscribe to
    #[arg(value_name = "FILTER")]
    pub filters: Vec<String>,
    /// A topic filter, repeatable; the same as FILTER
    #[arg(short, long, value_name = "FILTER")]
    pub topic: Vec<String>,
    /// Highest QoS to receive with
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Stop after so many printed messages
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after this time; exit code 6 when COUNT messages, or any, have not come by then
    #[arg(short = 'W', long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Stop once the broker has acknowledged the subscriptions
    #[arg(short = 'E', long)]
    pub exit_after_subscribe: bool,
    /// Do not print retained messages
    #[arg(short = 'R', long, conflicts_with = "retained_only")]
    pub no_retained: bool,
    /// Print only retained messages; stop at the first that is not
    #[arg(long)]
    pub retained_only: bool,
    /// Remove the retained messages that come in
    #[arg(long)]
    pub remove_retained: bool,
    /// Leave out topics that match this filter, repeatable
    #[arg(short = 'T', long, value_name = "FILTER")]
    pub filter_out: Vec<String>,
    /// Unsubscribe from a filter of a kept session, repeatable
    #[arg(short = 'U', long, value_name = "FILTER")]
    pub unsubscribe: Vec<String>,
    /// Ask for the retain flag as the publisher set it (MQTT 5)
    #[arg(long)]
    pub retain_as_published: bool,
    /// Ask not to get this client's own messages (MQTT 5)
    #[arg(long)]
    pub no_local: bool,
    /// End when the connection is lost instead of connecting again
    #[arg(long)]
    pub no_reconnect: bool,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// How received messages are printed.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArguments {
    /// Print the topic before each payload
    #[arg(short, long, conflicts_with = "json")]
    pub verbose: bool,
    #[arg(short = 'F', long, value_name = "FORMAT", help = FORMAT_HELP, allow_hyphen_values = true, conflicts_with = "json")]
    pub format: Option<String>,
    /// Print one JSON object a line: ts topic payload payload_b64 qos retain dup props protocol client
    ///
    /// `payload` is null when the payload is not UTF-8 text, `payload_b64` when it is. `props` names the properties as -D does.
    /// `client` is the client identifier of this subscriber.
    #[arg(long)]
    pub json: bool,
    /// No line end after each message
    #[arg(short = 'N', long)]
    pub no_newline: bool,
}

/// `althing run`
#[derive(Args, Debug)]
pub struct RunArguments {
    /// The collection, a JSON file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// `althing request`
#[derive(Args, Debug)]
pub struct RequestArguments {
    /// The topic to send the request to
    #[arg(short, long)]
    pub topic: Option<String>,
    /// The topic to wait on for the answer [default: one made up for this request]
    #[arg(short = 'e', long, value_name = "TOPIC")]
    pub response_topic: Option<String>,
    #[command(flatten)]
    pub payload: PayloadArguments,
    /// QoS of request and answer
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Keep the request as the topic's last value
    #[arg(short, long)]
    pub retain: bool,
    /// Wait for so many answers
    #[arg(short = 'C', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// How long to wait for the answers; exit code 6 when they have not come by then
    #[arg(short = 'W', long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// `althing reply`
#[derive(Args, Debug)]
pub struct ReplyArguments {
    /// The filter that requests come in on, repeatable
    #[arg(short, long, value_name = "FILTER")]
    pub topic: Vec<String>,
    #[command(flatten)]
    pub answer: AnswerArguments,
    /// QoS of requests and answers
    #[arg(short, long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub qos: u8,
    /// Stop after so many answers
    #[arg(short = 'C', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop after this time
    #[arg(short = 'W', long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// End when the connection is lost instead of connecting again
    #[arg(long)]
    pub no_reconnect: bool,
    #[command(flatten)]
    pub connection: ConnectionArguments,
}

/// Where answers come from; exactly one is given.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct AnswerArguments {
    /// Always answer with this text
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Answer with what this shell command prints; it reads the request's payload on stdin, its topic in $ALTHING_TOPIC
    #[arg(long, value_name = "COMMAND")]
    pub command: Option<String>,
    /// Answer with the request's own payload
    #[arg(long)]
    pub echo: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("althing").chain(line.split_whitespace()))
    }

    #[test]
    fn the_table_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_command_is_the_broker() {
        assert!(parse("").unwrap().command.is_none());
    }

    #[test]
    fn serve_takes_its_options() {
        let Some(Command::Serve(serve)) =
            parse("serve --config a.toml --data d --port-offset 7 --set mqtt.bind=[::1]:1 --set log.level=debug")
                .unwrap()
                .command
        else {
            panic!("not serve")
        };
        assert_eq!((serve.config, serve.data, serve.port_offset), (Some("a.toml".into()), Some("d".into()), 7));
        assert_eq!(serve.set, ["mqtt.bind=[::1]:1", "log.level=debug"]);
    }

    #[test]
    fn pub_reads_mosquittos_short_options() {
        let line = "pub -h broker -p 1884 -t a/b -m -5 -q 2 -r -i me -u ann -P pw -k 5 -V mqttv311 --repeat 3 --repeat-delay 0.5";
        let Some(Command::Pub(arguments)) = parse(line).unwrap().command else { panic!("not pub") };
        assert_eq!((arguments.topic.as_deref(), arguments.qos, arguments.retain), (Some("a/b"), 2, true));
        assert_eq!(arguments.payload.message.as_deref(), Some("-5"));
        assert_eq!((arguments.repeat, arguments.repeat_delay), (3, Duration::from_millis(500)));
    }

    #[test]
    fn sub_reads_mosquittos_short_options() {
        let line = "sub -t a/# -t b -T a/x -U old -q 1 -C 5 -W 2 -v -N -R -E -F %t -c -i me -x 60";
        let Some(Command::Sub(arguments)) = parse(line).unwrap().command else { panic!("not sub") };
        assert_eq!(arguments.topic, ["a/#", "b"]);
        assert_eq!((arguments.count, arguments.timeout), (Some(5), Some(Duration::from_secs(2))));
        assert_eq!((arguments.filter_out, arguments.unsubscribe), (vec!["a/x".to_owned()], vec!["old".to_owned()]));
        assert!(
            arguments.output.verbose
                && arguments.output.no_newline
                && arguments.no_retained
                && arguments.exit_after_subscribe
        );
    }

    #[test]
    fn one_payload_is_given() {
        for line in [
            "pub -t a",
            "pub -t a -m x -n",
            "pub -t a -l -m x",
            "pub -t a -f x -s",
            "pub -t a -l --repeat 2",
            "request -t a",
            "reply -t a",
            "reply -t a --echo -m x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in [
            "pub -t a -m x",
            "pub -t a -n",
            "pub -t a -l",
            "pub -t a -s",
            "pub -t a -f x",
            "request -t a -n",
            "reply -t a --echo",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn every_client_command_prints_help_with_the_exit_codes() {
        for command in ["pub", "sub", "request", "reply"] {
            let help = parse(&format!("{command} --help")).unwrap_err();
            assert_eq!(help.kind(), clap::error::ErrorKind::DisplayHelp);
            assert!(help.to_string().contains("130  interrupted"), "{command}");
        }
    }

    #[test]
    fn json_and_other_forms_exclude_each_other() {
        assert!(parse("sub -t a --json -F %t").is_err());
        assert!(parse("sub -t a --json -v").is_err());
    }
}
