//! Connections that do nothing.

use super::Run;
use crate::setup::{self, Session};
use crate::traffic::Traffic;
use crate::{BenchError, Report};
use std::time::Duration;

/// Connects `clients`, and then watches the broker rest for the duration of the run.
pub fn run(run: &Run<'_>, clients: usize) -> Result<Report, BenchError> {
    let mut fleet = run.fleet(clients)?;
    let before = run.sample()?;
    setup::connect(&mut fleet, Session::clean('i'), clients)?;
    let connected = run.sample()?;

    let mut silence = Traffic::new(0, None);
    let end_ns = fleet.now_ns() + (run.common.duration_s * 1e9) as u64;
    while fleet.now_ns() < end_ns {
        fleet.turn(&mut silence, Duration::from_nanos(end_ns.saturating_sub(fleet.now_ns())))?;
    }
    let rested = run.sample()?;

    let mut report = Report {
        scenario: "idle",
        setting: format!("{clients} connections without a subscription, client ids of 8 bytes"),
        connections: fleet.links_open() as u64,
        ..Report::default()
    };
    report.measured(&connected, &rested, 0);
    report.deliveries_per_broker_cpu_s = None;
    report.broker_bytes_per_connection = rested.broker_growth_bytes(&before).map(|bytes| bytes / clients as f64);
    report.figures.insert("connections_per_s", clients as f64 / connected.seconds_since(&before));
    if let Some(cpu_s) = connected.broker_cpu_s(&before) {
        report.figures.insert("broker_cpu_us_per_connection", cpu_s * 1e6 / clients as f64);
    }
    if run.common.tls_resume {
        report.figures.insert("connections_resumed", fleet.links_resumed() as f64);
    }
    Ok(report)
}
