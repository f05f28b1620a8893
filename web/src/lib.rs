//! HTTP/1.1 and HTTP/2 as a guest of a shard: requests become verbs, WebSockets become connections.
#![forbid(unsafe_code)]
