//! Protected requests at the door (RFC 8613): whose they are, and what is repeated.

use crate::world::{Weather, World};
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_coap::oscore::{Binding, Context, Contexts, Credentials, protect_request, unprotect_response};
use althing_coap::{CoapConfig, CoapDoor, Common};
use althing_core::{Entropy, Guarantee, Limits};
use bytes::Bytes;
use std::sync::Arc;

fn context(sender_id: &'static [u8], recipient_id: &'static [u8]) -> Arc<Context> {
    context_of("sensor-1", sender_id, recipient_id)
}

fn context_of(name: &str, sender_id: &'static [u8], recipient_id: &'static [u8]) -> Arc<Context> {
    let context = Context::derive(Credentials {
        name: name.into(),
        master_secret: Bytes::from_static(b"sixteen bytes..."),
        master_salt: Bytes::new(),
        sender_id: Bytes::from_static(sender_id),
        recipient_id: Bytes::from_static(recipient_id),
        id_context: None,
    });
    let context = context.unwrap();
    context.reserve(0, 1_000);
    Arc::new(context)
}

/// A world whose door knows the second context, and the client's side of it.
fn world() -> (World, Arc<Context>, Arc<Context>) {
    let (client, server) = (context(b"c", b"s"), context(b"s", b"c"));
    let contexts = Arc::new(Contexts::default());
    contexts.replace([Arc::clone(&server)]);
    let mut world = World::new(1, 1, CoapConfig::default(), Weather::default());
    let common = Common::new(CoapConfig::default(), Limits::default()).with_oscore(contexts);
    world.door = CoapDoor::new(Arc::new(common), Entropy::new(1));
    (world, client, server)
}

fn request(code: Code, id: u16, payload: &'static str) -> Message {
    let mut message = Message::new(Kind::Confirmable, code, id);
    message.token = Token::new(&id.to_be_bytes()).unwrap();
    message.options.add(number::URI_PATH, "t");
    message.options.add(number::URI_PATH, "a");
    message.payload = Bytes::from_static(payload.as_bytes());
    message
}

/// The response to a protected request, as it came and as it is meant.
fn ask(world: &mut World, client: &Arc<Context>, request: &Message) -> (Message, Message, Binding) {
    let (outer, mut binding) = protect_request(client, request).unwrap();
    let answers = world.ask(0, &outer);
    let answer = answers.into_iter().find(|answer| answer.token == outer.token).unwrap();
    let inner = unprotect_response(&mut binding, &answer).unwrap();
    (outer, inner, binding)
}

#[test]
fn a_context_is_a_peer_with_its_name() {
    let (mut world, client, _) = world();
    let (_, response, _) = ask(&mut world, &client, &request(Code::PUT, 1, "kept"));
    assert_eq!(response.code, Code::CHANGED);
    let (_, response, _) = ask(&mut world, &client, &request(Code::GET, 2, ""));
    assert_eq!((response.code, &response.payload[..]), (Code::CONTENT, &b"kept"[..]));
    // Whoever comes from there without protection is somebody else.
    assert_eq!(world.ask(0, &request(Code::GET, 3, "")).remove(0).code, Code::CONTENT);
    let names: Vec<_> = world.peers.iter().map(|peer| world.peers.key(peer).map(|key| key.name.to_string())).collect();
    assert_eq!(names, [Some("sensor-1".to_owned()), None]);
}

#[test]
fn what_comes_twice_is_answered_with_the_same_bytes() {
    let (mut world, client, _) = world();
    for (id, request) in [(1, request(Code::GET, 1, "")), (2, request(Code(31), 2, ""))] {
        let (outer, ..) = ask(&mut world, &client, &request);
        let first = world.sent.last().unwrap().clone();
        world.ask(0, &outer);
        assert_eq!(world.sent.last(), Some(&first));
        // Under another message id it is a replay.
        let replayed = Message { id: id + 100, ..outer };
        let answer = world.ask(0, &replayed).remove(0);
        assert_eq!((answer.code, &answer.payload[..]), (Code::UNAUTHORIZED, &b"Replay detected"[..]));
    }
}

#[test]
fn a_door_that_has_forgotten_what_it_received_asks_for_an_echo() {
    let (mut world, client, server) = world();
    server.forget_received();
    let (_, challenge, _) = ask(&mut world, &client, &request(Code::PUT, 1, "kept"));
    assert_eq!(challenge.code, Code::UNAUTHORIZED);
    let mut again = request(Code::PUT, 2, "kept");
    again.options.add(number::ECHO, challenge.options.get(number::ECHO).unwrap().clone());
    let (_, response, _) = ask(&mut world, &client, &again);
    assert_eq!(response.code, Code::CHANGED);
    let (_, response, _) = ask(&mut world, &client, &request(Code::PUT, 3, "kept"));
    assert_eq!(response.code, Code::CHANGED);
}

#[test]
fn without_numbers_nothing_is_carried_out() {
    let (mut world, client, server) = world();
    server.reserve(1_000, 0);
    let (outer, _) = protect_request(&client, &request(Code::PUT, 1, "kept")).unwrap();
    assert_eq!(world.ask(0, &outer).remove(0).code, Code::SERVICE_UNAVAILABLE);
    assert_eq!(world.door.endpoints_len(), 0);
}

#[test]
fn notifications_are_protected_each_with_a_number() {
    let (mut world, client, _) = world();
    let mut observe = request(Code::GET, 1, "");
    observe.options.add_uint(number::OBSERVE, 0);
    ask(&mut world, &client, &request(Code::PUT, 2, "first"));
    let (_, first, mut binding) = ask(&mut world, &client, &observe);
    assert_eq!((first.options.get(number::OBSERVE).is_some(), &first.payload[..]), (true, &b"first"[..]));
    ask(&mut world, &client, &request(Code::PUT, 3, "second"));
    let sent: Vec<_> = world.sent.iter().map(|(_, sent)| Bytes::copy_from_slice(sent)).collect();
    let sent = sent.iter().filter_map(|sent| althing_coap::codec::decode(sent).ok());
    let told: Vec<_> = sent.filter_map(|sent| unprotect_response(&mut binding, &sent).ok()).collect();
    assert_eq!(told.iter().map(|it| &it.payload[..]).collect::<Vec<_>>(), [b"second"]);
}

/// Two contexts and the address itself share a message layer (NSTART, ids), and nothing else: tokens, observations and sessions are
/// each one's own.
#[test]
fn several_observe_at_one_address_each_for_itself() {
    let (mut world, first, first_of_door) = world();
    let (second, second_of_door) = (context_of("sensor-2", b"d", b"s"), context_of("sensor-2", b"s", b"d"));
    world.door.common().oscore.replace([first_of_door, second_of_door]);
    world.weather.loss_percent = 100;
    let mut observe = request(Code::GET, 1, "");
    observe.options.add_uint(number::OBSERVE, 0);
    let (_, _, mut of_first) = ask(&mut world, &first, &observe);
    let (_, _, mut of_second) = ask(&mut world, &second, &Message { id: 2, ..observe.clone() });
    world.ask(0, &Message { id: 3, ..observe });
    assert_eq!((world.door.endpoints_len(), world.door.observations_len(), world.peers.len()), (1, 3, 3));
    let from = world.sent.len();
    world.publish("a", "value", Guarantee::AtLeastOnce, false);
    let mut heard = Vec::new();
    while let Some(told) = world.sent_to(0, from).get(heard.len()).cloned() {
        let plain = (told.options.get(number::OSCORE).is_none() && &told.payload[..] == b"value").then_some("nobody");
        let of_first = unprotect_response(&mut of_first, &told).ok().map(|_| "sensor-1");
        let of_second = unprotect_response(&mut of_second, &told).ok().map(|_| "sensor-2");
        heard.push([plain, of_first, of_second].into_iter().flatten().collect::<Vec<_>>());
        assert_eq!(world.sent_to(0, from).len(), heard.len(), "one at a time");
        let kind = if heard.last().unwrap().contains(&"sensor-1") { Kind::Reset } else { Kind::Acknowledgement };
        world.say_empty(0, kind, told.id);
    }
    heard.sort_unstable();
    assert_eq!(heard, [["nobody"], ["sensor-1"], ["sensor-2"]]);
    // The reset was that of the first alone.
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (2, 2));
    world.leave(0);
    assert_eq!((world.door.endpoints_len(), world.door.observations_len(), world.peers.len()), (0, 0, 0));
    assert_eq!(world.broker.statistics().subscriptions, 0);
}

#[test]
fn what_cannot_be_read_is_told_apart_and_never_carried_out() {
    let (mut world, client, _) = world();
    let protected = |id| protect_request(&client, &request(Code::PUT, id, "kept")).unwrap().0;
    let with_option = |outer: Message, value: &[u8]| {
        let mut changed = Message { options: Default::default(), ..outer };
        changed.options.add(number::OSCORE, Bytes::copy_from_slice(value));
        changed
    };
    let with_payload = |outer: Message, payload: Vec<u8>| Message { payload: payload.into(), ..outer };
    let garbled = |id| {
        let outer = protected(id);
        let payload = outer.payload.iter().map(|byte| byte ^ 1).collect();
        with_payload(outer, payload)
    };
    let cases = [
        // A kid that nobody has; a reserved bit; a length beyond the value; a reserved length of the number; no payload.
        (with_option(protected(1), b"\x09\x01zz"), Code::UNAUTHORIZED, "Security context not found"),
        (with_option(protected(2), b"\x29\x01c"), Code::BAD_OPTION, "Failed to decode COSE"),
        (with_option(protected(3), b"\x0d\x01"), Code::BAD_OPTION, "Failed to decode COSE"),
        (with_option(protected(4), b"\x0e\x01\x01\x01\x01\x01\x01c"), Code::BAD_OPTION, "Failed to decode COSE"),
        (with_payload(protected(5), Vec::new()), Code::BAD_OPTION, "Failed to decode COSE"),
        (garbled(6), Code::BAD_REQUEST, "Decryption failed"),
    ];
    for (outer, code, text) in cases {
        let answer = world.ask(0, &outer).remove(0);
        assert_eq!((answer.code, std::str::from_utf8(&answer.payload)), (code, Ok(text)));
        // It is told unprotected, and nobody keeps it for others.
        let (oscore, max_age) = (answer.options.get(number::OSCORE), answer.options.uint(number::MAX_AGE));
        assert_eq!((oscore, max_age), (None, Some(0)));
    }
    let (_, response, _) = ask(&mut world, &client, &request(Code::GET, 9, ""));
    assert_eq!(response.code, Code::NOT_FOUND, "none of it was published");
}

#[test]
fn what_was_not_protected_of_a_protected_request_is_not_believed() {
    let (mut world, client, _) = world();
    let (mut outer, mut binding) = protect_request(&client, &request(Code::PUT, 1, "kept")).unwrap();
    assert_eq!(outer.code, Code::POST, "nobody on the way sees the method");
    // Options that would be inside, as somebody on the way might write them.
    outer.code = Code::DELETE;
    outer.options.add(number::URI_PATH, "elsewhere");
    outer.options.add(number::IF_NONE_MATCH, Bytes::new());
    outer.options.add_uint(number::MAX_AGE, 1);
    let answer = world.ask(0, &outer).remove(0);
    assert_eq!((answer.code, answer.options.get(number::OSCORE).is_some()), (Code::CHANGED, true));
    assert_eq!(unprotect_response(&mut binding, &answer).unwrap().code, Code::CHANGED);
    world.run_ms(10_000);
    let (_, response, _) = ask(&mut world, &client, &request(Code::GET, 2, ""));
    assert_eq!((&response.payload[..], response.options.get(number::MAX_AGE)), (&b"kept"[..], None));
}
