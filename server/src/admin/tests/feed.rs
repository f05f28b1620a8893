//! What a page that stays open is told.

use super::world::{World, answer};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// PINGREQ, whose answer says that everything before has been heard.
const PING: &[u8] = b"\xc0\x00";
const PINGRESP_BYTES: usize = 2;

/// A page that reads its feed.
struct Page<'a> {
    world: &'a World,
    lines: Box<dyn Iterator<Item = String>>,
    id: String,
}

impl<'a> Page<'a> {
    fn open(world: &'a World) -> Self {
        let mut lines: Box<dyn Iterator<Item = String>> =
            Box::new(BufReader::new(ask(world)).lines().map_while(Result::ok));
        let hello = next(&mut lines, "hello", |_| true);
        Self { world, lines, id: hello["id"].as_str().unwrap().to_owned() }
    }

    fn look(&self, change: &Value) {
        let answer = self.world.ask("POST", &format!("/api/v1/feed/{}", self.id), &change.to_string());
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// The next event of that name that is as it should be.
    fn until(&mut self, name: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        next(&mut self.lines, name, is_right)
    }

    /// The id of a row.
    fn id_of(tree: &Value, name: &str) -> u64 {
        let rows = tree["rows"].as_array().unwrap().iter();
        rows.filter(|row| row["name"] == name).find_map(|row| row["id"].as_u64()).unwrap()
    }

    fn names(tree: &Value) -> Vec<&str> {
        tree["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
    }
}

fn ask(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(world.web).unwrap();
    let token = &world.token;
    write!(stream, "GET /api/v1/feed HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    stream
}

fn next(lines: &mut impl Iterator<Item = String>, name: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let event = format!("event: {name}");
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("the feed is over before the {name} that was waited for"));
        if line != event {
            continue;
        }
        let data = lines.next().unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        if is_right(&data) {
            return data;
        }
    }
}

/// PUBLISH at QoS 0.
fn publish(topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
    let length = 2 + topic.len() + 1 + payload.len();
    let mut packet = vec![0x30 | u8::from(retain)];
    let mut left = length;
    while left >= 128 {
        packet.push((left % 128) as u8 | 0x80);
        left /= 128;
    }
    packet.push(left as u8);
    packet.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    packet.push(0);
    packet.extend_from_slice(payload);
    packet
}

/// A client that has published all of these.
fn published(world: &World, client: &str, messages: &[(&str, &[u8], bool)]) -> TcpStream {
    let mut packets = Vec::new();
    messages.iter().for_each(|(topic, payload, retain)| packets.extend(publish(topic, payload, *retain)));
    packets.extend_from_slice(PING);
    world.mqtt(client, &packets, PINGRESP_BYTES)
}

#[test]
fn an_overview_says_how_the_broker_is() {
    let world = World::start();
    let _client = world.mqtt("c", b"", 0);
    let mut page = Page::open(&world);
    let overview = page.until("overview", |it| it["connections"]["mqtt"] == 1);
    assert_eq!((&overview["sessions"], &overview["store"]["has_room"]), (&json!(1), &json!(true)));
    assert_eq!(overview["listeners"][0]["protocol"], "mqtt");
    assert_eq!(overview["warnings"], json!([]), "nobody else can reach it");
    assert!(overview["rss_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn the_tree_shows_what_is_open_and_in_sight() {
    let world = World::start();
    let _before = published(&world, "p", &[("old/kept", b"value", true), ("old/gone", b"x", false)]);
    let mut page = Page::open(&world);
    page.look(&json!({"first": 0, "count": 10}));
    // What was retained is known although it came before.
    let tree = page.until("tree", |tree| Page::names(tree) == ["old"]);
    let old = Page::id_of(&tree, "old");
    page.look(&json!({"open": [old]}));
    let tree = page.until("tree", |tree| Page::names(tree) == ["old", "kept"]);
    let row = &tree["rows"][1];
    assert_eq!((&row["topic"], &row["depth"], &row["retained"]), (&json!("old/kept"), &json!(1), &json!(true)));
    assert_eq!((&row["last"]["text"], &row["last"]["at_ms"]), (&json!("value"), &Value::Null));
    let _now = published(&world, "q", &[("new/b", b"\xff", false), ("new/a", b"2", false), ("new/a", b"3", false)]);
    let tree = page.until("tree", |tree| tree["rows_total"] == 3);
    assert_eq!(Page::names(&tree), ["new", "old", "kept"]);
    assert_eq!((&tree["rows"][0]["count"], &tree["rows"][0]["topics"]), (&json!(3), &json!(2)));
    page.look(&json!({"open": [Page::id_of(&tree, "new")], "first": 1, "count": 3}));
    let tree = page.until("tree", |tree| tree["first"] == 1 && tree["rows_total"] == 5);
    assert_eq!(Page::names(&tree), ["a", "b", "old"]);
    let (a, b) = (&tree["rows"][0]["last"], &tree["rows"][1]["last"]);
    assert_eq!((&a["text"], &a["client"], &a["protocol"]), (&json!("3"), &json!("q"), &json!("mqtt")));
    assert_eq!((&b["base64"], &b["text"]), (&json!("/w=="), &Value::Null));
    assert!(a["at_ms"].as_u64().is_some());
    page.look(&json!({"close": [old], "first": 0, "count": 2}));
    assert_eq!(Page::names(&page.until("tree", |tree| tree["rows_total"] == 4)), ["new", "a"]);
}

#[test]
fn topics_are_found_by_part_and_by_filter() {
    let world = World::start();
    let mut page = Page::open(&world);
    let _client = published(
        &world,
        "p",
        &[("house/kitchen/temp", b"1", false), ("house/hall/temp", b"2", false), ("house/hall/door", b"3", false)],
    );
    page.look(&json!({"count": 10, "search": "TEMP"}));
    let tree = page.until("tree", |tree| tree["rows_total"] == 2);
    assert_eq!(Page::names(&tree), ["house/hall/temp", "house/kitchen/temp"]);
    page.look(&json!({"search": "", "filter": "house/hall/+"}));
    page.until("tree", |tree| Page::names(tree) == ["house/hall/door", "house/hall/temp"]);
    // What comes later is found too.
    let _later = published(&world, "q", &[("house/hall/light", b"on", false)]);
    page.until("tree", |tree| tree["rows_total"] == 3);
    page.look(&json!({"filter": ""}));
    page.until("tree", |tree| tree["rows"][0]["name"] == "house");
    for wrong in [r##"{"filter":"a/#/b"}"##, r#"{"count":501}"#] {
        assert_eq!(world.ask("POST", &format!("/api/v1/feed/{}", page.id), wrong).status, 400, "{wrong}");
    }
}

#[test]
fn every_value_of_the_selected_topic_is_told_or_counted() {
    let world = World::start();
    let mut page = Page::open(&world);
    let _before = published(&world, "p", &[("s", b"kept", true)]);
    page.look(&json!({"selected": "s"}));
    assert_eq!(page.until("value", |_| true)["text"], "kept");
    let long = vec![b'x'; 5_000];
    let messages = [("s", &b"1"[..], false), ("s", b"2", false), ("other", b"3", false), ("s", &long, false)];
    let _client = published(&world, "q", &messages);
    let (mut told, mut last) = (0, Value::Null);
    while told < 3 {
        last = page.until("value", |_| true);
        told += 1 + last["left_out"].as_u64().unwrap();
    }
    assert_eq!((told, &last["bytes"], &last["truncated"]), (3, &json!(5_000), &json!(false)), "more is kept of it");
}

#[test]
fn a_bomb_of_topics_is_bounded_and_said() {
    let world = World::start_with(&[
        "stomp.enabled=false",
        "coap.enabled=false",
        "coap-tcp.enabled=false",
        "console.topics_max=1000",
    ]);
    let mut page = Page::open(&world);
    page.look(&json!({"count": 500, "first": 700}));
    let mut packets = Vec::new();
    (0..5_000).for_each(|number| packets.extend(publish(&format!("bomb{number}"), b"x", false)));
    packets.extend_from_slice(PING);
    let _client = world.mqtt("p", &packets, PINGRESP_BYTES);
    let tree = page.until("tree", |tree| tree["capped"] == true && tree["rows_total"] == 1_000);
    assert_eq!((&tree["topics_total"], Page::names(&tree).len()), (&json!(1_000), 300));
    let overview = page.until("overview", |it| it["warnings"] != json!([]));
    assert!(overview["warnings"].to_string().contains("console.topics_max"), "{overview}");
}

#[test]
fn topics_are_watched_only_while_somebody_looks() {
    let world = World::start();
    let is_watching = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(world.admin.shard.run(|inside| inside.broker().watched_topics().is_some())).unwrap()
    };
    assert!(!is_watching());
    let first = Page::open(&world);
    let second = Page::open(&world);
    assert!(is_watching());
    drop(first);
    drop(second);
    while is_watching() {
        std::thread::yield_now();
    }
    let mut again = Page::open(&world);
    again.look(&json!({"count": 1}));
    again.until("tree", |tree| tree["topics_total"] == 0);
}

#[test]
fn a_page_that_does_not_read_is_let_go_and_others_go_on() {
    let world = World::start();
    let mut reader = Page::open(&world);
    let unread = ask(&world);
    let mut lines: Vec<u8> = Vec::new();
    let mut reader_of_unread = BufReader::with_capacity(64, &unread);
    while !String::from_utf8_lossy(&lines).contains("data: ") {
        reader_of_unread.read_until(b'\n', &mut lines).unwrap();
    }
    let text = String::from_utf8_lossy(&lines).into_owned();
    let id = text.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    // Much is told, and nothing is read of it.
    let big = "x".repeat(60_000);
    let change = json!({"selected": "s"}).to_string();
    assert_eq!(world.ask("POST", &format!("/api/v1/feed/{id}"), &change).status, 204);
    let mut number = 0;
    while world.ask("POST", &format!("/api/v1/feed/{id}"), "{}").status == 204 {
        number += 1;
        drop(published(&world, "p", &[("s", format!("{big}{number}").as_bytes(), false)]));
    }
    reader.look(&json!({"count": 1}));
    reader.until("tree", |tree| tree["rows"][0]["name"] == "s");
    drop(unread);
}

#[test]
fn there_are_never_too_many_feeds() {
    let world = World::start();
    let pages: Vec<Page> = (0..16).map(|_| Page::open(&world)).collect();
    assert_eq!(world.ask("GET", "/api/v1/feed", "").status, 429);
    drop(pages);
    while world.admin.feeds.count() == 16 {
        std::thread::yield_now();
    }
    Page::open(&world);
}

#[test]
fn the_console_comes_from_the_port_of_http_with_its_policy() {
    let world = World::start();
    let mut stream = TcpStream::connect(world.web).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let answer = answer(&text);
    assert_eq!(answer.status, 200, "{answer:?}");
    for line in ["content-type: text/html", "frame-ancestors 'none'", "x-content-type-options: nosniff", "etag: "] {
        assert!(answer.head.contains(line), "{line} is missing in {}", answer.head);
    }
}
