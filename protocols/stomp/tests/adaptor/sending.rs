//! "SEND", "Header receipt", "MESSAGE".

use super::{Hall, all_but};
use althing_core::limits::Overflow;
use althing_core::topic::TopicLimits;
use althing_core::verbs::Reason;
use althing_core::{Guarantee, Limits, Message, Properties, Topic};
use bytes::Bytes;
use std::sync::Arc;

#[test]
fn a_reader_gets_back_byte_for_byte_what_was_sent() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a/+", "auto");
    let writer = hall.connect();
    let sent = "SEND\nfirst:1\ndestination:/topic/a/b\nsecond\\c:\\\\ \\n\\r\\c\nfirst:again\ncontent-type:text/plain\n\
                reply-to:/queue/answers\ncorrelation-id:100%\npriority:4\npersistent:true\nempty:\n\nb\u{f6}dy^@";
    assert_eq!(hall.say(writer, sent), "");
    assert_eq!(
        hall.heard(reader),
        "MESSAGE\nsubscription:0\nmessage-id:1-1\ndestination:/topic/a/b\ncontent-type:text/plain\n\
         reply-to:/queue/answers\ncorrelation-id:100%\npriority:4\nfirst:1\nsecond\\c:\\\\ \\n\\r\\c\nfirst:again\n\
         persistent:true\nempty:\ncontent-length:5\n\nb\u{f6}dy^@"
    );
}

#[test]
fn what_no_property_can_say_is_a_user_property() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a", "auto");
    let writer = hall.connect();
    hall.say(writer, "SEND\ndestination:/topic/a\nreply-to:elsewhere\npriority:007\nretain:no\n\n^@");
    let heard = hall.heard(reader);
    assert!(heard.ends_with("\nreply-to:elsewhere\npriority:007\nretain:no\ncontent-length:0\n\n^@"), "{heard}");
}

#[test]
fn a_large_body_with_nul_survives() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/a", "auto");
    let writer = hall.connect();
    let body = "\0x".repeat(5_000);
    hall.say(writer, &format!("SEND\ndestination:/topic/a\ncontent-length:10000\n\n{body}^@"));
    let heard = hall.heard(reader);
    assert!(heard.ends_with(&format!("\ncontent-length:10000\n\n{}^@", body.replace('\0', "^@"))));
}

#[test]
fn a_receipt_leaves_when_the_message_is_stored() {
    let mut hall = Hall::new();
    hall.stores = false;
    let writer = hall.connect();
    assert_eq!(hall.say(writer, "SEND\ndestination:/queue/q\nreceipt:a\\cb\n\nx^@"), "");
    hall.store();
    assert_eq!(hall.heard(writer), "RECEIPT\nreceipt-id:a\\cb\n\n^@");
}

#[test]
fn receipts_keep_the_order_of_their_frames() {
    let mut hall = Hall::new();
    hall.stores = false;
    let writer = hall.connect();
    let frames = "SEND\ndestination:/queue/q\nreceipt:1\n\nx^@SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:2\n\n^@\
                  UNSUBSCRIBE\nid:0\nreceipt:3\n\n^@";
    assert_eq!(hall.say(writer, frames), "");
    hall.store();
    let receipts = "RECEIPT\nreceipt-id:1\n\n^@RECEIPT\nreceipt-id:2\n\n^@RECEIPT\nreceipt-id:3\n\n^@";
    assert_eq!(hall.heard(writer), receipts);
}

#[test]
fn the_guarantee_is_what_the_receipt_and_the_destination_ask_for() {
    for (destination, receipt, expected) in [
        ("/topic/a", "", Guarantee::AtMostOnce),
        ("/topic/a", "receipt:1\n", Guarantee::AtLeastOnce),
        ("/queue/a", "", Guarantee::AtLeastOnce),
    ] {
        let mut hall = Hall::new();
        let reader = hall.subscribe(destination, "client-individual");
        let writer = hall.connect();
        hall.say(writer, &format!("SEND\ndestination:{destination}\n{receipt}\nx^@"));
        hall.heard(reader);
        let inflight = hall.broker.statistics().inflight_messages;
        assert_eq!(inflight, u64::from(expected > Guarantee::AtMostOnce), "{destination} {receipt}");
    }
}

#[test]
fn an_expired_message_is_not_delivered_and_a_fresh_one_says_what_is_left() {
    let mut hall = Hall::new();
    let writer = hall.connect();
    hall.say(writer, "SEND\ndestination:/queue/q\nexpiration:1000\n\nshort^@");
    hall.say(writer, "SEND\ndestination:/queue/q\nexpiration:9000\n\nlong^@");
    hall.advance_ms(1_000);
    let reader = hall.connect();
    let heard = hall.say(reader, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n^@");
    assert!(
        heard.contains("\nexpiration:8000\n") && heard.ends_with("\n\nlong^@") && !heard.contains("short"),
        "{heard}"
    );
    assert!(hall.say(writer, "SEND\ndestination:/queue/q\nexpiration:soon\n\n^@").contains("expiration is a number"));
}

#[test]
fn a_retained_value_waits_for_new_subscribers() {
    let mut hall = Hall::new();
    let writer = hall.connect();
    hall.say(writer, "SEND\ndestination:/topic/a\nretain:true\n\nlast^@");
    let reader = hall.connect();
    let heard = hall.say(reader, "SUBSCRIBE\nid:0\ndestination:/topic/#\n\n^@");
    assert!(heard.contains("\ndestination:/topic/a\nretain:true\n") && heard.ends_with("\n\nlast^@"), "{heard}");
}

#[test]
fn what_another_language_said_is_written_as_headers() {
    let mut hall = Hall::new();
    let reader = hall.subscribe("/topic/m", "auto");
    let topic = |name: &str| Topic::new(name.into(), &TopicLimits::default()).expect("a topic");
    let mut message = Message::new(topic("m"), "x".into());
    message.properties = Some(Arc::new(Properties {
        response_topic: Some(topic("reply/here")),
        correlation_data: Some(Bytes::from_static(b"\xff%")),
        user: vec![("destination".into(), "elsewhere".into())],
        ..Properties::default()
    }));
    hall.publish(message);
    let heard = hall.heard(reader);
    assert!(heard.contains("\nreply-to:/topic/reply/here\ncorrelation-id:%FF%25\ndestination:elsewhere\n"), "{heard}");
    assert!(heard.find("destination:/topic/m") < heard.find("destination:elsewhere"), "the first one counts");
}

#[test]
fn destinations_that_are_none_are_refused() {
    for destination in ["a", "/topic/", "/queue/", "/topic/a/+", "/temp-queue/x"] {
        let mut hall = Hall::new();
        let writer = hall.connect();
        let heard = hall.say(writer, &format!("SEND\ndestination:{destination}\n\n^@"));
        assert!(heard.starts_with("ERROR\nmessage:invalid destination\n"), "{destination}: {heard}");
        assert_eq!(hall.why_closed(writer), Some(Reason::TopicNameInvalid));
    }
    let mut hall = Hall::new();
    let writer = hall.connect();
    assert!(hall.say(writer, "SEND\n\nx^@").contains("the header destination is missing"));
}

#[test]
fn what_may_not_be_published_gets_an_error_instead_of_a_receipt() {
    let mut hall = Hall::with(Limits::default(), all_but(true, "secret/#"));
    for destination in ["/topic/secret/x", "/topic/$SYS/x"] {
        let writer = hall.connect();
        let heard = hall.say(writer, &format!("SEND\ndestination:{destination}\nreceipt:1\n\n^@"));
        assert!(heard.starts_with("ERROR\nmessage:not authorised\nreceipt-id:1\n"), "{heard}");
        assert_eq!(hall.why_closed(writer), Some(Reason::NotAuthorised));
    }
}

#[test]
fn a_full_queue_that_refuses_says_so() {
    let limits = Limits { queue_messages_max: 1, queue_overflow: Overflow::Refuse, ..Limits::default() };
    let mut hall = Hall::with(limits, althing_core::authorisation::Policy::open());
    let writer = hall.connect();
    hall.send(writer, "/queue/q", "1");
    assert!(hall.say(writer, "SEND\ndestination:/queue/q\nreceipt:2\n\n2^@").starts_with("ERROR\n"));
}

#[test]
fn more_open_receipts_than_allowed_wait_in_the_socket() {
    let limits = Limits { receive_maximum: 2, ..Limits::default() };
    let mut hall = Hall::with(limits, althing_core::authorisation::Policy::open());
    hall.stores = false;
    let writer = hall.connect();
    let frame = |receipt| format!("SEND\ndestination:/queue/q\nreceipt:{receipt}\n\nx^@");
    hall.say(writer, &[frame(1), frame(2), frame(3)].concat());
    assert_eq!(hall.broker.statistics().publishes_received, 2);
    hall.store();
    assert_eq!(hall.broker.statistics().publishes_received, 3);
}
