//! OSCORE over reliable carriers (RFC 8613): whose a connection is, and what is protected on it.

use crate::world::{World, codes, csm, observe, put, request};
use althing_coap::message::{Code, Message, number};
use althing_coap::oscore::{Binding, Context, Contexts, Credentials, protect_request, unprotect_response};
use althing_coap::{CoapConfig, Common};
use althing_core::{Guarantee, Limits};
use bytes::Bytes;
use std::sync::Arc;

fn context(name: &str, sender_id: &'static [u8], recipient_id: &'static [u8]) -> Arc<Context> {
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

/// A world that knows two contexts, the first one's side of the client, and what it knows of it itself.
fn world() -> (World, Arc<Context>, Arc<Context>) {
    let (client, server) = (context("lamp", b"c", b"s"), context("lamp", b"s", b"c"));
    let contexts = Arc::new(Contexts::default());
    contexts.replace([Arc::clone(&server), context("chair", b"s", b"other")]);
    let mut world = World::new(CoapConfig::default());
    world.common = Arc::new(Common::new(CoapConfig::default(), Limits::default()).with_oscore(contexts));
    (world, client, server)
}

fn key_of(world: &World) -> Option<String> {
    world.connects.last().unwrap().link.shared_key.as_ref().map(|key| key.name.to_string())
}

/// The response to a protected request, as it is meant.
fn ask(world: &mut World, client: usize, context: &Arc<Context>, request: &Message) -> (Message, Binding) {
    let (outer, mut binding) = protect_request(context, request).unwrap();
    let answers = world.say(client, &[outer]);
    let answer = answers.iter().find(|answer| answer.token == request.token).unwrap();
    (unprotect_response(&mut binding, answer).unwrap(), binding)
}

#[test]
fn a_connection_is_that_of_the_context_of_its_first_request() {
    for is_whole in [false, true] {
        let (mut world, context, _) = world();
        let client = if is_whole { world.upgrade() } else { world.accept() };
        assert_eq!(codes(&world.say(client, &[csm()])), [Code::CSM]);
        assert!(world.connects.is_empty());
        let (response, _) = ask(&mut world, client, &context, &put(1, &["t", "a"], "kept"));
        assert_eq!((response.code, key_of(&world)), (Code::CHANGED, Some("lamp".into())));
        assert_eq!(world.connects[0].username, None);
        let (response, _) = ask(&mut world, client, &context, &request(Code::GET, 2, &["t", "a"]));
        assert_eq!((response.code, &response.payload[..]), (Code::CONTENT, &b"kept"[..]));
        assert_eq!(world.connects.len(), 1);
    }
}

#[test]
fn nobody_else_speaks_on_a_protected_connection() {
    let (mut world, context, _) = world();
    let client = world.accept();
    world.say(client, &[csm()]);
    ask(&mut world, client, &context, &put(1, &["t", "a"], "kept"));
    assert_eq!(codes(&world.say(client, &[put(2, &["t", "a"], "plain")])), [Code::UNAUTHORIZED]);
    let other = self::context("chair", b"other", b"s");
    let (outer, _) = protect_request(&other, &put(3, &["t", "a"], "other")).unwrap();
    assert_eq!(codes(&world.say(client, &[outer])), [Code::UNAUTHORIZED]);
    // What anyone may know needs no protection.
    assert_eq!(codes(&world.say(client, &[request(Code::GET, 4, &[".well-known", "core"])])), [Code::CONTENT]);
    let (response, _) = ask(&mut world, client, &context, &request(Code::GET, 5, &["t", "a"]));
    assert_eq!(&response.payload[..], b"kept");
}

#[test]
fn a_connection_that_began_without_protection_stays_so() {
    let (mut world, context, _) = world();
    let client = world.accept();
    let silent = world.accept();
    for client in [client, silent] {
        world.say(client, &[csm()]);
    }
    assert_eq!(codes(&world.say(client, &[put(1, &["t", "a"], "plain")])), [Code::CHANGED]);
    assert_eq!(key_of(&world), None);
    let (outer, _) = protect_request(&context, &put(2, &["t", "a"], "protected")).unwrap();
    assert_eq!(codes(&world.say(client, &[outer])), [Code::UNAUTHORIZED]);
    // Whoever asks for nothing for long is who it was when it came.
    assert_eq!(world.step(silent), Some("CSM"));
    assert_eq!(world.connects.len(), 2);
    assert!(world.peers[silent].closed.is_none());
    // A request that is longer than any protected one is not waited with.
    let large = world.accept();
    world.say(large, &[csm()]);
    assert_eq!(codes(&world.say(large, &[put(1, &["t", "a"], vec![b'x'; 200_000])])), [Code::CHANGED]);
}

#[test]
fn notifications_are_protected_and_values_come_in_blocks() {
    let (mut world, context, _) = world();
    let client = world.accept();
    world.say(client, &[csm()]);
    let (first, mut binding) = ask(&mut world, client, &context, &observe(1, &["t", "a"], 0));
    assert!(first.options.get(number::OBSERVE).is_some());
    world.publish("a", "news", Guarantee::AtLeastOnce);
    let told = unprotect_response(&mut binding, &world.take(client).remove(0)).unwrap();
    assert_eq!((told.code, &told.payload[..]), (Code::CONTENT, &b"news"[..]));
    // AES-CCM could not hold all of it.
    world.publish("large", vec![b'x'; 200_000], Guarantee::AtLeastOnce);
    let (block, _) = ask(&mut world, client, &context, &request(Code::GET, 2, &["t", "large"]));
    assert_eq!(block.code, Code::CONTENT);
    assert!(block.options.get(number::BLOCK2).is_some() && (1_024..=60 << 10).contains(&block.payload.len()));
}

#[test]
fn a_connection_of_a_context_that_forgot_what_it_received_asks_for_an_echo() {
    let (mut world, context, server) = world();
    server.forget_received();
    let client = world.accept();
    world.say(client, &[csm()]);
    let (challenge, _) = ask(&mut world, client, &context, &put(1, &["t", "a"], "kept"));
    assert_eq!((challenge.code, world.connects.len()), (Code::UNAUTHORIZED, 0));
    let mut again = put(2, &["t", "a"], "kept");
    again.options.add(number::ECHO, challenge.options.get(number::ECHO).unwrap().clone());
    let (before, _) = protect_request(&context, &again).unwrap();
    let (response, _) = ask(&mut world, client, &context, &again);
    assert_eq!(response.code, Code::CHANGED);
    // What was made before the proof may have come before we were started.
    assert_eq!(codes(&world.say(client, &[before])), [Code::UNAUTHORIZED]);
    let (outer, _) = protect_request(&context, &put(3, &["t", "a"], "once")).unwrap();
    assert_eq!(codes(&world.say(client, std::slice::from_ref(&outer))), [Code::CHANGED]);
    assert_eq!(codes(&world.say(client, &[outer])), [Code::UNAUTHORIZED]);
}
