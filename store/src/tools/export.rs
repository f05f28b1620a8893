//! Everything that a store holds as lines of JSON, for people and for other programs.

use super::contents::{Held, HeldEntry, Order};
use super::{Inspection, Progress};
use crate::disk::Disk;
use althing_core::Now;
use althing_core::message::{Message, Origin, Properties};
use althing_core::record::{QueueKey, Restored, SessionFact, SessionKey, StoredWill};
use althing_core::time::SECOND_NS;
use althing_core::verbs::{RetainHandling, SubscriptionOptions};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// Writes one object a line: `{"kind": "session", …}`, `subscription`, `token`, `retained`, `entry`. A payload that is
/// text stands in `payload`, any other in `payload_base64`. Times are seconds from now on; what is over has a negative
/// one.
///
/// # Errors
/// When `out` can't be written.
pub fn export<D: Disk>(
    inspection: &mut Inspection<D>,
    out: &mut dyn Write,
    tell: &mut dyn FnMut(Progress),
) -> io::Result<()> {
    let now = inspection.now;
    inspection.contents(Order::Queues, tell, &mut |held| {
        let line = match held {
            Held::Fact(fact) => fact_line(fact, now),
            Held::Entry(entry) => Some(entry_line(*entry, now)),
        };
        line.map_or(Ok(()), |line| writeln!(out, "{line}"))
    })
}

fn fact_line(fact: Restored, now: Now) -> Option<Value> {
    Some(match fact {
        Restored::Session(session) => session_line(*session, now),
        Restored::Subscription { session, filter, options } => {
            let mut line = keyed("subscription", &session);
            line.insert("filter".to_owned(), json!(filter.as_str()));
            line.extend(options_fields(options));
            Value::Object(line)
        }
        Restored::Token { session, token } => {
            let mut line = keyed("token", &session);
            line.insert("token".to_owned(), json!(token));
            Value::Object(line)
        }
        Restored::Retained(message) => {
            let mut line = object(json!({ "kind": "retained" }));
            line.extend(message_fields(&message, now));
            Value::Object(line)
        }
        // Entries come one by one.
        Restored::Queue { .. } => return None,
    })
}

fn session_line(session: SessionFact, now: Now) -> Value {
    let SessionFact { key, protocol, principal, epoch, expiry_s, number_max, ends_ns, will, will_due_ns } = session;
    let mut line = keyed("session", &key);
    line.extend(object(json!({
        "protocol": protocol,
        "epoch": epoch,
        "expiry_s": if expiry_s == u32::MAX { Value::from("never") } else { expiry_s.into() },
        "number_max": number_max,
    })));
    put(&mut line, "principal", principal.map(|principal| principal.to_string()));
    put(&mut line, "ends_in_s", ends_ns.map(|ends_ns| seconds_from(now, ends_ns)));
    put(&mut line, "will", will.map(|will| will_value(&will, now)));
    put(&mut line, "will_due_in_s", will_due_ns.map(|due_ns| seconds_from(now, due_ns)));
    Value::Object(line)
}

fn will_value(will: &StoredWill, now: Now) -> Value {
    let mut value = message_fields(&will.message, now);
    value.insert("delay_s".to_owned(), will.delay_s.into());
    put(&mut value, "expiry_s", will.expiry_s);
    Value::Object(value)
}

fn options_fields(options: SubscriptionOptions) -> Map<String, Value> {
    let SubscriptionOptions { guarantee, no_local, retain_as_published, retain_handling, tag } = options;
    let retain_handling = match retain_handling {
        RetainHandling::Always => "always",
        RetainHandling::IfNew => "if-new",
        RetainHandling::Never => "never",
    };
    object(json!({
        "qos": guarantee as u8,
        "no_local": no_local,
        "retain_as_published": retain_as_published,
        "retain_handling": retain_handling,
        "tag": tag,
    }))
}

fn entry_line(entry: HeldEntry, now: Now) -> Value {
    let HeldEntry { queue, sequence, message, terms, number, received } = entry;
    let mut line = match &queue {
        QueueKey::Session(session) => keyed("entry", session),
        QueueKey::Group(filter) => object(json!({ "kind": "entry", "group": &filter[..] })),
    };
    line.extend(object(json!({
        "sequence": sequence,
        "delivery_qos": terms.guarantee as u8,
        "delivery_retain": terms.retain,
        "tags": terms.tags.as_slice(),
    })));
    put(&mut line, "from_group", terms.group.map(|group| group.to_string()));
    if number > 0 {
        line.insert("number".to_owned(), number.into());
        line.insert("received".to_owned(), received.into());
    }
    line.extend(message_fields(&message, now));
    Value::Object(line)
}

fn message_fields(message: &Message, now: Now) -> Map<String, Value> {
    let mut fields = object(json!({
        "topic": message.topic.as_str(),
        "qos": message.guarantee as u8,
        "retain": message.retain,
    }));
    put_bytes(&mut fields, "payload", &message.payload);
    put(&mut fields, "expires_in_s", message.expires_ns.map(|expires_ns| seconds_from(now, expires_ns)));
    if let Some(properties) = &message.properties {
        fields.insert("properties".to_owned(), properties_value(properties));
    }
    if let Some(origin) = &message.origin {
        let Origin { protocol, client, principal, address, by_proof } = &**origin;
        let mut value = object(json!({ "protocol": protocol, "client": &client[..] }));
        put(&mut value, "principal", principal.as_deref());
        put(&mut value, "address", address.as_deref());
        put(&mut value, "by_proof", by_proof.then_some(true));
        fields.insert("origin".to_owned(), value.into());
    }
    fields
}

fn properties_value(properties: &Properties) -> Value {
    let Properties { content_type, payload_is_utf8, response_topic, correlation_data, user, priority } = properties;
    let mut value = Map::new();
    put(&mut value, "content_type", content_type.as_deref());
    put(&mut value, "payload_is_utf8", *payload_is_utf8);
    put(&mut value, "response_topic", response_topic.as_ref().map(|topic| topic.as_str()));
    if let Some(data) = correlation_data {
        put_bytes(&mut value, "correlation_data", data);
    }
    let user: Vec<_> = user.iter().map(|(name, text)| json!([&name[..], &text[..]])).collect();
    put(&mut value, "user", Some(user).filter(|user| !user.is_empty()));
    put(&mut value, "priority", *priority);
    value.into()
}

/// A line about something of a session.
fn keyed(kind: &str, session: &SessionKey) -> Map<String, Value> {
    let mut line = object(json!({ "kind": kind, "client": &session.client[..] }));
    put(&mut line, "realm", Some(&session.realm[..]).filter(|realm| !realm.is_empty()));
    line
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn put(map: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(name.to_owned(), value.into());
    }
}

/// As text when it is text, else as base64 under another name.
fn put_bytes(map: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match str::from_utf8(bytes) {
        Ok(text) => map.insert(name.to_owned(), text.into()),
        Err(_) => map.insert(format!("{name}_base64"), BASE64_STANDARD.encode(bytes).into()),
    };
}

fn seconds_from(now: Now, mono_ns: u64) -> f64 {
    (mono_ns as f64 - now.mono_ns as f64) / SECOND_NS as f64
}
