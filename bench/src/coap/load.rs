//! Requests: as many as the windows allow, or at a rate.

use super::endpoint::{Arrival, Endpoints, Template, payload};
use super::report::CoapReport;
use super::{Method, Run};
use crate::BenchError;
use crate::latency::{Latencies, Schedule};
use althing_coap::message::{Code, Kind, Message};
use bytes::Bytes;
use std::time::Duration;

/// Asks, verifies, measures.
pub fn run(run: &Run<'_>) -> Result<CoapReport, BenchError> {
    let arguments = run.arguments;
    let (code, payload_bytes) = match arguments.method {
        Method::Put => (Code::PUT, run.payload_bytes()),
        Method::Post => (Code::POST, run.payload_bytes()),
        _ => (Code::GET, 0),
    };
    let kind = if arguments.non { Kind::NonConfirmable } else { Kind::Confirmable };
    let template = Template::new(kind, code, &run.resource.options, payload_bytes);
    let mut endpoints = run.endpoints()?;
    let mut load = Load {
        code,
        expected: None,
        window: arguments.window as usize,
        answered: 0,
        duplicated: 0,
        wrong: 0,
        latencies: None,
    };
    if code == Code::GET {
        load.expected = Some(prepare(run, &mut endpoints)?);
    }
    let first = endpoints.open(template.clone(), false)?;
    for _ in 1..arguments.endpoints {
        endpoints.open(template.clone(), false)?;
    }
    let mut pace =
        Pace { first, endpoints: arguments.endpoints as usize, rate: arguments.rate, schedule: None, left: u64::MAX };
    match arguments.count {
        None => load.run_for(&mut endpoints, &mut pace, arguments.warm_up_s)?,
        Some(count) => pace.left = count,
    }
    load.latencies = Some(Latencies::default());
    let (before, answered, retransmissions) = (run.sample()?, load.answered, endpoints.retransmissions);
    match arguments.count {
        None => load.run_for(&mut endpoints, &mut pace, arguments.duration_s)?,
        Some(_) => load.run_out(&mut endpoints, &mut pace)?,
    }
    let (after, answered) = (run.sample()?, load.answered - answered);
    let retransmissions = endpoints.retransmissions - retransmissions;
    let latencies = load.latencies.take();
    pace.left = 0;
    load.run_out(&mut endpoints, &mut pace)?;
    let mut report = CoapReport::new(arguments, "requests");
    report.measured(&before, &after, answered);
    report.latency_us = latencies.and_then(|latencies| latencies.summary());
    (report.sent, report.retransmissions, report.lost) = (endpoints.sent, retransmissions, endpoints.lost);
    (report.duplicated, report.wrong) = (load.duplicated, load.wrong);
    Ok(report)
}

/// What every GET has to bring: what is put there now, or what is there.
fn prepare(run: &Run<'_>, endpoints: &mut Endpoints) -> Result<Bytes, BenchError> {
    let options = &run.resource.options;
    let endpoint = match run.arguments.payload_bytes {
        None => endpoints.open(Template::new(Kind::Confirmable, Code::GET, options, 0), false)?,
        Some(bytes) => {
            let put = Template::new(Kind::Confirmable, Code::PUT, options, bytes as usize);
            let endpoint = endpoints.open(put, false)?;
            ask(endpoints, endpoint)?;
            endpoints.exchange_template(endpoint, Template::new(Kind::Confirmable, Code::GET, options, 0));
            endpoint
        }
    };
    let put = payload(endpoints.last_number(), run.payload_bytes());
    let there = ask(endpoints, endpoint)?.payload;
    if run.arguments.payload_bytes.is_some() && there != put {
        return Err(BenchError::NotKept);
    }
    Ok(there)
}

/// One request and its response, which has to be one of success.
pub fn ask(endpoints: &mut Endpoints, endpoint: usize) -> Result<Message, BenchError> {
    let mut response = None;
    let lost = endpoints.lost;
    endpoints.send(endpoint, 0)?;
    while response.is_none() {
        if endpoints.lost > lost {
            return Err(BenchError::Silent { waiting_for: "responses" });
        }
        endpoints.turn(Duration::from_millis(100), |_, arrival| {
            if arrival.answers.is_some() {
                check(&arrival.message)?;
                response = Some(arrival.message);
            }
            Ok(())
        })?;
    }
    response.ok_or(BenchError::Silent { waiting_for: "responses" })
}

/// Errors of the server end the run: its measures would be those of refusals.
pub fn check(message: &Message) -> Result<(), BenchError> {
    match message.code.is_success() {
        true => Ok(()),
        false => Err(BenchError::ErrorResponse {
            code: message.code.to_string(),
            text: String::from_utf8_lossy(&message.payload).into_owned(),
        }),
    }
}

/// When requests leave.
struct Pace {
    first: usize,
    endpoints: usize,
    rate: Option<u64>,
    schedule: Option<Schedule>,
    /// Requests that may still be sent.
    left: u64,
}

/// The books.
struct Load {
    code: Code,
    /// The payload of every response to a GET.
    expected: Option<Bytes>,
    window: usize,
    answered: u64,
    duplicated: u64,
    wrong: u64,
    latencies: Option<Latencies>,
}

impl Load {
    fn run_for(&mut self, endpoints: &mut Endpoints, pace: &mut Pace, seconds: f64) -> Result<(), BenchError> {
        let end_ns = endpoints.now_ns() + (seconds * 1e9) as u64;
        while endpoints.now_ns() < end_ns {
            self.turn(endpoints, pace)?;
        }
        Ok(())
    }

    /// Until all that may be sent is answered or lost.
    fn run_out(&mut self, endpoints: &mut Endpoints, pace: &mut Pace) -> Result<(), BenchError> {
        while pace.left > 0 || endpoints.waiting_all() > 0 {
            self.turn(endpoints, pace)?;
        }
        Ok(())
    }

    fn turn(&mut self, endpoints: &mut Endpoints, pace: &mut Pace) -> Result<(), BenchError> {
        let is_open = self.send_due(endpoints, pace)?;
        // An open loop never waits: the poll counts in milliseconds, its requests come closer.
        let timeout = if is_open && pace.left > 0 { Duration::ZERO } else { Duration::from_millis(10) };
        endpoints.turn(timeout, |endpoints, arrival| self.hear(endpoints, pace, arrival))
    }

    /// Whether there is a rate.
    fn send_due(&mut self, endpoints: &mut Endpoints, pace: &mut Pace) -> Result<bool, BenchError> {
        let now_ns = endpoints.now_ns();
        let Some(rate) = pace.rate else {
            for endpoint in pace.first..pace.first + pace.endpoints {
                self.fill(endpoints, pace, endpoint, now_ns)?;
            }
            return Ok(false);
        };
        let schedule = pace.schedule.get_or_insert_with(|| Schedule::new(now_ns, rate));
        while let Some((number, due_ns)) = schedule.due(now_ns) {
            let endpoint = pace.first + (number % pace.endpoints as u64) as usize;
            if pace.left == 0 || !endpoints.may_send(endpoint, self.window) {
                break;
            }
            endpoints.send(endpoint, due_ns)?;
            schedule.advance();
            pace.left -= 1;
        }
        Ok(true)
    }

    fn fill(
        &mut self,
        endpoints: &mut Endpoints,
        pace: &mut Pace,
        endpoint: usize,
        now_ns: u64,
    ) -> Result<(), BenchError> {
        while pace.left > 0 && endpoints.may_send(endpoint, self.window) {
            endpoints.send(endpoint, now_ns)?;
            pace.left -= 1;
        }
        Ok(())
    }

    fn hear(&mut self, endpoints: &mut Endpoints, pace: &mut Pace, arrival: Arrival) -> Result<(), BenchError> {
        let Arrival { endpoint, message, answers, now_ns } = arrival;
        let Some((_, since_ns)) = answers else {
            self.duplicated += 1;
            return Ok(());
        };
        check(&message)?;
        let is_right = match &self.expected {
            Some(expected) => message.code == Code::CONTENT && message.payload == *expected,
            None => message.code == Code::CHANGED || message.code == Code::CREATED || self.code == Code::POST,
        };
        self.wrong += u64::from(!is_right);
        self.answered += 1;
        if let Some(latencies) = &mut self.latencies {
            latencies.record_ns(now_ns.saturating_sub(since_ns));
        }
        if pace.rate.is_none() { self.fill(endpoints, pace, endpoint, now_ns) } else { Ok(()) }
    }
}
