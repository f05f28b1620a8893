//! The codec against the specification: packets as bytes, what is malformed, round trips, and totality.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod annotation;
mod malformed;
mod packets;
mod roundtrip;
mod samples;
mod totality;

use althing_core::topic::{Topic, TopicLimits};
use althing_mqtt::codec::{Context, Side};
use althing_mqtt::packet::Version;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn context(side: Side, version: Option<Version>) -> Context {
    Context { side, version, packet_bytes_max: 1 << 20, topic: TopicLimits::default() }
}

fn topic(name: &str) -> Topic {
    Topic::new(name.into(), &TopicLimits::default()).unwrap()
}

/// Every context that bytes can meet.
fn contexts() -> impl Iterator<Item = Context> {
    [Side::Server, Side::Client].into_iter().flat_map(|side| {
        [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)]
            .into_iter()
            .map(move |version| context(side, version))
    })
}
