//! Who may do what with topics that have a configuration: rules speak of `$ps/NAME` and of NAME (§6).

use crate::{House, PUBSUB, text, topic};
use althing_coap::message::Code;
use althing_coap::resources::pubsub::Properties;
use althing_core::authorisation::{Actions, Rule};

fn forbid(house: &mut House, actions: Actions, filters: &[&str]) {
    house.world.set_rules(filters.iter().map(|filter| Rule::for_everyone(actions, filter, false)).collect());
}

#[test]
fn who_may_not_create_or_change_hears_so_and_changes_nothing() {
    let mut house = House::open();
    let path = house.create(&topic("a"));
    let data = format!("{path}/data");
    house.say(Code::PUT, &data, None, "x");
    forbid(&mut house, Actions::PUBLISH, &["$ps/#"]);
    assert_eq!(house.say(Code::POST, "/ps", PUBSUB, topic("b").encode()).code, Code::FORBIDDEN);
    let patch = Properties { topic_type: Some("t".into()), ..Properties::default() };
    for method in [Code::POST, Code::IPATCH] {
        assert_eq!(house.say(method, &path, PUBSUB, patch.encode()).code, Code::FORBIDDEN, "{method}");
    }
    assert_eq!(house.ask(Code::DELETE, &path).code, Code::FORBIDDEN);
    forbid(&mut house, Actions::PUBLISH, &["a"]);
    assert_eq!(house.say(Code::PUT, &data, None, "y").code, Code::FORBIDDEN);
    assert_eq!(house.ask(Code::DELETE, &data).code, Code::FORBIDDEN);
    house.world.set_rules(Vec::new());
    assert_eq!(crate::map(&house.ask(Code::GET, &path)).topic_type, None);
    let filter = Properties { topic_type: Some("t".into()), ..Properties::default() };
    assert_eq!(text(&house.say(Code::FETCH, "/ps", PUBSUB, filter.encode())), "", "the collection knows nothing of it");
    assert_eq!(text(&house.ask(Code::GET, "/ps")), format!("<{path}>;rt=\"core.ps.conf\""));
    assert_eq!(text(&house.ask(Code::GET, &data)), "x");
}

#[test]
fn links_are_of_what_the_client_may_read() {
    let mut house = House::open();
    let seen = house.create(&topic("a"));
    let hidden = house.create(&topic("secret"));
    forbid(&mut house, Actions::SUBSCRIBE, &["$ps/secret", "secret"]);
    for (query, end, rt) in [("", "", "core.ps.conf"), ("?rt=core.ps.data", "/data", "core.ps.data\";obs")] {
        let links = house.ask(Code::GET, &format!("/ps{query}"));
        assert!(text(&links).starts_with(&format!("<{seen}{end}>;rt=\"{}", rt.trim_end_matches("\";obs"))));
        assert!(!text(&links).contains(&hidden), "{}", text(&links));
    }
    assert_eq!(house.ask(Code::GET, &hidden).code, Code::FORBIDDEN);
    assert_eq!(house.ask(Code::GET, &format!("{hidden}/data")).code, Code::FORBIDDEN);
    assert_eq!(house.observe(1, &format!("{hidden}/data")).code, Code::FORBIDDEN);
    assert_eq!(house.world.door.observations_len(), 0);
}
