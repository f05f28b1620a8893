//! A QoS 0 flood against subscribers that read slowly: does the broker slow the publishers, grow, or drop?

use super::Run;
use crate::fleet::{Fleet, Handler};
use crate::setup::{self, Session};
use crate::verify::{Seen, Track};
use crate::wire::{Frame, PublishTemplate, Stamp};
use crate::{BenchError, Report};
use std::time::Duration;

/// The socket buffer of a slow subscriber, small so that the broker notices it soon.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// A publisher's output is filled up to here whenever its socket has taken some.
const OUTPUT_BYTES: usize = 64 * 1024;
/// How often the subscribers read and the broker's memory is looked at.
const STEP_NS: u64 = 10_000_000;

/// Floods for the duration of the run, then lets the subscribers read at full speed and counts what is missing.
pub fn run(run: &Run<'_>, publishers: usize, subscribers: usize, read_bytes_per_s: u32) -> Result<Report, BenchError> {
    let mut fleet = run.fleet(publishers + subscribers)?;
    let slow = Session { receive_buffer_bytes: Some(RECEIVE_BUFFER_BYTES), ..Session::clean('s') };
    let (publishing, _) = setup::connect(&mut fleet, Session::clean('p'), publishers)?;
    let reading = connect_slow(&mut fleet, slow, subscribers)?;

    let mut flood = Flood {
        first_reader: reading.start,
        tracks: vec![vec![Track::ordered(); publishers]; subscribers],
        streams: publishing.map(|link| stream(run, link)).collect(),
        deliveries: 0,
        report: Report::default(),
    };
    let before = run.sample()?;
    let bytes_per_step = (u64::from(read_bytes_per_s) * STEP_NS / 1_000_000_000) as usize;
    let end_ns = fleet.now_ns() + (run.common.duration_s * 1e9) as u64;
    let (mut step_ns, mut growth_bytes) = (fleet.now_ns(), 0_f64);
    while fleet.now_ns() < end_ns {
        flood.send(&mut fleet);
        fleet.turn(&mut flood, Duration::from_nanos(STEP_NS))?;
        if fleet.now_ns() >= step_ns {
            step_ns += STEP_NS;
            for link in reading.clone() {
                fleet.read_some(link, bytes_per_step, &mut flood)?;
            }
            growth_bytes = growth_bytes.max(run.sample()?.broker_growth_bytes(&before).unwrap_or(0.0));
        }
    }
    let after = run.sample()?;
    let sent: u64 = flood.streams.iter().map(|stream| stream.sent).sum();
    let deliveries = flood.deliveries;
    let due = sent * subscribers as u64;
    finish(&mut fleet, &mut flood, reading, due)?;

    let mut report = flood.report;
    report.scenario = "flood";
    report.setting =
        format!("{publishers} publishers, {subscribers} subscribers that read {read_bytes_per_s} bytes a second");
    report.connections = fleet.links_open() as u64;
    report.sent = sent;
    report.measured(&before, &after, deliveries);
    report.lost = due.saturating_sub(flood.deliveries);
    report.figures.insert("sent_per_s", sent as f64 / after.seconds_since(&before));
    if run.broker.is_some() {
        report.figures.insert("broker_growth_bytes_max", growth_bytes);
    }
    Ok(report)
}

/// Slow links are read by hand from their first byte on, so their CONNACK and SUBACK are fetched here.
fn connect_slow(fleet: &mut Fleet, slow: Session, count: usize) -> Result<std::ops::Range<usize>, BenchError> {
    let mut answers = Answers(0);
    let mut first = None;
    for number in 0..count {
        let link = slow.open(fleet, number)?;
        let version = fleet.version();
        crate::wire::put_subscribe(fleet.output(link), version, &["bench/flood/+"], 0);
        first.get_or_insert(link);
    }
    let links = first.unwrap_or(0)..first.unwrap_or(0) + count;
    fleet.run_until(&mut answers, "CONNACKs and SUBACKs", |fleet, answers| {
        for link in links.clone() {
            fleet.read_some(link, 1024, answers)?;
        }
        Ok(answers.0 == 2 * count)
    })?;
    Ok(links)
}

struct Answers(usize);

impl Handler for Answers {
    fn frame(&mut self, _: &mut Fleet, link: usize, frame: Frame<'_>, _: u64) -> Result<(), BenchError> {
        match frame {
            Frame::ConnAck { code: code @ 1.., .. } => {
                return Err(BenchError::Refused { packet: "CONNECT", connection: link, code });
            }
            Frame::ConnAck { .. } | Frame::SubAck { refused: false } => self.0 += 1,
            _ => {}
        }
        Ok(())
    }
}

struct Flood {
    first_reader: usize,
    /// By reader and stream.
    tracks: Vec<Vec<Track>>,
    streams: Vec<Stream>,
    deliveries: u64,
    /// Collects the faults.
    report: Report,
}

struct Stream {
    link: usize,
    template: PublishTemplate,
    sent: u64,
}

fn stream(run: &Run<'_>, link: usize) -> Stream {
    let topic = format!("bench/flood/{link}");
    let template = PublishTemplate::new(run.common.version(), &topic, 0, false, run.common.payload_bytes as usize);
    Stream { link, template, sent: 0 }
}

impl Flood {
    fn send(&mut self, fleet: &mut Fleet) {
        let sent_ns = fleet.now_ns();
        for (number, stream) in self.streams.iter_mut().enumerate() {
            while fleet.output_bytes(stream.link) < OUTPUT_BYTES {
                let stamp = Stamp { stream: number as u32, sequence: stream.sent, sent_ns };
                stream.template.write(fleet.output(stream.link), 0, stamp);
                stream.sent += 1;
            }
        }
    }
}

impl Handler for Flood {
    fn frame(&mut self, _: &mut Fleet, link: usize, frame: Frame<'_>, _: u64) -> Result<(), BenchError> {
        let Frame::Publish { payload, .. } = frame else { return Ok(()) };
        let track = Stamp::read(payload).and_then(|stamp| {
            let tracks = self.tracks.get_mut(link.wrapping_sub(self.first_reader))?;
            Some((tracks.get_mut(stamp.stream as usize)?, stamp.sequence))
        });
        match track.map(|(track, sequence)| track.observe(sequence)) {
            None => self.report.unexpected += 1,
            Some(Seen::Duplicate) => self.report.duplicated += 1,
            Some(Seen::Reordered) => {
                self.report.reordered += 1;
                self.deliveries += 1;
            }
            Some(Seen::InOrder) => self.deliveries += 1,
        }
        Ok(())
    }
}

/// Reads at full speed until all is there or the broker is silent.
fn finish(fleet: &mut Fleet, flood: &mut Flood, readers: std::ops::Range<usize>, due: u64) -> Result<(), BenchError> {
    for link in readers {
        fleet.release(link, flood)?;
    }
    match fleet.run_until(flood, "deliveries", |_, flood| Ok(flood.deliveries == due)) {
        Err(BenchError::Silent { .. }) => Ok(()),
        other => other,
    }
}
