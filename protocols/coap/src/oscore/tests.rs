//! The test vectors of Appendix C, and both ends against each other.

use super::*;
use crate::codec::{decode, encode};
use crate::message::{Code, Kind, Message, Token, number};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

fn hex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

const SALT: &str = "9e7ca92223786340";
const ID_CONTEXT: &str = "37cbf3210017a2d3";

fn credentials(salt: &str, sender: &str, recipient: &str, id_context: Option<&str>) -> Credentials {
    Credentials {
        name: "vector".into(),
        master_secret: hex("0102030405060708090a0b0c0d0e0f10"),
        master_salt: hex(salt),
        sender_id: hex(sender),
        recipient_id: hex(recipient),
        id_context: id_context.map(hex),
    }
}

fn context(credentials: Credentials, next: u64) -> Arc<Context> {
    let context = Context::derive(credentials).unwrap();
    context.reserve(next, next + 100_000);
    Arc::new(context)
}

/// The two ends of Appendix C.1.
fn ends() -> (Arc<Context>, Arc<Context>) {
    (context(credentials(SALT, "", "01", None), 20), context(credentials(SALT, "01", "", None), 0))
}

fn read(text: &str) -> Message {
    decode(&hex(text)).unwrap()
}

fn written(message: &Message) -> Bytes {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes.into()
}

/// C.1 to C.3.
#[test]
fn keys_and_ivs_are_those_of_the_vectors() {
    for (credentials, sender_key, recipient_key, common_iv) in [
        (
            credentials(SALT, "", "01", None),
            "f0910ed7295e6ad4b54fc793154302ff",
            "ffb14e093c94c9cac9471648b4f98710",
            "4622d4dd6d944168eefb54987c",
        ),
        (
            credentials("", "00", "01", None),
            "321b26943253c7ffb6003b0b64d74041",
            "e57b5635815177cd679ab4bcec9d7dda",
            "be35ae297d2dace910c52e99f9",
        ),
        (
            credentials(SALT, "", "01", Some(ID_CONTEXT)),
            "af2a1300a5e95788b356336eeecd2b92",
            "e39a0c7c77b43f03b4b39ab9a268699f",
            "2ca58fb85ff1b81c0b7181b85e",
        ),
    ] {
        let context = context(credentials, 0);
        assert_eq!(context.sender_key[..], hex(sender_key));
        assert_eq!(context.recipient_key[..], hex(recipient_key));
        assert_eq!(context.common_iv[..], hex(common_iv));
    }
}

/// C.4 to C.6.
#[test]
fn requests_are_those_of_the_vectors() {
    for (client, server, plain, protected) in [
        (
            credentials(SALT, "", "01", None),
            credentials(SALT, "01", "", None),
            "44015d1f00003974396c6f63616c686f737483747631",
            "44025d1f00003974396c6f63616c686f7374620914ff612f1092f1776f1c1668b3825e",
        ),
        (
            credentials("", "00", "01", None),
            credentials("", "01", "00", None),
            "440171c30000b932396c6f63616c686f737483747631",
            "440271c30000b932396c6f63616c686f737463091400ff4ed339a5a379b0b8bc731fffb0",
        ),
        (
            credentials(SALT, "", "01", Some(ID_CONTEXT)),
            credentials(SALT, "01", "", Some(ID_CONTEXT)),
            "44012f8eef9bbf7a396c6f63616c686f737483747631",
            "44022f8eef9bbf7a396c6f63616c686f73746b19140837cbf3210017a2d3ff72cd7273fd331ac45cffbe55c3",
        ),
    ] {
        let (outer, _) = protect_request(&context(client, 20), &read(plain)).unwrap();
        assert_eq!(written(&outer), hex(protected));
        let contexts = Contexts::default();
        contexts.replace([context(server, 0)]);
        let (inner, _) = unprotect_request(&read(protected), |kid, within| contexts.find(kid, within)).unwrap();
        assert_eq!(inner, read(plain));
    }
}

/// C.7 and C.8.
#[test]
fn responses_are_those_of_the_vectors() {
    let (client, server) = ends();
    let request = read("44015d1f00003974396c6f63616c686f737483747631");
    let (outer, mut asked) = protect_request(&client, &request).unwrap();
    let (_, mut heard) = unprotect_request(&outer, |_, _| Some(server)).unwrap();
    let plain = read("64455d1f00003974ff48656c6c6f20576f726c6421");
    for protected in [
        "64445d1f0000397490ffdbaad1e9a7e7b2a813d3c31524378303cdafae119106",
        "64445d1f00003974920100ff4d4c13669384b67354b2b6175ff4b8658c666a6cf88e",
    ] {
        let outer = protect_response(&mut heard, &plain).unwrap();
        assert_eq!(written(&outer), hex(protected));
        assert_eq!(unprotect_response(&mut asked, &outer), Ok(plain.clone()));
        assert_eq!(unprotect_response(&mut asked, &outer), Err(ResponseError::Replayed));
    }
}

fn get(observe: Option<u32>) -> Message {
    let mut request = Message::new(Kind::Confirmable, Code::GET, 1);
    request.token = Token::new(b"t").unwrap();
    request.options.add(number::URI_PATH, "t");
    if let Some(observe) = observe {
        request.options.add_uint(number::OBSERVE, observe);
    }
    request
}

fn heard(server: &Arc<Context>, outer: &Message) -> Result<(Message, Binding), RequestError> {
    unprotect_request(outer, |_, _| Some(Arc::clone(server)))
}

#[test]
fn a_request_is_taken_once_and_late_ones_within_the_window() {
    let (client, server) = ends();
    let outers: Vec<_> = (0..40).map(|_| protect_request(&client, &get(None)).unwrap().0).collect();
    for place in [1, 0, 39] {
        assert!(heard(&server, &outers[place]).is_ok());
        assert_eq!(heard(&server, &outers[place]).unwrap_err(), RequestError::Replayed);
    }
    assert!(heard(&server, &outers[8]).is_ok(), "39 - 31 is the oldest in the window");
    assert_eq!(heard(&server, &outers[7]).unwrap_err(), RequestError::Replayed);
}

#[test]
fn what_was_changed_is_refused_and_does_not_count_as_received() {
    let (client, server) = ends();
    let (outer, mut asked) = protect_request(&client, &get(None)).unwrap();
    let mut changed = outer.clone();
    let mut payload = changed.payload.to_vec();
    payload[0] ^= 1;
    changed.payload = payload.into();
    assert_eq!(heard(&server, &changed).unwrap_err(), RequestError::Undecipherable);
    let (_, mut binding) = heard(&server, &outer).unwrap();
    let contexts = Contexts::default();
    let unknown = unprotect_request(&outer, |kid, within| contexts.find(kid, within)).unwrap_err();
    assert_eq!(unknown, RequestError::UnknownContext);
    let response = Message::new(Kind::Acknowledgement, Code::CONTENT, 1);
    assert_eq!(unprotect_response(&mut asked, &response), Err(ResponseError::Unprotected));
    let (_, mut other) = protect_request(&client, &get(None)).unwrap();
    let outer = protect_response(&mut binding, &response).unwrap();
    assert_eq!(unprotect_response(&mut other, &outer), Err(ResponseError::Undecipherable));
    assert_eq!(unprotect_response(&mut asked, &outer), Ok(response));
}

#[test]
fn after_a_restart_a_request_has_to_prove_that_it_is_recent() {
    let (client, server) = ends();
    server.forget_received();
    let (old, _) = protect_request(&client, &get(None)).unwrap();
    let (first, mut asked) = protect_request(&client, &get(None)).unwrap();
    let (_, mut binding) = heard(&server, &first).unwrap();
    assert!(!binding.is_fresh());
    // It may be a replay, so that its nonce may have been used for another response.
    let challenge =
        protect_response(&mut binding, &Message::new(Kind::Acknowledgement, Code::UNAUTHORIZED, 1)).unwrap();
    assert!(!challenge.options.get(number::OSCORE).unwrap().is_empty());
    assert!(unprotect_response(&mut asked, &challenge).is_ok());
    let (second, _) = protect_request(&client, &get(None)).unwrap();
    let (_, mut binding) = heard(&server, &second).unwrap();
    binding.is_recent();
    assert!(binding.is_fresh());
    for replayed in [old, first, second] {
        assert_eq!(heard(&server, &replayed).unwrap_err(), RequestError::Replayed);
    }
    assert!(heard(&server, &protect_request(&client, &get(None)).unwrap().0).unwrap().1.is_fresh());
}

#[test]
fn notifications_have_numbers_and_only_newer_ones_count() {
    let (client, server) = ends();
    let (outer, mut asked) = protect_request(&client, &get(Some(0))).unwrap();
    assert_eq!((outer.code, outer.options.uint(number::OBSERVE)), (Code::FETCH, Some(0)));
    let (inner, mut binding) = heard(&server, &outer).unwrap();
    assert_eq!(inner, get(Some(0)));
    let notifications: Vec<_> = (1..=3)
        .map(|sequence| {
            let mut notification = Message::new(Kind::NonConfirmable, Code::CONTENT, 7);
            notification.options.add_uint(number::OBSERVE, sequence);
            let outer = protect_response(&mut binding, &notification).unwrap();
            assert_eq!((outer.code, outer.options.uint(number::OBSERVE)), (Code::CONTENT, Some(sequence)));
            outer
        })
        .collect();
    for (place, is_taken) in [(0, true), (0, false), (2, true), (1, false), (2, false)] {
        assert_eq!(unprotect_response(&mut asked, &notifications[place]).is_ok(), is_taken);
    }
}

#[test]
fn a_proxy_that_does_not_observe_gets_one_response() {
    let (client, server) = ends();
    let (mut outer, _) = protect_request(&client, &get(Some(0))).unwrap();
    outer.options = outer.options.iter().filter(|(option, _)| *option != number::OBSERVE).fold(
        crate::message::Options::default(),
        |mut options, (option, value)| {
            options.add(*option, value.clone());
            options
        },
    );
    assert_eq!(heard(&server, &outer).unwrap().0, get(None));
}

#[test]
fn without_reserved_numbers_nothing_is_sent() {
    let client = Context::derive(credentials(SALT, "", "01", None)).unwrap();
    client.reserve(5, 6);
    let client = Arc::new(client);
    assert!(protect_request(&client, &get(None)).is_ok());
    assert!(protect_request(&client, &get(None)).is_err());
    client.reserve(0, 7);
    assert!(protect_request(&client, &get(None)).is_ok());
    client.reserve(u64::MAX, u64::MAX);
    assert!(protect_request(&client, &get(None)).is_err());
}

#[test]
fn a_context_has_usable_ids() {
    for (sender, recipient) in [("01", "01"), ("0102030405060708", ""), ("", "0102030405060708")] {
        assert!(Context::derive(credentials("", sender, recipient, None)).is_err());
    }
}

fn messages(codes: &'static [Code]) -> impl Strategy<Value = Message> {
    let option = (1_u16..3_000, proptest::collection::vec(any::<u8>(), 0..20));
    let options = proptest::collection::vec(option, 0..10);
    let payload = proptest::collection::vec(any::<u8>(), 0..100);
    (proptest::sample::select(codes), options, payload).prop_map(|(code, options, payload)| {
        let mut message = Message::new(Kind::Confirmable, code, 5);
        for (option, value) in options {
            // The number of a notification does not get through, and the option itself is ours.
            if option != number::OBSERVE && option != number::OSCORE {
                message.options.add(option, value);
            }
        }
        message.payload = payload.into();
        message
    })
}

proptest! {
    #[test]
    fn what_is_protected_comes_out_as_it_was(
        request in messages(&[Code::GET, Code::PUT, Code::POST, Code::DELETE]),
        response in messages(&[Code::CONTENT, Code::CHANGED, Code::NOT_FOUND]),
    ) {
        let (client, server) = ends();
        let (outer, mut asked) = protect_request(&client, &request).unwrap();
        prop_assert_eq!(decode(&written(&outer)).unwrap(), outer.clone());
        let (inner, mut binding) = heard(&server, &outer).unwrap();
        prop_assert_eq!(inner, request);
        let outer = protect_response(&mut binding, &response).unwrap();
        prop_assert_eq!(unprotect_response(&mut asked, &outer).unwrap(), response);
    }

    #[test]
    fn any_bytes_are_refused(option in proptest::collection::vec(any::<u8>(), 0..20), payload in proptest::collection::vec(any::<u8>(), 0..60)) {
        let (client, server) = ends();
        let mut message = Message::new(Kind::Confirmable, Code::POST, 1);
        message.options.add(number::OSCORE, option);
        message.payload = payload.into();
        prop_assert!(heard(&server, &message).is_err());
        let (_, mut asked) = protect_request(&client, &get(None)).unwrap();
        prop_assert!(unprotect_response(&mut asked, &message).is_err());
    }
}
