//! The page `docs/conformance/coap.md`: what the lists of statements say, checked against the tests that they name.

use althing_testkit::conformance::{List, Page};

const PAGE: Page = Page {
    path: "docs/conformance/coap.md",
    head: HEAD,
    subject: "document",
    lists: &[List { name: "RFC 7252", title: "RFC 7252: CoAP", prefix: "7252-", text: include_str!("rfc7252.txt") }],
    sources: &["protocols/coap/tests", "protocols/coap/src", "net/src/dtls", "net/src/dtls.rs"],
};

#[test]
fn every_statement_that_binds_a_server_has_a_test_or_a_reason() {
    PAGE.check();
}

#[test]
fn the_page_is_what_the_lists_say() {
    PAGE.compare();
}

const HEAD: &str = "# CoAP to the letter

This page is generated from `protocols/coap/tests/conformance/*.txt`; `cargo test -p althing-coap --test conformance` fails
when it is stale, when a test it names does not exist, and when a statement has neither a test nor a reason.
`ALTHING_WRITE=1 cargo test -p althing-coap --test conformance` writes it anew.

A statement is numbered by its section and its place in it. Each test runs the real door or the real adaptors with a broker
behind them, on a virtual clock, bytes in and bytes out.
";
