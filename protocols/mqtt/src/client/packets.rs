//! What the server's packets mean to the client half.

use super::{Acknowledge, Client, ClientError, Event, Phase, Slot};
use crate::packet::{Acknowledgement, Codes, ConnAck, Packet, Publish, Version};
use crate::reason::code;
use althing_core::{Guarantee, Now};

impl Client {
    pub(super) fn handle(&mut self, now: Now, packet: Packet, events: &mut Vec<Event>) -> Result<(), ClientError> {
        match (self.phase, packet) {
            (Phase::Connected, Packet::Publish(publish)) => self.message(now, publish, events),
            (Phase::Connected, packet) => self.handle_connected(now, packet, events),
            (_, Packet::ConnAck(connack)) => self.connack(now, *connack, events),
            (_, Packet::Auth(auth)) if self.is_v5() => {
                events.push(Event::Auth(auth));
                Ok(())
            }
            _ => self.break_off(now, "a packet before CONNACK"),
        }
    }

    fn handle_connected(&mut self, now: Now, packet: Packet, events: &mut Vec<Event>) -> Result<(), ClientError> {
        match packet {
            Packet::PubAck(acknowledgement) => return self.puback(now, acknowledgement, events),
            Packet::PubRec(acknowledgement) => return self.pubrec(now, acknowledgement, events),
            Packet::PubComp(acknowledgement) => self.pubcomp(now, acknowledgement, events),
            Packet::PubRel(acknowledgement) => self.pubrel(now, acknowledgement.packet_id),
            Packet::SubAck(codes) => {
                self.answered(&codes);
                events.push(Event::Subscribed(codes));
            }
            Packet::UnsubAck(codes) => {
                self.answered(&codes);
                events.push(Event::Unsubscribed(codes));
            }
            Packet::PingResp => {
                self.pinged_ns = None;
                events.push(Event::Pong);
            }
            Packet::Auth(auth) => events.push(Event::Auth(auth)),
            Packet::Disconnect(disconnect) => {
                self.phase = Phase::Closed;
                events.push(Event::Disconnected(disconnect));
            }
            _ => return self.break_off(now, "a packet that does not belong here"),
        }
        Ok(())
    }

    fn connack(&mut self, now: Now, connack: ConnAck, events: &mut Vec<Event>) -> Result<(), ClientError> {
        if connack.code != code::SUCCESS {
            self.phase = Phase::Closed;
            return Err(ClientError::Refused(Box::new(connack)));
        }
        // [MQTT-3.2.2-2]
        if connack.session_present && self.options.connect.clean_start {
            return self.break_off(now, "a session in spite of a clean start");
        }
        self.phase = Phase::Connected;
        self.grant(&connack);
        let session_present = connack.session_present;
        events.push(Event::Connected(Box::new(connack)));
        // 3.1 cannot say whether there is a session; assuming one repeats at worst.
        let may_be_present = session_present || (self.version() == Version::V31 && !self.options.connect.clean_start);
        if !may_be_present {
            self.received.clear();
            let released = self.window.forget_session();
            events.extend(released.into_iter().map(|(packet_id, code)| Event::Published { packet_id, code }));
        }
        self.send_waiting(now, events);
        Ok(())
    }

    fn grant(&mut self, connack: &ConnAck) {
        let properties = &connack.properties;
        self.granted.receive_maximum = properties.receive_maximum.unwrap_or(u16::MAX);
        self.granted.maximum_packet_size = properties.maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize);
        self.granted.maximum_qos = properties.maximum_qos.unwrap_or(2);
        self.granted.topic_alias_maximum = properties.topic_alias_maximum.unwrap_or(0);
        self.granted.keep_alive_s = properties.server_keep_alive_s.unwrap_or(self.options.connect.keep_alive_s);
        if let Some(assigned) = &properties.assigned_client_id {
            self.options.connect.client_id = assigned.clone();
        }
    }

    /// Sends what waits in the window, in order, as far as the quota goes.
    fn send_waiting(&mut self, now: Now, events: &mut Vec<Event>) {
        while self.inflight < self.quota()
            && let Some((packet_id, slot)) = self.window.next_unsent()
        {
            let publish = match slot {
                Slot::Publish { publish, sent } => Some((publish.clone(), std::mem::replace(sent, true))),
                _ => None,
            };
            self.window.sent();
            let fits = match publish {
                Some((publish, sent_before)) => self.send_publish(now, &publish, sent_before),
                None => self.send(now, &Packet::PubRel(bare(packet_id))),
            };
            if fits {
                self.inflight += 1;
            } else {
                // Taken before CONNACK told how small the server's packets are.
                self.window.free(packet_id);
                events.push(Event::Published { packet_id, code: code::PACKET_TOO_LARGE });
            }
        }
    }

    fn message(&mut self, now: Now, mut publish: Publish, events: &mut Vec<Event>) -> Result<(), ClientError> {
        if let Some(alias) = publish.topic_alias {
            let alias_max = self.options.connect.topic_alias_maximum;
            match self.aliases_in.resolve(publish.topic.take(), alias, alias_max) {
                Ok(topic) => publish.topic = Some(topic),
                Err(_) => {
                    self.give_up(now, code::TOPIC_ALIAS_INVALID, "a topic alias that is not valid");
                    return Err(ClientError::Protocol("a topic alias that is not valid"));
                }
            }
        }
        if publish.qos == Guarantee::ExactlyOnce
            && let Some(acknowledged) = self.received.get(&publish.packet_id)
        {
            // A repeat: shown once is enough. Without PUBREC yet, the caller still has it in hand.
            if *acknowledged {
                self.send(now, &Packet::PubRec(bare(publish.packet_id)));
            }
            return Ok(());
        }
        if publish.qos > Guarantee::AtMostOnce {
            self.count_unacknowledged(now)?;
            if publish.qos == Guarantee::ExactlyOnce {
                self.received.insert(publish.packet_id, false);
            }
            if self.options.acknowledge == Acknowledge::Automatically {
                self.acknowledge(now, &publish, code::SUCCESS);
            }
        }
        events.push(Event::Message(publish));
        Ok(())
    }

    /// [MQTT-3.3.4-9]: the server must not send more than our Receive Maximum.
    fn count_unacknowledged(&mut self, now: Now) -> Result<(), ClientError> {
        if self.unacknowledged >= self.options.connect.receive_maximum.unwrap_or(u16::MAX) {
            let text = "more unacknowledged messages than the Receive Maximum";
            self.give_up(now, code::RECEIVE_MAXIMUM_EXCEEDED, text);
            return Err(ClientError::Protocol(text));
        }
        self.unacknowledged += 1;
        Ok(())
    }

    fn puback(
        &mut self,
        now: Now,
        acknowledgement: Acknowledgement,
        events: &mut Vec<Event>,
    ) -> Result<(), ClientError> {
        let Acknowledgement { packet_id, code, .. } = acknowledgement;
        match self.window.get_mut(packet_id) {
            Some(Slot::Publish { publish, sent: true }) if publish.qos == Guarantee::AtLeastOnce => {
                self.over(now, packet_id, code, events);
                Ok(())
            }
            Some(Slot::Publish { sent: true, .. } | Slot::Released { .. }) => {
                self.break_off(now, "PUBACK for a QoS 2 publish")
            }
            _ => Ok(()), // A late one, from before a resumption.
        }
    }

    fn pubrec(
        &mut self,
        now: Now,
        acknowledgement: Acknowledgement,
        events: &mut Vec<Event>,
    ) -> Result<(), ClientError> {
        let Acknowledgement { packet_id, code, .. } = acknowledgement;
        match self.window.get_mut(packet_id) {
            Some(Slot::Publish { publish, sent: true }) if publish.qos != Guarantee::ExactlyOnce => {
                return self.break_off(now, "PUBREC for a QoS 1 publish");
            }
            Some(Slot::Publish { sent: true, .. }) if code >= code::UNSPECIFIED_ERROR => {
                self.over(now, packet_id, code, events);
            }
            Some(slot @ (Slot::Publish { sent: true, .. } | Slot::Released { .. })) => {
                *slot = Slot::Released { code };
                self.send(now, &Packet::PubRel(bare(packet_id)));
            }
            _ => {
                let code = code::PACKET_IDENTIFIER_NOT_FOUND;
                self.send(now, &Packet::PubRel(Acknowledgement { code, ..bare(packet_id) }));
            }
        }
        Ok(())
    }

    fn pubcomp(&mut self, now: Now, acknowledgement: Acknowledgement, events: &mut Vec<Event>) {
        let packet_id = acknowledgement.packet_id;
        if let Some(Slot::Released { code }) = self.window.get_mut(packet_id) {
            let code = *code;
            self.over(now, packet_id, code, events);
        }
    }

    fn over(&mut self, now: Now, packet_id: u16, code: u8, events: &mut Vec<Event>) {
        self.window.free(packet_id);
        self.inflight = self.inflight.saturating_sub(1);
        events.push(Event::Published { packet_id, code });
        self.send_waiting(now, events);
    }

    fn pubrel(&mut self, now: Now, packet_id: u16) {
        let known = self.received.remove(&packet_id).is_some();
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        let code = if known { code::SUCCESS } else { code::PACKET_IDENTIFIER_NOT_FOUND };
        self.send(now, &Packet::PubComp(Acknowledgement { code, ..bare(packet_id) }));
    }

    fn answered(&mut self, codes: &Codes) {
        if matches!(self.window.get_mut(codes.packet_id), Some(Slot::Request)) {
            self.window.free(codes.packet_id);
        }
    }

    fn break_off(&mut self, now: Now, text: &'static str) -> Result<(), ClientError> {
        self.give_up(now, code::PROTOCOL_ERROR, text);
        Err(ClientError::Protocol(text))
    }
}

fn bare(packet_id: u16) -> Acknowledgement {
    Acknowledgement { packet_id, code: code::SUCCESS, details: None }
}
