use crate::hall::Hall;
use serde_json::{Value, json};

fn payloads(heard: &[Value]) -> Vec<&str> {
    heard
        .iter()
        .filter(|object| object["type"] == "message")
        .map(|object| object["payload"].as_str().unwrap_or_default())
        .collect()
}

#[test]
fn a_manual_window_holds_until_it_is_acknowledged() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect","ack":"manual","window":2}"#);
    hall.say(seat, r#"{"type":"subscribe","filter":"a","qos":1}"#);
    let publisher = hall.connect(r#"{"type":"connect"}"#);
    for payload in ["1", "2", "3", "4"] {
        hall.say(publisher, &format!(r#"{{"type":"publish","topic":"a","payload":"{payload}","qos":1}}"#));
    }
    let heard = hall.heard(seat);
    assert_eq!(payloads(&heard), ["1", "2"]);
    let ack = json!({"type":"ack","numbers":[heard[0]["number"], heard[1]["number"]]});
    let heard = hall.say(seat, &ack.to_string());
    assert_eq!(payloads(&heard), ["3", "4"]);
    let released = json!({"type":"ack","number":heard[0]["number"]});
    assert_eq!(hall.say(seat, &released.to_string()).len(), 0);
}

#[test]
fn automatic_acknowledgement_needs_no_word() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect","window":1}"#);
    hall.say(seat, r#"{"type":"subscribe","filter":"a","qos":2}"#);
    for qos in [0, 1, 2, 2, 2] {
        let heard = hall.say(seat, &format!(r#"{{"type":"publish","id":1,"topic":"a","payload":"x","qos":{qos}}}"#));
        let message = heard.iter().find(|object| object["type"] == "message").unwrap();
        assert_eq!((&message["qos"], message.get("number")), (&json!(qos), None));
        hall.say(seat, r#"{"type":"release","id":1}"#);
    }
    assert_eq!(hall.broker.statistics().inflight_messages, 0);
}

#[test]
fn exactly_once_is_acknowledged_with_one_word_and_settled_in_two_steps() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect","ack":"manual"}"#);
    hall.say(seat, r#"{"type":"subscribe","filter":"a","qos":2}"#);
    let heard = hall.say(seat, r#"{"type":"publish","id":1,"topic":"a","payload":"x","qos":2}"#);
    let message = heard.iter().find(|object| object["type"] == "message").unwrap();
    assert_eq!(hall.broker.statistics().inflight_messages, 1);
    hall.say(seat, &json!({"type":"ack","number":message["number"]}).to_string());
    assert_eq!(hall.broker.statistics().inflight_messages, 0);
}

#[test]
fn what_was_not_acknowledged_comes_again_to_the_session() {
    let mut hall = Hall::new();
    let connect = r#"{"type":"connect","client":"c","clean":false,"session_expiry_s":60,"ack":"manual"}"#;
    let seat = hall.connect(connect);
    hall.say(seat, r#"{"type":"subscribe","filter":"a","qos":1}"#);
    let publisher = hall.connect(r#"{"type":"connect"}"#);
    hall.say(publisher, r#"{"type":"publish","topic":"a","payload":"x","qos":1}"#);
    let number = hall.heard(seat)[0]["number"].clone();
    hall.lose(seat);
    let again = hall.accept();
    let heard = hall.say(again, connect);
    assert_eq!(
        (&heard[1]["payload"], &heard[1]["duplicate"], &heard[1]["number"]),
        (&json!("x"), &json!(true), &number)
    );
}

#[test]
fn an_acknowledgement_where_none_is_expected_is_explained() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    let heard = hall.say(seat, r#"{"type":"ack","number":1}"#);
    assert!(heard[0]["text"].as_str().unwrap().contains(r#""ack": "manual""#), "{heard:?}");
}

#[test]
fn a_job_of_a_queue_can_be_given_back() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect","ack":"manual","window":1}"#);
    hall.say(seat, r#"{"type":"subscribe","filter":"$queue/jobs","qos":1}"#);
    let other = hall.connect(r#"{"type":"connect","ack":"manual","window":1}"#);
    let heard = hall.say(seat, r#"{"type":"publish","topic":"$queue/jobs","payload":"job","qos":1}"#);
    let number = heard.iter().find(|object| object["type"] == "message").unwrap()["number"].clone();
    hall.say(other, r#"{"type":"subscribe","filter":"$queue/jobs","qos":1}"#);
    let heard = hall.say(seat, &json!({"type":"ack","number":number,"outcome":"release"}).to_string());
    let heard = [heard, hall.heard(other)].concat();
    assert_eq!(payloads(&heard), ["job"]);
    assert_eq!(hall.broker.statistics().inflight_messages, 1);
}

#[test]
fn who_asks_for_it_gets_binary_messages() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect","binary":true}"#);
    hall.say(seat, r#"{"type":"subscribe","filter":"a"}"#);
    let heard = hall.say(seat, r#"{"type":"publish","topic":"a","payload_base64":"/wA="}"#);
    let expected = json!({"type":"message","topic":"a","qos":0,"retain":false,"behind":[255, 0]});
    assert_eq!(heard, [expected]);
}
