//! The load generators behind `althing bench mqtt` and `althing bench coap`: one thread, one poll, every message verified.
//!
//! [`run`] opens the connections of a scenario ([`setup`]), sends and receives its messages ([`traffic`], over the
//! sockets of [`fleet`], inside [`tls`] or [`websocket`] when it is asked for), keeps the books that find loss, duplicates and disorder ([`verify`]) and reads what the
//! broker's process has cost ([`process`]). `bench/README.md` says how two brokers are compared fairly.

mod arguments;
mod coap;
mod error;
mod fleet;
mod latency;
mod process;
mod report;
mod scenarios;
mod setup;
mod tls;
mod traffic;
mod verify;
mod web_vs_polling;
mod websocket;
mod wire;

pub use arguments::{BenchArguments, CommonArguments, Phase, Scenario, VersionArgument};
pub use coap::{CoapBenchArguments, CoapReport, CoapResource, Method};
pub use error::BenchError;
pub use latency::Latency;
pub use report::Report;
pub use web_vs_polling::{WebVsPolling, WebVsPollingArguments};

/// Runs one scenario against the broker. The report may be unclean; see [`Report::is_clean`].
pub fn run(arguments: &BenchArguments) -> Result<Report, BenchError> {
    scenarios::run(arguments)
}

/// Asks a CoAP server and verifies what it answers. The report may be unclean; see [`CoapReport::is_clean`].
pub fn coap(arguments: &CoapBenchArguments, resource: &CoapResource) -> Result<CoapReport, BenchError> {
    coap::run(arguments, resource)
}

/// Counts what one message a second takes by HTTP polling and by WebSocket.
pub fn web_vs_polling(arguments: &WebVsPollingArguments) -> Result<WebVsPolling, BenchError> {
    web_vs_polling::run(arguments)
}

/// Runs one scenario and prints its report: exit code 0 when it is clean, 1 when messages were lost, duplicated,
/// reordered or misrouted, 2 when the run could not be finished.
pub fn main(arguments: &BenchArguments) -> std::process::ExitCode {
    match run(arguments) {
        Ok(report) => {
            if arguments.common.json {
                println!("{}", report.json());
            } else {
                print!("{report}");
            }
            if report.is_clean() { 0.into() } else { 1.into() }
        }
        Err(error) => {
            eprintln!("Error: {error}");
            2.into()
        }
    }
}
