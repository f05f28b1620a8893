//! Messages one by one, questions, and requests that are repeated.

use crate::world::{Browser, Terms, world, world_with};
use althing_http::HttpConfig;
use althing_net::local;
use serde_json::Value;

async fn say(http: &mut Browser, topic: &str, payload: &str) {
    assert!(http.ask(&format!("POST /topics/{topic}"), &[], payload.to_owned()).await.status.is_success());
}

/// Waits until somebody listens.
async fn somebody_listens(subscriptions: u64) {
    while local::statistics().subscriptions < subscriptions {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_poll_waits_for_the_next_message() {
    world(async |world| {
        let mut http = world.http().await;
        http.ask("PUT /topics/a/old", &[], "old").await;
        let mut patient = world.http().await;
        let poll = tokio::spawn(async move { patient.get("/topics/a/+?wait=60").await });
        somebody_listens(1).await;
        say(&mut http, "a/b", "new").await;
        let heard = poll.await.unwrap();
        assert_eq!((heard.text(), heard.header("content-location")), ("new", "/topics/a/b"));
        assert_eq!(http.get("/topics/a/b?wait=0").await.status, 204);
    });
}

#[test]
fn a_poll_that_says_what_it_has_hears_of_what_is_different() {
    world(async |world| {
        let mut http = world.http().await;
        let tag = http.ask("PUT /topics/a", &[], "1").await.header("etag").to_owned();
        assert_eq!(http.ask("GET /topics/a?wait=0", &[("if-none-match", &tag)], "").await.status, 204);
        http.ask("PUT /topics/a", &[], "2").await;
        let heard = http.ask("GET /topics/a?wait=60", &[("if-none-match", &tag)], "").await;
        assert_eq!((heard.text(), heard.header("althing-retain")), ("2", "true"));
    });
}

#[test]
fn a_sequence_of_polls_misses_nothing() {
    world(async |world| {
        let mut http = world.http().await;
        let first = http.get("/topics/a/%23?wait=0&after=").await;
        assert_eq!(first.status, 204);
        let mut id = first.header("althing-event-id").to_owned();
        for payload in ["1", "2", "3"] {
            say(&mut http, "a/b", payload).await;
        }
        for payload in ["1", "2", "3"] {
            let heard = http.get(&format!("/topics/a/%23?wait=60&after={id}")).await;
            assert_eq!(heard.text(), payload);
            id = heard.header("althing-event-id").to_owned();
        }
        assert_eq!(http.get(&format!("/topics/a/%23?wait=0&after={id}")).await.status, 204);
        // A repeat is answered as before.
        let before = id.replace(".3", ".2");
        assert_eq!(http.get(&format!("/topics/a/%23?wait=0&after={before}")).await.text(), "3");
        let gone = http.get("/topics/a?wait=0&after=00000000000000000000000000000000.1").await;
        assert_eq!(gone.status, 410);
    });
}

#[test]
fn what_a_poll_takes_from_a_queue_nobody_else_gets() {
    world(async |world| {
        let mut http = world.http().await;
        for payload in ["1", "2"] {
            say(&mut http, "$queue/jobs", payload).await;
        }
        let mut other = world.http().await;
        assert_eq!(http.get("/topics/$queue/jobs?wait=60").await.text(), "1");
        assert_eq!(other.get("/topics/$queue/jobs?wait=60").await.text(), "2");
        assert_eq!(other.get("/topics/$queue/jobs?wait=0").await.status, 204);
    });
}

#[test]
fn a_question_is_answered_by_whoever_listens() {
    world(async |world| {
        let mut http = world.http().await;
        assert_eq!(http.ask("POST /request/light", &[], "on?").await.status, 404);
        let mut things = world.mqtt(&["light"]).await;
        let headers = [("althing-correlation-data", "AAE="), ("content-type", "text/plain")];
        let mut asker = world.http().await;
        let asking = tokio::spawn(async move { asker.ask("POST /request/light", &headers, "on?").await });
        let question = things.message().await;
        let properties = question.properties.unwrap();
        assert_eq!(
            (&question.payload[..], properties.correlation_data.as_deref()),
            (&b"on?"[..], Some(&b"\0\x01"[..]))
        );
        let topic = properties.response_topic.clone().unwrap();
        let mut answer = things.answer(topic, "yes");
        // One that belongs to another question comes first.
        let mut wrong = answer.clone();
        wrong.properties = Some(wrong_properties().into());
        things.publish(wrong).await;
        let mut said = (*properties).clone();
        (said.response_topic, said.content_type) = (None, Some("text/x-answer".into()));
        answer.properties = Some(said.into());
        things.publish(answer).await;
        let heard = asking.await.unwrap();
        assert_eq!((heard.status.as_u16(), heard.text(), heard.header("content-type")), (200, "yes", "text/x-answer"));
        assert_eq!(heard.header("althing-correlation-data"), "AAE=");
        let late = http.ask("POST /request/light?wait=0", &[], "on?").await;
        assert_eq!(late.status, 504);
    });
}

fn wrong_properties() -> althing_core::Properties {
    althing_core::Properties { correlation_data: Some("other".into()), ..Default::default() }
}

#[test]
fn a_survey_collects_answers() {
    world(async |world| {
        let mut things = world.mqtt(&["light"]).await;
        let mut asker = world.http().await;
        let asking = tokio::spawn(async move { asker.ask("POST /request/light?answers=2&wait=60", &[], "on?").await });
        let topic = things.message().await.properties.unwrap().response_topic.clone().unwrap();
        for payload in ["1", "2"] {
            let answer = things.answer(topic.clone(), payload);
            things.publish(answer).await;
        }
        let answers: Value = serde_json::from_str(asking.await.unwrap().text()).unwrap();
        assert_eq!((&answers[0]["payload"], &answers[1]["payload"]), (&"1".into(), &"2".into()));
    });
}

#[test]
fn a_repeated_request_is_carried_out_once() {
    world(async |world| {
        let mut things = world.mqtt(&["a"]).await;
        let mut http = world.http().await;
        let key = [("idempotency-key", "3f2a")];
        let first = http.ask("POST /topics/a", &key, "1").await;
        assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (204, ""));
        let again = http.ask("POST /topics/a", &key, "1").await;
        assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (204, "true"));
        assert_eq!(again.header("althing-matched"), first.header("althing-matched"));
        assert_eq!(http.ask("POST /topics/a", &key, "2").await.status, 422);
        say(&mut http, "a", "3").await;
        assert_eq!(things.message().await.payload, "1");
        assert_eq!(things.message().await.payload, "3");
    });
}

#[test]
fn a_request_whose_answer_was_lost_is_carried_out_once() {
    world(async |world| {
        let mut things = world.mqtt(&["a"]).await;
        world.set_slow(true);
        let mut hasty = world.http().await;
        let key = [("idempotency-key", "3f2a")];
        let asking = tokio::spawn(async move { hasty.ask("PUT /topics/a", &key, "1").await.status });
        // Its session stands when it is durable, and so not before.
        let mut http = world.http().await;
        while http.ask("PUT /topics/a", &key, "1").await.status != 409 {}
        asking.abort();
        world.set_slow(false);
        loop {
            let heard = http.ask("PUT /topics/a", &key, "1").await;
            if heard.status != 409 {
                assert_eq!((heard.status.as_u16(), heard.header("idempotency-replayed")), (204, "true"));
                break;
            }
        }
        say(&mut http, "a", "2").await;
        assert_eq!(things.message().await.payload, "1");
        assert_eq!(things.message().await.payload, "2");
    });
}

#[test]
fn the_broker_remembers_a_key_that_we_have_forgotten() {
    let config = HttpConfig { idempotency_remembered_s: 600, ..HttpConfig::default() };
    world_with(Terms { config, ..Terms::default() }, async |world| {
        let mut things = world.mqtt(&["a"]).await;
        let key = [("idempotency-key", "3f2a")];
        let batch = r#"[{"topic":"a","payload":"1"},{"topic":"a","payload":"2"}]"#;
        let mut http = world.http().await;
        assert_eq!(http.ask("POST /topics:batch", &key, batch).await.status, 200);
        // As after a restart: the other entrance shares nothing with this one but the broker.
        let mut other = world.other_entrance().await;
        let again = other.ask("POST /topics:batch", &key, batch).await;
        assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (200, ""));
        say(&mut http, "a", "3").await;
        for payload in ["1", "2", "3"] {
            assert_eq!(things.message().await.payload, payload);
        }
    });
}
