//! The result of a run, for people and as one JSON object.

use crate::BenchError;
use crate::latency::Latency;
use crate::process::Process;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

/// What a scenario found. Figures about the broker's process are there when its process id was given.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The scenario's name on the command line.
    pub scenario: &'static str,
    /// Its options, in one line.
    pub setting: String,
    /// Connections open during the measurement.
    pub connections: u64,
    /// Messages published over the whole run.
    pub sent: u64,
    /// Length of the measured part, seconds.
    pub measured_s: f64,
    /// Messages that reached a subscriber in the measured part.
    pub deliveries: u64,
    /// The same, a second.
    pub deliveries_per_s: f64,
    /// Processor seconds of the broker's process, all threads, in the measured part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_cpu_s: Option<f64>,
    /// Deliveries a processor second of the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries_per_broker_cpu_s: Option<f64>,
    /// Processor seconds of the generator: its own cost, to be compared with `measured_s`.
    pub generator_cpu_s: f64,
    /// Deliveries a processor second of the generator.
    pub deliveries_per_generator_cpu_s: f64,
    /// Microseconds from sending to delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<Latency>,
    /// Growth of the broker's resident set while the clients connected, for each of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_bytes_per_connection: Option<f64>,
    /// What only this scenario measures; the names end in their units.
    #[serde(flatten)]
    pub figures: BTreeMap<&'static str, f64>,
    /// Deliveries that were due at the end and never came.
    pub lost: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came after a later one of their publisher and topic.
    pub reordered: u64,
    /// Messages that came to a client without a matching subscription.
    pub unexpected: u64,
}

impl Report {
    /// Whether every message arrived exactly once, in order, at the right clients.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.unexpected == 0
    }

    /// One JSON object on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report has string keys and plain numbers only")
    }

    /// Fills in what two samples around the measured part say.
    pub fn measured(&mut self, before: &Sample, after: &Sample, deliveries: u64) {
        self.measured_s = after.at.duration_since(before.at).as_secs_f64();
        self.deliveries = deliveries;
        self.deliveries_per_s = deliveries as f64 / self.measured_s;
        self.broker_cpu_s = after.broker_cpu_s(before);
        self.deliveries_per_broker_cpu_s = self.broker_cpu_s.map(|cpu_s| deliveries as f64 / cpu_s);
        self.generator_cpu_s = after.own_cpu_s(before);
        self.deliveries_per_generator_cpu_s = deliveries as f64 / self.generator_cpu_s;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.scenario, self.setting)?;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<32} {value:>14}");
        row("connections", self.connections.to_string())?;
        row("sent", self.sent.to_string())?;
        row("measured_s", number(self.measured_s))?;
        if self.deliveries > 0 {
            row("deliveries", self.deliveries.to_string())?;
            row("deliveries_per_s", number(self.deliveries_per_s))?;
            row("deliveries_per_generator_cpu_s", number(self.deliveries_per_generator_cpu_s))?;
            if let Some(value) = self.deliveries_per_broker_cpu_s {
                row("deliveries_per_broker_cpu_s", number(value))?;
            }
        }
        row("generator_cpu_s", number(self.generator_cpu_s))?;
        if let Some(value) = self.broker_cpu_s {
            row("broker_cpu_s", number(value))?;
        }
        if let Some(latency) = self.latency_us {
            for (name, value) in
                [("p50", latency.p50), ("p99", latency.p99), ("p999", latency.p999), ("max", latency.max)]
            {
                row(&format!("latency_us {name}"), number(value))?;
            }
        }
        if let Some(value) = self.broker_bytes_per_connection {
            row("broker_bytes_per_connection", number(value))?;
        }
        for (name, value) in &self.figures {
            row(name, number(*value))?;
        }
        writeln!(
            f,
            "  lost {}, duplicated {}, reordered {}, unexpected {}",
            self.lost, self.duplicated, self.reordered, self.unexpected
        )
    }
}

/// Two decimals below a thousand, none above.
pub fn number(value: f64) -> String {
    if value.abs() < 1_000.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// Time, processor time and memory at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    own_cpu_ns: u64,
    broker: Option<BrokerSample>,
}

#[derive(Clone, Copy, Debug)]
struct BrokerSample {
    cpu_ns: u64,
    resident_bytes: u64,
}

impl Sample {
    /// Of the generator, and of the broker when it is known.
    pub fn take(broker: Option<Process>) -> Result<Self, BenchError> {
        let broker = match broker {
            Some(process) => {
                Some(BrokerSample { cpu_ns: process.cpu_ns()?, resident_bytes: process.resident_bytes()? })
            }
            None => None,
        };
        Ok(Self { at: Instant::now(), own_cpu_ns: Process::own().cpu_ns()?, broker })
    }

    /// Seconds that passed since `before`.
    pub fn seconds_since(&self, before: &Self) -> f64 {
        self.at.duration_since(before.at).as_secs_f64()
    }

    /// Processor seconds of the generator since `before`.
    pub fn own_cpu_s(&self, before: &Self) -> f64 {
        (self.own_cpu_ns - before.own_cpu_ns) as f64 / 1e9
    }

    /// Processor seconds of the broker since `before`.
    pub fn broker_cpu_s(&self, before: &Self) -> Option<f64> {
        let (after, before) = (self.broker?, before.broker?);
        Some(after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e9)
    }

    /// Resident bytes that the broker has more (or less) than at `before`.
    pub fn broker_growth_bytes(&self, before: &Self) -> Option<f64> {
        Some(self.broker?.resident_bytes as f64 - before.broker?.resident_bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_fault_makes_a_report_unclean() {
        assert!(Report::default().is_clean());
        for fault in 0..4 {
            let mut report = Report::default();
            let count = [&mut report.lost, &mut report.duplicated, &mut report.reordered, &mut report.unexpected];
            *count.into_iter().nth(fault).expect("four") = 1;
            assert!(!report.is_clean());
        }
    }

    #[test]
    fn json_is_one_flat_line_with_the_scenario_s_own_figures() {
        let mut report = Report { scenario: "idle", ..Report::default() };
        report.figures.insert("broker_cpu_us_per_connection", 21.5);
        let json = report.json();
        assert!(json.contains(r#""broker_cpu_us_per_connection":21.5"#) && !json.contains('\n'), "{json}");
    }
}
