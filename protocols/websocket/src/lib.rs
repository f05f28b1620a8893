//! WebSocket (RFC 6455, RFC 7692): frames around the languages that are spoken in a browser.
#![forbid(unsafe_code)]
