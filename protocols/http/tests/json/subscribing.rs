use crate::hall::Hall;
use althing_core::Limits;
use althing_core::authorisation::{Actions, Policy, Rule};
use serde_json::json;

#[test]
fn each_filter_has_its_result_and_its_options() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    let subscribe =
        r##"{"type":"subscribe","id":1,"qos":1,"filters":["a/#",{"filter":"b","qos":2,"subscription_id":5}]}"##;
    let results = json!([{"filter":"a/#","qos":1},{"filter":"b","qos":2}]);
    assert_eq!(hall.say(seat, subscribe), [json!({"type":"subscribed","id":1,"results":results})]);
    let heard = hall.say(seat, r#"{"type":"publish","topic":"b","payload":"x"}"#);
    let message = json!({"type":"message","topic":"b","payload":"x","qos":0,"retain":false,"subscription_ids":[5]});
    assert_eq!(heard, [message]);
    let results = json!([{"filter":"b","found":true},{"filter":"c","found":false}]);
    let unsubscribed = json!({"type":"unsubscribed","id":2,"results":results});
    assert_eq!(hall.say(seat, r#"{"type":"unsubscribe","id":2,"filters":["b","c"]}"#), [unsubscribed]);
    assert_eq!(hall.say(seat, r#"{"type":"publish","topic":"b","payload":"x"}"#).len(), 0);
}

#[test]
fn options_say_what_comes_back() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    hall.say(seat, r#"{"type":"publish","topic":"a","payload":"last","retain":true}"#);
    assert_eq!(hall.say(seat, r#"{"type":"subscribe","filter":"a","retained":"never"}"#).len(), 1);
    let heard = hall.say(seat, r#"{"type":"subscribe","filter":"a"}"#);
    assert_eq!((&heard[1]["payload"], &heard[1]["retain"]), (&json!("last"), &json!(true)));
    assert_eq!(hall.say(seat, r#"{"type":"subscribe","filter":"a","no_local":true}"#).len(), 1);
    assert_eq!(hall.say(seat, r#"{"type":"publish","topic":"a","payload":"mine"}"#).len(), 0);
}

#[test]
fn a_subscription_that_is_refused_altogether_is_an_error() {
    let rule = Rule::for_everyone(Actions::publish_or_subscribe(false), "secret/#", false);
    let mut hall = Hall::with(Limits::default(), Policy::new(vec![rule], true));
    let seat = hall.connect(r#"{"type":"connect"}"#);
    let heard = hall.say(seat, r#"{"type":"subscribe","id":1,"filter":"secret/a"}"#);
    assert_eq!(
        (&heard[0]["type"], &heard[0]["id"], &heard[0]["request"], &heard[0]["reason"]),
        (&json!("error"), &json!(1), &json!("subscribe"), &json!("not_authorised"))
    );
    let heard = hall.say(seat, r#"{"type":"subscribe","id":2,"filters":["open","secret/a"]}"#);
    let results = json!([{"filter":"open","qos":0},{"filter":"secret/a","reason":"not_authorised"}]);
    assert_eq!(heard[0]["results"], results);
}
