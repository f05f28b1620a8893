//! The data of a topic, and its states (§4).

use crate::{House, PUBSUB, text, topic};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind, number};
use althing_coap::resources::pubsub::Properties;
use althing_core::Guarantee;

#[test]
fn a_half_created_topic_has_no_data() {
    let mut house = House::open();
    let path = house.create(&topic("a"));
    let data = format!("{path}/data");
    assert_eq!(house.ask(Code::GET, &data).code, Code::NOT_FOUND);
    let observed = house.observe(1, &data);
    assert_eq!((observed.code, observed.options.get(number::OBSERVE)), (Code::NOT_FOUND, None));
    assert_eq!(house.world.door.observations_len(), 0);
    assert_eq!(house.ask(Code::GET, &path).code, Code::CONTENT);
    assert_eq!(house.say(Code::PUT, &data, Some(50), "1").code, Code::CREATED);
    assert_eq!(house.say(Code::PUT, &data, Some(50), "2").code, Code::CHANGED);
    let value = house.ask(Code::GET, &data);
    assert_eq!((value.code, text(&value), value.options.uint(number::CONTENT_FORMAT)), (Code::CONTENT, "2", Some(50)));
    assert_eq!(house.ask(Code::DELETE, &data).code, Code::DELETED);
    assert_eq!(house.ask(Code::GET, &data).code, Code::NOT_FOUND);
    assert_eq!(house.ask(Code::GET, &path).code, Code::CONTENT, "the configuration stays");
    assert_eq!(house.say(Code::PUT, &data, Some(50), "3").code, Code::CREATED);
    for method in [Code::POST, Code::FETCH, Code::PATCH, Code::IPATCH] {
        assert_eq!(house.ask(method, &data).code, Code::METHOD_NOT_ALLOWED, "{method}");
    }
    assert_eq!(house.say(Code::PUT, &data, Some(50), "").code, Code::BAD_REQUEST);
}

#[test]
fn the_first_data_may_come_with_the_creation() {
    let mut house = House::open();
    let properties = Properties { topic_content_format: Some(50), initialize: Some("{}".into()), ..topic("a") };
    let data = format!("{}/data", house.create(&properties));
    let value = house.ask(Code::GET, &data);
    assert_eq!((value.code, text(&value), value.options.uint(number::CONTENT_FORMAT)), (Code::CONTENT, "{}", Some(50)));
    assert_eq!(house.say(Code::PUT, &data, Some(50), "1").code, Code::CHANGED);
}

#[test]
fn data_comes_in_the_format_of_the_topic() {
    let mut house = House::open();
    let data = format!("{}/data", house.create(&Properties { topic_content_format: Some(50), ..topic("a") }));
    for format in [None, Some(0), Some(60)] {
        assert_eq!(house.say(Code::PUT, &data, format, "1").code, Code::UNSUPPORTED_CONTENT_FORMAT, "{format:?}");
    }
    assert_eq!(house.say(Code::PUT, &data, Some(50), "1").code, Code::CREATED);
}

#[test]
fn who_is_too_fast_hears_how_long_to_wait() {
    let mut house = House::with(CoapConfig { topic_publishes_per_s: 1, ..CoapConfig::default() });
    let data = format!("{}/data", house.create(&topic("a")));
    let put = |house: &mut House| house.say(Code::PUT, &data, None, "1");
    assert_eq!([put(&mut house).code, put(&mut house).code, put(&mut house).code].map(Code::is_success), [true; 3]);
    let refused = put(&mut house);
    assert_eq!(refused.code, Code::TOO_MANY_REQUESTS);
    let wait_s = refused.options.uint(number::MAX_AGE).unwrap();
    assert!((1..=3).contains(&wait_s), "{wait_s}");
    house.world.run_ms(u64::from(wait_s) * 1_000);
    assert_eq!(put(&mut house).code, Code::CHANGED);
}

#[test]
fn observers_hear_the_newest_state() {
    let mut house = House::open();
    let data = format!("{}/data", house.create(&topic("a")));
    house.say(Code::PUT, &data, None, "0");
    let first = house.observe(1, &data);
    assert_eq!((first.code, text(&first)), (Code::CONTENT, "0"));
    assert!(first.options.get(number::OBSERVE).is_some());
    let from = house.world.sent.len();
    for payload in ["1", "2", "3"] {
        house.say(Code::PUT, &data, None, payload);
    }
    let told = house.sent(1, from);
    assert_eq!((told.len(), text(&told[0]), told[0].kind), (1, "1", Kind::Confirmable));
    house.acknowledge(1, told[0].id);
    let told = house.sent(1, from);
    assert_eq!((told.len(), text(&told[1])), (2, "3"), "what was between is not told");
    let ended = house.ask_with(1, Code::GET, &data, |message| message.options.add_uint(number::OBSERVE, 1));
    assert_eq!((ended.code, ended.options.get(number::OBSERVE)), (Code::CONTENT, None));
    assert_eq!((house.world.door.observations_len(), house.world.broker.statistics().subscriptions), (0, 0));
}

#[test]
fn deleted_data_ends_the_observations() {
    for by_topic in [false, true] {
        let mut house = House::open();
        let properties = Properties { topic_content_format: Some(0), initialize: Some("x".into()), ..topic("a") };
        let data = format!("{}/data", house.create(&properties));
        house.observe(1, &data);
        let from = house.world.sent.len();
        // Whoever clears the topic in another language says the same.
        assert_eq!(house.ask(Code::DELETE, if by_topic { "/t/a" } else { &data }).code, Code::DELETED);
        let told = house.sent(1, from);
        assert_eq!((told.len(), told[0].code, told[0].options.get(number::OBSERVE)), (1, Code::NOT_FOUND, None));
        assert_eq!((house.world.door.observations_len(), house.world.broker.statistics().subscriptions), (0, 0));
    }
}

#[test]
fn only_so_many_observe() {
    let mut house = House::open();
    let path = house.create(&Properties { max_subscribers: Some(2), ..topic("a") });
    let data = format!("{path}/data");
    house.say(Code::PUT, &data, None, "x");
    let observes = |house: &mut House, client| {
        let answer = house.observe(client, &data);
        assert_eq!((answer.code, text(&answer)), (Code::CONTENT, "x"));
        answer.options.get(number::OBSERVE).is_some()
    };
    assert_eq!([1, 2, 3].map(|client| observes(&mut house, client)), [true, true, false]);
    assert!(observes(&mut house, 1), "who is there already may say so again");
    let from = house.world.sent.len();
    let fewer = Properties { max_subscribers: Some(1), ..Properties::default() };
    assert_eq!(house.say(Code::IPATCH, &path, PUBSUB, fewer.encode()).code, Code::CHANGED);
    // Client 1 has registered anew, so that 2 is the oldest.
    assert_eq!(house.sent(1, from)[0].code, Code::NOT_FOUND);
    assert_eq!(house.sent(2, from).len(), 0);
    assert_eq!(house.world.door.observations_len(), 1);
    assert!(!observes(&mut house, 3));
    house.ask_with(2, Code::GET, &data, |message| message.options.add_uint(number::OBSERVE, 1));
    assert!(observes(&mut house, 3), "a place is free");
}

#[test]
fn the_topic_says_how_often_observers_confirm() {
    let mut house = House::open();
    // The client is this test alone.
    house.world.weather.loss_percent = 100;
    let data = format!("{}/data", house.create(&Properties { observer_check_s: Some(60), ..topic("a") }));
    house.say(Code::PUT, &data, None, "0");
    house.observe(1, &data);
    let kind_of = |house: &mut House, payload: &'static str| {
        let from = house.world.sent.len();
        house.say(Code::PUT, &data, None, payload);
        let told = house.sent(1, from).remove(0);
        if told.kind == Kind::Confirmable {
            house.acknowledge(1, told.id);
        }
        told.kind
    };
    assert_eq!(kind_of(&mut house, "1"), Kind::Confirmable);
    assert_eq!(kind_of(&mut house, "2"), Kind::NonConfirmable);
    house.world.run_ms(61_000);
    assert_eq!(kind_of(&mut house, "3"), Kind::Confirmable);
}

#[test]
fn every_language_has_the_same_data() {
    let mut house = House::open();
    let data = format!("{}/data", house.create(&topic("room/a")));
    house.world.subscribe("room/#");
    house.say(Code::PUT, &data, Some(0), "from CoAP");
    assert_eq!(house.world.heard.last().unwrap().1, "from CoAP");
    house.observe(1, &data);
    let from = house.world.sent.len();
    house.world.publish("room/a", "from MQTT", Guarantee::AtLeastOnce, true);
    assert_eq!(text(&house.sent(1, from)[0]), "from MQTT");
    assert_eq!(text(&house.ask(Code::GET, &data)), "from MQTT");
    assert_eq!(house.ask(Code::GET, "/t/room/a").code, Code::CONTENT);
}

#[test]
fn data_says_how_long_it_holds_and_is_gone_then() {
    let mut house = House::open();
    let data = format!("{}/data", house.create(&topic("a")));
    let put = |message: &mut althing_coap::message::Message| {
        message.options.add_uint(number::MAX_AGE, 100);
        message.payload = "x".into();
    };
    assert_eq!(house.ask_with(0, Code::PUT, &data, put).code, Code::CREATED);
    house.world.run_ms(40_000);
    assert_eq!(house.ask(Code::GET, &data).options.uint(number::MAX_AGE), Some(60));
    house.world.run_ms(61_000);
    assert_eq!(house.ask(Code::GET, &data).code, Code::NOT_FOUND);
    assert_eq!(house.say(Code::PUT, &data, None, "y").code, Code::CREATED, "half created again");
}

#[test]
fn a_reset_is_an_unsubscription() {
    let mut house = House::open();
    // The client is this test alone.
    house.world.weather.loss_percent = 100;
    let data = format!("{}/data", house.create(&topic("a")));
    house.say(Code::PUT, &data, None, "0");
    house.observe(1, &data);
    let from = house.world.sent.len();
    house.say(Code::PUT, &data, None, "1");
    let told = house.sent(1, from).remove(0);
    let mut reset = Vec::new();
    althing_coap::codec::encode_empty(Kind::Reset, told.id, &mut reset);
    house.world.exchange(1, &reset);
    assert_eq!((house.world.door.observations_len(), house.world.broker.statistics().subscriptions), (0, 0));
}
