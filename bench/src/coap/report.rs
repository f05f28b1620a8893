//! The result of a run, for people and as one JSON object.

use super::CoapBenchArguments;
use crate::latency::Latency;
use crate::report::{Sample, number};
use serde::Serialize;
use std::fmt;

/// What a run found. Figures about the server's process are there when its process id was given.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CoapReport {
    /// The method, and how it was asked.
    pub setting: String,
    /// What is counted: requests that were answered, or notifications.
    pub counted: &'static str,
    /// Sockets.
    pub endpoints: u32,
    /// Requests over the whole run.
    pub sent: u64,
    /// Length of the measured part, seconds.
    pub measured_s: f64,
    /// Requests answered, or notifications heard, in the measured part.
    pub completed: u64,
    /// The same, a second.
    pub completed_per_s: f64,
    /// Confirmable messages sent again in the measured part.
    pub retransmissions: u64,
    /// Microseconds from sending, or from when it was due, to the response or notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<Latency>,
    /// Processor seconds of the server's process, all threads, in the measured part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_cpu_s: Option<f64>,
    /// The same for one, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_cpu_us_per_completed: Option<f64>,
    /// Processor seconds of the generator: its own cost, to be compared with `measured_s`.
    pub generator_cpu_s: f64,
    /// Requests without a response, and observers that did not hear of the last state.
    pub lost: u64,
    /// Responses with another code or payload than they have to have, and notifications behind newer ones.
    pub wrong: u64,
    /// Responses that came again, or too late.
    pub duplicated: u64,
    /// Changes that an observer did not hear of because a newer one came, which is no fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

impl CoapReport {
    /// Of this run, without figures.
    pub fn new(arguments: &CoapBenchArguments, counted: &'static str) -> Self {
        let kind = if arguments.non { "NON" } else { "CON" };
        let method = format!("{:?}", arguments.method).to_uppercase();
        let pace = arguments.rate.map_or_else(String::new, |rate| format!(", {rate} a second"));
        let setting = format!("{kind} {method}, {} endpoints, window {}{pace}", arguments.endpoints, arguments.window);
        Self { setting, counted, endpoints: arguments.endpoints, ..Self::default() }
    }

    /// Whether everything was answered, and rightly.
    pub fn is_clean(&self) -> bool {
        self.lost + self.wrong == 0
    }

    /// One JSON object on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report has string keys and plain numbers only")
    }

    /// Fills in what two samples around the measured part say.
    pub(super) fn measured(&mut self, before: &Sample, after: &Sample, completed: u64) {
        self.measured_s = after.seconds_since(before);
        self.completed = completed;
        self.completed_per_s = completed as f64 / self.measured_s;
        self.broker_cpu_s = after.broker_cpu_s(before);
        self.broker_cpu_us_per_completed = self.broker_cpu_s.map(|cpu_s| cpu_s * 1e6 / completed.max(1) as f64);
        self.generator_cpu_s = after.own_cpu_s(before);
    }
}

impl fmt::Display for CoapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.setting)?;
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<32} {value:>14}");
        row(self.counted, self.completed.to_string())?;
        row(&format!("{}_per_s", self.counted), number(self.completed_per_s))?;
        row("measured_s", number(self.measured_s))?;
        row("retransmissions", self.retransmissions.to_string())?;
        if let Some(latency) = self.latency_us {
            for (name, value) in
                [("p50", latency.p50), ("p90", latency.p90), ("p99", latency.p99), ("max", latency.max)]
            {
                row(&format!("latency_us {name}"), number(value))?;
            }
        }
        row("generator_cpu_s", number(self.generator_cpu_s))?;
        if let (Some(cpu_s), Some(cpu_us)) = (self.broker_cpu_s, self.broker_cpu_us_per_completed) {
            row("broker_cpu_s", number(cpu_s))?;
            row("broker_cpu_us each", number(cpu_us))?;
        }
        if let Some(skipped) = self.skipped {
            row("skipped", skipped.to_string())?;
        }
        writeln!(f, "  lost {}, wrong {}, duplicated {}", self.lost, self.wrong, self.duplicated)
    }
}
