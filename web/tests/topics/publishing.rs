//! Last values, publishing, and what is refused.

use crate::world::{Terms, with_secrets, world, world_with};
use althing_core::Limits;
use serde_json::Value;

#[test]
fn a_value_is_kept_read_and_cleared() {
    world(async |world| {
        let mut http = world.http().await;
        let put = http.ask("PUT /topics/home/temperature", &[("content-type", "text/plain")], "21.5").await;
        assert_eq!((put.status.as_u16(), put.header("althing-matched")), (204, "false"));
        let got = http.get("/topics/home/temperature").await;
        assert_eq!((got.status.as_u16(), got.text()), (200, "21.5"));
        assert_eq!((got.header("content-type"), got.header("althing-qos")), ("text/plain", "1"));
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        assert!(got.header("content-security-policy").contains("sandbox"));

        let head = http.ask("HEAD /topics/home/temperature", &[], "").await;
        assert_eq!((head.text(), head.header("content-length"), head.header("etag")), ("", "4", got.header("etag")));
        let known = http.ask("GET /topics/home/temperature", &[("if-none-match", got.header("etag"))], "").await;
        assert_eq!((known.status.as_u16(), known.text(), known.header("etag")), (304, "", got.header("etag")));

        assert_eq!(http.ask("DELETE /topics/home/temperature", &[], "").await.status, 204);
        let gone = http.get("/topics/home/temperature").await;
        assert_eq!((gone.status.as_u16(), gone.header("content-type")), (404, "application/problem+json"));
    });
}

#[test]
fn a_change_is_made_to_the_value_that_is_meant() {
    world(async |world| {
        let mut http = world.http().await;
        let first = http.ask("PUT /topics/a", &[("if-none-match", "*")], "1").await;
        assert_eq!(first.status, 204);
        assert_eq!(http.ask("PUT /topics/a", &[("if-none-match", "*")], "2").await.status, 412);
        let second = http.ask("PUT /topics/a", &[("if-match", first.header("etag"))], "2").await;
        assert_eq!(second.status, 204);
        assert_eq!(http.ask("PUT /topics/a", &[("if-match", first.header("etag"))], "3").await.status, 412);
        assert_eq!(http.ask("DELETE /topics/a", &[("if-match", first.header("etag"))], "").await.status, 412);
        assert_eq!(http.get("/topics/a").await.text(), "2");
    });
}

#[test]
fn of_many_who_change_one_value_one_wins_each_time() {
    world(async |world| {
        let tag = world.http().await.ask("PUT /topics/a", &[], "0").await.header("etag").to_owned();
        let mut racers = Vec::new();
        for number in 0..8 {
            let (mut http, tag) = (world.http().await, tag.clone());
            let race = async move {
                http.ask("PUT /topics/a", &[("if-match", &tag)], format!("by {number}")).await.status.as_u16()
            };
            racers.push(tokio::spawn(race));
        }
        let mut statuses = Vec::new();
        for racer in racers {
            statuses.push(racer.await.unwrap());
        }
        assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7);
    });
}

#[test]
fn a_success_leaves_when_the_message_is_durable() {
    world(async |world| {
        world.set_slow(true);
        let mut slow = world.http().await;
        let waiting = tokio::spawn(async move { slow.ask("PUT /topics/a", &[], "1").await.status.as_u16() });
        // It is published, and others are served.
        let mut http = world.http().await;
        while http.get("/topics/a").await.status == 404 {}
        assert!(!waiting.is_finished());
        // Nothing was promised, so nothing is waited for.
        assert_eq!(http.ask("POST /topics/b?qos=0", &[], "1").await.status, 202);
        assert!(!waiting.is_finished());
        world.set_slow(false);
        http.ask("PUT /topics/c", &[], "1").await;
        assert_eq!(waiting.await.unwrap(), 204);
    });
}

#[test]
fn refusals_have_their_status_and_a_sentence() {
    let limits = Limits { packet_bytes_max: 1_000, ..Limits::default() };
    world_with(Terms { limits, policy: with_secrets(), ..Terms::default() }, async |world| {
        let mut http = world.http().await;
        let ann = ("authorization", "Basic YW5uOnJpZ2h0");
        let wrong = ("authorization", "Basic YW5uOndyb25n");
        assert_eq!(http.ask("PUT /topics/secret/a", &[ann], "1").await.status, 204);
        assert_eq!(http.ask("GET /topics/secret/a", &[ann], "").await.text(), "1");
        for (line, headers, body, status, word) in [
            ("PUT /topics/secret/a", vec![], "", 403, "not publish"),
            ("GET /topics/secret/a", vec![], "", 403, ""),
            ("GET /topics/secret/a", vec![wrong], "", 401, "password"),
            ("GET /topics/secret/%23", vec![("accept", "text/event-stream")], "", 403, ""),
            ("GET /topics/secret/a?wait=1", vec![], "", 403, ""),
            ("PUT /topics/$SYS/a", vec![], "1", 403, ""),
            ("PUT /topics/a%2Fb", vec![], "1", 400, "slash inside a level"),
            ("PUT /topics/a%00", vec![], "1", 400, "U+0000"),
            ("PUT /topics/a/+", vec![], "1", 400, "wildcards"),
            ("PUT /topics/a/..%2f..%2fetc", vec![], "1", 400, ""),
            ("PUT /topics/a/%2e%2e/b", vec![], "1", 400, "resolve"),
            ("GET /topics/a/%23", vec![], "", 400, "text/event-stream"),
            ("PATCH /topics/a", vec![], "", 405, "PUT"),
            ("GET /topics/", vec![], "", 404, "/topics/LEVEL"),
            ("GET /topics/a?wiat=1", vec![], "", 400, "?wiat="),
            ("POST /topics/a", vec![("althing-qos", "3")], "", 400, "0, 1 or 2"),
            ("POST /topics/a", vec![], &"x".repeat(1_001), 413, "1000"),
        ] {
            let mut http = world.http().await;
            let heard = http.ask(line, &headers, body.to_owned()).await;
            let problem: Value = serde_json::from_str(heard.text()).unwrap();
            assert_eq!(heard.status.as_u16(), status, "{line}: {problem}");
            assert_eq!(
                (problem["status"].as_u64(), heard.header("content-type")),
                (Some(status.into()), "application/problem+json")
            );
            assert!(problem["detail"].as_str().unwrap().contains(word), "{line}: {problem}");
            assert_eq!(heard.headers.contains_key("www-authenticate"), status == 401, "{line}");
        }
        world.set_full();
        http.get("/topics/a").await;
        let full = http.ask("PUT /topics/a", &[], "1").await;
        assert_eq!((full.status.as_u16(), full.header("retry-after")), (507, "10"));
    });
}

#[test]
fn a_batch_is_carried_out_in_order_each_for_itself() {
    world(async |world| {
        let mut things = world.mqtt(&["b/#"]).await;
        let mut http = world.http().await;
        let body = r#"[{"topic":"b/1","payload":"x","retain":true},{"topic":"b/+"},{"topic":"b/2","qos":0}]"#;
        let heard = http.ask("POST /topics:batch", &[], body).await;
        assert_eq!(heard.status, 207);
        let answer: Value = serde_json::from_str(heard.text()).unwrap();
        assert_eq!((answer["accepted"].as_u64(), answer["refused"].as_u64()), (Some(2), Some(1)));
        let statuses: Vec<u64> =
            answer["results"].as_array().unwrap().iter().map(|result| result["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, [204, 400, 202]);
        for topic in ["b/1", "b/2"] {
            assert_eq!(things.message().await.topic.unwrap().as_str(), topic);
        }
        let lines: String = (0..3_000).map(|number| format!("{{\"topic\":\"b/{number}\"}}\n")).collect();
        assert_eq!(http.ask("POST /topics:batch", &[], lines).await.status, 200);
        for number in 0..3_000 {
            assert_eq!(things.message().await.topic.unwrap().as_str(), format!("b/{number}"));
        }
    });
}
