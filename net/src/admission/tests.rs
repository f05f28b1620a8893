//! With a clock of our own: what is let in, what is not, and that everything is given back.

use super::*;

const SECOND_NS: u64 = 1_000_000_000;

struct House {
    admission: Admission,
    now_ns: u64,
}

fn limits() -> Limits {
    Limits {
        connections_per_address_max: 5,
        openings_per_address_max: 3,
        connects_per_s_per_address: 1_000,
        short_connections_per_address_max: 100,
        addresses_remembered_max: 64,
        ..Limits::default()
    }
}

fn house(limits: Limits) -> House {
    House { admission: Admission::new(Arc::new(limits)), now_ns: SECOND_NS }
}

impl House {
    fn admit(&mut self, address: &str) -> Result<Ticket, Refusal> {
        self.admission.admit(self.now_ns, "mqtt", Some(address.parse().unwrap()))
    }

    /// A connection that stands.
    fn connect(&mut self, address: &str) -> Result<Ticket, Refusal> {
        let mut ticket = self.admit(address)?;
        self.admission.stand(&mut ticket);
        Ok(ticket)
    }

    fn leave(&mut self, ticket: Ticket) {
        self.admission.leave(self.now_ns, &ticket);
    }

    /// A connection that fails at once.
    fn fail(&mut self, address: &str) -> Result<(), Refusal> {
        let ticket = self.admit(address)?;
        self.leave(ticket);
        Ok(())
    }

    /// Fails until the address is turned away; returns for how long.
    fn fail_until_turned_away(&mut self, address: &str) -> u64 {
        loop {
            match self.fail(address) {
                Ok(()) => {}
                Err(Refusal::AddressFlapping { for_s }) => return for_s,
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn open(&self) -> u32 {
        self.admission.listeners.iter().map(|listener| listener.connections).sum()
    }
}

#[test]
fn an_address_has_so_many_connections_and_fewer_that_do_not_stand() {
    let mut house = house(limits());
    let opening: Vec<Ticket> = (0..3).map(|_| house.admit("192.0.2.1").unwrap()).collect();
    assert_eq!(house.admit("192.0.2.1").unwrap_err(), Refusal::AddressOpenings(3));
    let mut standing = opening;
    standing.iter_mut().for_each(|ticket| house.admission.stand(ticket));
    standing.extend((0..2).map(|_| house.connect("192.0.2.1").unwrap()));
    assert_eq!(house.admit("192.0.2.1").unwrap_err(), Refusal::AddressFull(5));
    assert!(house.admit("192.0.2.2").is_ok(), "others are not concerned");
    house.leave(standing.pop().unwrap());
    assert!(house.connect("192.0.2.1").is_ok());
}

#[test]
fn what_failed_is_given_back_whatever_happened() {
    // As many failures as would have filled every count, each after another time; then a good one (CVE-2022-39368).
    let mut house = house(Limits { short_connections_per_address_max: u32::MAX, ..limits() });
    for round in 0..10_000_u64 {
        let mut ticket = house.admit("192.0.2.1").unwrap();
        house.now_ns += round * 7 % 13 * SECOND_NS;
        if round % 3 == 0 {
            house.admission.stand(&mut ticket);
            house.admission.stand(&mut ticket);
        }
        house.leave(ticket);
        house.now_ns += SECOND_NS / 100;
    }
    assert_eq!(house.open(), 0);
    let record = house.admission.addresses.get_mut(Source::new("192.0.2.1".parse().unwrap(), 64)).unwrap();
    assert_eq!((record.connections, record.openings), (0, 0));
    assert_eq!(house.admission.turned_away(), TurnedAway::default());
    assert!(house.connect("192.0.2.1").is_ok());
}

#[test]
fn a_network_of_ipv6_is_one_address_and_ipv4_is_the_same_in_any_dress() {
    let mut house = house(limits());
    for host in 1..=5 {
        assert!(house.connect(&format!("2001:db8:0:1::{host}")).is_ok());
    }
    assert_eq!(house.connect("2001:db8:0:1:ffff::1").unwrap_err(), Refusal::AddressFull(5));
    assert!(house.connect("2001:db8:0:2::1").is_ok());
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"] {
        assert!(house.connect(address).is_ok());
    }
    assert_eq!(house.connect("::ffff:192.0.2.1").unwrap_err(), Refusal::AddressFull(5));
}

#[test]
fn connects_come_at_a_rate_by_listener_and_by_address() {
    let mut house = house(Limits { connects_per_s_per_address: 2, connections_per_address_max: 100, ..limits() });
    let let_in = |house: &mut House, address: &str| (0..20).filter(|_| house.connect(address).is_ok()).count();
    assert_eq!(let_in(&mut house, "192.0.2.1"), 5, "two seconds' worth, and the one that overdraws");
    assert_eq!(house.connect("192.0.2.1").unwrap_err(), Refusal::AddressRate(2));
    house.now_ns += 2 * SECOND_NS;
    assert_eq!(let_in(&mut house, "192.0.2.1"), 4);
    house.admission.set_listener("mqtt", ListenerLimits { connects_per_s: Some(1), connections_max: Some(13) });
    assert_eq!(let_in(&mut house, "192.0.2.2"), 3);
    assert_eq!(house.connect("192.0.2.3").unwrap_err(), Refusal::ListenerRate(1));
    house.now_ns += 2 * SECOND_NS;
    assert_eq!(let_in(&mut house, "192.0.2.3"), 1);
    assert_eq!(house.connect("192.0.2.3").unwrap_err(), Refusal::ListenerFull(13));
    let other = house.admission.admit(house.now_ns, "other", Some("192.0.2.3".parse().unwrap()));
    assert!(other.is_ok(), "another listener has its own");
    let counts = house.admission.turned_away();
    assert_eq!((counts.address_rate, counts.listener_rate, counts.listener_full), (15 + 1 + 16, 17 + 1, 19 + 1));
}

#[test]
fn this_machine_has_no_bounds_unless_it_is_said() {
    for (address_limits_on_loopback, expected) in [(false, 50), (true, 5)] {
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.5"] {
            let mut house = house(Limits { address_limits_on_loopback, ..limits() });
            assert_eq!((0..50).filter(|_| house.connect(address).is_ok()).count(), expected, "{address}");
        }
    }
    let mut house = house(limits());
    let unix = (0..50).filter(|_| house.admission.admit(1, "mqtt", None).is_ok()).count();
    assert_eq!(unix, 50);
}

#[test]
fn who_flaps_is_turned_away_longer_each_time_and_forgiven() {
    let mut house = house(limits());
    let mut times = Vec::new();
    for _ in 0..9 {
        times.push(house.fail_until_turned_away("192.0.2.1"));
        assert!(house.connect("192.0.2.2").is_ok_and(|ticket| {
            house.admission.leave(house.now_ns + 60 * SECOND_NS, &ticket);
            true
        }));
        house.now_ns += times[times.len() - 1] * SECOND_NS;
    }
    assert_eq!(times, [10, 20, 40, 80, 160, 320, 640, 640, 640]);
    house.now_ns += 2 * 3_600 * SECOND_NS;
    assert!(house.fail_until_turned_away("192.0.2.1") < 640, "half of it is forgiven");
    house.now_ns += 24 * 3_600 * SECOND_NS;
    assert_eq!(house.fail_until_turned_away("192.0.2.1"), 10);
}

#[test]
fn connections_that_last_or_come_now_and_then_are_no_flapping() {
    let mut house = house(limits());
    for _ in 0..1_000 {
        let ticket = house.connect("192.0.2.1").unwrap();
        house.now_ns += 2 * SECOND_NS;
        house.leave(ticket);
    }
    for _ in 0..1_000 {
        let ticket = house.connect("192.0.2.2").unwrap();
        house.now_ns += 10 * SECOND_NS;
        house.leave(ticket);
    }
    assert_eq!(house.admission.turned_away().address_flapping, 0);
}

#[test]
fn nobody_is_forgiven_by_filling_the_table_with_others() {
    let mut house = house(limits());
    house.fail_until_turned_away("192.0.2.1");
    for host in 0..100_000_u32 {
        house.fail(&format!("2001:db8:{:x}:{:x}::1", host >> 16, host & 0xffff)).unwrap();
        assert!(house.admission.addresses.len() <= 64);
    }
    assert!(matches!(house.admit("192.0.2.1"), Err(Refusal::AddressFlapping { .. })));
}

#[test]
fn the_table_holds_all_that_are_connected_and_shrinks_when_they_are_gone() {
    let mut house = house(limits());
    let address = |host: u32| format!("10.0.{}.{}", host >> 8, host & 0xff);
    let tickets: Vec<Ticket> = (0..1_000).map(|host| house.connect(&address(host)).unwrap()).collect();
    assert_eq!(house.admission.addresses.len(), 1_000);
    house.now_ns += 60 * SECOND_NS;
    tickets.into_iter().for_each(|ticket| house.leave(ticket));
    for host in 0..2_000 {
        let ticket = house.connect(&address(5_000 + host)).unwrap();
        house.now_ns += 60 * SECOND_NS;
        house.leave(ticket);
    }
    assert!(house.admission.addresses.len() <= 64, "{}", house.admission.addresses.len());
    assert_eq!(house.open(), 0);
}

#[test]
fn banned_networks_are_turned_away_at_once() {
    let mut house = house(limits());
    house.admission.set_banned(vec!["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(house.admit("192.0.2.77").unwrap_err(), Refusal::Banned);
    assert_eq!(house.admit("::ffff:192.0.2.77").unwrap_err(), Refusal::Banned);
    assert!(house.admit("192.0.3.1").is_ok());
    house.admission.set_banned(Vec::new());
    assert!(house.admit("192.0.2.77").is_ok());
    assert_eq!(house.admission.turned_away().banned, 2);
}

#[test]
fn requests_that_are_served_may_come_in_short_connections() {
    let mut house = house(Limits { short_connections_per_address_max: 3, ..limits() });
    for _ in 0..100 {
        let mut ticket = house.connect("192.0.2.1").unwrap();
        ticket.is_good = true;
        house.leave(ticket);
    }
    let others: Vec<_> = (0..10).map(|_| house.connect("192.0.2.1").map(|ticket| house.leave(ticket))).collect();
    assert!(matches!(others.last(), Some(Err(Refusal::AddressFlapping { .. }))), "{others:?}");
}
