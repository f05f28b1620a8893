//! Keys and terms: short byte strings that the index compares and never takes apart.

use super::Malformed;
use super::wire::{Reader, put_bytes, put_varint};
use althing_core::message::Guarantee;
use althing_core::queue::Tags;
use althing_core::record::{QueueKey, SessionKey, Terms};

const SESSION: u8 = 0;
const GROUP: u8 = 1;

/// Appends a session's key: its realm behind its length, and its client id.
pub(crate) fn put_session_key(out: &mut Vec<u8>, key: &SessionKey) {
    put_varint(out, session_key_bytes(key) as u64);
    put_bytes(out, key.realm.as_bytes());
    out.extend_from_slice(key.client.as_bytes());
}

/// Takes what [`put_session_key`] has written.
pub(crate) fn read_session_key(reader: &mut Reader<'_>) -> Result<SessionKey, Malformed> {
    session_key(&mut Reader::new(reader.bytes()?))
}

/// Appends a queue's key behind its length.
pub(crate) fn put_queue_key(out: &mut Vec<u8>, key: &QueueKey) {
    match key {
        QueueKey::Session(key) => put_session_queue_key(out, key),
        QueueKey::Group(filter) => {
            put_varint(out, 1 + filter.len() as u64);
            out.push(GROUP);
            out.extend_from_slice(filter.as_bytes());
        }
    }
}

/// Appends the key of a session's queue behind its length.
pub(crate) fn put_session_queue_key(out: &mut Vec<u8>, key: &SessionKey) {
    put_varint(out, 1 + session_key_bytes(key) as u64);
    out.push(SESSION);
    put_bytes(out, key.realm.as_bytes());
    out.extend_from_slice(key.client.as_bytes());
}

/// A queue's key from its bytes, without their length.
pub(crate) fn read_queue_key(bytes: &[u8]) -> Result<QueueKey, Malformed> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        SESSION => Ok(QueueKey::Session(session_key(&mut reader)?)),
        GROUP => Ok(QueueKey::Group(text(reader.rest())?.into())),
        _ => Err(Malformed::Value("queue")),
    }
}

/// Whether a queue's key is that of a session.
pub(crate) fn is_of_session(queue: &[u8]) -> bool {
    queue.first() == Some(&SESSION)
}

fn session_key_bytes(key: &SessionKey) -> usize {
    super::wire::varint_bytes(key.realm.len() as u64) + key.realm.len() + key.client.len()
}

fn session_key(reader: &mut Reader<'_>) -> Result<SessionKey, Malformed> {
    Ok(SessionKey { realm: reader.text()?.into(), client: text(reader.rest())?.into() })
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::Text)
}

const RETAIN: u8 = 1 << 2;
const TAGS: u8 = 1 << 3;
const OF_GROUP: u8 = 1 << 4;
const GUARANTEE: u8 = 0b11;

/// Appends terms behind their length; one byte says all in the common case.
pub(crate) fn put_terms(out: &mut Vec<u8>, terms: &Terms) {
    let mut flags = terms.guarantee as u8;
    flags |= if terms.retain { RETAIN } else { 0 };
    if terms.tags.is_empty() && terms.group.is_none() {
        out.extend_from_slice(&[1, flags]);
        return;
    }
    let mut bytes = Vec::new();
    flags |= if terms.tags.is_empty() { 0 } else { TAGS };
    flags |= if terms.group.is_some() { OF_GROUP } else { 0 };
    bytes.push(flags);
    if !terms.tags.is_empty() {
        put_varint(&mut bytes, terms.tags.len() as u64);
        terms.tags.iter().for_each(|tag| put_varint(&mut bytes, u64::from(*tag)));
    }
    if let Some(group) = &terms.group {
        bytes.extend_from_slice(group.as_bytes());
    }
    put_bytes(out, &bytes);
}

/// Terms from their bytes, without their length.
pub(crate) fn read_terms(bytes: &[u8]) -> Result<Terms, Malformed> {
    let mut reader = Reader::new(bytes);
    let flags = reader.byte()?;
    if flags & !(GUARANTEE | RETAIN | TAGS | OF_GROUP) != 0 {
        return Err(Malformed::Value("flag of terms"));
    }
    let guarantee = Guarantee::from_qos(flags & GUARANTEE).ok_or(Malformed::Value("guarantee"))?;
    let mut tags = Tags::new();
    if flags & TAGS != 0 {
        for _ in 0..reader.varint()? {
            tags.push(reader.varint_u32()?);
        }
    }
    let group = if flags & OF_GROUP != 0 {
        let group = text(reader.rest())?;
        Some(group.into())
    } else {
        reader.end()?;
        None
    };
    Ok(Terms { guarantee, retain: flags & RETAIN != 0, tags, group })
}

/// Whether the entry came from a group and goes back to it.
pub(crate) fn is_of_group(terms: &[u8]) -> bool {
    terms.first().is_some_and(|flags| flags & OF_GROUP != 0)
}
