//! The client half before the adaptor.

use super::Hall;
use althing_core::verbs::Reason;
use althing_stomp::client::{AckMode, Client, ClientError, Event, Options};
use bytes::BytesMut;

/// A client half and its seat.
struct Guest {
    client: Client,
    seat: usize,
}

impl Guest {
    fn connect(hall: &mut Hall, options: Options) -> Self {
        let mut guest = Self { client: Client::new(options), seat: hall.accept() };
        guest.client.connect(hall.now);
        assert!(matches!(guest.talk(hall)[..], [Event::Connected(_)]));
        guest
    }

    /// Carries bytes both ways; returns what the client half then says.
    fn talk(&mut self, hall: &mut Hall) -> Vec<Event> {
        let bytes = self.client.output().take_all();
        hall.seats[self.seat].input.extend_from_slice(&bytes);
        hall.settle();
        self.listen(hall).expect("frames")
    }

    fn listen(&mut self, hall: &mut Hall) -> Result<Vec<Event>, ClientError> {
        let mut events = Vec::new();
        let mut input = BytesMut::from(&hall.seats[self.seat].out.take_all()[..]);
        self.client.receive(hall.now, &mut input, &mut events).map(|()| events)
    }
}

fn message(events: &[Event]) -> &althing_stomp::client::Message {
    match events {
        [Event::Message(message)] => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_goes_from_one_client_to_another_and_is_acknowledged() {
    let mut hall = Hall::new();
    let mut reader = Guest::connect(&mut hall, Options::default());
    let mut writer = Guest::connect(&mut hall, Options::default());
    let now = hall.now;
    let receipt = reader.client.subscribe(now, "s", "/queue/q", AckMode::ClientIndividual, true).expect("connected");
    assert_eq!(reader.talk(&mut hall), [Event::Receipt(receipt.expect("a receipt"))]);
    let receipt = writer.client.send(now, "/queue/q", &[("k:", "v\n")], "body", true).expect("connected");
    assert_eq!(writer.talk(&mut hall), [Event::Receipt(receipt.expect("a receipt"))]);
    for _ in 0..2 {
        let events = reader.talk(&mut hall);
        let message = message(&events);
        assert_eq!(
            (&message.subscription[..], &message.destination[..], &message.body[..]),
            ("s", "/queue/q", &b"body"[..])
        );
        assert_eq!(message.headers.get("k:").map(|value| &value[..]), Some("v\n"));
        reader.client.nack(now, message.ack.as_ref().expect("an ack header"), false).expect("connected");
    }
    let events = reader.talk(&mut hall);
    reader.client.ack(now, message(&events).ack.as_ref().expect("an ack header"), false).expect("connected");
    assert_eq!(reader.talk(&mut hall), []);
    assert_eq!(hall.broker.statistics().inflight_messages, 0);
    reader.client.unsubscribe(now, "s", false).expect("connected");
    reader.client.disconnect(now).expect("connected");
    assert_eq!(reader.talk(&mut hall), [Event::Disconnected]);
    assert_eq!(hall.why_closed(reader.seat), Some(Reason::Normal));
    assert_eq!(reader.client.ack(now, "1-1", false), Err(ClientError::NotConnected));
}

#[test]
fn credentials_go_along_and_an_error_says_why() {
    let mut hall = Hall::new();
    let options = Options { login: Some("me".into()), passcode: Some("wrong".into()), ..Options::default() };
    let mut guest = Guest { client: Client::new(options), seat: hall.accept() };
    guest.client.connect(hall.now);
    match &guest.talk(&mut hall)[..] {
        [Event::Error(error)] => assert_eq!(error.message, "bad login or passcode"),
        other => panic!("{other:?}"),
    }
    assert!(!guest.client.is_connected());
}

#[test]
fn both_sides_keep_an_idle_connection_alive() {
    let mut hall = Hall::new();
    let mut guest = Guest::connect(&mut hall, Options { heart_beat_receive_ms: 4_000, ..Options::default() });
    for _ in 0..20 {
        hall.advance_ms(2_500);
        guest.client.timeout(hall.now).expect("the server is there");
        assert_eq!(guest.talk(&mut hall), []);
    }
    assert_eq!(hall.why_closed(guest.seat), None);
}

#[test]
fn a_silent_server_is_noticed() {
    let mut hall = Hall::new();
    let mut guest = Guest::connect(&mut hall, Options { heart_beat_send_ms: 0, ..Options::default() });
    let deadline = guest.client.next_timeout().expect("a deadline");
    hall.now.mono_ns = deadline.mono_ns;
    assert_eq!(guest.client.timeout(hall.now), Err(ClientError::Silence));
    let mut waiting = Client::new(Options::default());
    waiting.connect(hall.now);
    hall.now.mono_ns = waiting.next_timeout().expect("a deadline").mono_ns;
    assert_eq!(waiting.timeout(hall.now), Err(ClientError::ConnectTimeout));
}

#[test]
fn what_a_server_must_not_say_ends_the_connection() {
    for frame in [
        "SEND\n\n^@",
        "MESSAGE\n\n^@",
        "RECEIPT\nreceipt-id:7\n\n^@",
        "CONNECTED\nversion:1.2\n\n^@",
        "HTTP/1.1 400 \n",
    ] {
        let mut hall = Hall::new();
        let mut guest = Guest::connect(&mut hall, Options::default());
        hall.seats[guest.seat].out.tail().extend_from_slice(frame.replace("^@", "\0").as_bytes());
        assert!(guest.listen(&mut hall).is_err(), "{frame}");
        assert!(!guest.client.is_connected());
    }
}
