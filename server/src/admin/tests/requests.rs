//! What administrators ask for.

use super::world::World;
use crate::admin::api;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// SUBSCRIBE to `a/#` at QoS 1; 6 bytes are answered.
const SUBSCRIBE: &[u8] = b"\x82\x09\x00\x01\x00\x00\x03a/#\x01";
const SUBACK_BYTES: usize = 6;
/// PUBLISH to `a/b`, retained, QoS 0.
const RETAINED: &[u8] = b"\x31\x08\x00\x03a/b\x00hi";
/// PINGREQ, whose answer says that everything before has been heard.
const PING: &[u8] = b"\xc0\x00";

#[test]
fn every_handler_is_in_the_document() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin");
    let files = std::fs::read_dir(folder.join("api")).unwrap().map(|file| file.unwrap().path());
    let sources = files.chain([folder.join("api.rs")]).map(|path| std::fs::read_to_string(path).unwrap());
    let sources: String = sources.collect();
    let document = serde_json::to_value(api::routes().split_for_parts().1).unwrap();
    let operations: usize =
        document["paths"].as_object().unwrap().values().map(|it| it.as_object().unwrap().len()).sum();
    assert_eq!(operations, sources.matches("#[utoipa::path(").count(), "a handler without its routes!");
    assert!(!sources.contains(".route("), "a route that the document does not know");
    assert!(operations > 25, "{operations}");
}

#[test]
fn the_document_is_served_and_names_its_parts() {
    let world = World::start();
    let document = world.ask("GET", "/api/v1/openapi.json", "").json();
    assert!(document["paths"]["/api/v1/clients/{client}"]["delete"].is_object());
    assert!(document["components"]["schemas"]["Session"].is_object(), "{document}");
}

#[test]
fn whoever_owns_the_directory_needs_no_token() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::start();
    assert_eq!(world.ask_by_socket("/api/v1/server").status, 200);
    let mode = std::fs::metadata(world.directory.join("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn sessions_are_seen_ended_and_gone() {
    let world = World::start();
    let mut client = world.mqtt("sub/1", SUBSCRIBE, SUBACK_BYTES);
    let seen = world.ask("GET", "/api/v1/clients?prefix=sub", "").json();
    assert_eq!((&seen["items"][0]["client"], &seen["items"][0]["subscriptions"]), (&json!("sub/1"), &json!(1)));
    let seen = world.ask("GET", "/api/v1/subscriptions?client=sub/1", "").json();
    assert_eq!(seen["items"][0]["filter"], "a/#");
    assert_eq!(world.ask("GET", "/api/v1/clients/sub%2F1", "").json()["protocol"], "mqtt");
    assert_eq!(world.ask("DELETE", "/api/v1/clients/sub%2F1", "").status, 200);
    // The connection has ended.
    client.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(world.ask("DELETE", "/api/v1/clients/sub%2F1", "").status, 404);
    assert_eq!(world.ask("GET", "/api/v1/sessions/sub%2F1", "").json()["connected"], false);
    assert_eq!(world.ask("DELETE", "/api/v1/sessions/sub%2F1", "").status, 200);
    assert_eq!(world.ask("GET", "/api/v1/sessions", "").json()["items"], json!([]));
}

#[test]
fn lists_are_paged_and_sorted_by_the_server() {
    let world = World::start();
    let _clients: Vec<TcpStream> = (0..7).map(|number| world.mqtt(&format!("c{number}"), b"", 0)).collect();
    let names = |path: &str| {
        let page = world.ask("GET", path, "").json();
        let items = page["items"].as_array().unwrap().iter();
        let names: Vec<String> = items.map(|item| item["client"].as_str().unwrap().to_owned()).collect();
        (names.join(" "), page["next"].as_str().map(str::to_owned), page["total"].as_u64())
    };
    assert_eq!(names("/api/v1/sessions?sort=-client&limit=3"), ("c6 c5 c4".into(), None, Some(7)));
    assert_eq!(names("/api/v1/sessions?sort=client&limit=3&offset=5"), ("c5 c6".into(), None, Some(7)));
    let (mut all, mut path) = (Vec::new(), "/api/v1/sessions?limit=3".to_owned());
    loop {
        let (page, next, _) = names(&path);
        all.push(page);
        let Some(next) = next else { break };
        path = format!("/api/v1/sessions?limit=3&cursor={next}");
    }
    assert_eq!(all.join(" ").split_whitespace().count(), 7);
    for wrong in
        ["limit=0", "limit=1001", "limit=x", "sort=colour", "offset=1", "cursor=x", "sort=client&offset=999999"]
    {
        let answer = world.ask("GET", &format!("/api/v1/sessions?{wrong}"), "");
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.head.contains("application/problem+json"), "{answer:?}");
        assert!(!answer.json()["detail"].as_str().unwrap().is_empty(), "{wrong}");
    }
}

#[test]
fn last_values_are_seen_and_removed() {
    let world = World::start();
    let _client = world.mqtt("p", &[RETAINED, PING].concat(), 2);
    assert_eq!(world.ask("GET", "/api/v1/retained/value?topic=a/b", "").json()["text"], "hi");
    let dry = world.ask("DELETE", "/api/v1/retained?filter=a/%2B&dry_run=true", "").json();
    assert_eq!((&dry["matched"], &dry["removed"], &dry["topics"]), (&json!(1), &json!(0), &json!(["a/b"])));
    let grown = world.ask("DELETE", "/api/v1/retained?filter=a/%2B&count=0", "");
    assert_eq!(grown.status, 409, "there is more than was said: {grown:?}");
    assert_eq!(world.ask("DELETE", "/api/v1/retained?filter=a/%2B&count=1", "").json()["removed"], 1);
    assert_eq!(world.ask("GET", "/api/v1/retained?filter=a/%23", "").json()["items"], json!([]));
    assert_eq!(world.ask("DELETE", "/api/v1/retained", "").status, 400, "a filter has to be said");
}

#[test]
fn metrics_are_openmetrics_and_name_nobody() {
    let world = World::start();
    let _client = world.mqtt("a-name-that-a-peer-chose", &[SUBSCRIBE, RETAINED].concat(), SUBACK_BYTES + 10);
    let answer = world.request("GET", "/metrics", &[], "");
    assert!(answer.head.contains("application/openmetrics-text"), "{answer:?}");
    for line in [
        "althing_clients 1.0",
        "althing_connections{listener=\"mqtt\",protocol=\"mqtt\"} 1.0",
        "althing_publishes_received_total{listener=\"mqtt\",protocol=\"mqtt\",qos=\"0\"} 1.0",
        "althing_publishes_sent_total{listener=\"mqtt\",protocol=\"mqtt\",qos=\"0\"} 1.0",
        "althing_delivery_latency_seconds_count{qos=\"0\"} 1",
    ] {
        assert!(answer.body.lines().any(|it| it == line), "{line} is missing in\n{}", answer.body);
    }
    assert!(answer.body.ends_with("# EOF\n") && !answer.body.contains("a-name-that"), "{}", answer.body);
    let allowed = ["listener", "protocol", "qos", "reason", "le", "version", "role", "file"];
    for line in answer.body.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, labels)) = line.split_once('{') else { continue };
        for label in labels.split("\",").map(|label| label.split('=').next().unwrap().trim_start_matches(',')) {
            assert!(allowed.contains(&label), "{line}");
        }
    }
}

#[test]
fn users_come_change_and_go() {
    let world = World::start();
    let names = || {
        let users = world.ask("GET", "/api/v1/users", "").json();
        users.as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["ann", "bob"]);
    assert_eq!(world.ask("PUT", "/api/v1/users/eve", "{}").status, 409, "a password is needed");
    let made = world.ask("PUT", "/api/v1/users/eve", r#"{"password":"x","groups":["g"],"scram":false}"#);
    assert_eq!(made.json(), json!({"name": "eve", "groups": ["g"], "scram": false}));
    assert_eq!(world.ask("PUT", "/api/v1/users/eve", r#"{"groups":[]}"#).json()["groups"], json!([]));
    assert_eq!(world.ask("DELETE", "/api/v1/users/eve", "").status, 204);
    assert_eq!(world.ask("DELETE", "/api/v1/users/eve", "").status, 404);
    assert_eq!(names(), ["ann", "bob"]);
}

#[test]
fn definitions_go_out_and_come_in() {
    let world = World::start();
    let rules = r#"{"rules":[{"user":"ann","topic":"a/%u","allow":true}]}"#;
    assert_eq!(world.ask("PUT", "/api/v1/rules", rules).status, 200);
    assert_eq!(world.ask("PUT", "/api/v1/bans", r#"{"networks":["192.0.2.0/24"]}"#).status, 200);
    let definitions = world.ask("GET", "/api/v1/definitions", "");
    assert_eq!(definitions.json()["rules"][0]["topic"], "a/%u");
    assert_eq!(definitions.json()["users"].as_array().unwrap().len(), 2);
    assert_eq!(world.ask("DELETE", "/api/v1/users/ann", "").status, 204);
    assert_eq!(world.ask("PUT", "/api/v1/definitions", &definitions.body).json()["users"], 2);
    assert_eq!(world.ask("GET", "/api/v1/definitions", "").json(), definitions.json());
    for wrong in [
        r#"{"version":9}"#,
        r#"{"version":1,"rules":[{"topic":"a"}]}"#,
        r#"{"version":1,"users":["nonsense"],"rules":[]}"#,
        r#"{"version":1,"bans":{"networks":["x"]},"rules":[]}"#,
    ] {
        assert_eq!(world.ask("PUT", "/api/v1/definitions", wrong).status, 400, "{wrong}");
    }
    assert_eq!(world.ask("GET", "/api/v1/definitions", "").json(), definitions.json());
}

#[test]
fn a_decision_is_explained() {
    let world = World::start();
    let decided = world.ask("GET", "/api/v1/rules/explain?action=publish&topic=$SYS/x&user=ann", "").json();
    assert_eq!((&decided["allowed"], &decided["because"]), (&json!(false), &json!("the broker alone speaks under $")));
    assert_eq!(world.ask("GET", "/api/v1/rules/explain?action=subscribe&topic=a/%23", "").json()["allowed"], true);
    assert_eq!(world.ask("GET", "/api/v1/rules/explain?action=dance&topic=a", "").status, 400);
}

#[test]
fn a_trace_shows_one_client_until_its_time_is_over() {
    let world = World::start();
    let mut reader = TcpStream::connect(world.http).unwrap();
    let sent = format!(
        "GET /api/v1/trace?client=watched&seconds=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        world.token
    );
    reader.write_all(sent.as_bytes()).unwrap();
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(r#""details":"for 1 s""#)), "the trace has begun");
    let _other = world.mqtt("other", &[RETAINED, PING].concat(), 2);
    let _watched = world.mqtt("watched", &[SUBSCRIBE, PING].concat(), SUBACK_BYTES + 12);
    // Ends by itself.
    let rest: String = lines.collect();
    for word in [r#""what":"connect""#, r#""what":"subscribe""#, r#""what":"deliver""#, r#""topic":"a/b""#] {
        assert!(rest.contains(word), "{word} is missing in {rest}");
    }
    assert!(!rest.contains("other"), "{rest}");
    assert_eq!(world.ask("GET", "/api/v1/trace", "").status, 400, "something has to be said");
}

#[test]
fn a_code_from_the_consoles_address_lets_a_browser_in_once() {
    let world = World::start();
    let url = world.ask("POST", "/api/v1/console", "").json()["url"].as_str().unwrap().to_owned();
    let (place, code) = url.split_once("/#code=").unwrap();
    assert_eq!(place, format!("http://{}", world.web));
    let body = json!({ "code": code }).to_string();
    let login = world.request("POST", "/api/v1/session/code", &[], &body);
    let cookie = login.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let whoami = world.request("GET", "/api/v1/session", &[&cookie], "").json();
    assert_eq!(whoami, json!({"by": "user", "username": "console"}));
    assert_eq!(world.ask("GET", "/api/v1/session", "").json(), json!({"by": "token"}));
    let again = world.request("POST", "/api/v1/session/code", &[], &body);
    assert_eq!((again.status, world.admin.logins.failed_total()), (401, 1), "it was used");
    let foreign = world.request("POST", "/api/v1/session/code", &["Origin: http://evil.example"], &body);
    assert_eq!(foreign.status, 403);
}
