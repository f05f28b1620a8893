//! From the broker's answers to packets.

use super::{MqttAdaptor, codes, reason_string};
use crate::codec::{AckType, encode_ack};
use crate::packet::{Acknowledgement, Codes, Details, Packet};
use crate::reason::code;
use althing_core::verbs::{Accepted, Reason, Refusal};
use althing_core::{Answer, Close, Guarantee, Out};
use bytestring::ByteString;

impl MqttAdaptor {
    pub(super) fn tell(&mut self, answer: Answer, out: &mut Out<'_>) -> Result<(), Close> {
        match answer {
            Answer::Published { correlation, guarantee, outcome } => {
                self.published(correlation as u16, guarantee, outcome, out)
            }
            Answer::Released { token, known } => {
                self.released(token as u16, known, out);
                Ok(())
            }
            Answer::Complete { number, known } => {
                self.send_ack(AckType::PubRel, found(number as u16, known), out);
                Ok(())
            }
            Answer::Subscribed { correlation, results, why } => {
                let codes = results.into_iter().map(|result| match result {
                    Ok(guarantee) => guarantee as u8,
                    Err(reason) => codes::suback(reason),
                });
                let mut codes = answered(correlation as u16, codes.collect());
                if self.problem_information && !why.is_empty() {
                    codes.details.reason_string = Some(ByteString::from(why.as_ref()));
                    if self.send(&Packet::SubAck(codes.clone()), out) {
                        return Ok(());
                    }
                    // Without its sentence it may fit.
                    codes.details = Details::default();
                }
                self.send_or_close(&Packet::SubAck(codes), out)
            }
            Answer::Unsubscribed { correlation, results } => {
                let codes = results.into_iter().map(|result| match result {
                    Ok(true) => code::SUCCESS,
                    Ok(false) => code::NO_SUBSCRIPTION_EXISTED,
                    Err(reason) => codes::unsuback(reason),
                });
                let codes = answered(correlation as u16, codes.collect());
                self.send_or_close(&Packet::UnsubAck(codes), out)
            }
            Answer::Connected(connected) => self.connected(*connected, out),
            Answer::Challenge(step) => self.challenge(*step, out),
            Answer::Reauthenticated(step) => self.reauthenticated(*step, out),
            // MQTT reads last values by subscribing.
            Answer::Fetched { .. } => Ok(()),
            Answer::Refused(refusal) => Err(self.refuse(refusal, out)),
            Answer::Close(refusal) => {
                // A broker that stops resumes its sessions later, so nobody's will is due.
                let publish_will = !refusal.reason.is_stop();
                Err(Close { publish_will, ..self.refuse(refusal, out) })
            }
        }
    }

    fn published(
        &mut self,
        packet_id: u16,
        guarantee: Guarantee,
        outcome: Result<Accepted, Refusal>,
        out: &mut Out<'_>,
    ) -> Result<(), Close> {
        let ack_type = match guarantee {
            Guarantee::AtMostOnce => return Ok(()),
            Guarantee::AtLeastOnce => AckType::PubAck,
            Guarantee::ExactlyOnce => AckType::PubRec,
        };
        let mut is_over = guarantee == Guarantee::AtLeastOnce || !self.is_v5();
        match outcome {
            // The codes below are version 5's; the encoder leaves them out in version 3.
            Ok(Accepted { matched: false }) => {
                let code = code::NO_MATCHING_SUBSCRIBERS;
                self.send_ack(ack_type, Acknowledgement { packet_id, code, details: None }, out);
            }
            Ok(_) => encode_ack(ack_type, packet_id, out.bytes.tail()),
            Err(refusal) if self.is_v5() => {
                is_over = true;
                self.send_ack(ack_type, self.negative(packet_id, &refusal), out);
            }
            // Version 3 has no negative acknowledgement. What would be refused again is acknowledged and
            // dropped (3.1.1 §3.3.5); what might work later stays the client's, without a connection.
            Err(refusal) if may_work_later(refusal.reason) => return Err(self.refuse(refusal, out)),
            Err(_) => encode_ack(ack_type, packet_id, out.bytes.tail()),
        }
        if is_over {
            self.open_publishes = self.open_publishes.saturating_sub(1);
        }
        Ok(())
    }

    /// Appends an acknowledgement, without its sentence when the peer takes only small packets.
    fn send_ack(&self, ack_type: AckType, mut ack: Acknowledgement, out: &mut Out<'_>) {
        let packet = |ack| match ack_type {
            AckType::PubAck => Packet::PubAck(ack),
            AckType::PubRec => Packet::PubRec(ack),
            AckType::PubRel => Packet::PubRel(ack),
            AckType::PubComp => Packet::PubComp(ack),
        };
        if !self.send(&packet(ack.clone()), out) {
            ack.details = None;
            self.send(&packet(ack), out);
        }
    }

    fn negative(&self, packet_id: u16, refusal: &Refusal) -> Acknowledgement {
        let sentence = if self.problem_information { reason_string(refusal) } else { None };
        let details =
            sentence.map(|sentence| Box::new(Details { reason_string: Some(sentence), user_properties: Vec::new() }));
        Acknowledgement { packet_id, code: codes::publish(refusal.reason), details }
    }

    /// PUBCOMP, which ends a QoS 2 publish. After a resumption it may be one that this connection never
    /// counted; the quota simply does not fall below nothing (§4.9).
    fn released(&mut self, packet_id: u16, known: bool, out: &mut Out<'_>) {
        if self.is_v5() {
            self.open_publishes = self.open_publishes.saturating_sub(1);
        }
        self.send_ack(AckType::PubComp, found(packet_id, known), out);
    }
}

fn answered(packet_id: u16, codes: Vec<u8>) -> Box<Codes> {
    Box::new(Codes { packet_id, codes, details: Details::default() })
}

fn found(packet_id: u16, known: bool) -> Acknowledgement {
    let code = if known { code::SUCCESS } else { code::PACKET_IDENTIFIER_NOT_FOUND };
    Acknowledgement { packet_id, code, details: None }
}

fn may_work_later(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::QuotaExceeded
            | Reason::ServerBusy
            | Reason::ServerUnavailable
            | Reason::ShuttingDown
            | Reason::MessageRateTooHigh
            | Reason::Unspecified
    )
}
