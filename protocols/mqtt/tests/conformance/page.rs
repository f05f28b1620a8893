//! The page `docs/conformance/mqtt.md`: what the lists of statements say, checked against the tests that they name.

use althing_testkit::conformance::{List, Page};

const PAGE: Page = Page {
    path: "docs/conformance/mqtt.md",
    head: HEAD,
    subject: "version",
    lists: &[
        List { name: "5.0", title: "MQTT 5.0", prefix: "MQTT-", text: include_str!("statements_5.0.txt") },
        List { name: "3.1.1", title: "MQTT 3.1.1", prefix: "MQTT-", text: include_str!("statements_3.1.1.txt") },
    ],
    sources: &["protocols/mqtt/tests/conformance"],
};

#[test]
fn every_statement_that_binds_a_server_has_a_test_or_a_reason() {
    let (named, names) = (PAGE.check(), PAGE.names());
    let unnamed: Vec<_> =
        names.iter().filter(|name| name.starts_with("mqtt") && !named.contains(name.as_str())).collect();
    assert_eq!(unnamed, ["mqtt5_3_14_2_2_2_a_session_that_ends_cannot_be_prolonged"], "tests of no statement");
}

#[test]
fn the_page_is_what_the_lists_say() {
    PAGE.compare();
}

const HEAD: &str = "# MQTT to the letter

This page is generated from `protocols/mqtt/tests/conformance/statements_*.txt`; `cargo test -p althing-mqtt --test
conformance` fails when it is stale, when a test it names does not exist, and when a statement has neither a test nor a
reason. `ALTHING_WRITE=1 cargo test -p althing-mqtt --test conformance page` writes it anew.

Each test runs real adaptors and brokers with one shard and with three, on a virtual clock, bytes in and bytes out. Most
run in all versions and have the number of the newest one in their name. A statement that binds only the client is listed
with a test where the server must notice its violation. MQTT 3.1 has no numbered statements; it takes part in all tests that
its text allows.

Beside the lists, `packets.txt` holds well-formed packets with their exact answers. Every field and property of them is
left out, doubled, out of range, put into the wrong packet, cut short or made too long, and every reserved bit is set, in
3.1, 3.1.1 and 5.0; each of these packets has one right answer. They are played here and, with `ALTHING_ADDRESS=HOST:PORT`
and `-- live --ignored`, on a running server.
";
