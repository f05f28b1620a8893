//! Messages that the broker keeps before it delivers them: retained, and queued for absent sessions.

use super::{Run, settle, verdict};
use crate::arguments::Phase;
use crate::fleet::Fleet;
use crate::report::Sample;
use crate::setup::{self, Granted, Session, UNANSWERED_MAX};
use crate::traffic::{PublishStream, Traffic};
use crate::verify::{Ledger, Track};
use crate::wire::{self, PublishTemplate};
use crate::{BenchError, Report};
use std::ops::Range;
use std::rc::Rc;

/// Stores one retained message a topic at QoS 1, then subscribes to all of them and reads them.
pub fn retained(run: &Run<'_>, topics: u32, clients: u32, window: u32, phase: Phase) -> Result<Report, BenchError> {
    let mut fleet = run.fleet(clients as usize + 1)?;
    let (links, granted) = setup::connect(&mut fleet, Session::clean('p'), 1)?;
    let (subscribers, _) = setup::connect(&mut fleet, Session::clean('s'), clients as usize)?;
    let name = |topic: u32| format!("bench/retained/{}/{topic}", topic % 100);

    let mut report = Report {
        scenario: "retained",
        setting: format!("{topics} topics stored, window {window}, then read by {clients} new subscribers to '#'"),
        connections: fleet.links_open() as u64,
        ..Report::default()
    };
    let mut traffic = Traffic::new(clients, None);
    if phase.stores() {
        let frames = (0..topics).map(|topic| template(run, &name(topic), true)).collect();
        traffic.add_stream(stored_stream(links.start, frames, topics, window, granted));
        store(run, &mut fleet, &mut traffic, &mut report)?;
    } else {
        traffic.add_stream(PublishStream::stored(links.start, topics.into(), clients));
    }
    if phase.reads() {
        for link in subscribers.clone() {
            traffic.add_receiver(link, 0, vec![Track::unordered(topics.into())]);
        }
        drain(run, &mut fleet, &mut traffic, &mut report, |fleet, traffic| {
            for link in subscribers {
                let version = fleet.version();
                wire::put_subscribe(fleet.output(link), version, &["bench/retained/#"], 1);
            }
            settle(fleet, traffic)
        })?;
        forget(&mut fleet, &mut traffic, links.start, (0..topics).map(name))?;
    }
    Ok(report)
}

/// Queues QoS 1 messages for sessions whose clients are away, then lets them come back.
pub fn offline(run: &Run<'_>, clients: u32, messages: u32, window: u32, phase: Phase) -> Result<Report, BenchError> {
    let each = messages.div_ceil(clients);
    // Publishers and readers at the same time, where there are both.
    let mut fleet = run.fleet(if phase == Phase::Both { 2 } else { 1 } * clients as usize)?;
    let mut report = Report {
        scenario: "offline",
        setting: format!("{} messages queued for {clients} sessions, window {window}, QoS 1", each * clients),
        ..Report::default()
    };
    let mut traffic = Traffic::new(1, None);
    let first = if phase.stores() {
        let topic = |client: u32| format!("bench/offline/{client}");
        leave(&mut fleet, (0..clients).map(|client| vec![topic(client)]).collect(), 1)?;
        let (publishers, granted) = setup::connect(&mut fleet, Session::clean('p'), clients as usize)?;
        for (client, link) in (0..clients).zip(publishers.clone()) {
            let frames = Rc::new([template(run, &topic(client), false)]);
            traffic.add_stream(stored_stream(link, frames, each, window, granted));
        }
        report.connections = fleet.links_open() as u64;
        store(run, &mut fleet, &mut traffic, &mut report)?;
        publishers.end
    } else {
        for stream in 0..clients as usize {
            traffic.add_stream(PublishStream::stored(stream, each.into(), 1));
        }
        0
    };
    if phase.reads() {
        for stream in 0..clients as usize {
            traffic.add_receiver(first + stream, stream, vec![Track::ordered()]);
        }
        come_back(run, &mut fleet, &mut traffic, &mut report, first..first + clients as usize)?;
    }
    Ok(report)
}

/// A session that is there when its client is not. Version 3.1.1 has one flag for both: a session that is to outlive the
/// connection must not begin clean.
pub fn lasting() -> Session {
    Session { clean_start: false, keep: true, ..Session::clean('s') }
}

/// Makes a lasting session for each list of filters and leaves it.
pub fn leave(fleet: &mut Fleet, filters: Vec<Vec<String>>, qos: u8) -> Result<(), BenchError> {
    let (absent, _) = setup::connect(fleet, lasting(), filters.len())?;
    setup::subscribe(fleet, absent.clone(), &filters, qos)?;
    setup::disconnect(fleet, absent)
}

/// The clients of all lasting sessions come back as `links`, take what is there, and end their sessions.
pub fn come_back(
    run: &Run<'_>,
    fleet: &mut Fleet,
    traffic: &mut Traffic,
    report: &mut Report,
    links: Range<usize>,
) -> Result<(), BenchError> {
    let (sessions, answers) = (links.len(), traffic.connection_answers());
    drain(run, fleet, traffic, report, |fleet, traffic| {
        let mut opened = 0;
        fleet.run_until(traffic, "CONNACKs", |fleet, traffic| {
            while opened < sessions && opened - (traffic.connection_answers() - answers) < UNANSWERED_MAX {
                let link = lasting().open(fleet, opened)?;
                debug_assert_eq!(link, links.start + opened, "receivers are told apart by their links");
                opened += 1;
            }
            Ok(traffic.connection_answers() - answers == sessions)
        })?;
        settle(fleet, traffic)
    })?;
    end_sessions(fleet, links)
}

/// Removes the lasting sessions behind `links`, so that a broker that lives on is as it was. One that is still busy with what
/// it has been told is left alone.
pub fn end_sessions(fleet: &mut Fleet, links: Range<usize>) -> Result<(), BenchError> {
    let sessions = links.len();
    // A clean session takes the place of each and ends with its connection.
    let ended =
        setup::disconnect(fleet, links).and_then(|()| setup::connect(fleet, Session::clean('s'), sessions).map(|_| ()));
    match ended {
        Err(BenchError::Silent { .. }) => Ok(()),
        other => other,
    }
}

fn template(run: &Run<'_>, topic: &str, retain: bool) -> PublishTemplate {
    PublishTemplate::new(run.common.version(), topic, 1, retain, run.common.payload_bytes as usize)
}

/// A stream that waits for acknowledgements only: its deliveries come after the last of them.
fn stored_stream(
    link: usize,
    topics: Rc<[PublishTemplate]>,
    messages: u32,
    window: u32,
    granted: Granted,
) -> PublishStream {
    PublishStream {
        ledger: Ledger::new(messages.into()),
        unacknowledged_max: window.min(granted.receive_maximum.into()).into(),
        messages_max: messages.into(),
        ..PublishStream::endless(link, topics, 1, 1)
    }
}

fn store(run: &Run<'_>, fleet: &mut Fleet, traffic: &mut Traffic, report: &mut Report) -> Result<(), BenchError> {
    let before = run.sample()?;
    traffic.start(fleet);
    fleet.run_until(traffic, "PUBACKs", |_, traffic| Ok(traffic.is_sent() && traffic.acknowledgements_due() == 0))?;
    let after = run.sample()?;
    let messages = traffic.sent() as f64;
    report.figures.insert("stored_per_s", messages / after.seconds_since(&before));
    if let (Some(cpu_s), Some(bytes)) = (after.broker_cpu_s(&before), after.broker_growth_bytes(&before)) {
        report.figures.insert("stored_per_broker_cpu_s", messages / cpu_s);
        report.figures.insert("broker_bytes_per_stored_message", bytes / messages);
    }
    Ok(())
}

fn drain(
    run: &Run<'_>,
    fleet: &mut Fleet,
    traffic: &mut Traffic,
    report: &mut Report,
    read: impl FnOnce(&mut Fleet, &mut Traffic) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let before: Sample = run.sample()?;
    read(fleet, traffic)?;
    report.measured(&before, &run.sample()?, traffic.tally().deliveries);
    verdict(report, traffic);
    Ok(())
}

/// Removes the retained messages, so that a broker that lives on is as it was.
fn forget(
    fleet: &mut Fleet,
    traffic: &mut Traffic,
    link: usize,
    names: impl Iterator<Item = String>,
) -> Result<(), BenchError> {
    let version = fleet.version();
    for name in names {
        wire::put_forget(fleet.output(link), version, &name);
    }
    fleet.run_until(traffic, "retained messages to be removed", |fleet, _| Ok(fleet.output_bytes(link) == 0))
}
