//! The half with WebSockets: every client subscribes, and one publisher publishes once a second.

use super::{TOPIC, Traffic, WebVsPollingArguments, message, number_of};
use crate::BenchError;
use crate::fleet::{Fleet, Handler};
use crate::setup::{self, Session};
use crate::wire::{self, Frame};
use std::time::{Duration, Instant};

/// Publishes the messages and counts what the clients receive.
pub fn run(arguments: &WebVsPollingArguments, connections: u32) -> Result<Traffic, BenchError> {
    let mut fleet = arguments.fleet()?;
    let (publisher, _) = setup::connect(&mut fleet, Session::clean('p'), 1)?;
    forget(&mut fleet, publisher.start)?;
    let (clients, _) = setup::connect(&mut fleet, Session::clean('s'), connections as usize)?;
    let filters = vec![vec![TOPIC.to_owned()]; clients.len()];
    setup::subscribe(&mut fleet, clients.clone(), &filters, 0)?;
    let mut pages = Pages { first: clients.start, seen: vec![0; clients.len()], traffic: Traffic::default() };
    let (bytes_before, begin) = (fleet.bytes_received(), Instant::now());
    for number in 1..=arguments.messages {
        let due = begin + Duration::from_secs(u64::from(number - 1));
        while Instant::now() < due {
            fleet.turn(&mut pages, due - Instant::now().min(due))?;
        }
        let version = fleet.version();
        wire::put_publish(fleet.output(publisher.start), version, TOPIC, message(number).as_bytes(), true);
    }
    let expected = u64::from(connections) * u64::from(arguments.messages);
    fleet.run_until(
        &mut pages,
        "messages",
        |_, pages| Ok(pages.traffic.messages + pages.traffic.missed >= expected),
    )?;
    pages.traffic.bytes = fleet.bytes_received() - bytes_before;
    forget(&mut fleet, publisher.start)?;
    Ok(pages.traffic)
}

/// The last value goes, so that nobody begins with it.
fn forget(fleet: &mut Fleet, publisher: usize) -> Result<(), BenchError> {
    let version = fleet.version();
    wire::put_forget(fleet.output(publisher), version, TOPIC);
    // Answered behind it.
    setup::subscribe(fleet, publisher..publisher + 1, &[vec!["bench/nothing".to_owned()]], 0)
}

struct Pages {
    first: usize,
    /// Of each client, the last message.
    seen: Vec<u32>,
    traffic: Traffic,
}

impl Handler for Pages {
    fn frame(&mut self, _: &mut Fleet, link: usize, frame: Frame<'_>, _: u64) -> Result<(), BenchError> {
        if let Frame::Publish { payload, .. } = frame
            && let Some(number) = number_of(payload)
            && let Some(seen) = link.checked_sub(self.first).and_then(|client| self.seen.get_mut(client))
        {
            self.traffic.see(seen, number);
            self.traffic.payload_bytes += payload.len() as u64;
            // The fixed header and the topic (MQTT 3.1.1 §3.3).
            self.traffic.inner_bytes += 4 + TOPIC.len() as u64;
        }
        Ok(())
    }
}
