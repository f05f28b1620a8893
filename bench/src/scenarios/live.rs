//! Messages that are sent and received at once: point to point, fan-out, fan-in, shared, among many subscriptions,
//! at a fixed rate, and during churn. They differ in a [`Plan`] only.

use super::{Run, settle, verdict};
use crate::fleet::Fleet;
use crate::latency::{Latencies, Schedule};
use crate::report::Sample;
use crate::setup::{self, Session};
use crate::traffic::{PublishStream, Recipients, TopicOrder, Traffic};
use crate::verify::Track;
use crate::wire::{self, PublishTemplate};
use crate::{BenchError, Report};
use std::rc::Rc;
use std::time::Duration;

/// Who publishes what to whom.
pub struct Plan {
    scenario: &'static str,
    setting: String,
    /// Topic names of each publisher, which it takes in turn.
    publishers: Vec<Rc<[String]>>,
    subscribers: Vec<Subscriber>,
    /// Subscribers that get each message.
    fan: u32,
    /// Where not every subscriber gets every message of its streams.
    recipients: Option<Recipients>,
    qos: u8,
    window: u32,
    pace: Pace,
}

struct Subscriber {
    filters: Vec<String>,
    first_stream: usize,
    streams: usize,
}

#[derive(Clone, Copy)]
enum Pace {
    /// As fast as the windows allow.
    Closed,
    /// Messages a second, of all publishers together.
    Open { per_second: u64 },
    /// As fast as the windows allow, while other clients change subscriptions at this rate.
    Churn { per_second: u64 },
}

/// Clients that subscribe and unsubscribe in turn.
const CHURNERS: usize = 10;

/// N publishers, N topics, N subscribers.
pub fn point_to_point(clients: u32, qos: u8, window: u32) -> Plan {
    let topic = |client| format!("bench/p2p/{client}");
    Plan {
        scenario: "p2p",
        setting: format!("{clients} publishers to {clients} subscribers, window {window}, QoS {qos}"),
        publishers: (0..clients).map(|client| Rc::from([topic(client)])).collect(),
        subscribers: (0..clients)
            .map(|client| Subscriber { filters: vec![topic(client)], first_stream: client as usize, streams: 1 })
            .collect(),
        fan: 1,
        recipients: None,
        qos,
        window,
        pace: Pace::Closed,
    }
}

/// 1 publisher, N subscribers to its topic.
pub fn fan_out(clients: u32, qos: u8, window: u32) -> Plan {
    let topic = || "bench/fanout".to_owned();
    Plan {
        scenario: "fanout",
        setting: format!("1 publisher to {clients} subscribers, window {window}, QoS {qos}"),
        publishers: vec![Rc::from([topic()])],
        subscribers: (0..clients).map(|_| Subscriber { filters: vec![topic()], first_stream: 0, streams: 1 }).collect(),
        fan: clients,
        recipients: None,
        qos,
        window,
        pace: Pace::Closed,
    }
}

/// N publishers with a topic each, 1 subscriber to all.
pub fn fan_in(clients: u32, qos: u8, window: u32) -> Plan {
    Plan {
        scenario: "fanin",
        setting: format!("{clients} publishers to 1 subscriber, window {window}, QoS {qos}"),
        publishers: (0..clients).map(|client| Rc::from([format!("bench/fanin/{client}")])).collect(),
        subscribers: vec![Subscriber {
            filters: vec!["bench/fanin/+".to_owned()],
            first_stream: 0,
            streams: clients as usize,
        }],
        fan: 1,
        recipients: None,
        qos,
        window,
        pace: Pace::Closed,
    }
}

/// N publishers with a topic each, one group of `members`.
pub fn shared(clients: u32, members: u32, qos: u8, window: u32) -> Plan {
    Plan {
        scenario: "shared",
        setting: format!("{clients} publishers to a group of {members}, window {window}, QoS {qos}"),
        publishers: (0..clients).map(|client| Rc::from([format!("bench/shared/{client}")])).collect(),
        subscribers: (0..members)
            .map(|_| Subscriber {
                filters: vec!["$share/bench/bench/shared/+".to_owned()],
                first_stream: 0,
                streams: clients as usize,
            })
            .collect(),
        fan: 1,
        recipients: None,
        qos,
        window,
        pace: Pace::Closed,
    }
}

/// Each device has five filters: exact `t0`, `t1` and `t2`, one `+` (at the end, in the middle or at the front) and
/// one `#`, all with different clients. Publishing goes to `t1` of the devices, far apart from one message to the
/// next: three deliveries each.
pub fn subscriptions(clients: u32, filters: u32, publishers: u32, qos: u8, window: u32) -> Plan {
    let devices = filters / 5;
    let base = |device: u32| format!("site{}/room{}/dev{device}", device % 100, device / 100 % 100);
    let mut subscribers: Vec<_> = (0..clients)
        .map(|_| Subscriber { filters: Vec::new(), first_stream: 0, streams: publishers as usize })
        .collect();
    for device in 0..devices {
        let base = base(device);
        let plus = match device % 3 {
            0 => format!("{base}/+"),
            1 => format!("site{}/+/dev{device}/t1", device % 100),
            _ => format!("+/room{}/dev{device}/t1", device / 100 % 100),
        };
        let exact = (0..3).map(|sensor| format!("{base}/t{sensor}"));
        for (place, filter) in exact.chain([plus, format!("{base}/#")]).enumerate() {
            subscribers[filter_owner(device, place as u32, clients) as usize].filters.push(filter);
        }
    }
    let topics: Rc<[String]> = (0..devices).map(|device| format!("{}/t1", base(device))).collect();
    let recipients = move |stamp: wire::Stamp, link: usize| {
        let device = device_order(u64::from(stamp.stream)).index(stamp.sequence, u64::from(devices)) as u32;
        [1, 3, 4].iter().any(|place| filter_owner(device, *place, clients) as usize == link)
    };
    Plan {
        scenario: "subscriptions",
        setting: format!(
            "{} filters by {clients} clients, {publishers} publishers, window {window}, QoS {qos}",
            devices * 5
        ),
        publishers: (0..publishers).map(|_| topics.clone()).collect(),
        subscribers,
        fan: 3,
        recipients: Some(Box::new(recipients)),
        qos,
        window,
        pace: Pace::Closed,
    }
}

/// The client with the filter at `place` of the five; different for all places but the two that never match together.
fn filter_owner(device: u32, place: u32, clients: u32) -> u32 {
    (device + [0, 1, 0, 2, 3][place as usize]) % clients
}

/// Publishers begin apart and step over many devices; the prime divides no number of devices below five million
/// evenly unless that number is a multiple of it, and then some devices are just never published to.
fn device_order(stream: u64) -> TopicOrder {
    TopicOrder { start: stream * 2_003, stride: 7_919 }
}

/// Point to point at a fixed rate.
pub fn latency(clients: u32, per_second: u64, qos: u8) -> Plan {
    Plan {
        scenario: "latency",
        setting: format!("{clients} publishers to {clients} subscribers, {per_second} messages a second, QoS {qos}"),
        pace: Pace::Open { per_second },
        ..point_to_point(clients, qos, u32::from(u16::MAX))
    }
}

/// Point to point while ten more clients change their subscriptions.
pub fn churn(clients: u32, per_second: u64, qos: u8, window: u32) -> Plan {
    let plan = point_to_point(clients, qos, window);
    Plan {
        scenario: "churn",
        setting: format!("{}, {per_second} subscription changes a second", plan.setting),
        pace: Pace::Churn { per_second },
        ..plan
    }
}

/// Connects, subscribes, warms up, measures, and waits for the last message.
pub fn run(run: &Run<'_>, plan: Plan) -> Result<Report, BenchError> {
    let connections = plan.publishers.len() + plan.subscribers.len() + CHURNERS;
    let mut fleet = run.fleet(connections)?;
    let mut report = Report { scenario: plan.scenario, setting: plan.setting.clone(), ..Report::default() };

    let before = run.sample()?;
    let (subscribers, _) = setup::connect(&mut fleet, Session::clean('s'), plan.subscribers.len())?;
    let (publishers, granted) = setup::connect(&mut fleet, Session::clean('p'), plan.publishers.len())?;
    let connected = run.sample()?;
    report.connections = fleet.links_open() as u64;
    report.broker_bytes_per_connection =
        connected.broker_growth_bytes(&before).map(|bytes| bytes / report.connections as f64);

    let filters: Vec<_> = plan.subscribers.iter().map(|subscriber| subscriber.filters.clone()).collect();
    setup::subscribe(&mut fleet, subscribers.clone(), &filters, plan.qos)?;
    subscription_figures(&mut report, &connected, &run.sample()?, filters.iter().map(Vec::len).sum());
    drop(filters);

    let window = if plan.qos > 0 { plan.window.min(granted.receive_maximum.into()) } else { plan.window };
    let mut traffic = board(run, plan.publishers, publishers.start, plan.qos, window, plan.fan, plan.recipients);
    for (link, subscriber) in subscribers.zip(&plan.subscribers) {
        traffic.add_receiver(link, subscriber.first_stream, vec![Track::ordered(); subscriber.streams]);
    }
    let mut pacer = Pacer::new(&mut fleet, plan.pace, report.connections / 2)?;
    measure(run, &mut fleet, &mut traffic, &mut pacer, &mut report)?;
    verdict(&mut report, &traffic);
    Ok(report)
}

fn subscription_figures(report: &mut Report, before: &Sample, after: &Sample, filters: usize) {
    report.figures.insert("filters", filters as f64);
    if filters < 1_000 {
        return;
    }
    report.figures.insert("subscriptions_per_s", filters as f64 / after.seconds_since(before));
    if let (Some(cpu_s), Some(bytes)) = (after.broker_cpu_s(before), after.broker_growth_bytes(before)) {
        report.figures.insert("broker_cpu_us_per_subscription", cpu_s * 1e6 / filters as f64);
        report.figures.insert("broker_bytes_per_subscription", bytes / filters as f64);
    }
}

type Frames = Rc<[PublishTemplate]>;

/// Puts the publishers on board; publishers with the same topics share their frames.
fn board(
    run: &Run<'_>,
    publishers: Vec<Rc<[String]>>,
    first_link: usize,
    qos: u8,
    window: u32,
    fan: u32,
    recipients: Option<Recipients>,
) -> Traffic {
    let mut traffic = Traffic::new(fan, recipients);
    let mut shared: Option<(Rc<[String]>, Frames)> = None;
    for (number, names) in publishers.into_iter().enumerate() {
        let topics = match &shared {
            Some((known, frames)) if Rc::ptr_eq(known, &names) => frames.clone(),
            _ => names.iter().map(|name| template(run, name, qos)).collect(),
        };
        shared = Some((names, topics.clone()));
        let mut stream = PublishStream::endless(first_link + number, topics, qos, window.into());
        stream.topic_order = device_order(number as u64);
        traffic.add_stream(stream);
    }
    traffic
}

fn template(run: &Run<'_>, topic: &str, qos: u8) -> PublishTemplate {
    PublishTemplate::new(run.common.version(), topic, qos, false, run.common.payload_bytes as usize)
}

fn measure(
    run: &Run<'_>,
    fleet: &mut Fleet,
    traffic: &mut Traffic,
    pacer: &mut Pacer,
    report: &mut Report,
) -> Result<(), BenchError> {
    if !matches!(pacer.pace, Pace::Open { .. }) {
        traffic.start(fleet);
    }
    pacer.run_for(fleet, traffic, run.common.warm_up_s)?;

    traffic.record(Some(Latencies::default()));
    let (before, deliveries, changes) = (run.sample()?, traffic.tally().deliveries, pacer.changes);
    pacer.run_for(fleet, traffic, run.common.duration_s)?;
    let (after, deliveries) = (run.sample()?, traffic.tally().deliveries - deliveries);
    let latencies = traffic.record(None);

    traffic.stop();
    settle(fleet, traffic)?;
    report.measured(&before, &after, deliveries);
    report.latency_us = latencies.and_then(|latencies| latencies.summary());
    if let Pace::Churn { .. } = pacer.pace {
        report
            .figures
            .insert("subscription_changes_per_s", (pacer.changes - changes) as f64 / after.seconds_since(&before));
    }
    Ok(())
}

/// Drives what does not follow from an arriving frame.
struct Pacer {
    pace: Pace,
    schedule: Option<Schedule>,
    streams: u64,
    /// Links of the churners that wait for no answer.
    idle: Vec<usize>,
    /// SUBSCRIBEs and UNSUBSCRIBEs sent.
    changes: u64,
    /// By churner: the link, and whether it is subscribed.
    churners: Vec<(usize, bool)>,
}

impl Pacer {
    fn new(fleet: &mut Fleet, pace: Pace, streams: u64) -> Result<Self, BenchError> {
        let count = if matches!(pace, Pace::Churn { .. }) { CHURNERS } else { 0 };
        let (links, _) = setup::connect(fleet, Session::clean('c'), count)?;
        let churners = links.clone().map(|link| (link, false)).collect();
        Ok(Self { pace, schedule: None, streams, idle: links.collect(), changes: 0, churners })
    }

    fn run_for(&mut self, fleet: &mut Fleet, traffic: &mut Traffic, seconds: f64) -> Result<(), BenchError> {
        let end_ns = fleet.now_ns() + (seconds * 1e9) as u64;
        loop {
            let now_ns = fleet.now_ns();
            if now_ns >= end_ns {
                return Ok(());
            }
            let timeout = self.step(fleet, traffic, now_ns);
            fleet.turn(traffic, timeout.min(Duration::from_nanos(end_ns - now_ns)))?;
        }
    }

    /// Sends what is due and says how long the poll may wait. An open loop never waits: the poll counts in
    /// milliseconds, its messages come closer.
    fn step(&mut self, fleet: &mut Fleet, traffic: &mut Traffic, now_ns: u64) -> Duration {
        let per_second = match self.pace {
            Pace::Closed => return Duration::from_millis(100),
            Pace::Open { per_second } | Pace::Churn { per_second } => per_second,
        };
        let mut schedule = self.schedule.unwrap_or_else(|| Schedule::new(now_ns, per_second));
        while let Some(link) = traffic.take_subscription_answer() {
            self.idle.push(link);
        }
        while let Some((number, due_ns)) = schedule.due(now_ns) {
            let sent = match self.pace {
                Pace::Open { .. } => traffic.send_due(fleet, (number % self.streams) as usize, due_ns),
                _ => self.change_subscription(fleet),
            };
            if !sent {
                break;
            }
            schedule.advance();
        }
        self.schedule = Some(schedule);
        if matches!(self.pace, Pace::Open { .. }) { Duration::ZERO } else { Duration::from_millis(1) }
    }

    /// False when every churner waits for an answer.
    fn change_subscription(&mut self, fleet: &mut Fleet) -> bool {
        let (Some(link), version) = (self.idle.pop(), fleet.version()) else { return false };
        let filter = format!("bench/churn/{link}/+/{}", self.changes % 7);
        let Some((_, subscribed)) = self.churners.iter_mut().find(|(churner, _)| *churner == link) else {
            return false;
        };
        *subscribed = !*subscribed;
        match *subscribed {
            true => wire::put_subscribe(fleet.output(link), version, &[filter], 0),
            false => wire::put_unsubscribe(fleet.output(link), version, &filter),
        }
        self.changes += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_are_spread_as_promised_and_each_message_has_three_recipients() {
        let plan = subscriptions(100, 100_000, 10, 0, 20);
        let filters: Vec<_> = plan.subscribers.iter().flat_map(|subscriber| &subscriber.filters).collect();
        let count = |sign| filters.iter().filter(|filter| filter.contains(sign)).count();
        assert_eq!((filters.len(), count('+'), count('#')), (100_000, 20_000, 20_000));
        assert!(plan.subscribers.iter().all(|subscriber| subscriber.filters.len() == 1_000));

        let recipients = plan.recipients.expect("some");
        for sequence in [0, 1, 77_777] {
            let stamp = wire::Stamp { stream: 3, sequence, sent_ns: 0 };
            let topic = &plan.publishers[3][device_order(3).index(sequence, 20_000) as usize];
            for (link, subscriber) in plan.subscribers.iter().enumerate() {
                let matches = subscriber.filters.iter().filter(|filter| filter_matches(filter, topic)).count();
                assert_eq!(matches, usize::from(recipients(stamp, link)), "client {link}, {topic}");
            }
        }
    }

    fn filter_matches(filter: &str, topic: &str) -> bool {
        let mut levels = topic.split('/');
        for level in filter.split('/') {
            match (level, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}
