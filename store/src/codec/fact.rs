//! What is read again by its place: bodies and facts, checked against their own checksum.

use super::item::{Kind, key, tag};
use super::keys::read_session_key;
use super::message::read_message;
use super::step::{ENDS, NO_LOCAL, PRINCIPAL, RETAIN_AS_PUBLISHED, WILL, WILL_DUE, WILL_EXPIRES};
use super::wire::Reader;
use super::{Context, Malformed};
use althing_core::message::{Guarantee, Message};
use althing_core::record::{Restored, SessionFact, StoredWill};
use althing_core::topic::{Filter, TopicLimits};
use althing_core::verbs::{RetainHandling, SubscriptionOptions};
use std::sync::Arc;

/// What was accepted once is accepted again, whatever the house allows today.
const ANY_FILTER: TopicLimits = TopicLimits { length_bytes_max: usize::MAX, levels_max: usize::MAX };

/// A message from all the bytes of its item.
pub(crate) fn decode_body(item: &[u8], context: &Context) -> Result<Message, Malformed> {
    read_message(open_sealed(item, tag::BODY)?, context)
}

/// A fact from all the bytes of its item, with the bytes of its key.
pub(crate) fn decode_fact<'a>(
    kind: Kind,
    item: &'a [u8],
    context: &Context,
) -> Result<(Restored, &'a [u8]), Malformed> {
    let (mut reader, key) = keyed_fields(kind, item)?;
    let fact = match kind {
        Kind::Session => Restored::Session(Box::new(read_session(reader, context)?)),
        Kind::Subscription => {
            let session = read_session_key(&mut reader)?;
            let filter = Filter::new(reader.text()?.into(), &ANY_FILTER).map_err(|_| Malformed::Value("filter"))?;
            Restored::Subscription { session, filter, options: read_options(reader)? }
        }
        Kind::Token => {
            let token = Restored::Token { session: read_session_key(&mut reader)?, token: reader.varint_u32()? };
            reader.end()?;
            token
        }
        Kind::Retained => Restored::Retained(Arc::new(read_message(reader, context)?)),
    };
    Ok((fact, key))
}

/// The fields of a fact's item, and its key.
fn keyed_fields(kind: Kind, item: &[u8]) -> Result<(Reader<'_>, &[u8]), Malformed> {
    let tag = match kind {
        Kind::Session => tag::SESSION,
        Kind::Subscription => tag::SUBSCRIBED,
        Kind::Token => tag::TOKEN_HELD,
        Kind::Retained => tag::BODY,
    };
    let fields = open_sealed(item, tag)?;
    // A body begins with its flags, and then names the topic like an item about the retained value.
    let mut keyed = fields.clone();
    if kind == Kind::Retained {
        keyed.byte()?;
    }
    let key = key(&mut keyed, kind)?;
    Ok((fields, key))
}

/// Checks that an item is whole, and gives the bytes of its key.
pub(crate) fn check_fact(kind: Kind, item: &[u8]) -> Result<&[u8], Malformed> {
    keyed_fields(kind, item).map(|(_, key)| key)
}

/// Checks that a body is whole.
pub(crate) fn check_body(item: &[u8]) -> Result<(), Malformed> {
    open_sealed(item, tag::BODY).map(drop)
}

/// The fields of an item that stand behind their checksum.
fn open_sealed(item: &[u8], tag: u8) -> Result<Reader<'_>, Malformed> {
    let mut reader = Reader::new(item);
    if reader.byte()? != tag {
        return Err(Malformed::Value("tag"));
    }
    let mut fields = Reader::new(reader.bytes()?);
    reader.end()?;
    let checksum = fields.u32_le()?;
    if crc32c::crc32c(fields.rest()) != checksum {
        return Err(Malformed::Checksum);
    }
    Ok(fields)
}

fn read_options(mut reader: Reader<'_>) -> Result<SubscriptionOptions, Malformed> {
    let flags = reader.byte()?;
    let retain_handling = match flags >> 4 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(Malformed::Value("retain handling")),
    };
    let tag = reader.varint_u32()?;
    reader.end()?;
    Ok(SubscriptionOptions {
        guarantee: Guarantee::from_qos(flags & 0b11).ok_or(Malformed::Value("guarantee"))?,
        no_local: flags & NO_LOCAL != 0,
        retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
        retain_handling,
        tag,
    })
}

fn read_session(mut reader: Reader<'_>, context: &Context) -> Result<SessionFact, Malformed> {
    let key = read_session_key(&mut reader)?;
    let flags = reader.byte()?;
    if flags & !(PRINCIPAL | ENDS | WILL | WILL_DUE | WILL_EXPIRES) != 0 {
        return Err(Malformed::Value("flag of a session"));
    }
    let protocol = context.protocol(reader.text()?);
    let principal = if flags & PRINCIPAL != 0 { Some(reader.text()?.into()) } else { None };
    let epoch = reader.varint()?;
    let (expiry_s, number_max) = (reader.varint_u32()?, reader.varint_u32()?);
    let mut moment = |flag: u8| match flags & flag != 0 {
        true => reader.varint().map(|age_ms| Some(context.clock.mono_ns(age_ms))),
        false => Ok(None),
    };
    let (ends_ns, will_due_ns) = (moment(ENDS)?, moment(WILL_DUE)?);
    let will = if flags & WILL != 0 {
        let delay_s = reader.varint_u32()?;
        let expiry_s = if flags & WILL_EXPIRES != 0 { Some(reader.varint_u32()?) } else { None };
        Some(StoredWill { message: Arc::new(read_message(reader, context)?), delay_s, expiry_s })
    } else {
        reader.end()?;
        None
    };
    Ok(SessionFact { key, protocol, principal, epoch, expiry_s, number_max, ends_ns, will, will_due_ns })
}
