//! `althing bench coap`: requests and observations of one CoAP resource over UDP, each response verified.
//!
//! [`load`] asks as often as windows or a rate allow, [`observing`] publishes to observers; both speak through
//! [`endpoint`]s, sockets whose messages are one template with another id, token and stamp each.

mod endpoint;
mod load;
mod observing;
mod report;

use crate::BenchError;
use crate::process::{self, Process};
use crate::report::Sample;
use althing_coap::message::Options;
use clap::{Args, ValueEnum};
use endpoint::Endpoints;
pub use report::CoapReport;
use std::net::{SocketAddr, ToSocketAddrs};

/// Load a CoAP server over UDP, verify every response, and report what it cost.
#[derive(Args, Clone, Debug)]
pub struct CoapBenchArguments {
    /// The resource: coap://HOST[:PORT]/PATH
    #[arg(value_name = "URL")]
    pub url: String,
    /// What is asked
    #[arg(long, short, value_enum, default_value = "get")]
    pub method: Method,
    /// Sockets that ask, each an endpoint of its own; with `observe` those that observe
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub endpoints: u32,
    /// Unanswered requests of an endpoint, at most; with `observe` publications that not everybody has heard
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub window: u32,
    /// Ask non-confirmably: nothing is sent again
    #[arg(long)]
    pub non: bool,
    /// Requests a second of all endpoints together; a late one keeps its due time [default: as many as the windows allow]
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Bytes of each payload. With `get` they are put there first; without, each response has to be the same as the first
    /// [default: 64, with get what is there]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(8..=1_024))]
    pub payload_bytes: Option<u32>,
    /// Length of the measured part
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = crate::arguments::seconds)]
    pub duration_s: f64,
    /// Load before the measured part
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5, value_parser = crate::arguments::seconds)]
    pub warm_up_s: f64,
    /// Measure so many requests, however long they take, without load before them
    #[arg(long, value_name = "N", conflicts_with_all = ["duration_s", "warm_up_s"], value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// ACK_TIMEOUT: a confirmable message is sent again after so long, then after twice as long, four times in all; what is not
    /// confirmable is lost by then
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = crate::arguments::seconds)]
    pub ack_timeout_s: f64,
    /// Process id of the server: adds its processor time to the report
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

/// What is asked of the resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Read it.
    Get,
    /// Replace it.
    Put,
    /// Give it something to process.
    Post,
    /// Observe it, and let one more endpoint replace it.
    Observe,
}

/// The resource, as its URL says.
#[derive(Clone, Debug)]
pub struct CoapResource {
    /// A name or address.
    pub host: String,
    /// As in the URL, or the default.
    pub port: u16,
    /// Those that name the resource (RFC 7252 §6.4).
    pub options: Options,
}

/// What one run knows.
struct Run<'a> {
    arguments: &'a CoapBenchArguments,
    resource: &'a CoapResource,
    address: SocketAddr,
    server: Option<Process>,
}

/// Runs the load. The report may be unclean; see [`CoapReport::is_clean`].
pub fn run(arguments: &CoapBenchArguments, resource: &CoapResource) -> Result<CoapReport, BenchError> {
    let (host, port) = (resource.host.as_str(), resource.port);
    let error = |source| BenchError::Resolve { host: host.to_owned(), port, source };
    // As the client does it: a datagram does not tell which address has a server.
    let address = (host, port).to_socket_addrs().map_err(error)?.min_by_key(SocketAddr::is_ipv6);
    let address = address.ok_or_else(|| error(std::io::ErrorKind::NotFound.into()))?;
    process::reserve_descriptors(arguments.endpoints as usize + 1)?;
    let run = Run { arguments, resource, address, server: arguments.broker_pid.map(Process::open).transpose()? };
    match arguments.method {
        Method::Observe => observing::run(&run),
        _ => load::run(&run),
    }
}

impl Run<'_> {
    fn endpoints(&self) -> Result<Endpoints, BenchError> {
        Endpoints::new(self.address, self.arguments.ack_timeout_s)
    }

    fn sample(&self) -> Result<Sample, BenchError> {
        Sample::take(self.server)
    }

    fn payload_bytes(&self) -> usize {
        self.arguments.payload_bytes.unwrap_or(64) as usize
    }
}
