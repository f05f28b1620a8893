//! Too Many Requests (RFC 8516): who publishes faster than its quota hears when to come back.

use crate::world::{Weather, World, token};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind, Message, number};
use althing_core::authorisation::Policy;
use althing_core::quota::{Quota, Quotas};
use bytes::Bytes;

/// §3: 4.29 with Max-Age, after which a publish is taken again.
#[test]
fn who_is_too_fast_hears_when_to_come_back() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather::default());
    let quotas = Quotas { default: Quota { messages_per_s: Some(2), ..Quota::default() }, ..Quotas::default() };
    world.set_policy(Policy { quotas, ..Policy::open() });
    let put = |id| {
        let mut put = Message::new(Kind::Confirmable, Code::PUT, id);
        put.token = token(b"x");
        put.options.add(number::URI_PATH, Bytes::from_static(b"t"));
        put.options.add(number::URI_PATH, Bytes::from_static(b"a"));
        Message { payload: "v".into(), ..put }
    };
    let refused =
        (0..100).map(|id| world.ask(0, &put(id)).remove(0)).find(|reply| reply.code != Code::CHANGED).unwrap();
    assert_eq!(refused.code, Code::TOO_MANY_REQUESTS);
    let retry_after_s = refused.options.uint(number::MAX_AGE).unwrap();
    assert!(retry_after_s > 0, "at once is too soon");
    world.run_ms(u64::from(retry_after_s) * 1_000);
    assert_eq!(world.ask(0, &put(200))[0].code, Code::CHANGED);
}
