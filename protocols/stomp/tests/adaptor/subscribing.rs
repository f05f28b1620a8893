//! "SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK".

use super::{Hall, all_but};
use althing_core::Limits;
use althing_core::authorisation::Policy;
use althing_core::verbs::Reason;

#[test]
fn each_subscription_gets_its_own_delivery() {
    let mut hall = Hall::new();
    let reader = hall.connect();
    for (id, destination) in [("one", "/topic/a/#"), ("two", "/topic/a/b"), ("three", "/topic/+/b")] {
        hall.say(reader, &format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nack:client\n\n^@"));
    }
    let writer = hall.connect();
    hall.send(writer, "/topic/a/b", "x");
    let heard = hall.heard(reader);
    for id in ["one", "two", "three"] {
        assert_eq!(heard.matches(&format!("\nsubscription:{id}\n")).count(), 1, "{heard}");
    }
    assert_eq!(hall.broker.statistics().inflight_messages, 3);
}

#[test]
fn in_mode_auto_nothing_is_left_to_acknowledge() {
    for destination in ["/topic/a", "/queue/a"] {
        let mut hall = Hall::new();
        let reader = hall.subscribe(destination, "auto");
        let writer = hall.connect();
        hall.send(writer, destination, "x");
        let heard = hall.heard(reader);
        assert!(heard.starts_with("MESSAGE\n") && !heard.contains("\nack:"), "{heard}");
        assert_eq!(hall.broker.statistics().inflight_messages, 0);
    }
}

#[test]
fn in_mode_client_an_acknowledgement_counts_for_all_before_it() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a", "client");
    hall.say(reader, "SUBSCRIBE\nid:other\ndestination:/topic/b\nack:client\n\n^@");
    let writer = hall.connect();
    for destination in ["/topic/a", "/topic/b", "/topic/a", "/topic/a"] {
        hall.send(writer, destination, "x");
    }
    assert!(hall.heard(reader).contains("\nack:1-3\n"));
    assert_eq!(hall.broker.statistics().inflight_messages, 4);
    assert_eq!(hall.say(reader, "ACK\nid:1-3\nreceipt:a\n\n^@"), "RECEIPT\nreceipt-id:a\n\n^@");
    assert_eq!(hall.broker.statistics().inflight_messages, 2, "the other subscription's and the last one");
}

#[test]
fn in_mode_client_individual_an_acknowledgement_counts_for_one() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a", "client-individual");
    let writer = hall.connect();
    for _ in 0..3 {
        hall.send(writer, "/topic/a", "x");
    }
    hall.say(reader, "ACK\nid:1-2\n\n^@");
    assert_eq!(hall.broker.statistics().inflight_messages, 2);
    hall.say(reader, "ACK\nid:1-2\n\n^@");
    assert_eq!(hall.broker.statistics().inflight_messages, 2, "a repeat settles nothing");
    assert_eq!(hall.why_closed(reader), None);
}

#[test]
fn an_acknowledgement_of_nothing_that_was_sent_is_an_error() {
    for id in ["1-9", "2-1", "0-0", "nonsense", "", "+1-1", "01-1"] {
        let mut hall = Hall::new();
        let reader = hall.subscribe("/topic/a", "client");
        let writer = hall.connect();
        hall.send(writer, "/topic/a", "x");
        hall.heard(reader);
        assert!(
            hall.say(reader, &format!("ACK\nid:{id}\n\n^@")).starts_with("ERROR\nmessage:unknown identifier\n"),
            "{id}"
        );
    }
    let mut hall = Hall::new();
    let reader = hall.connect();
    assert!(hall.say(reader, "NACK\n\n^@").contains("the header id is missing"));
}

#[test]
fn at_most_once_messages_may_be_acknowledged_too() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a", "client");
    let writer = hall.connect();
    hall.say(writer, "SEND\ndestination:/topic/a\n\nx^@");
    assert!(hall.heard(reader).contains("\nack:1-1\n"));
    assert_eq!(hall.say(reader, "ACK\nid:1-1\nreceipt:a\n\n^@"), "RECEIPT\nreceipt-id:a\n\n^@");
}

#[test]
fn nack_gives_a_message_to_whoever_is_next() {
    let mut hall = Hall::new();
    let first = hall.subscribe("/queue/q", "client-individual");
    let second = hall.subscribe("/queue/q", "client-individual");
    let writer = hall.connect();
    hall.send(writer, "/queue/q", "job");
    assert_eq!((hall.bodies(first), hall.bodies(second)), (vec!["job".to_owned()], vec![]));
    hall.say(first, "NACK\nid:1-1\n\n^@");
    assert_eq!((hall.bodies(first), hall.bodies(second)), (vec![], vec!["job".to_owned()]));
    hall.say(second, "ACK\nid:1-1\n\n^@");
    assert_eq!(hall.broker.statistics().inflight_messages, 0);
}

#[test]
fn nack_in_mode_client_gives_all_before_it_back_in_their_order() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/queue/q", "client");
    let writer = hall.connect();
    for body in ["1", "2", "3"] {
        hall.send(writer, "/queue/q", body);
    }
    assert_eq!(hall.bodies(reader), ["1", "2", "3"]);
    hall.seats[reader].input.extend_from_slice(b"NACK\nid:1-2\n\n\0");
    hall.settle();
    assert_eq!(hall.bodies(reader), ["1", "2"]);
}

#[test]
fn nack_of_a_topics_message_is_its_end() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a", "client");
    let writer = hall.connect();
    hall.send(writer, "/topic/a", "x");
    hall.heard(reader);
    assert_eq!(hall.say(reader, "NACK\nid:1-1\n\n^@"), "");
    assert_eq!(hall.broker.statistics().inflight_messages, 0);
}

#[test]
fn consumers_of_a_queue_compete_and_what_is_not_acknowledged_returns() {
    let mut hall = Hall::new();
    let first = hall.subscribe("/queue/q", "client");
    let second = hall.subscribe("/queue/q", "client");
    let writer = hall.connect();
    for body in ["1", "2", "3", "4"] {
        hall.send(writer, "/queue/q", body);
    }
    assert_eq!((hall.bodies(first), hall.bodies(second)), (vec!["1".into(), "3".into()], vec!["2".into(), "4".into()]));
    hall.lose(first);
    assert_eq!(hall.bodies(second), ["1", "3"]);
    hall.say(second, "UNSUBSCRIBE\nid:0\n\n^@");
    assert_eq!(hall.broker.statistics().queued_messages, 4, "they wait without a consumer");
    let third = hall.subscribe_and_hear("/queue/q");
    assert_eq!(third.len(), 4);
}

#[test]
fn what_an_unsubscribed_topic_left_unacknowledged_gives_the_window_back() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a", "client");
    let writer = hall.connect();
    hall.send(writer, "/topic/a", "x");
    hall.heard(reader);
    assert_eq!(hall.say(reader, "UNSUBSCRIBE\nid:0\nreceipt:u\n\n^@"), "RECEIPT\nreceipt-id:u\n\n^@");
    assert_eq!(hall.broker.statistics().inflight_messages, 0);
    hall.say(reader, "ACK\nid:1-1\n\n^@");
    assert_eq!(hall.why_closed(reader), None, "an ACK may cross UNSUBSCRIBE on its way");
    hall.send(writer, "/topic/a", "y");
    assert_eq!(hall.heard(reader), "");
}

#[test]
fn an_id_can_be_used_again_and_ids_are_escaped() {
    let mut hall = Hall::new();
    let reader = hall.connect();
    let writer = hall.connect();
    for _ in 0..2 {
        hall.say(reader, "SUBSCRIBE\nid:a\\cb\ndestination:/topic/a\n\n^@");
        hall.send(writer, "/topic/a", "x");
        assert!(hall.heard(reader).starts_with("MESSAGE\nsubscription:a\\cb\n"));
        hall.say(reader, "UNSUBSCRIBE\nid:a\\cb\n\n^@");
    }
    assert_eq!(hall.broker.statistics().subscriptions, 0);
}

#[test]
fn subscribers_of_a_shared_filter_compete() {
    let mut hall = Hall::new();
    let first = hall.subscribe("/topic/$share/g/a/+", "client");
    let second = hall.subscribe("/topic/$share/g/a/+", "client");
    let writer = hall.connect();
    hall.send(writer, "/topic/a/1", "1");
    hall.send(writer, "/topic/a/2", "2");
    assert_eq!((hall.bodies(first), hall.bodies(second)), (vec!["1".to_owned()], vec!["2".to_owned()]));
    hall.say(second, "NACK\nid:1-1\n\n^@");
    assert_eq!(hall.bodies(first), ["2"]);
}

#[test]
fn the_window_bounds_what_is_not_acknowledged() {
    let mut hall = Hall::with(Limits { inflight_max: 2, ..Limits::default() }, Policy::open());
    let reader = hall.subscribe("/queue/q", "client");
    let writer = hall.connect();
    for body in ["1", "2", "3", "4"] {
        hall.send(writer, "/queue/q", body);
    }
    assert_eq!(hall.bodies(reader), ["1", "2"]);
    hall.seats[reader].input.extend_from_slice(b"ACK\nid:1-2\n\n\0");
    hall.settle();
    assert_eq!(hall.bodies(reader), ["3", "4"]);
}

#[test]
fn ids_that_are_kept_are_short() {
    let long = "x".repeat(Limits::default().client_id_bytes_max + 1);
    for frame in [
        format!("SUBSCRIBE\nid:{long}\ndestination:/topic/b\n\n^@"),
        format!("SEND\ndestination:/topic/b\nreceipt:{long}\n\n^@"),
    ] {
        let mut hall = Hall::new();
        let seat = hall.connect();
        assert!(hall.say(seat, &frame).contains("is longer than 1024 bytes"));
        assert_eq!(hall.why_closed(seat), Some(Reason::QuotaExceeded));
    }
}

#[test]
fn what_cannot_be_subscribed_or_unsubscribed_says_why() {
    for (frame, why) in [
        ("SUBSCRIBE\ndestination:/topic/a\n\n^@", "the header id is missing"),
        ("SUBSCRIBE\nid:1\n\n^@", "the header destination is missing"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\nack:maybe\n\n^@", "ack is auto, client or client-individual"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a/#/b\n\n^@", "wildcard"),
        ("SUBSCRIBE\nid:1\ndestination:/queue/#\n\n^@", "wildcards"),
        ("SUBSCRIBE\nid:0\ndestination:/topic/b\n\n^@", "a subscription of that id already"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n^@", "subscribed to that destination already"),
        ("UNSUBSCRIBE\nid:1\n\n^@", "no subscription of that id"),
        ("SUBSCRIBE\nid:1\ndestination:/topic/secret/x\n\n^@", "not authorised"),
    ] {
        let mut hall = Hall::with(Limits::default(), all_but(false, "secret/#"));
        let reader = hall.subscribe("/topic/a", "auto");
        let heard = hall.say(reader, frame);
        assert!(heard.starts_with("ERROR\n") && heard.contains(why), "{frame}: {heard}");
        assert!(hall.why_closed(reader).is_some_and(|reason| reason != Reason::Normal));
    }
}

impl Hall {
    /// The bodies that a new consumer of a destination hears at once.
    fn subscribe_and_hear(&mut self, destination: &str) -> Vec<String> {
        let seat = self.connect();
        self.seats[seat]
            .input
            .extend_from_slice(format!("SUBSCRIBE\nid:0\ndestination:{destination}\n\n\0").as_bytes());
        self.settle();
        self.bodies(seat)
    }
}
