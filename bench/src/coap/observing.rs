//! Observers of one resource, and one endpoint that replaces it: what a notification costs, and when it comes.
//!
//! CoAP tells states, not events (RFC 7641 §1.3): a notification may stand for several changes. So one that is skipped because a
//! newer one came is counted, and is no fault; one that comes after a newer one is, and so is an observer that never hears of
//! the last state.

use super::Run;
use super::endpoint::{Arrival, Endpoints, STAMP_BYTES, Template};
use super::load::{ask, check};
use super::report::CoapReport;
use crate::BenchError;
use crate::latency::{Latencies, Schedule};
use althing_coap::message::{Code, Kind, Message, number};
use std::collections::VecDeque;
use std::time::Duration;

/// Registers, publishes, measures.
pub fn run(run: &Run<'_>) -> Result<CoapReport, BenchError> {
    let arguments = run.arguments;
    let kind = if arguments.non { Kind::NonConfirmable } else { Kind::Confirmable };
    let options = &run.resource.options;
    let mut endpoints = run.endpoints()?;
    let put = Template::new(kind, Code::PUT, options, run.payload_bytes());
    let publisher = endpoints.open(put, false)?;
    // Something has to be there to be observed.
    ask(&mut endpoints, publisher)?;
    let mut register = options.clone();
    register.add_uint(number::OBSERVE, 0);
    let register = Template::new(kind, Code::GET, &register, 0);
    let mut registrations = Vec::new();
    for _ in 0..arguments.endpoints {
        let observer = endpoints.open(register.clone(), true)?;
        registrations.push((observer, endpoints.last_number() + 1));
        if ask(&mut endpoints, observer)?.options.get(number::OBSERVE).is_none() {
            return Err(BenchError::NotObserved);
        }
    }
    let mut board = Board::new(publisher, arguments.endpoints as usize, arguments.window as usize, arguments.rate);
    match arguments.count {
        None => board.run_for(&mut endpoints, arguments.warm_up_s)?,
        Some(count) => board.left = count,
    }
    board.latencies = Some(Latencies::default());
    let (before, heard, retransmissions) = (run.sample()?, board.heard, endpoints.retransmissions);
    match arguments.count {
        None => board.run_for(&mut endpoints, arguments.duration_s)?,
        Some(_) => board.run_out(&mut endpoints, arguments.ack_timeout_s)?,
    }
    let (after, heard) = (run.sample()?, board.heard - heard);
    let retransmissions = endpoints.retransmissions - retransmissions;
    let latencies = board.latencies.take();
    board.left = 0;
    board.run_out(&mut endpoints, arguments.ack_timeout_s)?;
    deregister(&mut endpoints, run, &registrations)?;
    let mut report = CoapReport::new(arguments, "notifications");
    report.measured(&before, &after, heard);
    report.latency_us = latencies.and_then(|latencies| latencies.summary());
    (report.sent, report.retransmissions) = (endpoints.sent, retransmissions);
    (report.skipped, report.wrong) = (Some(board.skipped), board.wrong);
    report.lost = endpoints.lost + board.behind() as u64;
    Ok(report)
}

/// Leaves nothing behind that the server would go on telling (RFC 7641 §3.6).
fn deregister(endpoints: &mut Endpoints, run: &Run<'_>, registrations: &[(usize, u32)]) -> Result<(), BenchError> {
    let mut options = run.resource.options.clone();
    options.add_uint(number::OBSERVE, 1);
    let template = Template::new(Kind::Confirmable, Code::GET, &options, 0);
    for (observer, number) in registrations {
        endpoints.exchange_template(*observer, template.clone());
        endpoints.send_as(*observer, *number, 0)?;
        while endpoints.waiting_all() > 0 {
            endpoints.turn(Duration::from_millis(10), |_, _| Ok(()))?;
        }
    }
    Ok(())
}

/// Who has heard what.
struct Board {
    publisher: usize,
    window: usize,
    rate: Option<u64>,
    schedule: Option<Schedule>,
    /// Publications that may still be made.
    left: u64,
    /// By observer: the number of the newest publication that it has heard, and its place among all.
    newest: Vec<u64>,
    /// Number and time of publications, the last ones.
    published: VecDeque<(u32, u64)>,
    /// How many there were before those.
    forgotten: u64,
    heard: u64,
    skipped: u64,
    wrong: u64,
    latencies: Option<Latencies>,
}

impl Board {
    fn new(publisher: usize, observers: usize, window: usize, rate: Option<u64>) -> Self {
        Self {
            publisher,
            window,
            rate,
            schedule: None,
            left: u64::MAX,
            newest: vec![0; observers],
            published: VecDeque::new(),
            forgotten: 0,
            heard: 0,
            skipped: 0,
            wrong: 0,
            latencies: None,
        }
    }

    /// Publications so far.
    fn total(&self) -> u64 {
        self.forgotten + self.published.len() as u64
    }

    /// Observers that have not heard of the last one.
    fn behind(&self) -> usize {
        self.newest.iter().filter(|newest| **newest < self.total()).count()
    }

    fn run_for(&mut self, endpoints: &mut Endpoints, seconds: f64) -> Result<(), BenchError> {
        let end_ns = endpoints.now_ns() + (seconds * 1e9) as u64;
        while endpoints.now_ns() < end_ns {
            self.turn(endpoints)?;
        }
        Ok(())
    }

    /// Until everybody has heard of the last one, or nothing has come for long.
    fn run_out(&mut self, endpoints: &mut Endpoints, ack_timeout_s: f64) -> Result<(), BenchError> {
        let silence_ns = (2.0 * ack_timeout_s * 1e9) as u64;
        let (mut heard, mut since_ns) = (self.heard, endpoints.now_ns());
        while self.left > 0 || endpoints.waiting_all() > 0 || self.behind() > 0 {
            self.turn(endpoints)?;
            let now_ns = endpoints.now_ns();
            if self.heard > heard || endpoints.waiting_all() > 0 {
                (heard, since_ns) = (self.heard, now_ns);
            } else if now_ns - since_ns > silence_ns {
                break;
            }
        }
        Ok(())
    }

    fn turn(&mut self, endpoints: &mut Endpoints) -> Result<(), BenchError> {
        self.publish(endpoints)?;
        let timeout =
            if self.rate.is_some() && self.left > 0 { Duration::from_millis(1) } else { Duration::from_millis(10) };
        endpoints.turn(timeout, |endpoints, arrival| self.hear(endpoints, arrival))
    }

    fn publish(&mut self, endpoints: &mut Endpoints) -> Result<(), BenchError> {
        loop {
            let now_ns = endpoints.now_ns();
            let mut since_ns = now_ns;
            if let Some(rate) = self.rate {
                let schedule = self.schedule.get_or_insert_with(|| Schedule::new(now_ns, rate));
                let Some((_, due_ns)) = schedule.due(now_ns) else { return Ok(()) };
                since_ns = due_ns;
            }
            // Everybody has heard of all but the last ones.
            let slowest = self.newest.iter().copied().min().unwrap_or(0);
            let has_room =
                self.total() - slowest < self.window as u64 && endpoints.may_send(self.publisher, self.window);
            if self.left == 0 || !has_room {
                return Ok(());
            }
            let number = endpoints.send(self.publisher, since_ns)?;
            self.published.push_back((number, since_ns));
            while (self.published.len() as u64) > 2 * self.window as u64 {
                self.published.pop_front();
                self.forgotten += 1;
            }
            self.left -= 1;
            if let Some(schedule) = &mut self.schedule {
                schedule.advance();
            }
        }
    }

    fn hear(&mut self, endpoints: &mut Endpoints, arrival: Arrival) -> Result<(), BenchError> {
        check(&arrival.message)?;
        if arrival.endpoint == self.publisher {
            return Ok(());
        }
        let observer = arrival.endpoint - self.publisher - 1;
        let place = stamp(&arrival.message)
            .and_then(|number| self.published.iter().position(|(published, _)| *published == number));
        // What was there before the first publication, or is far behind.
        let Some(place) = place else { return Ok(()) };
        let (count, since_ns) = (self.forgotten + place as u64 + 1, self.published[place].1);
        let newest = &mut self.newest[observer];
        if count <= *newest {
            self.wrong += u64::from(count < *newest);
            return Ok(());
        }
        self.skipped += count - *newest - 1;
        *newest = count;
        self.heard += 1;
        if let Some(latencies) = &mut self.latencies {
            latencies.record_ns(arrival.now_ns.saturating_sub(since_ns));
        }
        self.publish(endpoints)
    }
}

/// The number that a payload begins with.
fn stamp(message: &Message) -> Option<u32> {
    let stamp = message.payload.get(..STAMP_BYTES)?.try_into().ok()?;
    u32::try_from(u64::from_be_bytes(stamp)).ok()
}
