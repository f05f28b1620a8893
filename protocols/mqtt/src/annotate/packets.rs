//! The packets after the handshake, each by its chapter.

use super::{Stop, Walk, qos, sections};
use crate::codec::decode::subscription_options;
use crate::codec::header::Type;
use crate::codec::properties::id;
use crate::packet::Version;
use althing_core::annotation::text_or_length;
use bytestring::ByteString;

impl Walk<'_> {
    /// What follows the fixed header.
    pub(super) fn body(&mut self, packet_type: Type, flags: u8) -> Result<(), Stop> {
        match packet_type {
            Type::Connect => self.connect(),
            Type::ConnAck => self.connack(),
            Type::Publish => self.publish(flags),
            Type::PubAck | Type::PubRec | Type::PubRel | Type::PubComp => self.acknowledgement(packet_type),
            Type::Subscribe | Type::Unsubscribe => self.filters(packet_type),
            Type::SubAck | Type::UnsubAck => self.codes(packet_type),
            Type::Disconnect | Type::Auth => self.goodbye_or_auth(packet_type),
            Type::PingReq | Type::PingResp => Ok(()),
        }
    }

    /// A section in the chapter of a packet; 3.1 has no smaller ones.
    fn in_chapter(&self, packet_type: Type, v5: &str, v311: &str) -> String {
        let chapter = sections::chapter(packet_type);
        self.section(&format!("{chapter}.{v5}"), &format!("{chapter}.{v311}"), chapter)
    }

    /// §3.3
    fn publish(&mut self, flags: u8) -> Result<(), Stop> {
        let section = self.section("3.3.2.1", "3.3.2.1", "3.3");
        let offset = self.position();
        self.topic("Topic Name", &section)?;
        let has_topic = self.position() > offset + 2;
        if flags & 0b0110 != 0 {
            let section = self.section("3.3.2.2", "3.3.2.2", "3.3");
            self.packet_id(section)?;
        }
        if self.is_v5() {
            let seen = self.properties(Type::Publish, &sections::block(Type::Publish))?;
            if !has_topic && !seen.contains(&id::TOPIC_ALIAS) {
                return Err(self.missing("Topic Alias"));
            }
        }
        let (offset, length) = (self.position(), self.reader.remaining());
        let section = self.section("3.3.3", "3.3.3", "3.3");
        let payload = self.packet.slice(offset..offset + length);
        self.push(offset, length, "Payload", text_or_length(&payload), section);
        // As many bytes are left.
        let _ = self.reader.take(length);
        Ok(())
    }

    /// §3.4 to §3.7
    fn acknowledgement(&mut self, packet_type: Type) -> Result<(), Stop> {
        let section = self.in_chapter(packet_type, "2", "2");
        self.packet_id(section)?;
        if self.reader.remaining() > 0 {
            let section = self.in_chapter(packet_type, "2.1", "2");
            self.reason_code(packet_type, section)?;
        }
        if self.reader.remaining() > 0 {
            self.properties(packet_type, &sections::block(packet_type))?;
        }
        Ok(())
    }

    /// §3.8, §3.10
    fn filters(&mut self, packet_type: Type) -> Result<(), Stop> {
        let section = self.in_chapter(packet_type, "2", "2");
        self.packet_id(section)?;
        if self.is_v5() {
            self.properties(packet_type, &sections::block(packet_type))?;
        }
        if self.reader.remaining() == 0 {
            return Err(self.missing("Topic Filter"));
        }
        while self.reader.remaining() > 0 {
            let section = self.in_chapter(packet_type, "3", "3");
            let filter = self.string("Topic Filter", &section)?;
            if packet_type == Type::Subscribe {
                self.subscription_options(filter.into())?;
            }
        }
        Ok(())
    }

    /// §3.8.3.1
    fn subscription_options(&mut self, filter: ByteString) -> Result<(), Stop> {
        const NAME: &str = "Subscription Options";
        let offset = self.position();
        let options = self.take_u8(if self.is_v5() { NAME } else { "Requested QoS" })?;
        let section = self.in_chapter(Type::Subscribe, "3.1", "3");
        if self.is_v5() {
            let retain = [
                "0, retained messages at the time of the subscribe",
                "1, retained messages only if the subscription is new",
                "2, no retained messages",
                "3, reserved",
            ];
            let handling = retain[usize::from(options >> 4 & 0b11)].to_owned();
            let no_local = if options & 0b100 == 0 { "0" } else { "1, not what I publish myself" };
            let published = if options & 0b1000 == 0 { "0, RETAIN is cleared" } else { "1, RETAIN stays as it was" };
            self.bits(offset, (7, 6), "Reserved", (options >> 6).to_string(), section.clone());
            self.bits(offset, (5, 4), "Retain Handling", handling, section.clone());
            self.bits(offset, (3, 3), "Retain As Published", published.to_owned(), section.clone());
            self.bits(offset, (2, 2), "No Local", no_local.to_owned(), section.clone());
            self.bits(offset, (1, 0), "Maximum QoS", qos(options & 0b11), section);
        } else {
            self.bits(offset, (7, 2), "Reserved", (options >> 2).to_string(), section.clone());
            self.bits(offset, (1, 0), "Requested QoS", qos(options & 0b11), section);
        }
        subscription_options(filter, options, self.version).map_err(|_| self.wrong(offset, NAME)).map(drop)
    }

    /// §3.9, §3.11
    fn codes(&mut self, packet_type: Type) -> Result<(), Stop> {
        let section = self.in_chapter(packet_type, "2", "2");
        self.packet_id(section)?;
        if self.is_v5() {
            self.properties(packet_type, &sections::block(packet_type))?;
        } else if packet_type == Type::UnsubAck {
            return Ok(());
        }
        if self.reader.remaining() == 0 {
            return Err(self.missing("Reason Code"));
        }
        while self.reader.remaining() > 0 {
            let section = self.in_chapter(packet_type, "3", "3");
            self.reason_code(packet_type, section)?;
        }
        Ok(())
    }

    /// §3.14, §3.15. Without a body both mean the reason code 0.
    fn goodbye_or_auth(&mut self, packet_type: Type) -> Result<(), Stop> {
        let is_auth = packet_type == Type::Auth;
        if self.reader.remaining() == 0 {
            let is_allowed = crate::codec::codes::is_allowed(packet_type, self.version, self.context.side, 0);
            return if is_allowed || self.version != Version::V5 { Ok(()) } else { Err(self.missing("Reason Code")) };
        }
        let section = self.in_chapter(packet_type, "2.1", "2");
        self.reason_code(packet_type, section)?;
        if self.reader.remaining() == 0 && !is_auth {
            return Ok(());
        }
        let seen = self.properties(packet_type, &sections::block(packet_type))?;
        if is_auth && self.reader.remaining() == 0 && !seen.contains(&id::AUTHENTICATION_METHOD) {
            return Err(self.missing("Authentication Method"));
        }
        Ok(())
    }
}
