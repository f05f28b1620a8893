//! Event streams: what comes, what came before, what was missed.

use crate::world::{Browser, Terms, World, with_secrets, world, world_with};
use althing_core::Limits;
use althing_http::HttpConfig;
use althing_net::local;

async fn say(http: &mut Browser, topic: &str, payload: &str) {
    assert!(http.ask(&format!("POST /topics/{topic}"), &[], payload.to_owned()).await.status.is_success());
}

#[test]
fn last_values_come_first_and_messages_after_them() {
    world(async |world| {
        let mut http = world.http().await;
        http.ask("PUT /topics/a/old", &[], "1").await;
        let mut events = world.http().await.listen("/topics/a/+?filter=b/%23", &[]).await;
        assert!(events.next().await.unwrap().comment.contains("a/+ b/#"));
        let retained = events.event().await;
        assert_eq!(retained.name, "retained");
        assert_eq!(retained.data, r#"{"topic":"a/old","payload":"1","qos":0,"retain":true}"#);
        say(&mut http, "b/c/d", "2").await;
        say(&mut http, "c", "not here").await;
        http.ask("POST /topics/a/x?qos=0", &[("althing-user-property", "unit=C")], "3\n4").await;
        let message = events.event().await;
        assert_eq!((&message.name[..], events_number(&message.id)), ("message", 2));
        let data = r#"{"topic":"a/x","payload":"3\n4","qos":0,"retain":false,"properties":{"user":[["unit","C"]]}}"#;
        assert_eq!(events.event().await.data, data);
    });
}

fn events_number(id: &str) -> u64 {
    id.split_once('.').unwrap().1.parse().unwrap()
}

#[test]
fn a_client_that_was_away_gets_what_came_meanwhile() {
    world(async |world| {
        let mut http = world.http().await;
        let mut events = world.http().await.listen("/topics/a?qos=1", &[]).await;
        for payload in ["1", "2"] {
            say(&mut http, "a", payload).await;
        }
        assert_eq!(events.payload().await, "1");
        let last = events.event().await.id;
        drop(events);
        for payload in ["3", "4"] {
            say(&mut http, "a", payload).await;
        }
        let mut events = world.http().await.listen("/topics/a?qos=1", &[("last-event-id", &last)]).await;
        assert_eq!(events.payload().await, "3");
        assert_eq!(events.payload().await, "4");
        say(&mut http, "a", "5").await;
        let fifth = events.event().await;
        assert_eq!(fifth.id, format!("{}.5", last.split_once('.').unwrap().0));
        // Who says that it has less gets more.
        let id = format!("{}.3", last.split_once('.').unwrap().0);
        let mut again = world.http().await.listen("/topics/a?qos=1", &[("last-event-id", &id)]).await;
        assert_eq!(again.payload().await, "4");
    });
}

#[test]
fn what_is_forgotten_is_told() {
    let config = HttpConfig { event_history_max: 2, ..HttpConfig::default() };
    world_with(Terms { config, ..Terms::default() }, async |world| {
        let mut http = world.http().await;
        let mut events = world.http().await.listen("/topics/a", &[]).await;
        say(&mut http, "a", "1").await;
        let last = events.event().await.id;
        drop(events);
        for payload in ["2", "3", "4", "5"] {
            say(&mut http, "a", payload).await;
        }
        // What was collected before we came back is forgotten but for two; what was not comes whole.
        let mut events = world.http().await.listen("/topics/a", &[("last-event-id", &last)]).await;
        let mut expected = 2;
        loop {
            let event = events.event().await;
            let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
            match &event.name[..] {
                "gap" => expected += data["missed"].as_u64().unwrap(),
                _ => {
                    assert_eq!(data["payload"], expected.to_string());
                    expected += 1;
                }
            }
            if expected == 6 {
                break;
            }
        }
    });
}

#[test]
fn a_stream_that_is_gone_or_of_somebody_else_is_told_and_begun_anew() {
    world_with(Terms { policy: with_secrets(), ..Terms::default() }, async |world| {
        let ann = ("authorization", "Basic YW5uOnJpZ2h0");
        let mut events = world.http().await.listen("/topics/a", &[ann]).await;
        let mut http = world.http().await;
        say(&mut http, "a", "1").await;
        let last = events.event().await.id;
        let other_filter = "/topics/b";
        let never = "00000000000000000000000000000000.1";
        for (path, headers) in [
            ("/topics/a", vec![("last-event-id", &last[..])]),
            (other_filter, vec![("last-event-id", &last[..]), ann]),
            ("/topics/a", vec![("last-event-id", never), ann]),
            ("/topics/a", vec![("last-event-id", "from elsewhere"), ann]),
        ] {
            let mut events = world.http().await.listen(path, &headers).await;
            assert_eq!(events.event().await.name, "gap", "{path} {headers:?}");
        }
        // Nobody has taken it away from its owner.
        say(&mut http, "a", "2").await;
        assert_eq!(events.payload().await, "2");
    });
}

#[test]
fn who_comes_back_takes_the_place_of_the_connection_before() {
    world(async |world| {
        let mut http = world.http().await;
        let mut old = world.http().await.listen("/topics/a", &[]).await;
        say(&mut http, "a", "1").await;
        let last = old.event().await.id;
        let mut new = world.http().await.listen("/topics/a", &[("last-event-id", &last)]).await;
        say(&mut http, "a", "2").await;
        assert_eq!(new.payload().await, "2");
        assert_eq!(old.next().await, None);
    });
}

#[test]
fn nothing_lingers_when_it_is_not_wanted() {
    let config = HttpConfig { event_stream_linger_s: 0, ..HttpConfig::default() };
    world_with(Terms { config, ..Terms::default() }, async |world| {
        let events = world.http().await.listen("/topics/a", &[]).await;
        assert_eq!(local::statistics().subscriptions, 1);
        drop(events);
        while local::statistics().subscriptions > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_quiet_stream_shows_that_it_lives() {
    let config = HttpConfig { event_heartbeat_s: 1, ..HttpConfig::default() };
    world_with(Terms { config, ..Terms::default() }, async |world| {
        let mut events = world.http().await.listen("/topics/a", &[]).await;
        assert!(events.next().await.unwrap().comment.contains("listening"));
        assert_eq!(events.next().await.unwrap(), Default::default());
    });
}

#[test]
fn a_slow_reader_keeps_nobody_waiting_and_hears_of_its_loss() {
    let limits = Limits { stall_ms: 20, ..Limits::default() };
    world_with(Terms { limits, ..Terms::default() }, async |world: World| {
        let mut slow = world.http().await.listen("/topics/big", &[]).await;
        let mut fast = world.http().await.listen("/topics/small", &[]).await;
        let mut http = world.http().await;
        let payload = "x".repeat(100_000);
        let mut published = 0;
        while local::statistics().publishes_dropped == 0 {
            http.ask("POST /topics/big?qos=0", &[], payload.clone()).await;
            published += 1;
            assert!(published < 5_000, "nothing is bounded");
        }
        say(&mut http, "small", "1").await;
        assert_eq!(fast.payload().await, "1");
        let mut events = 0;
        loop {
            let event = slow.event().await;
            if event.name == "gap" {
                assert!(event.data.contains(r#""missed":"#));
                break;
            }
            events += 1;
        }
        assert!(events < published);
        // The stream goes on after the gap.
        say(&mut http, "big", "again").await;
        while slow.event().await.data != r#"{"topic":"big","payload":"again","qos":0,"retain":false}"# {}
    });
}

#[test]
fn the_end_of_the_house_is_told() {
    world(async |world| {
        let mut events = world.http().await.listen("/topics/a", &[]).await;
        events.next().await.unwrap();
        local::close_all(althing_core::Reason::ShuttingDown);
        assert!(events.event().await.data.contains("the stream ends"));
        assert_eq!(events.next().await, None);
    });
}
