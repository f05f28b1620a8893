//! The command line of `althing bench mqtt`.

use crate::BenchError;
use crate::fleet::Address;
use crate::tls::Tls;
use crate::websocket::WebSocket;
use crate::wire::Version;
use clap::{Args, Subcommand, ValueEnum};
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;

/// Load a broker, verify every message, and report what it cost.
#[derive(Args, Clone, Debug)]
pub struct BenchArguments {
    /// What to do with the broker.
    #[command(subcommand)]
    pub scenario: Scenario,
    /// What all scenarios share.
    #[command(flatten)]
    pub common: CommonArguments,
}

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub struct CommonArguments {
    /// Host of the broker.
    #[arg(long, global = true, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the broker.
    #[arg(long, short, global = true, default_value_t = 1883)]
    pub port: u16,
    /// Connect to this unix socket instead.
    #[arg(long, global = true, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// Speak TLS 1.3 on every connection.
    #[arg(long, global = true, conflicts_with = "unix")]
    pub tls: bool,
    /// Trust the CAs in this file, in PEM; needed with --tls, or --insecure.
    #[arg(long, global = true, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
    /// Take any certificate.
    #[arg(long, global = true, conflicts_with = "cafile")]
    pub insecure: bool,
    /// Resume TLS sessions, as devices that come back do; else every handshake is a full one.
    #[arg(long, global = true)]
    pub tls_resume: bool,
    /// Speak MQTT inside WebSocket, at this path.
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["unix", "tls"], num_args = 0..=1, require_equals = true, default_missing_value = "/mqtt")]
    pub websocket: Option<String>,
    /// Process id of the broker: adds its processor time and memory to the report.
    #[arg(long, global = true, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Version of MQTT.
    #[arg(long, global = true, value_enum, default_value = "3.1.1")]
    pub mqtt_version: VersionArgument,
    /// Length of the measured part.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds)]
    pub duration_s: f64,
    /// Load before the measured part.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 0.5, value_parser = seconds)]
    pub warm_up_s: f64,
    /// A broker that sends nothing for so long while something is due has failed, or lost it.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    pub silence_s: f64,
    /// Payload of each message; 20 bytes of it are the stamp that the verification needs.
    #[arg(long, global = true, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(20..=16_777_216))]
    pub payload_bytes: u32,
    /// Part of all client ids, for sessions that a later run takes up again. Default: from the process id.
    #[arg(long, global = true, value_name = "0..255")]
    pub id: Option<u8>,
    /// Print one JSON object instead of a table.
    #[arg(long, global = true)]
    pub json: bool,
}

/// A scenario and its own options.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// Each publisher has a topic and a subscriber of its own.
    P2p {
        /// Publishers, and as many subscribers.
        #[arg(long, default_value_t = 50, value_parser = clients())]
        clients: u32,
        /// Quality of service of publications and subscriptions.
        #[arg(long, default_value_t = 0, value_parser = qos())]
        qos: u8,
        /// Messages of a publisher not yet acknowledged and delivered to all, at most.
        #[arg(long, default_value_t = 20, value_parser = window())]
        window: u32,
    },
    /// One publisher, every subscriber gets every message.
    Fanout {
        /// Subscribers.
        #[arg(long, default_value_t = 500, value_parser = clients())]
        clients: u32,
        /// Quality of service of publications and subscriptions.
        #[arg(long, default_value_t = 0, value_parser = qos())]
        qos: u8,
        /// Messages of a publisher not yet acknowledged and delivered to all, at most.
        #[arg(long, default_value_t = 10, value_parser = window())]
        window: u32,
    },
    /// Many publishers, one subscriber gets every message.
    Fanin {
        /// Publishers.
        #[arg(long, default_value_t = 50, value_parser = clients())]
        clients: u32,
        /// Quality of service of publications and subscriptions.
        #[arg(long, default_value_t = 1, value_parser = qos())]
        qos: u8,
        /// Messages of a publisher not yet acknowledged and delivered to all, at most.
        #[arg(long, default_value_t = 20, value_parser = window())]
        window: u32,
    },
    /// Many publishers, a $share group gets each message once.
    Shared {
        /// Publishers.
        #[arg(long, default_value_t = 50, value_parser = clients())]
        clients: u32,
        /// Members of the group.
        #[arg(long, default_value_t = 4, value_parser = clients())]
        members: u32,
        /// Quality of service of publications and subscriptions.
        #[arg(long, default_value_t = 1, value_parser = qos())]
        qos: u8,
        /// Messages of a publisher not yet acknowledged and delivered to all, at most.
        #[arg(long, default_value_t = 20, value_parser = window())]
        window: u32,
    },
    /// Many filters (60 % exact, 20 % with +, 20 % with #), then publishing: each message matches one of each kind.
    Subscriptions {
        /// Subscribers; the filters are spread over them.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(4..=10_000))]
        clients: u32,
        /// Filters in all; five belong to a device.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(500..=5_000_000))]
        filters: u32,
        /// Publishers.
        #[arg(long, default_value_t = 10, value_parser = clients())]
        publishers: u32,
        /// Quality of service of publications and subscriptions.
        #[arg(long, default_value_t = 0, value_parser = qos())]
        qos: u8,
        /// Messages of a publisher not yet acknowledged and delivered to all, at most.
        #[arg(long, default_value_t = 20, value_parser = window())]
        window: u32,
    },
    /// Connections that do nothing: their memory, their setting up, their rest.
    Idle {
        /// Connections.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        clients: u32,
    },
    /// Point to point at a fixed rate; a late message keeps its due time (no coordinated omission).
    Latency {
        /// Publishers, and as many subscribers.
        #[arg(long, default_value_t = 50, value_parser = clients())]
        clients: u32,
        /// Messages a second of all publishers together.
        #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// Quality of service.
        #[arg(long, default_value_t = 0, value_parser = qos())]
        qos: u8,
    },
    /// Retained messages, one a topic, stored and then read by new subscribers to '#'.
    Retained {
        /// Topics.
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
        topics: u32,
        /// Subscribers that read all of them, at the same time.
        #[arg(long, default_value_t = 1, value_parser = clients())]
        clients: u32,
        /// Messages without acknowledgement while storing.
        #[arg(long, default_value_t = 20, value_parser = window())]
        window: u32,
        /// Only one half of it; the other half is another run.
        #[arg(long, value_enum, default_value = "both")]
        phase: Phase,
    },
    /// QoS 1 messages queued for absent sessions, which then come back.
    Offline {
        /// Sessions.
        #[arg(long, default_value_t = 50, value_parser = clients())]
        clients: u32,
        /// Messages in all.
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
        messages: u32,
        /// Messages of a publisher without acknowledgement while storing.
        #[arg(long, default_value_t = 20, value_parser = window())]
        window: u32,
        /// Only one half of it; the other half is another run with the same options and --id.
        #[arg(long, value_enum, default_value = "both")]
        phase: Phase,
    },
    /// Messages for lasting sessions: how long does each acknowledgement take, and how many come a second?
    Durable {
        /// Publishers.
        #[arg(long, default_value_t = 64, value_parser = clients())]
        clients: u32,
        /// Lasting sessions; each gets the messages of as many publishers.
        #[arg(long, default_value_t = 1, value_parser = clients())]
        sessions: u32,
        /// The sessions are connected, and a window is over delivery too. Otherwise they come back after the measured part.
        #[arg(long)]
        live: bool,
        /// Quality of service of publications and subscriptions.
        #[arg(long, default_value_t = 1, value_parser = qos())]
        qos: u8,
        /// Messages of a publisher under way, at most.
        #[arg(long, default_value_t = 1, value_parser = window())]
        window: u32,
    },
    /// QoS 0 as fast as the sockets take it, against subscribers that read slowly.
    Flood {
        /// Publishers.
        #[arg(long, default_value_t = 4, value_parser = clients())]
        clients: u32,
        /// Subscribers, each to all messages.
        #[arg(long, default_value_t = 1, value_parser = clients())]
        subscribers: u32,
        /// Bytes that each subscriber reads a second.
        #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(10_000..))]
        read_bytes_per_s: u32,
    },
    /// Point to point while other clients subscribe and unsubscribe.
    Churn {
        /// Publishers, and as many subscribers.
        #[arg(long, default_value_t = 50, value_parser = clients())]
        clients: u32,
        /// SUBSCRIBE and UNSUBSCRIBE packets a second.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// Quality of service of publications and subscriptions.
        #[arg(long, default_value_t = 0, value_parser = qos())]
        qos: u8,
        /// Messages of a publisher not yet acknowledged and delivered to all, at most.
        #[arg(long, default_value_t = 20, value_parser = window())]
        window: u32,
    },
}

/// Which part of a scenario that stores first and reads then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Phase {
    /// Store, then read.
    Both,
    /// Store, and leave it there.
    Store,
    /// Read what is there.
    Read,
}

impl Phase {
    /// Whether messages are stored.
    pub fn stores(self) -> bool {
        self != Self::Read
    }

    /// Whether they are read and removed.
    pub fn reads(self) -> bool {
        self != Self::Store
    }
}

/// The versions by their usual names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VersionArgument {
    /// MQTT 3.1.1.
    #[value(name = "3.1.1")]
    V311,
    /// MQTT 5.0.
    #[value(name = "5")]
    V5,
}

impl CommonArguments {
    /// The broker's address, resolved.
    pub fn address(&self) -> Result<Address, BenchError> {
        if let Some(path) = &self.unix {
            return Ok(Address::Unix(path.clone()));
        }
        let error = |source| BenchError::Resolve { host: self.host.clone(), port: self.port, source };
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs().map_err(error)?;
        let first = addresses.next().ok_or_else(|| error(io::ErrorKind::NotFound.into()))?;
        Ok(Address::Tcp(first))
    }

    /// How TLS is spoken, if it is.
    pub fn tls(&self) -> Result<Option<Tls>, BenchError> {
        let reason = match (self.tls, self.cafile.is_some() || self.insecure) {
            (true, true) => return Tls::new(&self.host, self.cafile.as_deref(), self.tls_resume).map(Some),
            (false, false) if !self.tls_resume => return Ok(None),
            (true, false) => "whose certificate is to be trusted? add --cafile, or --insecure",
            (false, _) => "--cafile, --insecure and --tls-resume are for --tls: add it",
        };
        Err(BenchError::Tls { reason: reason.to_owned() })
    }

    /// How WebSocket is spoken, if it is.
    pub fn websocket(&self) -> Option<WebSocket> {
        self.websocket.as_ref().map(|path| WebSocket::new(&format!("{}:{}", self.host, self.port), path))
    }

    /// As the frames say it.
    pub fn version(&self) -> Version {
        match self.mqtt_version {
            VersionArgument::V311 => Version::V311,
            VersionArgument::V5 => Version::V5,
        }
    }
}

/// Two connections each stay within the ports of a few loopback addresses.
fn clients() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=50_000)
}

fn qos() -> clap::builder::RangedI64ValueParser<u8> {
    clap::value_parser!(u8).range(0..=2)
}

/// As many as there are packet ids.
fn window() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=65_535)
}

/// Runs stay well below the keep alive that the clients promise.
pub fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected 0 to 600 seconds".to_owned()),
    }
}
