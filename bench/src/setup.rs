//! Connections and subscriptions before the load, as fast as the broker answers and no faster.

use crate::BenchError;
use crate::fleet::{Fleet, Handler};
use crate::wire::{self, Frame};
use std::ops::Range;

/// CONNECTs without a CONNACK at any time; below the accept backlog of 100 that many brokers listen with.
pub const UNANSWERED_MAX: usize = 64;
/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: usize = 100;

/// How a client connects.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// First letter of its id.
    pub kind: char,
    /// Clean Session, Clean Start.
    pub clean_start: bool,
    /// The session outlives the connection.
    pub keep: bool,
    /// For slow readers, see [`Fleet::open`].
    pub receive_buffer_bytes: Option<usize>,
}

impl Session {
    /// A session that ends with its connection.
    pub fn clean(kind: char) -> Self {
        Self { kind, clean_start: true, keep: false, receive_buffer_bytes: None }
    }

    /// Opens a connection and puts CONNECT into it. `number` and `kind` make the client id, always of eight bytes,
    /// with the run's own between them so that two generators do not take over each other's sessions.
    pub fn open(self, fleet: &mut Fleet, number: usize) -> Result<usize, BenchError> {
        let link = fleet.open(self.receive_buffer_bytes)?;
        let id = format!("{}{:02x}{:05x}", self.kind, fleet.id(), number);
        let version = fleet.version();
        wire::put_connect(fleet.output(link), version, &id, self.clean_start, self.keep);
        Ok(link)
    }
}

/// What the broker allows, the smallest of all connections.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    /// §3.2.2.3.3; 65,535 in version 3.
    pub receive_maximum: u16,
}

/// Opens `count` connections and returns their numbers once all are answered.
pub fn connect(fleet: &mut Fleet, session: Session, count: usize) -> Result<(Range<usize>, Granted), BenchError> {
    let mut greeter = Greeter { answered: 0, granted: Granted { receive_maximum: u16::MAX } };
    let (mut first, mut opened) = (0, 0);
    fleet.run_until(&mut greeter, "CONNACKs", |fleet, greeter| {
        // Each connection brings tickets for one or two more.
        let unanswered_max = if fleet.resumes() { UNANSWERED_MAX.min(greeter.answered + 1) } else { UNANSWERED_MAX };
        while opened < count && opened - greeter.answered < unanswered_max {
            let link = session.open(fleet, opened)?;
            if opened == 0 {
                first = link;
            }
            opened += 1;
        }
        Ok(greeter.answered == count)
    })?;
    Ok((first..first + count, greeter.granted))
}

struct Greeter {
    answered: usize,
    granted: Granted,
}

impl Handler for Greeter {
    fn frame(&mut self, _: &mut Fleet, link: usize, frame: Frame<'_>, _: u64) -> Result<(), BenchError> {
        match frame {
            Frame::ConnAck { code: 0, receive_maximum } => {
                self.answered += 1;
                self.granted.receive_maximum = self.granted.receive_maximum.min(receive_maximum);
                Ok(())
            }
            Frame::ConnAck { code, .. } => Err(BenchError::Refused { packet: "CONNECT", connection: link, code }),
            _ => Ok(()),
        }
    }
}

/// Subscribes each link of `links` to the filters at the same place, one SUBSCRIBE a link at any time.
pub fn subscribe(fleet: &mut Fleet, links: Range<usize>, filters: &[Vec<String>], qos: u8) -> Result<(), BenchError> {
    let pending = filters.iter().map(|filters| filters.chunks(FILTERS_PER_PACKET)).collect();
    let mut subscriber = Subscriber { first: links.start, qos, pending, unanswered: 0 };
    for link in links {
        subscriber.next(fleet, link);
    }
    fleet.run_until(&mut subscriber, "SUBACKs", |_, subscriber| Ok(subscriber.unanswered == 0))
}

struct Subscriber<'a> {
    first: usize,
    qos: u8,
    pending: Vec<std::slice::Chunks<'a, String>>,
    unanswered: usize,
}

impl Subscriber<'_> {
    fn next(&mut self, fleet: &mut Fleet, link: usize) {
        if let Some(filters) = self.pending[link - self.first].next() {
            self.unanswered += 1;
            let version = fleet.version();
            wire::put_subscribe(fleet.output(link), version, filters, self.qos);
        }
    }
}

impl Handler for Subscriber<'_> {
    fn frame(&mut self, fleet: &mut Fleet, link: usize, frame: Frame<'_>, _: u64) -> Result<(), BenchError> {
        match frame {
            Frame::SubAck { refused: true } => {
                Err(BenchError::Refused { packet: "SUBSCRIBE", connection: link, code: 0x80 })
            }
            Frame::SubAck { .. } => {
                self.unanswered -= 1;
                self.next(fleet, link);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Says DISCONNECT on all of `links` and waits until the broker has closed them.
pub fn disconnect(fleet: &mut Fleet, links: Range<usize>) -> Result<(), BenchError> {
    let remaining = fleet.links_open() - links.len();
    for link in links {
        fleet.close(link);
    }
    fleet.run_until(&mut Ignore, "closes after DISCONNECT", |fleet, _| Ok(fleet.links_open() == remaining))
}

struct Ignore;

impl Handler for Ignore {
    fn frame(&mut self, _: &mut Fleet, _: usize, _: Frame<'_>, _: u64) -> Result<(), BenchError> {
        Ok(())
    }
}
