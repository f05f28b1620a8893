//! From deliveries to `message` objects.

use super::writing::Writer;
use super::{JsonAdaptor, frame, publication};
use althing_core::verbs::Outcome;
use althing_core::{Delivery, Guarantee, MessageOut, Now, WholeMessage};

impl JsonAdaptor {
    pub(super) fn deliver_one(&mut self, now: Now, delivery: &Delivery, out: &mut MessageOut<'_>) {
        let message = &*delivery.message;
        let mut object = Writer::new("message").field("topic", message.topic.as_str());
        if !self.binary {
            object = publication::write_payload(&message.payload, object);
        }
        let tags: Vec<u32> = delivery.tags.iter().copied().filter(|tag| *tag != 0).collect();
        let number = (self.manual_ack && delivery.number != 0).then_some(delivery.number);
        object = object
            .field("qos", delivery.guarantee as u8)
            .field("retain", delivery.retain)
            .maybe("number", number)
            .maybe("duplicate", delivery.duplicate.then_some(true))
            .maybe("subscription_ids", (!tags.is_empty()).then_some(tags));
        object = publication::write(message, now, object);
        let whole = match self.binary {
            true => frame::join(&object.end(), &message.payload).map(|bytes| WholeMessage { is_text: false, bytes }),
            false => Some(WholeMessage { is_text: true, bytes: object.end().into() }),
        };
        // Nothing has an object of 4 GiB: its parts are bounded.
        let Some(whole) = whole else { return };
        out.messages.push_back(whole);
        if delivery.guarantee == Guarantee::ExactlyOnce
            && let Err(place) = self.exactly_once.binary_search(&delivery.number)
        {
            self.exactly_once.insert(place, delivery.number);
        }
        if !self.manual_ack && delivery.number != 0 {
            self.settle(delivery.number, Outcome::Accept, out);
        }
    }
}
