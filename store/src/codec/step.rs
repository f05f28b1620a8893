//! One step under way: records become items.

use super::item::{BodyAt, PENDING, tag};
use super::keys::{put_queue_key, put_session_key, put_session_queue_key, put_terms};
use super::message::put_message;
use super::wire::{put_bytes, put_signed, put_varint, varint_bytes};
use crate::clock::Clock;
use crate::log::Place;
use althing_core::message::Message;
use althing_core::record::{QueueKey, SessionFact, SessionKey, Terms};
use althing_core::topic::{Filter, Topic};
use althing_core::verbs::{RetainHandling, SubscriptionOptions};

/// The items of one step. The buffer is used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Step {
    bytes: Vec<u8>,
}

/// Most items are shorter than this, so that their length takes one byte.
const SHORT: usize = 0x7f;

impl Step {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn clear(&mut self) {
        const KEEP_BYTES: usize = 1 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEEP_BYTES);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes back what was written behind `bytes`.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.bytes.truncate(bytes);
    }

    /// A message; says where it stands, with the step itself as the segment.
    pub(crate) fn body(&mut self, message: &Message, clock: &Clock) -> BodyAt {
        let hint_bytes = 16 + message.topic.as_str().len() + message.payload.len();
        self.sealed_item(tag::BODY, hint_bytes, |out| put_message(out, message, clock))
    }

    /// An item that was read from the log, once more.
    pub(crate) fn copy(&mut self, item: &[u8]) -> BodyAt {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(item);
        self.since(start)
    }

    pub(crate) fn session(&mut self, session: &SessionFact, clock: &Clock) {
        self.sealed_item(tag::SESSION, SHORT, |out| put_session(out, session, clock));
    }

    pub(crate) fn session_closed(&mut self, session: &SessionKey) {
        self.item(tag::SESSION_CLOSED, SHORT, |out| put_session_key(out, session));
    }

    pub(crate) fn subscribed(&mut self, session: &SessionKey, filter: &Filter, options: &SubscriptionOptions) {
        self.sealed_item(tag::SUBSCRIBED, SHORT, |out| {
            put_session_key(out, session);
            put_bytes(out, filter.as_str().as_bytes());
            put_options(out, options);
        });
    }

    pub(crate) fn unsubscribed(&mut self, session: &SessionKey, filter: &Filter) {
        self.item(tag::UNSUBSCRIBED, SHORT, |out| {
            put_session_key(out, session);
            put_bytes(out, filter.as_str().as_bytes());
        });
    }

    pub(crate) fn token_held(&mut self, session: &SessionKey, token: u32) {
        self.sealed_item(tag::TOKEN_HELD, SHORT, |out| {
            put_session_key(out, session);
            put_varint(out, u64::from(token));
        });
    }

    pub(crate) fn token_released(&mut self, session: &SessionKey, token: u32) {
        self.item(tag::TOKEN_RELEASED, SHORT, |out| {
            put_session_key(out, session);
            put_varint(out, u64::from(token));
        });
    }

    pub(crate) fn retained(&mut self, topic: &Topic, body: BodyAt) {
        let mut key = Vec::new();
        put_bytes(&mut key, topic.as_str().as_bytes());
        self.retained_key(&key, body);
    }

    /// The same by the bytes of the fact's key.
    pub(crate) fn retained_key(&mut self, key: &[u8], body: BodyAt) {
        let start = self.bytes.len();
        self.item(tag::RETAINED, SHORT, |out| {
            out.extend_from_slice(key);
            put_body(out, start, body);
        });
    }

    pub(crate) fn retained_cleared(&mut self, topic: &Topic) {
        self.item(tag::RETAINED_CLEARED, SHORT, |out| put_bytes(out, topic.as_str().as_bytes()));
    }

    pub(crate) fn queued(&mut self, queue: &QueueKey, sequence: i64, terms: &Terms, body: BodyAt) {
        let start = self.bytes.len();
        self.item(tag::QUEUED, SHORT, |out| {
            put_queue_key(out, queue);
            put_signed(out, sequence);
            put_terms(out, terms);
            put_body(out, start, body);
        });
    }

    pub(crate) fn moved(&mut self, from: (&QueueKey, i64), to: (&QueueKey, i64), terms: &Terms, body: BodyAt) {
        let start = self.bytes.len();
        self.item(tag::MOVED, SHORT, |out| {
            for (queue, sequence) in [from, to] {
                put_queue_key(out, queue);
                put_signed(out, sequence);
            }
            put_terms(out, terms);
            put_body(out, start, body);
        });
    }

    pub(crate) fn numbered(&mut self, session: &SessionKey, sequence: i64, number: u32) {
        self.item(tag::NUMBERED, SHORT, |out| {
            put_session_queue_key(out, session);
            put_signed(out, sequence);
            put_varint(out, u64::from(number));
        });
    }

    pub(crate) fn received(&mut self, session: &SessionKey, sequence: i64) {
        self.item(tag::RECEIVED, SHORT, |out| {
            put_session_queue_key(out, session);
            put_signed(out, sequence);
        });
    }

    pub(crate) fn settled(&mut self, queue: &QueueKey, sequence: i64) {
        self.item(tag::SETTLED, SHORT, |out| {
            put_queue_key(out, queue);
            put_signed(out, sequence);
        });
    }

    pub(crate) fn queue_closed(&mut self, queue: &QueueKey) {
        self.item(tag::QUEUE_CLOSED, SHORT, |out| put_queue_key(out, queue));
    }

    /// The body of an entry stands elsewhere from now on; `queue` is the key's bytes.
    pub(crate) fn relocated(&mut self, queue: &[u8], sequence: i64, body: BodyAt) {
        let start = self.bytes.len();
        self.item(tag::RELOCATED, SHORT, |out| {
            put_bytes(out, queue);
            put_signed(out, sequence);
            put_body(out, start, body);
        });
    }

    /// Nothing but time has passed.
    pub(crate) fn aged(&mut self) {
        self.item(tag::AGED, SHORT, |_| {});
    }

    /// An item whose fields stand behind their checksum.
    fn sealed_item(&mut self, tag: u8, hint_bytes: usize, fields: impl FnOnce(&mut Vec<u8>)) -> BodyAt {
        self.item(tag, hint_bytes, |out| {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            fields(out);
            let checksum = crc32c::crc32c(&out[start + 4..]);
            out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
        })
    }

    /// Tag and length before the fields. Room for the length is left by a guess; a wrong one costs a copy.
    fn item(&mut self, tag: u8, hint_bytes: usize, fields: impl FnOnce(&mut Vec<u8>)) -> BodyAt {
        let start = self.bytes.len();
        let room_bytes = varint_bytes(hint_bytes as u64);
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&[0; 10][..room_bytes]);
        fields(&mut self.bytes);
        let fields_start = start + 1 + room_bytes;
        let mut length = self.bytes.len() - fields_start;
        let mut head = [0; 10];
        let mut head_bytes = 0;
        while length >= 0x80 {
            head[head_bytes] = length as u8 | 0x80;
            length >>= 7;
            head_bytes += 1;
        }
        head[head_bytes] = length as u8;
        let head = &head[..=head_bytes];
        if head.len() == room_bytes {
            self.bytes[start + 1..fields_start].copy_from_slice(head);
        } else {
            self.bytes.splice(start + 1..fields_start, head.iter().copied());
        }
        self.since(start)
    }

    fn since(&self, start: usize) -> BodyAt {
        // Segments are addressed with 32 bits, and the log takes no larger step.
        BodyAt { place: Place { segment: PENDING, offset: start as u32 }, length: (self.bytes.len() - start) as u32 }
    }
}

fn put_body(out: &mut Vec<u8>, item_start: usize, body: BodyAt) {
    if body.place.segment == PENDING {
        put_varint(out, (item_start - body.place.offset as usize) as u64);
    } else {
        put_varint(out, 0);
        put_varint(out, u64::from(body.place.segment));
        put_varint(out, u64::from(body.place.offset));
    }
    put_varint(out, u64::from(body.length));
}

/// Flags of subscription options; the others are the guarantee and the retain handling, two bits each.
pub(super) const NO_LOCAL: u8 = 1 << 2;
pub(super) const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

fn put_options(out: &mut Vec<u8>, options: &SubscriptionOptions) {
    let handling = match options.retain_handling {
        RetainHandling::Always => 0,
        RetainHandling::IfNew => 1,
        RetainHandling::Never => 2,
    };
    let no_local = if options.no_local { NO_LOCAL } else { 0 };
    let as_published = if options.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
    out.push(options.guarantee as u8 | no_local | as_published | handling << 4);
    put_varint(out, u64::from(options.tag));
}

/// Flags of a session fact.
pub(super) const PRINCIPAL: u8 = 1 << 0;
pub(super) const ENDS: u8 = 1 << 1;
pub(super) const WILL: u8 = 1 << 2;
pub(super) const WILL_DUE: u8 = 1 << 3;
pub(super) const WILL_EXPIRES: u8 = 1 << 4;

fn put_session(out: &mut Vec<u8>, session: &SessionFact, clock: &Clock) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let will_expiry_s = session.will.as_ref().and_then(|will| will.expiry_s);
    put_session_key(out, &session.key);
    out.push(
        flag(session.principal.is_some(), PRINCIPAL)
            | flag(session.ends_ns.is_some(), ENDS)
            | flag(session.will.is_some(), WILL)
            | flag(session.will_due_ns.is_some(), WILL_DUE)
            | flag(will_expiry_s.is_some(), WILL_EXPIRES),
    );
    put_bytes(out, session.protocol.as_bytes());
    if let Some(principal) = &session.principal {
        put_bytes(out, principal.as_bytes());
    }
    put_varint(out, session.epoch);
    put_varint(out, u64::from(session.expiry_s));
    put_varint(out, u64::from(session.number_max));
    for moment_ns in [session.ends_ns, session.will_due_ns].into_iter().flatten() {
        put_varint(out, clock.age_ms(moment_ns));
    }
    if let Some(will) = &session.will {
        put_varint(out, u64::from(will.delay_s));
        if let Some(expiry_s) = will.expiry_s {
            put_varint(out, u64::from(expiry_s));
        }
        put_message(out, &will.message, clock);
    }
}
