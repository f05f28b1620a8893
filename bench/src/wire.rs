//! The few MQTT frames a load generator needs, written and read by hand (MQTT 3.1.1 and 5.0).
//!
//! This is not a second codec: it validates nothing a conforming broker would get right and builds no packet values.
//! Two reasons keep it apart from `althing-mqtt`. A generator must cost less a message than the fastest broker it
//! measures, so it patches ready-made frames and reads three fields of a delivery. And a broker is checked by bytes
//! that its own codec has not produced: a mistake shared by both ends cannot hide here.

/// The protocol level of CONNECT (§3.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Seconds of keep alive in every CONNECT: longer than any run, so that nothing but the load is measured.
pub const KEEP_ALIVE_S: u16 = 1_200;

/// Bytes at the start of every payload: stream (4), sequence number (8), send time in nanoseconds (8), big-endian.
pub const STAMP_BYTES: usize = 20;

/// What the broker may send to a generator; everything else is [`Decoded::Malformed`].
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// §3.2; `receive_maximum` is 65,535 where the broker states none (§3.2.2.3.3).
    ConnAck { code: u8, receive_maximum: u16 },
    /// §3.3; `id` is 0 at QoS 0.
    Publish { qos: u8, id: u16, payload: &'a [u8] },
    /// §3.4
    PubAck { id: u16, code: u8 },
    /// §3.5
    PubRec { id: u16, code: u8 },
    /// §3.6
    PubRel { id: u16 },
    /// §3.7
    PubComp { id: u16 },
    /// §3.9; `refused` when any code is 0x80 or above.
    SubAck { refused: bool },
    /// §3.11
    UnsubAck,
    /// §3.13
    PingResp,
    /// §3.14, version 5 only.
    Disconnect { code: u8 },
}

/// The outcome of looking at the head of a byte stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A frame and the bytes it took.
    Frame(Frame<'a>, usize),
    /// More bytes are needed.
    Incomplete,
    /// Not a frame that a broker may send.
    Malformed,
}

/// Reads one frame at the head of `bytes`, without copying.
pub fn decode(bytes: &[u8], version: Version) -> Decoded<'_> {
    let Some((remaining, head)) = remaining_length(bytes) else {
        return if bytes.len() >= 5 { Decoded::Malformed } else { Decoded::Incomplete };
    };
    let end = head + remaining;
    if bytes.len() < end {
        return Decoded::Incomplete;
    }
    match decode_body(bytes[0], &bytes[head..end], version) {
        Some(frame) => Decoded::Frame(frame, end),
        None => Decoded::Malformed,
    }
}

#[inline]
fn decode_body(first: u8, body: &[u8], version: Version) -> Option<Frame<'_>> {
    let id = || Some(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let code = |at: usize| body.get(at).copied().unwrap_or(0);
    Some(match first >> 4 {
        3 => return decode_publish(first, body, version),
        2 => Frame::ConnAck { code: *body.get(1)?, receive_maximum: receive_maximum(body, version) },
        4 => Frame::PubAck { id: id()?, code: code(2) },
        5 => Frame::PubRec { id: id()?, code: code(2) },
        6 => Frame::PubRel { id: id()? },
        7 => Frame::PubComp { id: id()? },
        9 => Frame::SubAck { refused: suback_codes(body, version)?.iter().any(|code| *code >= 0x80) },
        11 => Frame::UnsubAck,
        13 => Frame::PingResp,
        14 => Frame::Disconnect { code: code(0) },
        _ => return None,
    })
}

#[inline]
fn decode_publish(first: u8, body: &[u8], version: Version) -> Option<Frame<'_>> {
    let qos = first >> 1 & 3;
    let mut at = 2 + usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let mut id = 0;
    if qos > 0 {
        id = u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]);
        at += 2;
    }
    if version == Version::V5 {
        let (bytes, head) = variable_integer(body.get(at..)?)?;
        at += head + bytes;
    }
    Some(Frame::Publish { qos, id, payload: body.get(at..)? })
}

/// The codes of SUBACK, behind its packet id and, in version 5, its properties.
fn suback_codes(body: &[u8], version: Version) -> Option<&[u8]> {
    let mut at = 2;
    if version == Version::V5 {
        let (bytes, head) = variable_integer(body.get(at..)?)?;
        at += head + bytes;
    }
    body.get(at..)
}

/// Looks for property 0x21 in CONNACK; stops at the first property it cannot skip.
fn receive_maximum(body: &[u8], version: Version) -> u16 {
    let find = || {
        let (bytes, head) = variable_integer(body.get(2..)?)?;
        let mut properties = body.get(2 + head..2 + head + bytes)?;
        while let [identifier, rest @ ..] = properties {
            let skip = match identifier {
                0x21 => return Some(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])),
                0x22 | 0x13 => 2,
                0x11 | 0x27 => 4,
                0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
                0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => field_bytes(rest)?,
                0x26 => {
                    let name = field_bytes(rest)?;
                    name + field_bytes(rest.get(name..)?)?
                }
                _ => return None,
            };
            properties = rest.get(skip..)?;
        }
        None
    };
    if version == Version::V5 { find().unwrap_or(u16::MAX) } else { u16::MAX }
}

fn field_bytes(bytes: &[u8]) -> Option<usize> {
    Some(2 + usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])))
}

/// Remaining Length and the bytes of the whole fixed header (§2.1.4).
#[inline]
pub fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let (value, head) = variable_integer(bytes.get(1..)?)?;
    Some((value, head + 1))
}

/// A Variable Byte Integer and its own length (§1.5.5).
#[inline]
fn variable_integer(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn put_variable_integer(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            return;
        }
    }
}

fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    out.extend_from_slice(&(field.len() as u16).to_be_bytes());
    out.extend_from_slice(field);
}

fn put_frame(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    put_variable_integer(out, body.len());
    out.extend_from_slice(body);
}

/// CONNECT (§3.1). `keep_session` asks for a session that outlives the connection, one hour in version 5.
pub fn put_connect(out: &mut Vec<u8>, version: Version, client_id: &str, clean_start: bool, keep_session: bool) {
    let mut body = Vec::with_capacity(32 + client_id.len());
    put_field(&mut body, b"MQTT");
    body.push(version as u8);
    body.push(if clean_start { 0x02 } else { 0x00 });
    body.extend_from_slice(&KEEP_ALIVE_S.to_be_bytes());
    if version == Version::V5 {
        let expiry: &[u8] = if keep_session { &[0x11, 0, 0, 0x0e, 0x10] } else { &[] };
        put_variable_integer(&mut body, expiry.len());
        body.extend_from_slice(expiry);
    }
    put_field(&mut body, client_id.as_bytes());
    put_frame(out, 0x10, &body);
}

/// SUBSCRIBE (§3.8) with packet id 1: no connection of the generator has two of them under way.
pub fn put_subscribe<S: AsRef<str>>(out: &mut Vec<u8>, version: Version, filters: &[S], qos: u8) {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        put_field(&mut body, filter.as_ref().as_bytes());
        body.push(qos);
    }
    put_frame(out, 0x82, &body);
}

/// UNSUBSCRIBE (§3.10) with packet id 1.
pub fn put_unsubscribe(out: &mut Vec<u8>, version: Version, filter: &str) {
    let mut body = vec![0, 1];
    if version == Version::V5 {
        body.push(0);
    }
    put_field(&mut body, filter.as_bytes());
    put_frame(out, 0xa2, &body);
}

/// DISCONNECT (§3.14), reason 0, the short form in both versions.
pub fn put_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xe0, 0]);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP by its first byte, success, the short form in both versions.
#[inline]
pub fn put_acknowledgement(out: &mut Vec<u8>, first: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}
/// First byte of PUBACK.
pub const PUBACK: u8 = 0x40;
/// First byte of PUBREC.
pub const PUBREC: u8 = 0x50;
/// First byte of PUBREL.
pub const PUBREL: u8 = 0x62;
/// First byte of PUBCOMP.
pub const PUBCOMP: u8 = 0x70;

/// A whole PUBLISH (§3.3) to one topic, made once; sending copies it and patches what differs.
#[derive(Clone, Debug)]
pub struct PublishTemplate {
    frame: Box<[u8]>,
    id_at: usize,
    stamp_at: usize,
}

impl PublishTemplate {
    /// `payload_bytes` is raised to [`STAMP_BYTES`]; 0 makes an empty payload, which `write` must not be used with.
    pub fn new(version: Version, topic: &str, qos: u8, retain: bool, payload_bytes: usize) -> Self {
        let mut body = Vec::with_capacity(topic.len() + payload_bytes + 8);
        put_field(&mut body, topic.as_bytes());
        let id_at = body.len();
        if qos > 0 {
            body.extend_from_slice(&[0, 0]);
        }
        if version == Version::V5 {
            body.push(0);
        }
        let stamp_at = body.len();
        body.resize(stamp_at + payload_bytes.max(STAMP_BYTES), b'.');
        let mut frame = Vec::with_capacity(body.len() + 5);
        put_frame(&mut frame, 0x30 | qos << 1 | u8::from(retain), &body);
        let head = frame.len() - body.len();
        Self { frame: frame.into(), id_at: if qos > 0 { head + id_at } else { 0 }, stamp_at: head + stamp_at }
    }

    /// Appends the frame with this packet id (ignored at QoS 0) and stamp.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, id: u16, stamp: Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        if self.id_at > 0 {
            frame[self.id_at..self.id_at + 2].copy_from_slice(&id.to_be_bytes());
        }
        stamp.write(&mut frame[self.stamp_at..self.stamp_at + STAMP_BYTES]);
    }
}

/// PUBLISH at QoS 0 with retain and no payload: the broker forgets the topic's retained message (§3.3.1.3).
pub fn put_forget(out: &mut Vec<u8>, version: Version, topic: &str) {
    put_publish(out, version, topic, b"", true);
}

/// PUBLISH at QoS 0.
pub fn put_publish(out: &mut Vec<u8>, version: Version, topic: &str, payload: &[u8], retain: bool) {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 3);
    put_field(&mut body, topic.as_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    put_frame(out, 0x30 | u8::from(retain), &body);
}

/// Who sent a message, which one it is, and when it was (or should have been) sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The publisher's number.
    pub stream: u32,
    /// Counts up from 0 in each stream.
    pub sequence: u64,
    /// Nanoseconds of the generator's clock.
    pub sent_ns: u64,
}

impl Stamp {
    #[inline]
    fn write(self, out: &mut [u8]) {
        out[0..4].copy_from_slice(&self.stream.to_be_bytes());
        out[4..12].copy_from_slice(&self.sequence.to_be_bytes());
        out[12..20].copy_from_slice(&self.sent_ns.to_be_bytes());
    }

    /// `None` when the payload is too short to be the generator's.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (stream, rest) = payload.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent_ns, _) = rest.split_first_chunk()?;
        Some(Self {
            stream: u32::from_be_bytes(*stream),
            sequence: u64::from_be_bytes(*sequence),
            sent_ns: u64::from_be_bytes(*sent_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { stream: 7, sequence: 1 << 40, sent_ns: 99 };

    #[test]
    fn a_published_frame_reads_back_in_both_versions_at_every_qos() {
        for version in [Version::V311, Version::V5] {
            for qos in 0..=2 {
                let template = PublishTemplate::new(version, "a/b", qos, false, 200);
                let mut bytes = vec![];
                template.write(&mut bytes, 513, STAMP);
                let Decoded::Frame(Frame::Publish { qos: read_qos, id, payload }, used) = decode(&bytes, version)
                else {
                    panic!("not a PUBLISH")
                };
                assert_eq!((read_qos, id), (qos, if qos > 0 { 513 } else { 0 }));
                assert_eq!((used, payload.len()), (bytes.len(), 200));
                assert_eq!(Stamp::read(payload), Some(STAMP));
            }
        }
    }

    #[test]
    fn every_prefix_of_a_frame_is_incomplete() {
        let mut bytes = vec![];
        PublishTemplate::new(Version::V311, "a", 1, false, 300).write(&mut bytes, 1, STAMP);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end], Version::V311), Decoded::Incomplete, "{end} bytes");
        }
    }

    #[test]
    fn a_length_of_five_bytes_is_malformed() {
        assert_eq!(decode(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], Version::V311), Decoded::Malformed);
    }

    #[test]
    fn receive_maximum_is_found_behind_other_properties() {
        let bytes = [0x20, 11, 0, 0, 8, 0x22, 0, 10, 0x25, 1, 0x21, 0, 20];
        let expected = Frame::ConnAck { code: 0, receive_maximum: 20 };
        assert_eq!(decode(&bytes, Version::V5), Decoded::Frame(expected, 13));
        let expected = Frame::ConnAck { code: 5, receive_maximum: u16::MAX };
        assert_eq!(decode(&[0x20, 2, 0, 5], Version::V311), Decoded::Frame(expected, 4));
    }

    #[test]
    fn a_refused_filter_shows_in_suback() {
        let refused = |bytes: &[u8], version| match decode(bytes, version) {
            Decoded::Frame(Frame::SubAck { refused }, _) => refused,
            other => panic!("{other:?}"),
        };
        assert!(!refused(&[0x90, 4, 0, 1, 1, 2], Version::V311));
        assert!(refused(&[0x90, 4, 0, 1, 1, 0x80], Version::V311));
        assert!(refused(&[0x90, 5, 0, 1, 0, 1, 0x87], Version::V5));
    }
}
