//! Nothing reaches anybody who may not have it, whatever way it takes and whenever the policy changes.
//!
//! Random users publish, retain, leave wills, subscribe in every way, take over, are cut off and come back, the process
//! ends and begins anew, and the policy changes in the middle. Whatever arrives must have been allowed at that
//! moment: for the receiver, for the publisher when it was published, and for the author of a last value that is shown.
//!
//! One case is one act. `cargo test` runs about ten thousand; `ALTHING_SEEDS=6250` makes it a million.

use althing_core::authorisation::{Action, Actions, Banned, Policy, Principal, Rule};
use althing_core::{Guarantee, Identity, Link, Topic};
use althing_mqtt::packet::{Connect, Publish, Version, Will};
use althing_testkit::house::{Downtime, House, StationId, connect_packet, topic};
use althing_testkit::worlds::worlds;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

const ACTS: u64 = 80;
const USERS: [Option<&str>; 5] = [Some("ann"), Some("ben"), Some("cat"), Some("dan"), None];
const CLIENTS: [&str; 5] = ["one", "two", "three", "ann", "ben"];
const GROUPS: [&str; 2] = ["readers", "writers"];
const TOPICS: [&str; 8] = ["a", "a/b", "a/c", "b", "ann/x", "one/x", "$queue/q", "$queue/a"];
const FILTERS: [&str; 14] = [
    "#",
    "+",
    "a",
    "a/#",
    "a/+",
    "+/x",
    "b",
    "$share/g/#",
    "$share/g/a/+",
    "$share/h/a/b",
    "$queue/q",
    "$queue/a",
    "$queue/#",
    "ann/#",
];
const PATTERNS: [&str; 11] = ["#", "a/#", "a", "a/b", "+/x", "%u/#", "%c/#", "$queue/#", "$queue/q", "b", "$share/g/a"];

/// Something that was published, by its number, which is its payload.
struct Publication {
    author: Principal,
    topic: Topic,
    guarantee: Guarantee,
    retain: bool,
    will: bool,
    /// The policies, by number, under which it may have been published.
    first: usize,
    last: Option<usize>,
}

struct Actor {
    id: StationId,
    principal: Principal,
    is_new: bool,
}

struct World<'a> {
    house: &'a mut House,
    policies: Vec<Policy>,
    /// The first policy that may have decided what has arrived since the last rest.
    first: usize,
    publications: Vec<Publication>,
    actors: Vec<Actor>,
    /// Whose the session of each client id is, as far as it is known.
    owners: BTreeMap<&'static str, Option<&'static str>>,
    received: u64,
}

#[test]
fn nothing_reaches_whoever_may_not_have_it() {
    worlds(64, |house| {
        let first = random_policy(house);
        house.set_policy(first.clone());
        let mut world = World {
            house,
            policies: vec![first],
            first: 0,
            publications: Vec::new(),
            actors: Vec::new(),
            owners: BTreeMap::new(),
            received: 0,
        };
        for _ in 0..ACTS {
            world.act();
        }
        world.open_the_gates();
    });
}

fn choose<T: Copy>(house: &mut House, from: &[T]) -> T {
    from[house.below(from.len() as u64) as usize]
}

fn qos(house: &mut House) -> Guarantee {
    choose(house, &[Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce])
}

fn random_rule(house: &mut House) -> Rule {
    let actions = Actions {
        publish: house.one_in(2),
        retain: house.one_in(4),
        will: house.one_in(4),
        subscribe: house.one_in(3),
        receive: house.one_in(2),
    };
    let mut rule = Rule::for_everyone(actions, choose(house, &PATTERNS), house.one_in(2));
    rule.guarantee_max = qos(house);
    if house.one_in(2) {
        rule = rule.by(choose(house, &["ann", "ben", "cat", "dan"]));
    }
    if house.one_in(4) {
        rule.who.group = Some(choose(house, &GROUPS).into());
    }
    if house.one_in(6) {
        rule.who.client = Some(choose(house, &CLIENTS).into());
    }
    if house.one_in(8) {
        rule.who.listener = Some("mqtt".into());
    }
    rule
}

fn random_policy(house: &mut House) -> Policy {
    let count = choose(house, &[0, 1, 3, 6, 20]);
    let mut policy = Policy::new((0..count).map(|_| random_rule(house)).collect(), !house.one_in(3));
    if house.one_in(4) {
        let mut users = BTreeMap::new();
        for name in USERS.into_iter().flatten().filter(|_| !house.one_in(8)).collect::<Vec<_>>() {
            let groups = GROUPS.iter().filter(|_| house.one_in(2)).map(|group| (*group).into()).collect();
            users.insert(name.into(), groups);
        }
        policy.users = Some(users);
    }
    if house.one_in(8) {
        policy.banned = Banned { users: ["ben".into()].into(), ..Banned::default() };
    }
    policy
}

impl World<'_> {
    fn act(&mut self) {
        self.check_arrivals();
        match self.house.below(20) {
            0..4 => self.arrive(),
            4..9 => self.publish(),
            9..13 => self.subscribe(),
            13 | 14 => {
                let policy = random_policy(self.house);
                self.policies.push(policy.clone());
                self.house.set_policy(policy);
            }
            15 if !self.actors.is_empty() => {
                let place = self.house.below(self.actors.len() as u64) as usize;
                let actor = self.actors.remove(place);
                self.house.cut_station(actor.id);
            }
            16 => {
                let ms = choose(self.house, &[100, 2_000, 11_000, 70_000]);
                self.house.pass_ms(ms);
                self.rest();
            }
            17 if self.house.one_in(4) => {
                self.house.crash(false, Downtime::Known(0));
                self.actors.clear();
            }
            _ => {}
        }
        if self.house.one_in(2) {
            self.house.settle();
            self.rest();
        } else {
            let steps = self.house.below(12);
            self.house.run_steps(steps);
        }
    }

    /// Nothing is under way: what arrives later is decided by the present policy.
    fn rest(&mut self) {
        self.check_arrivals();
        self.first = self.policies.len() - 1;
        for publication in self.publications.iter_mut().filter(|publication| !publication.will) {
            publication.last.get_or_insert(self.first);
        }
    }

    fn arrive(&mut self) {
        let (name, client) = (choose(self.house, &USERS), choose(self.house, &CLIENTS));
        let principal = Principal {
            identity: Arc::new(Identity { name: name.map(Into::into), ..Identity::default() }),
            client: client.into(),
            protocol: "mqtt",
            link: Link::new(None, "mqtt"),
        };
        let expiry_s = choose(self.house, &[None, Some(5), Some(3_600)]);
        let will = self.house.one_in(3).then(|| {
            let (delay_s, retain) = (choose(self.house, &[0, 1, 60]), self.house.one_in(2));
            let (name, qos) = (choose(self.house, &TOPICS), qos(self.house));
            let payload = self.note(principal.clone(), topic(name), qos, retain, true);
            let (topic, properties) = (topic(name), None);
            Box::new(Will { topic, payload, qos, retain, delay_s, message_expiry_s: None, properties })
        });
        let clean_start = self.house.one_in(4);
        let station = self.house.station();
        let connect = Connect {
            username: name.map(Into::into),
            session_expiry_s: expiry_s,
            clean_start,
            will,
            ..connect_packet(client, Version::V5)
        };
        self.house.connect(station, connect);
        self.house.settle();
        self.rest();
        let connack = self.house.at(station).connack().expect("an answer");
        if connack.code == 0 {
            let is_new = !connack.session_present;
            let before = self.owners.insert(client, name);
            assert!(is_new || before == Some(name), "{name:?} has resumed the session of {before:?}");
            self.actors.push(Actor { id: station, principal, is_new });
        }
    }

    fn speaker(&mut self) -> Option<usize> {
        let connected = |actor: &Actor| self.house.at(actor.id).is_connected();
        let places: Vec<usize> = (0..self.actors.len()).filter(|place| connected(&self.actors[*place])).collect();
        (!places.is_empty()).then(|| choose(self.house, &places))
    }

    fn note(&mut self, author: Principal, topic: Topic, guarantee: Guarantee, retain: bool, will: bool) -> Bytes {
        let first = self.first;
        self.publications.push(Publication { author, topic, guarantee, retain, will, first, last: None });
        Bytes::from((self.publications.len() - 1).to_string())
    }

    fn publish(&mut self) {
        let Some(place) = self.speaker() else { return };
        let (name, qos, retain) = (choose(self.house, &TOPICS), qos(self.house), self.house.one_in(3));
        let (id, principal) = (self.actors[place].id, self.actors[place].principal.clone());
        let payload = self.note(principal, topic(name), qos, retain, false);
        let text = String::from_utf8_lossy(&payload).into_owned();
        if retain {
            self.house.say_retained(id, name, &text, qos);
        } else {
            self.house.say(id, name, &text, qos);
        }
    }

    fn subscribe(&mut self) {
        let Some(place) = self.speaker() else { return };
        let (filter, qos) = (choose(self.house, &FILTERS), qos(self.house));
        self.house.listen(self.actors[place].id, filter, qos);
    }

    /// Whether any policy of these numbers allows it.
    fn allows(&self, first: usize, last: usize, principal: &Principal, action: Action<'_>) -> bool {
        self.policies[first..=last].iter().any(|policy| policy.decide(principal, action).allowed)
    }

    fn check_arrivals(&mut self) {
        for place in 0..self.actors.len() {
            for publish in self.house.take_received(self.actors[place].id) {
                self.received += 1;
                self.check(&self.actors[place], &publish);
            }
        }
    }

    fn check(&self, receiver: &Actor, publish: &Publish) {
        let now = self.policies.len() - 1;
        let number: usize = String::from_utf8_lossy(&publish.payload).parse().expect("a number");
        let publication = &self.publications[number];
        let Publication { author, topic, guarantee, retain, will, first, last } = publication;
        let receives = self.allows(self.first, now, &receiver.principal, Action::Receive(topic));
        assert!(receives, "{} got {topic}, {number}", receiver.principal.client);
        let said = Action::Publish { topic, guarantee: *guarantee, retain: *retain, will: *will };
        assert!(self.allows(*first, last.unwrap_or(now), author, said), "{} said {topic}, {number}", author.client);
        // A last value that was shown before, and waited, is not shown a second time.
        if publish.retain && receiver.is_new {
            let author = Principal { link: Link::default(), ..author.clone() };
            let retains = Action::Publish { topic, guarantee: *guarantee, retain: true, will: false };
            assert!(self.allows(self.first, now, &author, retains), "{topic} of {} was shown", author.client);
        }
    }

    /// Whatever still waits anywhere comes to whoever may have it under one more policy, and to nobody else.
    fn open_the_gates(&mut self) {
        for name in USERS {
            let policy = random_policy(self.house);
            self.policies.push(policy.clone());
            self.house.set_policy(policy);
            self.house.settle();
            self.rest();
            for client in CLIENTS {
                let station = self.house.station();
                let connect = Connect {
                    username: name.map(Into::into),
                    clean_start: false,
                    session_expiry_s: Some(10),
                    ..connect_packet(client, Version::V5)
                };
                self.house.connect(station, connect);
                self.house.settle();
                let identity = Arc::new(Identity { name: name.map(Into::into), ..Identity::default() });
                let link = Link::new(None, "mqtt");
                let principal = Principal { identity, client: client.into(), protocol: "mqtt", link };
                self.actors.push(Actor { id: station, principal, is_new: false });
                self.rest();
            }
        }
    }
}
