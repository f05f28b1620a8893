//! The page `docs/conformance/coap.md`: what the lists of statements say, checked against the tests that they name.

use althing_testkit::conformance::{List, Page};

const PAGE: Page = Page {
    path: "docs/conformance/coap.md",
    head: HEAD,
    subject: "document",
    lists: &[
        List { name: "RFC 7252", title: "RFC 7252: CoAP", prefix: "7252-", text: include_str!("rfc7252.txt") },
        List { name: "RFC 7641", title: "RFC 7641: Observe", prefix: "7641-", text: include_str!("rfc7641.txt") },
        List {
            name: "RFC 7959",
            title: "RFC 7959: block-wise transfers",
            prefix: "7959-",
            text: include_str!("rfc7959.txt"),
        },
        List {
            name: "RFC 8323",
            title: "RFC 8323: CoAP over TCP, TLS and WebSocket",
            prefix: "8323-",
            text: include_str!("rfc8323.txt"),
        },
        List {
            name: "RFC 9175",
            title: "RFC 9175: Echo and Request-Tag",
            prefix: "9175-",
            text: include_str!("rfc9175.txt"),
        },
        List {
            name: "RFC 8132",
            title: "RFC 8132: FETCH, PATCH and iPATCH",
            prefix: "8132-",
            text: include_str!("rfc8132.txt"),
        },
        List { name: "RFC 7967", title: "RFC 7967: No-Response", prefix: "7967-", text: include_str!("rfc7967.txt") },
        List { name: "RFC 8613", title: "RFC 8613: OSCORE", prefix: "8613-", text: include_str!("rfc8613.txt") },
        List {
            name: "RFC 8974, RFC 8516",
            title: "RFC 8974: extended tokens; RFC 8516: too many requests",
            prefix: "",
            text: include_str!("rfc8974.txt"),
        },
        List {
            name: "draft-ietf-core-coap-pubsub-21",
            title: "Publish-subscribe: draft-ietf-core-coap-pubsub-21",
            prefix: "pubsub-",
            text: include_str!("pubsub.txt"),
        },
    ],
    sources: &[
        "protocols/coap/tests",
        "protocols/coap/src",
        "protocols/websocket/tests/adaptor/times.rs",
        "net/src/dtls",
        "net/src/dtls.rs",
    ],
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
