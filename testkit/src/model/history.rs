//! Random histories: stations that come, go, speak and listen as the seed says, and the story of it.

mod crashing;
mod hearing;

use super::{Biography, Holding, Publication, Session, Span, Story, Stretch};
use crate::house::{House, StationId, filter, topic};
use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::time::SECOND_NS;
use althing_core::{Entropy, Guarantee};
use althing_mqtt::packet::{Connect, Publish, Subscribe, SubscribeFilter, Unsubscribe, Version, Will};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Where stations speak. Shared subscriptions have `jobs/…` for themselves, so that copies can be told apart.
const TOPICS: [&str; 8] = ["t", "t/a", "t/b", "t/a/b", "u/a", "u/a/b", "jobs/x", "jobs/y"];
const PLAIN_FILTERS: [&str; 10] = ["t/#", "t/a", "t/+", "t/a/#", "t/+/b", "u/#", "u/+", "t/b", "+/a/b", "u/a/b"];
const SHARED_FILTERS: [&str; 4] = ["$share/g/jobs/#", "$share/g/jobs/x", "$share/h/jobs/+", "$share/h/jobs/y"];
/// A session that never expires.
const FOR_EVER: u32 = u32::MAX;

/// A policy with a few random rules about the topics above, or none.
pub fn random_policy(entropy: &mut Entropy) -> Policy {
    let mut policy = Policy::open();
    if entropy.below(2) == 0 {
        return policy;
    }
    for _ in 0..1 + entropy.below(4) {
        let text = PLAIN_FILTERS[entropy.below(PLAIN_FILTERS.len() as u64) as usize];
        let user = (entropy.below(2) == 0).then(|| format!("user{}", entropy.below(3)));
        let actions = Actions::publish_or_subscribe(entropy.below(2) == 0);
        let rule = Rule::for_everyone(actions, text, entropy.below(3) == 0);
        policy.rules.push(match user {
            Some(user) => rule.by(&user),
            None => rule,
        });
    }
    policy
}

/// Lives through `acts` random acts and checks the story.
pub fn live(house: &mut House, policy: Policy, acts: u64) -> Story {
    live_with(house, policy, acts, Perils::default())
}

/// What may happen to the house as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perils {
    /// Its process ends, and the next one begins.
    pub crashes: bool,
    /// Calls of its disk fail.
    pub disk_errors: bool,
}

/// The same, in a dangerous world.
pub fn live_with(house: &mut House, policy: Policy, acts: u64, perils: Perils) -> Story {
    let stations = 2 + house.below(4);
    let mut history = History::new(house, policy, stations as usize);
    history.perils = perils;
    for _ in 0..acts {
        history.act();
    }
    history.finish();
    history.story
}

/// What a station waits for, by the number that the client half gave it.
enum Waiting {
    Publication(usize),
    Subscriptions { session: usize, first: usize, count: usize },
    Unsubscription { session: usize, holdings: Vec<usize> },
}

/// A CONNECT that is not answered.
struct Attempt {
    begin: u64,
    expects_session: bool,
    /// Of the session that it finds.
    expiry_before_s: u32,
}

/// What the historian knows about one station.
struct Actor {
    id: StationId,
    version: Version,
    client_id: String,
    /// A CONNECT is under way.
    attempt: Option<Attempt>,
    connected: bool,
    /// When the last connection ended, and in which step.
    lost_ns: u64,
    lost_step: u64,
    /// The step of the last goodbye: until the next quiet moment the broker may not have heard it.
    goodbye: Option<u64>,
    /// The present session's.
    expiry_s: u32,
    /// A CONNECT that nobody answered may still be on its way between shards, and take over the next connection.
    haunted: bool,
    /// Nobody knows what the broker thinks of the session.
    unclear: bool,
    waiting: BTreeMap<u64, Waiting>,
    /// The publication that is the will of the present connection, and its delay.
    will: Option<(usize, u32)>,
    /// A will that will be due at this moment.
    will_due: Option<(usize, u64)>,
    /// A delayed will that the CONNECT under way cancels when it resumes the session.
    will_in_doubt: Option<usize>,
    heard: usize,
    received: usize,
}

struct History<'a> {
    house: &'a mut House,
    story: Story,
    actors: Vec<Actor>,
    perils: Perils,
    /// How many ends of the process have been taken down.
    crashes: usize,
}

impl<'a> History<'a> {
    fn new(house: &'a mut House, policy: Policy, count: usize) -> Self {
        let mut actors = Vec::new();
        let mut stations = Vec::new();
        for index in 0..count {
            let version = [Version::V5, Version::V5, Version::V311, Version::V31][house.below(4) as usize];
            let client_id = format!("station{index}");
            stations.push(Biography {
                username: (house.below(3) > 0).then(|| format!("user{}", house.below(3))),
                sees_identifiers: version == Version::V5,
                ..Biography::default()
            });
            actors.push(Actor {
                id: house.station(),
                version,
                client_id,
                attempt: None,
                connected: false,
                lost_ns: 0,
                lost_step: 0,
                goodbye: None,
                expiry_s: 0,
                haunted: false,
                unclear: false,
                waiting: BTreeMap::new(),
                will: None,
                will_due: None,
                will_in_doubt: None,
                heard: 0,
                received: 0,
            });
        }
        let story = Story { policy, publications: Vec::new(), stations, quiet: Vec::new(), rounding_ns: 0 };
        Self { house, story, actors, perils: Perils::default(), crashes: 0 }
    }

    /// One act of one station, and some of its consequences.
    fn act(&mut self) {
        let index = self.house.below(self.actors.len() as u64) as usize;
        let actor = &self.actors[index];
        let open = actor.connected || actor.attempt.is_some();
        match self.house.below(24) {
            0 if open => self.cut(index),
            1 if actor.connected => self.disconnect(index),
            2 if actor.connected && !actor.unclear => self.connect(index),
            3..=7 if actor.connected => self.subscribe(index),
            8 if actor.connected => self.unsubscribe(index),
            9 => self.pass(),
            11 if self.perils.crashes => self.crash(),
            12 if self.perils.disk_errors && self.house.one_in(2) => self.plan_failure(),
            10 if actor.connected && (!self.story.stations[index].is_deaf() || self.house.one_in(4)) => {
                self.toggle_reading(index);
            }
            _ if !open => self.connect(index),
            _ if actor.connected => self.publish(index),
            _ => {}
        }
        match self.house.below(3) {
            0 => self.settle(),
            1 => {
                let steps = self.house.below(40);
                self.house.run_steps(steps);
            }
            _ => {}
        }
        self.observe();
    }

    /// All is well again, and everyone whose session lives comes back; the story is checked; everyone leaves for good.
    fn finish(&mut self) {
        if let Some(disk) = self.house.disk() {
            disk.heal();
        }
        self.let_all_read();
        self.settle();
        for index in 0..self.actors.len() {
            let actor = &self.actors[index];
            if !actor.connected && !actor.unclear && actor.expiry_s > 0 && !self.session_is_over(index) {
                self.connect(index);
            }
        }
        self.settle();
        self.story.check();
        for index in 0..self.actors.len() {
            self.leave_for_good(index);
        }
        let statistics = self.house.statistics();
        let left = [
            ("peers", statistics.peers),
            ("sessions", statistics.sessions),
            ("subscriptions", statistics.subscriptions),
            ("shared subscriptions", statistics.shared_subscriptions),
            ("queued messages", statistics.queued_messages),
            ("queued bytes", statistics.queued_bytes),
            ("inflight messages", statistics.inflight_messages),
        ];
        for (what, count) in left {
            assert_eq!(count, 0, "{what} are left when all sessions are gone");
        }
        assert_eq!(self.house.connections_open(), 0, "connections are left");
        self.house.assert_store_is_empty();
    }

    fn leave_for_good(&mut self, index: usize) {
        let actor = &self.actors[index];
        let mut connect = packet(actor, &self.story.stations[index]);
        connect.clean_start = true;
        self.house.connect(actor.id, connect);
        self.house.settle();
        self.house.disconnect(self.actors[index].id);
        self.house.settle();
    }

    // ---- acts ----

    fn connect(&mut self, index: usize) {
        self.release_publishers();
        if std::mem::take(&mut self.actors[index].haunted) {
            self.settle();
        }
        let step = self.house.tick();
        let lives = self.actors[index].expiry_s > 0 && !self.session_is_over(index);
        let clean = !lives || self.actors[index].unclear || self.house.one_in(6);
        let expiry_s = [0, 30, FOR_EVER][self.house.below(3) as usize];
        self.lose(index, false);
        if clean {
            self.end_session(index, Span::open(step));
            self.story.stations[index].sessions.push(Session {
                begin: Span::open(step),
                end: None,
                holdings: Vec::new(),
            });
        }
        let mut connect = packet(&self.actors[index], &self.story.stations[index]);
        connect.clean_start = clean;
        if connect.version == Version::V5 {
            connect.session_expiry_s = Some(expiry_s);
            connect.receive_maximum = self.house.one_in(3).then(|| 1 + self.house.below(3) as u16);
            connect.topic_alias_maximum = self.house.below(3) as u16;
        }
        let expiry_s = match connect.version {
            Version::V5 => expiry_s,
            _ if clean => 0,
            _ => FOR_EVER,
        };
        connect.will = self.will(index, expiry_s > 0).map(Box::new);
        let actor = &mut self.actors[index];
        let expiry_before_s = std::mem::replace(&mut actor.expiry_s, expiry_s);
        actor.unclear = false;
        actor.attempt = Some(Attempt { begin: step, expects_session: !clean, expiry_before_s });
        self.house.connect(actor.id, connect);
    }

    fn will(&mut self, index: usize, lasts: bool) -> Option<Will> {
        if !self.house.one_in(3) {
            return None;
        }
        let delay_s = if self.house.one_in(2) { 0 } else { 1 + self.house.below(20) as u32 };
        let publish = self.random_publish(index);
        let number = self.story.publications.len() - 1;
        let published = &mut self.story.publications[number];
        published.is_will = true;
        published.certain = false;
        published.expiry_s = None;
        published.span = Span::open(u64::MAX);
        published.lasts = lasts;
        if !published.allowed {
            return None; // CONNECT would be refused
        }
        let is_v5 = self.actors[index].version == Version::V5;
        let delay_s = if is_v5 { delay_s } else { 0 };
        self.actors[index].will = Some((number, delay_s));
        Some(Will {
            topic: publish.topic?,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            delay_s,
            message_expiry_s: None,
            properties: None,
        })
    }

    /// Stops reading, or goes on.
    fn toggle_reading(&mut self, index: usize) {
        let step = self.house.tick();
        let deaf = &mut self.story.stations[index].deaf;
        let ends = deaf.last_mut().filter(|last| last.until.is_none());
        let reading = ends.is_some();
        match ends {
            Some(last) => last.until = Some(step),
            None => deaf.push(Stretch { from: step, until: None }),
        }
        if let Some(wire) = self.house.wire_of(self.actors[index].id) {
            self.house.set_reading(wire, reading);
        }
    }

    fn let_all_read(&mut self) {
        for index in 0..self.actors.len() {
            if self.story.stations[index].is_deaf() {
                self.toggle_reading(index);
            }
        }
    }

    /// Lets publishers go on that wait for somebody who does not read: what they say next, and their end, would be
    /// noticed at some later time only.
    fn release_publishers(&mut self) {
        if self.house.publishers_paused() > 0 {
            self.let_all_read();
            self.settle();
        }
    }

    fn cut(&mut self, index: usize) {
        self.release_publishers();
        self.house.cut_station(self.actors[index].id);
        self.lose(index, true);
    }

    fn disconnect(&mut self, index: usize) {
        self.release_publishers();
        if !self.actors[index].connected {
            return; // a crash came first
        }
        let actor = &mut self.actors[index];
        self.house.disconnect(actor.id);
        actor.goodbye = Some(self.house.tick());
        let will = actor.will.take();
        self.lose(index, true);
        self.actors[index].will = will; // should a new connection overtake the goodbye
    }

    fn publish(&mut self, index: usize) {
        let publish = self.random_publish(index);
        let number = self.story.publications.len() - 1;
        let is_v5 = self.actors[index].version == Version::V5;
        if !is_v5 && !self.story.publications[number].allowed {
            self.story.publications[number].span = Span::open(u64::MAX);
            return; // version 3 has no words for the refusal
        }
        let token = self.house.publish(self.actors[index].id, publish);
        if let Some(token) = token {
            self.actors[index].waiting.insert(token, Waiting::Publication(number));
        }
    }

    /// A publish of the next number, noted in the story.
    fn random_publish(&mut self, index: usize) -> Publish {
        let number = self.story.publications.len();
        let topic = topic(TOPICS[self.house.below(TOPICS.len() as u64) as usize]);
        let qos = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce][self.house.below(3) as usize];
        let retain = self.house.one_in(5);
        let is_empty = retain && self.house.one_in(4);
        let is_v5 = self.actors[index].version == Version::V5;
        let expiry_s = (is_v5 && self.house.one_in(5)).then(|| 1 + self.house.below(30) as u32);
        let allowed = self.story.allows(self.story.stations[index].username.as_deref(), true, &topic);
        self.story.publications.push(Publication {
            station: index,
            topic: topic.clone(),
            guarantee: qos,
            retain,
            is_empty,
            expiry_s,
            span: Span::open(self.house.tick()),
            issued_ns: self.house.now().mono_ns,
            allowed,
            certain: true,
            is_late: false,
            repeatable: false,
            forgettable: false,
            is_will: false,
            lasts: true,
        });
        Publish {
            dup: false,
            qos,
            retain,
            topic: Some(topic),
            packet_id: 0,
            topic_alias: None,
            message_expiry_s: expiry_s,
            subscription_ids: Vec::new(),
            properties: None,
            payload: if is_empty { Bytes::new() } else { Bytes::from(format!("#{number}")) },
        }
    }

    fn subscribe(&mut self, index: usize) {
        let is_v5 = self.actors[index].version == Version::V5;
        let step = self.house.tick();
        let identifier = if is_v5 && self.house.one_in(2) { 1 + self.house.below(9) as u32 } else { 0 };
        let mut filters = Vec::new();
        for _ in 0..1 + self.house.below(2) {
            let shared = is_v5 && self.house.one_in(4);
            let from: &[&str] = if shared { &SHARED_FILTERS } else { &PLAIN_FILTERS };
            let text = from[self.house.below(from.len() as u64) as usize];
            if filters.iter().all(|one: &SubscribeFilter| one.filter != text) {
                filters.push(SubscribeFilter {
                    filter: text.into(),
                    qos: Guarantee::from_qos(self.house.below(3) as u8).unwrap_or_default(),
                    no_local: is_v5 && !shared && self.house.one_in(4),
                    retain_as_published: is_v5 && self.house.one_in(3),
                    retain_handling: if is_v5 { self.house.below(3) as u8 } else { 0 },
                });
            }
        }
        let Some(session) = self.story.stations[index].sessions.len().checked_sub(1) else { return };
        let holdings = &mut self.story.stations[index].sessions[session].holdings;
        let first = holdings.len();
        for options in &filters {
            let wanted = filter(&options.filter);
            let mut is_repeat = false;
            for old in holdings.iter_mut().filter(|old| old.filter == wanted && !old.refused) {
                is_repeat |= old.until.is_none_or(|until| until.end.is_none());
                old.until.get_or_insert(Span::open(step));
            }
            holdings.push(Holding {
                filter: wanted,
                options: options.clone(),
                identifier,
                from: Span::open(step),
                until: None,
                refused: false,
                is_repeat,
            });
        }
        let count = filters.len();
        let subscribe = Subscribe {
            packet_id: 0,
            subscription_id: (identifier > 0).then_some(identifier),
            user_properties: Vec::new(),
            filters,
        };
        let token = self.house.subscribe(self.actors[index].id, subscribe);
        self.actors[index].waiting.insert(token, Waiting::Subscriptions { session, first, count });
    }

    fn unsubscribe(&mut self, index: usize) {
        let step = self.house.tick();
        let Some(session) = self.story.stations[index].sessions.len().checked_sub(1) else { return };
        let holdings = &self.story.stations[index].sessions[session].holdings;
        if holdings.is_empty() {
            return;
        }
        let wanted = holdings[self.house.below(holdings.len() as u64) as usize].filter.clone();
        let mut ended = Vec::new();
        for (place, old) in self.story.stations[index].sessions[session].holdings.iter_mut().enumerate() {
            if old.filter == wanted && old.until.is_none() {
                old.until = Some(Span::open(step));
                ended.push(place);
            }
        }
        let unsubscribe =
            Unsubscribe { packet_id: 0, user_properties: Vec::new(), filters: vec![wanted.as_str().into()] };
        let token = self.house.unsubscribe(self.actors[index].id, unsubscribe);
        self.actors[index].waiting.insert(token, Waiting::Unsubscription { session, holdings: ended });
    }

    fn pass(&mut self) {
        self.settle();
        self.release_publishers();
        let duration_ms = match self.house.below(3) {
            0 => self.house.below(100),
            1 => self.house.below(3_000),
            _ => self.house.below(40_000),
        };
        let (begin, now_ns) = (self.house.tick(), self.house.now().mono_ns);
        let end_ns = now_ns + duration_ms * 1_000_000;
        for actor in &mut self.actors {
            if let Some((number, due_ns)) = actor.will_due.take_if(|(_, due_ns)| *due_ns <= end_ns) {
                let published = &mut self.story.publications[number];
                let is_due = due_ns + self.story.rounding_ns <= end_ns;
                (published.span, published.certain) = (Span::open(begin), is_due);
            }
        }
        self.house.note(format_args!("HISTORY {duration_ms} ms pass"));
        self.house.pass_ms(duration_ms);
        self.observe();
        let end = self.house.steps();
        for index in 0..self.actors.len() {
            if self.session_is_over(index) {
                self.end_session(index, Span { begin, end: Some(end) });
            }
        }
        self.settle();
    }

    // ---- consequences ----

    fn settle(&mut self) {
        self.house.settle();
        self.observe();
        if self.house.publishers_paused() > 0 {
            return;
        }
        let step = self.house.steps();
        let last_quiet = self.story.quiet.last().copied().unwrap_or(0);
        for biography in &mut self.story.stations {
            // Whoever reads again has caught up only now.
            if let Some(until) = biography.deaf.last_mut().and_then(|deaf| deaf.until.as_mut()) {
                *until = if *until > last_quiet { step } else { *until };
            }
        }
        self.story.quiet.push(step);
        for published in &mut self.story.publications {
            let ends_quietly = published.is_will || published.guarantee == Guarantee::AtMostOnce;
            let lost = self.story.stations[published.station].was_lost_between(published.span.begin, step);
            if ends_quietly && published.certain && published.span.begin <= step && (published.is_will || !lost) {
                published.span.end.get_or_insert(step);
            }
        }
        for actor in &mut self.actors {
            let said_goodbye = actor.goodbye.take().is_some();
            if said_goodbye && !actor.connected && actor.attempt.is_none() {
                actor.will = None;
            }
        }
    }

    /// The present connection of a station, if there is one, is over; or a new one begins (`gone` false).
    fn lose(&mut self, index: usize, gone: bool) {
        let (step, now_ns) = (self.house.tick(), self.house.now().mono_ns);
        let actor = &mut self.actors[index];
        actor.will_in_doubt = None;
        if let Some(deaf) = self.story.stations[index].deaf.last_mut() {
            deaf.until.get_or_insert(step);
        }
        if let Some(wire) = self.house.wire_of(actor.id) {
            self.house.set_reading(wire, true);
        }
        let was_open = actor.connected || actor.attempt.is_some();
        let answered = actor.connected;
        if let Some(stretch) = self.story.stations[index].stretches.last_mut() {
            stretch.until.get_or_insert(step);
        }
        // A CONNECT that nobody answered: which session is there, and for how long?
        if let Some(attempt) = actor.attempt.take() {
            actor.haunted = true;
            actor.unclear |= !attempt.expects_session || attempt.expiry_before_s != actor.expiry_s;
        }
        actor.connected = false;
        for waiting in std::mem::take(&mut actor.waiting) {
            if let (token, Waiting::Publication(number)) = waiting {
                let published = &mut self.story.publications[number];
                published.is_late = true;
                published.repeatable |= published.guarantee == Guarantee::AtLeastOnce;
                actor.waiting.insert(token, Waiting::Publication(number));
            }
        }
        if was_open {
            (actor.lost_ns, actor.lost_step) = (now_ns, step);
        }
        if let Some((number, delay_s)) = actor.will.take() {
            let published = &mut self.story.publications[number];
            published.issued_ns = now_ns;
            let at_once = delay_s == 0 || gone && actor.expiry_s == 0;
            if at_once && answered && actor.goodbye.is_none() {
                (published.span, published.certain) = (Span::open(step), true);
            } else if gone && answered && actor.goodbye.is_none() {
                actor.will_due = Some((number, now_ns + u64::from(delay_s.min(actor.expiry_s)) * SECOND_NS));
            } else {
                published.span = Span::open(step);
                actor.will_in_doubt = (!gone && answered && actor.goodbye.is_none()).then_some(number);
            }
        }
        if !gone && let Some((number, _)) = actor.will_due.take() {
            self.story.publications[number].span = Span::open(step);
            actor.will_in_doubt = Some(number);
        }
        if gone && (actor.expiry_s == 0 || actor.unclear) {
            self.end_session(index, Span::open(step));
        }
    }

    fn end_session(&mut self, index: usize, span: Span) {
        let Some(session) = self.story.stations[index].sessions.last_mut() else { return };
        if session.end.is_some() {
            return;
        }
        session.end = Some(span);
        for holding in &mut session.holdings {
            holding.until.get_or_insert(span);
        }
        for published in self.story.publications.iter_mut().filter(|one| one.station == index && one.span.end.is_none())
        {
            // The client half publishes it anew in the next session.
            published.repeatable |= published.guarantee > Guarantee::AtMostOnce && !published.is_will;
        }
    }

    /// Whether the absent station's session has expired by now.
    fn session_is_over(&self, index: usize) -> bool {
        let actor = &self.actors[index];
        let absent = !actor.connected && actor.attempt.is_none();
        let expires_ns = actor.lost_ns + u64::from(actor.expiry_s) * SECOND_NS;
        absent && actor.expiry_s != FOR_EVER && expires_ns <= self.house.now().mono_ns
    }
}

/// The CONNECT of a station, before the seed decorates it.
fn packet(actor: &Actor, biography: &Biography) -> Connect {
    let mut connect = crate::house::connect_packet(&actor.client_id, actor.version);
    connect.username = biography.username.as_deref().map(Into::into);
    connect
}
