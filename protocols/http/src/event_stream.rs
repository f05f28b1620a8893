//! Server-sent events (HTML §9.2): how deliveries look on an event stream.
//!
//! An event is its own `id` line and a tail that is the same for everyone who is promised the same: it is encoded once and
//! shared.

use crate::json::object;
use crate::properties::to_base64;
use althing_core::{Delivery, Guarantee, Message, Now};
use bytes::Bytes;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Weak};

/// The media type.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// A comment: keeps connections and proxies awake.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// What stands in the data of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Data {
    /// The message as a JSON object.
    #[default]
    Json,
    /// Its payload alone. What is no UTF-8 comes in base64, as an event `binary`.
    Payload,
}

/// Where a client was: a stream and the number of an event in it. As text `TOKEN.NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The stream's name. Nobody can guess it.
    pub stream: u128,
    /// Counts its events from 1.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}.{}", self.stream, self.number)
    }
}

/// A text that is no event id of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let (stream, number) = text.split_once('.').ok_or(NoEventId)?;
        if stream.len() != 32 || !stream.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoEventId);
        }
        let stream = u128::from_str_radix(stream, 16).map_err(|_| NoEventId)?;
        Ok(Self { stream, number: number.parse().map_err(|_| NoEventId)? })
    }
}

/// How a stream begins: when to come back after an end that nobody wanted, and a word for people.
pub fn opening(retry_ms: u64, comment: &str) -> Bytes {
    let mut text = String::new();
    lines("", comment, &mut text);
    text.push_str(&format!("retry: {retry_ms}\n\n"));
    text.into()
}

/// Says plainly that something is missing, and why. `missed` counts, where somebody has counted.
pub fn gap(missed: Option<u64>, why: &str) -> Bytes {
    let mut text = String::new();
    lines("", why, &mut text);
    let data = serde_json::json!({"missed": missed, "why": why});
    text.push_str(&format!("event: gap\ndata: {data}\n\n"));
    text.into()
}

/// Appends an event: its id and its tail.
pub fn write(id: EventId, tail: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("id: {id}\n").as_bytes());
    out.extend_from_slice(tail);
}

/// Everything of an event but its id.
pub fn tail(message: &Message, guarantee: Guarantee, retain: bool, data: Data, now: Now) -> Bytes {
    let name = if retain { "retained" } else { "message" };
    let text = std::str::from_utf8(&message.payload);
    let mut tail = String::with_capacity(message.payload.len() + message.topic.as_str().len() + 96);
    match (data, text) {
        (Data::Json, _) => {
            tail.push_str(&format!("event: {name}\n"));
            // JSON escapes every control character, so that it is one line.
            let object = object::write(message, guarantee, retain, now);
            lines("data", &String::from_utf8_lossy(&object), &mut tail);
        }
        (Data::Payload, Ok(text)) => {
            tail.push_str(&format!("event: {name}\n"));
            lines("data", text, &mut tail);
        }
        (Data::Payload, Err(_)) => {
            tail.push_str("event: binary\n");
            lines("data", &to_base64(&message.payload), &mut tail);
        }
    }
    tail.push('\n');
    tail.into()
}

/// Each line of `text` under this name. CR, LF and both together end a line (HTML §9.2.5): a payload cannot begin an event or a field
/// of its own.
fn lines(name: &str, text: &str, out: &mut String) {
    let mut rest = text;
    loop {
        let (line, end) = match rest.find(['\r', '\n']) {
            Some(end) => (&rest[..end], Some(end)),
            None => (rest, None),
        };
        out.push_str(name);
        out.push_str(": ");
        out.push_str(line);
        out.push('\n');
        let Some(end) = end else { return };
        let is_both = rest[end..].starts_with("\r\n");
        rest = &rest[end + if is_both { 2 } else { 1 }..];
    }
}

/// Bytes of remembered tails.
const TAILS_BYTES_MAX: usize = 1 << 20;
/// Remembered tails.
const TAILS_MAX: usize = 1_024;

/// Tails that may be wanted again: everyone who hears the same message in the same way shares one. Messages are not
/// kept by this.
#[derive(Debug, Default)]
pub struct Tails {
    known: HashMap<TailKey, (Weak<Message>, Bytes), FixedState>,
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TailKey {
    /// The message's address. It is nobody else's as long as a `Weak` is there.
    address: usize,
    guarantee: Guarantee,
    retain: bool,
    data: Data,
}

impl Tails {
    /// The tail of a delivery's event.
    pub fn of(&mut self, delivery: &Delivery, data: Data, now: Now) -> Bytes {
        let Delivery { message, guarantee, retain, .. } = delivery;
        let key = TailKey { address: Arc::as_ptr(message).addr(), guarantee: *guarantee, retain: *retain, data };
        if let Some((_, tail)) = self.known.get(&key) {
            return tail.clone();
        }
        let tail = tail(message, *guarantee, *retain, data, now);
        if self.known.len() >= TAILS_MAX || self.bytes + tail.len() > TAILS_BYTES_MAX {
            self.known.clear();
            self.bytes = 0;
        }
        if tail.len() <= TAILS_BYTES_MAX {
            self.bytes += tail.len();
            self.known.insert(key, (Arc::downgrade(message), tail.clone()));
        }
        tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::topic::TopicLimits;
    use althing_core::{PeerId, Topic};
    use proptest::prelude::*;

    fn message(payload: &[u8]) -> Message {
        let limits = TopicLimits { length_bytes_max: 100, levels_max: 10 };
        Message::new(Topic::new("a/b".into(), &limits).unwrap(), Bytes::copy_from_slice(payload))
    }

    fn shown(payload: &[u8], data: Data) -> String {
        let tail = tail(&message(payload), Guarantee::AtMostOnce, false, data, Now::default());
        String::from_utf8(tail.to_vec()).unwrap()
    }

    /// What a browser makes of a stream (HTML §9.2.6): the events' names, data and the last id.
    fn parse(stream: &str) -> Vec<(String, String, String)> {
        let (mut events, mut name, mut data, mut id) = (Vec::new(), String::new(), String::new(), String::new());
        let unified = stream.replace("\r\n", "\n").replace('\r', "\n");
        for line in unified.split('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    events.push((std::mem::take(&mut name), std::mem::take(&mut data), id.clone()));
                }
                name.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value.into(),
                "data" => data += &format!("{value}\n"),
                "id" => id = value.into(),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn an_event_is_an_id_and_a_tail() {
        let id = EventId { stream: 0xab, number: 7 };
        let mut stream = opening(2_000, "hello\nworld").to_vec();
        write(id, shown(b"21.5", Data::Json).as_bytes(), &mut stream);
        stream.extend_from_slice(HEARTBEAT);
        stream.extend_from_slice(&gap(Some(3), "too slow"));
        let events = parse(&String::from_utf8(stream).unwrap());
        let json = r#"{"topic":"a/b","payload":"21.5","qos":0,"retain":false}"#;
        assert_eq!(events[0], ("message".into(), json.into(), id.to_string()));
        assert_eq!((&events[1].0[..], &events[1].1[..]), ("gap", r#"{"missed":3,"why":"too slow"}"#));
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn bytes_that_are_no_text_come_in_base64() {
        assert_eq!(shown(b"\0\xff", Data::Payload), "event: binary\ndata: AP8=\n\n");
        assert!(shown(b"\0\xff", Data::Json).contains(r#""payload_base64":"AP8=""#));
    }

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let id = EventId { stream: u128::MAX - 1, number: u64::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "1", "1.1", "ffffffffffffffffffffffffffffffff", "+fffffffffffffffffffffffffffffff.1"] {
            assert_eq!(wrong.parse::<EventId>(), Err(NoEventId), "{wrong}");
        }
    }

    #[test]
    fn the_same_message_is_encoded_once_and_not_kept() {
        let shared = Arc::new(message(b"1"));
        let delivery = |message: &Arc<Message>, retain| Delivery {
            peer: PeerId { shard: 0, generation: 0, slot: 0 },
            number: 0,
            guarantee: Guarantee::AtMostOnce,
            retain,
            duplicate: false,
            tags: Default::default(),
            message: Arc::clone(message),
        };
        let mut tails = Tails::default();
        let first = tails.of(&delivery(&shared, false), Data::Json, Now::default());
        let again = tails.of(&delivery(&shared, false), Data::Json, Now::default());
        assert_eq!(first.as_ptr(), again.as_ptr());
        assert_ne!(tails.of(&delivery(&shared, true), Data::Json, Now::default()), first);
        let other = Arc::new(message(b"2"));
        assert_ne!(tails.of(&delivery(&other, false), Data::Json, Now::default()), first);
        assert_eq!(Arc::strong_count(&shared), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut tails = Tails::default();
        for _ in 0..3 * TAILS_MAX {
            let delivery = Delivery {
                peer: PeerId { shard: 0, generation: 0, slot: 0 },
                number: 0,
                guarantee: Guarantee::AtMostOnce,
                retain: false,
                duplicate: false,
                tags: Default::default(),
                message: Arc::new(message(&[b'x'; 2_000])),
            };
            tails.of(&delivery, Data::Payload, Now::default());
            assert!(tails.known.len() <= TAILS_MAX && tails.bytes <= TAILS_BYTES_MAX);
        }
    }

    proptest! {
        #[test]
        fn no_payload_breaks_out_of_its_event(payload in "[a-z:\r\n ]{0,30}") {
            for data in [Data::Json, Data::Payload] {
                let events = parse(&shown(payload.as_bytes(), data));
                prop_assert_eq!(events.len(), 1);
                prop_assert_eq!(&events[0].0, "message");
            }
            let wanted = payload.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(&parse(&shown(payload.as_bytes(), Data::Payload))[0].1, &wanted);
        }
    }
}
