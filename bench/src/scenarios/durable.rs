//! Messages for lasting sessions: what an acknowledgement costs that means "on disk".

use super::stored::{self, come_back, end_sessions, lasting};
use super::{Run, settle, verdict};
use crate::fleet::Fleet;
use crate::latency::Latencies;
use crate::setup::{self, Session};
use crate::traffic::{PublishStream, Traffic};
use crate::verify::Track;
use crate::wire::PublishTemplate;
use crate::{BenchError, Report};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// Publishes to lasting sessions for the duration of the run. Sessions that are away come back afterwards, and every
/// message must be there.
pub fn run(
    run: &Run<'_>,
    publishers: usize,
    sessions: usize,
    live: bool,
    qos: u8,
    window: u32,
) -> Result<Report, BenchError> {
    let sessions = sessions.min(publishers);
    let mut fleet = run.fleet(publishers + sessions)?;
    let filters = (0..sessions).map(|session| vec![format!("bench/durable/{session}/+")]).collect::<Vec<_>>();
    let readers = if live {
        let (readers, _) = setup::connect(&mut fleet, lasting(), sessions)?;
        setup::subscribe(&mut fleet, readers.clone(), &filters, qos)?;
        readers
    } else {
        stored::leave(&mut fleet, filters, qos)?;
        0..0
    };

    let (links, granted) = setup::connect(&mut fleet, Session::clean('p'), publishers)?;
    let mut traffic = Traffic::new(u32::from(live), None);
    let window = if qos > 0 { window.min(granted.receive_maximum.into()) } else { window };
    for (number, link) in links.clone().enumerate() {
        let topic = format!("bench/durable/{}/{number}", number * sessions / publishers);
        let frames =
            [PublishTemplate::new(run.common.version(), &topic, qos, false, run.common.payload_bytes as usize)];
        traffic.add_stream(PublishStream::endless(link, Rc::new(frames), qos, window.into()));
    }
    for (session, link) in readers.clone().enumerate() {
        let streams = streams_of(session, sessions, publishers);
        traffic.add_receiver(link, streams.start, vec![Track::ordered(); streams.len()]);
    }

    let mut report = Report {
        scenario: "durable",
        setting: format!(
            "{publishers} publishers to {sessions} lasting sessions that are {}, window {window}, QoS {qos}",
            if live { "connected" } else { "away" }
        ),
        connections: fleet.links_open() as u64,
        ..Report::default()
    };
    measure(run, &mut fleet, &mut traffic, &mut report)?;
    if live || qos == 0 {
        verdict(&mut report, &traffic);
        if live {
            end_sessions(&mut fleet, readers)?;
        }
        return Ok(report);
    }
    read(run, &mut fleet, &traffic, &mut report, links, sessions)
}

/// The streams of publishers whose topics a session has subscribed to.
fn streams_of(session: usize, sessions: usize, publishers: usize) -> Range<usize> {
    let first = |session: usize| (session * publishers).div_ceil(sessions);
    first(session)..first(session + 1)
}

fn measure(run: &Run<'_>, fleet: &mut Fleet, traffic: &mut Traffic, report: &mut Report) -> Result<(), BenchError> {
    traffic.start(fleet);
    run_for(fleet, traffic, run.common.warm_up_s)?;
    traffic.record(Some(Latencies::default()));
    traffic.record_acknowledgements(Some(Latencies::default()));
    let (before, earlier) = (run.sample()?, traffic.tally());
    run_for(fleet, traffic, run.common.duration_s)?;
    let (after, tally) = (run.sample()?, traffic.tally());
    let acknowledgements = traffic.record_acknowledgements(None).and_then(|latencies| latencies.summary());
    report.latency_us = traffic.record(None).and_then(|latencies| latencies.summary());
    traffic.stop();
    settle(fleet, traffic)?;

    report.measured(&before, &after, tally.deliveries - earlier.deliveries);
    let acknowledged = (tally.acknowledgements - earlier.acknowledgements) as f64;
    report.figures.insert("acknowledged_per_s", acknowledged / after.seconds_since(&before));
    if let Some(latency) = acknowledgements {
        report.figures.insert("acknowledgement_us_p50", latency.p50);
        report.figures.insert("acknowledgement_us_p99", latency.p99);
    }
    if let Some(cpu_s) = after.broker_cpu_s(&before) {
        report.figures.insert("acknowledged_per_broker_cpu_s", acknowledged / cpu_s);
    }
    Ok(())
}

fn run_for(fleet: &mut Fleet, traffic: &mut Traffic, seconds: f64) -> Result<(), BenchError> {
    let end_ns = fleet.now_ns() + (seconds * 1e9) as u64;
    while fleet.now_ns() < end_ns {
        let rest = Duration::from_nanos(end_ns.saturating_sub(fleet.now_ns()));
        fleet.turn(traffic, rest.min(Duration::from_millis(100)))?;
    }
    Ok(())
}

/// Lets the sessions come back for all that was acknowledged.
fn read(
    run: &Run<'_>,
    fleet: &mut Fleet,
    written: &Traffic,
    report: &mut Report,
    publishers: Range<usize>,
    sessions: usize,
) -> Result<Report, BenchError> {
    let first = publishers.end;
    let mut traffic = Traffic::new(1, None);
    for (link, sent) in publishers.clone().zip(written.sent_by_stream()) {
        traffic.add_stream(PublishStream::stored(link, sent, 1));
    }
    for session in 0..sessions {
        let streams = streams_of(session, sessions, publishers.len());
        traffic.add_receiver(first + session, streams.start, vec![Track::ordered(); streams.len()]);
    }
    let measured = report.clone();
    come_back(run, fleet, &mut traffic, report, first..first + sessions)?;
    // The figures are those of the writing; of the reading counts what was found.
    let mut report = Report {
        lost: report.lost,
        duplicated: report.duplicated,
        reordered: report.reordered,
        unexpected: report.unexpected + written.tally().unexpected,
        sent: report.sent,
        ..measured
    };
    report.figures.insert("never_acknowledged", written.acknowledgements_due() as f64);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_publisher_has_one_session_and_its_topic_says_which() {
        for (publishers, sessions) in [(1, 1), (64, 1), (64, 64), (10, 3), (7, 5)] {
            for session in 0..sessions {
                for publisher in streams_of(session, sessions, publishers) {
                    assert_eq!(publisher * sessions / publishers, session, "{publisher} of {publishers}");
                }
            }
            assert_eq!(streams_of(sessions - 1, sessions, publishers).end, publishers);
        }
    }
}
