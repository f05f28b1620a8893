//! The page `docs/conformance/mqtt.md`: what the lists of statements say, checked against the tests that they name.
//!
//! The page is written when this test runs with `ALTHING_WRITE=1`; otherwise it must be what it would be then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const STATEMENTS: [(&str, &str); 2] =
    [("5.0", include_str!("statements_5.0.txt")), ("3.1.1", include_str!("statements_3.1.1.txt"))];

/// The sources of the tests that a statement may name.
const SOURCES: [(&str, &str); 12] = [
    ("formats.rs", include_str!("formats.rs")),
    ("connect.rs", include_str!("connect.rs")),
    ("will.rs", include_str!("will.rs")),
    ("connack.rs", include_str!("connack.rs")),
    ("publish.rs", include_str!("publish.rs")),
    ("retained.rs", include_str!("retained.rs")),
    ("properties.rs", include_str!("properties.rs")),
    ("delivery.rs", include_str!("delivery.rs")),
    ("subscribe.rs", include_str!("subscribe.rs")),
    ("disconnect.rs", include_str!("disconnect.rs")),
    ("sessions.rs", include_str!("sessions.rs")),
    ("topics.rs", include_str!("topics.rs")),
];

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance/mqtt.md");

/// One line of a list.
struct Statement<'a> {
    number: &'a str,
    binds: &'a str,
    text: &'a str,
    shown_by: ShownBy<'a>,
}

enum ShownBy<'a> {
    Tests(Vec<&'a str>),
    Nothing(&'a str),
}

fn statements(list: &'static str) -> Vec<Statement<'static>> {
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(statement).collect()
}

fn statement(line: &'static str) -> Statement<'static> {
    let fields: Vec<_> = line.split(" | ").collect();
    let [number, binds, text, shown_by] = fields[..] else { panic!("not four fields: {line}") };
    assert!(matches!(binds, "server" | "client" | "both"), "whom does it bind? {line}");
    let shown_by = match shown_by.strip_prefix("- ") {
        Some(reason) => ShownBy::Nothing(reason),
        None => ShownBy::Tests(shown_by.split(' ').collect()),
    };
    Statement { number, binds, text, shown_by }
}

/// The names of all tests here, each with the file that it is in.
fn tests() -> BTreeMap<&'static str, &'static str> {
    let mut tests = BTreeMap::new();
    for (file, source) in SOURCES {
        let mut is_test = false;
        for line in source.lines() {
            if let Some(signature) = line.strip_prefix("fn ").filter(|_| is_test) {
                let name = signature.split('(').next().unwrap_or_default();
                assert_eq!(tests.insert(name, file), None, "two tests are named {name}");
            }
            is_test = line == "#[test]";
        }
    }
    tests
}

#[test]
fn every_statement_that_binds_a_server_has_a_test_or_a_reason() {
    let tests = tests();
    let mut named = BTreeSet::new();
    for (version, list) in STATEMENTS {
        let mut numbers = BTreeSet::new();
        for statement in statements(list) {
            let number = statement.number;
            assert!(numbers.insert(number), "{version}: {number} stands twice");
            match statement.shown_by {
                ShownBy::Tests(names) => {
                    for name in names {
                        assert!(tests.contains_key(name), "{version}, {number}: there is no test {name}");
                        named.insert(name);
                    }
                }
                ShownBy::Nothing(reason) => {
                    assert!(!reason.is_empty(), "{version}, {number}: no test and no reason");
                    assert!(statement.binds == "client" || !reason.starts_with("binds the client"), "{number}");
                }
            }
        }
    }
    let unnamed: Vec<_> = tests.keys().filter(|name| name.starts_with("mqtt") && !named.contains(*name)).collect();
    assert_eq!(unnamed, [&"mqtt5_3_14_2_2_2_a_session_that_ends_cannot_be_prolonged"], "tests of no statement");
}

#[test]
fn the_page_is_what_the_lists_say() {
    let page = page();
    if std::env::var_os("ALTHING_WRITE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let found = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(found == page, "docs/conformance/mqtt.md is stale: run this test with ALTHING_WRITE=1");
}

fn page() -> String {
    let tests = tests();
    let mut page = String::from(HEAD);
    page += "\n| version | statements | with a test | bind the client only | others without a test |\n|---|---|---|---|---|\n";
    for (version, list) in STATEMENTS {
        let statements = statements(list);
        let tested = statements.iter().filter(|one| matches!(one.shown_by, ShownBy::Tests(_))).count();
        let untested = statements.iter().filter(|one| matches!(one.shown_by, ShownBy::Nothing(_)));
        let client = untested.filter(|one| one.binds == "client").count();
        let rest = statements.len() - tested - client;
        writeln!(page, "| {version} | {} | {tested} | {client} | {rest} |", statements.len()).unwrap();
    }
    for (version, list) in STATEMENTS {
        writeln!(page, "\n## MQTT {version}\n").unwrap();
        page += "| statement | binds | in our words | shown by |\n|---|---|---|---|\n";
        for Statement { number, binds, text, shown_by } in statements(list) {
            let shown_by = match shown_by {
                ShownBy::Nothing(reason) => format!("*{reason}*"),
                ShownBy::Tests(names) => {
                    let names = names.iter().map(|name| format!("[`{name}`]({SOURCE_FOLDER}/{})", tests[name]));
                    names.collect::<Vec<_>>().join("<br>")
                }
            };
            writeln!(page, "| MQTT-{number} | {binds} | {text} | {shown_by} |").unwrap();
        }
    }
    page
}

const SOURCE_FOLDER: &str = "../../protocols/mqtt/tests/conformance";

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
