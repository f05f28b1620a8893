//! Any bytes as OSCORE options and ciphertexts: never a panic, and nothing that was not protected is taken.
#![no_main]

use althing_coap::codec::decode;
use althing_coap::message::{Code, Kind, Message, number};
use althing_coap::oscore::{
    CompressedCose, Context, Credentials, protect_request, unprotect_request, unprotect_response,
};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Some(cose) = CompressedCose::decode(&bytes) {
        assert_eq!(cose.encode(), bytes);
    }
    let credentials = Credentials {
        name: "fuzz".into(),
        master_secret: Bytes::from_static(b"secret"),
        master_salt: Bytes::new(),
        sender_id: Bytes::new(),
        recipient_id: Bytes::from_static(b"\x01"),
        id_context: None,
    };
    let Ok(context) = Context::derive(credentials) else { return };
    context.reserve(0, 10);
    let context = Arc::new(context);
    let Ok(message) = decode(&bytes) else { return };
    assert!(unprotect_request(&message, |_, _| Some(Arc::clone(&context))).is_err());
    let Ok((_, mut binding)) = protect_request(&context, &Message::new(Kind::Confirmable, Code::GET, 1)) else { return };
    assert!(unprotect_response(&mut binding, &message).is_err());
    assert!(message.options.all(number::OSCORE).all(|value| CompressedCose::decode(value).is_none_or(|it| it.encode() == value)));
});
