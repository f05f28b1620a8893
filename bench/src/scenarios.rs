//! The scenarios, and what they share: the broker's process and the frame of a run.

mod durable;
mod flood;
mod idle;
mod live;
mod stored;

use crate::arguments::{BenchArguments, CommonArguments, Scenario};
use crate::fleet::{Fleet, Wrapping};
use crate::process::{self, Process};
use crate::report::Sample;
use crate::traffic::Traffic;
use crate::{BenchError, Report};
use std::time::Duration;

/// Runs the scenario that the arguments name.
pub fn run(arguments: &BenchArguments) -> Result<Report, BenchError> {
    let common = &arguments.common;
    let run = Run { common, broker: common.broker_pid.map(Process::open).transpose()? };
    match arguments.scenario {
        Scenario::P2p { clients, qos, window } => live::run(&run, live::point_to_point(clients, qos, window)),
        Scenario::Fanout { clients, qos, window } => live::run(&run, live::fan_out(clients, qos, window)),
        Scenario::Fanin { clients, qos, window } => live::run(&run, live::fan_in(clients, qos, window)),
        Scenario::Shared { clients, members, qos, window } => {
            live::run(&run, live::shared(clients, members, qos, window))
        }
        Scenario::Subscriptions { clients, filters, publishers, qos, window } => {
            live::run(&run, live::subscriptions(clients, filters, publishers, qos, window))
        }
        Scenario::Latency { clients, rate, qos } => live::run(&run, live::latency(clients, rate, qos)),
        Scenario::Churn { clients, rate, qos, window } => live::run(&run, live::churn(clients, rate, qos, window)),
        Scenario::Idle { clients } => idle::run(&run, clients as usize),
        Scenario::Retained { topics, clients, window, phase } => stored::retained(&run, topics, clients, window, phase),
        Scenario::Offline { clients, messages, window, phase } => {
            stored::offline(&run, clients, messages, window, phase)
        }
        Scenario::Durable { clients, sessions, live, qos, window } => {
            durable::run(&run, clients as usize, sessions as usize, live, qos, window)
        }
        Scenario::Flood { clients, subscribers, read_bytes_per_s } => {
            flood::run(&run, clients as usize, subscribers as usize, read_bytes_per_s)
        }
    }
}

/// What every scenario is given.
struct Run<'a> {
    common: &'a CommonArguments,
    broker: Option<Process>,
}

impl Run<'_> {
    /// A fleet with room for `connections`.
    fn fleet(&self, connections: usize) -> Result<Fleet, BenchError> {
        process::reserve_descriptors(connections)?;
        let silence = Duration::from_secs_f64(self.common.silence_s);
        let id = self.common.id.unwrap_or(std::process::id() as u8);
        let wrapping = match (self.common.tls()?, self.common.websocket()) {
            (Some(tls), _) => Wrapping::Tls(tls),
            (None, Some(websocket)) => Wrapping::WebSocket(websocket),
            (None, None) => Wrapping::None,
        };
        Fleet::new(
            self.common.address()?,
            wrapping,
            self.common.version(),
            id,
            self.common.payload_bytes as usize,
            silence,
        )
    }

    fn sample(&self) -> Result<Sample, BenchError> {
        Sample::take(self.broker)
    }
}

/// Waits until all that is due has come. What a silent broker still owes then is lost, which is a result.
fn settle(fleet: &mut Fleet, traffic: &mut Traffic) -> Result<(), BenchError> {
    match fleet.run_until(traffic, "deliveries", |_, traffic| Ok(traffic.is_complete())) {
        Err(BenchError::Silent { .. }) => Ok(()),
        other => other,
    }
}

/// Writes the faults of a finished run into its report.
fn verdict(report: &mut Report, traffic: &Traffic) {
    let tally = traffic.tally();
    report.sent = traffic.sent();
    report.lost = traffic.deliveries_due();
    report.duplicated = tally.duplicated;
    report.reordered = tally.reordered;
    report.unexpected = tally.unexpected;
    let unacknowledged = traffic.acknowledgements_due();
    if unacknowledged > 0 {
        report.figures.insert("never_acknowledged", unacknowledged as f64);
    }
}
