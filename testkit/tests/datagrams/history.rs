//! One history: what clients and the insider do, and what must be true of it.

use althing_coap::client::{Client, Event};
use althing_coap::message::{Code, Kind, Token};
use althing_coap::{AddressProof, CoapConfig, CoapDoor, Common};
use althing_core::time::SECOND_NS;
use althing_core::{Guarantee, Limits};
use althing_testkit::network::{Network, Setup, Weather};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

const CLIENTS: usize = 4;

/// EXCHANGE_LIFETIME (RFC 7252 §4.8.2): for so long no message id comes again.
const EXCHANGE_LIFETIME_NS: u64 = 247 * SECOND_NS;

/// Longer than anything is kept or repeated.
const FORGOTTEN_MS: u64 = 600_000;

/// Where what the insider counts goes; below it each client has a topic for blocks.
const ORDERS: [&str; 2] = ["t", "orders"];
const STATE: [&str; 2] = ["t", "state"];

/// A history under way.
pub struct History {
    pub network: Network<CoapDoor, Client>,
    pub seen: Seen,
    /// Whether clients come to other addresses.
    pub may_move: bool,
    pub changes_weather: bool,
    publications: Vec<Publication>,
    /// The token of each client that observes, and whether it has moved since it asked.
    observers: BTreeMap<usize, Observer>,
    count: u64,
}

/// What has happened, so that nobody takes a history in which nothing happens for a good one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub answered: u64,
    pub failed: u64,
    pub blockwise: u64,
    pub moves_under_way: u64,
    pub repeated_effects: u64,
    pub converged: u64,
}

/// A request that is to have one effect.
struct Publication {
    client: usize,
    token: Token,
    payload: Bytes,
    /// One, and one more for each time that the client came to another address meanwhile: a message id counts for an
    /// address (RFC 7252 §4.5).
    effects_max: usize,
}

struct Observer {
    token: Token,
    has_moved: bool,
}

impl Seen {
    pub fn and(self, other: Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            failed: self.failed + other.failed,
            blockwise: self.blockwise + other.blockwise,
            moves_under_way: self.moves_under_way + other.moves_under_way,
            repeated_effects: self.repeated_effects + other.repeated_effects,
            converged: self.converged + other.converged,
        }
    }
}

impl History {
    /// In every second world addresses have to prove themselves; the store and the providers take their time in some.
    pub fn begin(seed: u64) -> Self {
        let address_proof = if seed.is_multiple_of(2) { AddressProof::Never } else { AddressProof::Always };
        let config = CoapConfig { address_proof, ..CoapConfig::default() };
        let setup = Setup {
            seed,
            clients: CLIENTS,
            limits: Limits::default(),
            weather: Weather { loss_percent: 20, copies_percent: 20, delay_ms_max: 2_000 },
            store_ms: [0, 700, 5_000][seed as usize / 2 % 3],
            verify_ms: [0, 3_000][seed as usize / 6 % 2],
        };
        let mut network = Network::new(
            setup,
            |limits, entropy| CoapDoor::new(Arc::new(Common::new(config.clone(), limits.clone())), entropy),
            |client, entropy| Client::new(config.clone(), entropy).with_interactions_max(1 + client),
        );
        network.subscribe("orders/#");
        let (publications, observers) = (Vec::new(), BTreeMap::new());
        let (seen, may_move, changes_weather) = (Seen::default(), true, true);
        Self { network, seen, may_move, changes_weather, publications, observers, count: 0 }
    }

    /// Something, and a while.
    pub fn act(&mut self) {
        let client = self.below(CLIENTS as u64) as usize;
        match self.below(16) {
            0..=3 => self.publish(client, Kind::Confirmable, Code::POST, 20),
            4 => self.publish(client, Kind::NonConfirmable, Code::POST, 20),
            5 | 6 => self.publish(client, Kind::Confirmable, Code::PUT, 20),
            7 | 8 => self.publish(client, Kind::Confirmable, Code::POST, 3_000),
            9 => drop(self.network.client(client, |it, now| it.get(now, &STATE))),
            10 => {
                let (path, kind) = (["t", "orders", &client.to_string()], Kind::NonConfirmable);
                self.network.client(client, |it, now| it.request(now, kind, Code::GET, &path, |_| {}));
            }
            11 | 12 => self.change_state(),
            13 => self.observe(client),
            14 if self.may_move => self.move_client(client),
            15 if self.changes_weather => self.change_weather(),
            _ => {}
        }
        let while_ms = self.below(3_000);
        self.network.run_ms(while_ms);
    }

    /// The network is well again: whoever still observes comes to the last value, and whoever asks anew does in any case.
    pub fn heal(&mut self) {
        self.network.weather = Weather { delay_ms_max: 50, ..Weather::default() };
        self.network.run_ms(FORGOTTEN_MS);
        // An observation whose end was lost on the way is found out by this.
        self.set_state("healing");
        let has_all = self.network.door.observations_len() == self.observers.len();
        if has_all && self.observers.values().all(|observer| !observer.has_moved) {
            self.seen.converged += self.observers.len() as u64;
            self.set_state("healed");
            self.check_observers("healed");
        }
        for client in 0..CLIENTS {
            self.observe(client);
        }
        self.network.run_ms(FORGOTTEN_MS);
        self.set_state("the last");
        self.check_observers("the last");
    }

    /// What was answered had one effect; what was not, one at most.
    pub fn check_effects(&mut self) {
        let mut effects: BTreeMap<Bytes, usize> = BTreeMap::new();
        for message in &self.network.heard {
            *effects.entry(message.payload.clone()).or_default() += 1;
        }
        for Publication { client, token, payload, effects_max } in &self.publications {
            let count = effects.get(payload).copied().unwrap_or(0);
            let outcomes = self.outcomes(*client, *token);
            let name = payload.slice(..payload.len().min(20));
            match outcomes[..] {
                [Some(code)] if code.is_success() => {
                    assert!(
                        (1..=*effects_max).contains(&count),
                        "{name:?} of client {client}: {code}, {count} effects"
                    );
                    self.seen.answered += 1;
                    self.seen.blockwise += u64::from(payload.len() > 1_024);
                }
                [_] => {
                    assert!(count <= *effects_max, "{name:?} of client {client}: in vain, and {count} effects");
                    self.seen.failed += 1;
                }
                _ => panic!("{name:?} of client {client} ends with {outcomes:?}"),
            }
            self.seen.repeated_effects += u64::from(count > 1);
        }
    }

    /// No message of the door's own bears the id of another one to the same address within the time that it is remembered.
    pub fn check_message_ids(&self) {
        let mut last = BTreeMap::new();
        for sent in &self.network.sent {
            let [head, _, id @ ..] = sent.datagram.first_chunk::<4>().expect("a message has a head");
            // Acknowledgements and resets bear the ids of the other end.
            if !matches!(head >> 4 & 0b11, 0 | 1) {
                continue;
            }
            if let Some((at_ns, datagram)) = last.insert((sent.remote, *id), (sent.at_ns, &sent.datagram)) {
                let is_repeat = datagram == &sent.datagram;
                assert!(is_repeat || sent.at_ns - at_ns >= EXCHANGE_LIFETIME_NS, "id {id:?} again to {}", sent.remote);
            }
        }
    }

    /// Everyone leaves; after all lifetimes only what the insider has is there.
    pub fn check_nothing_is_left(&mut self) {
        for (client, observer) in std::mem::take(&mut self.observers) {
            self.network.client(client, |it, now| it.cancel(now, observer.token));
        }
        self.network.run_ms(FORGOTTEN_MS);
        let (door, statistics) = (&self.network.door, self.network.broker.statistics());
        assert_eq!((door.endpoints_len(), door.observations_len(), door.timers_len()), (0, 0, 0));
        assert_eq!((door.common().transfer_bytes(), self.network.peers.len()), (0, 0));
        assert_eq!((statistics.peers, statistics.sessions, statistics.subscriptions), (1, 1, 1));
        assert_eq!((statistics.queued_messages, statistics.queued_bytes, statistics.inflight_messages), (0, 0, 0));
        for client in &self.network.clients {
            assert_eq!(client.half.requests_len(), 0);
        }
        // The ids of before are forgotten with the next one that comes.
        self.network.client(0, |it, now| it.post(now, &ORDERS, "the very last"));
        self.network.run_ms(1_000);
        assert!(self.network.door.exchanges_len() <= 2, "{} ids", self.network.door.exchanges_len());
    }

    fn publish(&mut self, client: usize, kind: Kind, code: Code, payload_bytes: usize) {
        let mut payload = format!("order {} ", self.next()).into_bytes();
        payload.resize(payload_bytes, b'.');
        let payload = Bytes::from(payload);
        let own = client.to_string();
        let path = if payload_bytes > 20 { &["t", "orders", &own][..] } else { &ORDERS };
        let body = payload.clone();
        let token =
            self.network.client(client, |it, now| it.request(now, kind, code, path, |message| message.payload = body));
        self.publications.push(Publication { client, token, payload, effects_max: 1 });
    }

    fn change_state(&mut self) {
        let (guarantee, value) = match self.below(3) {
            0 => (Guarantee::AtMostOnce, self.next()),
            _ => (Guarantee::AtLeastOnce, self.next()),
        };
        self.network.publish("state", format!("state {value}"), guarantee, true);
    }

    fn set_state(&mut self, value: &'static str) {
        self.network.publish("state", value, Guarantee::AtLeastOnce, true);
        self.network.run_ms(FORGOTTEN_MS);
    }

    /// Observes, instead of what the client observed before.
    fn observe(&mut self, client: usize) {
        if let Some(before) = self.observers.remove(&client) {
            self.network.client(client, |it, now| it.cancel(now, before.token));
        }
        let token = self.network.client(client, |it, now| it.observe(now, &STATE));
        self.observers.insert(client, Observer { token, has_moved: false });
    }

    fn check_observers(&self, last: &str) {
        for (client, observer) in &self.observers {
            let payloads = self.network.clients[*client].events.iter().filter_map(|event| match event {
                Event::Response { token, payload, .. } if *token == observer.token => Some(payload),
                _ => None,
            });
            assert_eq!(payloads.last().map(|it| &it[..]), Some(last.as_bytes()), "client {client}");
        }
    }

    fn move_client(&mut self, client: usize) {
        for place in 0..self.publications.len() {
            let Publication { client: of, token, .. } = self.publications[place];
            if of == client && self.outcomes(client, token).is_empty() {
                self.publications[place].effects_max += 1;
                self.seen.moves_under_way += 1;
            }
        }
        if let Some(observer) = self.observers.get_mut(&client) {
            observer.has_moved = true;
        }
        self.network.move_client(client);
    }

    fn change_weather(&mut self) {
        self.network.weather = match self.below(4) {
            0 => Weather { loss_percent: 100, ..Weather::default() },
            1 => Weather { loss_percent: 40, copies_percent: 40, delay_ms_max: 8_000 },
            2 => Weather { delay_ms_max: 100, ..Weather::default() },
            _ => Weather { loss_percent: 10, copies_percent: 10, delay_ms_max: 1_000 },
        };
    }

    /// How a request of a client ended: with a code, or in vain. Never twice.
    fn outcomes(&self, client: usize, token: Token) -> Vec<Option<Code>> {
        let of_it = |event: &Event| match event {
            Event::Response { token: of, code, .. } if *of == token => Some(Some(*code)),
            Event::Failed { token: of } | Event::Broken { token: of, .. } if *of == token => Some(None),
            _ => None,
        };
        self.network.clients[client].events.iter().filter_map(of_it).collect()
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.network.entropy.below(bound)
    }
}
