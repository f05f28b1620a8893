//! From deliveries to MESSAGE frames.

use super::StompAdaptor;
use super::subscriptions::AckMode;
use crate::codec::HeadWriter;
use crate::destination;
use crate::frame::Command;
use crate::mapping;
use althing_core::verbs::Outcome;
use althing_core::{Delivery, Now, Out, Request};

impl StompAdaptor {
    pub(super) fn deliver_one(&mut self, now: Now, delivery: &Delivery, out: &mut Out<'_>) {
        let (number, message) = (delivery.number, &*delivery.message);
        let mut settle = |outcome| {
            if number != 0 {
                out.requests.push_back(Request::Settle { number, outcome });
            }
        };
        // Connect asked for separate subscriptions, so there is one tag.
        let tag = delivery.tags.first().copied().unwrap_or(0);
        if self.subscriptions.get(tag).is_none() {
            // UNSUBSCRIBE was faster.
            return settle(Outcome::Release);
        }
        let id = self.subscriptions.next_id(tag);
        let Some(subscription) = self.subscriptions.get(tag) else { return };
        let auto = subscription.ack == AckMode::Auto;
        if auto {
            // "ack": the server assumes that the client has it as soon as it is sent.
            settle(Outcome::Accept);
        }
        let mut head = HeadWriter::new(Command::Message, out.bytes.tail());
        head.header("subscription", &subscription.id);
        head.plain("message-id", format_args!("{id}"));
        let (prefix, name) = destination::of_topic(&message.topic);
        head.joined("destination", prefix, name);
        if !auto {
            head.plain("ack", format_args!("{id}"));
        }
        if delivery.duplicate {
            head.header("redelivered", "true");
        }
        mapping::write(message, delivery.retain, now, &mut head);
        head.end(message.payload.len());
        out.bytes.put_payload(&message.payload);
        out.bytes.tail().push(0);
        if !auto && number != 0 {
            self.subscriptions.sent(id, number);
        }
    }
}
