//! From the broker's answers to packets.

use super::{MqttAdaptor, reason_string};
use crate::packet::{Acknowledgement, Codes, Details, Packet};
use crate::reason;
use althing_core::verbs::{Accepted, Reason, Refusal};
use althing_core::{Answer, Close, Guarantee, Out};

const SUCCESS: u8 = 0x00;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
const UNSPECIFIED: u8 = 0x80;
const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
/// The only failure that version 3.1.1 knows (3.1.1 §3.9.3).
const FAILURE_V3: u8 = 0x80;

impl MqttAdaptor {
    pub(super) fn answer(&mut self, answer: Answer, out: &mut Out<'_>) -> Result<(), Close> {
        match answer {
            Answer::Published { correlation, guarantee, outcome } => {
                self.published(correlation as u16, guarantee, outcome, out)
            }
            Answer::Released { token, known } => {
                self.released(token as u16, known, out);
                Ok(())
            }
            Answer::Complete { number, known } => {
                self.send(&Packet::PubRel(self.found(number as u16, known)), out);
                Ok(())
            }
            Answer::Subscribed { correlation, results } => {
                let codes = results.into_iter().map(|result| match result {
                    Ok(guarantee) => guarantee as u8,
                    Err(reason) => self.suback_code(reason),
                });
                let codes = self.codes(correlation as u16, codes.collect());
                self.send(&Packet::SubAck(codes), out);
                Ok(())
            }
            Answer::Unsubscribed { correlation, results } => {
                let codes = results.into_iter().map(|result| match result {
                    Ok(true) => SUCCESS,
                    Ok(false) => NO_SUBSCRIPTION_EXISTED,
                    Err(reason) => unsuback_code(reason),
                });
                let codes = self.codes(correlation as u16, codes.collect());
                self.send(&Packet::UnsubAck(codes), out);
                Ok(())
            }
            Answer::Connected(connected) => self.connected(*connected, out),
            Answer::Challenge(step) => self.challenge(*step, out),
            Answer::Reauthenticated(step) => self.reauthenticated(*step, out),
            Answer::Refused(refusal) => Err(self.refuse(refusal, out)),
            Answer::Close(refusal) => {
                // A broker that stops resumes its sessions later, so nobody's will is due.
                let publish_will = refusal.reason != Reason::ShuttingDown;
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
        let acknowledgement = match outcome {
            Ok(Accepted { matched }) => {
                let code = if matched || !self.is_v5() { SUCCESS } else { NO_MATCHING_SUBSCRIBERS };
                Acknowledgement { packet_id, code, details: None }
            }
            Err(refusal) if self.is_v5() => self.negative(packet_id, &refusal),
            // Version 3 has no negative acknowledgement. What would be refused again is acknowledged and
            // dropped (3.1.1 §3.3.5); what might work later stays the client's, without a connection.
            Err(refusal) if may_work_later(refusal.reason) => return Err(self.refuse(refusal, out)),
            Err(_) => Acknowledgement { packet_id, code: SUCCESS, details: None },
        };
        let is_over = guarantee == Guarantee::AtLeastOnce || acknowledgement.code >= UNSPECIFIED || !self.is_v5();
        let packet = match guarantee {
            Guarantee::AtMostOnce => return Ok(()),
            Guarantee::AtLeastOnce => Packet::PubAck(acknowledgement),
            Guarantee::ExactlyOnce => Packet::PubRec(acknowledgement),
        };
        if is_over {
            self.open_publishes = self.open_publishes.saturating_sub(1);
        }
        if !self.send(&packet, out) {
            self.send(&without_details(packet), out);
        }
        Ok(())
    }

    fn negative(&self, packet_id: u16, refusal: &Refusal) -> Acknowledgement {
        let sentence = if self.problem_information { reason_string(refusal) } else { None };
        let details =
            sentence.map(|sentence| Box::new(Details { reason_string: Some(sentence), user_properties: Vec::new() }));
        Acknowledgement { packet_id, code: publish_code(refusal.reason), details }
    }

    /// PUBCOMP, which ends a QoS 2 publish. After a resumption it may be one that this connection never
    /// counted; the quota simply does not fall below nothing (§4.9).
    fn released(&mut self, packet_id: u16, known: bool, out: &mut Out<'_>) {
        if self.is_v5() {
            self.open_publishes = self.open_publishes.saturating_sub(1);
        }
        self.send(&Packet::PubComp(self.found(packet_id, known)), out);
    }

    fn found(&self, packet_id: u16, known: bool) -> Acknowledgement {
        let code = if known || !self.is_v5() { SUCCESS } else { PACKET_IDENTIFIER_NOT_FOUND };
        Acknowledgement { packet_id, code, details: None }
    }

    fn codes(&self, packet_id: u16, codes: Vec<u8>) -> Box<Codes> {
        Box::new(Codes { packet_id, codes, details: Details::default() })
    }

    fn suback_code(&self, reason: Reason) -> u8 {
        if !self.is_v5() {
            return FAILURE_V3;
        }
        match reason::code(reason) {
            code @ (0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2) => code, // §3.9.3
            _ => UNSPECIFIED,
        }
    }
}

/// §3.11.3
fn unsuback_code(reason: Reason) -> u8 {
    match reason::code(reason) {
        code @ (0x83 | 0x87 | 0x8F | 0x91) => code,
        _ => UNSPECIFIED,
    }
}

/// §3.4.2.1, §3.5.2.1: what PUBACK and PUBREC may say.
fn publish_code(reason: Reason) -> u8 {
    match reason::code(reason) {
        code @ (0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99) => code,
        _ => UNSPECIFIED,
    }
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

fn without_details(packet: Packet) -> Packet {
    let bare = |acknowledgement: Acknowledgement| Acknowledgement { details: None, ..acknowledgement };
    match packet {
        Packet::PubAck(acknowledgement) => Packet::PubAck(bare(acknowledgement)),
        Packet::PubRec(acknowledgement) => Packet::PubRec(bare(acknowledgement)),
        other => other,
    }
}
