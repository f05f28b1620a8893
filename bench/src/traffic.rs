//! The messages of a run: publishers with their windows, receivers, and the books kept over both.

use crate::BenchError;
use crate::fleet::{Fleet, Handler};
use crate::latency::Latencies;
use crate::verify::{Ledger, Seen, Track};
use crate::wire::{self, Frame, PublishTemplate, Stamp};
use std::rc::Rc;

/// What went through, and what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// First deliveries of a message to a receiver.
    pub deliveries: u64,
    /// Messages that the broker has taken responsibility for.
    pub acknowledgements: u64,
    /// The receiver, or enough others of its group, had it before.
    pub duplicated: u64,
    /// A later message of the same publisher and topic came first.
    pub reordered: u64,
    /// Delivered to a client that has no matching subscription, or not a message of this run.
    pub unexpected: u64,
}

/// Whether this link should receive this message.
pub type Recipients = Box<dyn Fn(Stamp, usize) -> bool>;

/// In which order a stream goes through its topics.
#[derive(Clone, Copy, Debug)]
pub struct TopicOrder {
    /// Index of the first.
    pub start: u64,
    /// Distance to the next; coprime to the number of topics.
    pub stride: u64,
}

impl TopicOrder {
    /// The index among `topics` of a message's topic.
    #[inline]
    pub fn index(self, sequence: u64, topics: u64) -> u64 {
        if topics == 1 { 0 } else { self.start.wrapping_add(sequence.wrapping_mul(self.stride)) % topics }
    }
}

/// One run's publishers and receivers on the links of a [`Fleet`].
pub struct Traffic {
    streams: Vec<PublishStream>,
    /// By link.
    stream_of: Vec<Option<usize>>,
    /// By link.
    receivers: Vec<Option<Receiver>>,
    /// Receivers of every message.
    fan: u32,
    recipients: Option<Recipients>,
    /// A closed loop sends as soon as a window has room.
    closed_loop: bool,
    tally: Tally,
    /// Records the age of each delivery while set.
    latencies: Option<Latencies>,
    /// Records the age of each acknowledgement while set.
    acknowledgement_latencies: Option<Latencies>,
    /// Links that had SUBACK or UNSUBACK.
    subscription_answers: Vec<usize>,
    /// CONNACKs since the start.
    connection_answers: u64,
}

/// One publisher: its topics in turn, its window, its numbers.
pub struct PublishStream {
    /// The connection, which no other stream uses: packet ids belong to it.
    pub link: usize,
    /// Frames ready but for their stamps.
    pub topics: Rc<[PublishTemplate]>,
    /// Which of them a message takes.
    pub topic_order: TopicOrder,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Messages under way.
    pub ledger: Ledger,
    /// Messages without acknowledgement, at most; no limit of its own at QoS 0.
    pub unacknowledged_max: u64,
    /// Messages in all, at most.
    pub messages_max: u64,
}

impl PublishStream {
    /// A window over delivery and acknowledgement, without end.
    pub fn endless(link: usize, topics: Rc<[PublishTemplate]>, qos: u8, window: u64) -> Self {
        Self {
            link,
            topics,
            topic_order: TopicOrder { start: 0, stride: 1 },
            qos,
            ledger: Ledger::new(window),
            unacknowledged_max: u64::from(u16::MAX),
            messages_max: u64::MAX,
        }
    }

    /// Messages that an earlier run has stored: nothing is sent, each is due at `fan` receivers.
    pub fn stored(link: usize, messages: u64, fan: u32) -> Self {
        Self { ledger: Ledger::stored(messages, fan), messages_max: messages, ..Self::endless(link, Rc::new([]), 1, 1) }
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.ledger.has_room()
            && (self.qos == 0 || self.ledger.unacknowledged() < self.unacknowledged_max)
            && self.ledger.sent() < self.messages_max
    }
}

struct Receiver {
    first_stream: usize,
    tracks: Vec<Track>,
}

impl Traffic {
    /// Nobody on board yet.
    pub fn new(fan: u32, recipients: Option<Recipients>) -> Self {
        Self {
            streams: Vec::new(),
            stream_of: Vec::new(),
            receivers: Vec::new(),
            fan,
            recipients,
            closed_loop: false,
            tally: Tally::default(),
            latencies: None,
            acknowledgement_latencies: None,
            subscription_answers: Vec::new(),
            connection_answers: 0,
        }
    }

    /// Adds a publisher; streams are numbered from 0.
    pub fn add_stream(&mut self, stream: PublishStream) {
        if self.stream_of.len() <= stream.link {
            self.stream_of.resize(stream.link + 1, None);
        }
        self.stream_of[stream.link] = Some(self.streams.len());
        self.streams.push(stream);
    }

    /// Makes a link the receiver of `tracks.len()` streams from `first_stream` on.
    pub fn add_receiver(&mut self, link: usize, first_stream: usize, tracks: Vec<Track>) {
        if self.receivers.len() <= link {
            self.receivers.resize_with(link + 1, || None);
        }
        self.receivers[link] = Some(Receiver { first_stream, tracks });
    }

    /// Fills every window, and from now on each that gets room.
    pub fn start(&mut self, fleet: &mut Fleet) {
        self.closed_loop = true;
        for stream in 0..self.streams.len() {
            self.fill(fleet, stream, fleet.now_ns());
        }
    }

    /// Sends nothing more by itself.
    pub fn stop(&mut self) {
        self.closed_loop = false;
    }

    /// Sends one message of an open loop, unless 65,535 wait for their acknowledgement already: then it is still due.
    /// `sent_ns` is when it should have left, whatever the clock says now.
    pub fn send_due(&mut self, fleet: &mut Fleet, stream: usize, sent_ns: u64) -> bool {
        let has_room = self.streams[stream].has_room();
        if has_room {
            self.send(fleet, stream, sent_ns);
        }
        has_room
    }

    /// Begins or ends the recording of latencies; ending returns them.
    pub fn record(&mut self, latencies: Option<Latencies>) -> Option<Latencies> {
        std::mem::replace(&mut self.latencies, latencies)
    }

    /// The same for the time from sending to PUBACK or PUBCOMP.
    pub fn record_acknowledgements(&mut self, latencies: Option<Latencies>) -> Option<Latencies> {
        std::mem::replace(&mut self.acknowledgement_latencies, latencies)
    }

    /// So far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Messages of all streams.
    pub fn sent(&self) -> u64 {
        self.streams.iter().map(|stream| stream.ledger.sent()).sum()
    }

    /// Messages of each stream.
    pub fn sent_by_stream(&self) -> impl Iterator<Item = u64> {
        self.streams.iter().map(|stream| stream.ledger.sent())
    }

    /// Deliveries that are due.
    pub fn deliveries_due(&self) -> u64 {
        self.streams.iter().map(|stream| stream.ledger.deliveries_due()).sum()
    }

    /// Whether every stream has sent all it may.
    pub fn is_sent(&self) -> bool {
        self.streams.iter().all(|stream| stream.ledger.sent() == stream.messages_max)
    }

    /// Acknowledgements that are due.
    pub fn acknowledgements_due(&self) -> u64 {
        self.streams.iter().map(|stream| stream.ledger.acknowledgements_due()).sum()
    }

    /// Whether every message is delivered to all its receivers and acknowledged.
    pub fn is_complete(&self) -> bool {
        self.streams.iter().all(|stream| stream.ledger.is_complete())
    }

    /// A link that had SUBACK or UNSUBACK, each answer once, oldest last.
    pub fn take_subscription_answer(&mut self) -> Option<usize> {
        self.subscription_answers.pop()
    }

    /// CONNACKs so far.
    pub fn connection_answers(&self) -> usize {
        self.connection_answers as usize
    }

    #[inline]
    fn fill(&mut self, fleet: &mut Fleet, stream: usize, now_ns: u64) {
        while self.closed_loop && self.streams[stream].has_room() {
            self.send(fleet, stream, now_ns);
        }
    }

    #[inline]
    fn send(&mut self, fleet: &mut Fleet, number: usize, sent_ns: u64) {
        let stream = &mut self.streams[number];
        let sequence = stream.ledger.send(self.fan, stream.qos > 0, sent_ns);
        let topic = stream.topic_order.index(sequence, stream.topics.len() as u64);
        let stamp = Stamp { stream: number as u32, sequence, sent_ns };
        stream.topics[topic as usize].write(fleet.output(stream.link), Ledger::id_of(sequence), stamp);
    }

    #[inline]
    fn delivered(&mut self, fleet: &mut Fleet, link: usize, payload: &[u8], now_ns: u64) {
        let Some(stamp) = Stamp::read(payload) else {
            self.tally.unexpected += 1;
            return;
        };
        let number = stamp.stream as usize;
        let receiver = self.receivers.get_mut(link).and_then(Option::as_mut);
        let track = receiver.and_then(|receiver| receiver.tracks.get_mut(number.wrapping_sub(receiver.first_stream)));
        let (Some(track), Some(stream)) = (track, self.streams.get_mut(number)) else {
            self.tally.unexpected += 1;
            return;
        };
        if self.recipients.as_ref().is_some_and(|recipients| !recipients(stamp, link)) {
            self.tally.unexpected += 1;
            return;
        }
        match track.observe(stamp.sequence) {
            Seen::InOrder => {}
            Seen::Reordered => self.tally.reordered += 1,
            Seen::Duplicate => {
                self.tally.duplicated += 1;
                return;
            }
        }
        if stream.ledger.delivered(stamp.sequence).is_err() {
            self.tally.duplicated += 1;
            return;
        }
        self.tally.deliveries += 1;
        if let Some(latencies) = &mut self.latencies {
            latencies.record_ns(now_ns.saturating_sub(stamp.sent_ns));
        }
        self.fill(fleet, number, now_ns);
    }

    #[inline]
    fn acknowledged(&mut self, fleet: &mut Fleet, link: usize, id: u16, now_ns: u64) {
        let Some(number) = self.stream_of.get(link).copied().flatten() else {
            self.tally.unexpected += 1;
            return;
        };
        let Ok(sent_ns) = self.streams[number].ledger.acknowledged(id) else {
            self.tally.unexpected += 1;
            return;
        };
        self.tally.acknowledgements += 1;
        if let Some(latencies) = &mut self.acknowledgement_latencies {
            latencies.record_ns(now_ns.saturating_sub(sent_ns));
        }
        self.fill(fleet, number, now_ns);
    }
}

impl Handler for Traffic {
    #[inline]
    fn frame(&mut self, fleet: &mut Fleet, link: usize, frame: Frame<'_>, now_ns: u64) -> Result<(), BenchError> {
        match frame {
            Frame::Publish { qos, id, payload } => {
                self.delivered(fleet, link, payload, now_ns);
                match qos {
                    0 => {}
                    1 => wire::put_acknowledgement(fleet.output(link), wire::PUBACK, id),
                    _ => wire::put_acknowledgement(fleet.output(link), wire::PUBREC, id),
                }
            }
            Frame::PubAck { code: code @ 0x80.., .. } | Frame::PubRec { code: code @ 0x80.., .. } => {
                return Err(BenchError::Refused { packet: "PUBLISH", connection: link, code });
            }
            Frame::PubAck { id, .. } | Frame::PubComp { id } => self.acknowledged(fleet, link, id, now_ns),
            Frame::PubRec { id, .. } => wire::put_acknowledgement(fleet.output(link), wire::PUBREL, id),
            Frame::PubRel { id } => wire::put_acknowledgement(fleet.output(link), wire::PUBCOMP, id),
            Frame::SubAck { refused: true } => {
                return Err(BenchError::Refused { packet: "SUBSCRIBE", connection: link, code: 0x80 });
            }
            Frame::SubAck { .. } | Frame::UnsubAck => self.subscription_answers.push(link),
            Frame::ConnAck { code: 0, .. } => self.connection_answers += 1,
            Frame::ConnAck { code, .. } => {
                return Err(BenchError::Refused { packet: "CONNECT", connection: link, code });
            }
            Frame::PingResp | Frame::Disconnect { .. } => {}
        }
        Ok(())
    }
}
