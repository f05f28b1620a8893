//! From deliveries to PUBLISH packets: the path that a broker spends most of its time on.

use super::MqttAdaptor;
use crate::alias::AliasOut;
use crate::codec::{PublishHead, encode_publish_head, publish_size};
use crate::packet::Version;
use althing_core::time::SECOND_NS;
use althing_core::verbs::Outcome;
use althing_core::{Delivery, Message, Now, Out, Request};

impl MqttAdaptor {
    pub(super) fn deliver_one(&mut self, now: Now, delivery: &Delivery, out: &mut Out<'_>) {
        let Some(version) = self.version else { return };
        let message = &*delivery.message;
        let mut head = PublishHead {
            dup: delivery.duplicate,
            qos: delivery.guarantee,
            retain: delivery.retain,
            topic: message.topic.as_str(),
            packet_id: delivery.number as u16,
            topic_alias: None,
            message_expiry_s: None,
            subscription_ids: &[],
            properties: None,
            payload_len: message.payload.len(),
        };
        let mut alias = AliasOut::None;
        if version == Version::V5 {
            head.message_expiry_s = remaining_expiry_s(now, message);
            head.subscription_ids = &delivery.tags;
            head.properties = message.properties.as_deref();
            alias = self.alias_out(message, &mut head);
        }
        // [MQTT-3.1.2-24], [MQTT-3.1.2-25]: what is too large is dropped as if it had been delivered.
        if self.maximum_packet_size != u32::MAX && publish_size(&head, version) > self.maximum_packet_size as usize {
            if delivery.number != 0 {
                out.requests.push_back(Request::Settle { number: delivery.number, outcome: Outcome::Discard });
            }
            return;
        }
        encode_publish_head(&head, version, out.bytes.tail());
        out.bytes.put_payload(&message.payload);
        if let AliasOut::New(_) = alias
            && let Some(aliases) = self.aliases_out()
        {
            aliases.set_up(&message.topic);
        }
    }

    fn alias_out(&mut self, message: &Message, head: &mut PublishHead<'_>) -> AliasOut {
        let Some(aliases) = self.aliases_out() else { return AliasOut::None };
        let alias = aliases.name(&message.topic);
        match alias {
            AliasOut::None => {}
            AliasOut::New(alias) => head.topic_alias = Some(alias),
            AliasOut::Known(alias) => {
                head.topic_alias = Some(alias);
                head.topic = "";
            }
        }
        alias
    }

    fn aliases_out(&mut self) -> Option<&mut crate::alias::AliasesOut> {
        self.rare.as_mut().and_then(|rare| rare.aliases_out.as_mut())
    }
}

/// [MQTT-3.3.2-6]: what is left of the expiry, rounded up so that nothing expires early.
fn remaining_expiry_s(now: Now, message: &Message) -> Option<u32> {
    let expires_ns = message.expires_ns?;
    let left_s = expires_ns.saturating_sub(now.mono_ns).div_ceil(SECOND_NS);
    Some(u32::try_from(left_s).unwrap_or(u32::MAX))
}
