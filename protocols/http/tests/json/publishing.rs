use crate::hall::Hall;
use althing_core::Limits;
use althing_core::authorisation::{Actions, Policy, Rule};
use serde_json::json;

#[test]
fn a_publish_with_an_id_is_answered_and_one_without_is_not() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    for qos in [0, 1] {
        let publish = format!(r#"{{"type":"publish","id":"p{qos}","topic":"a","payload":"x","qos":{qos}}}"#);
        let expected = json!({"type":"published","id":format!("p{qos}"),"matched":false});
        assert_eq!(hall.say(seat, &publish), [expected]);
        assert_eq!(hall.say(seat, &format!(r#"{{"type":"publish","topic":"a","payload":"x","qos":{qos}}}"#)).len(), 0);
    }
}

#[test]
fn a_refused_publish_is_always_told() {
    let rule = Rule::for_everyone(Actions::publish_or_subscribe(true), "secret/#", false);
    let mut hall = Hall::with(Limits::default(), Policy::new(vec![rule], true));
    let seat = hall.connect(r#"{"type":"connect"}"#);
    for qos in [0, 1] {
        let heard = hall.say(seat, &format!(r#"{{"type":"publish","topic":"secret/a","qos":{qos}}}"#));
        assert_eq!((&heard[0]["request"], &heard[0]["reason"]), (&json!("publish"), &json!("not_authorised")));
    }
    assert_eq!(hall.say(seat, r#"{"type":"publish","id":1,"topic":"open"}"#)[0]["type"], "published");
}

#[test]
fn payloads_are_text_json_or_bytes() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    hall.say(seat, r##"{"type":"subscribe","filter":"#"}"##);
    for (field, expected) in [
        (r#""payload":"21.5 °C \"\u00e9\"""#, json!("21.5 °C \"é\"")),
        (r#""payload_json":21.50"#, json!("21.50")),
        (r#""payload_json":1e400"#, json!("1e400")),
        (r#""payload_json":{"t": [21.5, null],"t":1}"#, json!(r#"{"t": [21.5, null],"t":1}"#)),
        (r#""payload_json":"x""#, json!("\"x\"")),
        (r#""payload_base64":"aGk=""#, json!("hi")),
        (r#""qos":0"#, json!("")),
    ] {
        let heard = hall.say(seat, &format!(r#"{{"type":"publish","topic":"a",{field}}}"#));
        assert_eq!(heard[0]["payload"], expected, "{field}");
        let is_json = heard[0]["properties"]["content_type"] == "application/json";
        assert_eq!(is_json, field.contains("payload_json"));
    }
    let heard = hall.say(seat, r#"{"type":"publish","topic":"a","payload_base64":"/wA="}"#);
    assert_eq!((&heard[0]["payload_base64"], heard[0].get("payload")), (&json!("/wA="), None));
}

#[test]
fn a_binary_message_carries_its_payload_as_it_is() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    hall.say(seat, r#"{"type":"subscribe","filter":"b"}"#);
    let message = althing_http::json::join(br#"{"type":"publish","topic":"b"}"#, b"\xff\x00\"").unwrap();
    assert_eq!(hall.say_binary(seat, &message)[0]["payload_base64"], "/wAi");
}

#[test]
fn exactly_once_is_a_number_until_it_is_released() {
    let mut hall = Hall::new();
    let watcher = hall.connect(r#"{"type":"connect"}"#);
    hall.say(watcher, r#"{"type":"subscribe","filter":"a"}"#);
    let seat = hall.connect(r#"{"type":"connect"}"#);
    let publish = r#"{"type":"publish","id":9,"topic":"a","payload":"x","qos":2}"#;
    for expected in [1, 0] {
        assert_eq!(hall.say(seat, publish)[0]["type"], "published");
        assert_eq!(hall.heard(watcher).len(), expected, "a repeat is answered and not published again");
    }
    assert_eq!(hall.say(seat, r#"{"type":"release","id":9}"#), [json!({"type":"released","id":9,"known":true})]);
    assert_eq!(hall.say(seat, r#"{"type":"release","id":9}"#), [json!({"type":"released","id":9,"known":false})]);
    hall.say(seat, publish);
    assert_eq!(hall.heard(watcher).len(), 1);
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut hall = Hall::new();
    let lasting = hall.connect(r#"{"type":"connect","client":"l","clean":false,"session_expiry_s":60}"#);
    hall.say(lasting, r#"{"type":"subscribe","filter":"a","qos":1}"#);
    let seat = hall.connect(r#"{"type":"connect"}"#);
    hall.stores = false;
    assert_eq!(hall.say(seat, r#"{"type":"publish","id":1,"topic":"a","qos":1}"#).len(), 0);
    hall.store();
    assert_eq!(hall.heard(seat), [json!({"type":"published","id":1,"matched":true})]);
}

#[test]
fn the_last_value_can_be_fetched() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    let nothing = json!({"type":"value","id":1,"message":null});
    assert_eq!(hall.say(seat, r#"{"type":"fetch","id":1,"topic":"a"}"#), [nothing]);
    hall.say(seat, r#"{"type":"publish","topic":"a","payload":"x","retain":true,"properties":{"priority":4}}"#);
    let value =
        json!({"type":"value","id":2,"message":{"topic":"a","payload":"x","qos":0,"properties":{"priority":4}}});
    assert_eq!(hall.say(seat, r#"{"type":"fetch","id":2,"topic":"a"}"#), [value]);
}
