//! The options of the CoAP commands.

use super::conversation::Manner;
use crate::connection::parse_duration;
use crate::exit::{ExitCode, Failure, table_of_codes};
use crate::payload::read_source;
use crate::tls::TlsArguments;
use althing_coap::message::Kind;
use bytes::Bytes;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// How the commands end.
const EXIT_CODES: [(ExitCode, &str); 9] = [
    (ExitCode::Ok, "done: a response of success (2.xx), an answered ping"),
    (ExitCode::Runtime, "something failed while running: the connection was lost, a file cannot be written"),
    (ExitCode::Usage, "the command line is wrong"),
    (ExitCode::CannotConnect, "no connection, no DTLS, or no answer after all retransmissions"),
    (ExitCode::Refused, "a response of an error (4.xx, 5.xx)"),
    (ExitCode::Protocol, "one of the two sides broke the protocol"),
    (ExitCode::Timeout, "the time of -W was up"),
    (ExitCode::Interrupted, "interrupted (SIGINT)"),
    (ExitCode::Terminated, "terminated (SIGTERM)"),
];

/// What follows on options with a heading of their own goes back to those without.
const OPTIONS: Option<&str> = None;

/// What `--help` ends with.
fn examples(lines: &str) -> String {
    format!("Examples:\n{lines}\n{}", table_of_codes(&EXIT_CODES))
}

/// CoAP from the command line.
#[derive(Subcommand, Debug)]
pub enum CoapCommand {
    /// Read a CoAP resource
    ///
    /// Its representation goes to stdout: CBOR in diagnostic notation, JSON indented, links one a line, text as it is. What comes in
    /// blocks is put together.
    #[command(after_help = examples("  althing get coap://127.0.0.1/t/home/kitchen/temperature\n  \
        althing get coap://127.0.0.1/time -v\n  \
        althing get coaps://broker.example/t/a --psk-identity kitchen --psk secret\n"))]
    Get(RequestArguments),
    /// Replace a CoAP resource; on a broker: publish, and keep as the topic's last value
    #[command(after_help = examples("  althing put coap://127.0.0.1/t/home/kitchen/temperature 21.5\n  \
        althing put coap://127.0.0.1/t/firmware -f image.bin -t application/octet-stream\n  \
        echo '{\"on\":true}' | althing put coap://127.0.0.1/t/lamp -s -t json\n"))]
    Put(PayloadRequestArguments),
    /// Give a CoAP resource something to process; on a broker: publish, and keep nothing
    #[command(after_help = examples("  althing post coap://127.0.0.1/t/orders 'one pizza'\n"))]
    Post(PayloadRequestArguments),
    /// Remove a CoAP resource; on a broker: clear the topic's last value
    #[command(after_help = examples("  althing delete coap://127.0.0.1/t/home/kitchen/temperature\n"))]
    Delete(RequestArguments),
    /// Ask a CoAP resource for what the payload names (RFC 8132)
    #[command(after_help = examples("  althing fetch coap://127.0.0.1/ps -f wanted.cbor -t 606\n"))]
    Fetch(PayloadRequestArguments),
    /// Change a part of a CoAP resource (RFC 8132)
    #[command(after_help = examples("  althing patch coap://127.0.0.1/lamp '{\"on\":true}' -t application/merge-patch+json\n"))]
    Patch(PayloadRequestArguments),
    /// Change a part of a CoAP resource, such that doing it twice does no more (RFC 8132)
    #[command(after_help = examples("  althing ipatch coap://127.0.0.1/ps/h9392 -f changed.cbor -t 606\n"))]
    Ipatch(PayloadRequestArguments),
    /// Print a CoAP resource whenever it changes; on a broker: subscribe
    ///
    /// One notification a line: its number, when it came, its value. With a payload it observes by FETCH.
    #[command(after_help = examples("  althing observe coap://127.0.0.1/t/home/kitchen/temperature\n  \
        althing observe coap://127.0.0.1/time -C 3 --json\n"))]
    Observe(ObserveArguments),
    /// List what a CoAP server has: the links of /.well-known/core as a tree
    #[command(after_help = examples("  althing discover coap://127.0.0.1\n  \
        althing discover coap://127.0.0.1 rt=core.ps\n"))]
    Discover(DiscoverArguments),
    /// Ask whether a CoAP server is there
    #[command(after_help = examples("  althing ping coap://127.0.0.1 -c 3\n"))]
    Ping(PingArguments),
}

impl CoapCommand {
    /// Whether stderr is to stay empty.
    pub fn is_quiet(&self) -> bool {
        match self {
            Self::Get(arguments) | Self::Delete(arguments) => arguments.carrying.quiet,
            Self::Put(it) | Self::Post(it) | Self::Fetch(it) | Self::Patch(it) | Self::Ipatch(it) => {
                it.request.carrying.quiet
            }
            Self::Observe(arguments) => arguments.request.carrying.quiet,
            Self::Discover(arguments) => arguments.request.carrying.quiet,
            Self::Ping(arguments) => arguments.carrying.quiet,
        }
    }
}

/// One request.
#[derive(Args, Debug)]
pub struct RequestArguments {
    /// The resource: coap://HOST[:PORT]/PATH[?QUERY]; coaps:// in DTLS, coap+tcp:// and coaps+tcp:// on a connection, coap+ws://
    /// and coaps+ws:// in a WebSocket
    #[arg(value_name = "URL")]
    pub url: String,
    /// Have the request acknowledged, and repeated until it is (the default)
    #[arg(long, conflicts_with = "non")]
    pub con: bool,
    /// Send the request once
    #[arg(long)]
    pub non: bool,
    /// The content format of the payload, by number or name: 50, json, application/json
    #[arg(short = 't', long, value_name = "FORMAT")]
    pub content_format: Option<String>,
    /// The content format that is wanted, by number or name
    #[arg(short = 'A', long, value_name = "FORMAT")]
    pub accept: Option<String>,
    /// Add an option, repeatable: its number, and its value as text, as 0xHEX or, for those that are numbers, as one
    #[arg(short = 'O', long = "option", value_name = "NUMBER[,VALUE]")]
    pub options: Vec<String>,
    /// Wait at most so long; exit code 6 when the time is up
    #[arg(short = 'W', long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Print JSON: url code name content_format max_age_s etag observe location payload payload_b64 value
    #[arg(long)]
    pub json: bool,
    /// Print the payload as it came
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
    /// Write the payload as it came to a file
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["json", "raw"])]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub carrying: CarryingArguments,
}

/// A request with something to say.
#[derive(Args, Debug)]
pub struct PayloadRequestArguments {
    #[command(flatten)]
    pub request: RequestArguments,
    #[command(flatten, next_help_heading = OPTIONS)]
    pub payload: CoapPayloadArguments,
}

/// Where a payload comes from; without any of them it is empty.
#[derive(Args, Debug)]
#[group(multiple = false)]
pub struct CoapPayloadArguments {
    /// The payload
    #[arg(value_name = "PAYLOAD")]
    text: Option<String>,
    /// The payload; the same as PAYLOAD
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    message: Option<String>,
    /// Take the payload from a file
    #[arg(short, long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Take the payload from stdin, all of it
    #[arg(short = 's', long)]
    stdin_file: bool,
}

impl SecretArguments {
    /// Whether there is one.
    pub fn any(&self) -> bool {
        self.psk.is_some() || self.oscore.is_some()
    }
}

impl RequestArguments {
    /// What `--con` and `--non` mean.
    pub fn kind(&self) -> Kind {
        if self.non { Kind::NonConfirmable } else { Kind::Confirmable }
    }
}

impl CarryingArguments {
    /// The same for a conversation.
    pub fn manner(&self) -> Manner {
        Manner { block_bytes: self.block_size, is_shown: self.verbose, security: self.security.clone() }
    }
}

impl CoapPayloadArguments {
    /// The payload, read whole.
    pub fn read(&self) -> Result<Bytes, Failure> {
        read_source(self.text.as_ref().or(self.message.as_ref()), self.file.as_deref(), self.stdin_file)
    }

    /// Whether there is one.
    pub fn is_given(&self) -> bool {
        self.text.is_some() || self.message.is_some() || self.file.is_some() || self.stdin_file
    }
}

/// `althing observe`
#[derive(Args, Debug)]
pub struct ObserveArguments {
    #[command(flatten)]
    pub request: RequestArguments,
    #[command(flatten, next_help_heading = OPTIONS)]
    pub payload: CoapPayloadArguments,
    /// Stop after so many notifications
    #[arg(short = 'C', long, help_heading = OPTIONS, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

/// `althing discover`
#[derive(Args, Debug)]
pub struct DiscoverArguments {
    #[command(flatten)]
    pub request: RequestArguments,
    /// Only links with this attribute, as rt=core.ps or if=sensor*
    #[arg(help_heading = OPTIONS, value_name = "NAME=VALUE")]
    pub filters: Vec<String>,
    /// One link a line instead of a tree
    #[arg(long, help_heading = OPTIONS)]
    pub flat: bool,
}

/// `althing ping`
#[derive(Args, Debug)]
pub struct PingArguments {
    /// The server: coap://HOST[:PORT], or any other scheme of CoAP
    #[arg(value_name = "URL")]
    pub url: String,
    /// So many times
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Wait at most so long; exit code 6 when the time is up
    #[arg(short = 'W', long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub carrying: CarryingArguments,
}

/// How messages get to the server.
#[derive(Args, Debug)]
pub struct CarryingArguments {
    /// Blocks of this size both ways: 16, 32, 64, 128, 256, 512 or 1024 bytes [default: 1024, when there is more than that]
    #[arg(short, long, value_name = "BYTES")]
    pub block_size: Option<usize>,
    /// Show each message on stderr: type, message id, token and options, and which are sent again
    #[arg(short, long)]
    pub verbose: bool,
    /// Say nothing on stderr
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    #[command(flatten)]
    pub security: SecurityArguments,
}

/// What protects the messages.
#[derive(Args, Clone, Debug, Default)]
pub struct SecurityArguments {
    #[command(flatten, next_help_heading = "Shared secrets")]
    pub secrets: SecretArguments,
    #[command(flatten, next_help_heading = "Certificates, with coaps://, coaps+tcp:// and coaps+ws://")]
    pub tls: TlsArguments,
}

/// What both ends know.
#[derive(Args, Clone, Debug, Default)]
pub struct SecretArguments {
    /// The pre-shared key of DTLS, with coaps://, as text or 0xHEX; other users of this machine can see it in the process list
    #[arg(long, value_name = "KEY", requires = "psk_identity")]
    pub psk: Option<String>,
    /// Who we are to the server that knows the key
    #[arg(long, value_name = "NAME", requires = "psk")]
    pub psk_identity: Option<String>,
    /// Protect each message by OSCORE, with the context in FILE, the one called NAME of several, or this one:
    /// master_secret=HEX,sender_id=HEX,recipient_id=HEX[,master_salt=HEX][,id_context=HEX]; we are the sender
    #[arg(long, value_name = "FILE|FILE#NAME|CONTEXT")]
    pub oscore: Option<String>,
    /// Where the sequence numbers of OSCORE are kept, which must never be used again [default: ~/.local/state/althing]
    #[arg(long, value_name = "DIR", requires = "oscore")]
    pub oscore_state: Option<PathBuf>,
}
